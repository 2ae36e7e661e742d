"""The wire format of Protocol Buffers, as far as Sparkplug needs it: reading by a table of fields, and writing.

Source: the public encoding guide of Protocol Buffers (varints, tags, wire types). Why not the library: see
docs/decisions/0013-sparkplug-without-protobuf.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_DEEPEST = 12
_WIRES = {"uint": VARINT, "bool": VARINT, "float": FIXED32, "double": FIXED64}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message: what it is called, how it is stored, and whether it may come several times."""

    name: str
    kind: Literal["uint", "bool", "float", "double", "text", "bytes", "message"]
    message: Callable[[], Mapping[int, Field]] | None = None
    many: bool = False


Fields = Mapping[int, Field]


class Broken(ValueError):
    """These bytes are no message of this kind."""


def read(data: memoryview | bytes, fields: Fields, budget: Budget, depth: int = 0) -> dict[str, Any]:
    """A message as its fields by name; unknown ones are skipped. Raises Broken."""
    if depth > _DEEPEST:
        raise Broken("is nested too deeply")
    view = memoryview(data)
    found: dict[str, Any] = {}
    at, end = 0, len(view)
    while at < end:
        tag, at = _varint(view, at)
        wire = tag & 7
        field = fields.get(tag >> 3)
        value: Any
        if wire == VARINT:
            value, at = _varint(view, at)
        elif wire == BYTES:
            length, at = _varint(view, at)
            value, at = view[at : at + length], at + length
        elif wire in (FIXED32, FIXED64):
            length = 4 if wire == FIXED32 else 8
            value, at = view[at : at + length], at + length
        else:
            raise Broken(f"has a field of the unknown wire type {wire}")
        if at > end:
            raise Broken("ends too early")
        budget.spend()  # for unknown ones too: a payload of nothing else takes just as long
        if field is not None:
            _keep(found, field, _value(field, wire, value, budget, depth))
    return found


class Budget:
    """How many fields may still be read: a few bytes can claim to be very many."""

    __slots__ = ("_left",)

    def __init__(self, fields: int) -> None:
        self._left = fields

    def spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Broken("has too many fields")


def _keep(found: dict[str, Any], field: Field, value: Any) -> None:
    if not field.many:
        found[field.name] = value
        return
    those = found.setdefault(field.name, [])
    if isinstance(value, list):
        those += value
    else:
        those.append(value)


def _value(field: Field, wire: int, value: Any, budget: Budget, depth: int) -> Any:
    kind = field.kind
    if kind == "uint" and field.many and wire == BYTES:
        return _packed(value, budget)
    if wire != _WIRES.get(kind, BYTES):
        raise Broken(f"has a {field.name} of the wrong wire type {wire}")
    if kind == "uint":
        return value
    if kind == "bool":
        return bool(value)
    if kind == "float":
        return struct.unpack("<f", value)[0]
    if kind == "double":
        return struct.unpack("<d", value)[0]
    if kind == "text":
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            raise Broken(f"has a {field.name} that is not UTF-8 text") from None
    if kind == "bytes":
        return bytes(value)
    assert field.message is not None
    return read(value, field.message(), budget, depth + 1)


def _packed(view: memoryview, budget: Budget) -> list[int]:
    numbers, at = [], 0
    while at < len(view):
        budget.spend()
        number, at = _varint(view, at)
        numbers.append(number)
    return numbers


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """A number of up to 64 bits, least significant seven bits first."""
    number = shift = 0
    while at < len(view):
        byte = view[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift > 63:
            raise Broken("has a number of more than 64 bits")
    raise Broken("ends too early")


def varint(number: int) -> bytes:
    """A number, not negative and below 2^64, as a varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def write(number: int, kind: str, value: Any) -> bytes:
    """One field: its number, and its value of one of the kinds of `Field`; a message is given as its bytes."""
    if kind in ("uint", "bool"):
        return varint(number << 3 | VARINT) + varint(int(value))
    if kind == "float":
        return varint(number << 3 | FIXED32) + struct.pack("<f", value)
    if kind == "double":
        return varint(number << 3 | FIXED64) + struct.pack("<d", value)
    content = value.encode() if isinstance(value, str) else bytes(value)
    return varint(number << 3 | BYTES) + varint(len(content)) + content
