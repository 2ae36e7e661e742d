"""Waiting times between attempts."""

from __future__ import annotations

import random

_FIRST_S, _LONGEST_S = 0.5, 5.0


class Backoff:
    """0.5 s, doubled up to 5 s, each shortened by up to a fifth at random."""

    __slots__ = ("_next_s",)

    def __init__(self) -> None:
        self._next_s = _FIRST_S

    def next(self) -> float:
        """Seconds to wait now."""
        delay, self._next_s = self._next_s, min(2 * self._next_s, _LONGEST_S)
        return delay * random.uniform(0.8, 1.0)  # noqa: S311  # jitter, no secret

    def reset(self) -> None:
        """After a success: the next failure begins anew."""
        self._next_s = _FIRST_S
