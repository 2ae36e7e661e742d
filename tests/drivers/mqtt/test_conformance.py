"""The MQTT driver against the conformance suite of all drivers."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

import aiomqtt
import pytest

from edgeflow.model import Scalar
from edgeflow.testing.drivers import Capability, Check, Relay, Rig, Subject, checks
from edgeflow_mqtt import DRIVER, Device, Link, Point

CAN: frozenset[Capability] = frozenset({"watch", "write", "browse"})
KINDS: tuple[Any, ...] = ("number", "integer", "boolean", "text", "bytes")

OVEN = {"temperature": 180.5, "on": True, "phases": [1, 2]}


@asynccontextmanager
async def rig(broker: Any, version: Literal["3.1.1", "5"]) -> AsyncIterator[Rig]:
    base = f"test/{secrets.token_hex(4)}"
    heard: dict[str, bytes] = {}

    class Listener:
        """Another client, which sees what is published and speaks for the device."""

        def __init__(self, client: aiomqtt.Client) -> None:
            self.client = client

        async def change(self, index: int, value: Scalar) -> None:
            await self.client.publish(f"{base}/oven", json.dumps({**OVEN, "temperature": value}), 1)

        async def held(self, index: int) -> Scalar:
            while len(self.client.messages):
                message = await anext(self.client.messages)
                heard[message.topic.value] = bytes(message.payload)
            payload = heard.get(f"{base}/{KINDS[index]}/set", b"null")
            if KINDS[index] == "bytes":
                return payload
            value: Scalar = payload.decode() if KINDS[index] == "text" else json.loads(payload)
            return value["deep"]["value"] if isinstance(value, dict) else value

    async with Relay("127.0.0.1", broker.port) as relay, aiomqtt.Client("127.0.0.1", broker.port) as client:
        await client.subscribe(f"{base}/#", 1)
        await client.publish(f"{base}/oven", json.dumps(OVEN), 1, retain=True)
        await client.publish(f"{base}/count", b"7", 1, retain=True)
        listener = Listener(client)
        points = [
            Point(topic="number", set="number/set"),
            Point(topic="integer", type="integer", set="integer/set", set_path="deep.value"),
            Point(topic="boolean", type="boolean", set="boolean/set"),
            Point(topic="text", type="text", set="text/set"),
            Point(type="bytes", set="bytes/set"),
        ]
        yield Rig(
            link=Link.model_validate({"host": "127.0.0.1", "port": relay.port, "keepalive": "1 s", "version": version}),
            device=Device(base=base, retained="good"),
            relay=relay,
            known=(
                (Point(topic="oven", path="temperature"), 180.5),
                (Point(topic="oven", path="on", type="boolean"), True),
                (Point(topic="oven", path="phases[1]", type="integer"), 2),
                (Point(topic="count", type="integer"), 7),
            ),
            other=200.25,
            change=listener.change,
            refused=Point(topic="oven", path="humidity"),
            writes=tuple(zip(points, (21.5, 3, True, "auto", b"\x00\xff"), strict=True)),
            held=listener.held,
            refused_write=(Point(topic="number"), 1.0),
            silence_s=1.0,
        )


SUBJECT = Subject(DRIVER, partial(rig, None, "3.1.1"), CAN)


@pytest.mark.parametrize("version", ["3.1.1", "5"])
@pytest.mark.parametrize("check", checks(SUBJECT), ids=lambda check: check.__name__)
async def test_the_driver_keeps_the_contract(check: Check, version: Any, broker: Any) -> None:
    await check(Subject(DRIVER, partial(rig, broker, version), CAN))
