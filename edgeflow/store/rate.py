"""How fast the outbox fills, and so how long the gateway can still do without its central server."""

from __future__ import annotations

from edgeflow.units import NS_PER_S

_SLOT_NS = 60 * NS_PER_S
_SLOTS = 60


class FillRate:
    """Bytes per second over the last hour, counted in minutes.

    Results come in bursts (at the end of a stop, an hour, a shift), so a short window would promise
    too much between them and too little after them. All times are monotonic nanoseconds.
    """

    def __init__(self, now_ns: int) -> None:
        self._since_ns = now_ns
        self._minutes: dict[int, int] = {}

    def add(self, size: int, now_ns: int) -> None:
        """Counts `size` bytes."""
        minute = now_ns // _SLOT_NS
        if minute not in self._minutes:
            self._minutes = {at: n for at, n in self._minutes.items() if at > minute - _SLOTS}
        self._minutes[minute] = self._minutes.get(minute, 0) + size

    def per_s(self, now_ns: int) -> float | None:
        """Bytes per second, or None before the first minute is over."""
        watched_ns = min(now_ns - self._since_ns, _SLOTS * _SLOT_NS)
        if watched_ns < _SLOT_NS:
            return None
        first = now_ns // _SLOT_NS - _SLOTS
        return sum(n for at, n in self._minutes.items() if at > first) * NS_PER_S / watched_ns


def time_left_ns(free_bytes: int, per_s: float | None) -> int | None:
    """How long `free_bytes` last; None where nobody can say, since nothing was written for an hour."""
    return None if not per_s else round(max(free_bytes, 0) / per_s * NS_PER_S)
