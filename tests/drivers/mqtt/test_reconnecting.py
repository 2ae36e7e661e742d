"""Connecting again and again: nothing is left behind, however a connection ended."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgeflow.driver import Column, Home
from edgeflow.errors import LinkDown
from edgeflow.testing.relay import Relay, until
from edgeflow_mqtt import DRIVER, Device, Link, Point

TIMES = int(os.environ.get("EDGEFLOW_TEST_RECONNECTS", "30"))
"""1,000 in the fault campaign."""
_WARM = 20
_SLACK_BYTES = 6_000_000
DEVICES = (
    (Device(), [Point(topic="again")]),
    (Device.model_validate({"sparkplug": {"group": "g", "node": "n"}}), [Point(metric="m")]),
)


def soon(seconds: float = 10.0) -> float:
    return asyncio.get_running_loop().time() + seconds


def held() -> tuple[int, int]:
    """Open files and tasks."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir())), len(asyncio.all_tasks())


async def once(link: Link, home: Home, relay: Relay, *, drop: bool) -> None:
    pushed: list[Column] = []
    async with DRIVER.open(link, soon(), home) as session, asyncio.TaskGroup() as group:
        watches = [group.create_task(_watch(session, device, points, pushed)) for device, points in DEVICES]
        while not pushed:
            await session.write(Device(), [Point(set="again")], [1], soon())
        if drop:
            relay.reset()
            await asyncio.wait(watches, timeout=10)
            assert all(watch.done() for watch in watches)
            relay.resume()
        for watch in watches:
            watch.cancel()


async def _watch(session: Any, device: Device, points: list[Point], pushed: list[Column]) -> None:
    with pytest.raises(LinkDown):
        await session.watch(device, points, pushed.append)


async def test_many_reconnects_leave_files_tasks_and_memory_as_they_were(broker: Any) -> None:
    async with Relay("127.0.0.1", broker.port) as relay:
        link, home = Link.model_validate({"host": "127.0.0.1", "port": relay.port, "version": "auto"}), Home()
        for i in range(_WARM):
            await once(link, home, relay, drop=i % 2 == 1)
        await until(lambda: relay.connections == 0, "the last connection ends")
        files, tasks = held()
        memory = psutil.Process().memory_info().rss
        for i in range(TIMES):
            await once(link, home, relay, drop=i % 2 == 1)
        await until(lambda: relay.connections == 0, "the last connection ends")
        await until(lambda: held() <= (files, tasks), "files and tasks are as they were")
        assert psutil.Process().memory_info().rss - memory < _SLACK_BYTES
