"""Which version of which flow runs: from the file, from the central server, and back to the last good one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import structlog

from edgeflow import document
from edgeflow.agent.config import Config
from edgeflow.clock import Clock
from edgeflow.document import Document
from edgeflow.engine.engine import Engine
from edgeflow.errors import ConfigError, Rejected
from edgeflow.flow.compile import Plan
from edgeflow.model import Value
from edgeflow.store.documents import Documents
from edgeflow.store.store import FlowPointer, Store
from edgeflow.sync.protocol import FlowReport, FlowState

log = structlog.get_logger()

TRIAL_S = 2.0
"""How long a new version is watched before it counts as healthy."""
ATTEMPTS = 2
"""How often a version on trial is begun: a restart in its trial tries once more, the next goes back."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version that does not run: not let in, or `tried` and taken back."""

    version: str
    reason: str
    tried: bool


class Deployments:
    """Starts the flows of this gateway and swaps versions between two ticks, with their states."""

    def __init__(self, config: Config, engine: Engine, store: Store, documents: Documents, clock: Clock) -> None:
        self._config, self._engine, self._store, self._documents = config, engine, store, documents
        self._clock = clock
        self._pointers: dict[str, FlowPointer] = {}
        self._refused: dict[str, Refusal] = {}
        self._on_trial: set[str] = set()

    async def start(self) -> None:
        """Starts every configured instance in its last good version, or the one on trial."""
        self._pointers = dict(await self._store.pointers())
        for instance, shipped in self._config.flows.items():
            pointer = self._pointers.get(instance)
            plan = await self._remembered(instance, pointer) if pointer else None
            saved = await self._store.states(instance)
            try:
                self._deploy(plan or shipped, saved, "restart" if saved else "first")
            except Rejected as error:
                self._refuse(instance, shipped.version, str(error), tried=True)

    async def _remembered(self, instance: str, pointer: FlowPointer) -> Plan | None:
        if pointer.state == "pending":
            if pointer.attempts < ATTEMPTS:
                pointer = replace(pointer, attempts=pointer.attempts + 1)
                self._on_trial.add(instance)
            else:
                reason = "the gateway was stopped twice while it was on trial"
                self._refuse(instance, pointer.version, reason, tried=True)
                pointer = _back(pointer)
            await self._point(pointer)
        found = await asyncio.to_thread(self._documents.flow, pointer.version)
        if found is None:
            return None
        try:
            return self._compiled(instance, found, pointer.parameters)
        except ConfigError as error:
            self._refuse(instance, pointer.version, f"it no longer fits the configuration: {error}")
            return None

    async def finish_trials(self) -> None:
        """Watches the versions that were on trial when the agent last stopped."""
        for instance in sorted(self._on_trial):
            await self._watch(instance)

    async def apply(self, instance: str, flow: Mapping[str, Any], given: Mapping[str, Value] | None) -> FlowReport:
        """Checks a version, swaps it in, watches it, and keeps it or goes back; returns how it ended."""
        if given is None:
            entry = self._config.root.flows.get(instance)
            given = entry.given if entry else {}
        wanted = document.version(flow)
        running = self._engine.flows.get(instance)
        if (
            running
            and running.plan.version == wanted
            and dict(running.plan.parameters) == self._full(running.plan, given)
        ):
            await self._point(FlowPointer(instance, running.plan.flow, wanted, given, "active"))
            self._refused.pop(instance, None)
            return self.standing(instance)
        if instance not in self._config.root.flows:
            return self._refuse(instance, wanted, f"this gateway has no flow instance {instance!r}")
        try:
            plan = self._compiled(instance, flow, given)
        except ConfigError as error:
            return self._refuse(instance, wanted, str(error))
        await asyncio.to_thread(self._documents.add_flow, flow, "central")
        before = self._pointers.get(instance)
        good = before.version if before else running.plan.version if running else None
        if running and before is None:
            await asyncio.to_thread(self._documents.add_flow, running.plan.document, "configuration")
        good_given = before.parameters if before else running.plan.parameters if running else None
        pointer = FlowPointer(
            instance,
            plan.flow,
            wanted,
            given,
            "pending",
            good_version=good,
            good_parameters=good_given,
            attempts=1,
        )
        await self._point(pointer)
        healthy = running is not None and not running.fault
        saved = self._engine.snapshot(instance) if healthy else await self._store.states(instance)
        try:
            self._deploy(plan, saved, "redeploy")
        except Rejected as error:
            await self._point(_back(pointer))
            return self._refuse(instance, wanted, str(error), tried=True)
        self._refused.pop(instance, None)
        return await self._watch(instance)

    def _full(self, plan: Plan, given: Mapping[str, Value]) -> dict[str, Value]:
        defaults = {name: p.get("default") for name, p in (plan.document.get("parameters") or {}).items()}
        return {**defaults, **given}

    async def _watch(self, instance: str) -> FlowReport:
        """The trial: a fault within it brings the last good version back."""
        self._on_trial.add(instance)
        await asyncio.sleep(TRIAL_S)
        self._on_trial.discard(instance)
        pointer = self._pointers[instance]
        flow = self._engine.flows.get(instance)
        if flow is not None and not flow.fault:
            await self._point(replace(pointer, state="active", good_version=None, good_parameters=None, attempts=0))
            return self.standing(instance)
        reason = flow.fault if flow else "it does not run"
        await self._go_back(instance, pointer)
        return self._refuse(instance, pointer.version, reason, tried=True)

    async def _go_back(self, instance: str, pointer: FlowPointer) -> None:
        good = _back(pointer)
        await self._point(good)
        found = await asyncio.to_thread(self._documents.flow, good.version)
        plan = self._compiled(instance, found, good.parameters) if found else self._config.flows[instance]
        self._deploy(plan, await self._store.states(instance), "redeploy")

    def _compiled(self, instance: str, flow: Mapping[str, Any], given: Mapping[str, Value]) -> Plan:
        name = f"{flow.get('flow')}@{document.version(flow)[:8]}"
        return self._config.compile(instance, Document(name, flow, {}), given)

    def _deploy(self, plan: Plan, saved: Mapping[str, bytes], why: Literal["first", "restart", "redeploy"]) -> None:
        lost = self._engine.deploy(plan, saved, self._clock.now_ns(), why)
        for node, reason in lost.items():
            log.warning("a node begins anew", flow=plan.instance, node=node, reason=reason)
        log.info("flow started", flow=plan.instance, document=plan.flow, version=plan.version[:8], why=why)

    def _refuse(self, instance: str, version: str, reason: str, *, tried: bool = False) -> FlowReport:
        log.warning("a flow version was refused", flow=instance, version=version[:8], reason=reason)
        self._refused[instance] = Refusal(version, reason, tried)
        return self.standing(instance)

    async def _point(self, pointer: FlowPointer) -> None:
        self._pointers[pointer.instance] = pointer
        await self._store.commit({}, [], pointers=[pointer])

    def standing(self, instance: str) -> FlowReport:
        """How an instance does now."""
        flow = self._engine.flows.get(instance)
        refused = self._refused.get(instance)
        entry = self._config.root.flows.get(instance)
        name, version = (flow.plan.flow, flow.plan.version) if flow else (entry.flow if entry else "", "")
        wanted, reason = (
            (refused.version, refused.reason) if refused else ("", flow.fault if flow else "it does not run")
        )
        state: FlowState = "active"
        if flow is None:
            state = "stopped"
        elif refused:
            state = "failed" if refused.tried else "refused"
        elif flow.fault:
            state = "failed"
        elif instance in self._on_trial:
            state, wanted = "pending", version
        return FlowReport(instance=instance, flow=name, version=version, state=state, reason=reason, wanted=wanted)

    def reports(self) -> list[FlowReport]:
        """How every instance does now."""
        return [self.standing(instance) for instance in sorted({*self._config.root.flows, *self._refused})]


def _back(pointer: FlowPointer) -> FlowPointer:
    """The pointer after going back to the last good version."""
    return replace(
        pointer,
        version=pointer.good_version or "",
        parameters=pointer.good_parameters or {},
        state="active",
        good_version=None,
        good_parameters=None,
        attempts=0,
    )
