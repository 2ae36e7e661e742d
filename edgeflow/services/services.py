"""Carries out the calls of flows: bounded, each with its service's retries, answered when done."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from edgeflow.clock import Clock
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import Answer, Call, Value
from edgeflow.services.reach import Reach
from edgeflow.units import duration_text

log = structlog.get_logger()

MOST_KEPT = 10_000
"""So many calls may wait in one service; what comes then is refused."""
MOST_LIVE = 1_000
"""So many `fast` calls may wait in one service; what comes then is dropped, since late is worthless."""


@dataclass(slots=True)
class ServiceStats:
    """Counts since the start; `waiting` is now."""

    done: int = 0
    failed: int = 0
    dropped: int = 0
    waiting: int = 0


class NotDone(Rejected):
    """A call that could not be carried out, with what a node may want to know beside the reason."""

    def __init__(self, reason: str, **extra: Value) -> None:
        super().__init__(reason)
        self.extra = extra


class Service(Protocol):
    """One kind of call."""

    workers: int
    """How many calls may be under way at once."""

    async def run(self) -> None:
        """Keeps the connection, where there is one, until cancelled."""

    async def carry_out(self, call: Call) -> Value:
        """Does it, with its own time-out and retries; raises LinkDown or Rejected where it cannot."""


@dataclass(slots=True)
class _Failing:
    """Failures in a row of one flow's calls."""

    since_ns: int
    count: int = 0
    lost: bool = False


@dataclass(slots=True)
class _Lane:
    """Calls that wait for the same workers. Live and kept ones have each their own: they never hold up one another."""

    most: int
    calls: deque[Call] = field(default_factory=deque)
    ready: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))


class Services:
    """All services of one agent, each made by the function given. `submit` never waits and never answers at once.

    Every call that wants an answer or is not `fast` is answered, whatever becomes of it.
    """

    def __init__(
        self,
        services: Mapping[str, Callable[[], Service]],
        answer: Callable[[Answer], None],
        clock: Clock,
        *,
        reach: Reach | None = None,
        most_kept: int = MOST_KEPT,
        most_live: int = MOST_LIVE,
    ) -> None:
        self._services, self._answer, self._clock = services, answer, clock
        self._reach = reach or Reach()
        self._lanes = {name: (_Lane(most_kept), _Lane(most_live)) for name in services}
        self._failing: dict[tuple[str, str], _Failing] = {}
        self.stats = {name: ServiceStats() for name in services}
        self.loaded = asyncio.Event()

    def submit(self, call: Call) -> None:
        """Takes a call to be carried out."""
        lanes = self._lanes.get(call.service)
        if lanes is None:
            known = ", ".join(sorted(self._lanes)) or "none"
            self._refuse(call, f"this gateway has no service {call.service!r}; configured are: {known}")
            return
        if reason := self._reach.refuses_call(call.service, call.request, call.flow):
            self.stats[call.service].failed += 1
            self._told(call, reason)
            self._refuse(call, reason)
            return
        lane, stats = lanes[bool(call.fast)], self.stats[call.service]
        if len(lane.calls) >= lane.most:
            stats.dropped += 1
            self._refuse(call, f"{lane.most} calls of {call.service} are waiting already")
            return
        lane.calls.append(call)
        stats.waiting += 1
        lane.ready.release()

    async def run(self) -> None:
        """Works until cancelled. Makes one after the other in a thread: what they load would stop the loop."""
        async with asyncio.TaskGroup() as group:
            try:
                for name, make in self._services.items():
                    self._begin(group, name, await asyncio.to_thread(make))
            finally:
                self.loaded.set()  # who waits for it does not wait for what cannot be loaded

    def _begin(self, group: asyncio.TaskGroup, name: str, service: Service) -> None:
        group.create_task(service.run(), name=f"service {name}")
        for lane in self._lanes[name]:
            for i in range(service.workers):
                group.create_task(self._work(name, service, lane), name=f"service {name} worker {i}")

    async def _work(self, name: str, service: Service, lane: _Lane) -> None:
        stats = self.stats[name]
        while True:
            await lane.ready.acquire()
            call = lane.calls.popleft()
            stats.waiting -= 1
            try:
                value = await service.carry_out(call)
            except (LinkDown, Rejected) as error:
                stats.failed += 1
                self._fail(call, str(error), getattr(error, "extra", {}))
            except Exception as error:  # what one flow asks for must not end the service of the others
                stats.failed += 1
                log.error("a call failed in an unforeseen way", service=name, flow=call.flow, exc_info=error)
                reason, now_ns = f"{type(error).__name__}: {error}", self._clock.now_ns()
                self._done(call, Answer(call.id, ok=False, error=reason, at=now_ns))
            else:
                stats.done += 1
                if not call.fast:
                    self._recovered(name, call.flow)
                self._done(call, Answer(call.id, ok=True, value=value, at=self._clock.now_ns()))

    def _refuse(self, call: Call, reason: str) -> None:
        """Answers in the next turn of the loop: a node that asks again at once must not go in circles for ever."""
        asyncio.get_running_loop().call_soon(self._fail, call, reason, {})

    def _fail(self, call: Call, reason: str, extra: Mapping[str, Value]) -> None:
        if not call.fast:  # what is late is worthless; the service itself says that it has no connection
            self._told(call, reason)
        self._done(call, Answer(call.id, ok=False, error=reason, at=self._clock.now_ns(), extra=extra))

    def _told(self, call: Call, reason: str) -> None:
        """Says the first of several failures in a row: an error where a call is lost and nobody else speaks of it."""
        lost = not (call.fast or call.wants_answer)
        known = self._failing.get((call.service, call.flow))
        if known is None or (lost and not known.lost):
            if lost:
                log.error("a call that was to be kept is lost", service=call.service, flow=call.flow, reason=reason)
            else:
                log.warning("calls of a flow fail", service=call.service, flow=call.flow, reason=reason)
        known = self._failing.setdefault((call.service, call.flow), _Failing(self._clock.now_ns()))
        known.count += 1
        known.lost |= lost

    def _recovered(self, service: str, flow: str) -> None:
        known = self._failing.pop((service, flow), None)
        if known is not None:
            lasted = duration_text(max(0, self._clock.now_ns() - known.since_ns))
            log.info("calls are carried out again", service=service, flow=flow, failed=known.count, lasted=lasted)

    def _done(self, call: Call, answer: Answer) -> None:
        if call.wants_answer or not call.fast:
            self._answer(answer)
