"""Which version of which flow runs: from the file, from the central server, and back to the last good one."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NoReturn

import structlog

from edgeflow import __version__, document
from edgeflow.agent.conductor import Conductor, Switch
from edgeflow.agent.config import Config
from edgeflow.agent.trial import Trial, returned, working
from edgeflow.clock import Clock, utc_text
from edgeflow.document import Document
from edgeflow.engine.flowrun import FlowRun
from edgeflow.errors import ConfigError, Problem, Rejected
from edgeflow.flow.compile import Plan
from edgeflow.model import Value
from edgeflow.store.database import StoreError
from edgeflow.store.documents import Documents
from edgeflow.store.store import FlowPointer, Store
from edgeflow.sync.protocol import Fate, FlowReport, FlowState
from edgeflow.units import NS_PER_S

log = structlog.get_logger()

Given = Mapping[str, Value] | None
Why = Literal["first", "restart", "redeploy"]

FIRST_LOOK_S = 2.0
"""How long whoever swaps a version waits for its trial: most of what fails does so within it."""
LOOK_S = 0.1
"""How often flows are looked at for faults."""
REFUSED = "refused version"
_REMEMBERED = {"version", "given", "reason", "software"}
ATTEMPTS = 2
"""How often a version on trial is begun: a restart in its trial tries once more, the next goes back."""
MORE_VERSIONS = 3
"""So many versions are kept beside those that are active, good or wanted."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version that does not run: not let in, or `tried` and taken back. `given` are the parameters it had."""

    version: str
    given: Given
    reason: str
    tried: bool


class Deployments:
    """Starts the flows of this gateway and swaps versions between two ticks, with their states.

    A new version is on trial for a while; where it fails, then or later, the last good one comes back by
    itself. Until the trial is over the states of the good version stay on the disk, and whichever version
    runs changes in one transaction with its states. What was tried and taken back is not tried again with
    the same parameters by the same software: the central server repeats its wishes after every restart.
    """

    def __init__(self, config: Config, conductor: Conductor, store: Store, documents: Documents, clock: Clock) -> None:
        self._config, self._conductor, self._engine = config, conductor, conductor.engine
        self._store, self._documents, self._clock = store, documents, clock
        self._trial_ns = config.root.deploy.trial
        self._lock = asyncio.Lock()
        self._pointers = conductor.pointers
        self._refused: dict[str, Refusal] = {}
        self._trials: dict[str, Trial] = {}

    async def start(self) -> None:
        """Starts every configured instance: the version on trial, else the last good one, else the file's."""
        self._pointers.update(await self._store.pointers())
        for instance in self._config.flows:
            await self._recall(instance)
            await self._begin(instance)

    async def _begin(self, instance: str) -> None:
        saved, pointer = await self._store.states(instance), self._pointers.get(instance)
        why: Why = "restart" if saved else "first"
        if pointer is not None and pointer.version:
            reason = await self._resume(pointer, saved, why)
            if not reason:
                return
            if pointer.state == "pending" or self._was_tried(pointer):
                await self._go_back(pointer, reason, why)
                return
            self._refuse(instance, pointer.version, pointer.parameters, reason)
        own = self._config.flows[instance]
        try:
            self._deploy(own, saved, why)
        except Rejected as error:
            self._refuse(instance, own.version, None, str(error), tried=True)

    async def _resume(self, pointer: FlowPointer, saved: Mapping[str, bytes], why: Why) -> str:
        """Goes on with the version that a pointer names; returns why that cannot be, empty where it runs."""
        if self._was_tried(pointer):
            return self._refused[pointer.instance].reason
        if pointer.state == "pending":
            if pointer.attempts >= ATTEMPTS:
                return "the gateway was stopped twice while it was on trial"
            pointer = self._pointers[pointer.instance] = replace(pointer, attempts=pointer.attempts + 1)
            try:
                await self._store.commit({}, [], pointers=[pointer])
            except StoreError as error:
                log.error("an attempt of a trial cannot be counted", flow=pointer.instance, reason=str(error))
        plan = await self._plan(pointer)
        if isinstance(plan, str):
            return plan
        try:
            self._deploy(plan, saved, why)
        except Rejected as error:
            return str(error)
        if pointer.state == "pending":
            self._try(plan.instance, frozenset())
        return ""

    def _was_tried(self, pointer: FlowPointer) -> bool:
        known = self._refused.get(pointer.instance)
        return known is not None and known.tried and (known.version, known.given) == (
            pointer.version, pointer.parameters,
        )  # fmt: skip

    async def _plan(self, pointer: FlowPointer) -> Plan | str:
        """The version that a pointer names, compiled; or why that cannot be."""
        if not pointer.version:
            return self._config.flows[pointer.instance]
        try:
            found = await asyncio.to_thread(self._documents.flow, pointer.version)
        except (StoreError, OSError) as error:
            return str(error)
        if found is None:
            return f"its document {pointer.version[:8]} is not here"
        try:
            return self._compiled(pointer.instance, found, pointer.parameters)
        except ConfigError as error:
            return f"it no longer fits the configuration: {error}"

    async def watch(self) -> NoReturn:
        """Ends trials, and takes back what was quarantined after its trial; for as long as the agent lives."""
        while True:
            await asyncio.sleep(LOOK_S)
            async with self._lock:
                for instance in sorted(self._trials):
                    await self._look(instance)
                for pointer in list(self._pointers.values()):
                    flow = self._engine.flows.get(pointer.instance)
                    if flow and flow.fault and flow.plan.version == pointer.version and not self._was_tried(pointer):
                        await self._go_back(pointer, flow.fault, "redeploy")

    async def _look(self, instance: str) -> None:
        """Looks at a version on trial: whether it has failed, or is accepted."""
        trial, pointer = self._trials[instance], self._pointers[instance]
        reason, over = trial.failed(), asyncio.get_running_loop().time() >= trial.end_s
        if over and not reason:
            reason = trial.verdict()
        if reason:
            await self._go_back(pointer, reason, "redeploy")
        elif over:
            del self._trials[instance]
            await self._point(replace(pointer, state="active", attempts=0), good={})
            await self._forgive(instance)
            await self._prune()
            log.info("flow accepted", flow=instance, version=pointer.version[:8])

    async def apply(self, instance: str, flow: Mapping[str, Any], given: Given) -> FlowReport:
        """Checks a version, swaps it in, and has a first look at its trial; returns how it stands then.

        `given` None means the parameters of the configuration, now and after every restart.
        """
        async with self._lock:
            await self._apply(instance, flow, given)
            loop = asyncio.get_running_loop()
            while (trial := self._trials.get(instance)) and loop.time() < trial.seen_s:
                await asyncio.sleep(LOOK_S)
                await self._look(instance)
            return self.standing(instance)

    async def _apply(self, instance: str, flow: Mapping[str, Any], given: Given) -> None:
        wanted = document.version(flow)
        if instance not in self._config.root.flows:
            self._refuse(instance, wanted, given, f"this gateway has no flow instance {instance!r}")
            return
        running, before = self._engine.flows.get(instance), self._pointers.get(instance)
        pointer = FlowPointer(instance, str(flow.get("flow")), wanted, given, "pending", attempts=1)
        if self._was_tried(pointer):
            return
        try:
            plan = self._compiled(instance, flow, given)
        except ConfigError as error:
            self._refuse(instance, wanted, given, str(error))
            return
        if running and not running.fault and (running.plan.version, running.plan.parameters) == (
            wanted, plan.parameters,
        ):  # fmt: skip
            await self._same(before or replace(pointer, state="active", attempts=0), wanted, given)
            return
        if self._conductor.refused:
            self._refuse(instance, wanted, given, f"nothing can be saved: {self._conductor.refused}")
            return
        try:
            await asyncio.to_thread(self._documents.add_flow, flow)
            if running and before is None:
                await asyncio.to_thread(self._documents.add_flow, running.plan.document)
        except (StoreError, OSError) as error:
            self._refuse(instance, wanted, given, f"it cannot be kept: {error}")
            return
        await self._swap(plan, self._after(pointer, before, running), before)

    def _after(self, pointer: FlowPointer, before: FlowPointer | None, running: FlowRun | None) -> FlowPointer:
        """The pointer of a version to try, with the one to go back to: that which was good last, and never a trial."""
        if before is None:
            return replace(pointer, good_version=running.plan.version if running else None)
        if before.state == "pending":
            return replace(pointer, good_version=before.good_version, good_parameters=before.good_parameters)
        return replace(pointer, good_version=before.version, good_parameters=before.parameters)

    async def _same(self, before: FlowPointer, wanted: str, given: Given) -> None:
        """What is wanted runs already: on trial or not, it stays what it is."""
        pointer = replace(before, version=wanted, parameters=given)
        if pointer != self._pointers.get(pointer.instance):
            await self._point(pointer)
        if pointer.state == "active":
            await self._forgive(pointer.instance)

    async def _swap(self, plan: Plan, pointer: FlowPointer, before: FlowPointer | None) -> None:
        """Puts a version on trial. That it is tried is on the disk first: it may end the process."""
        instance, running = plan.instance, self._engine.flows.get(plan.instance)
        worked = working(running)
        follows_trial = before is not None and before.state == "pending"
        saved = await self._store.states(instance)
        kept = await self._store.good_states(instance) if follows_trial else {}

        def now() -> Mapping[str, bytes]:
            if running is None or running.fault:
                return saved
            return self._engine.snapshot(instance)

        def announce() -> Switch:
            return Switch(pointer, None if follows_trial else now())

        def swap() -> Switch:
            states = now()
            self._deploy(plan, {**kept, **states}, "redeploy")
            return Switch(pointer, None if follows_trial else states)

        self._pointers[instance] = pointer
        try:
            await self._conductor.switch(announce)
            if not self._conductor.refused:
                await self._conductor.switch(swap)
                self._try(instance, worked)
                return
            tried, reason = False, f"nothing can be saved: {self._conductor.refused}"
        except Rejected as error:
            tried, reason = True, str(error)
        await self._point(before or _back(pointer), good=None if follows_trial else {})
        if tried:
            await self._take_back(pointer, reason)
            log.warning("flow rolled back", flow=instance, version=pointer.version[:8], reason=reason)
        else:
            self._refuse(instance, pointer.version, pointer.parameters, reason)

    def _try(self, instance: str, worked: frozenset[str]) -> None:
        begin_s, flow = asyncio.get_running_loop().time(), self._engine.flows[instance]
        end_s, until_ns = begin_s + self._trial_ns / NS_PER_S, self._clock.now_ns() + self._trial_ns
        self._trials[instance] = Trial(flow, min(begin_s + FIRST_LOOK_S, end_s), end_s, until_ns, worked)

    async def _go_back(self, pointer: FlowPointer, reason: str, why: Why) -> None:
        """The last good version runs again, with its states, in one transaction with its pointer; else the file's."""
        instance, good = pointer.instance, _back(pointer)
        await self._take_back(pointer, reason)
        kept, newest = await self._store.good_states(instance), await self._store.states(instance)
        tried, plan = await self._plan(pointer), await self._plan(good)
        own = self._config.flows[instance]
        if isinstance(plan, str):
            log.warning("the last good version cannot be run; the configuration's is", flow=instance, reason=plan)
            plan = own

        def go_back(to: Plan) -> Switch:
            running = self._engine.flows.get(instance)
            states = {**newest, **self._engine.last_saved(instance)}
            if running and not running.fault:
                states = self._engine.snapshot(instance)
            if kept:
                states = kept if isinstance(tried, str) else returned(to, tried, kept, states)
            self._deploy(to, states, why)
            return Switch(good, {})

        self._trials.pop(instance, None)
        self._pointers[instance] = good
        for candidate in (plan, own):
            if (candidate.version, candidate.parameters) != (pointer.version, pointer.parameters):
                try:
                    await self._conductor.switch(partial(go_back, candidate))
                except Rejected as error:
                    log.error("a good version does not start any more", flow=instance, reason=str(error))
                else:
                    log.warning("flow rolled back", flow=instance, version=pointer.version[:8], reason=reason)
                    return
        log.error("a flow does not run; there is no other version of it to go back to", flow=instance)
        await self._point(good, good={})

    async def _forgive(self, instance: str) -> None:
        """What was refused no longer matters: another version is the one that is wanted."""
        if self._refused.pop(instance, None):
            await self._remember(instance, None)

    async def _prune(self) -> None:
        """Forgets the documents of versions that nobody can come back to."""
        needed = {refusal.version for refusal in self._refused.values()}
        for pointer in self._pointers.values():
            needed |= {pointer.version, pointer.good_version or ""}
        try:
            await asyncio.to_thread(self._documents.prune, needed, MORE_VERSIONS)
        except OSError as error:
            log.warning("old versions of flows cannot be removed", reason=str(error))

    async def _take_back(self, pointer: FlowPointer, reason: str) -> None:
        """A version was tried and is not tried again."""
        self._refused[pointer.instance] = Refusal(pointer.version, pointer.parameters, reason, tried=True)
        content = {"version": pointer.version, "given": pointer.parameters, "reason": reason, "software": __version__}
        await self._remember(pointer.instance, content)

    async def _remember(self, instance: str, content: Value) -> None:
        try:
            await asyncio.to_thread(self._documents.put, REFUSED, instance, content)
        except (StoreError, OSError) as error:
            log.error("what was refused is forgotten by a restart", flow=instance, reason=str(error))

    async def _recall(self, instance: str) -> None:
        try:
            known = await asyncio.to_thread(self._documents.get, REFUSED, instance)
        except (StoreError, OSError) as error:
            log.error("pushed flows cannot be read; those of the configuration run", reason=str(error))
            return
        if isinstance(known, Mapping) and known.keys() >= _REMEMBERED and known["software"] == __version__:
            self._refused[instance] = Refusal(known["version"], known["given"], known["reason"], tried=True)

    def _compiled(self, instance: str, flow: Mapping[str, Any], given: Given) -> Plan:
        name = f"{flow.get('flow')}@{document.version(flow)[:8]}"
        if given is None:
            given = self._config.root.flows[instance].given
        try:
            return self._config.compile(instance, Document(name, flow, {}), given)
        except ConfigError:
            raise
        except Exception as error:  # what a document from elsewhere makes of a node's code stays in the flow
            raise ConfigError([Problem(name, 0, 0, "", f"{type(error).__name__}: {error}")]) from error

    def _deploy(self, plan: Plan, saved: Mapping[str, bytes], why: Why) -> None:
        lost = self._engine.deploy(plan, saved, self._clock.now_ns(), why)
        for node, reason in lost.items():
            log.warning("a node begins anew", flow=plan.instance, node=node, reason=reason)
        log.info("flow started", flow=plan.instance, document=plan.flow, version=plan.version[:8], why=why)

    def _refuse(self, instance: str, version: str, given: Given, reason: str, *, tried: bool = False) -> FlowReport:
        log.warning("a flow version was refused", flow=instance, version=version[:8], reason=reason)
        self._refused[instance] = Refusal(version, given, reason, tried)
        return self.standing(instance)

    async def _point(self, pointer: FlowPointer, *, good: Mapping[str, bytes] | None = None) -> None:
        """Keeps a pointer, with the next commit that the disk takes."""
        self._pointers[pointer.instance] = pointer
        await self._conductor.switch(lambda: Switch(pointer, good))

    def standing(self, instance: str) -> FlowReport:
        """How an instance does now."""
        flow, entry = self._engine.flows.get(instance), self._config.root.flows.get(instance)
        refused, pointer = self._refused.get(instance), self._pointers.get(instance)
        name, active = (flow.plan.flow, flow.plan.version) if flow else (entry.flow if entry else "", "")
        state: FlowState = "running"
        reason = ""
        if entry is None:
            state, reason = "unknown", f"this gateway has no flow instance {instance!r}"
        elif flow is None:
            state, reason = "stopped", refused.reason if refused else "it does not run"
        elif flow.fault:
            state, reason = "quarantined", flow.fault
        wanted, fate_reason = pointer.version if pointer else "", ""
        fate: Fate = "accepted" if wanted else ""
        trial, until = self._trials.get(instance), ""
        if trial is not None:
            wanted, fate = active, "trial"
            until = utc_text(trial.until_ns) if asyncio.get_running_loop().time() >= trial.seen_s else ""
        elif refused:
            wanted, fate, fate_reason = refused.version, "rolled_back" if refused.tried else "refused", refused.reason
        return FlowReport(
            instance=instance,
            flow=name,
            state=state,
            reason=reason,
            active=active,
            wanted=wanted,
            fate=fate,
            fate_reason=fate_reason,
            trial_until=until,
        )

    async def withdraw(self, wished: Collection[str]) -> None:
        """Forgets what was refused of wishes that no longer stand; `wished` are the instances of those that do."""
        async with self._lock:
            for instance in sorted(self._refused.keys() - set(wished)):
                del self._refused[instance]
                await self._remember(instance, None)

    def reports(self) -> list[FlowReport]:
        """How every instance does now."""
        return [self.standing(instance) for instance in sorted({*self._config.root.flows, *self._refused})]


def _back(pointer: FlowPointer) -> FlowPointer:
    """The pointer after going back to the last good version; an empty version is the configuration's own."""
    return FlowPointer(pointer.instance, pointer.flow, pointer.good_version or "", pointer.good_parameters)
