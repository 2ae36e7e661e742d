"""Carries out the calls of flows: bounded, each with its service's retries, answered when done."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from edgeflow.clock import Clock
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import Answer, Call, Value

log = structlog.get_logger()


@dataclass(slots=True)
class ServiceStats:
    """Counts since the start; `waiting` is now."""

    done: int = 0
    failed: int = 0
    dropped: int = 0
    waiting: int = 0


class Service(Protocol):
    """One kind of call."""

    workers: int
    """How many calls may be under way at once."""

    async def run(self) -> None:
        """Keeps the connection, where there is one, until cancelled."""

    async def carry_out(self, call: Call) -> Value:
        """Does it, with its own time-out and retries; raises LinkDown or Rejected where it cannot."""


class Services:
    """All services of one agent. `submit` never waits: a full queue drops live calls and fails the others."""

    def __init__(
        self, services: Mapping[str, Service], answer: Callable[[Answer], None], clock: Clock, *, most: int = 10_000
    ) -> None:
        self._services, self._answer, self._clock, self._most = services, answer, clock, most
        self._queues: dict[str, deque[Call]] = {name: deque() for name in services}
        self._ready = {name: asyncio.Semaphore(0) for name in services}
        self.stats = {name: ServiceStats() for name in services}

    def submit(self, call: Call) -> None:
        """Takes a call to be carried out."""
        queue = self._queues.get(call.service)
        if queue is None:
            known = ", ".join(sorted(self._queues)) or "none"
            self._done(call, error=f"this gateway has no service {call.service!r}; configured are: {known}")
        elif len(queue) >= self._most:
            self.stats[call.service].dropped += 1
            self._done(call, error=f"{self._most} calls of {call.service} are waiting already")
        else:
            queue.append(call)
            self._ready[call.service].release()

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, service in self._services.items():
                group.create_task(service.run(), name=f"service {name}")
                for i in range(service.workers):
                    group.create_task(self._work(name, service), name=f"service {name} worker {i}")

    async def _work(self, name: str, service: Service) -> None:
        queue, ready, stats = self._queues[name], self._ready[name], self.stats[name]
        while True:
            await ready.acquire()
            call = queue.popleft()
            stats.waiting = len(queue)
            try:
                value = await service.carry_out(call)
            except (LinkDown, Rejected) as error:
                stats.failed += 1
                self._done(call, error=str(error))
            else:
                stats.done += 1
                self._done(call, value=value)

    def _done(self, call: Call, value: Value = None, error: str = "") -> None:
        if call.wants_answer:
            self._answer(Answer(call.id, not error, value, error, self._clock.now_ns()))
