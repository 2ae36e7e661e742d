"""How long a device on a shared link is waited for, and how seldom a silent one is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from edgeflow.backoff import Backoff

T = TypeVar("T")

_TIMES_SLOWEST, _TIMES_USUAL = 5.0, 3.0
_LEAST_S, _LEAST_PROBE_S, _LEAST_OF_STRANGER_S = 0.2, 0.05, 0.1
_FADES, _LEARNS = 0.98, 0.1
_SHARE = 0.05
_LONGEST_PAUSE_S = 8.0
_FULL_EVERY = 50
_HOLD_S = 0.5


@dataclass(slots=True)
class Custom:
    """How long the devices behind one link take to answer: so long a stranger is waited for."""

    slowest_s: float = 0.0
    """The slowest answer that came lately; 0 as long as there was none."""


class Patience:
    """The patience with one of several devices behind a link.

    Who asks a silent device keeps all others on the link waiting. So a request may take five times the
    slowest answer seen lately, not the whole time-out. One lost answer is no silence: a device that has
    answered before is asked once more, as long as that takes no more than a twentieth of the link's time. A
    device that does not answer is given three times what it usually took and at most a twentieth of the
    link's time, but is asked at least every 8 s. One that never answered is given three times what the
    slowest of the others took lately. The first time, and then every fiftieth, it has its whole time-out,
    in case it has become slow, or always was.
    """

    def __init__(self, timeout_s: float, custom: Custom) -> None:
        self._timeout_s, self._custom = timeout_s, custom
        self._time = asyncio.get_running_loop().time
        self._slowest_s: float | None = None
        self._usual_s = 0.0
        self._failures = 0
        self._until_s: float | None = None  # while it is silent: nobody asks before
        self._forgives_s = 0.0  # loop time from which on a lost answer is forgiven
        self._backoff = Backoff()

    @property
    def allowed_s(self) -> float:
        """What the next request may take."""
        if self._failures % _FULL_EVERY:
            stranger, others_s = self._slowest_s is None, self._custom.slowest_s
            if stranger and not others_s:
                return self._timeout_s
            least_s, usual_s = (_LEAST_OF_STRANGER_S, others_s) if stranger else (_LEAST_PROBE_S, self._usual_s)
            return min(self._timeout_s, max(least_s, _TIMES_USUAL * usual_s))
        if self._failures or self._slowest_s is None:
            return self._timeout_s
        return min(self._timeout_s, max(_LEAST_S, _TIMES_SLOWEST * self._slowest_s))

    async def turn(self, *, again: bool = False) -> None:
        """Waits while the device is silent and not due; then one may ask, and others wait for what becomes of it.

        `again`: it asks on, after a request of its own that was lost.
        """
        while not again and self._until_s is not None and (wait_s := self._until_s - self._time()) > 0:  # noqa: ASYNC110 - it may move
            await asyncio.sleep(wait_s)
        if self._until_s is not None:
            self._until_s = self._time() + self.allowed_s + _HOLD_S

    @property
    def silent_already(self) -> bool:
        """Whether the last request was not answered either."""
        return self._failures > 0

    def timed(self, request: Callable[[float], Awaitable[T]]) -> Callable[[float], Awaitable[T]]:
        """The request, and what its outcome says of the device."""

        async def ask(deadline: float) -> T:
            begun_s = self._time()
            answer = await request(deadline)
            self._answered(self._time() - begun_s)
            return answer

        return ask

    def forgives(self) -> bool:
        """Whether it is asked once more at once: it has answered the last time, and seldom fails to."""
        now_s = self._time()
        if self._slowest_s is None or self._failures or now_s < self._forgives_s:
            return False
        self._forgives_s = now_s + self.allowed_s / _SHARE
        return True

    def silent(self, requests: int = 1) -> None:
        """It has not answered so many requests in a row in time."""
        cost_s = requests * self.allowed_s
        self._failures += 1
        pause_s = max(self._backoff.next(), min(cost_s / _SHARE - cost_s, _LONGEST_PAUSE_S))
        self._until_s = self._time() + pause_s

    def _answered(self, took_s: float) -> None:
        self._usual_s += (took_s - self._usual_s) * (_LEARNS if self._slowest_s is not None else 1.0)
        self._slowest_s = max(took_s, (self._slowest_s or 0.0) * _FADES)
        self._custom.slowest_s = max(took_s, self._custom.slowest_s * _FADES)
        if self._failures:
            self._failures, self._until_s = 0, None
            self._backoff.reset()
