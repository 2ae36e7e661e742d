"""Modbus TCP on a socket: frames out, checked frames in, one request at a time.

Source of the frame: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, section 3.1.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from struct import Struct
from typing import Protocol, Self, cast

from edgeflow.errors import LinkDown
from edgeflow_modbus.pdu import MAX_PDU, Refused, Request

Ask = Callable[[float], Awaitable[bytes]]
"""Sends a request; given the deadline, gives the payload, raises Refused or LinkDown."""

_REST_OF_HEAD = Struct(">HHB").pack
_HEADER = Struct(">HHHBB").unpack_from
_HEADER_SIZE = 8
_MOST_UNREAD = 64 * (7 + MAX_PDU)
_MOST_UNASKED = 1000


@dataclass(slots=True)
class Stats:
    """What went over one connection: requests, exceptions answered, answers that nobody waited for."""

    requests: int = 0
    exceptions: int = 0
    strays: int = 0


class Wire(Protocol):
    """A transport of requests. One at a time; `bind` prepares a request that is sent again and again."""

    stats: Stats

    def bind(self, request: Request) -> Ask: ...


class TcpWire(asyncio.Protocol):
    """A connection to a Modbus TCP server.

    The whole beginning of a good answer is known before it comes, so the usual one is checked by a
    single comparison; only what differs is taken apart. An answer that is not exactly the expected one
    ends the connection: on a byte stream nothing that follows could be trusted. Answers to other
    transactions (late or doubled) are counted and dropped.
    """

    def __init__(self, where: str) -> None:
        self.stats = Stats()
        self._where = where
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._down = ""
        self._transaction = 0
        self._waiting: asyncio.Future[bytes] | None = None
        self._request: Request | None = None
        self._expected = b""
        self._size = 0
        self._deadline = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._rest = b""
        self._unasked = 0

    @classmethod
    async def connect(cls, host: str, port: int, deadline: float) -> Self:
        """Connects by the deadline (loop time); raises LinkDown with the likely cause."""
        where = f"{host}:{port}"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline):
                _, wire = await loop.create_connection(lambda: cls(where), host, port)
        except TimeoutError:
            raise LinkDown(f"{where} does not answer; check the address, the cable and any firewall") from None
        except OSError as error:
            raise LinkDown(f"{where} cannot be reached: {_cause(error)}") from None
        return wire

    async def close(self) -> None:
        """Closes the socket and waits until it is closed."""
        self._end("the connection is closed")
        await self._closed

    def bind(self, request: Request) -> Ask:
        """Prepares the frames of a request, so that asking costs only the sending."""
        tail = _REST_OF_HEAD(0, 1 + len(request.pdu), request.unit) + request.pdu
        begin = _REST_OF_HEAD(0, 1 + request.size, request.unit) + request.head
        size = 7 + request.size

        def ask(deadline: float) -> Awaitable[bytes]:
            if self._transport is None:
                raise LinkDown(self._down)
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
        self._end(f"{self._where} closed the connection" + (f": {_cause(exc)}" if isinstance(exc, OSError) else ""))
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
            self._unasked += 1
            if self._unasked > _MOST_UNASKED:
                self._end(f"{self._where} goes on sending answers that nobody asked for")
            return
        if len(frame) == self._size and frame.startswith(self._expected):
            self._answer(frame)
            return
        _, _, length, unit, function = _HEADER(frame)
        if unit != request.unit:
            self._end(f"{self._where} answered as unit {unit} when unit {request.unit} was asked")
        elif function == request.function | 0x80 and length == 3:
            self.stats.exceptions += 1
            waiting, self._waiting, self._size = self._waiting, None, 0
            if not waiting.done():
                waiting.set_exception(Refused(unit, request.function, request.about, frame[_HEADER_SIZE]))
        elif function != request.function:
            self._end(f"{self._where} answered with function {function} when function {request.function} was asked")
        else:
            self._end(
                f"{self._where} gave a wrong answer to the request to {request.about} (unit {unit}): "
                f"{len(frame)} bytes {frame[:16].hex(' ')}, expected {self._size} beginning {self._expected.hex(' ')}"
            )

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
        assert self._request is not None
        self._end(
            f"{self._where} did not answer in time when asked to {self._request.about} (unit {self._request.unit}); "
            "check the unit number and whether the device is running"
        )

    def _end(self, reason: str) -> None:
        """Ends the connection for good; whoever waits gets LinkDown with the first reason there was."""
        if self._transport is None:
            return
        self._down = reason
        transport, self._transport = self._transport, None
        transport.abort()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        waiting, self._waiting, self._rest = self._waiting, None, b""
        if waiting is not None and not waiting.done():
            waiting.set_exception(LinkDown(reason))


def _cause(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused; check the port and that Modbus TCP is switched on in the device"
    if isinstance(error, ConnectionResetError):
        return "the device reset the connection; some devices take only a few connections at once"
    return (error.strerror or str(error)).lower()
