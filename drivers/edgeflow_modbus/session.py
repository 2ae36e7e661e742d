"""An open Modbus link: prepared readers and checked writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from edgeflow.driver import Home, Reader
from edgeflow.errors import Rejected
from edgeflow.model import Scalar
from edgeflow_modbus.codec import Layout, boolean, encode, keep_mask, layout
from edgeflow_modbus.config import Device, Link, Point, writable
from edgeflow_modbus.pdu import (
    ILLEGAL_FUNCTION,
    MAX_WRITTEN_COILS,
    MAX_WRITTEN_REGISTERS,
    Refused,
    Request,
    Table,
    mask_register,
    place,
    read,
    write_coils,
    write_registers,
)
from edgeflow_modbus.reader import PointsReader
from edgeflow_modbus.tcp import Stats, TcpWire, Wire


@asynccontextmanager
async def open_link(link: Link, deadline: float, home: Home) -> AsyncIterator[Session]:
    """Connects by the deadline (loop time, seconds) and closes on leaving; raises LinkDown."""
    wire = await TcpWire.connect(link.host, link.port, deadline)
    try:
        yield Session(wire)
    finally:
        await wire.close()


class Session:
    """Reads and writes the units behind one connection, one request at a time."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._without_mask: set[int] = set()

    @property
    def stats(self) -> Stats:
        return self._wire.stats

    async def prepare(self, device: Device, points: Sequence[Point], deadline: float) -> Reader:  # noqa: ARG002 - contract
        """Plans the reading of some points; nothing is sent."""
        return PointsReader(self._wire, device, points).read

    async def write(self, device: Device, points: Sequence[Point], values: Sequence[Scalar], deadline: float) -> None:
        """Writes in order, neighbours in one request (functions 5, 6, 15, 16, and 22 for bits and bytes).

        Every value is checked before the first is sent. Raises Rejected with the reason; where the device
        refuses one request of several, those before it have been written.
        """
        items = [_Item.of(device, point, value) for point, value in zip(points, values, strict=True)]
        for group in _groups(items):
            if group[0].shape is not None and group[0].shape.partial:
                await self._write_part(device, group, deadline)
            else:
                await self._wire.bind(_whole(device, group))(deadline)

    async def _write_part(self, device: Device, group: list[_Item], deadline: float) -> None:
        """Changes bits of one register: by function 22, or by reading and writing where the device lacks it."""
        keep, put = 0xFFFF, 0
        for item in group:
            assert item.shape is not None
            mine = keep_mask(item.shape)
            keep, put = keep & mine, put & mine | int.from_bytes(item.payload, "big")
        start, about = group[0].start, _about(device, group)
        if device.unit not in self._without_mask:
            try:
                await self._wire.bind(mask_register(device.unit, start, keep, put, about))(deadline)
            except Refused as refusal:
                if refusal.code != ILLEGAL_FUNCTION:
                    raise
                self._without_mask.add(device.unit)
            else:
                return
        now = await self._wire.bind(read(device.unit, Table.REGISTER, start, 1, about))(deadline)
        new = int.from_bytes(now, "big") & keep | put
        await self._wire.bind(write_registers(device.unit, start, new.to_bytes(2, "big"), about))(deadline)


@dataclass(frozen=True, slots=True)
class _Item:
    """One value ready to be written: a coil (`shape` None), or registers with their bytes."""

    table: Table
    start: int
    count: int
    payload: bytes
    shape: Layout | None = None

    @classmethod
    def of(cls, device: Device, point: Point, value: Scalar) -> _Item:
        """Checks and encodes a value; raises Rejected, saying for which point."""
        name = place(point.table, point.address, point.count)
        start = point.address - device.first_address
        if not writable(point):
            raise Rejected(f"{name} is read only; only coils and holding registers can be written")
        if start < 0:
            raise Rejected(f"there is no {name} where the first address is 1")
        if value is None:
            raise Rejected(f"{name}: there is no value to write")
        try:
            if point.table is Table.COIL:
                return cls(point.table, start, 1, bytes((boolean(value),)))
            shape = layout(point, device)
            return cls(point.table, start, point.count, encode(shape, value), shape)
        except Rejected as reason:
            raise Rejected(f"{name} cannot take the value: {reason}") from None

    def follows(self, group: Sequence[_Item]) -> bool:
        """Whether it can go into the same request."""
        first, last = group[0], group[-1]
        if self.table is not first.table:
            return False
        if self.shape is not None and first.shape is not None and (self.shape.partial or first.shape.partial):
            return self.shape.partial and first.shape.partial and self.start == first.start
        limit = MAX_WRITTEN_COILS if self.table is Table.COIL else MAX_WRITTEN_REGISTERS
        return self.start == last.start + last.count and self.start + self.count - first.start <= limit


def _groups(items: Sequence[_Item]) -> Iterator[list[_Item]]:
    """The items of each request, in order."""
    group: list[_Item] = []
    for item in items:
        if group and not item.follows(group):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _about(device: Device, group: Sequence[_Item]) -> str:
    first, last = group[0], group[-1]
    return f"write {place(first.table, first.start + device.first_address, last.start + last.count - first.start)}"


def _whole(device: Device, group: Sequence[_Item]) -> Request:
    payload = b"".join(item.payload for item in group)
    if group[0].table is Table.COIL:
        return write_coils(device.unit, group[0].start, [byte == 1 for byte in payload], _about(device, group))
    return write_registers(device.unit, group[0].start, payload, _about(device, group))
