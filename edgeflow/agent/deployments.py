"""Which version of which flow runs: from the file, from the central server, and back to the last good one."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import structlog

from edgeflow import __version__, document
from edgeflow.agent.config import Config
from edgeflow.clock import Clock
from edgeflow.document import Document
from edgeflow.engine.engine import Engine
from edgeflow.errors import ConfigError, Problem, Rejected
from edgeflow.flow.compile import Plan
from edgeflow.model import Value
from edgeflow.store.database import StoreError
from edgeflow.store.documents import Documents
from edgeflow.store.store import FlowPointer, Store
from edgeflow.sync.protocol import Fate, FlowReport, FlowState

log = structlog.get_logger()

Given = Mapping[str, Value] | None
Why = Literal["first", "restart", "redeploy"]

TRIAL_S = 2.0
"""How long a new version is watched before it counts as healthy."""
RETRY_S = 5.0
"""How soon the disk is asked again after it has refused."""
REFUSED = "refused version"
_KEPT = {"version", "given", "reason", "software"}
LOOK_S = 0.1
"""How often it is looked at meanwhile."""
ATTEMPTS = 2
"""How often a version on trial is begun: a restart in its trial tries once more, the next goes back."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version that does not run: not let in, or `tried` and taken back. `given` are the parameters it had."""

    version: str
    given: Given
    reason: str
    tried: bool


class Deployments:
    """Starts the flows of this gateway and swaps versions between two ticks, with their states.

    One swap at a time. What was tried and taken back is not tried again with the same parameters by the
    same software: the central server repeats its wishes after every restart.
    """

    def __init__(self, config: Config, engine: Engine, store: Store, documents: Documents, clock: Clock) -> None:
        self._config, self._engine, self._store, self._documents = config, engine, store, documents
        self._clock, self._lock = clock, asyncio.Lock()
        self._pointers: dict[str, FlowPointer] = {}
        self._refused: dict[str, Refusal] = {}
        self._before: dict[str, Mapping[str, bytes]] = {}
        self._on_trial: set[str] = set()

    async def start(self) -> None:
        """Starts every configured instance: the version on trial, else the last good one, else the file's."""
        self._pointers = dict(await self._store.pointers())
        for instance in self._config.flows:
            await self._recall(instance)
            await self._begin(instance)

    async def _begin(self, instance: str) -> None:
        saved = await self._store.states(instance)
        pointer = self._pointers.get(instance)
        if pointer and pointer.state == "pending":
            if pointer.attempts < ATTEMPTS:
                pointer = replace(pointer, attempts=pointer.attempts + 1)
                await self._point(pointer, once=True)
                self._on_trial.add(instance)
                self._before[instance] = saved
            else:
                await self._take_back(pointer, "the gateway was stopped twice while it was on trial")
                pointer = _back(pointer)
                await self._point(pointer, once=True)
        why: Why = "restart" if saved else "first"
        if pointer and pointer.version:
            reason = await self._run(pointer, saved, why)
            if not reason:
                return
            self._refuse(instance, pointer.version, pointer.parameters, reason)
            if instance in self._on_trial:
                self._on_trial.discard(instance)
                await self._take_back(pointer, reason)
                await self._point(_back(pointer), once=True)
                if not await self._run(_back(pointer), saved, why):
                    return
        try:
            self._deploy(self._config.flows[instance], saved, why)
        except Rejected as error:
            self._refuse(instance, self._config.flows[instance].version, None, str(error), tried=True)

    async def _run(self, pointer: FlowPointer, saved: Mapping[str, bytes], why: Why) -> str:
        """Starts the version a pointer names; returns why that cannot be, empty where it runs."""
        try:
            found = await asyncio.to_thread(self._documents.flow, pointer.version)
        except (StoreError, OSError) as error:
            return str(error)
        if found is None:
            return f"its document {pointer.version[:8]} is not here"
        try:
            self._deploy(self._compiled(pointer.instance, found, pointer.parameters), saved, why)
        except ConfigError as error:
            return f"it no longer fits the configuration: {error}"
        except Rejected as error:
            return str(error)
        return ""

    async def finish_trials(self) -> None:
        """Watches the versions that were on trial when the agent last stopped."""
        async with self._lock:
            for instance in sorted(self._on_trial):
                await self._watch(instance)

    async def apply(self, instance: str, flow: Mapping[str, Any], given: Given) -> FlowReport:
        """Checks a version, swaps it in, watches it, and keeps it or goes back; returns how it ended.

        `given` None means the parameters of the configuration, now and after every restart.
        """
        async with self._lock:
            return await self._apply(instance, flow, given)

    async def _apply(self, instance: str, flow: Mapping[str, Any], given: Given) -> FlowReport:
        wanted = document.version(flow)
        if instance not in self._config.root.flows:
            return self._refuse(instance, wanted, given, f"this gateway has no flow instance {instance!r}")
        known = self._refused.get(instance)
        if known and known.tried and (known.version, known.given) == (wanted, given):
            return self.standing(instance)
        try:
            plan = self._compiled(instance, flow, given)
        except ConfigError as error:
            return self._refuse(instance, wanted, given, str(error))
        running, before = self._engine.flows.get(instance), self._pointers.get(instance)
        if (
            running
            and not running.fault
            and (running.plan.version, running.plan.parameters)
            == (
                wanted,
                plan.parameters,
            )
        ):
            await self._accept(FlowPointer(instance, plan.flow, wanted, given))
            return self.standing(instance)
        try:
            await asyncio.to_thread(self._documents.add_flow, flow, "central")
            if running and before is None:
                await asyncio.to_thread(self._documents.add_flow, running.plan.document, "configuration")
        except (StoreError, OSError) as error:
            return self._refuse(instance, wanted, given, f"it cannot be kept: {error}")
        good = before.version if before else running.plan.version if running else None
        good_given = before.parameters if before else None
        pointer = FlowPointer(
            instance, plan.flow, wanted, given, "pending", good_version=good, good_parameters=good_given, attempts=1
        )
        await self._point(pointer)
        saved = await self._store.states(instance)
        if running and not running.fault:
            with suppress(Rejected):
                saved = self._engine.snapshot(instance)
        try:
            self._deploy(plan, saved, "redeploy")
        except Rejected as error:
            await self._point(_back(pointer))
            await self._take_back(pointer, str(error))
            return self.standing(instance)
        self._before[instance] = saved
        return await self._watch(instance)

    async def _watch(self, instance: str) -> FlowReport:
        """The trial: a fault within it brings the last good version back at once."""
        self._on_trial.add(instance)
        loop, flow = asyncio.get_running_loop(), self._engine.flows.get(instance)
        end = loop.time() + TRIAL_S
        while flow is not None and not flow.fault and loop.time() < end:  # noqa: ASYNC110 - the engine has no events
            await asyncio.sleep(LOOK_S)
        pointer = self._pointers[instance]
        if flow is not None and not flow.fault:
            await self._accept(FlowPointer(instance, pointer.flow, pointer.version, pointer.parameters))
        else:
            await self._go_back(pointer)
            await self._take_back(pointer, flow.fault if flow else "it does not run")
        self._on_trial.discard(instance)
        self._before.pop(instance, None)
        return self.standing(instance)

    async def _go_back(self, pointer: FlowPointer) -> None:
        """The last good version runs again, with what its nodes had; where it cannot, the file's."""
        good, instance = _back(pointer), pointer.instance
        await self._point(good)
        saved = {**self._before.get(instance, {}), **self._engine.last_saved(instance)}
        reason = await self._run(good, saved, "redeploy") if good.version else "there was none"
        if reason:
            log.warning("the last good version cannot be run; the configuration's is", flow=instance, reason=reason)
            try:
                self._deploy(self._config.flows[instance], saved, "redeploy")
            except Rejected as error:
                log.error("a flow does not run at all", flow=instance, reason=str(error))

    async def _accept(self, pointer: FlowPointer) -> None:
        """A version is the one that runs from now on."""
        if self._pointers.get(pointer.instance) != pointer:
            await self._point(pointer)
        if self._refused.pop(pointer.instance, None):
            await self._remember(pointer.instance, None)

    async def _take_back(self, pointer: FlowPointer, reason: str) -> None:
        """A version was tried and is not tried again."""
        self._refuse(pointer.instance, pointer.version, pointer.parameters, reason, tried=True)
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
        if isinstance(known, Mapping) and known.keys() >= _KEPT and known["software"] == __version__:
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

    async def _point(self, pointer: FlowPointer, *, once: bool = False) -> None:
        """Keeps a pointer; waits for the disk where it refuses, unless `once`."""
        self._pointers[pointer.instance] = pointer
        told = False
        while True:
            try:
                return await self._store.commit({}, [], pointers=[pointer])
            except StoreError as error:
                if not told:
                    log.error("which version of a flow runs cannot be saved", flow=pointer.instance, reason=str(error))
                told = True
            if once:
                return None
            await asyncio.sleep(RETRY_S)

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
        if instance in self._on_trial:
            wanted, fate = active, "trial"
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
