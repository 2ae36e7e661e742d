"""What the agent shows of itself: frozen models for the API and the pages, and the operator's way in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeflow import __version__
from edgeflow.agent import views
from edgeflow.agent.core import Core
from edgeflow.andon.call import BUTTONS
from edgeflow.clock import utc_text
from edgeflow.devices.devices import Held
from edgeflow.devices.intake import DeviceStatus
from edgeflow.devices.output import OutputStatus
from edgeflow.devices.plan import Element
from edgeflow.devices.tool import address_of
from edgeflow.errors import LinkDown, Rejected, Unconfirmed
from edgeflow.model import Record, Request, Scalar
from edgeflow.outputs.arbitration import OFF, OPERATOR
from edgeflow.units import NS_PER_S
from edgeflow.web.columns import TagColumns, wire

if TYPE_CHECKING:
    from edgeflow.sync.uplink import Uplink

WRITE_S = 5.0
"""How long a manual write may take until the device has it."""


class View:
    """The `AgentView` of a running agent."""

    def __init__(self, core: Core, uplink: Uplink | None, metrics: Callable[[], bytes]) -> None:
        self._core, self._uplink, self._metrics = core, uplink, metrics

    @property
    def columns(self) -> TagColumns:
        return self._core.columns

    def results(self) -> Iterable[Record]:
        return self._core.conductor.latest

    def metrics(self) -> bytes:
        return self._metrics()

    def unready(self) -> Sequence[str]:
        problems = [
            f"the flow {report.instance} does not run: {report.reason}"
            for report in self._core.deployments.reports()
            if report.state in ("quarantined", "stopped")
        ]
        problems += [
            f"the flow {name} makes too many records: {flow.dropped} were dropped"
            for name, flow in self._core.engine.flows.items()
            if flow.dropped
        ]
        connecting = [d.name for d in self._core.devices.status().devices if d.state == "connecting"]
        if connecting:
            problems.append(f"not yet connected: {', '.join(connecting)}")
        if trouble := self._trouble():
            problems.append(trouble)
        return problems

    def status(self) -> views.Status:
        now_ns = self._core.clock.now_ns()
        devices, not_good = self._core.devices.status(), self._core.columns.not_good()
        return views.Status(
            gateway=self._gateway(now_ns),
            devices=[self._device(status, now_ns, not_good) for status in devices.devices],
            flows=[self._flow(report.instance) for report in self._core.deployments.reports()],
            outputs=[
                self._output(status)
                for status in devices.outputs
                if status.name in self._core.config.root.outputs or self._core.engine.requests.held(status.name)
            ],
            outbox=self._outbox(),
            central=self._central(),
        )

    def _gateway(self, now_ns: int) -> views.Gateway:
        settings = self._core.config.root.gateway
        return views.Gateway(
            name=settings.name,
            place=settings.place,
            version=__version__,
            started=utc_text(self._core.started_ns),
            uptime_s=(now_ns - self._core.started_ns) / NS_PER_S,
            now=utc_text(now_ns),
            time_zone=settings.time_zone,
            andon_controls=any(self._call_node(instance) for instance in self._core.engine.flows),
        )

    def _device(self, status: DeviceStatus, now_ns: int, not_good: Mapping[str, int]) -> views.Device:
        polled = not self._core.config.plant.devices[status.name].driver.pushes
        return views.Device(
            name=status.name,
            link=status.link,
            driver=status.driver,
            address=address_of(self._core.config.plant.links[status.link]),
            state=status.state,
            reason=status.reason,
            since=utc_text(status.since_ns) if status.since_ns else None,
            last_good=utc_text(status.last_good_ns) if status.last_good_ns else None,
            age_s=max(0, now_ns - status.last_good_ns) / NS_PER_S if status.last_good_ns else None,
            every_s=status.every_ns / NS_PER_S if polled else None,
            polls=status.stats.polls or status.stats.pushes,
            failed=status.stats.failed,
            late=status.stats.late,
            tags=status.tags,
            bad_tags=not_good.get(status.name, 0),
        )

    def _flow(self, instance: str) -> views.Flow:
        report, running = self._core.deployments.standing(instance), self._core.engine.flows.get(instance)
        return views.Flow(
            name=instance,
            flow=report.flow,
            title=running.plan.title if running else "",
            state=report.state,
            reason=report.reason,
            active=report.active,
            wanted=report.wanted,
            fate=report.fate,
            fate_reason=report.fate_reason,
            trial_until=report.trial_until or None,
            ticks=running.ticks if running else 0,
            skipped=running.skipped if running else 0,
            dropped=running.dropped if running else 0,
            last_tick=utc_text(running.last_at) if running and running.last_at else None,
            us_per_tick=running.busy_ns / running.ticks / 1000 if running and running.ticks else None,
        )

    def _output(self, status: OutputStatus) -> views.Output:
        decided = self._core.engine.requests.decision(status.name)
        levels = decided.levels if decided else {}
        winners = decided.winners if decided else {}
        return views.Output(
            name=status.name,
            elements={
                name: views.Element(level=_level_shown(levels.get(name, OFF)), winner=winners.get(name, "nobody"))
                for name in self._core.engine.requests.outputs[status.name].elements
            },
            shown=status.shown,
            reason=status.reason,
            requests=[
                views.HeldRequest(
                    owner=request.owner,
                    pattern={name: _level_shown(level) for name, level in request.pattern.items()},
                    priority=request.priority,
                    since=utc_text(request.since),
                    until=utc_text(request.lease_end) if request.lease_end else None,
                    refused=self._core.engine.requests.refused.get((status.name, request.owner), ""),
                )
                for request in self._core.engine.requests.held(status.name)
            ],
        )

    def _outbox(self) -> views.Outbox:
        status = self._core.store.outbox()
        return views.Outbox(
            records=status.count,
            bytes=status.bytes,
            oldest=utc_text(status.oldest_ns) if status.oldest_ns else None,
            capacity_left_s=status.left_ns / NS_PER_S if status.left_ns is not None else None,
            dropped=self._core.store.stats.dropped,
            refused=len(self._uplink.aside) if self._uplink is not None else 0,
            trouble=self._trouble(),
        )

    def _trouble(self) -> str:
        """What is wrong with what is kept: on the disk, or lost from it."""
        refused, store = self._core.conductor.refused, self._core.store
        found = [f"nothing can be saved: {refused}"] if refused else []
        if store.damage:
            found.append(f"the database was damaged and set aside, an empty one is used: {store.damage}")
        if store.full:
            found.append(f"the queue of results is full; dropped so far: {store.full}")
        return "; ".join(found)

    def _central(self) -> views.Central:
        settings, uplink = self._core.config.root.central, self._uplink
        if settings is None or uplink is None:
            return views.Central()
        stats = uplink.stats
        return views.Central(
            url=settings.url,
            connected=stats.connected,
            enrolled=stats.enrolled,
            last_ack=utc_text(stats.last_ack_ns) if stats.last_ack_ns else None,
            last_error=stats.last_error,
            unwell=dict(stats.unwell),
        )

    async def write(self, tag: str, value: Scalar, *, lease_ns: int, reason: str) -> views.Written:
        """A manual write is a request of operator priority on the output that drives the tag.

        Where no output of the configuration does, the value is sent once: the request only keeps the flows away.
        """
        output, element, wiring = self._driving(tag)
        now_ns = self._core.clock.now_ns()
        level = value if wiring.levels is None else _level(tag, wiring.levels, value)
        before = next((r for r in self._core.engine.requests.held(output) if r.owner == _WHO), None)
        pattern = {**(before.pattern if before else {}), element: level}
        request = Request(_WHO, output, pattern, OPERATOR, now_ns, now_ns + lease_ns)
        self._core.conductor.override(request, f"{tag} = {value!r}: {reason}")
        try:
            if self._core.config.outputs[output].implicit:
                held = await self._once(tag, value)
            else:
                await self._shown(output)
                held = Held(value)
        except (Rejected, LinkDown) as error:  # what was answered with an error must not happen later
            self._core.conductor.relent(request, before, str(error))
            raise
        await self._core.conductor.committed()
        return views.Written(
            tag=tag,
            value=value,
            holds=wire(held.value),
            note=held.note,
            at=utc_text(self._core.clock.now_ns()),
            until=utc_text(now_ns + lease_ns),
        )

    def _driving(self, tag: str) -> tuple[str, str, Element]:
        for output, binding in self._core.config.outputs.items():
            for name, element in binding.elements.items():
                if element.tag == tag:
                    return output, name, element
        raise Rejected(f"{tag} is not writable; say `writable: true` at the tag if it may be written")

    async def _once(self, tag: str, value: Scalar) -> Held:
        """Writes an ordinary tag; tells what the device holds then. Raises Rejected or LinkDown."""
        time, devices, said = asyncio.get_running_loop().time, self._core.devices, ""
        before = self._core.columns.value(tag)[0]
        try:
            await devices.write(tag, value, time() + WRITE_S)
        except Unconfirmed as error:  # the driver has looked itself
            said = str(error)
        held = await devices.confirm(tag, value, time() + WRITE_S, before=before)
        return Held(held.value, held.note or said) if held.value is None else held

    async def _shown(self, output: str) -> None:
        """Waits until the device has what was decided. Raises Rejected or LinkDown where it has not."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WRITE_S
        while True:
            status = next(s for s in self._core.devices.status().outputs if s.name == output)
            if status.settled and status.shown == "ok":
                return
            if status.settled and status.shown == "failed":
                raise Rejected(f"{output}: {status.reason}")
            if loop.time() > deadline:
                raise LinkDown(f"{output}: {status.reason or 'the device has not confirmed it'}")
            await asyncio.sleep(0.02)

    async def press(self, instance: str, action: str, press: views.Press) -> None:
        node = self._call_node(instance)
        if node is None:
            raise Rejected(f"{instance!r} is no flow with a call")
        if action not in BUTTONS:
            raise Rejected(f"{action!r} is no button of a call; {', '.join(BUTTONS)} are")
        who = f"operator:{press.by or 'page'}"
        self._core.conductor.message(instance, node, action, value=True, who=who)
        self._core.conductor.message(instance, node, action, value=False, who=who)
        await self._core.conductor.committed()

    def _call_node(self, instance: str) -> str | None:
        flow = self._core.engine.flows.get(instance)
        steps = flow.steps if flow else ()
        return next((step.name for step in steps if step.kind.kind == "andon_call"), None)


_WHO = "operator:http"


def _level_shown(level: Any) -> bool | int | float | str | None:
    """What a flow asks for, whatever it is: a list that it writes to a lamp must not take the pages away."""
    known = level is None or isinstance(level, bool | int | float | str | bytes)
    shown = wire(level if known else f"{level!r:.200}")
    return shown.hex() if isinstance(shown, bytes) else shown


def _level(tag: str, levels: Mapping[str, Scalar], value: Scalar) -> Scalar:
    found = next((level for level, written in levels.items() if written == value), None)
    if found is None:
        shown = ", ".join(str(written) for written in levels.values())
        raise Rejected(f"{tag} is an element of a light; write one of {shown}")
    return found
