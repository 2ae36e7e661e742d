"""A whole gateway without sockets: real store, real engine, fake wires, virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeflow.agent.conductor import Conductor
from edgeflow.agent.config import Config, load
from edgeflow.agent.core import Core
from edgeflow.agent.deployments import Deployments
from edgeflow.agent.measures import AgentMeasures
from edgeflow.agent.view import View
from edgeflow.devices.devices import Devices
from edgeflow.driver import Home
from edgeflow.engine.engine import Engine
from edgeflow.model import Call, Record
from edgeflow.node import Kinds, installed
from edgeflow.services.services import Services
from edgeflow.store.documents import Documents
from edgeflow.store.homes import Homes
from edgeflow.store.store import Store
from edgeflow.testing.loop import LoopClock
from edgeflow.testing.session import Wire
from edgeflow.web.columns import TagColumns
from tests.engine.kinds import KINDS


class Clock(LoopClock):
    """The loop's clock, which may also be set like a system's."""

    def __init__(self) -> None:
        super().__init__()
        self.step_ns = self.set_ns = self.doubted_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.step_ns

    def check(self) -> int:
        step, self.set_ns = self.step_ns - self.set_ns, self.step_ns
        return step


class Gateway:
    """The parts of an agent, as `Agent` puts them together, but for the sockets."""

    def __init__(self, config: Config, store: Store, documents: Documents, submit: Any = None) -> None:
        self.config, self.store, self.documents = config, store, documents
        self.clock: Any = Clock()
        self.faults: list[str] = []
        plans = {name: binding.plan for name, binding in config.outputs.items()}
        self.engine = Engine(plans, on_fault=lambda instance, reason: self.faults.append(instance))
        self.columns = TagColumns(config.plant.tags.values())
        self.calls: list[Call] = []
        self.live: list[Record] = []
        self.alive = 0
        self.conductor = Conductor(
            self.engine, self.clock, store, note=self.columns.take, submit=submit or self.calls.append,
            live=self.live.append, alive=self._alive,
        )  # fmt: skip
        self.services = Services({}, self.conductor.answer, self.clock)
        self.devices = Devices(config.plant, config.outputs, self.conductor.block, self.clock, lambda _: Home())
        self.conductor.outputs = self.devices
        self.deployments = Deployments(config, self.conductor, store, documents, self.clock)
        core = Core(
            config=config, state=Path(), clock=self.clock, started_ns=self.clock.now_ns(), token="", engine=self.engine,
            conductor=self.conductor, devices=self.devices, services=self.services, deployments=self.deployments,
            columns=self.columns, store=store, documents=documents, homes=Homes(Path()),
        )  # fmt: skip
        self.measures = AgentMeasures(core, None)
        self.view = View(core, None, self.measures.render)

    def _alive(self) -> None:
        self.alive += 1

    @asynccontextmanager
    async def run(self, *, clean: bool = True) -> AsyncIterator[None]:
        """At work; `clean` false ends like a kill: without the last commit."""
        await self.deployments.start()
        await self.conductor.resume()
        self.conductor.effects()
        ended = asyncio.Event()
        commits = asyncio.create_task(self.conductor.run(ended))
        parts = {asyncio.create_task(self.devices.run()), asyncio.create_task(self.deployments.watch())}
        try:
            yield
        finally:
            for part in parts:
                part.cancel()
            await asyncio.wait(parts)
            if clean:
                ended.set()
            else:
                commits.cancel()
            await asyncio.wait({commits})
            if not commits.cancelled():
                commits.result()


class Folder:
    """Where a gateway has its configuration, flows and state; `open` begins a life of its process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wire = Wire({1: 1, 2: 0, 3: False, 4: 0.0})
        self.kinds: Kinds = {**installed(), **KINDS}

    def write(self, text: str, flows: Mapping[str, str]) -> None:
        (self.path / "gateway.yaml").write_text(text + "\nflow_path: [flows]\n")
        for name, content in flows.items():
            folder = self.path / "flows" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "flow.yaml").write_text(f"flow: {name}\n{content}")

    def config(self) -> Config:
        return load(self.path / "gateway.yaml", self.kinds, {}, drivers={"fake": self.wire.driver()})

    @asynccontextmanager
    async def open(self, submit: Any = None) -> AsyncIterator[Gateway]:
        store = await Store.open(self.path / "edgeflow.db")
        try:
            yield Gateway(self.config(), store, Documents(self.path / "documents.json"), submit)
        finally:
            await store.close()


SITE = """\
gateway: {name: line1}
deploy: {trial: 2 s}
links: {plc: {driver: fake}}
devices:
  d:
    link: plc
    every: 100 ms
    tags:
      x: {address: 1, type: integer}
      y: {address: 2, type: integer}
      red: {address: 3, type: boolean, writable: true}
      limit: {address: 4, writable: true, range: [0, 100]}
outputs:
  lamp: {elements: {red: d/red}, unguarded: [d], when_stale: {red: on}, when_stopped: {red: flash}, on_exit: {red: on}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)
