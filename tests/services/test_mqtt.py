"""Publishing against a real mosquitto that is away, killed, hung and back."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt
import orjson
import pytest
from structlog.testing import capture_logs

from edgeflow.errors import Rejected
from edgeflow.model import Call
from edgeflow.services.mqtt import MqttService, payload
from edgeflow.services.settings import MqttSettings
from edgeflow.units import NS_PER_S
from tests.drivers.mqtt.conftest import Broker
from tests.services.conftest import Working


def service(broker: Broker, timeout_s: int = 1) -> MqttService:
    return MqttService(MqttSettings.model_construct(
        host="127.0.0.1", port=broker.port, client_id=None, in_flight=20, timeout=timeout_s * NS_PER_S
    ))  # fmt: skip


def publish(name: str, content: Any = None, *, topic: str = "t", qos: int = 1, fast: str = "") -> Call:
    request = {"topic": topic, "payload": {"n": name} if content is None else content, "qos": qos, "retain": False}
    return Call(name, "flow", "node", "mqtt", request, 0, 0, fast, not fast)


@asynccontextmanager
async def listening(broker: Broker, topic: str = "#") -> AsyncIterator[list[bytes]]:
    heard: list[bytes] = []

    async def listen(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            heard.append(message.payload)

    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        await client.subscribe(topic, qos=1)
        task = asyncio.create_task(listen(client))
        yield heard
        task.cancel()
        await asyncio.wait({task})


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - another process decides when it comes true
            await asyncio.sleep(0.02)


def test_text_and_bytes_stay_as_they_are_and_the_rest_is_json() -> None:
    assert payload("on") == "on"
    assert payload(b"\x00\xff") == b"\x00\xff"
    assert payload({"a": [1, 2.5, None, True]}) == b'{"a":[1,2.5,null,true]}'
    assert payload(None) == b"null"
    with pytest.raises(Rejected, match="cannot be sent as JSON"):
        payload({"a": b"bytes within"})


async def test_what_is_published_arrives(broker: Broker, working: Working) -> None:
    async with listening(broker) as heard, working(mqtt=service(broker)) as answers:
        answers.services.submit(publish("a", {"x": 1}))
        answers.services.submit(publish("b", "text", qos=2))
        answers.services.submit(publish("c", b"\x01\x02", qos=0))
        assert all(answer.ok for answer in await answers.of("a", "b", "c"))
        await until(lambda: sorted(heard) == [b"\x01\x02", b"text", b'{"x":1}'])


async def test_what_mqtt_does_not_allow_is_refused_and_the_rest_goes_on(broker: Broker, working: Working) -> None:
    async with working(mqtt=service(broker)) as answers:
        answers.services.submit(publish("wild", topic="a/#"))
        answers.services.submit(publish("object", {"x": b"bytes"}))
        answers.services.submit(publish("good"))
        wild, strange, good = await answers.of("wild", "object", "good")
    assert "cannot be published on 'a/#'" in wild.error
    assert "cannot be sent as JSON" in strange.error
    assert good.ok


async def test_a_broker_away_at_the_start_is_waited_for(broker: Broker, working: Working) -> None:
    broker.kill()
    with capture_logs() as logs:
        async with working(mqtt=service(broker)) as answers:
            answers.services.submit(publish("kept"))
            answers.services.submit(publish("live", fast="live"))
            await until(lambda: answers.services.stats["mqtt"].failed == 1)
            assert answers.by_call == {}
            broker.start()
            assert (await answers.of("kept"))[0].ok
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("cannot publish", "warning"),
        ("publishing again", "info"),
    ]


async def test_a_broker_killed_under_load_costs_nothing_and_nothing_is_complained_of(
    broker: Broker, working: Working, caplog: pytest.LogCaptureFixture
) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    caplog.set_level(logging.DEBUG)
    names = [f"c{i}" for i in range(400)]
    with capture_logs() as logs:
        async with working(mqtt=service(broker)) as answers:
            for i, name in enumerate(names):
                answers.services.submit(publish(name))
                answers.services.submit(publish(f"live{i}", fast="live"))
                if i % 200 == 100:
                    await until(lambda: answers.services.stats["mqtt"].done > 20)
                    broker.kill()
                if i % 200 == 150:
                    await asyncio.sleep(0.05)
                    broker.start()
            assert all(answer.ok for answer in await answers.of(*names))
    assert complaints == []
    assert caplog.messages == []
    assert {entry["event"] for entry in logs} <= {"cannot publish", "publishing again"}


async def test_a_hung_broker_is_left_and_repeats_nothing_without_end(broker: Broker, working: Working) -> None:
    async with working(mqtt=service(broker)) as answers:
        answers.services.submit(publish("before"))
        await answers.of("before")
        broker.signal(signal.SIGSTOP)
        answers.services.submit(publish("live", fast="live"))
        await until(lambda: answers.services.stats["mqtt"].failed == 1)
        answers.services.submit(publish("kept"))
        broker.signal(signal.SIGCONT)
        async with listening(broker) as heard:
            assert (await answers.of("kept"))[0].ok
            await until(lambda: heard)
    assert {orjson.loads(content)["n"] for content in heard} <= {"kept", "live"}


async def test_it_ends_at_once_although_the_broker_is_hung(broker: Broker, working: Working) -> None:
    try:
        async with working(mqtt=service(broker, timeout_s=60)) as answers:
            answers.services.submit(publish("before"))
            await answers.of("before")
            broker.signal(signal.SIGSTOP)
            answers.services.submit(publish("never"))
            await asyncio.sleep(0)
    finally:
        broker.signal(signal.SIGCONT)
    assert "never" not in answers.by_call, "and the fixture has waited for the end"


async def test_two_gateways_on_hosts_of_one_name_do_not_throw_one_another_out(broker: Broker, working: Working) -> None:
    with capture_logs() as logs:
        async with working(mqtt=service(broker)) as one, working(mqtt=service(broker)) as other:
            for i in range(5):
                one.services.submit(publish(f"a{i}"))
                other.services.submit(publish(f"b{i}"))
                await one.of(f"a{i}")
                await other.of(f"b{i}")
    assert logs == []
