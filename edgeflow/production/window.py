"""A moving window of numbers: its sum in constant time per sample, in bounded room, never shorter than asked.

Samples lie in panes. A pane takes what comes within a share of the window (`PANES` of them), and leaves when its
newest sample is outside; so where samples come no faster than that, each is a pane of its own and the window is
exact, and where they come faster it may be longer than asked by one pane. Nothing is ever subtracted: the panes are
two stacks, of which the older one keeps the sums from each pane to its newest, so that a large value that has left
takes no small ones with it. Sums carry what rounding loses (T. J. Dekker, 1971: exact addition of two numbers).
"""

from __future__ import annotations

from dataclasses import dataclass, field

PANES = 2000


@dataclass(slots=True)
class Sum:
    """A sum with what rounding has lost of it, and how many numbers it is of."""

    high: float = 0.0
    low: float = 0.0
    count: int = 0

    def plus(self, other: Sum) -> Sum:
        high = self.high + other.high
        part = high - self.high
        lost = (self.high - (high - part)) + (other.high - part)
        return Sum(high, self.low + other.low + lost, self.count + other.count)

    @property
    def mean(self) -> float:
        return (self.high + self.low) / self.count


@dataclass(slots=True)
class Pane:
    """What came within one share of the window: its first and its last instant, and the sum."""

    first: int
    last: int
    sum: Sum


@dataclass(slots=True)
class Window:
    """The panes: `new` in the order of time with their sum; `old` the other way round, each with the sum from it on."""

    old: list[Pane] = field(default_factory=list)
    new: list[Pane] = field(default_factory=list)
    new_sum: Sum = field(default_factory=Sum)

    def take(self, over_ns: int, at_ns: int, value: float) -> Sum:
        """Takes a sample over; returns the sum of what lies in (at_ns - over_ns, at_ns].

        A sample that comes late counts as of the newest; where time has gone back by more than the window, it
        begins anew.
        """
        newest = self.new[-1].last if self.new else self.old[0].last if self.old else at_ns
        if at_ns <= newest - over_ns:
            self.old.clear()
            self.new.clear()
            self.new_sum = Sum()
        else:
            at_ns = max(at_ns, newest)
        self._leave(at_ns - over_ns)
        one = Sum(float(value), 0.0, 1)
        pane = self.new[-1] if self.new else None
        if pane is not None and at_ns - pane.first < over_ns / PANES:
            pane.last, pane.sum = at_ns, pane.sum.plus(one)
        else:
            self.new.append(Pane(at_ns, at_ns, one))
        self.new_sum = self.new_sum.plus(one)
        return self.old[-1].sum.plus(self.new_sum) if self.old else self.new_sum

    def _leave(self, until_ns: int) -> None:
        while True:
            if not self.old:
                self._turn_over()
            if not self.old or self.old[-1].last > until_ns:
                return
            self.old.pop()

    def _turn_over(self) -> None:
        """The new panes become old ones; each pane is turned over once in its life."""
        total = Sum()
        while self.new:
            pane = self.new.pop()
            total = total.plus(pane.sum)
            self.old.append(Pane(pane.first, pane.last, total))
        self.new_sum = Sum()
