"""A bad line between the driver and its broker: no value that nobody published, and values again after the repair."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import aiomqtt
import pytest

from edgeflow.driver import Column, Home
from edgeflow.errors import LinkDown
from edgeflow.plant.port import free_port
from edgeflow.testing.relay import Relay, until
from edgeflow_mqtt import DRIVER, Device, Link, Point
from tests.drivers.mqtt.authority import Authority
from tests.drivers.mqtt.conftest import Broker

PATIENCE_S = 15.0
FAULTS: dict[str, Callable[[Relay], None]] = {
    "hang": Relay.hang, "delay": lambda relay: relay.delay(0.3), "trickle": lambda relay: relay.trickle(0.005, 8),
    "duplicate": Relay.duplicate, "cut": Relay.cut, "reset": Relay.reset, "half_open": Relay.half_open,
    "garble": lambda relay: relay.garble(0.3),
}  # fmt: skip


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def twofold(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker with a listener for TLS beside the plain one."""
    pair = authority.pair("broker", address="127.0.0.1")
    port = free_port()
    more = (f"listener {port} 127.0.0.1", f"certfile {pair.certificate}", f"keyfile {pair.key}")
    broker = Broker(tmp_path_factory.mktemp("twofold"), *more)
    broker.tls_port = port
    yield broker
    broker.kill()


class Watching:
    """Sessions one after another, as the shell has them; what they pushed, and why they ended."""

    def __init__(self, link: Link) -> None:
        self.values: list[Any] = []
        self.reasons: list[str] = []
        self._link = link

    def push(self, column: Column) -> None:
        faults = column.faults or {}
        self.values += [value for at, value in enumerate(column.values) if at not in faults]

    async def run(self) -> None:
        while True:
            deadline = asyncio.get_running_loop().time() + 2.0
            try:
                async with DRIVER.open(self._link, deadline, Home()) as session:
                    await session.watch(Device(), [Point(topic="count", type="integer")], self.push)
            except LinkDown as error:
                self.reasons.append(str(error))
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("fault", "encrypted"), [*((fault, False) for fault in FAULTS), ("garble", True), ("trickle", True), ("cut", True)]
)
async def test_a_bad_line_gives_no_wrong_value_and_is_survived(
    twofold: Broker, authority: Authority, fault: str, encrypted: bool
) -> None:
    published: set[int] = set()
    silent = asyncio.Event()
    async with (
        Relay("127.0.0.1", twofold.tls_port if encrypted else twofold.port) as relay,
        aiomqtt.Client("127.0.0.1", twofold.port) as device,
        asyncio.TaskGroup() as group,
    ):
        tls = {"tls": {"ca": authority.ca}} if encrypted else {}
        watching = Watching(Link.model_validate({"host": "127.0.0.1", "port": relay.port, "keepalive": "1 s", **tls}))
        task = group.create_task(watching.run())

        async def speak() -> None:
            number = 1_000_000
            while not silent.is_set():  # it may swallow a cancellation
                number += 1
                published.add(number)
                await device.publish("count", str(number), 1)
                await asyncio.sleep(0.01)

        group.create_task(speak())
        try:
            await until(lambda: watching.values, "values come", PATIENCE_S)
            FAULTS[fault](relay)
            await asyncio.sleep(0.6)  # so long lasts the fault
            relay.resume()
            newest = max(published)
            await until(lambda: any(value > newest for value in watching.values), "new values come", PATIENCE_S)
            task.cancel()
        finally:
            silent.set()
    if fault != "garble" or encrypted:  # MQTT itself has no sum over its bytes: that is what TCP and TLS are for
        assert set(watching.values) <= published
    assert all("MQTT broker" in reason for reason in watching.reasons)
