"""Energy and pieces by clock-aligned interval: what a meter's increments mean for 15-minute demand.

Nothing is lost and nothing invented: an increment that spans a boundary is shared out in proportion to
time (linear interpolation of the counter), so the intervals always add up to last - first.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

from edgeflow.units import NS_PER_S

NS_PER_H = 3600 * NS_PER_S
MOST = 500
"""Intervals that one gap may open; a longer gap is told as one interval of its own length."""


@dataclass(slots=True)
class Interval:
    """One interval, [begin_ns, end_ns) in UTC.

    `booked_ns` is the time that `kwh` speaks of; `known_ns` the part of it that was measured, and not
    spread over a gap that crosses a boundary.
    """

    begin_ns: int
    end_ns: int
    kwh: float = 0.0
    booked_ns: int = 0
    known_ns: int = 0
    idle_kwh: float = 0.0
    good: float = 0
    doubtful: bool = False

    @property
    def demand_kw(self) -> float | None:
        """Mean power over the time that was booked; None where nothing was."""
        return self.kwh * NS_PER_H / self.booked_ns if self.booked_ns else None

    @property
    def kwh_per_good(self) -> float | None:
        """Specific energy; undefined without a good part."""
        return self.kwh / self.good if self.good and self.booked_ns else None

    @property
    def coverage(self) -> float:
        """The known share of the interval, 0..1."""
        return self.known_ns / (self.end_ns - self.begin_ns)

    def projected_kw(self, at_ns: int, present_kw: float) -> float:
        """The demand at the end if power stays as it is: (energy so far + power × time left) / time.

        Time that was missed so far (the first interval after a start) does not count.
        """
        left_ns = max(0, self.end_ns - at_ns)
        time_ns = self.booked_ns + left_ns
        return (self.kwh * NS_PER_H + present_kw * left_ns) / time_ns if time_ns else present_kw


@dataclass(slots=True)
class Book:
    """The intervals that are not settled yet, the oldest first, and where the settled ones end."""

    open: list[Interval] = field(default_factory=list)
    settled_ns: int = 0

    def interval(self, begin_ns: int, end_ns: int) -> Interval:
        """The open interval that begins at `begin_ns`, new where there is none; what is settled stays settled."""
        begin_ns = max(begin_ns, self.settled_ns)
        i = bisect_left(self.open, begin_ns, key=lambda interval: interval.begin_ns)
        if i == len(self.open) or self.open[i].begin_ns != begin_ns:
            self.open.insert(i, Interval(begin_ns, end_ns))
        return self.open[i]

    def settle(self, until_ns: int) -> list[Interval]:
        """Takes out the intervals that ended by `until_ns`."""
        done = [interval for interval in self.open if interval.end_ns <= until_ns]
        if done:
            del self.open[: len(done)]
            self.settled_ns = done[-1].end_ns
        return done


@dataclass(frozen=True, slots=True)
class Gain:
    """What a counter gained in [begin_ns, end_ns); `kwh` None where its step cannot be explained."""

    begin_ns: int
    end_ns: int
    kwh: float | None
    idle: bool = False
    doubtful: bool = False


def book_energy(book: Book, length_ns: int, gain: Gain, longest_ns: int) -> None:
    """Shares a gain out over the intervals it touches.

    A share is known when the two samples are at most `longest_ns` apart or lie in the same interval.
    """
    begin_ns, end_ns, kwh = gain.begin_ns, gain.end_ns, gain.kwh
    spans = list(spans_of(begin_ns, end_ns, length_ns)) or [_instant(end_ns, length_ns)]
    known = len(spans) == 1 or end_ns - begin_ns <= longest_ns
    left = kwh or 0.0
    for interval_begin, interval_end, span_ns in spans:
        interval = book.interval(interval_begin, interval_end)
        interval.doubtful |= gain.doubtful or kwh is None or not known
        if kwh is None:
            continue
        # The last share is what is left, so that nothing is lost to rounding.
        share = kwh * span_ns / (end_ns - begin_ns) if interval_end < end_ns else left
        left -= share
        interval.kwh += share
        interval.idle_kwh += share if gain.idle else 0.0
        interval.booked_ns += span_ns
        interval.known_ns += span_ns if known else 0


def book_good(book: Book, length_ns: int, at_ns: int, pieces: float) -> None:
    """Books pieces seen at `at_ns`: they were made before, so a sample on a boundary speaks of what ended there.

    Late ones, and those of a very long time without a meter, go to the nearest interval that is open.
    """
    begin_ns = max(begin_of(at_ns - 1, length_ns), begin_of(book.settled_ns, length_ns))
    if len(book.open) >= MOST:
        begin_ns = min(begin_ns, book.open[-1].begin_ns)
    book.interval(begin_ns, begin_ns + length_ns).good += pieces


def begin_of(at_ns: int, length_ns: int) -> int:
    """The begin of the interval that `at_ns` lies in; intervals are aligned to the UTC clock."""
    return at_ns - at_ns % length_ns


def spans_of(begin_ns: int, end_ns: int, length_ns: int) -> Iterator[tuple[int, int, int]]:
    """(begin and end of the interval, time inside) of every interval that [begin_ns, end_ns) touches."""
    while begin_ns < end_ns:
        interval_begin = begin_of(begin_ns, length_ns)
        interval_end = interval_begin + length_ns
        if begin_ns == interval_begin and end_ns - begin_ns > MOST * length_ns:
            interval_end = begin_of(end_ns, length_ns)
        to_ns = min(interval_end, end_ns)
        yield interval_begin, interval_end, to_ns - begin_ns
        begin_ns = to_ns


def _instant(at_ns: int, length_ns: int) -> tuple[int, int, int]:
    """The interval of a gain that came without time passing: a correction."""
    begin_ns = begin_of(at_ns - 1, length_ns)
    return begin_ns, begin_ns + length_ns, 0


def float32_step(value: float) -> float:
    """The distance between neighbouring float32 numbers at `value` (IEEE 754: 24 bits of significand).

    A register of this type cannot show less: from 1,048,576 kWh on it moves in steps of 0.125 kWh.
    """
    return math.ldexp(1.0, math.frexp(value)[1] - 24) if value else 0.0
