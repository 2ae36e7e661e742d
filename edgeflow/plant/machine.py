"""A machine that makes parts: follows its script from event to event, exactly, however seldom it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from edgeflow.plant.history import Spell, Spells, Tally
from edgeflow.plant.script import EXECUTE, HELD, OFF, STATES, Segment
from edgeflow.units import NS_PER_S

_UINT32 = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Motion:
    """How the machine moves from now on: its state, and where in its cycle it is (0..1); no period, no motion."""

    state: int
    reason: str
    phase: float = 0.0
    period_ns: int = 0
    ideal_ns: int = 0


class Machine:
    """One machine; `advance` brings it to a moment, everything else speaks of that moment.

    `watch` is told of every change of motion with its exact moment. The counters of the controller
    start at `good_start` and `reject_start`; what was really made is in `good` and `reject`.
    """

    def __init__(
        self,
        script: Iterator[Segment],
        chance: Random,
        *,
        start_ns: int,
        ideal_ns: int,
        good_start: int = 0,
        reject_start: int = 0,
        held: bool = False,
        watch: Callable[[int, Motion], None] = lambda at_ns, motion: None,
    ) -> None:
        self._script, self._chance, self._watch = script, chance, watch
        self.at_ns = start_ns
        self.ideal_ns = ideal_ns
        self.base_ns = ideal_ns
        self.good, self.reject, self.spells = Tally(), Tally(), Spells()
        self.good_start, self.reject_start = good_start, reject_start
        self.counters_ns = start_ns
        self.last_cycle_ns = 0
        self.powered, self.held = True, held
        self._segment = next(script)
        self._left_ns = self._segment.length_ns
        self._cycle_ns = self._cycle_left_ns = self._draw_cycle()
        self._tell()

    @property
    def state(self) -> int:
        """StateCurrent (PackTags numbering), 0 while the controller is off."""
        return self._segment.state if self._free else HELD if self.powered else OFF

    @property
    def reason(self) -> str:
        return self._segment.reason if self._free else "hold" if self.powered else "power off"

    @property
    def fault(self) -> int:
        return self._segment.fault if self._free else 0

    @property
    def good_counter(self) -> int:
        """The controller's uint32 counter of good parts."""
        return (self.good_start + self.good.count) & _UINT32

    @property
    def reject_counter(self) -> int:
        """The controller's uint32 counter of rejects."""
        return (self.reject_start + self.reject.count) & _UINT32

    @property
    def per_minute(self) -> float:
        """Parts per minute at the present pace, 0 when it does not execute."""
        return 60 * NS_PER_S / (self.base_ns * self._segment.slowness) if self._moving else 0.0

    @property
    def next_ns(self) -> int | None:
        """When something will happen next; None while it is held or off."""
        if not self._free:
            return None
        return self.at_ns + (min(self._left_ns, self._cycle_left_ns) if self._moving else self._left_ns)

    def advance(self, to_ns: int) -> None:
        """Lives through everything up to `to_ns`; a moment that is past already changes nothing."""
        while self._free and self.at_ns < to_ns:
            step = min(to_ns - self.at_ns, self._left_ns)
            moving = self._moving
            if moving:
                step = min(step, self._cycle_left_ns)
                self._cycle_left_ns -= step
            self.at_ns += step
            self._left_ns -= step
            if moving and not self._cycle_left_ns:
                self._finish()
            if not self._left_ns:
                self._next_segment()
        self.at_ns = max(self.at_ns, to_ns)

    def hold(self, held: bool) -> None:
        """Freezes the machine in the middle of whatever it does, or lets it go on from there."""
        self.held = held
        self._tell()

    def power(self, on: bool) -> None:
        """Switches the controller; the part in work is taken out and counted nowhere, the script stands still."""
        self.powered = on
        self.last_cycle_ns = 0
        self._cycle_ns = self._cycle_left_ns = self._draw_cycle()
        self._tell()

    def reset_counters(self) -> None:
        """Sets the controller's counters to zero; what was really made stays known."""
        self.good_start, self.reject_start = -self.good.count, -self.reject.count
        self.counters_ns = self.at_ns

    def pace(self, per_minute: float) -> None:
        """Wants so many parts per minute, from the next cycle on."""
        self.base_ns = round(60 * NS_PER_S / per_minute)

    def forget(self, before_ns: int) -> None:
        for history in (self.good, self.reject, self.spells):
            history.forget(before_ns)

    @property
    def _free(self) -> bool:
        return self.powered and not self.held

    @property
    def _moving(self) -> bool:
        return self._free and self._segment.state == EXECUTE

    def _draw_cycle(self) -> int:
        jitter = min(abs(self._chance.gauss(0, 0.02)), 0.1)
        return round(self.base_ns * self._segment.slowness * (1 + jitter))

    def _finish(self) -> None:
        self._count(rejected=self._chance.random() < self._segment.reject_share)
        self.last_cycle_ns = self._cycle_ns
        self._cycle_ns = self._cycle_left_ns = self._draw_cycle()
        self._tell()

    def _next_segment(self) -> None:
        self._segment = next(self._script)
        self._left_ns = self._segment.length_ns
        if self._segment.scrap and self._cycle_left_ns < self._cycle_ns:
            self._count(rejected=True)
            self._cycle_ns = self._cycle_left_ns = self._draw_cycle()
        self._tell()

    def _count(self, *, rejected: bool) -> None:
        (self.reject if rejected else self.good).add(self.at_ns)
        self.counters_ns = self.at_ns

    def _tell(self) -> None:
        self.spells.begin(Spell(self.at_ns, STATES[self.state], self.reason, self.fault))
        phase = 1 - self._cycle_left_ns / self._cycle_ns
        period_ns = self._cycle_ns if self._moving else 0
        self._watch(self.at_ns, Motion(self.state, self.reason, phase, period_ns, self.ideal_ns))
