"""Connecting again and again: nothing is left behind, however a connection ended."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from edgeflow.driver import Home
from edgeflow.errors import LinkDown
from edgeflow.testing.drivers import poll_by
from edgeflow.testing.relay import Relay, until
from edgeflow_opcua import DRIVER, Device, Link, Point
from edgeflow_opcua.trust import TRUSTED
from tests.drivers.opcua.servers import Pair, Process, asyncua_server, make_pair

TIMES = int(os.environ.get("EDGEFLOW_TEST_RECONNECTS", "100"))
"""1,000 in the fault campaign."""
_WARM = 12
_SLACK_BYTES = 6_000_000
GOOD = Point(node="ns=2;s=Filler.Good", type="integer")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("reconnecting"), "server")


@pytest.fixture(scope="module")
def server(pair: Pair) -> Iterator[Process]:
    process = asyncua_server(pair)
    yield process
    process.stop()


def soon(seconds: float = 10.0) -> float:
    return asyncio.get_running_loop().time() + seconds


def held() -> tuple[int, int, int]:
    """Open files, tasks, and objects that Python keeps track of."""
    for _ in range(3):
        gc.collect()
    return len(list(Path("/proc/self/fd").iterdir())), len(asyncio.all_tasks()), len(gc.get_objects())


async def connect(link: Link, home: Home, relay: Relay, *, drop: bool) -> None:
    async with DRIVER.open(link, soon(), home) as session:
        reader = await session.prepare(Device(), [GOOD], soon())
        assert list((await poll_by(reader, soon())).values) == [5]
        if drop:
            relay.reset()
            with pytest.raises(LinkDown):
                await poll_by(reader, soon())
            relay.resume()


@pytest.mark.parametrize(("security", "times"), [("none", TIMES), ("Basic256Sha256", TIMES // 4)])
async def test_reconnecting_leaves_no_file_no_task_and_no_memory_behind(
    server: Process, pair: Pair, security: str, times: int
) -> None:
    home = Home()
    home.put(f"{TRUSTED}{pair.fingerprint}.der", pair.der)
    assert server.url
    async with Relay("127.0.0.1", server.port) as relay:
        link = Link.model_validate({"url": f"opc.tcp://127.0.0.1:{relay.port}", "security": security})
        for number in range(_WARM):
            await connect(link, home, relay, drop=number % 2 == 1)
        await until(lambda: relay.connections == 0, "every connection ends")
        before, resident = held(), psutil.Process().memory_info().rss
        for number in range(times):
            await connect(link, home, relay, drop=number % 2 == 1)
        await until(lambda: relay.connections == 0, "every connection ends")
        after = held()
    assert after[:2] == before[:2]
    assert after[2] - before[2] < max(100, times // 2)
    assert psutil.Process().memory_info().rss - resident < _SLACK_BYTES
    assert server.tell("sessions") <= 2 * TIMES  # those of dropped connections wait for their time-out
