"""The only place that asks for the time: UTC nanoseconds that never run backwards."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from edgeflow.units import NS_PER_S

STEP_NS = 5 * NS_PER_S
"""What differs by more is a step: the clock was set, and not only corrected."""
DOUBT_NS = 30 * NS_PER_S
"""So long a step must last before it is believed."""
UNSET_NS = 1_704_067_200 * NS_PER_S
"""2024: a clock that shows an earlier time has not been set since the power came back."""
_SLEW_NS = 50_000_000


class Clock(Protocol):
    """What the rest of EdgeFlow knows of time."""

    def now_ns(self) -> int:
        """UTC now in nanoseconds; never less than before."""

    @property
    def epoch(self) -> int:
        """Counts the times the wall clock was set back by more than 5 s."""


class SystemClock:
    """The wall clock anchored to the monotonic clock.

    Time goes on by the monotonic clock; `check` compares it with the wall clock, must be called regularly
    (the agent does so at every commit) and says what was taken over. A small forward step is taken over at
    once, a small backward step held until the wall clock has caught up. A step beyond 5 s is believed only
    when it has lasted half a minute: a clock that is set wrong and right again disturbs nothing. One beyond
    5 s backwards begins a new epoch. A wall clock that was never set is not believed against a time that
    is known to have passed: `known_ns`, the newest one of an earlier life.
    """

    def __init__(self, known_ns: int = 0) -> None:
        self._wall, self._mono = time.time_ns(), time.monotonic_ns()
        if self._wall < known_ns - STEP_NS:
            self._wall = known_ns
        self._last = self._wall
        self._doubted: tuple[int, int] | None = None
        self._epoch = 0

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def doubted_ns(self) -> int:
        """By how much the wall clock differs while that is not believed; 0 where it is."""
        return self._doubted[0] if self._doubted else 0

    def now_ns(self) -> int:
        now = self._wall + time.monotonic_ns() - self._mono
        if now < self._last:
            return self._last
        self._last = now
        return now

    def check(self) -> int:
        """Compares with the wall clock; returns the step in ns that was taken over, 0 for none."""
        wall, mono = time.time_ns(), time.monotonic_ns()
        own = self._wall + mono - self._mono
        step = wall - own
        if abs(step) < _SLEW_NS:
            self._doubted = None
            return 0
        if abs(step) > STEP_NS and self._doubts(step, wall, own, mono):
            return 0
        self._wall, self._mono, self._doubted = wall, mono, None
        if step < -STEP_NS:
            self._epoch += 1
            self._last = wall
        return step

    def _doubts(self, step: int, wall: int, own: int, mono: int) -> bool:
        if own < UNSET_NS:
            return False  # any other time is better than that
        if self._doubted is None or abs(step - self._doubted[0]) > STEP_NS:
            self._doubted = step, mono
        return wall < UNSET_NS or mono - self._doubted[1] < DOUBT_NS


def monotonic_ns() -> int:
    """For schedules and durations inside the process; has no relation to UTC."""
    return time.monotonic_ns()


def utc_text(ns: int) -> str:
    """RFC 3339 in UTC with milliseconds, rounded down: `2026-11-20T06:00:00.250Z`."""
    seconds, rest = divmod(ns, NS_PER_S)
    return f"{_second_text(seconds)}.{rest // 1_000_000:03d}Z"


@lru_cache(maxsize=1024)
def _second_text(seconds: int) -> str:
    """Most times that are told lie in the same few seconds."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def utc_ns(text: str) -> int:
    """Nanoseconds of an RFC 3339 time; raises ValueError where the text has no offset."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not a time; write it as 2026-03-01T06:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} needs a UTC offset, for example {text}Z")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86400 + delta.seconds) * NS_PER_S + delta.microseconds * 1000
