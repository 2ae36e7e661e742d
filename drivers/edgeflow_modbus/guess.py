"""Every reading of the same registers side by side, and which of them is the likely one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeflow.model import Scalar
from edgeflow_modbus.codec import NoValue, compose, layout, registers_decoder
from edgeflow_modbus.config import Device, Order, Point
from edgeflow_modbus.registers import REGISTERS, Type

SCALES = (1.0, 0.1, 0.01, 0.001, 10.0, 100.0, 1000.0)
"""Factors that makers use between what a register holds and what it means."""

_TYPES: tuple[Type, ...] = (
    "uint16", "int16", "bcd16", "float16", "uint32", "int32", "float32", "bcd32", "uint64", "int64", "float64"
)  # fmt: skip
_NATURAL = (1e-3, 1e7)
_POSSIBLE = (1e-6, 1e9)
_LARGEST = {"uint32": 10**9, "int32": 10**9, "uint64": 10**13, "int64": 10**13}
_NEAR = 0.2
_ORDERS: Mapping[tuple[Order, Order], str] = {
    ("big", "big"): "ABCD", ("little", "big"): "CDAB", ("big", "little"): "BADC", ("little", "little"): "DCBA"
}  # fmt: skip
ORDERS = tuple(_ORDERS.values())


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read registers, what it gives, and why that is hardly what is meant ("" where it may be)."""

    type: Type
    word_order: Order
    byte_order: Order
    value: Scalar
    doubt: str

    @property
    def order(self) -> str:
        """The order of the bytes as people name it for four of them, the most significant one called A."""
        return _ORDERS[self.word_order, self.byte_order]

    def keys(self) -> dict[str, Scalar]:
        """What is written of it in a point."""
        found: dict[str, Scalar] = {} if self.type == "uint16" else {"type": self.type}
        if self.word_order == "little":
            found["word_order"] = "little"
        if self.byte_order == "little":
            found["byte_order"] = "little"
        return found


@dataclass(frozen=True, slots=True)
class Pick:
    """The reading that is nearest or likely, and what its value is multiplied by."""

    reading: Reading
    scale: float
    why: str


def readings(payload: bytes) -> list[Reading]:
    """All readings of up to four registers; those of longer types where there are enough of them."""
    count = len(payload) // 2
    found: list[Reading] = []
    for kind in _TYPES:
        size = REGISTERS[kind]
        if size <= count:
            words: tuple[Order, ...] = ("big", "little") if size > 1 else ("big",)
            orders: list[tuple[Order, Order]] = [(word, byte) for byte in ("big", "little") for word in words]
            found += [_reading(kind, word, byte, payload[: 2 * size]) for word, byte in orders]
    text = [_reading("string", "big", byte, payload) for byte in ("big", "little")]
    return found + [reading for reading in text if not reading.doubt]


def _reading(kind: Type, word_order: Order, byte_order: Order, payload: bytes) -> Reading:
    length = {"length": len(payload) // 2} if kind == "string" else {}
    point = Point.model_validate(
        {"register": 0, "type": kind, "word_order": word_order if not length else None, "byte_order": byte_order}
        | length
    )
    device = Device()
    (raw,) = registers_decoder([(0, layout(point, device))])(payload)
    make = compose(point, device)
    try:
        value = make([raw]) if make else raw
    except NoValue:
        return Reading(kind, word_order, byte_order, None, "no BCD number")
    return Reading(kind, word_order, byte_order, value, _doubt(kind, value))


def _doubt(kind: Type, value: Scalar) -> str:
    if isinstance(value, str):
        return "" if len(value) >= 3 and value.isascii() and value.isprintable() else "no text"
    if isinstance(value, float) and not math.isfinite(value):
        return "not a number"
    size = abs(value) if isinstance(value, int | float) else 0
    if size > _LARGEST.get(kind, _POSSIBLE[1]):
        return "very large"
    return "very small" if isinstance(value, float) and 0 < size < _POSSIBLE[0] else ""


def nearest(found: Sequence[Reading], expect: float) -> Pick | None:
    """The reading whose value, times one of `SCALES`, is nearest to what is expected; None where none is near.

    Of equally near ones it is the simplest: without a factor, in the standard's order, of the shorter type. Nothing is
    near to 0: what is 0 is so in every type, and what is small becomes so by a factor.
    """
    if expect == 0:
        return None
    best: tuple[tuple[float, float, int], Pick] | None = None
    for place, reading in enumerate(found):
        value = reading.value
        if isinstance(value, bool) or not isinstance(value, int | float) or reading.doubt == "not a number":
            continue
        for scale in SCALES:
            miss = abs(value * scale - expect) / abs(expect)
            if miss <= _NEAR:
                trouble = abs(math.log10(scale)) + 0.5 * (reading.word_order == "little")
                trouble += 1.5 * (reading.byte_order == "little")
                key = (round(miss, 2), trouble, place)
                if best is None or key < best[0]:
                    why = f"{miss * 100:.1f} % beside what is expected"
                    best = (key, Pick(reading, scale, why))
    return best[1] if best else None


def likely(found: Sequence[Reading], payload: bytes) -> Pick | None:
    """The reading that is likely with nothing known: text, then a float of a natural size, then a whole number.

    Four random bytes are a float between 0.001 and ten million only once in eight times. A float64 and two
    float32 in a row can look alike: it is the latter where the second of them is natural too, or zero.
    """
    text = next((reading for reading in found if reading.type == "string"), None)
    if text is not None:
        return Pick(text, 1.0, "its bytes are letters and digits")
    short, long = _only_natural(found, "float32"), _only_natural(found, "float64")
    if long is not None and (short is None or not _continues(short, payload)):
        return Pick(long, 1.0, "only so it is a number of natural size")
    if short is not None:
        return Pick(short, 1.0, "only so it is a number of natural size")
    first = next((reading for reading in found if reading.type == "uint16"), None)
    for reading in found:
        simple = reading.type in ("uint32", "int32") and reading.order == ORDERS[0] and not reading.doubt
        if simple and reading.value and first is not None and first.value in (0, 0xFFFF):
            return Pick(reading, 1.0, "its high register holds only the sign of the low one")
    return Pick(first, 1.0, "nothing speaks for a longer type") if first is not None and first.value else None


def _only_natural(found: Sequence[Reading], kind: Type) -> Reading | None:
    natural = [reading for reading in found if reading.type == kind and _is_natural(reading.value)]
    standard = [reading for reading in natural if reading.byte_order == "big"]
    return next((some[0] for some in (natural, standard) if len(some) == 1), None)


def _continues(reading: Reading, payload: bytes) -> bool:
    """Whether the registers behind a float32 hold another one, read in the same order."""
    if len(payload) < 8:
        return True
    value = _reading("float32", reading.word_order, reading.byte_order, payload[4:8]).value
    return value == 0 or _is_natural(value)


def _is_natural(value: Scalar) -> bool:
    return isinstance(value, float) and _NATURAL[0] <= abs(value) <= _NATURAL[1]
