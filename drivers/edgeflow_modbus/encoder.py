"""Registers from values: what a point is written as, or why it cannot be."""

from __future__ import annotations

import math
from struct import Struct, error

from edgeflow.errors import Rejected
from edgeflow.model import Scalar
from edgeflow_modbus.codec import times_power_of_ten
from edgeflow_modbus.config import Point
from edgeflow_modbus.registers import limits
from edgeflow_modbus.space import Layout


def raw_of(point: Point, value: Scalar, power: int = 0) -> Scalar:
    """What the registers of a point shall hold so that it yields the value: the reverse of `codec.compose`.

    `power`: the power of ten that the register of `factor` holds. Fixed-point numbers are rounded to the nearest that
    there is. Raises Rejected, saying which values there are.
    """
    if point.names is not None:
        for number, name in point.names.items():
            if name == value:
                return number
        raise Rejected(f"{value!r} is not one of its names: {', '.join(point.names.values())}")
    if point.fraction is None and point.factor is None:
        return value
    _number(value)
    assert isinstance(value, int | float)
    return round(times_power_of_ten(value, -power) * (1 << (point.fraction or 0)))


def encode(each: Layout, value: Scalar) -> bytes:
    """The bytes of a raw value as its registers hold them; what is not its own is zero.

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
    if each.field is None:
        pattern = b"\xff" * len(each.places)
    else:
        lowest, bits = each.field
        pattern = ((1 << bits) - 1 << lowest).to_bytes(2, "big")
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
        return (boolean(value) << (each.field[0] if each.field else 0)).to_bytes(2, "big")
    if each.kind == "string":
        return _characters(value, len(each.places))
    if each.kind == "bytes":
        return _octets(value, len(each.places))
    number = _number(value)
    if each.kind.startswith("float"):
        return _floating(each, number)
    if isinstance(number, float):
        if not number.is_integer():
            raise Rejected(f"{value!r} is not a whole number, as {_kind(each)} must be")
        number = int(number)
    lowest, highest = limits(each.kind, each.field)
    if each.kind.startswith("bcd"):
        highest = 10 ** (2 * len(each.places)) - 1
    if not lowest <= number <= highest:
        raise Rejected(f"{value!r} is not between {lowest} and {highest}, the range of {_kind(each)}")
    if each.kind.startswith("bcd"):
        number = int(str(number), 16)
    if each.field is not None:
        number <<= each.field[0]
    return number.to_bytes(len(each.places), "big", signed=lowest < 0)


def _kind(each: Layout) -> str:
    return each.kind if each.field is None else f"{each.field[1]} bits"


def _number(value: Scalar) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Rejected(f"{value!r} is not a number")
    if not math.isfinite(value):
        raise Rejected(f"{value!r} is not a finite number")
    return value


def _floating(each: Layout, value: float) -> bytes:
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


def _octets(value: Scalar, size: int) -> bytes:
    if not isinstance(value, bytes):
        raise Rejected(f"{value!r} is not bytes")
    if len(value) != size:
        raise Rejected(f"it has {len(value)} bytes, but the registers hold {size}")
    return value
