"""Which settings of a point make sense together; what does not is told with what to write instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING

from edgeflow.model import ValueType
from edgeflow_modbus.models import wanted
from edgeflow_modbus.registers import limits, whole

if TYPE_CHECKING:
    from edgeflow_modbus.config import Point

ADDRESS = {"register": "holding", "input": "input", "coil": "coil", "discrete": "discrete", "sunspec": "sunspec"}
"""The ways to say where a value is, as a person writes them, and the fields that hold them."""

_LARGEST = {"float16": 65504.0, "float32": (2 - 2**-23) * 2.0**127}
_BITS = re.compile(r"\d{1,2}-\d{1,2}")
_DETAILS = (
    "type", "bit", "bits", "byte", "length", "word_order", "byte_order", "names", "other", "fraction", "factor",
    "scale_by", "plus", "missing", "write_function", "write_with", "verify",
)  # fmt: skip
_ONLY: Mapping[str, Sequence[str]] = {
    "coil": ("type", "write_function", "verify"),
    "discrete": ("type",),
    "input": tuple(name for name in _DETAILS if name not in ("write_function", "write_with", "verify")),
    "sunspec": ("names", "other"),
}
_WHY = {
    "coil": "a coil is a single bit",
    "discrete": "a discrete is a single bit that cannot be written",
    "input": "an input cannot be written",
    "sunspec": "SunSpec itself says what its values are",
}
_FITS: Mapping[str, tuple[Callable[[Point], bool], str]] = {
    "bit": (lambda p: p.type in (None, "bool"), "a bit is a bool; leave out `type` or `bit`"),
    "bits": (
        lambda p: p.bit is None and p.kind in ("uint16", "uint32", "uint64"),
        "`bits` goes with `type: uint16`, `uint32` or `uint64`, and without `bit`",
    ),
    "byte": (
        lambda p: p.kind in ("int8", "uint8", "string"),
        "`byte` goes with `type: int8`, `type: uint8` or `type: string`",
    ),
    "length": (
        lambda p: p.kind in ("string", "bytes"),
        "`length` (in registers) goes with `type: string` or `type: bytes`",
    ),
    "names": (
        lambda p: whole(p.kind) and p.bit is None and p.fraction is None and p.factor is None and not p.plus,
        "`names` is for a whole number or some `bits` of it; leave out what makes it another number",
    ),
    "other": (lambda p: p.names is not None, "`other` goes with `names`"),
    "fraction": (
        lambda p: p.kind.startswith(("int", "uint")) and _as_it_is(p) and p.factor is None,
        "`fraction` goes with an int or uint as it is, for example `type: int16, fraction: 8`",
    ),
    "factor": (
        lambda p: whole(p.kind) and _as_it_is(p),
        "`factor` goes with a type of whole numbers; write `scale` for a fixed factor",
    ),
    "scale_by": (
        lambda p: (whole(p.kind) or p.kind.startswith("float")) and _as_it_is(p) and p.factor is None,
        "`scale_by` goes with numbers as they are; leave out what makes this one something else",
    ),
    "plus": (
        lambda p: (whole(p.kind) or p.kind.startswith("float")) and _as_it_is(p),
        "`plus` adds numbers; leave out what makes this one something else",
    ),
    "write_with": (
        lambda p: p.field is None and p.byte is None and not p.plus and p.write_function != 6,
        "`write_with` goes with whole registers and function 16; leave out what makes it another one",
    ),
    "missing": (
        lambda p: p.kind not in ("bool", "bytes"),
        "`missing` goes with numbers and strings; a bool or bytes has no special value",
    ),
}


def check(point: Point) -> None:
    """Raises ValueError, in words for the person who wrote it, where a point makes no sense."""
    given = [name for name, field in ADDRESS.items() if getattr(point, field) is not None]
    if not given:
        raise ValueError("write one of register, input, coil, discrete, sunspec, for example `register: 10`")
    if len(given) > 1:
        raise ValueError(f"write only one of {' and '.join(given)}; a point has one address")
    written = point.model_fields_set
    told = [name for name in _DETAILS if name in written and getattr(point, name) not in (None, (), {})]
    for name in told:
        if name not in _ONLY.get(given[0], _DETAILS):
            raise ValueError(f"{_WHY[given[0]]}; leave out `{name}`")
    if point.sunspec is not None:
        _check_sunspec(point, point.sunspec)
    elif given[0] in ("register", "input"):
        _check_registers(point, told)
    elif point.type not in (None, "bool"):
        raise ValueError(f"a {given[0]} is a bool; leave out `type: {point.type}`")


def sunspec_type(names: Sequence[str]) -> ValueType:
    """What a SunSpec point yields: a number where it is one in any of the models that it may come from.

    Raises ValueError where a name means nothing, or where the alternatives are texts and numbers.
    """
    values = [value for name in names for value in wanted(name).values]
    texts = {value.keys["type"] == "string" for value in values}
    if len(texts) > 1:
        raise ValueError(f"{', '.join(names)} are texts and numbers; write those of one sort")
    if True in texts:
        return "text"
    return "integer" if all(value.integer for value in values) else "number"


def _as_it_is(point: Point) -> bool:
    return point.field is None and point.names is None


def _check_sunspec(point: Point, names: Sequence[str]) -> None:
    if sunspec_type(names) != "integer" and point.names is not None:
        raise ValueError("`names` is for whole numbers, such as `inverter/St`")
    if point.other is not None and point.names is None:
        raise ValueError(_FITS["other"][1])


def _check_registers(point: Point, told: Sequence[str]) -> None:
    if point.kind in ("string", "bytes") and point.length is None:
        raise ValueError(f"`type: {point.kind}` and `length` (in registers) go together")
    if point.bits is not None and not _BITS.fullmatch(point.bits):
        raise ValueError(f"{point.bits!r} are not bits; write the lowest and the highest, for example `bits: 4-7`")
    if point.bits is not None and (ends := [int(end) for end in point.bits.split("-")]) != sorted(ends):
        raise ValueError(
            f"{point.bits!r} has the highest bit first; write the lowest first: `bits: {ends[1]}-{ends[0]}`"
        )
    for name in told:
        fits, otherwise = _FITS.get(name, (None, ""))
        if fits and not fits(point):
            raise ValueError(otherwise)
    last = 16 * point.count - 1
    if point.field is not None and sum(point.field) - 1 > last:
        raise ValueError(f"bits {point.bits} do not fit {point.kind}, whose last bit is {last}")
    if point.fraction is not None and point.fraction > 16 * point.count:
        raise ValueError(f"a fraction of {point.fraction} bits does not fit {point.kind}")
    if point.address in point.plus:
        raise ValueError(f"`plus` names the point's own address {point.address}; write only the others")
    _check_beside(point)
    for each in point.missing:
        if not _can_be_missing(point, each):
            raise ValueError(f"`missing: {each}` is nothing that {point.kind} can hold")


def _check_beside(point: Point) -> None:
    own = range(point.address, point.address + point.count)
    if not point.write_with:
        return
    for address in point.write_with:
        if address in own:
            raise ValueError(f"`write_with` names the point's own register {address}; write only the others")
    written = sorted((*own, *point.write_with))
    if missing := sorted({*range(written[0], written[-1])} - {*written})[:3]:
        raise ValueError(
            f"`write_with` leaves out register {missing[0]}: one request writes neighbours only; say what goes there, "
            "or `keep` for what it holds"
        )


def _can_be_missing(point: Point, each: float | str) -> bool:
    if each == "default":
        if point.kind.startswith(("float", "bcd")):
            raise ValueError(f"leave out `missing: default`: a {point.kind} that is no number is BAD anyway")
        return True
    if point.kind == "string":
        return isinstance(each, str)
    if not whole(point.kind):
        return not isinstance(each, str) and abs(each) <= _LARGEST.get(point.kind, inf)
    lowest, highest = limits(point.kind, point.field)
    return isinstance(each, int) and lowest <= each <= highest - lowest
