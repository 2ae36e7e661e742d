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
from edgeflow.devices.output import ElementState, Output, OutputStats, OutputStatus, OutputWriter
from edgeflow.devices.patience import Custom
from edgeflow.devices.plan import DevicePlan, OutputBinding, Plant, TagPlan
from edgeflow.devices.scale import raw_of, value_of
from edgeflow.document import suggestion
from edgeflow.driver import Home, Reads, Writes
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import BAD, GOOD, Block, Sample, Scalar
from edgeflow.outputs.arbitration import Decision
from edgeflow.units import NS_PER_S

T = TypeVar("T")

LOOKED_AT_S = 10.0


@dataclass(frozen=True, slots=True)
class Status:
    """All links, devices and outputs at one moment, in the order of the configuration."""

    links: tuple[LinkStatus, ...]
    devices: tuple[DeviceStatus, ...]
    outputs: tuple[OutputStatus, ...]


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
            custom = Custom() if len(behind.get(link.name, [])) > 1 else None
            clients += [
                self._device(each, deliver, self._links[link.name], custom) for each in behind.get(link.name, ())
            ]
        self._outputs = {name: self._output(binding) for name, binding in outputs.items()}
        self._driven = {e.plan.tag.name: output for output in self._outputs.values() for e in output.elements.values()}

    def _device(self, plan: DevicePlan, deliver: Callable[[Block], None], link: Link, custom: Custom | None) -> Device:
        phase = len(self._devices) * GOLDEN % 1
        device = Device(plan, self._clock, deliver, link.proved, phase=phase, custom=custom)
        self._devices[plan.name] = device
        return device

    def _output(self, binding: OutputBinding) -> Output:
        refresh_s = binding.refresh_ns / NS_PER_S if binding.refresh_ns else None
        elements: dict[str, ElementState] = {}
        for name, element in binding.elements.items():
            plan = self._plant.plans[element.tag]
            back = self._plant.plans[element.read_back] if element.read_back else None
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
                device.plan, self._clock, device.ask, device.intake.wrote
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
        column = await self._ask(device, connection, reader, deadline)
        now_ns = self._clock.now_ns()
        quality, reason = (column.faults or {}).get(0, (GOOD, ""))
        value: Scalar = None
        if quality != BAD:
            value, wrong = value_of(plan, column.values[0])
            quality, reason = (BAD, wrong) if wrong else (quality, reason)
        return Sample(tag, value, quality, column.source_ns or now_ns, now_ns, reason)

    async def write(self, tag: str, value: Scalar, deadline: float) -> None:
        """Writes one tag now, past the arbitration; refused where an output drives it.

        Raises Rejected and LinkDown like `read`.
        """
        plan, device, connection = self._reach(tag)
        if not plan.tag.writable:
            raise Rejected(f"{tag} is not writable; say `writable: true` at the tag if it may be written")
        output = self._driven.get(tag)
        if output is not None and output.held:
            raise Rejected(f"{tag} is driven by the output {output.binding.plan.name}; write that one")
        raw = raw_of(plan, value)
        session = connection.session
        if not isinstance(session, Writes):
            raise Rejected(f"the driver {device.plan.driver.name} cannot write")
        write = partial(session.write, device.plan.config, (plan.point,), (raw,))
        await self._ask(device, connection, write, deadline, write=True)

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

    def _reach(self, tag: str) -> tuple[TagPlan, Device, Connection]:
        plan = self._plant.plans.get(tag)
        if plan is None:
            raise Rejected(f"there is no tag {tag!r}")
        device = self._devices[plan.tag.device]
        link = self._links[device.plan.link]
        if link.connection is None:
            raise LinkDown(f"{link.plan.name}: {link.reason}")
        return plan, device, link.connection
