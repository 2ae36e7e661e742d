"""Finds SunSpec values in a device: walks the chain of its models and turns names into registers.

Source: SunSpec Alliance, Device Information Model Specification: marker `SunS` at register 40000, 50000 or 0, then
blocks of [model number][length][values], then 0xFFFF.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import unpack

from edgeflow.errors import Rejected
from edgeflow_modbus.config import Absent, Device, Point
from edgeflow_modbus.models import Model, Value, Wanted, models, wanted
from edgeflow_modbus.pdu import ADDRESSES, ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ILLEGAL_VALUE, Refused, Table, read
from edgeflow_modbus.wire import Wire

BASES = (40000, 50000, 0)
"""Where the marker may be, as addresses on the wire, in the order in which they are tried."""

_MARKER = b"SunS"
_END = 0xFFFF
_MOST_BLOCKS = 100
_NOT_THERE = (ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE)


@dataclass(frozen=True, slots=True)
class Block:
    """One model in a device: its number, the address of its first register (the number), and its length after two."""

    number: int
    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + 2 + self.length

    @property
    def model(self) -> Model | None:
        return models().get(self.number)


class Chain:
    """The models of one unit, looked up once; where the time does not suffice, the next call goes on from there."""

    def __init__(self, wire: Wire, unit: int) -> None:
        self.blocks: list[Block] = []
        self._wire, self._unit = wire, unit
        self._begin()

    def _begin(self) -> None:
        self._bases = list(BASES)
        self._next = -1
        self._done = False

    async def walk(self, deadline: float) -> None:
        """Looks up the models, if that is not done yet.

        Raises LinkDown; Rejected where the time was too short (calling again goes on) or the device is busy.
        """
        time = asyncio.get_running_loop().time
        slowest, begun = 0.0, time()
        while not self._done:
            if slowest and begun + 2 * slowest >= deadline:
                raise Rejected(
                    f"the SunSpec models of unit {self._unit} are still being looked up, "
                    f"{len(self.blocks)} found so far"
                )
            await self._step(deadline)
            slowest, begun = max(slowest, time() - begun), time()

    async def _step(self, deadline: float) -> None:
        """One request: for the marker, or for the head of the next block."""
        at = self._next if self._next >= 0 else self._bases[0]
        about = f"read holding registers {at} to {at + 1} (SunSpec, counted from 0)"
        try:
            head = await self._wire.bind(read(self._unit, Table.REGISTER, at, 2, about))(deadline)
        except Refused as refusal:
            if refusal.code not in _NOT_THERE:
                raise
            head = b""
        if self._next < 0:
            if head == _MARKER:
                self._next = at + 2
            else:
                self._bases.pop(0)
                self._done = not self._bases
            return
        number, length = unpack(">HH", head) if head else (_END, 0)
        if number != _END:
            self.blocks.append(Block(number, at, length))
            self._next = at + 2 + length
        self._done = number == _END or self._next + 2 > ADDRESSES or len(self.blocks) == _MOST_BLOCKS

    async def resolve(self, device: Device, points: Sequence[Point], deadline: float) -> list[Point]:
        """The points with their registers in place of SunSpec names; what the device does not have is `Absent`.

        Raises as `walk` does; also Rejected where the device has no models at all and nothing else is asked
        for, since it may only be starting.
        """
        await self.walk(deadline)
        if not self.blocks:
            self._begin()
            if all(point.sunspec is not None for point in points):
                raise Rejected(self._lack())
        return [point if point.sunspec is None else self._resolved(device, point, point.sunspec) for point in points]

    def _resolved(self, device: Device, point: Point, names: Sequence[str]) -> Point:
        reason = self._lack()
        for name in names:
            want = wanted(name)
            same = [block for block in self.blocks if block.number in want.ids]
            if len(same) < want.nth:
                continue
            block = same[want.nth - 1]
            value = want.value(block.number)
            reason = self._reason(want, block, value)
            if value is not None and not reason:
                return _point(device, point, want, block, value)
        return Absent.model_construct(**dict(point), reason=f"{', '.join(names)}: {reason}")

    def _lack(self) -> str:
        unit = f"unit {self._unit}"
        if not self.blocks:
            return (
                f"{unit} has no SunSpec models (no `SunS` at 40000, 50000 or 0); check the unit number, "
                "and whether SunSpec Modbus is switched on in the device"
            )
        return f"{unit} has no such model; it has {', '.join(_titles(self.blocks))}"

    @staticmethod
    def _reason(want: Wanted, block: Block, value: Value | None) -> str:
        """Why a block does not have a value; empty where it has."""
        model = models()[block.number]
        if value is None:
            return f"model {block.number} has no point {want.name}"
        repeated = (block.length - model.length) // model.block_length if model.block_length else 0
        if want.block > repeated:
            return f"the device's model {block.number} has only {repeated} blocks"
        if _at(want, block, value) + value.count > block.end:
            return f"the device's model {block.number} ends before it"
        return ""


def _point(device: Device, point: Point, want: Wanted, block: Block, value: Value) -> Point:
    """The registers of a value in this device as a point, numbered as the device's list is."""
    first = device.first(Table.REGISTER)
    keys = {"register": first + _at(want, block, value), "word_order": "big", "byte_order": "big", **value.keys}
    if value.factor is not None:
        factor = models()[block.number].values[value.factor.lower()]
        keys["factor"] = first + block.start + factor.at
    return Point(**keys, names=point.names, other=point.other)


def _at(want: Wanted, block: Block, value: Value) -> int:
    """The address of a value on the wire."""
    if not want.block:
        return block.start + value.at
    model = models()[block.number]
    return block.start + 2 + model.length + (want.block - 1) * model.block_length + value.at


def _titles(blocks: Sequence[Block]) -> Iterator[str]:
    for block in blocks:
        yield f"{block.number} ({block.model.kind})" if block.model else str(block.number)
