"""An open Modbus link: prepared readers and checked writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from edgeflow.driver import Home, Reader
from edgeflow.model import Scalar
from edgeflow_modbus import transport
from edgeflow_modbus.config import Device, Point
from edgeflow_modbus.cost import Cost
from edgeflow_modbus.learned import Learned
from edgeflow_modbus.link import Link
from edgeflow_modbus.pdu import (
    BASIC,
    ILLEGAL_ADDRESS,
    ILLEGAL_VALUE,
    REGULAR,
    Refused,
    Table,
    identification,
    place,
    read,
    read_identification,
)
from edgeflow_modbus.reader import PointsReader
from edgeflow_modbus.scout import manners
from edgeflow_modbus.sunspec import Chain
from edgeflow_modbus.wire import Stats, Wire
from edgeflow_modbus.writer import Writer


@asynccontextmanager
async def open_link(link: Link, deadline: float, home: Home) -> AsyncIterator[Session]:
    """Connects by the deadline (loop time, seconds) and closes on leaving; raises LinkDown."""
    wire, writing = await transport.connect(link, deadline, home)
    try:
        yield Session(wire, home, link.where, transport.cost(link), writing)
    finally:
        await writing.close()
        await wire.close()


class Session:
    """Reads and writes the units behind one link, one request at a time; writes apart where it has two connections."""

    def __init__(self, wire: Wire, home: Home, where: str, assumed: Cost, writing: Wire) -> None:
        """`where` names the link in the home; `assumed`: what reading costs there as long as nothing is measured."""
        self._wire, self._home, self._where, self._assumed = wire, home, where, assumed
        self.writes_apart = writing is not wire
        self._learned: dict[int, Learned] = {}
        self._writer = Writer(writing)
        self._chains: dict[int, Chain] = {}

    @property
    def stats(self) -> Stats:
        return self._wire.stats

    async def prepare(self, device: Device, points: Sequence[Point], deadline: float) -> Reader:
        """Plans the reading of some points; nothing is sent but for what SunSpec names are looked up with."""
        self._wire.respect(device.unit, manners(device))
        if any(point.sunspec is not None for point in points):
            chain = self._chains.setdefault(device.unit, Chain(self._wire, device.unit))
            points = await chain.resolve(device, points, deadline)
        learned = self._learned.get(device.unit)
        if learned is None:
            learned = self._learned[device.unit] = Learned(self._home, self._where, device.unit, self._assumed)
        return PointsReader(self._wire, device, points, learned)

    async def write(self, device: Device, points: Sequence[Point], values: Sequence[Scalar], deadline: float) -> None:
        """Writes in order, neighbours in one request (functions 5, 6, 15, 16, and 22 for bits and bytes).

        Every value is checked before the first is sent. Raises Rejected with the reason; where the device
        refuses one request of several, those before it have been written.
        """
        self._wire.respect(device.unit, manners(device))
        await self._writer.write(device, points, values, deadline)

    # --- for the tools of a person who looks around ---

    def search(self) -> None:
        """From now on a unit that does not answer is `Silent`, and no silence is taken for a lost link."""
        self._wire.roll.searching = True

    async def read_raw(self, unit: int, table: Table, start: int, count: int, deadline: float) -> bytes:
        """Reads addresses as on the wire: packed bits (lowest first), or registers (big endian).

        Raises Refused, Silent or LinkDown.
        """
        about = f"read {place(table, start, count)}"
        return await self._wire.bind(read(unit, table, start, count, about))(deadline)

    async def identify(self, unit: int, deadline: float) -> dict[str, str]:
        """What a unit says of itself (function 43/14): vendor, product, revision, and what else of the regular objects.

        Raises Refused where the unit does not have the function, Silent or LinkDown.
        """
        try:
            return await self._identify(unit, REGULAR, deadline)
        except Refused as refusal:
            if refusal.code not in (ILLEGAL_ADDRESS, ILLEGAL_VALUE):
                raise
        return await self._identify(unit, BASIC, deadline)

    async def _identify(self, unit: int, category: int, deadline: float) -> dict[str, str]:
        found: dict[str, str] = {}
        following: int | None = 0
        asked: set[int] = set()
        while following is not None and following not in asked:
            asked.add(following)
            request = read_identification(unit, category, following, "tell what it is")
            texts, following = identification(await self._wire.bind(request)(deadline))
            found |= texts
        return found
