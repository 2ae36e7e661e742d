"""Waiting times between attempts: doubled up to a longest, and shortened at random so that many do not come at once."""

from __future__ import annotations

import random


class Backoff:
    """From `first_s` on, doubled up to `longest_s`, each shortened by up to the share `jitter`."""

    __slots__ = ("_first_s", "_jitter", "_longest_s", "_next_s")

    def __init__(self, first_s: float = 0.5, longest_s: float = 5.0, *, jitter: float = 0.2) -> None:
        self._first_s, self._longest_s, self._jitter = first_s, longest_s, jitter
        self._next_s = first_s

    def next(self) -> float:
        """Seconds to wait now."""
        delay_s, self._next_s = self._next_s, min(2 * self._next_s, self._longest_s)
        return delay_s * random.uniform(1 - self._jitter, 1.0)  # noqa: S311  # jitter, no secret

    def longest(self) -> float:
        """Seconds to wait now where trying soon is no use; so is every later wait."""
        self._next_s = self._longest_s
        return self.next()

    def reset(self) -> None:
        """After a success: the next failure begins anew."""
        self._next_s = self._first_s
