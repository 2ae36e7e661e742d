"""What happened and when: counted parts, spells of a state, and energy as an exact function of time.

Every class answers for any interval [begin, end) in UTC nanoseconds, so that the answers of
neighbouring intervals add up to the answer of the whole.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import cos, pi, sin

from edgeflow.units import NS_PER_S


@dataclass(slots=True)
class Tally:
    """Things counted, each with its moment."""

    count: int = 0
    times: array[int] = field(default_factory=lambda: array("q"))

    def add(self, at_ns: int) -> None:
        self.count += 1
        self.times.append(at_ns)

    def between(self, begin_ns: int, end_ns: int) -> int:
        """How many fell into [begin, end)."""
        return bisect_left(self.times, end_ns) - bisect_left(self.times, begin_ns)

    def forget(self, before_ns: int) -> None:
        """Drops the moments before; `count` stays."""
        del self.times[: bisect_left(self.times, before_ns)]


@dataclass(frozen=True, slots=True)
class Spell:
    """A state and the moment it began; it lasts until the next spell."""

    at_ns: int
    state: str
    reason: str
    fault: int = 0


@dataclass(slots=True)
class Spells:
    """The states of one machine, one after the other, without gaps."""

    spells: list[Spell] = field(default_factory=list)

    @property
    def last(self) -> Spell:
        """The spell that lasts."""
        return self.spells[-1]

    def begin(self, spell: Spell) -> None:
        """Begins a spell; one that says nothing new is ignored, one of no length is replaced."""
        if self.spells and self.spells[-1].at_ns == spell.at_ns:
            self.spells.pop()
        last = self.spells[-1] if self.spells else None
        if last is None or (last.state, last.reason, last.fault) != (spell.state, spell.reason, spell.fault):
            self.spells.append(spell)

    def between(self, begin_ns: int, end_ns: int) -> Iterator[tuple[Spell, int, int]]:
        """The spells that touch [begin, end), each with its begin and end cut to the interval."""
        first = max(bisect_right(self.spells, begin_ns, key=_at) - 1, 0)
        for i in range(first, len(self.spells)):
            spell = self.spells[i]
            if spell.at_ns >= end_ns:
                return
            until = self.spells[i + 1].at_ns if i + 1 < len(self.spells) else end_ns
            start, stop = max(spell.at_ns, begin_ns), min(until, end_ns)
            if start < stop:
                yield spell, start, stop

    def forget(self, before_ns: int) -> None:
        """Drops the spells that ended before."""
        del self.spells[: max(bisect_right(self.spells, before_ns, key=_at) - 1, 0)]


@dataclass(frozen=True, slots=True)
class Draw:
    """A law of power that holds from `at_ns` until the next: a mean with a sine over the machine's cycle.

    P(t) = mean_w + ripple_w * sin(2 pi phase(t)); the phase is 0..1 over `period_ns` (0: no cycle).
    `joules` and `reactive_vars` (var seconds) are what was drawn before; Q = P * tan_phi.
    """

    at_ns: int
    joules: float = 0.0
    reactive_vars: float = 0.0
    mean_w: float = 0.0
    ripple_w: float = 0.0
    phase: float = 0.0
    period_ns: int = 0
    tan_phi: float = 0.0

    def _phase(self, at_ns: int) -> float:
        return self.phase + (at_ns - self.at_ns) / self.period_ns

    def watts(self, at_ns: int) -> float:
        ripple = self.ripple_w * sin(2 * pi * self._phase(at_ns)) if self.period_ns else 0.0
        return self.mean_w + ripple

    def _drawn(self, at_ns: int) -> float:
        steady = self.mean_w * (at_ns - self.at_ns) / NS_PER_S
        if not self.period_ns:
            return steady
        swing = cos(2 * pi * self.phase) - cos(2 * pi * self._phase(at_ns))
        return steady + self.ripple_w * self.period_ns / NS_PER_S / (2 * pi) * swing

    def total_joules(self, at_ns: int) -> float:
        return self.joules + self._drawn(at_ns)

    def total_reactive_vars(self, at_ns: int) -> float:
        return self.reactive_vars + self.tan_phi * self._drawn(at_ns)


@dataclass(slots=True)
class Energy:
    """The energy that something drew, as an exact function of time."""

    draws: list[Draw]

    def change(
        self,
        at_ns: int,
        mean_w: float,
        *,
        ripple_w: float = 0.0,
        phase: float = 0.0,
        period_ns: int = 0,
        tan_phi: float = 0.0,
    ) -> None:
        """From `at_ns` on the power follows another law."""
        last = self.draws[-1]
        joules, reactive = last.total_joules(at_ns), last.total_reactive_vars(at_ns)
        if last.at_ns == at_ns:
            self.draws.pop()
        self.draws.append(Draw(at_ns, joules, reactive, mean_w, ripple_w, phase, period_ns, tan_phi))

    def law(self, at_ns: int) -> Draw:
        """The law that held at that moment."""
        if at_ns >= self.draws[-1].at_ns:
            return self.draws[-1]
        return self.draws[max(bisect_right(self.draws, at_ns, key=_at) - 1, 0)]

    def kwh(self, at_ns: int) -> float:
        """Active energy since the beginning, in kWh."""
        return self.law(at_ns).total_joules(at_ns) / 3.6e6

    def kvarh(self, at_ns: int) -> float:
        """Reactive energy since the beginning, in kvarh."""
        return self.law(at_ns).total_reactive_vars(at_ns) / 3.6e6

    def forget(self, before_ns: int) -> None:
        """Drops the laws that ended before."""
        del self.draws[: max(bisect_right(self.draws, before_ns, key=_at) - 1, 0)]


def _at(item: Spell | Draw) -> int:
    return item.at_ns
