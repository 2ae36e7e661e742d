"""The time ledger of one machine: every nanosecond of a shift is booked to exactly one bucket.

Time is booked forwards only: what comes late counts from where the books stand. A stop stays open until
it ends, so that its whole length decides whether it was a small one; it is dated from its beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from edgeflow.model import Scalar
from edgeflow.production.calendar import Calendar, Shift
from edgeflow.production.counter import Number
from edgeflow.production.states import Category
from edgeflow.units import NS_PER_S

Bucket = Literal["run", "small_stop", "down", "changeover", "break", "excluded", "unknown"]
BUCKETS: tuple[Bucket, ...] = get_args(Bucket)

MOST_FLAGS = 8
LONGEST_GAP_NS = 35 * 86_400 * NS_PER_S
"""Over a longer gap (a clock that was never set) the shifts between are not booked one by one."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How time is booked. Durations in ns; `stale_after` None: the last state holds for ever.

    `pulse` is for machines without a state signal: a pause between two pieces up to it is running.
    """

    calendar: Calendar
    small_stop_ns: int
    stale_after_ns: int | None = None
    pulse_ns: int = 0


@dataclass(slots=True)
class Tally:
    """The pieces of one counter in one shift. `gap` of them were made while the state was unknown.

    `ideal_ns` is what they should have taken (those of the gap left out), so mixed products add up.
    """

    count: Number = 0
    gap: Number = 0
    ideal_ns: Number = 0
    first: Number | None = None
    last: Number | None = None


@dataclass(slots=True)
class Sheet:
    """What is booked to one shift. `heard`: somebody was there; `uncertain`: some of what was heard was UNCERTAIN."""

    shift: Shift
    buckets: dict[Bucket, int] = field(default_factory=lambda: dict.fromkeys(BUCKETS, 0))
    tallies: dict[str, Tally] = field(default_factory=dict)
    heard: bool = False
    uncertain: bool = False
    flags: list[str] = field(default_factory=list)

    @property
    def booked_ns(self) -> int:
        return sum(self.buckets.values())

    def flag(self, flag: str) -> None:
        """Notes something a reader of the result should know; once."""
        if flag not in self.flags and len(self.flags) < MOST_FLAGS:
            self.flags.append(flag)

    def copy(self) -> Sheet:
        tallies = {name: replace(tally) for name, tally in self.tallies.items()}
        return Sheet(self.shift, dict(self.buckets), tallies, self.heard, self.uncertain, list(self.flags))


@dataclass(slots=True)
class Stop:
    """An open stop. `planned_ns` is its length without breaks; `here_ns` the part in the present shift."""

    begin_ns: int
    category: Category
    state: str
    reason: Scalar = None
    planned_ns: int = 0
    here_ns: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """A stop that is over, with the bucket its length puts it in. `cut`: only because the state became unknown."""

    stop: Stop
    end_ns: int
    bucket: Bucket
    shift: Shift
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Closed:
    """A shift that is over; nothing more will be booked to it."""

    sheet: Sheet


@dataclass(slots=True)
class Ledger:
    """The books of one machine; `until_ns` is how far they are written, `heard_ns` the last sign of life."""

    sheet: Sheet | None = None
    until_ns: int = 0
    heard_ns: int = 0
    known_since_ns: int = 0
    category: Category = "unknown"
    state: str = ""
    stop: Stop | None = None

    def advance(self, rules: Rules, to_ns: int) -> list[Ended | Closed]:
        """Books the time up to `to_ns` under the present state; returns the stops and shifts that ended."""
        events: list[Ended | Closed] = []
        if self.sheet is None:
            self._open(rules, to_ns)
        elif to_ns - self.until_ns > LONGEST_GAP_NS:
            self._skip(rules, to_ns, events)
        while self.until_ns < to_ns:
            self._book_next(rules, to_ns, events)
        return events

    def turn(self, rules: Rules, category: Category, state: str) -> list[Ended | Closed]:
        """The machine is in another state from where the books stand."""
        events: list[Ended | Closed] = []
        if category != self.category:
            self._end_stop(rules, events, cut=category == "unknown")
            self.category = category
            if category in ("stopped", "changeover") and self.sheet is not None and self.sheet.shift.scheduled:
                self.stop = Stop(self.until_ns, category, state)
        self.state = state
        return events

    def pulse(self, rules: Rules) -> list[Ended | Closed]:
        """A piece of a machine without a state signal: what was open since the last one ends."""
        events = self.turn(rules, "stopped", "no pieces")
        self._end_stop(rules, events)
        return events

    def hear(self, at: int) -> None:
        """A sign of life."""
        self.heard_ns = max(self.heard_ns, at)
        if self.sheet is not None:
            self.sheet.heard = True

    def why(self, reason: Scalar) -> None:
        """The cause of the open stop; the first one wins."""
        if self.stop is not None and not self.stop.reason:
            self.stop.reason = reason

    def view(self, rules: Rules, at: int) -> Sheet:
        """The sheet of the present shift as it would stand at `at`, an open stop included."""
        assert self.sheet is not None
        copy = replace(self, sheet=self.sheet.copy(), stop=self.stop and replace(self.stop))
        copy.advance(rules, min(at, self.sheet.shift.end_ns - 1))
        assert copy.sheet is not None
        copy._settle(rules)
        return copy.sheet

    def shown(self, rules: Rules) -> Category:
        """The category for people: between two pieces a machine without a state signal runs."""
        if self.category == "stopped" and rules.pulse_ns:
            return "stopped" if self.stop and self.stop.planned_ns > rules.pulse_ns else "running"
        return self.category

    def stale_ns(self, rules: Rules) -> int | None:
        """When the present state stops being known if nothing is heard; None where it holds."""
        if rules.stale_after_ns is None or self.category == "unknown":
            return None
        return self.heard_ns + rules.stale_after_ns

    # how it is done

    def _open(self, rules: Rules, at: int) -> None:
        shift = rules.calendar.period_at(at)
        self.sheet, self.until_ns = Sheet(shift, tallies=self._carried()), shift.begin_ns

    def _carried(self) -> dict[str, Tally]:
        """A new shift's counters begin at the reading the last one ended with."""
        tallies = self.sheet.tallies if self.sheet else {}
        return {name: Tally(first=tally.last, last=tally.last) for name, tally in tallies.items()}

    def _skip(self, rules: Rules, to_ns: int, events: list[Ended | Closed]) -> None:
        assert self.sheet is not None
        events += self.advance(rules, self.sheet.shift.end_ns)
        events += self.turn(rules, "unknown", "")
        self._open(rules, to_ns)

    def _book_next(self, rules: Rules, to_ns: int, events: list[Ended | Closed]) -> None:
        """Books up to the next instant at which anything changes."""
        assert self.sheet is not None
        shift, at = self.sheet.shift, self.until_ns
        stale = self.stale_ns(rules)
        if stale is not None and stale <= at:
            events += self.turn(rules, "unknown", "")
            stale = None
        edges = [to_ns, shift.end_ns, *(edge for pause in shift.breaks for edge in pause)]
        if stale is not None:
            edges.append(stale)
        self._book(min(edge for edge in edges if edge > at))
        if self.until_ns == shift.end_ns:
            self._next_shift(rules, events)

    def _book(self, to_ns: int) -> None:
        assert self.sheet is not None
        sheet, begin, self.until_ns = self.sheet, self.until_ns, to_ns
        length = to_ns - begin
        if any(b <= begin < e for b, e in sheet.shift.breaks):
            sheet.buckets["break"] += length
        elif not sheet.shift.scheduled or self.category == "excluded":
            sheet.buckets["excluded"] += length
        elif self.category == "running":
            sheet.buckets["run"] += length
        elif self.category == "unknown":
            sheet.buckets["unknown"] += length
            self.known_since_ns = to_ns
        else:
            if self.stop is None:
                self.stop = Stop(begin, self.category, self.state)
            self.stop.planned_ns += length
            self.stop.here_ns += length

    def _next_shift(self, rules: Rules, events: list[Ended | Closed]) -> None:
        """Closes the sheet. A stop goes on into the next shift; the length so far decides for this one."""
        assert self.sheet is not None
        following = rules.calendar.period_at(self.until_ns)
        if following.scheduled:
            self._settle(rules)
        else:
            self._end_stop(rules, events)
        events.append(Closed(self.sheet))
        self.sheet = Sheet(following, tallies=self._carried())

    def _settle(self, rules: Rules) -> None:
        if self.stop is not None and self.sheet is not None:
            self.sheet.buckets[_bucket(rules, self.stop)] += self.stop.here_ns
            self.stop.here_ns = 0

    def _end_stop(self, rules: Rules, events: list[Ended | Closed], *, cut: bool = False) -> None:
        if self.stop is not None and self.sheet is not None:
            self._settle(rules)
            bucket = _bucket(rules, self.stop)
            if self.stop.planned_ns and bucket != "run":
                events.append(Ended(self.stop, self.until_ns, bucket, self.sheet.shift, cut))
            self.stop = None


def _bucket(rules: Rules, stop: Stop) -> Bucket:
    if stop.category == "changeover":
        return "changeover"
    if stop.planned_ns <= rules.pulse_ns:
        return "run"
    return "small_stop" if stop.planned_ns < rules.small_stop_ns else "down"


def seconds(buckets: Mapping[Bucket, int]) -> dict[str, float]:
    """The buckets in seconds, for people and for the wire."""
    return {name: ns / NS_PER_S for name, ns in buckets.items()}
