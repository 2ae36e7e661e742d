"""A thousand reconnects: file descriptors, tasks and memory stay as they are."""

import asyncio
import gc
import os
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from pymodbus.framer import FramerType

from edgeflow.driver import Home
from edgeflow.errors import LinkDown, Silent
from edgeflow.testing.drivers import poll_by
from edgeflow.testing.relay import Relay, until
from edgeflow_modbus import DRIVER
from edgeflow_modbus.config import Device, Link, Point

from .lines import SerialRelay
from .test_servers import pymodbus_server

RECONNECTS = int(os.environ.get("EDGEFLOW_TEST_RECONNECTS", "30"))
POINTS = [Point(register=0), Point(register=20, type="float32"), Point(coil=3)]
WARM = 6


def soon(seconds=10.0):
    return asyncio.get_running_loop().time() + seconds


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


async def lost(reader):
    """A device that is silent three times in a row is a lost link."""
    for _ in range(3):
        with suppress(Silent):
            await poll_by(reader, soon(0.005))


@pytest.mark.parametrize("transport", ["tcp", "rtu-over-tcp", "rtu"])
async def test_reconnecting_leaves_nothing_behind(transport, tmp_path):
    """In turn: closed by us, dropped by the other side, silent beyond the deadline."""
    home = Home()
    framer = FramerType.SOCKET if transport == "tcp" else FramerType.RTU
    async with (
        pymodbus_server(framer) as at,
        SerialRelay(tmp_path, at) if transport == "rtu" else Relay("127.0.0.1", at) as relay,
    ):
        link = Link(transport=transport, host="127.0.0.1", port=relay.port) if transport != "rtu" else None
        link = link or Link(serial=relay.path, baud=115200)

        async def once(n):
            async with DRIVER.open(link, soon(), home) as session:
                reader = await session.prepare(Device(), POINTS, soon())
                assert list((await poll_by(reader, soon())).values) == [1234, 21.5, True]
                if n % 3 == 1:
                    await relay.drop()
                elif n % 3 == 2:
                    relay.hang()
                if n % 3:
                    with pytest.raises(LinkDown):
                        await lost(reader)
                    if n % 3 == 1:
                        await relay.restore()
            relay.resume()
            await until(lambda: not relay.connections, "the connection is closed")

        async def measured():
            gc.collect()
            return descriptors(), len(asyncio.all_tasks()), tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            for n in range(WARM):
                await once(n)
            before = await measured()
            for n in range(RECONNECTS):
                await once(n)
            after = await measured()
        finally:
            tracemalloc.stop()
    assert after[0] <= before[0] + 1, "file descriptors"
    assert after[1] <= before[1], "tasks"
    assert after[2] <= before[2] + 100_000, "bytes of memory"
