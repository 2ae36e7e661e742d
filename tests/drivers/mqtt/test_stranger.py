"""An edge node of Sparkplug B that somebody else wrote (sparkplug-client), through a real broker."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from edgeflow.driver import Column, Home
from edgeflow.errors import Rejected
from edgeflow.model import BAD
from edgeflow.testing.relay import until
from edgeflow_mqtt import DRIVER, Device, Link, Point
from edgeflow_mqtt.settings import Sparkplug

HERE = Path(__file__).parent
AT_MS = 1_795_154_400_000  # 2026-11-20T06:00:00Z
PATIENCE_S = 15.0

PRESS: list[dict[str, Any]] = [
    {"name": "Good", "type": "UInt32", "value": 4_000_000_000, "alias": 1},
    {"name": "Line 1/Temperature", "type": "Float", "value": 21.5, "properties": {"engUnit": {"type": "String", "value": "°C"}}},
    {"name": "Offset", "type": "Int16", "value": -300},
    {"name": "Running", "type": "Boolean", "value": True},
    {"name": "Order", "type": "String", "value": "A12 ü"},
    {"name": "Since", "type": "DateTime", "value": AT_MS},
    {"name": "Raw", "type": "Bytes", "value": "00ff10"},
    {"name": "Table", "type": "DataSet", "value": {"numOfColumns": 2, "types": ["UInt32", "String"], "columns": ["n", "t"], "rows": [[7, "a"]]}},
    {"name": "Energy", "type": "UInt64", "value": 2**50},
]  # fmt: skip
POINTS = [
    Point(metric="Good"), Point(metric="Line 1/Temperature"), Point(metric="Offset", type="integer"),
    Point(metric="Running", type="boolean"), Point(metric="Order", type="text"), Point(metric="Since", type="text"),
    Point(metric="Raw", type="bytes"), Point(metric="Table", type="text"), Point(metric="Energy", type="integer"),
]  # fmt: skip
VALUES = [
    4_000_000_000, 21.5, -300, True, "A12 ü", "2026-11-20T06:00:00.000Z", b"\x00\xff\x10",
    '{"columns":["n","t"],"types":["UInt32","String"],"rows":[[7,"a"]]}', 2**50,
]  # fmt: skip


class Publisher:
    """The stranger's process; `told` is what it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: list[dict[str, Any]] = []

    def tell(self, do: str, **more: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")

    async def listen(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            self.told.append(json.loads(line))


@asynccontextmanager
async def publisher(broker: Any, births: dict[str, list[dict[str, Any]]], **more: Any) -> AsyncIterator[Publisher]:
    assert (HERE / "node/node_modules").exists(), (
        "sparkplug-client is not installed; `make test` does it, or `make setup`"
    )
    given = {"port": broker.port, "group": "plant", "node": "line1", "births": births, "at": AT_MS, **more}
    process = await asyncio.create_subprocess_exec(
        "node", HERE / "node/publisher.mjs", json.dumps(given), stdin=PIPE, stdout=PIPE
    )
    publisher = Publisher(process)
    try:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(publisher.listen())
            await until(lambda: publisher.told, "the edge node is connected", PATIENCE_S)
            yield publisher
            listening.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]  # else it is closed by the garbage collector, which warns


@asynccontextmanager
async def watched(
    broker: Any, points: list[Point], sparkplug: Sparkplug, **more: Any
) -> AsyncIterator[tuple[Any, Callable[[], list[Any]], list[Column]]]:
    """A session that watches; gives it, the latest values, and everything that was pushed."""
    settings = Link.model_validate({"host": "127.0.0.1", "port": broker.port, "keepalive": "2 s", **more})
    pushed: list[Column] = []

    def latest() -> list[Any]:
        values: dict[int, Any] = {}
        for column in pushed:
            indices = range(len(column.values)) if column.points is None else column.points
            values |= dict(zip(indices, column.values, strict=True))
        return [values.get(i) for i in range(len(points))]

    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    async with DRIVER.open(settings, deadline, Home()) as session, asyncio.TaskGroup() as group:
        watching = group.create_task(session.watch(Device(sparkplug=sparkplug), points, pushed.append))
        yield session, latest, pushed
        watching.cancel()


PRESS_OF_LINE1 = Sparkplug(group="plant", node="line1", device="press")


@pytest.mark.parametrize("compress", [False, True])
async def test_every_type_of_a_foreign_birth_arrives_though_it_was_born_before_us(broker: Any, compress: bool) -> None:
    births = {"": [{"name": "Uptime", "type": "UInt64", "value": 5}], "press": PRESS}
    async with publisher(broker, births, options={"compress": compress}) as node:
        async with watched(broker, POINTS, PRESS_OF_LINE1) as (_, latest, pushed):
            await until(lambda: latest() == VALUES, "the birth that was asked for is pushed", PATIENCE_S)
            assert pushed[-1].source_ns == AT_MS * 1_000_000
            node.tell("data", device="press", metrics=[{"name": "Good", "type": "UInt32", "value": 7}], at=AT_MS + 1)
            await until(lambda: latest()[0] == 7, "the change is pushed", PATIENCE_S)
        assert {"ncmd": [{"name": "Node Control/Rebirth", "type": "Boolean", "value": True}]} in node.told


async def test_a_killed_node_is_bad_at_once_and_good_again_with_its_next_birth(broker: Any) -> None:
    births = {"": [], "press": PRESS[:1]}
    async with watched(broker, POINTS[:1], PRESS_OF_LINE1) as (_, latest, pushed):
        async with publisher(broker, births) as node:
            await until(lambda: latest() == [4_000_000_000], "the birth is pushed", PATIENCE_S)
            node.tell("death", device="press")
            await until(lambda: latest() == [None], "the death of the device is pushed", PATIENCE_S)
            node.tell("birth")
            await until(lambda: latest() == [4_000_000_000], "the second birth is pushed", PATIENCE_S)
            node.tell("vanish")
            await until(lambda: latest() == [None], "the death of the node is pushed", PATIENCE_S)
        assert (pushed[-1].faults or {})[0] == (BAD, "the edge node line1 has lost the broker (NDEATH)")
        async with publisher(broker, births):
            await until(lambda: latest() == [4_000_000_000], "the new birth is pushed", PATIENCE_S)


async def test_a_lost_message_is_noticed_and_a_birth_asked_for(broker: Any) -> None:
    births = {"": [], "press": PRESS[:2]}
    async with publisher(broker, births) as node, watched(broker, POINTS[:2], PRESS_OF_LINE1) as (_, latest, pushed):
        await until(lambda: latest() == VALUES[:2], "the birth is pushed", PATIENCE_S)
        node.tell("skip")
        node.tell("data", device="press", metrics=[{"name": "Good", "type": "UInt32", "value": 8}])
        await until(
            lambda: any("was lost" in reason for c in pushed for _, reason in (c.faults or {}).values()), "it is told"
        )
        await until(lambda: latest() == VALUES[:2], "the birth that was asked for is pushed", PATIENCE_S)


async def test_commands_reach_the_node_with_its_data_types(broker: Any) -> None:
    births = {"": [{"name": "Interval", "type": "Int32", "value": 5}], "press": PRESS}
    values = [3_999_999_999, 22.5, -301, False, "B", None, b"\x01\x02", None, 2**50 + 1]
    async with publisher(broker, births) as node, watched(broker, POINTS, PRESS_OF_LINE1) as (session, latest, _):
        await until(lambda: latest() == VALUES, "the birth is pushed", PATIENCE_S)
        device = Device(sparkplug=PRESS_OF_LINE1)
        for point, value in zip(POINTS, values, strict=True):
            if value is not None and value != b"\x01\x02":
                await session.write(device, [point], [value], asyncio.get_running_loop().time() + 5)
        with pytest.raises(Rejected, match="Since: '2026' is no DateTime"):
            await session.write(device, [POINTS[5]], ["2026"], asyncio.get_running_loop().time() + 5)
        told = lambda: [one["metrics"][0] for one in node.told if one.get("dcmd") == "press"]  # noqa: E731 - asked again and again
        await until(lambda: len(told()) == 6, "the commands arrive", PATIENCE_S)
    assert [(one["name"], one["value"]) for one in told()] == [
        ("Good", 3_999_999_999), ("Line 1/Temperature", 22.5), ("Offset", -301), ("Running", False), ("Order", "B"),
        ("Energy", 2**50 + 1),
    ]  # fmt: skip


async def test_a_primary_host_says_that_it_is_there_and_its_will_that_it_is_not(own_broker: Any) -> None:
    heard: list[dict[str, Any]] = []

    async def listen(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            heard.insert(len(heard), json.loads(bytes(message.payload)))

    async with aiomqtt.Client("127.0.0.1", own_broker.port) as client, asyncio.TaskGroup() as group:
        await client.subscribe("spBv1.0/STATE/edgeflow")
        listening = group.create_task(listen(client))
        async with watched(own_broker, POINTS[:1], PRESS_OF_LINE1, sparkplug_host="edgeflow"):
            await until(lambda: heard, "the state is published")
            assert heard[0]["online"] is True
            # the will of an earlier connection comes late
            await client.publish("spBv1.0/STATE/edgeflow", b'{"online":false,"timestamp":1}', 1, retain=True)
            await until(lambda: len(heard) > 1, "the false state is heard")
            await asyncio.sleep(1.0)  # it is corrected once a second at most
            await client.publish("spBv1.0/STATE/edgeflow", b'{"online":false,"timestamp":2}', 1, retain=True)
            await until(lambda: heard[-1]["online"], "it is corrected")
        await until(lambda: not heard[-1]["online"], "the end is published")
        assert heard[-1]["timestamp"] == heard[0]["timestamp"]
        listening.cancel()


async def test_the_namespace_is_shown_with_ready_points(broker: Any) -> None:
    births = {"": [{"name": "Uptime", "type": "UInt64", "value": 5}], "press": PRESS}
    settings = Link.model_validate({"host": "127.0.0.1", "port": broker.port})
    async with publisher(broker, births) as node, DRIVER.open(settings, _soon(5), Home()) as session:

        async def below(path: str) -> list[Any]:
            return [found async for found in session.browse(path, _soon(2.5))]

        async with asyncio.TaskGroup() as group:
            looking = group.create_task(below(""))
            while not looking.done():
                node.tell("data", metrics=[{"name": "Uptime", "type": "UInt64", "value": 6}])
                await asyncio.sleep(0.2)
        nodes = [found for found in looking.result() if found.path == "spBv1.0/plant/line1"]
        assert [found.has_children for found in nodes] == [True]
        of_node = await below("spBv1.0/plant/line1")
        of_press = await below("spBv1.0/plant/line1/press")
    assert [(f.title, f.point, f.has_children) for f in of_node] == [
        ("Uptime", {"metric": "Uptime", "type": "integer"}, False),
        ("bdSeq", {"metric": "bdSeq", "type": "integer"}, False),
        ("press", None, True),
    ]
    assert [f.value for f in of_press] == VALUES
    assert [Point.model_validate({"type": "number", **f.point}).value_type for f in of_press] == [
        f.type for f in of_press
    ]
    assert of_press[1].unit == "°C"


def _soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds
