"""Modbus over UDP: the frames of Modbus TCP, each in a datagram; what does not fit is dropped, not the end."""

from __future__ import annotations

import asyncio
from typing import Self, cast

from edgeflow.errors import LinkDown
from edgeflow_modbus.cause import cause
from edgeflow_modbus.pdu import READING, Request
from edgeflow_modbus.tcp import TcpWire, shown
from edgeflow_modbus.wire import Ask


class _Datagrams:
    """A datagram transport with the two methods that a wire uses of its transport."""

    def __init__(self, transport: asyncio.DatagramTransport) -> None:
        self._send, self.abort = transport.sendto, transport.abort
        self._last = b""

    def write(self, data: bytes) -> None:
        self._last = data
        self._send(data)

    def write_again(self) -> None:
        self._send(self._last)


class UdpWire(TcpWire):
    """Datagrams to and from one Modbus UDP server.

    Datagrams get lost, so a read is sent once more when half its time has gone by without an answer; a write
    is not, for it could come after a later one. A datagram that is not the expected answer is counted and
    dropped: the next one begins anew.
    """

    _datagrams: _Datagrams

    @classmethod
    async def open(cls, host: str, port: int, deadline: float) -> Self:
        """Finds the address by the deadline (loop time); sends nothing. Raises LinkDown."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline):
                _, wire = await loop.create_datagram_endpoint(lambda: cls(f"{host}:{port}"), remote_addr=(host, port))
        except TimeoutError:
            raise LinkDown(
                f"the name {host} could not be resolved in time; write its address, or look at the DNS"
            ) from None
        except OSError as error:
            raise LinkDown(f"{host}:{port} cannot be reached: {cause(error)}") from None
        return wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._datagrams = _Datagrams(cast("asyncio.DatagramTransport", transport))
        self._transport = cast("asyncio.WriteTransport", self._datagrams)

    def bind(self, request: Request) -> Ask:
        ask = super().bind(request)
        if request.function not in READING:
            return ask

        async def ask_twice(deadline: float) -> bytes:
            waiting = ask(deadline)
            again = self._loop.call_later((deadline - self._loop.time()) / 2, self._ask_again)
            try:
                return await waiting
            finally:
                again.cancel()

        return ask_twice

    def _ask_again(self) -> None:
        if self._transport is not None:
            self._datagrams.write_again()

    def datagram_received(self, data: bytes, address: object) -> None:  # noqa: ARG002 - the socket takes from one only
        if len(data) == self._size and data.startswith(self._expected):
            self._answer(data)
        elif len(data) > 8 and data[2:4] == b"\0\0" and int.from_bytes(data[4:6], "big") == len(data) - 6:
            self._take(data)
        else:
            self.stats.strays += 1
            self._note(f"{len(data)} bytes came that are no Modbus UDP frame: {shown(data)}")

    def error_received(self, exc: OSError) -> None:
        self._end(f"{self._where} cannot be reached: {cause(exc)}")

    def _wrong(self, reason: str) -> None:
        self.stats.strays += 1
        self._note(reason)
