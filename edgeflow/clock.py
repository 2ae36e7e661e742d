"""The only place that asks for the time: UTC nanoseconds that never run backwards."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from edgeflow.units import NS_PER_S

_HELD_BACK_NS = 5 * NS_PER_S
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

    A forward step of the wall clock is taken over at once; a small backward step is held until the
    wall clock has caught up; one beyond 5 s begins a new epoch. `check` must be called regularly
    (the agent does so at every commit) and says what it found.
    """

    def __init__(self) -> None:
        self._wall, self._mono = time.time_ns(), time.monotonic_ns()
        self._last = self._wall
        self._epoch = 0

    @property
    def epoch(self) -> int:
        return self._epoch

    def now_ns(self) -> int:
        now = self._wall + time.monotonic_ns() - self._mono
        if now < self._last:
            return self._last
        self._last = now
        return now

    def check(self) -> int:
        """Compares with the wall clock; returns the step in ns that was taken over, 0 for none."""
        wall, mono = time.time_ns(), time.monotonic_ns()
        step = wall - (self._wall + mono - self._mono)
        if abs(step) < _SLEW_NS:
            return 0
        self._wall, self._mono = wall, mono
        if step < -_HELD_BACK_NS:
            self._epoch += 1
            self._last = wall
        return step


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
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} needs a UTC offset, for example {text}Z")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86400 + delta.seconds) * NS_PER_S + delta.microseconds * 1000
