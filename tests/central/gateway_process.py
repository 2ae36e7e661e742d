"""A gateway as a process of its own: counts, keeps count and records in one commit, sends them up, until it is killed.

Arguments: address of the central server, folder. Prints every number once it is committed.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeflow.clock import SystemClock
from edgeflow.model import Record, Secret
from edgeflow.store.documents import Documents
from edgeflow.store.store import Store
from edgeflow.sync.desired import Wish
from edgeflow.sync.protocol import About, FlowReport
from edgeflow.sync.settings import CentralSettings
from edgeflow.sync.uplink import Uplink


async def apply(flows: Sequence[Wish], wished: frozenset[str]) -> Sequence[FlowReport]:
    return ()


async def count(store: Store) -> None:
    state = (await store.states("counter")).get("count", b"0")
    n = int(state)
    while True:
        records = [Record("count", str(n + i), 1, 1_763_618_400_000_000_000, {"n": n + i}) for i in (1, 2, 3)]
        n += 3
        await store.commit({("counter", "count"): str(n).encode()}, records)
        print(f"committed {n}", flush=True)
        await asyncio.sleep(0.002)


async def main(url: str, folder: Path) -> None:
    store = await Store.open(folder / "gateway.db")
    uplink = Uplink(
        CentralSettings(url=url, token=Secret(file=folder / "central.token")),
        state=folder,
        store=store,
        documents=Documents(folder / "documents.json"),
        clock=SystemClock(),
        apply=apply,
        about=About(),
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(uplink.run())
        tasks.create_task(count(store))


asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
