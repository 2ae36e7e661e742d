"""Brokers of several makers and versions, sessions that outlive a connection, and who we are to others."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from amqtt.broker import Broker as AmqttBroker
from structlog.testing import capture_logs

from edgeflow.agent.config import load as load_config
from edgeflow.devices.config import read_links_and_devices
from edgeflow.document import parse
from edgeflow.driver import Column, Home
from edgeflow.errors import ConfigError, LinkDown
from edgeflow.model import UNCERTAIN
from edgeflow.node import installed
from edgeflow.plant.port import free_port
from edgeflow.testing.relay import until
from edgeflow_mqtt import DRIVER, Device, Link, Point
from edgeflow_mqtt.feed import Feed

SIX_NS = 1_795_154_400_000_000_000  # 2026-11-20T06:00:00Z


def soon(seconds: float = 10.0) -> float:
    return asyncio.get_running_loop().time() + seconds


@asynccontextmanager
async def opened(port: int, home: Home | None = None, **more: Any) -> AsyncIterator[Any]:
    link = Link.model_validate({"host": "127.0.0.1", "port": port, "keepalive": "1 s", **more})
    async with DRIVER.open(link, soon(), home or Home()) as session:
        yield session


@asynccontextmanager
async def watching(session: Any, device: Device, points: list[Point]) -> AsyncIterator[list[Column]]:
    pushed: list[Column] = []
    async with asyncio.TaskGroup() as group:
        task = group.create_task(session.watch(device, points, pushed.append))
        yield pushed
        task.cancel()


@pytest.fixture
async def amqtt() -> AsyncIterator[int]:
    """A broker in Python, of 3.1.1 only."""
    port = free_port()
    logging.getLogger("amqtt").setLevel(logging.CRITICAL + 1)
    broker = AmqttBroker({"listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
                          "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}})  # fmt: skip
    await broker.start()
    yield port
    await broker.shutdown()


async def test_a_broker_of_the_old_version_is_spoken_to_in_it_and_that_is_said_once(amqtt: int) -> None:
    home = Home()
    with capture_logs() as logs:
        for _ in range(2):
            async with opened(amqtt, home) as session, watching(session, Device(), [Point(topic="x")]) as pushed:
                while not pushed:
                    await session.write(Device(), [Point(set="x")], [7], soon())
                assert pushed[0].values == [7]
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("the broker speaks MQTT 3.1.1", "info")]
    with pytest.raises(LinkDown, match=r"does not speak MQTT 5|hangs up"):
        async with opened(amqtt, version="5"):
            pass


async def test_a_broker_of_the_new_version_is_spoken_to_in_it(broker: Any) -> None:
    with capture_logs() as logs:
        async with opened(broker.port) as session:
            assert session.version == "5"
        async with opened(broker.port, version="3.1.1") as session:
            assert session.version == "3.1.1"
    assert logs == []


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_what_comes_while_we_are_away_is_kept_for_us_where_that_is_asked_for(broker: Any, version: str) -> None:
    topic, home = f"away/{version}", Home()
    points = [Point(topic=topic, path="v", time="t", time_form="s"), Point(topic=f"{topic}/plain")]
    more = {"session_expiry": "1 h", "version": version}
    async with aiomqtt.Client("127.0.0.1", broker.port) as device:
        async with opened(broker.port, home, **more) as session, watching(session, Device(), points) as pushed:
            while not pushed:
                await device.publish(topic, b'{"v": 0, "t": 1795154399}', 1)
        for value in (1, 2, 3):
            message = {"v": value, "t": SIX_NS // 10**9 + value}
            await device.publish(topic, json.dumps(message), 1)
            await device.publish(f"{topic}/plain", str(value), 1)
        async with opened(broker.port, home, **more) as session:
            await asyncio.sleep(0.1)  # the shell too begins to watch some time after it has connected
            async with watching(session, Device(), points) as pushed:
                await until(lambda: pushed and not pushed[-1].late, "what was kept is pushed")
                await device.publish(topic, b'{"v": 4, "t": 1795154404}', 1)
                await until(lambda: pushed[-1].values == [4], "the live value is pushed")
    brought = [
        (column.values[0], column.late, column.source_ns and (column.source_ns - SIX_NS) // 10**9) for column in pushed
    ]
    brought = [one for one in brought if one[0] != 0]
    assert sorted(brought[:4], key=str) == [(1, True, 1), (2, True, 2), (3, False, 0), (3, False, 3)]
    (plain,) = (column for column in pushed if column.points == (1,))
    assert (plain.faults or {})[0][0] is UNCERTAIN
    assert brought[4] == (4, False, 4)


async def test_nothing_is_kept_for_us_where_nobody_asks(broker: Any) -> None:
    home, points = Home(), [Point(topic="kept-not")]
    async with aiomqtt.Client("127.0.0.1", broker.port) as device:
        async with opened(broker.port, home) as session, watching(session, Device(), points) as pushed:
            while not pushed:
                await device.publish("kept-not", b"1", 1)
        await device.publish("kept-not", b"2", 1)
        async with opened(broker.port, home) as session, watching(session, Device(), points) as pushed:
            while not pushed:
                await device.publish("kept-not", b"3", 1)
    assert pushed[0].values == [3]


async def test_others_learn_from_our_will_whether_we_are_there(own_broker: Any) -> None:
    heard: list[bytes] = []

    async def listen(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            heard.insert(len(heard), bytes(message.payload))

    will = {"will": {"topic": "gateways/line1", "online": "here", "offline": "gone"}}
    async with aiomqtt.Client("127.0.0.1", own_broker.port) as client, asyncio.TaskGroup() as group:
        await client.subscribe("gateways/line1", 1)
        listening = group.create_task(listen(client))
        async with opened(own_broker.port, **will):
            await until(lambda: heard == [b"here"], "we are announced")
        await until(lambda: heard == [b"here", b"gone"], "our goodbye is heard")
        async with opened(own_broker.port, client_id="one", **will):
            await until(lambda: heard[2:] == [b"here"], "we are announced once more")
            async with aiomqtt.Client(
                "127.0.0.1", own_broker.port, identifier="one"
            ):  # throws us out: our will is executed
                await until(lambda: heard[3:] == [b"gone"], "our will is heard")
        listening.cancel()


async def test_a_broker_that_throws_us_out_is_quoted() -> None:
    """mosquitto 2.0.11 only hangs up; these are the bytes of MQTT 5, 3.2 and 3.14, with the reason Session taken over."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(bytes.fromhex("20 03 00 00 00"))
        await reader.read(100)
        writer.write(bytes.fromhex("e0 02 8e 00"))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, opened(server.sockets[0].getsockname()[1], version="5") as session:
        with pytest.raises(LinkDown, match="another client has connected with the same `client_id`"):
            await session.watch(Device(), [Point(topic="x")], lambda column: None)


async def test_who_we_are_stays_the_same_and_differs_between_gateways_and_links(broker: Any) -> None:
    one, other = Home(), Home()
    names = []
    for home, more in ((one, {}), (one, {}), (other, {}), (one, {"session_expiry": "1 h"})):
        async with opened(broker.port, home, **more) as session:
            names.append(session.client_id)
    assert names[0] == names[1]
    assert len(set(names)) == 3
    assert all(len(name) <= 23 and name.isalnum() for name in names)


@pytest.mark.parametrize("more", [{}, {"session_expiry": "1 h"}])
async def test_two_links_to_one_broker_do_not_throw_each_other_out(broker: Any, more: Any) -> None:
    home = Home()
    async with opened(broker.port, home.at("one"), **more) as one, opened(broker.port, home.at("two"), **more) as two:
        assert one.client_id != two.client_id
        async with watching(one, Device(), [Point(topic="a")]), watching(two, Device(), [Point(topic="a")]):
            for session in (one, two, one):
                await session.write(Device(), [Point(set="a")], [1], soon())
    async with opened(broker.port, home.at("one"), **more) as again:
        assert again.client_id == one.client_id


def test_a_client_id_that_two_links_have_is_told_where_it_stands() -> None:
    text = """
links:
  one:   {driver: mqtt, host: broker, client_id: line1}
  two:   {driver: mqtt, host: broker, client_id: line1}
  three: {driver: mqtt, host: other, client_id: line1}
  four:  {driver: mqtt, host: broker}
"""
    with pytest.raises(ConfigError) as caught:
        read_links_and_devices(parse(text, "gateway.yaml"))
    assert [str(problem) for problem in caught.value.problems] == [
        "gateway.yaml:4:39 links.two.client_id: the link one has the same `client_id`; each needs its own"
    ]


def test_a_client_id_that_a_link_and_the_service_have_is_told_where_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("""
gateway: {name: g}
links:
  one: {driver: mqtt, host: broker, client_id: line1}
services:
  mqtt: {host: broker, client_id: line1}
""")
    with pytest.raises(ConfigError, match=r"6:\d+ services.mqtt.client_id: the link one has the same `client_id`"):
        load_config(file, installed(), {})


async def test_topics_are_shown_with_what_stands_in_their_messages(own_broker: Any) -> None:
    message = {"ts": 1_795_154_400_250, "temp": 21.5, "on": True, "zones": [{"kw": 1}, {"kw": "2.5"}], "name": "oven"}
    async with aiomqtt.Client("127.0.0.1", own_broker.port) as device, opened(own_broker.port) as session:
        await device.publish("plant/oven/state", json.dumps(message), 1, retain=True)
        await device.publish("plant/plug/POWER", b"ON", 1, retain=True)
        await device.publish("plant/raw", b"\x00\xff", 1, retain=True)
        await device.publish("other", b"1", 1, retain=True)
        found = [one async for one in session.browse("plant", soon(1.5))]
        everything = [one.path async for one in session.browse("", soon(1.5))]
    assert "other" in everything
    time = {"time": "ts", "time_form": "ms"}
    oven = {"topic": "plant/oven/state"}
    assert [(one.title, one.point, one.type, one.value) for one in found] == [
        ("temp", oven | {"path": "temp"} | time, "number", 21.5),
        ("on", oven | {"path": "on", "type": "boolean"} | time, "boolean", True),
        ("zones[0].kw", oven | {"path": "zones[0].kw"} | time, "number", 1),
        ("zones[1].kw", oven | {"path": "zones[1].kw"} | time, "number", 2.5),
        ("name", oven | {"path": "name", "type": "text"} | time, "text", "oven"),
        ("POWER", {"topic": "plant/plug/POWER", "type": "boolean"}, "boolean", True),
        ("raw", {"topic": "plant/raw", "type": "bytes"}, "bytes", b"\x00\xff"),
    ]
    for one in found:
        assert Point.model_validate(one.point).value_type == one.type


async def test_odd_keys_numbers_and_lists_are_shown_in_the_form_that_can_be_pasted(own_broker: Any) -> None:
    message = {
        "1-0:1.7.0": {"value": "1,5 kW"},
        "values": [{"id": "PLC.Part", "v": 630}, {"id": "PLC.Temp", "v": "20.5 °C"}],
        "inner": '{"a":[7]}',
        "when": "12:30",
        "": 3,
    }
    async with aiomqtt.Client("127.0.0.1", own_broker.port) as device, opened(own_broker.port) as session:
        await device.publish("odd", json.dumps(message), 1, retain=True)
        await device.publish("line", b"21,5", 1, retain=True)
        found = [one async for one in session.browse("", soon(1.5))]
    assert [(one.point, one.value) for one in found] == [
        ({"topic": "line", "decimal": "comma"}, 21.5),
        ({"topic": "odd", "path": '"1-0:1.7.0".value', "decimal": "comma", "suffix": "kW"}, 1.5),
        ({"topic": "odd", "path": "values[id=PLC.Part].v"}, 630),
        ({"topic": "odd", "path": "values[id=PLC.Temp].v", "suffix": "°C"}, 20.5),
        ({"topic": "odd", "path": "inner.a[0]"}, 7),
        ({"topic": "odd", "path": "when", "type": "text"}, "12:30"),
        ({"topic": "odd", "path": '""'}, 3),
    ]
    for one in found:
        heard: list[Column] = []
        point = Point.model_validate(one.point)
        payload = json.dumps(message).encode() if point.topic == "odd" else b"21,5"
        Feed(Device(), [point], heard.append).take(point.topic or "", payload, retained=False)
        assert (heard[0].values, heard[0].faults) == ([one.value], None)


async def test_the_tool_tells_how_far_it_is_and_what_it_heard(own_broker: Any) -> None:
    (tool,) = DRIVER.tools()
    link = Link.model_validate({"host": "127.0.0.1", "port": own_broker.port})
    async with aiomqtt.Client("127.0.0.1", own_broker.port) as device:
        await device.publish("plant/x", b"5", 1, retain=True)
        await device.publish("plant/y/x", b'{"X": 1}', 1, retain=True)
        options = tool.options.model_validate({"topic": "plant/#", "for": "1 s"})
        findings = [finding async for finding in tool.run(link, Home(), options)]
    assert [type(finding).__name__ for finding in findings] == ["Progress", "Row", "Row", "Note"]
    assert [row.point for row in findings[1:3]] == [{"topic": "plant/x"}, {"topic": "plant/y/x", "path": "X"}]
    assert [row.cells["tag"] for row in findings[1:3]] == ["x", "x-x"]
    assert findings[3].text.startswith("2 topics in 1 s")


async def test_a_hostile_namespace_costs_bounded_memory(own_broker: Any) -> None:
    pushed: list[Column] = []
    async with aiomqtt.Client("127.0.0.1", own_broker.port) as device, opened(own_broker.port) as session:
        async with watching(session, Device(), [Point(topic="#", type="bytes")]) as pushed:
            while not pushed:
                await device.publish("begin", b"", 1)
            for i in range(5000):
                await device.publish(f"many/{i}", b"x")
            await device.publish("large", bytes(5_000_000), 1)
            await until(
                lambda: any(len(column.values[0] or b"") == 5_000_000 for column in pushed), "the last arrives", 15
            )
        (json_point,) = [Point(topic="large", path="a")]
        async with watching(session, Device(), [json_point]) as told:
            while not told:
                await device.publish("large", b"[" * 5_000_000, 1)
        assert "is too large" in (told[0].faults or {})[0][1]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """The brokers in Python speak a lot."""
    logging.getLogger("transitions").setLevel(logging.CRITICAL + 1)
