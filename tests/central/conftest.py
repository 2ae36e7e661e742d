"""A central server in this process, and what a gateway has on its side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from edgeflow.central.server import started, token_for
from edgeflow.central.settings import Settings
from edgeflow.clock import SystemClock
from edgeflow.model import Record, Secret
from edgeflow.store.documents import Documents
from edgeflow.store.store import Store
from edgeflow.sync.client import CentralClient
from edgeflow.sync.desired import Wish
from edgeflow.sync.protocol import About, FlowReport
from edgeflow.sync.settings import CentralSettings
from edgeflow.sync.uplink import Uplink

AT = 1_763_618_400_000_000_000  # 2025-11-20T06:00:00Z

FLOW = """
flow: oee/press
title: {title}
parameters:
  machine: {{type: device, description: The machine.}}
nodes:
  good: {{kind: tag, tag: "{{machine}}/good"}}
  report: {{kind: record, stream: oee}}
wires:
  - good -> report
"""


def record(n: int, version: int = 1, stream: str = "oee") -> Record:
    return Record(stream, f"press1/{n}", version, AT + n * 1_000_000_000, {"good": n, "version": version})


@dataclass
class Central:
    """A running server and a client with its administrator's token."""

    settings: Settings
    url: str
    client: CentralClient

    async def until(self, path: str, holds: Callable[[Any], object], **query: str) -> Any:
        """Asks until the answer is as wished."""
        async with asyncio.timeout(10):
            while not holds(answer := await self.get(path, **query)):  # noqa: ASYNC110 - the other side has no event
                await asyncio.sleep(0.01)
        return answer

    async def get(self, path: str, **query: str) -> Any:
        return orjson.loads(await self.client.ask("GET", path, query=query))

    async def put(self, path: str, body: Any) -> Any:
        return orjson.loads(await self.client.ask("PUT", path, body=orjson.dumps(body)))

    async def keys(self, gateway: str = "line1") -> list[str]:
        """The keys of every record of a gateway, as they came."""
        found: list[str] = []
        after = "0-0"
        while after:
            page = await self.get("/api/v1/records", gateway=gateway, after=after, limit="1000")
            found += [entry["record"]["key"] for entry in page["records"]]
            after = page["next"]
        return found


@asynccontextmanager
async def running(state: Path, port: int, hosts: tuple[str, ...]) -> AsyncIterator[Central]:
    settings = Settings(state=state, port=port, hosts=hosts)
    async with started(settings) as served:
        token = (state / "admin.token").read_text().strip()
        async with CentralClient(served.url, token=token) as client:
            yield Central(settings, served.url, client)


@dataclass
class Edge:
    """What a gateway has: a store, documents, and an uplink whose wishes are taken as they come."""

    store: Store
    documents: Documents
    uplink: Uplink
    state: Path
    applied: list[Sequence[Wish]] = field(default_factory=list)
    refuse: str = ""

    async def apply(self, flows: Sequence[Wish]) -> Sequence[FlowReport]:
        self.applied.append(flows)
        return [
            FlowReport(
                instance=flow.instance,
                flow=flow.flow,
                state="stopped" if self.refuse else "running",
                active="" if self.refuse else flow.version,
                wanted=flow.version,
                fate="refused" if self.refuse else "accepted",
                fate_reason=self.refuse,
            )
            for flow in flows
        ]


@asynccontextmanager
async def gateway(url: str, folder: Path) -> AsyncIterator[Edge]:
    """A gateway that runs while the block lasts; its token is expected in `central.token` in the folder."""
    store = await Store.open(folder / "gateway.db")
    documents = Documents(folder / "documents.json")
    edge: Edge

    async def apply(flows: Sequence[Wish], _wished: frozenset[str]) -> Sequence[FlowReport]:
        return await edge.apply(flows)

    uplink = Uplink(
        CentralSettings(url=url, token=Secret(file=folder / "central.token")),
        state=folder,
        store=store,
        documents=documents,
        clock=SystemClock(),
        apply=apply,
        about=About(name="line1", place="acme/hall2/line1", software="0.1"),
    )
    edge = Edge(store, documents, uplink, folder)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(uplink.run())
        try:
            yield edge
        finally:
            task.cancel()
    await store.close()


@dataclass(frozen=True)
class Hall:
    """Makes central servers and gateways below one folder."""

    folder: Path

    def central(self, port: int = 0, hosts: tuple[str, ...] = ()) -> AbstractAsyncContextManager[Central]:
        return running(self.folder / "central", port, hosts)

    def gateway(self, central: Central, name: str = "line1", *, url: str = "") -> AbstractAsyncContextManager[Edge]:
        return gateway(url or central.url, self.folder / name)

    async def token(self, central: Central, name: str = "line1", folder: str = "") -> str:
        """Makes a one-time token and puts it where the gateway looks for it."""
        token = (await token_for(central.settings, name)).token
        file = self.folder / (folder or name) / "central.token"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(token)
        return token

    def records(self, *numbers: int, version: int = 1) -> list[Record]:
        return [record(n, version) for n in numbers]

    def flow(self, title: str = "OEE of one press") -> str:
        return FLOW.format(title=title)


@pytest.fixture
def hall(tmp_path: Path) -> Hall:
    return Hall(tmp_path)


@pytest.fixture
async def central(hall: Hall) -> AsyncIterator[Central]:
    async with hall.central() as central:
        yield central
