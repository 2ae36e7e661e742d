from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from edgeflow.devices.binding import read_outputs
from edgeflow.devices.config import read_links_and_devices
from edgeflow.devices.devices import Devices
from edgeflow.devices.intake import DeviceStatus
from edgeflow.devices.output import OutputStatus
from edgeflow.document import parse
from edgeflow.driver import Driver, Home
from edgeflow.model import Block, Sample, Scalar
from edgeflow.outputs.arbitration import Decision
from edgeflow.testing.loop import LoopClock


class Rig:
    """Devices on fake drivers in virtual time, with all that they delivered: (loop time, block)."""

    def __init__(
        self, text: str, drivers: Iterable[Driver[Any, Any, Any]], on_block: Callable[[Block], None] | None = None
    ) -> None:
        document = parse(text)
        by_name = {driver.name: driver for driver in drivers}
        plant = read_links_and_devices(document, by_name.__getitem__, lambda: by_name)
        self.loop = asyncio.get_running_loop()
        self.blocks: list[tuple[float, Block]] = []
        self.on_block = on_block
        self.clock = LoopClock(self.loop)
        self.devices = Devices(plant, read_outputs(document, plant.tags), self._deliver, self.clock, lambda _: Home())
        self.running: asyncio.Task[None] | None = None

    def _deliver(self, block: Block) -> None:
        self.blocks.append((self.loop.time(), block))
        if self.on_block is not None:
            self.on_block(block)

    @asynccontextmanager
    async def run(self, *, engine: bool = True) -> AsyncIterator[None]:
        self.running = self.loop.create_task(self.devices.run())
        beating = self.loop.create_task(self._beat(engine))
        try:
            yield
        finally:
            beating.cancel()
            self.running.cancel()
            await asyncio.wait({self.running, beating})

    async def _beat(self, engine: bool) -> None:
        while engine:
            self.devices.beat()
            await asyncio.sleep(1)

    def samples(self, tag: str) -> list[tuple[float, Sample]]:
        return [(at, s) for at, block in self.blocks for s in block.samples() if s.tag == tag]

    def latest(self, tag: str) -> Sample:
        return self.samples(tag)[-1][1]

    def of(self, device: str) -> list[tuple[float, Block]]:
        return [(at, block) for at, block in self.blocks if block.device == device]

    def device(self, name: str) -> DeviceStatus:
        return next(d for d in self.devices.status().devices if d.name == name)

    def output(self, name: str) -> OutputStatus:
        return next(o for o in self.devices.status().outputs if o.name == name)

    def show(self, output: str, **levels: Scalar) -> None:
        self.devices.apply([Decision(output, dict(levels), dict.fromkeys(levels, "flow"))])


@pytest.fixture
def rig() -> type[Rig]:
    return Rig
