"""Values from registers and back: every type, byte and word order, compiled once per block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise
from operator import itemgetter
from struct import Struct, error
from typing import Any

from edgeflow.errors import Rejected
from edgeflow.model import Scalar
from edgeflow_modbus.config import Device, Point, Type

Decode = Callable[[bytes], Sequence[Scalar]]
"""The payload of one answer to the values of its points, in the order they were given."""

_CODE: dict[Type, str] = {
    "bool": "H", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I",
    "int64": "q", "uint64": "Q", "float16": "e", "float32": "f", "float64": "d",
}  # fmt: skip
_RANGE: dict[str, tuple[int, int]] = {
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
_BITS = [tuple(byte >> bit & 1 == 1 for bit in range(8)) for byte in range(256)]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a value lies in its registers.

    `places` are the positions of its bytes, most significant first, counted from the first register.
    """

    kind: Type
    code: str
    places: tuple[int, ...]
    size: int
    bit: int | None = None

    @property
    def partial(self) -> bool:
        """Whether it shares its register with something else: a bit, or a byte."""
        return self.bit is not None or len(self.places) < self.size


def layout(point: Point, device: Device) -> Layout:
    """The layout of a point in registers, with the device's orders where it has none of its own."""
    words, bytes_ = point.word_order or device.word_order, point.byte_order or device.byte_order
    return _layout(point.kind, point.count, words == "big", bytes_ == "big", point.byte == "high", point.bit)


@lru_cache(maxsize=1024)  # points by the thousand, but few layouts
def _layout(
    kind: Type, count: int, high_word_first: bool, high_byte_first: bool, high_byte: bool, bit: int | None
) -> Layout:
    words = range(count) if high_word_first else range(count - 1, -1, -1)
    places = [2 * word + byte for word in words for byte in ((0, 1) if high_byte_first else (1, 0))]
    if kind in ("int8", "uint8"):
        places = places[:1] if high_byte else places[1:]
    code = f"{2 * count}s" if kind == "string" else _CODE[kind]
    return Layout(kind, code, tuple(places), 2 * count, bit)


def registers_decoder(fields: Sequence[tuple[int, Layout]]) -> Decode:
    """Compiles the decoding of registers: one unpacking, then only what needs a touch of its own.

    `fields` are (offset in registers, layout). Where the bytes of all values follow one another in the
    payload it is unpacked as it is; otherwise (orders, overlaps) they are gathered first.
    """
    places = [2 * offset + byte for offset, each in fields for byte in each.places]
    codes = [each.code for _, each in fields]
    touches = [(i, touch) for i, (_, each) in enumerate(fields) if (touch := _touch(each))]
    unpack: Decode
    if all(a < b for a, b in pairwise(places)):
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
    if each.bit is not None:
        mask = 1 << each.bit
        return lambda value: value & mask != 0
    if each.kind == "bool":
        return lambda value: value != 0
    return _text if each.kind == "string" else None


def _text(raw: bytes) -> str:
    """Up to the first zero, without spaces at the end. Latin-1 gives every byte a character."""
    return raw.partition(b"\0")[0].decode("latin-1").rstrip()


def encode(each: Layout, value: Scalar) -> bytes:
    """The bytes of a value as its registers hold them; what is not its own is zero.

    Raises Rejected where the value does not fit the type, saying which values do.
    """
    own = _own_bytes(each, value)
    registers = bytearray(each.size)
    for position, byte in zip(each.places, own, strict=True):
        registers[position] = byte
    return bytes(registers)


def keep_mask(each: Layout) -> int:
    """The bits of the one register that a partial layout must leave as they are (first byte high)."""
    mine = bytearray(each.size)
    pattern = (1 << each.bit).to_bytes(2, "big") if each.bit is not None else b"\xff" * len(each.places)
    for position, byte in zip(each.places, pattern, strict=True):
        mine[position] = byte
    return 0xFFFF ^ int.from_bytes(mine, "big")


def boolean(value: Scalar) -> bool:
    """A value for a coil or a bit; raises Rejected for anything but true, false, 1 and 0."""
    if value is None or isinstance(value, (str, bytes)) or value not in (0, 1):
        raise Rejected(f"{value!r} is not true or false")
    return bool(value)


def _own_bytes(each: Layout, value: Scalar) -> bytes:
    if each.kind == "bool":
        return (boolean(value) << (each.bit or 0)).to_bytes(2, "big")
    if each.kind == "string":
        return _characters(value, each.size)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Rejected(f"{value!r} is not a number")
    if each.kind.startswith("float"):
        return _floating(each, value)
    lowest, highest = _RANGE[each.kind]
    if isinstance(value, float) and not value.is_integer():
        raise Rejected(f"{value!r} is not a whole number, as {each.kind} must be")
    if not lowest <= value <= highest:
        raise Rejected(f"{value!r} is not between {lowest} and {highest}, the range of {each.kind}")
    return int(value).to_bytes(len(each.places), "big", signed=lowest < 0)


def _floating(each: Layout, value: float) -> bytes:
    if not math.isfinite(value):
        raise Rejected(f"{value!r} is not a finite number")
    try:
        return Struct(f">{each.code}").pack(value)
    except (OverflowError, error):
        raise Rejected(f"{value!r} is too large for {each.kind}") from None


def _characters(value: Scalar, size: int) -> bytes:
    if not isinstance(value, str):
        raise Rejected(f"{value!r} is not text")
    try:
        raw = value.encode("latin-1")
    except UnicodeEncodeError:
        raise Rejected(f"{value!r} has characters that a register cannot hold (only Latin-1)") from None
    if len(raw) > size:
        raise Rejected(f"{value!r} has {len(raw)} characters, but only {size} fit")
    return raw.ljust(size, b"\0")
