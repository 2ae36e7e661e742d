"""Serves an application with deadlines of its own: silent, trickling and stuck connections are dropped."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import cast

from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from edgeflow.errors import Problem
from edgeflow.web.listen import Listening, listen

_log = logging.getLogger("edgeflow.web")
_log.addFilter(lambda entry: not (entry.exc_info and isinstance(entry.exc_info[1], HttpProcessingError)))
# what strangers send that is not HTTP is answered, and not worth a line each


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how many. All times in seconds.

    `header_s`: from the connection to the end of the first request's head. `idle_s`: between requests.
    `send_s`: how long a client may leave what we send unread. `connections`: at one time; more are closed.
    `stop_s`: how long requests in progress may take when the server stops.
    """

    header_s: float = 5.0
    idle_s: float = 30.0
    send_s: float = 15.0
    connections: int = 200
    stop_s: float = 2.0


@dataclass(slots=True)
class ServerStats:
    """Counts since the start; `open` is now."""

    open: int = 0
    accepted: int = 0
    refused: int = 0
    late_heads: int = 0
    stuck: int = 0
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Served:
    """A running server: where it listens and what it counts."""

    host: str
    port: int
    url: str
    stats: ServerStats = field(default_factory=ServerStats)


class _Connection(asyncio.Protocol):
    """Stands between the transport and aiohttp's protocol and holds the clocks that aiohttp lacks."""

    __slots__ = ("_clock", "_inner", "_limits", "_live", "_loop", "_stats", "_transport")

    def __init__(
        self, inner: asyncio.Protocol, limits: Limits, stats: ServerStats, live: dict[object, _Connection]
    ) -> None:
        self._inner, self._limits, self._stats, self._live = inner, limits, stats, live
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._live[transport] = self
        self._stats.open = len(self._live)
        self._inner.connection_made(transport)
        if len(self._live) > self._limits.connections:
            self._stats.refused += 1
            self._transport.abort()
            return
        self._stats.accepted += 1
        self._clock = self._loop.call_later(self._limits.header_s, self._late_head)

    def began(self) -> None:
        """The head of a request is complete."""
        self._stats.requests += 1
        self._stop_clock()

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._stop_clock()
        self._clock = self._loop.call_later(self._limits.send_s, self._stuck)
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._stop_clock()
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        self._live.pop(self._transport, None)
        self._stats.open = len(self._live)
        self._inner.connection_lost(exc)

    def _late_head(self) -> None:
        self._stats.late_heads += 1
        self._abort()

    def _stuck(self) -> None:
        self._stats.stuck += 1
        self._abort()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


@asynccontextmanager
async def serve(
    app: web.Application,
    host: str,
    port: int,
    *,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
    setting: str = "",
    refused: Callable[[str], Problem] | None = None,
) -> AsyncIterator[Served]:
    """Listens (see there) and serves while the block runs."""
    async with serve_on(app, listen(host, port, setting, refused), limits=limits, tls=tls) as served:
        yield served


@asynccontextmanager
async def serve_on(
    app: web.Application, listening: Listening, *, limits: Limits | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Served]:
    """Serves while the block runs. On leaving, live viewers are told and nothing stays, nor does anybody listen."""
    limits = limits or Limits()
    stats = ServerStats()
    live: dict[object, _Connection] = {}

    app.middlewares.insert(0, _announcing(live))
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_log,
        handle_signals=False,
        shutdown_timeout=limits.stop_s,
        keepalive_timeout=limits.idle_s,
        lingering_time=min(limits.header_s, 2.0),
    )
    with closing(listening):
        await runner.setup()
        try:
            server = runner.server
            assert server is not None
            loop, accepting = asyncio.get_running_loop(), list[asyncio.Server]()
            try:
                for each in listening.sockets:
                    accepting.append(
                        await loop.create_server(
                            lambda: _Connection(server(), limits, stats, live),
                            sock=each,
                            ssl=tls,
                            ssl_handshake_timeout=limits.header_s if tls else None,
                        )
                    )
                yield Served(listening.host, listening.port, listening.url("https" if tls else "http"), stats)
            finally:
                for listener in accepting:
                    listener.close()
        finally:
            await runner.cleanup()


def _announcing(live: dict[object, _Connection]) -> Middleware:
    @web.middleware
    async def announce(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = live.get(request.transport)
        if connection is not None:
            connection.began()
        return await handler(request)

    return announce
