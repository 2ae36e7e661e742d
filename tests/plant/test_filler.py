from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise
from typing import Any

import psutil
import pytest
from asyncua import Client, ua

from edgeflow.clock import utc_ns
from edgeflow.plant.factory import Factory
from edgeflow.plant.filler import FillerDevice
from edgeflow.plant.opcua import ENDPOINT
from edgeflow.plant.port import free_port

Until = Callable[[Callable[[], bool | Awaitable[bool]]], Awaitable[None]]
During = Callable[[Coroutine[Any, Any, None]], AbstractAsyncContextManager[None]]
Sockets = Callable[[int, str], int]


class Heard:
    """What an OPC UA subscription brought: value and source time by node."""

    def __init__(self) -> None:
        self.values: dict[str, list[tuple[Any, Any]]] = {}

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        stamp = data.monitored_item.Value.SourceTimestamp
        self.values.setdefault(node.nodeid.Identifier, []).append((value, stamp))


@asynccontextmanager
async def filler(factory: Factory, during: During) -> AsyncIterator[FillerDevice]:
    device = FillerDevice(free_port(), factory)
    await device.start()
    try:
        async with during(device.run()):
            yield device
    finally:
        await device.stop()


def client(device: FillerDevice, timeout: float = 10) -> Client:
    return Client(ENDPOINT.format(port=device.port), timeout=timeout)


async def value(one: Client, name: str) -> Any:
    return await one.get_node(f"ns=2;s=Filler.{name}").read_value()


async def test_the_filler_pushes_every_part_with_the_time_it_was_made(
    live: Factory, during: During, until: Until
) -> None:
    heard = Heard()
    async with filler(live, during) as device, client(device) as one:
        assert await one.get_namespace_index("urn:edgeflow:plant:filler") == 2
        names = ("State", "Good", "Reject", "Speed", "Fault", "Setpoint")
        nodes = [one.get_node(f"ns=2;s=Filler.{name}") for name in names]
        subscription = await one.create_subscription(50, heard)
        await subscription.subscribe_data_change(nodes, queuesize=100)
        await until(lambda: len(heard.values.get("Filler.Good", ())) > 6)
        kinds = [await node.read_data_type_as_variant_type() for node in nodes]
    good = heard.values["Filler.Good"]
    assert all(later - earlier == 1 for (earlier, _), (later, _) in pairwise(good))
    made = {moment // 1000 for moment in live.filler.good.times}
    assert {utc_ns(f"{stamp:%Y-%m-%dT%H:%M:%S.%f}Z") // 1000 for _, stamp in good[1:]} <= made
    assert [heard.values[f"Filler.{name}"][0][0] for name in ("State", "Speed", "Fault")] == [6, 300.0, 0]
    assert [kind.name for kind in kinds] == ["Int32", "UInt32", "UInt32", "Double", "Int32", "Double"]


async def test_it_takes_a_setpoint_within_its_limits_and_nothing_else(
    live: Factory, during: During, until: Until
) -> None:
    async with filler(live, during) as device, client(device) as one:
        assert await value(one, "Setpoint") == 60.0
        await one.get_node("ns=2;s=Filler.Setpoint").write_value(30.0)
        await until(lambda: live.filler.base_ns == 400_000_000)  # 30 a minute, five times as fast
        await one.get_node("ns=2;s=Filler.Setpoint").write_value(9000.0)

        async def limited() -> bool:
            return bool(await value(one, "Setpoint") == 120.0)

        await until(limited)
        await one.get_node("ns=2;s=Filler.Setpoint").write_value(float("nan"))
        await until(limited)
        with pytest.raises(ua.UaStatusCodeError):
            await one.get_node("ns=2;s=Filler.Good").write_value(ua.Variant(1, ua.VariantType.UInt32))


async def test_it_hangs_recovers_and_restarts(live: Factory, during: During, until: Until) -> None:
    async with filler(live, during) as device:
        async with client(device, timeout=1) as one:
            await device.begin("hang")
            _, writer = await asyncio.open_connection("127.0.0.1", device.port)
            with pytest.raises(TimeoutError):
                await value(one, "Good")
            made = live.filler.good.count
            await until(lambda: live.now() > 0 and live.filler.good.count > made + 2)
            await device.end("hang")

            async def caught_up() -> bool:
                return bool(await value(one, "Good") > 120_000 + made)

            await until(caught_up)
            writer.close()
            await writer.wait_closed()
            await device.begin("restart")
            assert live.filler.state == 0
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", device.port)
            with pytest.raises((ConnectionError, TimeoutError, ua.UaError)):
                await value(one, "Good")
            await device.end("restart")
        async with client(device) as again:
            assert await value(again, "State") == 6
            assert await value(again, "Good") > 120_000 + made


async def test_it_drops_its_connections_and_listens_again(live: Factory, during: During, sockets: Sockets) -> None:
    async with filler(live, during) as device:
        reader, writer = await asyncio.open_connection("127.0.0.1", device.port)
        await device.begin("drop")
        assert await reader.read() == b""
        assert sockets(device.port, psutil.CONN_LISTEN) == 0
        assert live.filler.powered
        await device.end("drop")
        assert sockets(device.port, psutil.CONN_LISTEN) == 1
        async with client(device) as one:
            assert await value(one, "State") == 6
        writer.close()
        await writer.wait_closed()


async def test_its_counters_are_reset_and_a_hold_is_told(live: Factory, during: During, until: Until) -> None:
    async with filler(live, during) as device, client(device) as one:
        live.hold(True)
        await device.begin("reset_counter")

        async def standing() -> bool:
            seen = [await value(one, name) for name in ("State", "Good", "Reject", "Speed")]
            return seen == [11, 0, 0, 0.0]

        await until(standing)
