"""Values from registers and back: every type, byte and word order, compiled once per block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from operator import itemgetter
from struct import Struct
from typing import Any

from edgeflow.errors import EdgeFlowError, Rejected
from edgeflow.model import Scalar
from edgeflow_modbus.config import Absent, Device, Point, ScaleBy
from edgeflow_modbus.pdu import ADDRESSES, Table, place
from edgeflow_modbus.registers import REGISTERS, Type
from edgeflow_modbus.space import Layout, Part

Decode = Callable[[bytes], Sequence[Scalar]]
"""The payload of one answer to the values of its points, in the order they were given."""

Compose = Callable[[Sequence[Any]], Scalar]
"""The raw values of a point's parts to its value; raises NoValue."""

NOT_AVAILABLE = "the device says: not available"

_CODE: dict[Type, str] = {
    "bool": "H", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I",
    "int64": "q", "uint64": "Q", "float16": "e", "float32": "f", "float64": "d",
    "bcd16": "H", "bcd32": "I", "acc32": "I", "acc64": "Q",
}  # fmt: skip
_BITS = [tuple(byte >> bit & 1 == 1 for bit in range(8)) for byte in range(256)]
_POWERS = 10
_NO_FACTOR = -0x8000


class NoValue(EdgeFlowError):
    """What the device gave is no value; the message says why, as the reason of a BAD point."""


def parts(point: Point, device: Device) -> tuple[Part, ...]:
    """What must be read for a point: its own addresses, then those of `plus`, then what it is multiplied by.

    Raises Rejected, saying why and what to do, where this device cannot have such an address.
    """
    if isinstance(point, Absent):
        raise Rejected(point.reason)
    if point.table.bits:
        return (_part(device, point.table, point.address, 1, None),)
    own = layout(point, device)
    found = [_part(device, point.table, number, point.count, own) for number in (point.address, *point.plus)]
    if point.factor is not None:
        found.append(_part(device, point.table, point.factor, 1, _factor_layout(point, device)))
    if (by := point.scale_by) is not None:
        words = (point.word_order or device.word_order, point.byte_order or device.byte_order)
        shape = _layout(by.type, REGISTERS[by.type], words[0] == "big", words[1] == "big", None, None)
        found.append(_part(device, by.table, by.address, REGISTERS[by.type], shape))
    return tuple(found)


def unfit(device: Device, point: Point) -> str:
    """Why a device cannot have such a point; "" where it can, as far as that is known before it is asked."""
    if point.sunspec is None:
        try:
            parts(point, device)
        except Rejected as reason:
            return str(reason)
        if point.write_with and (wrong := _unfit_beside(device, point)):
            return wrong
        if not point.table.bits and point.count > device.max_registers:
            return (
                f"a {point.kind} of {point.count} registers does not fit what the device gives at once; "
                f"write `max_registers: {point.count}` or more at the device, or leave it out"
            )
    return ""


def _unfit_beside(device: Device, point: Point) -> str:
    if device.write_function == 6 and point.write_function is None:
        return "`write_with` needs function 16; say `write_function: 16` at the tag, or leave it out at the device"
    first = device.first(point.table)
    outside = [address for address in point.write_with if not 0 <= address - first < ADDRESSES]
    return f"`write_with` names register {outside[0]}, which there is not" if outside else ""


def hint(device: Device, table: Table, start: int) -> str:
    """What else may be wrong with an address that the device refuses: a number written with its table in front."""
    first = device.first(table)
    listed = {Table.REGISTER: 40_000, Table.INPUT: 30_000, Table.DISCRETE: 10_000}.get(table)
    if listed is None or device.first_address > 1 or not listed < start + first < listed + 10_000:
        return ""
    return f"; if the maker's list begins at {listed + 1}, say `first_address: 40001` at the device"


def _factor_layout(point: Point, device: Device) -> Layout:
    return _layout("int16", 1, True, (point.byte_order or device.byte_order) == "big", None, None)


def _part(device: Device, table: Table, number: int, count: int, shape: Layout | None) -> Part:
    first = device.first(table)
    start = number - first
    if start < 0:
        raise Rejected(f"there is no {place(table, number, 1)} where the first address is {first}")
    if start + count > ADDRESSES:
        raise Rejected(
            f"there is no {place(table, number, count)}: the last address is {first + ADDRESSES - 1}{_notation(number)}"
        )
    return Part(table, start, count, layout=shape)


def _notation(number: int) -> str:
    return "; a list with such numbers needs `first_address: 400001` at the device" if number > 100_000 else ""


def compose(point: Point, device: Device) -> Compose | None:  # noqa: ARG001 - every maker of values is given both
    """How the raw values of a point's parts, in their order, make its value.

    None: the value of the only part is the point's value. Otherwise it never gives a number that is not
    finite; it raises NoValue for that as for everything else that is no value.
    """
    steps = [step for step in (_available(point), _own_value(point)) if step]
    ends = [step for step in (_fraction(point), _name(point)) if step]
    own = 1 + len(point.plus)
    if not steps and not ends and own == 1 and point.factor is None and point.scale_by is None:
        return None

    def value(raws: Sequence[Any]) -> Scalar:
        found = list(raws[:own])
        for step in steps:
            found = [step(raw) for raw in found]
        total = found[0] if own == 1 else sum(found)
        if point.factor is not None:
            total = times_power_of_ten(total, raws[own])
        if point.scale_by is not None:
            total = _scaled_by(point.scale_by, total, raws[own])
        for end in ends:
            total = end(total)
        if reason := strange(total):
            raise NoValue(reason)
        return total  # type: ignore[no-any-return] # what the steps make of a raw value is a Scalar

    return value


def _available(point: Point) -> Callable[[Any], Any] | None:
    """Lets a raw value pass unless the device means by it that there is none."""
    missing = point.sentinels
    if not missing:
        return None
    if point.kind.startswith("float"):  # as near to what is written as the type can be
        number = Struct(f">{_CODE[point.kind]}")
        missing = frozenset(number.unpack(number.pack(each))[0] for each in missing)

    def passes(raw: Any) -> Any:
        if raw in missing:
            raise NoValue(NOT_AVAILABLE)
        return raw

    return passes


def _own_value(point: Point) -> Callable[[Any], Any] | None:
    if not point.kind.startswith("bcd"):
        return None
    digits = 4 * point.count

    def decimal(raw: int) -> int:
        text = f"{raw:0{digits}X}"
        if not text.isdecimal():
            raise NoValue(f"the registers hold 0x{text}, which is not BCD: it has a digit over 9")
        return int(text)

    return decimal


def _fraction(point: Point) -> Callable[[Any], Any] | None:
    if point.fraction is None:
        return None
    one = 1 << point.fraction
    return lambda raw: raw / one


def _name(point: Point) -> Callable[[Any], Any] | None:
    names, other = point.names, point.other
    if names is None:
        return None

    def name(number: int) -> str:
        found = names.get(number, other)
        if found is None:
            raise NoValue(f"the device gives {number}, for which `names` has no name")
        return found

    return name


def _scaled_by(by: ScaleBy, number: float, told: float | None) -> float:
    """`told`: what the register holds; None where the device says that it has none."""
    factor = by.absent if told is None else next((each for key, each in by.values.items() if key == told), None)
    if factor is None:
        raise NoValue(f"{place(by.table, by.address, 1)} tells its unit by {told}, which `scale_by` does not name")
    return number * factor


def times_power_of_ten(number: float, power: int) -> float:
    """A number with its scale factor (SunSpec's sunssf: -10 to 10); raises NoValue where that is none."""
    if power == _NO_FACTOR:
        raise NoValue(f"{NOT_AVAILABLE} (its scale factor)")
    if abs(power) > _POWERS:
        raise NoValue(f"the scale factor is {power}, which is not between -{_POWERS} and {_POWERS}")
    return float(number * 10**power) if power >= 0 else number / 10**-power


def layout(point: Point, device: Device) -> Layout:
    """The layout of a point in registers, with the device's orders where it has none of its own.

    Text and bytes follow the device's byte order, but run from the first register to the last.
    """
    text = point.kind in ("string", "bytes")
    words = point.word_order or ("big" if text else device.word_order)
    bytes_ = point.byte_order or device.byte_order
    half = point.byte or ("low" if point.kind in ("int8", "uint8") else None)
    return _layout(point.kind, point.count, words == "big", bytes_ == "big", half, point.field)


@lru_cache(maxsize=1024)  # points by the thousand, but few layouts
def _layout(
    kind: Type,
    count: int,
    high_word_first: bool,
    high_byte_first: bool,
    half: str | None,
    field: tuple[int, int] | None,
) -> Layout:
    words = range(count) if high_word_first else range(count - 1, -1, -1)
    places = [2 * word + byte for word in words for byte in ((0, 1) if high_byte_first else (1, 0))]
    if half is not None:
        places = places[::2] if half == "high" else places[1::2]
    code = f"{len(places)}s" if kind in ("string", "bytes") else _CODE[kind]
    return Layout(kind, code, tuple(places), 2 * count, field)


def registers_decoder(fields: Sequence[tuple[int, Layout]]) -> Decode:
    """Compiles the decoding of registers: one unpacking, then only what needs a touch of its own.

    `fields` are (offset in registers, layout). Where the bytes of all values follow one another in the
    payload it is unpacked as it is; otherwise (orders, overlaps) they are gathered first.
    """
    places = [2 * offset + byte for offset, each in fields for byte in each.places]
    codes = [each.code for _, each in fields]
    solid = all(each.places[-1] - each.places[0] == len(each.places) - 1 for _, each in fields)
    touches = [(i, touch) for i, (_, each) in enumerate(fields) if (touch := _touch(each))]
    unpack: Decode
    if solid and all(a < b for a, b in pairwise(places)):
        unpack = Struct(_format(fields)).unpack_from
    else:
        gathered, gather = Struct(">" + "".join(codes)).unpack, itemgetter(*places)

        def unpack(payload: bytes) -> Sequence[Scalar]:
            return gathered(bytes(gather(payload)))

    if not touches:
        return unpack

    def decode(payload: bytes) -> Sequence[Scalar]:
        values = list(unpack(payload))
        for i, touch in touches:
            values[i] = touch(values[i])
        return values

    return decode


def _format(fields: Sequence[tuple[int, Layout]]) -> str:
    """The struct format of fields that lie in rising order, with what is between them skipped."""
    codes, at = [">"], 0
    for offset, each in fields:
        start = 2 * offset + each.places[0]
        codes += [f"{start - at}x"] if start > at else []
        codes.append(each.code)
        at = start + len(each.places)
    return "".join(codes)


def bits_decoder(offsets: Sequence[int]) -> Decode:
    """Compiles the decoding of packed bits, lowest first; `offsets` counts bits from the block's first."""
    pick = picker(offsets)

    def decode(payload: bytes) -> Sequence[Scalar]:
        return pick(list(chain.from_iterable(map(_BITS.__getitem__, payload))))

    return decode


def picker(indices: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Takes the items at `indices`, in that order, for any number of them."""
    if not indices:
        return lambda _: ()
    if len(indices) == 1:
        only = indices[0]
        return lambda items: (items[only],)
    return itemgetter(*indices)


def finite(numbers: Iterable[float]) -> bool:
    """Whether no number is NaN or infinite; may be False for very large ones, so look again then."""
    total = sum(numbers)
    return total - total == 0


def strange(value: Scalar) -> str:
    """What is wrong with a number that is not finite; "" where nothing is."""
    if not isinstance(value, float) or math.isfinite(value):
        return ""
    return "not a number" if math.isnan(value) else "infinite"


def _touch(each: Layout) -> Callable[[Any], Scalar] | None:
    if each.kind == "bool":
        mask = 1 << each.field[0] if each.field else 0xFFFF
        return lambda value: value & mask != 0
    if each.field is not None:
        lowest, mask = each.field[0], (1 << each.field[1]) - 1
        return lambda value: value >> lowest & mask
    return _text if each.kind == "string" else None


def _text(raw: bytes) -> str:
    """Up to the first zero, without spaces at the end. Latin-1 gives every byte a character."""
    return raw.partition(b"\0")[0].decode("latin-1").rstrip()
