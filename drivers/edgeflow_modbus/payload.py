"""Values ready to be written: checked, encoded, and put together into as few requests as they need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edgeflow.errors import Rejected
from edgeflow.model import Scalar
from edgeflow_modbus.codec import parts
from edgeflow_modbus.config import Device, Point, writable
from edgeflow_modbus.encoder import boolean, encode, keep_mask, raw_of
from edgeflow_modbus.pdu import (
    MAX_WRITTEN_COILS,
    MAX_WRITTEN_REGISTERS,
    Request,
    Table,
    place,
    write_coils,
    write_registers,
)
from edgeflow_modbus.space import Layout


@dataclass(frozen=True, slots=True)
class Payload:
    """One value: a coil (`layout` None), or registers with their bytes.

    `function`: 6 for one at a time, 16 for always the function for several, None for whichever is shorter.
    `beside`: the registers that are written in the same request, by their address on the wire; None for what
    the register holds already.
    """

    table: Table
    start: int
    count: int
    data: bytes
    layout: Layout | None
    function: int | None
    beside: Mapping[int, int | None] = field(default_factory=dict)

    @property
    def partial(self) -> bool:
        return self.layout is not None and self.layout.partial

    def follows(self, group: Sequence[Payload]) -> bool:
        """Whether it can go into the same request."""
        first, last = group[0], group[-1]
        if self.table is not first.table or bool(self.beside) != bool(first.beside):
            return False
        if self.beside:
            return any(self.start in each.beside or each.start in self.beside for each in group)
        if self.function != first.function:
            return False
        if self.partial or first.partial:
            return self.partial and first.partial and self.start == first.start
        limit = MAX_WRITTEN_COILS if self.table is Table.COIL else MAX_WRITTEN_REGISTERS
        return self.start == last.start + last.count and self.start + self.count - first.start <= limit


def payload(device: Device, point: Point, value: Scalar, power: int) -> Payload:
    """Checks and encodes a value; raises Rejected, saying for which point. `power`: of ten, by `factor`."""
    name = name_of(point)
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
    try:
        data = bytes((boolean(value),)) if own.layout is None else encode(own.layout, raw_of(point, value, power))
    except Rejected as reason:
        raise Rejected(f"{name} cannot take the value: {reason}") from None
    first = device.first(own.table)
    beside = {address - first: None if word == "keep" else word & 0xFFFF for address, word in point.write_with.items()}
    return Payload(own.table, own.start, own.count, data, own.layout, function, beside)


def name_of(point: Point) -> str:
    """The point in words: `holding register 40`."""
    if point.sunspec is not None:
        return f"SunSpec {', '.join(point.sunspec)}"
    return place(point.table, point.address, point.count)


def groups(payloads: Sequence[Payload]) -> Iterator[list[Payload]]:
    """The values of each request, in order."""
    group: list[Payload] = []
    for each in payloads:
        if group and not each.follows(group):
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def singles(group: Sequence[Payload]) -> Iterator[Payload]:
    """The registers or coils of a group, each by itself."""
    data = data_of(group)
    size = 1 if group[0].table is Table.COIL else 2
    for i in range(len(data) // size):
        own = data[i * size : (i + 1) * size]
        yield Payload(group[0].table, group[0].start + i, 1, own, None, group[0].function)


def data_of(group: Sequence[Payload]) -> bytes:
    """The bytes of neighbours, one after the other; of bits of one register, that register with only these set."""
    return mask_of(group)[1].to_bytes(2, "big") if group[0].partial else b"".join(each.data for each in group)


def mask_of(group: Sequence[Payload]) -> tuple[int, int]:
    """The bits of a register that stay, and those that are put in."""
    keep, put = 0xFFFF, 0
    for each in group:
        assert each.layout is not None
        mine = keep_mask(each.layout)
        keep, put = keep & mine, put & mine | int.from_bytes(each.data, "big")
    return keep, put


def joined(group: Sequence[Payload]) -> dict[int, bytes | None]:
    """All registers of a request with `beside`, by address; None for one that keeps what it holds."""
    words: dict[int, bytes | None] = {}
    for each in group:
        for address, word in each.beside.items():
            words[address] = words.get(address) if word is None else word.to_bytes(2, "big")
    for each in group:
        for i in range(each.count):
            words[each.start + i] = each.data[2 * i : 2 * i + 2]
    return dict(sorted(words.items()))


def request_of(device: Device, group: Sequence[Payload], *, several: bool) -> Request:
    """Neighbours in one request; `several` takes the function for several for a single one too."""
    data, about = data_of(group), about_of(device, group)
    if group[0].table is Table.COIL:
        return write_coils(device.unit, group[0].start, [byte == 1 for byte in data], about, several=several)
    return write_registers(device.unit, group[0].start, data, about, several=several)


# --- in words ---


def place_of(device: Device, group: Sequence[Payload]) -> str:
    """Where a group lies, numbered as the device's list does."""
    first, last = group[0], group[-1]
    return place(first.table, first.start + device.first(first.table), last.start + last.count - first.start)


def about_of(device: Device, group: Sequence[Payload]) -> str:
    """What is done to it: `write holding registers 1 to 3`."""
    return f"write {place_of(device, group)}"
