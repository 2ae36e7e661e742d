"""The devices part as a whole: every link with its devices and outputs, as the agent uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from edgeflow.clock import Clock
from edgeflow.devices.connection import GRACE_S, Connection
from edgeflow.devices.device import GOLDEN, Device
from edgeflow.devices.intake import DeviceStatus
from edgeflow.devices.link import TICK_S, Link, LinkStatus
from edgeflow.devices.output import (
    LOOK_AGAIN_S,
    UNSURE,
    ElementState,
    Output,
    OutputStats,
    OutputStatus,
    OutputWriter,
    same,
    verify_s,
)
from edgeflow.devices.patience import Custom
from edgeflow.devices.plan import DevicePlan, OutputBinding, Plant, TagPlan
from edgeflow.devices.scale import raw_of, value_of
from edgeflow.document import suggestion
from edgeflow.driver import Ask, Column, Home, Reads, Writes, poll
from edgeflow.errors import LinkDown, Rejected, Silent, Unconfirmed
from edgeflow.model import BAD, GOOD, Block, Sample, Scalar
from edgeflow.outputs.arbitration import Decision
from edgeflow.units import NS_PER_S, duration_text

T = TypeVar("T")

LOOKED_AT_S = 10.0
_READY_S = 0.02


@dataclass(frozen=True, slots=True)
class Status:
    """All links, devices and outputs at one moment, in the order of the configuration."""

    links: tuple[LinkStatus, ...]
    devices: tuple[DeviceStatus, ...]
    outputs: tuple[OutputStatus, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """What is known after a write that was acknowledged: what the device holds now, None where nothing tells.

    `note` says in what it differs from what was sent, or why nothing tells; "" where it is the same.
    """

    value: Scalar = None
    note: str = ""


class Devices:
    """Runs the links of a plant. `deliver` gets every block, in order; it is quick and does not raise.

    `home` gives each driver, by its name, what it kept.

    Whatever `deliver` raises all the same ends `run`: it is a bug above the devices.
    """

    def __init__(
        self,
        plant: Plant,
        outputs: Mapping[str, OutputBinding],
        deliver: Callable[[Block], None],
        clock: Clock,
        home: Callable[[str], Home],
    ) -> None:
        self._plant, self._clock, self._leaving = plant, clock, False
        self._above: BaseException | None = None
        self._ended = asyncio.Event()
        self._links: dict[str, Link] = {}
        self._devices: dict[str, Device] = {}
        self._writers: dict[str, OutputWriter] = {}
        self._looked_at_s: dict[str, float] = {}
        behind: dict[str, list[DevicePlan]] = {}
        for device in plant.devices.values():
            behind.setdefault(device.link, []).append(device)
        for link in plant.links.values():
            clients: list[Device] = []
            self._links[link.name] = Link(link, clients, clock, home(link.driver.name))
            several = behind.get(link.name, [])
            custom = Custom() if len(several) > 1 else None
            for each in several:
                self._devices[each.name] = one = Device(
                    each,
                    clock,
                    partial(self._hand_on, deliver),
                    phase=len(self._devices) * GOLDEN % 1,
                    custom=custom,
                )
                clients.append(one)
        self._outputs = {name: self._output(binding) for name, binding in outputs.items()}
        self._driven = {e.plan.tag.name: output for output in self._outputs.values() for e in output.elements.values()}

    def _output(self, binding: OutputBinding) -> Output:
        refresh_s = binding.refresh_ns / NS_PER_S if binding.refresh_ns else None
        elements: dict[str, ElementState] = {}
        for name, element in binding.elements.items():
            plan = self._plant.plans[element.tag]
            back = self._plant.plans[element.read_back] if element.read_back else None
            if back is plan:
                back = self._told_by(plan)
            writer = self._writer(plan.tag.device)
            title = f"{binding.plan.name}.{name}"
            state = ElementState(title, element, plan, back if back and back.read else None, refresh_s, writer)
            writer.elements.append(state)
            elements[name] = state
        return Output(binding, elements)

    def _writer(self, name: str) -> OutputWriter:
        if name not in self._writers:
            device = self._devices[name]
            device.writer = self._writers[name] = OutputWriter(
                device.plan, self._clock, device.turns, device.intake.wrote
            )
        return self._writers[name]

    # --- running --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keeps every link open until cancelled; ends by itself only through a bug above the drivers."""
        self.beat()
        async with asyncio.TaskGroup() as links:
            for link in self._links.values():
                links.create_task(link.run(), name=f"link {link.plan.name}")
            links.create_task(self._check(), name="links: silence")
            await self._ended.wait()
            assert self._above is not None
            raise self._above

    def _hand_on(self, deliver: Callable[[Block], None], block: Block) -> None:
        """What fails above the devices is no fault of theirs: it ends `run`, whoever contains it on its way."""
        try:
            deliver(block)
        except BaseException as error:
            self._above = self._above or error
            self._ended.set()
            raise

    async def _check(self) -> None:
        """One look at all links twice a second, instead of a timer for every request."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            if loop.time() - due_s > GRACE_S / 2:  # we were held up ourselves: what came meanwhile is taken first
                await asyncio.sleep(GRACE_S / 10)
            for link in self._links.values():
                link.check(loop.time())
            self._forget_raw(loop.time())

    def apply(self, decisions: Iterable[Decision]) -> None:
        """Takes over decisions of the arbitration; they are written at once."""
        for decision in decisions:
            self._outputs[decision.output].show(decision)

    def beat(self) -> None:
        """The engine lives. Without a beat for 5 s outputs are no longer refreshed, so that watchdogs fire."""
        for writer in self._writers.values():
            writer.beat()

    @property
    def exit_s(self) -> float:
        """How long the exit pattern may have to wait: for one request that a silent device never answers."""
        links = {self._devices[name].plan.link for name in self._writers}
        timeouts = (each.plan.timeout_ns for each in self._devices.values() if each.plan.link in links)
        return max(timeouts, default=0) / NS_PER_S

    async def exit_pattern(self, deadline: float) -> None:
        """Leaves what every output shall show without us; call it before `run` is cancelled.

        Returns when it is written, or at the deadline (loop time). Nothing is written afterwards.
        """
        self._leaving = True
        for writer in self._writers.values():
            writer.leaving = True
        for output in self._outputs.values():
            output.leave()
        try:
            async with asyncio.timeout_at(deadline):
                for writer in self._writers.values():
                    if writer.connected:
                        await writer.settled.wait()
        except TimeoutError:
            return

    # --- looking --------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Frozen views for the pages; the counters in them go on counting."""
        return Status(
            tuple(link.status() for link in self._links.values()),
            tuple(device.status() for device in self._devices.values()),
            tuple(output.status() for output in self._outputs.values()),
        )

    def output_stats(self) -> Mapping[str, OutputStats]:
        """The counters of the writers, by device."""
        return {name: writer.stats for name, writer in self._writers.items()}

    def raw(self, device: str) -> Mapping[str, Scalar]:
        """The newest values of a device's tags as the driver gave them, before scaling.

        They are kept from the first call on, until nobody has asked for `LOOKED_AT_S`. Raises Rejected.
        """
        found = self._devices.get(device)
        if found is None:
            raise Rejected(f"there is no device {device!r}{suggestion(device, self._devices)}")
        self._looked_at_s[device] = asyncio.get_running_loop().time()
        if found.intake.raw is None:
            found.intake.raw = {}
        return found.intake.raw

    def _forget_raw(self, now_s: float) -> None:
        for device, looked_s in list(self._looked_at_s.items()):
            if now_s - looked_s > LOOKED_AT_S:
                del self._looked_at_s[device]
                self._devices[device].intake.raw = None

    # --- the links themselves, for a person at work on them -----------------------------------------------

    def connection(self, link: str) -> Connection:
        """The open connection of a link; raises Rejected (no such link) and LinkDown (not connected)."""
        found = self._link(link)
        if found.connection is None:
            raise LinkDown(f"{link}: {found.reason}")
        return found.connection

    def lent(self, link: str, reason: str) -> AbstractAsyncContextManager[None]:
        """Gives the connection of a link up while the block runs; see `Link.lent`. Raises Rejected."""
        return self._link(link).lent(reason)

    def _link(self, name: str) -> Link:
        if name not in self._links:
            raise Rejected(f"there is no link {name!r}{suggestion(name, self._links)}")
        return self._links[name]

    # --- one-off reads and writes ---------------------------------------------------------------------

    async def read(self, tag: str, deadline: float) -> Sample:
        """Reads one tag now; where the driver only pushes, the latest push.

        Raises Rejected (no such tag, refused) and LinkDown (not connected, no answer by the loop time).
        """
        plan, device, connection = self._reach(tag)
        session = connection.session
        if not plan.read:
            raise Rejected(f"{tag} can only be written")
        if not isinstance(session, Reads):
            return device.intake.sample(device.intake.tags.index(plan))
        prepare = partial(session.prepare, device.plan.config, (plan.point,))
        reader = await self._ask(device, connection, prepare, deadline)

        async def ask(request: Ask[Column]) -> Column:
            return await self._ask(device, connection, request, deadline)

        column = await poll(reader, ask)
        now_ns = self._clock.now_ns()
        quality, reason = (column.faults or {}).get(0, (GOOD, ""))
        value: Scalar = None
        if quality != BAD:
            value, wrong = value_of(plan, column.values[0])
            quality, reason = (BAD, wrong) if wrong else (quality, reason)
        return Sample(tag, value, quality, column.source_ns or now_ns, now_ns, reason)

    async def write(self, tag: str, value: Scalar, deadline: float) -> None:
        """Writes one tag once, past the arbitration, as soon as its device is connected and programmed.

        It is never sent a second time, whatever becomes of the session: it may be a pulse. Raises Rejected (no
        such tag, refused, driven by an output) and LinkDown: not sent by the loop time, or not acknowledged within
        the device's time-out.
        """
        plan = self._known(tag)
        if not plan.tag.writable:
            raise Rejected(f"{tag} is not writable; say `writable: true` at the tag if it may be written")
        raw = raw_of(plan, value)
        device, connection = await self._ready(tag, deadline)
        output, session = self._driven.get(tag), connection.session
        if output is not None and output.held:
            raise Rejected(f"{tag} is driven by the output {output.binding.plan.name}; write that one")
        if not isinstance(session, Writes):
            raise Rejected(f"the driver {device.plan.driver.name} cannot write")
        time, timeout_s, sent = asyncio.get_running_loop().time, device.plan.timeout_ns / NS_PER_S, False

        async def write(until: float) -> None:
            nonlocal sent
            if time() > deadline:
                raise Rejected(f"not written: the link {connection.link} is busy with other requests; try again")
            sent = True
            await session.write(device.plan.config, (plan.point,), (raw,), min(until, time() + timeout_s))

        try:
            await self._ask(device, connection, write, deadline + timeout_s, write=True)
        except (LinkDown, Silent) as error:
            raise LinkDown(f"{tag}: {UNSURE} ({error})" if sent else f"{tag}: not written: {error}") from error
        except Rejected as error:
            kind = Unconfirmed if isinstance(error, Unconfirmed) else Rejected
            raise kind(f"{tag}: {error}") from error
        device.intake.wrote()
        connection.prove()
        if output is not None:
            output.taken()

    async def _ready(self, tag: str, deadline: float) -> tuple[Device, Connection]:
        """Waits for the device of a tag until it takes writes; raises LinkDown where it does not by the loop time."""
        time, device = asyncio.get_running_loop().time, self._devices[self._known(tag).tag.device]
        link, writer = self._links[device.plan.link], self._writers.get(device.plan.name)
        while link.connection is None or (writer is not None and not writer.connected):
            if time() >= deadline:
                reason = device.intake.reason if link.connection else f"{link.plan.name}: {link.reason}"
                raise LinkDown(f"{tag}: not written: {reason}")
            await asyncio.sleep(_READY_S)
        return device, link.connection

    async def confirm(self, tag: str, value: Scalar, deadline: float, *, before: Scalar = None) -> Held:
        """What the device holds of what `write` has written and the device has acknowledged.

        Waits for it as long as `verify` says. `before`: what it held before, where that is known.
        """
        plan = self._known(tag)
        back, time = self._told_by(plan), asyncio.get_running_loop().time
        if back is None:
            return Held(None, "sent and acknowledged; nothing reads it back")
        device = self._devices[plan.tag.device]
        wanted, _ = value_of(plan, raw_of(plan, value))
        patience_s = verify_s(device.plan, plan)
        until = min(deadline, time() + patience_s)
        while True:
            try:
                found = await self.read(back.tag.name, deadline)
            except (LinkDown, Rejected) as error:
                return Held(None, f"sent and acknowledged; it cannot be read back: {error}")
            if found.quality != BAD and same(found.value, wanted):
                return Held(found.value)
            if time() + LOOK_AGAIN_S > until:
                break
            await asyncio.sleep(LOOK_AGAIN_S)
        if found.quality == BAD:
            return Held(None, f"sent and acknowledged; it cannot be read back: {found.reason}")
        holder = "the device" if back is plan else back.tag.name
        if before is not None and same(found.value, before):
            within = duration_text(round(patience_s * NS_PER_S))
            return Held(found.value, f"sent {wanted!r}, not yet: after {within} {holder} still holds {found.value!r}")
        return Held(found.value, f"sent {wanted!r}, {holder} holds {found.value!r}")

    def _told_by(self, plan: TagPlan) -> TagPlan | None:
        """The tag that tells what was written to one; None where nothing does."""
        back = self._plant.plans[plan.reads_as] if plan.reads_as else plan
        return back if back.read else None

    async def _ask(
        self,
        device: Device,
        connection: Connection,
        request: Callable[[float], Awaitable[T]],
        deadline: float,
        *,
        write: bool = False,
    ) -> T:
        left_s = max(0.0, deadline - asyncio.get_running_loop().time())
        try:
            return await connection.ask(object(), request, left_s, write=write, patient=False)
        except LinkDown as error:
            connection.fail(str(error), device)
            raise

    def _known(self, tag: str) -> TagPlan:
        plan = self._plant.plans.get(tag)
        if plan is None:
            raise Rejected(f"there is no tag {tag!r}")
        return plan

    def _reach(self, tag: str) -> tuple[TagPlan, Device, Connection]:
        plan = self._known(tag)
        device = self._devices[plan.tag.device]
        link = self._links[device.plan.link]
        if link.connection is None:
            raise LinkDown(f"{link.plan.name}: {link.reason}")
        return plan, device, link.connection
