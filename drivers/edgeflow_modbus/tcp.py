"""Modbus TCP on a socket: frames out, checked frames in, one request at a time; the same inside TLS.

Source of the frame: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, section 3.1.3.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections.abc import Awaitable, Callable
from struct import Struct
from typing import TypeVar, cast

from edgeflow.errors import LinkDown, Silent
from edgeflow_modbus.cause import FEW, NO_TLS, cause
from edgeflow_modbus.pdu import GATEWAY_NO_ANSWER, GATEWAY_NO_PATH, MAX_PDU, Altered, Refused, Request
from edgeflow_modbus.space import Manners
from edgeflow_modbus.wire import Ask, Roll, Stats, silent

P = TypeVar("P", bound=asyncio.Protocol)

_REST_OF_HEAD = Struct(">HHB").pack
_HEADER = Struct(">HHHBB").unpack_from
_HEADER_SIZE = 8
_MOST_UNREAD = 64 * (7 + MAX_PDU)
_MOST_UNASKED = 1000
_UNSENT_MS = 5000
_MOST_SHOWN = 24
_RECENT = 100
_CHECK = (
    "check the unit number, that the device is running (behind a gateway: its bus), that no other program holds its "
    "only connection, and whether it needs a longer `timeout`"
)
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": _UNSENT_MS}


async def connect(make: Callable[[], P], host: str, port: int, deadline: float, tls: ssl.SSLContext | None = None) -> P:
    """Connects a protocol by the deadline (loop time); raises LinkDown with the likely cause.

    A line that was cut without a word is given up after 5 s of unanswered packets, or 20 s of idleness.
    """
    loop = asyncio.get_running_loop()
    said = "does not answer; check the address, the cable and any firewall"
    try:
        async with asyncio.timeout_at(deadline):
            if tls is None:
                transport, protocol = await loop.create_connection(make, host, port)
            else:
                transport, _ = await loop.create_connection(asyncio.Protocol, host, port)
                said = f"takes the connection but does not answer our TLS greeting; {NO_TLS}"
                transport, protocol = await _secured(transport, make, tls, host)
    except TimeoutError:
        raise LinkDown(f"{host}:{port} {said}") from None
    except OSError as error:
        raise LinkDown(f"{host}:{port} cannot be reached: {cause(error)}") from None
    line = transport.get_extra_info("socket")
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if option := getattr(socket, name, None):  # not every system has them all
            line.setsockopt(socket.IPPROTO_TCP, option, value)
    return protocol


async def _secured(
    plain: asyncio.Transport, make: Callable[[], P], tls: ssl.SSLContext, host: str
) -> tuple[asyncio.Transport, P]:
    """TLS on a connection that is made, so that one can be told what was missing: the connection, or TLS on it."""
    protocol = make()
    try:
        transport = await asyncio.get_running_loop().start_tls(plain, protocol, tls, server_hostname=host)
    except (ConnectionResetError, ConnectionAbortedError):
        raise ssl.SSLEOFError from None
    except BaseException:
        plain.abort()
        raise
    if transport is None:
        raise ssl.SSLEOFError
    protocol.connection_made(transport)
    return transport, protocol


class TcpWire(asyncio.Protocol):
    """A connection to a Modbus TCP server.

    The whole beginning of a good answer is known before it comes, so the usual one is checked by a
    single comparison; only what differs is taken apart. An answer that is not exactly the expected one
    ends the connection: on a byte stream nothing that follows could be trusted. Answers to other
    transactions (late or doubled) are counted and dropped.
    """

    tells_apart = True

    def __init__(self, where: str, stats: Stats | None = None, roll: Roll | None = None) -> None:
        self.stats = stats or Stats()
        self.roll = roll or Roll()
        self.down = ""
        self._where = where
        self._loop = asyncio.get_running_loop()
        self._awaited = self.roll.awaited
        self._transport: asyncio.WriteTransport | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        # Not the same at every connection: some gateways send into the new one what the last one asked for.
        self._transaction = secrets.randbelow(1 << 16)
        self._waiting: asyncio.Future[bytes] | None = None
        self._request: Request | None = None
        self._expected = b""
        self._size = 0
        self._deadline = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._rest = b""
        self._unasked = 0
        self._misfit = (b"", "")  # what was expected when the last answer came that did not fit, and what that was

    async def close(self) -> None:
        """Closes the socket and waits until it is closed."""
        self._end("the connection is closed")
        await self._closed

    def respect(self, unit: int, manners: Manners) -> None:
        """Nothing is asked here but what is bound."""

    def bind(self, request: Request) -> Ask:
        """Prepares the frames of a request, so that asking costs only the sending."""
        tail = _REST_OF_HEAD(0, 1 + len(request.pdu), request.unit) + request.pdu
        begin = _REST_OF_HEAD(0, 1 + request.size, request.unit) + request.head
        size = 7 + request.size
        self.roll.joins(request.unit)

        def ask(deadline: float) -> Awaitable[bytes]:
            if self._transport is None:
                raise LinkDown(self.down)
            if self._waiting is not None and not self._waiting.done():
                raise RuntimeError(f"{self._where}: a second request while one is in flight")
            self._transaction = number = self._transaction + 1 & 0xFFFF
            transaction = number.to_bytes(2, "big")
            self._request, self._expected, self._size = request, transaction + begin, size
            self._waiting = waiting = self._loop.create_future()
            self._deadline = deadline
            if self._alarm is None or self._alarm.when() > deadline:
                self._set_alarm(deadline)
            self.stats.requests += 1
            self._transport.write(transaction + tail)
            return waiting

        return ask

    # --- what the event loop calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, OSError):
            said = f"is lost: {cause(exc)}"
        elif self.roll.never:
            said = f"closed the connection before it had answered anything; {FEW}; check the unit number"
        else:
            said = "closed the connection"
        self._end(f"{self._where} {said}")
        if not self._closed.done():
            self._closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        if not self._rest and len(data) == self._size and data.startswith(self._expected):
            self._answer(data)
            return
        if len(self._rest) + len(data) > _MOST_UNREAD:  # taking very much apart would hold up everything else
            self._end(
                f"{self._where} sent {len(self._rest) + len(data)} bytes when at most {self._size} were asked for"
            )
            return
        self._rest += data
        while self._rest and self._transport is not None:
            frame = self._next_frame()
            if not frame:
                return
            self._take(frame)

    # --- how answers are told apart ---

    def _answer(self, frame: bytes) -> None:
        waiting, self._waiting, self._size = self._waiting, None, 0
        self._unasked = 0
        if self._awaited:
            self.roll.heard(frame[6])
        if waiting is not None and not waiting.done():
            waiting.set_result(frame[len(self._expected) :])

    def _next_frame(self) -> bytes:
        """Takes one whole frame off what came in; empty where it is not complete yet."""
        rest = self._rest
        if any(rest[2:4]):
            self._end(f"{self._where} sent something that is not Modbus TCP: {_described(rest)}")
            return b""
        if len(rest) < 6:
            return b""
        length = int.from_bytes(rest[4:6], "big")
        if not 3 <= length <= 1 + MAX_PDU:
            possible = f"3 to {1 + MAX_PDU} are possible"
            self._end(f"{self._where} sent a frame of impossible length {length} ({possible}): {shown(rest)}")
            return b""
        end = 6 + length
        if len(rest) < end and self._misleads(rest):
            return b""
        if len(rest) < end:
            return b""
        self._rest = rest[end:]
        return rest[:end]

    def _take(self, frame: bytes) -> None:
        request = self._request
        if request is None or self._waiting is None or frame[:2] != self._expected[:2]:
            self.stats.strays += 1
            self.roll.heard(frame[6])
            self._note_stray(frame)
            self._unasked += 1
            if self._unasked > _MOST_UNASKED:
                self._end(f"{self._where} goes on sending answers that nobody asked for")
            return
        if len(frame) == self._size and frame.startswith(self._expected):
            self._answer(frame)
            return
        _, _, length, unit, function = _HEADER(frame)
        refused = function == request.function | 0x80 and length == 3
        if unit != request.unit and not (refused and from_gateway(unit, frame[_HEADER_SIZE])):
            self._wrong(
                f"{self._where} answered as unit {unit} when unit {request.unit} was asked ({shown(frame)}); "
                f"where it always does, write `unit: {unit}`"
            )
        elif refused:
            self.stats.exceptions += 1
            self.roll.heard(request.unit)
            waiting, self._waiting, self._size = self._waiting, None, 0
            if not waiting.done():
                waiting.set_exception(Refused(request.unit, request.function, request.about, frame[_HEADER_SIZE]))
        elif function != request.function:
            self._wrong(
                f"{self._where} answered with function {function} when function {request.function} was asked "
                f"({shown(frame)})"
            )
        elif not request.size and frame.startswith(request.head, _HEADER_SIZE - 1):
            self._answer(frame)
        elif function in (5, 6) and len(frame) == self._size and frame.startswith(request.pdu[:3], _HEADER_SIZE - 1):
            self.roll.heard(unit)  # a device that limits what it takes: the answer is whole
            waiting, self._waiting, self._size = self._waiting, None, 0
            if not waiting.done():
                got = frame[_HEADER_SIZE - 1 :].hex(" ")
                reason = f"unit {unit} answered {got} when it was asked to {request.about} as {request.pdu.hex(' ')}"
                waiting.set_exception(Altered(reason))
        else:
            self._wrong(
                f"{self._where} gave a wrong answer to the request to {request.about} (unit {unit}): "
                f"{len(frame)} bytes {shown(frame)}, expected {self._size} beginning {self._expected.hex(' ')}"
            )

    def _misleads(self, rest: bytes) -> bool:
        """Whether what has begun cannot become the answer, since its header gives another length: then says so."""
        request, waiting = self._request, self._waiting
        if request is None or waiting is None or rest[:2] != self._expected[:2] or not request.size or len(rest) < 9:
            return False
        if rest[7] != request.function or rest[4:6] == self._expected[4:6]:
            return False
        promised, right = int.from_bytes(rest[4:6], "big"), self._size - 6
        self._wrong(
            f"{self._where} gave a wrong answer to the request to {request.about} (unit {request.unit}): its header "
            f"gives the length {promised}, which should be {right}, and {len(rest) - 6} bytes followed: {shown(rest)}"
        )
        return True

    def _note(self, misfit: str) -> None:
        """Keeps what came in place of the answer, for the words at the deadline."""
        self._misfit = self._expected, misfit

    def _note_stray(self, frame: bytes) -> None:
        got, asked = frame[:2], self._expected[:2]
        behind = int.from_bytes(asked, "big") - int.from_bytes(got, "big") & 0xFFFF
        if 0 < behind <= _RECENT:
            self._note("the answer to an earlier request came: it needs a longer `timeout`")
        else:
            self._note(
                f"an answer came with the transaction number {got.hex()} instead of {asked.hex()}: {shown(frame)}"
            )

    def _came(self) -> str:
        """What came in place of the answer that is waited for; "" where nothing came."""
        if self._rest:
            return f"only {len(self._rest)} of {self._size} bytes came: {shown(self._rest)}"
        return self._misfit[1] if self._misfit[0] is self._expected else ""

    def _wrong(self, reason: str) -> None:
        """An answer to this request, but not one that can be: on a byte stream nothing that follows is safe."""
        self._end(reason)

    # --- how it ends ---

    def _set_alarm(self, when: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        """The one timer of the connection: late answers are noticed here, and a later deadline set anew."""
        self._alarm = None
        if self._waiting is None or self._waiting.done():
            return
        if self._loop.time() < self._deadline:
            self._set_alarm(self._deadline)
            return
        request, waiting = self._request, self._waiting
        assert request is not None
        self.stats.silences += 1
        said = silent(self._where, request, self._came(), _CHECK)
        if self.roll.missed(request.unit) or (self._rest and self._rest[:2] == self._expected[:2]):
            self._end(said)  # the rest of an answer that has begun cannot be told from the next one
            return
        self._waiting, self._size = None, 0
        waiting.set_exception(Silent(said))

    def _end(self, reason: str) -> None:
        """Ends the connection for good; whoever waits gets LinkDown with the first reason there was."""
        if self._transport is None:
            return
        self.down = reason
        transport, self._transport = self._transport, None
        transport.abort()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        waiting, self._waiting, self._rest = self._waiting, None, b""
        if waiting is not None and not waiting.done():
            waiting.set_exception(LinkDown(reason))


def from_gateway(unit: int, code: int) -> bool:
    """Whether an exception is a gateway's own, which it may give under another number than the unit's."""
    return unit in (0, 255) or code in (GATEWAY_NO_PATH, GATEWAY_NO_ANSWER)


def shown(data: bytes) -> str:
    """Some bytes for a person, cut where they are many."""
    return data[:_MOST_SHOWN].hex(" ") + (" ..." if len(data) > _MOST_SHOWN else "")


def _described(data: bytes) -> str:
    """What else speaks on this port, as far as its first bytes tell."""
    if data[0] in (0x15, 0x16) and data[1] == 3:
        return f"it speaks TLS on this port ({shown(data)}); write `transport: tls`"
    if data.startswith(b"HTTP/"):
        return "it is a web server; Modbus is at another port, 502 where none is said"
    return f"{shown(data)}; perhaps it passes on the bytes of a serial line: `transport: rtu-over-tcp`"
