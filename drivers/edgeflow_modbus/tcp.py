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

from edgeflow.errors import LinkDown
from edgeflow_modbus.pdu import MAX_PDU, Altered, Refused, Request
from edgeflow_modbus.space import Manners
from edgeflow_modbus.wire import Ask, Roll, Stats, silent

P = TypeVar("P", bound=asyncio.Protocol)

_REST_OF_HEAD = Struct(">HHB").pack
_HEADER = Struct(">HHHBB").unpack_from
_HEADER_SIZE = 8
_MOST_UNREAD = 64 * (7 + MAX_PDU)
_MOST_UNASKED = 1000
_UNSENT_MS = 5000
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": _UNSENT_MS}


async def connect(make: Callable[[], P], host: str, port: int, deadline: float, tls: ssl.SSLContext | None = None) -> P:
    """Connects a protocol by the deadline (loop time); raises LinkDown with the likely cause.

    A line that was cut without a word is given up after 5 s of unanswered packets, or 20 s of idleness.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(deadline):
            transport, protocol = await loop.create_connection(make, host, port, ssl=tls)
    except TimeoutError:
        raise LinkDown(f"{host}:{port} does not answer; check the address, the cable and any firewall") from None
    except OSError as error:
        raise LinkDown(f"{host}:{port} cannot be reached: {cause(error)}") from None
    line = transport.get_extra_info("socket")
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if option := getattr(socket, name, None):  # not every system has them all
            line.setsockopt(socket.IPPROTO_TCP, option, value)
    return protocol


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
        self._end(f"{self._where} closed the connection" + (f": {cause(exc)}" if isinstance(exc, OSError) else ""))
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
            self._end(f"{self._where} sent something that is not Modbus TCP (protocol {rest[2:4].hex()}, not 0000)")
            return b""
        if len(rest) < 6:
            return b""
        length = int.from_bytes(rest[4:6], "big")
        if not 3 <= length <= 1 + MAX_PDU:
            self._end(f"{self._where} sent a frame of impossible length {length} (3 to {1 + MAX_PDU} are possible)")
            return b""
        end = 6 + length
        if len(rest) < end:
            return b""
        self._rest = rest[end:]
        return rest[:end]

    def _take(self, frame: bytes) -> None:
        request = self._request
        if request is None or self._waiting is None or frame[:2] != self._expected[:2]:
            self.stats.strays += 1
            self.roll.heard(frame[6])
            self._unasked += 1
            if self._unasked > _MOST_UNASKED:
                self._end(f"{self._where} goes on sending answers that nobody asked for")
            return
        if len(frame) == self._size and frame.startswith(self._expected):
            self._answer(frame)
            return
        _, _, length, unit, function = _HEADER(frame)
        if unit != request.unit:
            self._wrong(f"{self._where} answered as unit {unit} when unit {request.unit} was asked")
        elif function == request.function | 0x80 and length == 3:
            self.stats.exceptions += 1
            self.roll.heard(unit)
            waiting, self._waiting, self._size = self._waiting, None, 0
            if not waiting.done():
                waiting.set_exception(Refused(unit, request.function, request.about, frame[_HEADER_SIZE]))
        elif function != request.function:
            self._wrong(f"{self._where} answered with function {function} when function {request.function} was asked")
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
                f"{len(frame)} bytes {frame[:16].hex(' ')}, expected {self._size} beginning {self._expected.hex(' ')}"
            )

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
        if self.roll.missed(request.unit):
            self._end(
                f"{self._where} did not answer in time when asked to {request.about} (unit {request.unit}); "
                "check the unit number, whether the device is running, and whether it needs a longer `timeout`"
            )
            return
        self._waiting, self._size = None, 0
        check = "check that it is switched on, its unit number, and the bus behind the gateway"
        waiting.set_exception(silent(self._where, request.unit, request.function, request.about, check))

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


def cause(error: OSError) -> str:
    """Why a connection could not be made or was lost, in words that say what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not accepted: {error.verify_message}; name the authority that signed it as `ca`, "
            "and call the device as its certificate does"
        )
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return f"no secure connection: {reason}; the device may want a `certificate` and `key`, or not speak TLS here"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused; check the port and that Modbus is switched on in the device"
    if isinstance(error, ConnectionResetError):
        return "the device reset the connection; some devices take only a few connections at once"
    return (error.strerror or str(error)).lower()
