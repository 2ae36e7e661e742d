"""Serves an application with deadlines of its own: silent, trickling and stuck connections are dropped."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import structlog
from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from edgeflow.errors import EdgeFlowError

_FREEBIND = getattr(socket, "IP_FREEBIND", 15)
_HINTS = {
    errno.EADDRINUSE: "another program uses this port; stop that one or choose another port",
    errno.EADDRNOTAVAIL: "this machine does not have this address",
    errno.EACCES: "this user may not use this port; choose one from 1024 on",
}

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
) -> AsyncIterator[Served]:
    """Serves while the block runs; port 0 takes a free one. On leaving, live viewers are told and nothing stays.

    An address that this machine does not have yet (a network that is not up) is waited for by the system: we serve as
    soon as it is there. Raises EdgeFlowError where the port cannot be taken: it may be free again later.
    """
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
    await runner.setup()
    try:
        server = runner.server
        assert server is not None
        listener = await _listen(lambda: _Connection(server(), limits, stats, live), host, port, limits, tls)
        bound = int(listener.sockets[0].getsockname()[1])
        shown = f"[{host}]" if ":" in host else host
        try:
            yield Served(host, bound, f"{'https' if tls else 'http'}://{shown}:{bound}", stats)
        finally:
            listener.close()
    finally:
        await runner.cleanup()


async def _listen(
    protocol: Callable[[], asyncio.Protocol], host: str, port: int, limits: Limits, tls: ssl.SSLContext | None
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    handshake_s = limits.header_s if tls else None
    try:
        try:
            return await loop.create_server(
                protocol, host, port, ssl=tls, ssl_handshake_timeout=handshake_s, backlog=128
            )
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL or not _is_numeric(host):
                raise
        listening = _not_here_yet(host, port)
        structlog.get_logger().warning(
            "this machine does not have the address to listen on; waiting for it", address=host, port=port
        )
        return await loop.create_server(
            protocol, sock=listening, ssl=tls, ssl_handshake_timeout=handshake_s, backlog=128
        )
    except OSError as error:
        why = _HINTS.get(error.errno or 0) or error.strerror or error
        raise EdgeFlowError(f"cannot listen on {host}:{port}: {why}") from None


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _not_here_yet(host: str, port: int) -> socket.socket:
    """A socket bound to an address that no interface has so far; Linux lets everybody do that."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_IP, _FREEBIND, 1)
        listening.bind((host, port))
    except BaseException:
        listening.close()
        raise
    return listening


def _announcing(live: dict[object, _Connection]) -> Middleware:
    @web.middleware
    async def announce(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = live.get(request.transport)
        if connection is not None:
            connection.began()
        return await handler(request)

    return announce
