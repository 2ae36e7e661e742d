"""Writes values: checked before the first is sent, neighbours in one request, read back where that is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgeflow.errors import Rejected
from edgeflow.model import Scalar
from edgeflow_modbus.codec import NoValue, parts, registers_decoder, times_power_of_ten
from edgeflow_modbus.config import Device, Point, writable
from edgeflow_modbus.encoder import boolean, encode, keep_mask, raw_of
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
from edgeflow_modbus.space import Layout
from edgeflow_modbus.wire import Wire

_LOOKS_S = (0.0, 0.05, 0.1, 0.2)
"""The pauses before each look at what was written: some devices take a moment until they show it."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One value ready to be written: a coil (`shape` None), or registers with their bytes.

    `function`: 6 for one at a time, 16 for always the function for several, None for whichever is shorter.
    """

    table: Table
    start: int
    count: int
    payload: bytes
    shape: Layout | None
    function: int | None
    verify: bool

    @property
    def partial(self) -> bool:
        return self.shape is not None and self.shape.partial

    def follows(self, group: Sequence[_Item], device: Device) -> bool:
        """Whether it can go into the same request."""
        first, last = group[0], group[-1]
        if (self.table, self.function, self.verify) != (first.table, first.function, first.verify):
            return False
        if self.partial or first.partial:
            return self.partial and first.partial and self.start == first.start
        limit = MAX_WRITTEN_COILS if self.table is Table.COIL else MAX_WRITTEN_REGISTERS
        if self.verify and self.table is not Table.COIL:
            limit = min(limit, device.max_registers)
        return self.start == last.start + last.count and self.start + self.count - first.start <= limit


class Writer:
    """Writes to the units behind one wire, and remembers which functions they do not have."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lacks: set[tuple[int, int]] = set()

    async def write(self, device: Device, points: Sequence[Point], values: Sequence[Scalar], deadline: float) -> None:
        """Writes in order, neighbours in one request (functions 5, 6, 15, 16, and 22 for bits and bytes).

        Every value is checked before the first is sent. Raises Rejected with the reason; where the device
        refuses one request of several, those before it have been written.
        """
        items = [
            _item(device, point, value, await self._power(device, point, deadline))
            for point, value in zip(points, values, strict=True)
        ]
        time = asyncio.get_running_loop().time
        for group in _groups(device, items):
            begun = time()
            if group[0].partial:
                await self._write_bits(device, group, deadline)
            else:
                await self._write_whole(device, group, deadline)
            if group[0].verify:
                await self._verify(device, group, time() - begun, deadline)

    async def _power(self, device: Device, point: Point, deadline: float) -> int:
        """The power of ten that the register of `factor` holds now; 0 where there is none."""
        if point.factor is None or not writable(point):
            return 0
        part = parts(point, device)[-1]
        assert part.layout is not None
        about = f"read holding register {point.factor} (scale factor)"
        answer = await self._ask(read(device.unit, part.table, part.start, 1, about), deadline)
        (power,) = registers_decoder([(0, part.layout)])(answer)
        assert isinstance(power, int)
        try:
            times_power_of_ten(1, power)
        except NoValue as reason:
            raise Rejected(f"{_name(point)} cannot be written: {reason}") from None
        return power

    async def _ask(self, request: Request, deadline: float) -> bytes:
        return await self._wire.bind(request)(deadline)

    # --- whole registers and coils ---

    async def _write_whole(self, device: Device, group: Sequence[_Item], deadline: float) -> None:
        """By the function that the device takes: asked for, found out before, or the shorter one."""
        count = sum(item.count for item in group)
        coils = group[0].table is Table.COIL
        one, several = (5, 15) if coils else (6, 16)
        torn = any(item.count > 1 for item in group)  # a long value is written at once, unless 6 is asked for
        apart = group[0].function == 6 or ((device.unit, several) in self._lacks and not torn)
        together = group[0].function == 16 or (device.unit, one) in self._lacks
        if apart and not together:
            for single in _singles(group):
                await self._ask(_request(device, [single]), deadline)
            return
        used = several if together or count > 1 else one
        try:
            await self._ask(_request(device, group, several=used == several), deadline)
        except Refused as refusal:
            if refusal.code != ILLEGAL_FUNCTION or group[0].function or together:
                raise
            if torn:
                raise Rejected(f"{refusal}; where it takes only function 6, say `write_function: 6`") from None
            self._lacks.add((device.unit, used))
            await self._write_whole(device, group, deadline)

    # --- some bits of a register ---

    async def _write_bits(self, device: Device, group: Sequence[_Item], deadline: float) -> None:
        """By function 22, or by reading and writing where the device lacks it."""
        start, about = group[0].start, _about(device, group)
        keep, put = _mask(group)
        if group[0].function is None and (device.unit, 22) not in self._lacks:
            try:
                await self._ask(mask_register(device.unit, start, keep, put, about), deadline)
            except Refused as refusal:
                if refusal.code != ILLEGAL_FUNCTION:
                    raise
                self._lacks.add((device.unit, 22))
            else:
                return
        now = await self._ask(read(device.unit, Table.REGISTER, start, 1, about), deadline)
        new = (int.from_bytes(now, "big") & keep | put).to_bytes(2, "big")
        whole = _Item(Table.REGISTER, start, 1, new, None, group[0].function, group[0].verify)
        await self._write_whole(device, [whole], deadline)

    # --- reading back ---

    async def _verify(self, device: Device, group: Sequence[_Item], took: float, deadline: float) -> None:
        """Looks whether the device holds what was written, a few times and never beyond the deadline.

        `took`: how many seconds the writing took, which tells how long reading may take.
        """
        time = asyncio.get_running_loop().time
        start, end = group[0].start, group[-1].start + group[-1].count
        place_ = _place(device, group)
        request = read(device.unit, group[0].table, start, end - start, f"read back {place_}")
        held = b""
        for pause_s in _LOOKS_S:
            if time() + pause_s + 1.5 * took >= deadline:
                break
            await asyncio.sleep(pause_s)
            begun = time()
            try:
                held = await self._ask(request, deadline)
            except Refused as refusal:
                raise Rejected(f"{place_} was written, but nobody knows whether it took it: {refusal}") from None
            if _holds(group, held):
                return
            took = max(took, time() - begun)
        if not held:
            raise Rejected(f"{place_} was written, but there was no time left to read it back; give it more `timeout`")
        raise Rejected(_difference(device, group, held))


def _item(device: Device, point: Point, value: Scalar, power: int) -> _Item:
    """Checks and encodes a value; raises Rejected, saying for which point."""
    name = _name(point)
    if point.plus:
        raise Rejected(f"{name} cannot be written: it is a sum")
    if point.bits is not None and point.count > 1:
        raise Rejected(f"{name} cannot be written: bits of more than one register cannot be changed at once")
    if not writable(point):
        raise Rejected(f"{name} is read only; only coils and holding registers can be written")
    own = parts(point, device)[0]
    if value is None:
        raise Rejected(f"{name}: there is no value to write")
    function = point.write_function or device.write_function
    verify = device.verify if point.verify is None else point.verify
    try:
        payload = bytes((boolean(value),)) if own.layout is None else encode(own.layout, raw_of(point, value, power))
    except Rejected as reason:
        raise Rejected(f"{name} cannot take the value: {reason}") from None
    return _Item(own.table, own.start, own.count, payload, own.layout, function, verify)


def _name(point: Point) -> str:
    if point.sunspec is not None:
        return f"SunSpec {', '.join(point.sunspec)}"
    return place(point.table, point.address, point.count)


def _groups(device: Device, items: Sequence[_Item]) -> Iterator[list[_Item]]:
    """The items of each request, in order."""
    group: list[_Item] = []
    for item in items:
        if group and not item.follows(group, device):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _singles(group: Sequence[_Item]) -> Iterator[_Item]:
    """The registers or coils of a group, each by itself."""
    payload = _bytes(group)
    size = 1 if group[0].table is Table.COIL else 2
    for i in range(len(payload) // size):
        own = payload[i * size : (i + 1) * size]
        yield _Item(group[0].table, group[0].start + i, 1, own, None, group[0].function, group[0].verify)


def _bytes(group: Sequence[_Item]) -> bytes:
    return _mask(group)[1].to_bytes(2, "big") if group[0].partial else b"".join(item.payload for item in group)


def _mask(group: Sequence[_Item]) -> tuple[int, int]:
    """The bits of a register that stay, and those that are put in."""
    keep, put = 0xFFFF, 0
    for item in group:
        assert item.shape is not None
        mine = keep_mask(item.shape)
        keep, put = keep & mine, put & mine | int.from_bytes(item.payload, "big")
    return keep, put


def _holds(group: Sequence[_Item], held: bytes) -> bool:
    """Whether the payload of an answer is what was written."""
    if group[0].table is Table.COIL:
        return all(held[i // 8] >> i % 8 & 1 == item.payload[0] for i, item in enumerate(group))
    if group[0].partial:
        keep, put = _mask(group)
        return int.from_bytes(held, "big") & ~keep == put
    return held == _bytes(group)


def _difference(device: Device, group: Sequence[_Item], held: bytes) -> str:
    """The first value that the device holds otherwise than it was written, in words."""
    wanted: Scalar
    found: Scalar
    for item in group:
        at = item.start - group[0].start
        if item.shape is None:
            wanted, found = item.payload[0] == 1, held[at // 8] >> at % 8 & 1 == 1
        else:
            decode = registers_decoder([(0, item.shape)])
            wanted, found = decode(item.payload)[0], decode(held[2 * at : 2 * (at + item.count)])[0]
        if wanted != found:
            return f"{_place(device, [item])} was written as {wanted!r}, but the device holds {found!r}"
    return f"{_place(device, group)} was written, but the device holds {held.hex(' ')}"


def _place(device: Device, group: Sequence[_Item]) -> str:
    first, last = group[0], group[-1]
    return place(first.table, first.start + device.first(first.table), last.start + last.count - first.start)


def _about(device: Device, group: Sequence[_Item]) -> str:
    return f"write {_place(device, group)}"


def _request(device: Device, group: Sequence[_Item], *, several: bool = False) -> Request:
    payload, about = _bytes(group), _about(device, group)
    if group[0].table is Table.COIL:
        return write_coils(device.unit, group[0].start, [byte == 1 for byte in payload], about, several=several)
    return write_registers(device.unit, group[0].start, payload, about, several=several)
