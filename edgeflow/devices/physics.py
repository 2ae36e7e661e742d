"""What physics asks of the values of one device: checks as data, judged on live values, told in plain sentences.

Values are compared in base units (V, A, W, VA, var, Wh), so that kW and V fit together. The tolerances are wide:
they are to find a wrong map, a wrong factor or a wrong wire, not a bad meter.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter

from edgeflow.document import shown
from edgeflow.model import Strict
from edgeflow.units import UNITS, quantity

Verdict = Literal["fits", "look", "does not fit", "not judged"]
"""`look`: possible, but seldom meant. `not judged`: the values of this moment say nothing."""


def _share(value: Any) -> Any:
    if isinstance(value, str):
        return quantity(value, "ratio")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{shown(value)} is not a share; write it like `3 %`")
    return value


Within = Annotated[float, BeforeValidator(_share), Field(gt=0, lt=1)]
"""A share; written `3 %`."""
Tags = Annotated[tuple[str, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Measured:
    """What was read of one tag, in that order, in the tag's unit. `raw` is the last before it was scaled."""

    values: Sequence[float]
    unit: str | None = None
    raw: float = math.nan

    @property
    def value(self) -> float:
        return self.values[-1]

    @property
    def base(self) -> float:
        """In the base unit of its dimension."""
        unit = UNITS.get(self.unit or "")
        return self.value * unit.factor + unit.offset if unit else self.value

    def __str__(self) -> str:
        return f"{self.value:.6g} {self.unit}" if self.unit else f"{self.value:.6g}"


Live = Mapping[str, Measured]
"""The tags that have a value."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one check says, in one sentence; `tags` are those it speaks of."""

    verdict: Verdict
    tags: tuple[str, ...]
    text: str


class Between(Strict):
    """A value that can only be in a certain range, as the mains frequency between 40 and 70 Hz."""

    kind: Literal["between"] = Field(description="A value lies in a range.")
    tags: Tags = Field(description="The tags that must.")
    low: float = Field(description="The least, in the tag's unit.")
    high: float = Field(description="The most, in the tag's unit.")

    def judge(self, live: Live) -> list[Judgement]:
        return [self._one(tag, live[tag]) for tag in self.tags if tag in live]

    def _one(self, tag: str, measured: Measured) -> Judgement:
        low, high = self.low, self.high
        text = f"{tag} is {measured}, between {low:g} and {high:g}"
        if low <= measured.value <= high:
            return Judgement("fits", (tag,), text)
        cause = causes(measured, lambda value: low <= value <= high)
        return Judgement("does not fit", (tag,), f"{tag} is {measured}, not between {low:g} and {high:g}; {cause}")


class Near(Strict):
    """A value near its nominal one, as a voltage; 0 is a phase without voltage, which is worth a look."""

    kind: Literal["near"] = Field(description="A value is near its nominal value.")
    tags: Tags = Field(description="The tags that must be.")
    nominal: float = Field(gt=0, description="The nominal value, in the tag's unit.")
    within: Within = Field(
        default=0.2,
        description="How far from it is still possible. EN 50160 allows 10 %, and 15 % below for short; 20 % leaves "
        "room for a weak network and for meters of low accuracy, and still finds every factor of 10 and the root of 3.",
    )

    def judge(self, live: Live) -> list[Judgement]:
        return [self._one(tag, live[tag]) for tag in self.tags if tag in live]

    def _one(self, tag: str, measured: Measured) -> Judgement:
        def fits(value: float) -> bool:
            return abs(value - self.nominal) <= self.within * self.nominal

        if fits(measured.value):
            return Judgement("fits", (tag,), f"{tag} is {measured}, near {self.nominal:g}")
        if measured.value == 0:
            return Judgement("look", (tag,), f"{tag} is 0: nothing is connected there, or a fuse has blown")
        cause = causes(measured, fits, root_3=True)
        text = f"{tag} is {measured}, not within {self.within:.0%} of {self.nominal:g}; {cause}"
        return Judgement("does not fit", (tag,), text)


class Sum(Strict):
    """A total that is the sum of its parts, as the power of three phases."""

    kind: Literal["sum"] = Field(description="A total is the sum of its parts.")
    total: str = Field(description="The tag with the total.")
    parts: Tags = Field(description="The tags with the parts.")
    within: Within | None = Field(
        default=None,
        description="How much of the largest it may differ. Default: 3 % of powers, since a meter measures the phases "
        "and the total one after the other and the load changes meanwhile; 0.5 % of counters.",
    )
    floor: float | None = Field(
        default=None,
        ge=0,
        description="So much it may always differ, in W, VA, var or Wh: rounding and idle load. Default: 20, of "
        "counters 1500.",
    )

    def judge(self, live: Live) -> list[Judgement]:
        names = (self.total, *self.parts)
        if any(name not in live for name in names):
            return []
        total, parts = live[self.total].base, [live[part].base for part in self.parts]
        counter = _is_counter(live[self.total])
        floor = self.floor if self.floor is not None else 1500.0 if counter else 20.0
        within = self.within or (0.005 if counter else 0.03)
        largest = max(map(abs, (total, *parts)))
        made = " + ".join(self.parts)
        given = f"{self.total} is {live[self.total]}, {made} do not make that, but {_sum_text(live, self.parts)}"
        if largest <= floor:
            return [_idle(names, f"{self.total} is {live[self.total]}")]
        allowed = floor + within * largest
        if abs(total - sum(parts)) <= allowed:
            return [Judgement("fits", names, f"{self.total} is the sum of its parts")]
        for part, name in zip(parts, self.parts, strict=True):
            if math.isclose(total, part, rel_tol=0.001) and abs(part) > floor:
                same = f"look at {self.total}: it reads as {name} alone does, so it is likely of the same address"
                return [Judgement("does not fit", names, f"{given}; {same}")]
        if counter:
            return [self._counters(live, names, given, allowed)]
        cause = self._cause(total, parts, allowed, within) or self._suspect(live)
        return [Judgement("does not fit", names, f"{given}; {cause}")]

    def _cause(self, total: float, parts: Sequence[float], allowed: float, within: float) -> str:
        if abs(abs(total) - abs(sum(parts))) <= allowed:
            return f"the sign of {self.total} is the other way round"
        for i, part in enumerate(parts):
            if abs(total - sum(parts) + 2 * part) <= allowed:
                return f"the sign of {self.parts[i]} is the other way round"
        if total and sum(parts) and (factor := _power_of_ten(sum(parts) / total, within)):
            return f"{_factor_text(self.total, factor)}, or its parts the other way round"
        for i, part in enumerate(parts):
            wanted = total - sum(parts) + part
            if part and abs(wanted) > allowed and (factor := _power_of_ten(wanted / part, within)):
                return _factor_text(self.parts[i], factor)
        if total and sum(parts) and (ratio := max(abs(sum(parts) / total), abs(total / sum(parts)))) > 4:
            return f"is the ratio of the current transformers, about {ratio:.4g}, in one of them only?"
        return ""

    def _suspect(self, live: Live) -> str:
        """Which of them is of another address, by what voltage and current of each phase allow."""
        known, odd = 0, []
        for part in self.parts:
            phase = part.rpartition("_")[2]
            voltage, current = (live.get(f"{what}_{phase}") for what in ("voltage", "current"))
            if voltage is None or current is None:
                continue
            known += 1
            apparent = abs(voltage.base * current.base)
            factor = live.get(f"power_factor_{phase}")
            active = _dimension(live[part].unit) == "power"
            made = apparent * abs(factor.value) if factor and active else None
            power = abs(live[part].base)
            if power > 1.1 * apparent + 50 or (made is not None and abs(power - made) > 0.1 * apparent + 50):
                odd.append(part)
        if odd:
            return f"look at {', '.join(odd)}: voltage and current of that phase do not make that much"
        if known == len(self.parts):
            return f"look at {self.total}: voltage and current of every phase fit its part, so the total is another one"
        return f"look at {self.total} first; else likely a part is of another address, or a phase is not measured"

    def _counters(self, live: Live, names: tuple[str, ...], given: str, allowed: float) -> Judgement:
        total, parts = live[self.total].base, [live[part].base for part in self.parts]
        if factor := _power_of_ten(sum(parts) / total if total else 0.0, 0.01):
            return Judgement(
                "does not fit", names, f"{given}; {_factor_text(self.total, factor)}, or its parts are not"
            )
        for i, part in enumerate(parts):
            others = sum(parts) - part
            if part > total + allowed and others <= total + allowed:
                text = f"{self.parts[i]} alone is more than {self.total}: look at {self.parts[i]}, then at {self.total}"
                return Judgement("does not fit", names, f"{given}; {text}")
        if total < sum(parts):
            back = [name for name in live if "export" in name and name not in names and _is_counter(live[name])]
            back = [name for name in back if live[name].base > allowed]
            if back and max(parts) <= total + allowed:
                text = f"a meter that nets its phases counts so ({', '.join(back)} has counted too); else"
                return Judgement("look", names, f"{given}; {text} {self.total} is of another address")
            text = f"look at {self.total}: it may be a partial counter that can be reset, or that of one tariff"
            return Judgement("does not fit", names, f"{given}; {text}")
        text = f"look at {self.total}: it may count both directions, or a phase is missing in its parts"
        return Judgement("does not fit", names, f"{given}; {text}")


class Triangle(Strict):
    """Apparent, active and reactive power: S² = P² + Q², where harmonics are small."""

    kind: Literal["triangle"] = Field(description="Apparent power is made of active and reactive power.")
    apparent: str = Field(description="The tag with the apparent power S.")
    active: str = Field(description="The tag with the active power P.")
    reactive: str = Field(description="The tag with the reactive power Q.")
    within: Within = Field(
        default=0.1,
        description="How much of S it may differ. Harmonics add to S and not to Q in most meters: a distortion of the "
        "current of 45 % makes 10 %.",
    )
    floor: float = Field(default=50.0, ge=0, description="Below so many VA nothing can be said.")

    def judge(self, live: Live) -> list[Judgement]:
        names = (self.apparent, self.active, self.reactive)
        if any(name not in live for name in names):
            return []
        s, p, q = (abs(live[name].base) for name in names)
        given = ", ".join(f"{name} {live[name]}" for name in names)
        if max(s, p, q) <= self.floor:
            return [_idle(names, given)]
        made = math.hypot(p, q)
        if abs(s - made) <= self.floor + self.within * max(s, made):
            return [Judgement("fits", names, f"{self.apparent} is made of {self.active} and {self.reactive}")]
        return [Judgement("does not fit", names, f"{given} do not go together (S² = P² + Q²); {self._cause(s, p, q)}")]

    def _cause(self, s: float, p: float, q: float) -> str:
        for name, given, wanted in (
            (self.apparent, s, math.hypot(p, q)),
            (self.active, p, math.sqrt(max(0.0, s * s - q * q))),
            (self.reactive, q, math.sqrt(max(0.0, s * s - p * p))),
        ):
            if given > self.floor / 1000 and wanted and (factor := _power_of_ten(wanted / given, self.within)):
                return _factor_text(name, factor)
        if s > math.hypot(p, q):
            return "the current has strong harmonics, or one of them is of another address"
        return "one of them is of another address or of another moment"


class Product(Strict):
    """A value that is the product of others but for its sign, as P = U x I x power factor."""

    kind: Literal["product"] = Field(description="A value is the product of others, but for its sign.")
    product: str = Field(description="The tag with the product.")
    of: Annotated[tuple[str, ...], Field(min_length=2)] = Field(description="The tags with the factors.")
    within: Within = Field(
        default=0.05,
        description="How much of the larger it may differ: each factor is rounded and of another moment.",
    )
    floor: float = Field(default=50.0, ge=0, description="Below so many W or VA nothing can be said.")

    def judge(self, live: Live) -> list[Judgement]:
        names = (self.product, *self.of)
        if any(name not in live for name in names):
            return []
        given = abs(live[self.product].base)
        made = abs(math.prod(live[name].base for name in self.of))
        factors = " x ".join(f"{name} {live[name]}" for name in self.of)
        if max(given, made) <= self.floor:
            return [_idle(names, f"{self.product} is {live[self.product]}")]
        if abs(given - made) <= self.floor + self.within * max(given, made):
            return [Judgement("fits", names, f"{self.product} is {' x '.join(self.of)}")]
        cause = self._cause(made / given) if given and made else "one of them is likely of another address"
        text = f"{self.product} is {live[self.product]}, but {factors} make {made:.5g}; {cause}"
        return [Judgement("does not fit", names, text)]

    def _cause(self, ratio: float) -> str:
        if factor := _power_of_ten(ratio, self.within):
            return f"{_factor_text(self.product, factor)}, or one of the factors the other way round"
        if math.isclose(ratio, math.sqrt(3), rel_tol=self.within):
            return "the voltage is that between two phases, not to neutral"
        if ratio > 1.5 or ratio < 1 / 1.5:
            ratio = max(ratio, 1 / ratio)
            return f"is the ratio of the current transformers, about {ratio:.4g}, set in one of the two only?"
        return "voltage and current are likely not of the same phase"


class Signs(Strict):
    """Values that normally have the same sign, as the power of the phases of one machine."""

    kind: Literal["signs"] = Field(description="Values have the same sign.")
    tags: Tags = Field(description="The tags that normally have.")
    floor: float = Field(default=100.0, ge=0, description="So near to zero a sign says nothing; in W.")

    def judge(self, live: Live) -> list[Judgement]:
        known = [tag for tag in self.tags if tag in live and abs(live[tag].base) > self.floor]
        if len(known) < 2:
            return []
        back = [tag for tag in known if live[tag].base < 0]
        if not back:
            return [Judgement("fits", tuple(known), "all of them have the same sign")]
        if len(back) == len(known):
            text = "power is fed back; unless it is, all current transformers are the wrong way round"
            return [Judgement("look", tuple(known), text)]
        odd = back if len(back) <= len(known) / 2 else [tag for tag in known if tag not in back]
        text = (
            f"{', '.join(odd)} has another sign than the others ({', '.join(str(live[tag]) for tag in odd)}): its "
            "current transformer is likely the wrong way round or on another phase, unless something feeds in there"
        )
        return [Judgement("look", tuple(known), text)]


class Monotone(Strict):
    """Counters, which never go back."""

    kind: Literal["monotone"] = Field(description="Counters do not go back.")
    tags: Tags = Field(description="The tags that are such counters.")

    def judge(self, live: Live) -> list[Judgement]:
        return [self._one(tag, live[tag]) for tag in self.tags if tag in live and len(live[tag].values) > 1]

    def _one(self, tag: str, measured: Measured) -> Judgement:
        values = measured.values
        for before, after in pairwise(values):
            if after < before:
                text = (
                    f"{tag} went back from {before:.10g} to {after:.10g}; it is no counter, or its word order is wrong"
                )
                return Judgement("does not fit", (tag,), text)
        if values[0] < 0:
            return Judgement("does not fit", (tag,), f"{tag} is {measured}; a counter is never below zero")
        moved = (
            f"counted {values[-1] - values[0]:.6g} {measured.unit or ''}".rstrip()
            if values[-1] > values[0]
            else "stood"
        )
        return Judgement("fits", (tag,), f"{tag} {moved} and did not go back")


Check = Annotated[Between | Near | Sum | Triangle | Product | Signs | Monotone, Field(discriminator="kind")]


def adapter() -> TypeAdapter[tuple[Check, ...]]:
    """What reads the `checks` of a template."""
    return TypeAdapter(tuple[Check, ...])


_PHASES = ("l1", "l2", "l3")
_ADDITIVE = ("power", "reactive power", "energy", "reactive energy")


def totals(units: Mapping[str, str | None], checks: Sequence[Check]) -> tuple[Sum, ...]:
    """The sums that names tell: `energy` of `energy_l1` to `energy_l3`, where no check has that total already.

    `units` by tag. Only of what adds up: active and reactive power and energy, drawn and fed back.
    """
    have = {check.total for check in checks if isinstance(check, Sum)}
    found = []
    for name, unit in units.items():
        parts = tuple(f"{name}_{phase}" for phase in _PHASES)
        if name not in have and _dimension(unit) in _ADDITIVE and all(part in units for part in parts):
            found.append(Sum(kind="sum", total=name, parts=parts))
    return tuple(found)


def _dimension(unit: str | None) -> str:
    return UNITS[unit].dimension if unit in UNITS else ""


def _is_counter(measured: Measured) -> bool:
    return _dimension(measured.unit).endswith("energy")


def _sum_text(live: Live, parts: Sequence[str]) -> str:
    first = live[parts[0]]
    unit = UNITS.get(first.unit or "")
    total = sum(live[part].base for part in parts)
    return str(Measured([(total - unit.offset) / unit.factor if unit else total], first.unit))


def _idle(names: tuple[str, ...], given: str) -> Judgement:
    return Judgement("not judged", names, f"{given}: hardly any load, which says nothing; check again under load")


# --- likely causes ------------------------------------------------------------------------------------


def causes(measured: Measured, fits: Callable[[float], bool], *, root_3: bool = False) -> str:
    """What would make a value fit, in words: the first of the usual mistakes that does."""
    value = measured.value
    if fits(-value):
        return "its sign is the other way round"
    for exponent in (1, 2, 3, 4, 6):
        for factor in (10.0**exponent, 10.0**-exponent):
            if fits(value * factor):
                return f"it is likely {_times(factor)}: look at its scale"
    if root_3:
        for factor, text in ((math.sqrt(3), "to neutral, not between"), (1 / math.sqrt(3), "between two, not of")):
            if fits(value * factor):
                return f"this is likely the voltage {text} phases, or the nominal voltage is another one"
    scale = value / measured.raw if measured.raw else 0.0
    if any(fits(other * scale) for other in _swapped(measured.raw)):
        return "with the registers in the other order it would fit: the word order is likely swapped (`word_order`)"
    return "the address, the type or the word order is likely another one"


def unlikely(raw: float) -> tuple[Verdict, str] | None:
    """What to say of a float that is smaller or larger than anything that is measured, but not zero.

    Nothing is measured below 1e-30 or above 1e30: that is a float32 with its words the other way round, whose
    exponent is then near an end. Up to 1e-6 it may be noise, from 1e10 on a count, so it counts only where the
    other order makes a usual number of it.
    """
    if not (0 < abs(raw) < 1e-6 or 1e10 < abs(raw) < math.inf):
        return None
    other = next((number for number in _swapped(raw) if 1e-3 <= abs(number) <= 1e9), None)
    certain = not 1e-30 <= abs(raw) <= 1e30
    if other is None and not certain:
        return None
    would = f"; with the registers in the other order it is {other:.6g}" if other is not None else ""
    size = "small" if abs(raw) < 1 else "large"
    text = f"so {size} a number ({raw:.3g} in the registers) is hardly measured{would}: look at the word order"
    return ("does not fit" if certain else "look"), f"{text} (`word_order`)"


def _swapped(raw: float) -> list[float]:
    """What the same registers say with their words the other way round, as float32 and as whole numbers."""
    found: list[float] = []
    if abs(raw) < 3.4e38:
        a, b = struct.unpack(">HH", struct.pack(">f", raw))
        found += struct.unpack(">f", struct.pack(">HH", b, a))
    if float(raw).is_integer() and -(2**31) <= raw < 2**32:
        whole = int(raw) & 0xFFFFFFFF
        other = (whole & 0xFFFF) << 16 | whole >> 16
        found += [float(other), float(other - 2**32)]
    return [number for number in found if math.isfinite(number)]


def _power_of_ten(ratio: float, within: float) -> int:
    """The power of ten that a ratio is near to; 0 where it is near to none of 10, 100, 1000, 1e6 and their inverses."""
    if ratio == 0 or not math.isfinite(ratio):
        return 0
    exponent = round(math.log10(abs(ratio)))
    return exponent if exponent and math.isclose(abs(ratio), 10.0**exponent, rel_tol=within) else 0


def _factor_text(name: str, exponent: int) -> str:
    return f"{name} is likely {_times(10.0**exponent)}: look at its scale"


def _times(factor: float) -> str:
    return f"{factor:g} times too small" if factor > 1 else f"{1 / factor:g} times too large"
