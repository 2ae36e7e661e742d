"""Serves an application with deadlines of its own: silent, trickling and stuck connections are dropped."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
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
    `send_s`: how long a client may leave what we send unread. `stop_s`: how long requests in progress may take when
    the server stops. `connections`: at one time, and half of them from one address. Beyond either an idle one gives way
    to a new one; where none is idle, only who has a token is served, in `reserve` places more. The rest is told why.
    """

    header_s: float = 5.0
    idle_s: float = 30.0
    send_s: float = 15.0
    connections: int = 200
    reserve: int = 20
    stop_s: float = 2.0


@dataclass(slots=True)
class ServerStats:
    """Counts since the start; `open` is now, `most` what may be open."""

    open: int = 0
    accepted: int = 0
    refused: int = 0
    late_heads: int = 0
    stuck: int = 0
    requests: int = 0
    most: int = 0
    displaced: int = 0


@dataclass(frozen=True, slots=True)
class Served:
    """A running server: where it listens and what it counts."""

    host: str
    port: int
    url: str
    stats: ServerStats = field(default_factory=ServerStats)


Trust = Callable[[web.Request], Awaitable[bool]]
TRUST: web.AppKey[Trust] = web.AppKey("trust")
"""Put into an application, it tells who has a token; nobody has where it is missing."""


class _Open:
    """The open connections, the oldest first, and who of them gives way."""

    def __init__(self, limits: Limits, stats: ServerStats) -> None:
        self._limits, self._stats = limits, stats
        self._hosts: Counter[str] = Counter()
        self._full = False
        self.all: dict[object, _Connection] = {}

    def add(self, transport: object, connection: _Connection) -> None:
        """Takes one in; where there are too many, the oldest idle one of its address goes, or of anybody."""
        self.all[transport] = connection
        self._hosts[connection.host] += 1
        self._stats.open = len(self.all)
        many = self._hosts[connection.host] > self._limits.connections // 2
        full = len(self.all) > self._limits.connections
        if many or full:
            idle = [each for each in self.all.values() if not each.busy and each is not connection]
            own = next((each for each in idle if each.host == connection.host), None)
            going = own or (idle[0] if idle and full and not many else None)
            if going is not None:
                going.displace()
            else:
                connection.over = True
        if full and not self._full:
            _log.warning(
                "%d connections are open, the most that are taken; idle ones give way, others are refused",
                self._limits.connections,
            )
        self._full = full or (self._full and len(self.all) > self._limits.connections * 3 // 4)

    def remove(self, transport: object) -> None:
        """It is closed."""
        connection = self.all.pop(transport, None)
        if connection is not None:
            self._hosts[connection.host] -= 1
            self._hosts += Counter()  # drops those at zero
        self._stats.open = len(self.all)

    def refusal(self) -> web.Response:
        """What somebody is told for whom there is no place."""
        self._stats.refused += 1
        most = self._limits.connections
        detail = (
            f"All {most} connections of this server are in use, or half of them from your address. Try again later, or "
            "send a token: some places are kept for those who have one. `connections` says how many there may be."
        )
        body = {"title": "Busy", "status": 503, "detail": detail, "problems": []}
        response = web.json_response(body, status=503, headers={"Retry-After": "5"})
        response.content_type = "application/problem+json"
        response.force_close()
        return response


class _Connection(asyncio.Protocol):
    """Stands between the transport and aiohttp's protocol and holds the clocks that aiohttp lacks."""

    __slots__ = ("_clock", "_inner", "_limits", "_loop", "_open", "_stats", "_transport", "busy", "host", "over")

    def __init__(self, inner: asyncio.Protocol, limits: Limits, stats: ServerStats, live: _Open) -> None:
        self._inner, self._limits, self._stats, self._open = inner, limits, stats, live
        self.host, self.busy, self.over = "", False, False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.host = str(peer[0]) if isinstance(peer, tuple) else ""
        self._open.add(transport, self)
        self._inner.connection_made(transport)
        if len(self._open.all) > self._limits.connections + self._limits.reserve:
            self._stats.refused += 1
            self._transport.abort()
            return
        self._stats.accepted += 1
        self._clock = self._loop.call_later(self._limits.header_s, self._late_head)

    def began(self) -> None:
        """The head of a request is complete."""
        self._stats.requests += 1
        self.busy = True
        self._stop_clock()

    def ended(self) -> None:
        """The request is answered."""
        self.busy = False

    def displace(self) -> None:
        """Gives way to another."""
        self._stats.displaced += 1
        self._abort()

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
        self._open.remove(self._transport)
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
    stats: ServerStats | None = None,
) -> AsyncIterator[Served]:
    """Listens (see there) and serves while the block runs."""
    async with serve_on(app, listen(host, port, setting, refused), limits=limits, tls=tls, stats=stats) as served:
        yield served


@asynccontextmanager
async def serve_on(
    app: web.Application,
    listening: Listening,
    *,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
    stats: ServerStats | None = None,
) -> AsyncIterator[Served]:
    """Serves while the block runs. On leaving, live viewers are told and nothing stays, nor does anybody listen."""
    limits = limits or Limits()
    stats = stats or ServerStats()
    stats.most = limits.connections
    live = _Open(limits, stats)

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


def _announcing(live: _Open) -> Middleware:
    @web.middleware
    async def announce(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = live.all.get(request.transport)
        if connection is None:
            return await handler(request)
        connection.began()
        try:
            if connection.over:
                trust = request.app.get(TRUST)
                if trust is None or not await trust(request):
                    return live.refusal()
            return await handler(request)
        finally:
            connection.ended()

    return announce
