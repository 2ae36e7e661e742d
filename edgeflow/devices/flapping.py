"""What is lost and back again and again is said once, not each time: a log that is full helps nobody."""

from __future__ import annotations

from collections import deque

from edgeflow.units import NS_PER_S

_OFTEN = 6
_WITHIN_NS = 60 * NS_PER_S


class Flapping:
    """The losses of one link or device. `quiet`: it comes and goes so often that it is no longer told each time."""

    __slots__ = ("_losses", "quiet")

    def __init__(self) -> None:
        self.quiet = False
        self._losses: deque[int] = deque(maxlen=_OFTEN)

    def lost(self, now_ns: int) -> str:
        """What to say of a loss: that it is `lost`, that it `comes and goes`, "" for nothing any more."""
        self._losses.append(now_ns)
        before, often = self.quiet, len(self._losses) == _OFTEN and now_ns - self._losses[0] < _WITHIN_NS
        self.quiet = often
        if often:
            return "" if before else "comes and goes"
        return "lost"
