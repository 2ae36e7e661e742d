from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

import aiomqtt
import psutil
import pytest

from edgeflow.clock import utc_ns
from edgeflow.errors import EdgeFlowError
from edgeflow.plant.broker import broker
from edgeflow.plant.factory import Factory
from edgeflow.plant.mqtt import OvenDevice

Until = Callable[[Callable[[], bool]], Awaitable[None]]
During = Callable[[Coroutine[Any, Any, None]], AbstractAsyncContextManager[None]]
Sockets = Callable[[int, str], int]


async def payload(client: aiomqtt.Client) -> bytes:
    async with asyncio.timeout(20):
        return bytes((await anext(client.messages)).payload)  # type: ignore[arg-type]


def is_state(text: bytes) -> bool:
    try:
        return "ts" in json.loads(text)
    except ValueError:
        return False


@pytest.mark.parametrize("kind", ["mosquitto", "embedded"])
async def test_the_oven_publishes_and_obeys_through_either_broker(
    live: Factory, during: During, until: Until, kind: Literal["mosquitto", "embedded"]
) -> None:
    async with broker(0, kind) as port:
        oven = OvenDevice("127.0.0.1", port, live)
        async with during(oven.run()), aiomqtt.Client("127.0.0.1", port) as client:
            await client.subscribe("plant/oven/state", qos=1)
            state = json.loads(await payload(client))
            assert state.keys() == {"ts", "temperature", "setpoint", "power", "state"}
            assert (state["setpoint"], state["power"], state["state"]) == (180.0, 24.0, "heating")
            assert live.start_ns < utc_ns(state["ts"]) <= live.now()
            for nonsense in (
                "{",
                '{"setpoint": "hot"}',
                "[]",
                "7",
                "[" * 9000,
                '{"setpoint": 1' + "0" * 400 + "}",
                '{"setpoint": 9999}',
            ):
                await client.publish("plant/oven/set", nonsense, qos=1)
            await client.publish("plant/oven/set", '{"setpoint": 120}', qos=1)
            await until(lambda: live.oven.setpoint_c == 120)
            async with asyncio.timeout(20):
                while json.loads(await payload(client))["setpoint"] != 120:
                    pass


async def test_the_oven_garbles_and_disconnects_on_request(
    live: Factory, during: During, until: Until, sockets: Sockets
) -> None:
    async with broker(0) as port:
        oven = OvenDevice("127.0.0.1", port, live)
        async with during(oven.run()), aiomqtt.Client("127.0.0.1", port) as client:
            await client.subscribe("plant/oven/state", qos=1)
            assert is_state(await payload(client))
            await oven.begin("garble")
            # One good message may already have been under way.
            assert sum([is_state(await payload(client)) for _ in range(4)]) <= 1
            await oven.end("garble")
            await oven.begin("drop")
            await until(lambda: sockets(port, psutil.CONN_ESTABLISHED) == 1)
            await oven.end("drop")
            await until(lambda: sockets(port, psutil.CONN_ESTABLISHED) == 2)


async def test_a_silent_oven_stays_connected_and_heeds_nobody(
    live: Factory, during: During, until: Until, sockets: Sockets
) -> None:
    async with broker(0) as port:
        oven = OvenDevice("127.0.0.1", port, live)
        await oven.begin("hang")
        async with during(oven.run()), aiomqtt.Client("127.0.0.1", port) as client:
            await client.subscribe("plant/oven/#", qos=1)
            await until(lambda: sockets(port, psutil.CONN_ESTABLISHED) == 2)
            for i in range(3):
                await client.publish("plant/oven/set", '{"setpoint": 99}', qos=1)
                assert json.loads(await payload(client)) == {"setpoint": 99}, f"something else came before {i}"
                await asyncio.sleep(0.5)
            assert live.oven.setpoint_c == 180.0
            await oven.end("hang")
            assert is_state(await payload(client))


async def test_the_oven_comes_back_after_its_broker(live: Factory, during: During) -> None:
    async with broker(0) as port:
        pass
    oven = OvenDevice("127.0.0.1", port, live)
    async with during(oven.run()), broker(port) as again, aiomqtt.Client("127.0.0.1", again) as client:
        assert again == port
        await client.subscribe("plant/oven/state", qos=1)
        assert is_state(await payload(client))


async def test_a_broker_takes_another_port_where_its_own_is_taken() -> None:
    async with broker(0) as first, broker(first) as second:
        assert first != second
        async with aiomqtt.Client("127.0.0.1", second) as client:
            await client.publish("a", "b", qos=1)


async def test_a_missing_broker_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeflow.plant.broker.mosquitto_path", lambda: None)
    monkeypatch.setattr("edgeflow.plant.broker.find_spec", lambda name: None)
    for kind, words in (("mosquitto", "mosquitto is not installed"), ("auto", "amqtt as requirements.txt")):
        with pytest.raises(EdgeFlowError, match=words):
            async with broker(0, kind):  # type: ignore[arg-type]
                pass
