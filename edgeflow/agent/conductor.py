"""Drives the engine: inputs in the order they come, effects out at once, a commit every second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from edgeflow.clock import SystemClock
from edgeflow.engine.engine import Commit, Engine
from edgeflow.model import Answer, Block, Call, Record, Request, Value
from edgeflow.outputs.arbitration import Decision
from edgeflow.store.database import StoreError
from edgeflow.store.store import AuditEntry, Store
from edgeflow.units import NS_PER_S, duration_text
from edgeflow.web.latest import Latest

log = structlog.get_logger()

COMMIT_S = 1.0
WINDOWS_EVERY = 60
"""Moving windows are committed with every so many commits."""
_MOST_UNSAVED = 100_000


class Outputs(Protocol):
    """What carries out decisions."""

    def apply(self, decisions: Sequence[Decision]) -> None:
        """Takes changed decisions; writes begin at once."""

    def beat(self) -> None:
        """The engine is alive; without this outputs are no longer refreshed."""


@dataclass(slots=True)
class ConductorStats:
    """Counts since the start. `lag_ns` is how late the newest commit tick began."""

    commits: int = 0
    failed_commits: int = 0
    clock_steps: int = 0
    lag_ns: int = 0


class Conductor:
    """Between the shell and the engine. Everything but `run` and `committed` is synchronous."""

    def __init__(
        self,
        engine: Engine,
        clock: SystemClock,
        store: Store,
        *,
        note: Callable[[Block], None],
        submit: Callable[[Call], None],
        live: Callable[[Record], None],
        alive: Callable[[], None],
    ) -> None:
        self.engine, self.stats = engine, ConductorStats()
        self.latest = Latest()
        self.outputs: Outputs | None = None
        self._clock, self._store = clock, store
        self._note, self._submit, self._live, self._alive = note, submit, live, alive
        self._wake_at: int | None = None
        self._waking: asyncio.TimerHandle | None = None
        self._audit: list[AuditEntry] = []
        self._unsaved = Commit({}, [], [])
        self._refused = False
        self._waiting: list[asyncio.Event] = []

    def block(self, block: Block) -> None:
        """A device has delivered."""
        self._note(block)
        self.engine.block(block)
        self.effects()

    def answer(self, answer: Answer) -> None:
        """A call is done."""
        self.engine.answer(answer)
        self.effects()

    def message(self, instance: str, node: str, port: str, value: Value, who: str) -> None:
        """An operator has done something. Raises Rejected."""
        now = self._clock.now_ns()
        self.engine.message(instance, node, port, value, now)
        self._audit.append(AuditEntry(now, who, f"{instance}/{node}.{port}", repr(value)))
        self.effects()

    def override(self, request: Request, detail: str) -> None:
        """An operator outdoes the flows for a while."""
        self.engine.requests.put(request)
        self._audit.append(AuditEntry(request.since, request.owner, f"write {request.output}", detail))
        self.effects()

    def effects(self) -> None:
        """Carries out what the last input led to: outputs first."""
        engine = self.engine
        decisions = engine.decisions()
        if decisions and self.outputs is not None:
            self.outputs.apply(decisions)
        if engine.calls_now:
            calls, engine.calls_now = engine.calls_now, []
            for call in calls:
                self._submit(call)
        if engine.live:
            live, engine.live = engine.live, {}
            for record in live.values():
                self.latest.take(record)
                self._live(record)
        due = engine.next_due()
        if due is not None and (self._wake_at is None or due < self._wake_at):
            self._arm(due)

    def _arm(self, due: int) -> None:
        if self._waking is not None:
            self._waking.cancel()
        self._wake_at = due
        delay_s = max(0, due - self._clock.now_ns()) / NS_PER_S
        self._waking = asyncio.get_running_loop().call_later(min(delay_s, COMMIT_S), self._woken)

    def _woken(self) -> None:
        self._wake_at = self._waking = None
        self.engine.advance(self._clock.now_ns())
        self.effects()

    async def run(self) -> None:
        """Commits once a second, on an absolute schedule, until cancelled; then once more."""
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        count = 0
        try:
            while True:
                next_s = max(next_s + COMMIT_S, loop.time())
                await asyncio.sleep(next_s - loop.time())
                self.stats.lag_ns = round((loop.time() - next_s) * NS_PER_S)
                count += 1
                self._look_at_the_clock()
                self.engine.advance(self._clock.now_ns())
                self.effects()
                await self.commit(windows=count % WINDOWS_EVERY == 0)
                if self.outputs is not None:
                    self.outputs.beat()
                self._alive()
        finally:
            await self.commit(windows=True)

    def _look_at_the_clock(self) -> None:
        step = self._clock.check()
        if step:
            self.stats.clock_steps += 1
            direction = "forward" if step > 0 else "back"
            log.warning("the system's clock was set", direction=direction, by=duration_text(abs(step)))

    async def commit(self, *, windows: bool = False) -> None:
        """Brings everything that changed to the disk in one transaction, then lets its calls go.

        Where the disk refuses, everything is kept in memory and tried again with the next commit.
        """
        waiting, self._waiting = self._waiting, []
        new = self.engine.commit(windows=windows) or Commit({}, [], [])
        unsaved = self._unsaved
        states, records, calls = unsaved.states | new.states, unsaved.records + new.records, unsaved.calls + new.calls
        audit, self._audit = self._audit, []
        for record in new.records:
            self.latest.take(record)
        try:
            await self._store.commit(states, records, audit=audit)
        except StoreError as error:
            self._audit = audit + self._audit
            self._waiting = waiting + self._waiting
            self._keep(Commit(states, records, calls), str(error))
            return
        if self._refused:
            log.info("the disk takes data again", records=len(records))
        self._unsaved, self._refused = Commit({}, [], []), False
        self.stats.commits += 1
        for call in calls:
            self._submit(call)
        for event in waiting:
            event.set()

    def _keep(self, commit: Commit, reason: str) -> None:
        if not self._refused:
            log.error("nothing can be saved; results are kept in memory until the disk takes them", reason=reason)
        self.stats.failed_commits += 1
        del commit.records[: max(0, len(commit.records) - _MOST_UNSAVED)]
        self._unsaved, self._refused = commit, True

    async def committed(self) -> None:
        """Waits until everything that has happened so far is on the disk."""
        event = asyncio.Event()
        self._waiting.append(event)
        await event.wait()
