"""Production counters: every step of a counter is classified, never guessed.

A step is `normal`, a `wrap` (only where the modulus is known and the increase is possible), a `declared`
reset (the counter is known to be set to a certain value), or `unexplained`: then no number is invented.
A fall is taken over at once, but the reading before it is kept for one sample: a counter that is back
where it was (the single zero of a PLC that starts) was never reset, and what the fall gave is taken back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from edgeflow.model import Strict
from edgeflow.units import NS_PER_S, Rate

Number = int | float
StepKind = Literal["baseline", "normal", "wrap", "declared", "unexplained", "returned", "late"]

JOURNAL_LENGTH = 8
_LARGEST = 2**128


_POWER = re.compile(r"\s*([0-9]{1,20})\s*(?:(?:\^|\*\*)\s*([0-9]{1,2})\s*)?")


def _modulus(value: Any) -> Any:
    if isinstance(value, str) and (match := _POWER.fullmatch(value)):
        modulus: Any = int(match[1]) ** int(match[2] or 1)
    else:
        modulus = value
    if isinstance(modulus, bool) or not isinstance(modulus, int | float) or not 2 <= modulus < _LARGEST:
        raise ValueError(f"{value!r:.60} is not a modulus; write a whole number like 65536, or `2^32`")
    return modulus


Modulus = Annotated[
    int | float,
    BeforeValidator(_modulus),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 2},
                {"type": "string", "pattern": _POWER.pattern.join("^$"), "examples": ["2^32"]},
            ]
        }
    ),
]
"""How many values a counter has before it begins again at 0; written `10000` or `2^32`."""


class CounterSettings(Strict):
    """What is known of a counter."""

    modulus: Modulus | None = Field(
        default=None, description="How many values it has before it begins again at 0, for example 10000 or 2^16."
    )
    max_rate: Rate | None = Field(
        default=None,
        description="Fastest it can count, bursts included. A rise beyond it is not believed, nor is a wrap; "
        "without it a wrap is believed up to half the modulus.",
    )
    resets_to: float | None = Field(
        default=None, description="The value an operator or the PLC sets it to; a fall that is no wrap is then a reset."
    )
    jitter: float = Field(default=1, ge=0, description="A fall by no more than this is noise of the device.")

    def written(self) -> dict[str, Any]:
        """What was set of it, as it is written."""
        said = self.model_dump(exclude_unset=True, exclude_none=True)
        if self.max_rate is not None:
            said["max_rate"] = f"{self.max_rate:.17g} /s"
        return said

    def scaled(self, scale: float) -> CounterSettings:
        """The same of a value that is `scale` times the counts of the device: it wraps at a scaled modulus.

        Everything but the modulus is said in the unit of the value already.
        """
        if scale == 1 or self.modulus is None:
            return self
        return self.model_copy(update={"modulus": self.modulus * abs(scale)})

    @model_validator(mode="after")
    def _a_reset_can_be_told_from_a_wrap(self) -> Self:
        if self.modulus is not None and self.resets_to is not None and self.max_rate is None:
            raise ValueError("with modulus and resets_to a max_rate is needed to tell a wrap from a reset")
        return self


@dataclass(frozen=True, slots=True)
class Step:
    """What one sample meant. `increment` may be negative only for `returned`.

    `begin_ns` is the time of the sample before: what was counted was made in (begin_ns, at].
    """

    kind: StepKind
    increment: Number
    begin_ns: int


@dataclass(frozen=True, slots=True)
class Fall:
    """An entry of the journal: a reset or a jump, and how it was read."""

    kind: StepKind
    at: int
    before: Number
    after: Number


@dataclass(frozen=True, slots=True)
class Doubt:
    """The reading before a fall or jump, and what the step gave; kept for one sample."""

    kind: StepKind
    raw: Number
    at: int
    increment: Number


@dataclass(slots=True)
class Counter:
    """The state of one counter: the last reading that was believed, and everything counted so far."""

    raw: Number | None = None
    at: int = 0
    total: Number = 0
    doubt: Doubt | None = None
    journal: list[Fall] = field(default_factory=list)

    def take(self, rules: CounterSettings, raw: Number, at: int) -> Step:
        """Takes one sample over and says what it meant."""
        if self.raw is None:
            self.raw, self.at = raw, at
            return Step("baseline", 0, at)
        if at < self.at and raw <= self.raw:
            return Step("late", 0, self.at)
        step = self._returned(rules, raw, at) or self._step(rules, self.raw, raw, at)
        self.total += step.increment
        self.at = max(at, self.at)
        return step

    def _returned(self, rules: CounterSettings, raw: Number, at: int) -> Step | None:
        """The second sample after a fall or jump: takes it back, or settles it and writes the journal."""
        doubt, self.doubt = self.doubt, None
        if doubt is None or self.raw is None:
            return None
        if raw >= doubt.raw and _possible(rules, raw - doubt.raw, at - doubt.at):
            self.raw = raw
            return Step("returned", raw - doubt.raw - doubt.increment, doubt.at)
        if doubt.kind != "wrap":
            self.journal = [*self.journal, Fall(doubt.kind, self.at, doubt.raw, self.raw)][-JOURNAL_LENGTH:]
        return None

    def _step(self, rules: CounterSettings, last: Number, raw: Number, at: int) -> Step:
        begin, rise = self.at, raw - last
        if rise >= 0 and not _jitters_back(rules, rise) and _possible(rules, rise, at - begin):
            self.raw = raw
            return Step("normal", rise, begin)
        if -rules.jitter <= rise < 0 or _jitters_back(rules, rise):
            return Step("normal", 0, begin)  # the high-water mark stays
        kind, increment = self._read(rules, last, raw, at - begin)
        self.raw = raw
        self.doubt = Doubt(kind, last, begin, increment)
        return Step(kind, increment, begin)

    @staticmethod
    def _read(rules: CounterSettings, last: Number, raw: Number, elapsed_ns: int) -> tuple[StepKind, Number]:
        if raw < last:
            if rules.modulus is not None:
                increment = raw + rules.modulus - last
                limit = increment <= rules.modulus / 2 if rules.max_rate is None else True
                if limit and last < rules.modulus and _possible(rules, increment, elapsed_ns):
                    return "wrap", increment
            if rules.resets_to is not None and raw >= rules.resets_to:
                since = raw - rules.resets_to
                increment = int(since) if isinstance(raw, int) else since
                if _possible(rules, increment, elapsed_ns):
                    return "declared", increment
        return "unexplained", 0


def _possible(rules: CounterSettings, increment: Number, elapsed_ns: int) -> bool:
    """Whether so many can have been counted; one more for where the samples fall, and never below 1 s of counting."""
    if rules.max_rate is None:
        return True
    return increment <= rules.max_rate * max(elapsed_ns / NS_PER_S, 1.0) + 1


def _jitters_back(rules: CounterSettings, rise: Number) -> bool:
    """Whether a rise is really jitter back across the wrap: 0 -> 65535."""
    return rules.modulus is not None and 0 < rules.modulus - rise <= rules.jitter and rise > rules.jitter
