"""A connection to one tower: one command at a time, one answer to each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Self, cast

from edgeflow.driver import Column, Home, Reader, single
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import BAD, Quality, Scalar
from edgeflow_patlite import pns
from edgeflow_patlite.settings import Device, Link, Point

_LONGEST = 64
_MOST_SHOWN = 12


@asynccontextmanager
async def open_session(link: Link, deadline: float, _home: Home) -> AsyncIterator[Session]:
    """Connects by the deadline (loop time, seconds) and closes on leaving; raises LinkDown."""
    wire = await Wire.connect(link.host, link.port, deadline)
    try:
        yield Session(wire)
    finally:
        await wire.close()


class Session:
    """Reads and writes the parts of a tower."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def prepare(self, device: Device, points: Sequence[Point], deadline: float) -> Reader:  # noqa: ARG002 - contract
        """One status request gives all parts; nothing is sent now."""
        request, wire, spare = pns.status_request(device), self._wire, pns.spare(device)

        async def read(deadline: float) -> Column:
            answer = await wire.ask(request, lambda begin: pns.status_size(device, begin), deadline, spare)
            if answer[0] == pns.NAK:
                return _all_bad(points, "the tower refuses to tell its status; check `model`")
            try:
                now = pns.status(device, answer)
            except ValueError as error:
                return _all_bad(points, str(error))
            values: list[Scalar] = []
            faults: dict[int, tuple[Quality, str]] = {}
            for i, point in enumerate(points):
                try:
                    values.append(pns.value(device, point, now))
                except Rejected as reason:
                    values.append(None)
                    faults[i] = (BAD, str(reason))
            return Column(values, 0, faults or None)

        return single(read)

    async def write(self, device: Device, points: Sequence[Point], values: Sequence[Scalar], deadline: float) -> None:
        """Writes all parts in one command; nothing is sent where one of them does not fit. Raises Rejected."""
        answer = await self._wire.ask(pns.control_request(device, points, values), lambda _: 1, deadline)
        if answer[0] == pns.NAK:
            raise Rejected("the tower refused the command; check `model`, and that it is in signal light mode")
        if answer[0] != pns.ACK:
            reason = f"{self._wire.where} answered {answer[0]:#04x} to a command, neither ACK nor NAK"
            self._wire.end(reason)
            raise LinkDown(reason)


def _all_bad(points: Sequence[Point], reason: str) -> Column:
    return Column([None] * len(points), 0, dict.fromkeys(range(len(points)), (BAD, reason)))


def _shown(data: bytes) -> str:
    """How many bytes came, and the first of them, as text where they are one."""
    first = data[:_MOST_SHOWN]
    text = repr(first.decode("ascii")) if first.isascii() and first.decode("ascii").isprintable() else first.hex(" ")
    return f"{len(data)} {'byte' if len(data) == 1 else 'bytes'} ({text}{' ...' if len(data) > len(first) else ''})"


class Wire(asyncio.Protocol):
    """The bytes. Answers carry no number, so whatever is not exactly the one expected ends the connection."""

    def __init__(self, where: str) -> None:
        self.where = where
        loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.WriteTransport | None = None
        self._down = ""
        self._waiting: asyncio.Future[bytes] | None = None
        self._size: Callable[[bytes], int | None] = len
        self._heard = b""
        self._spare = 0

    @classmethod
    async def connect(cls, host: str, port: int, deadline: float) -> Self:
        """Connects by the deadline; raises LinkDown with the likely cause."""
        where, loop = f"{host}:{port}", asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline):
                _, wire = await loop.create_connection(lambda: cls(where), host, port)
        except TimeoutError:
            raise LinkDown(f"{where} does not answer; check the address, the cable and any firewall") from None
        except ConnectionRefusedError:
            raise LinkDown(
                f"{where} refused the connection; switch on socket control in the tower's web page"
            ) from None
        except OSError as error:
            raise LinkDown(f"{where} cannot be reached: {(error.strerror or str(error)).lower()}") from None
        return wire

    async def ask(self, request: bytes, size: Callable[[bytes], int | None], deadline: float, spare: int = 0) -> bytes:
        """Sends one command and gives its answer; `size` tells from its beginning how long it is.

        So many bytes more as are `spare` may follow; they are dropped. Raises LinkDown,
        also where nothing comes by the deadline (loop time): a later answer would be taken for that of
        the next command.
        """
        if self._transport is None:
            raise LinkDown(self._down)
        if self._waiting is not None:
            raise RuntimeError(f"{self.where}: a second command while one is in flight")
        loop = asyncio.get_running_loop()
        self._waiting, self._size, self._heard, self._spare = loop.create_future(), size, b"", spare
        alarm = loop.call_at(deadline, self._late)
        self._transport.write(request)
        try:
            return await self._waiting
        finally:
            alarm.cancel()
            self._waiting = None

    def _late(self) -> None:
        if self._heard:
            came = f"only {_shown(self._heard)}, which is no whole answer; check `model`, and that `port` is a tower's"
            self.end(f"{self.where} sent {came}")
        else:
            self.end(f"{self.where} did not answer in time")

    async def close(self) -> None:
        """Closes the socket and waits until it is closed."""
        self.end("the connection is closed")
        await self._closed

    def end(self, reason: str) -> None:
        """Ends the connection for good; who waits gets LinkDown with the first reason there was."""
        if self._transport is None:
            return
        self._down = reason
        transport, self._transport = self._transport, None
        transport.abort()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(LinkDown(reason))

    # --- what the event loop calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        why = f": {exc}" if exc else ""
        self.end(f"{self.where} closed the connection{why}")
        if not self._closed.done():
            self._closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._waiting is None or self._waiting.done():
            self._spare -= len(data)
            if self._spare < 0:
                self.end(f"{self.where} sent something that nobody asked for")
            return
        self._heard += data
        size = self._size(self._heard)
        if size is None or len(self._heard) < size:
            if len(self._heard) > _LONGEST:
                self.end(f"{self.where} sent {_shown(self._heard)}, more than any answer has; is it a tower?")
            return
        self._spare -= len(self._heard) - size
        if self._spare < 0:
            self.end(f"{self.where} sent {_shown(self._heard)} where {size} were expected; is it a tower?")
            return
        self._waiting.set_result(self._heard[:size])
