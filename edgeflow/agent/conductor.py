"""Drives the engine: inputs in the order they come, effects out at once, a commit every second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from edgeflow.clock import STEP_NS, SystemClock
from edgeflow.engine.engine import Engine
from edgeflow.model import Answer, Block, Call, Record, Request, Value
from edgeflow.outputs.arbitration import Decision
from edgeflow.store.database import StoreError
from edgeflow.store.store import AuditEntry, FlowPointer, Store
from edgeflow.units import NS_PER_S, duration_text
from edgeflow.web.latest import Latest

log = structlog.get_logger()

COMMIT_S = 1.0
WINDOWS_EVERY = 60
"""Moving windows are committed with every so many commits."""
_MOST_UNSAVED = 10_000
"""So many records, and as many calls, are kept in memory while the disk refuses them."""
_COMMITTED_S = 10.0


class Outputs(Protocol):
    """What carries out decisions."""

    def apply(self, decisions: Sequence[Decision]) -> None:
        """Takes changed decisions; writes begin at once."""

    def beat(self) -> None:
        """The engine is alive; without this outputs are no longer refreshed."""


@dataclass(slots=True)
class ConductorStats:
    """Counts since the start. `lag_ns` is how late the newest commit tick began; `lost` what never reached the disk."""

    commits: int = 0
    failed_commits: int = 0
    lost: int = 0
    clock_steps: int = 0
    lag_ns: int = 0


@dataclass(frozen=True, slots=True)
class Switch:
    """What a change of a flow's version must bring to the disk: its pointer, and the states of the good version.

    `good` None leaves those that are kept; an empty mapping forgets them.
    """

    pointer: FlowPointer
    good: Mapping[str, bytes] | None = None


@dataclass(slots=True)
class _Unsaved:
    """Everything that the disk does not have yet, in the order it came."""

    states: dict[tuple[str, str], bytes | None] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    audit: list[AuditEntry] = field(default_factory=list)
    pointers: dict[str, FlowPointer] = field(default_factory=dict)
    good: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    waiting: list[asyncio.Event] = field(default_factory=list)


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
        self._doubted_ns = 0
        self._note, self._submit, self._live, self._alive = note, submit, live, alive
        self._wake_at: int | None = None
        self._waking: asyncio.TimerHandle | None = None
        self._unsaved, self._committing = _Unsaved(), asyncio.Lock()
        self._refused = ""
        self._kept: set[str] = set()
        self._lives = store.lives
        self.pointers: dict[str, FlowPointer] = {}

    def block(self, block: Block) -> None:
        """A device has delivered."""
        self._note(block)
        self.engine.block(block)
        self.effects()

    async def resume(self) -> None:
        """Lets the calls go that were kept and not done when the process last ended."""
        for call in await self._store.calls():
            self._kept.add(call.id)
            self._submit(call)

    @property
    def refused(self) -> str:
        """Why nothing reaches the disk; empty where it does."""
        return self._refused or self._store.trouble

    def answer(self, answer: Answer) -> None:
        """A call is done."""
        if answer.call in self._kept:
            self._kept.discard(answer.call)
            self._unsaved.done.append(answer.call)
        self.engine.answer(answer)
        self.effects()

    def message(self, instance: str, node: str, port: str, value: Value, who: str) -> None:
        """An operator has done something. Raises Rejected."""
        now = self._clock.now_ns()
        self.engine.message(instance, node, port, value, now)
        self._unsaved.audit.append(AuditEntry(now, who, f"{instance}/{node}.{port}", repr(value)))
        self.effects()

    def override(self, request: Request, detail: str) -> None:
        """An operator outdoes the flows for a while."""
        self.engine.requests.put(request)
        self._unsaved.audit.append(AuditEntry(request.since, request.owner, f"write {request.output}", detail))
        self.effects()

    def relent(self, request: Request, before: Request | None, reason: str) -> None:
        """Takes an operator's request back that could not be carried out; the one before it holds again."""
        now = self._clock.now_ns()
        if before is not None and (before.lease_end is None or before.lease_end > now):
            self.engine.requests.put(before)
        else:
            self.engine.requests.drop(request.output, request.owner)
        self._unsaved.audit.append(AuditEntry(now, request.owner, f"write {request.output}", f"failed: {reason}"))
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

    async def run(self, ended: asyncio.Event) -> None:
        """Commits once a second, on an absolute schedule, until `ended` is set; then once more."""
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        count = 0
        while not ended.is_set():
            next_s = max(next_s + COMMIT_S, loop.time())
            with suppress(TimeoutError):
                async with asyncio.timeout_at(next_s):
                    await ended.wait()
                    break
            self.stats.lag_ns = round((loop.time() - next_s) * NS_PER_S)
            count += 1
            self._look_at_the_clock()
            self.engine.advance(self._clock.now_ns())
            self.effects()
            await self.commit(windows=count % WINDOWS_EVERY == 0)
            if self.outputs is not None:
                self.outputs.beat()
            self._alive()
        if self._waking is not None:
            self._waking.cancel()
        await self.commit(windows=True)

    def _look_at_the_clock(self) -> None:
        step, doubted = self._clock.check(), self._clock.doubted_ns
        if doubted and abs(doubted - self._doubted_ns) > STEP_NS:
            log.warning("the system's clock jumped; it is not followed before it has stayed so", **_by(doubted))
        self._doubted_ns = doubted
        if step:
            self.stats.clock_steps += 1
            log.warning("the system's clock was set", **_by(step))
        if abs(step) > STEP_NS:
            self.engine.clock_set(self._clock.now_ns())

    async def commit(self, *, windows: bool = False) -> None:
        """Brings everything that changed to the disk in one transaction, then lets its calls go.

        Where the disk refuses, everything is kept in memory and tried again with the next commit.
        """
        async with self._committing:
            await self._commit(windows=windows)

    async def switch(self, work: Callable[[], Switch]) -> None:
        """Does `work`, which swaps the version of a flow between two ticks, and commits it with its pointer.

        One transaction holds the pointer, every state of the version that runs now, and all results until
        then. What `work` raises comes through, and then nothing has changed.
        """
        async with self._committing:
            made = work()
            self._unsaved.pointers[made.pointer.instance] = made.pointer
            if made.good is not None:
                self._unsaved.good[made.pointer.instance] = made.good
            self.effects()
            await self._commit(windows=True)

    async def _commit(self, *, windows: bool) -> None:
        new = self.engine.commit(windows=windows)
        self.effects()  # a state that cannot be saved has stopped its flow
        work, self._unsaved = self._unsaved, _Unsaved()
        if new is not None:
            work.states |= new.states
            work.records += new.records
            work.calls += new.calls
            for record in new.records:
                self.latest.take(record)
        kept = [call for call in work.calls if not call.wants_answer]
        try:
            await self._store.commit(
                work.states,
                work.records,
                calls=kept,
                done=work.done,
                pointers=tuple(work.pointers.values()),
                good=work.good,
                audit=work.audit,
            )
        except StoreError as error:
            self._keep(work, str(error))
            if self._store.lives != self._lives:  # an empty one has taken the place of what was damaged
                self._lives = self._store.lives
                self.engine.save_all()
                self._unsaved.pointers = {**self.pointers, **self._unsaved.pointers}
            return
        if self._refused:
            log.info("the disk takes data again", records=len(work.records), lost=self.stats.lost)
        self._refused = ""
        self.stats.commits += 1
        self._kept.update(call.id for call in kept)
        for call in work.calls:
            self._submit(call)
        for event in work.waiting:
            event.set()

    def _keep(self, work: _Unsaved, reason: str) -> None:
        if not self._refused:
            log.error("nothing can be saved; results are kept in memory until the disk takes them", reason=reason)
        self._refused = reason
        self.stats.failed_commits += 1
        for queue in (work.records, work.calls):
            over = max(0, len(queue) - _MOST_UNSAVED)
            if over and not self.stats.lost:
                log.error("too much waits for the disk; the oldest results and calls are lost")
            self.stats.lost += over
        del work.records[: max(0, len(work.records) - _MOST_UNSAVED)]
        lost, work.calls = work.calls[:-_MOST_UNSAVED], work.calls[-_MOST_UNSAVED:]
        since, self._unsaved = self._unsaved, work  # what came while the disk was asked follows
        work.done += since.done
        work.audit = (work.audit + since.audit)[-_MOST_UNSAVED:]
        work.waiting += since.waiting
        for call in lost:
            self.answer(Answer(call.id, ok=False, error=reason, at=self._clock.now_ns()))

    async def committed(self) -> None:
        """Waits until everything that has happened so far is on the disk; raises StoreError where it takes nothing."""
        event = asyncio.Event()
        self._unsaved.waiting.append(event)
        try:
            async with asyncio.timeout(_COMMITTED_S):
                await event.wait()
            if self._store.trouble:
                raise StoreError(f"it is in force, but could not be saved: {self._store.trouble}")
        except TimeoutError:
            raise StoreError(f"it is in force, but could not be saved: {self.refused or 'the disk is slow'}") from None
        finally:
            if event in self._unsaved.waiting:
                self._unsaved.waiting.remove(event)


def _by(step_ns: int) -> dict[str, str]:
    return {"direction": "forward" if step_ns > 0 else "back", "by": duration_text(abs(step_ns))}
