"""Why the connection stands on paho and not on aiomqtt (docs/decisions/0012): what aiomqtt does, beside ours."""

from __future__ import annotations

import asyncio
import inspect

import aiomqtt
import pytest
from aiomqtt.client import ProtocolVersion

from edgeflow.driver import Home
from edgeflow.errors import LinkDown, Rejected
from edgeflow_mqtt import DRIVER, Device, Link, Point
from tests.drivers.mqtt.hostile import Odd, odd


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def theirs(broker: Odd, timeout_s: float = 5.0) -> aiomqtt.Client:
    return aiomqtt.Client("127.0.0.1", broker.port, protocol=ProtocolVersion.V5, timeout=timeout_s)


async def test_a_refused_publish_looks_taken_to_aiomqtt_and_is_refused_by_ours() -> None:
    async with odd() as broker:
        broker.on_publish = lambda _version, _topic, _payload: 0x87
        async with theirs(broker) as client:
            await client.publish("x", b"1", qos=1)
        link = Link(host="127.0.0.1", port=broker.port)
        async with DRIVER.open(link, soon(5), Home()) as session:
            with pytest.raises(Rejected, match="Not authorized"):
                await session.write(Device(), [Point(set="x")], [1], soon(5))


@pytest.mark.parametrize(
    ("first", "words"), [(b"", "it hangs up"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a web server")]
)
async def test_who_hangs_up_or_is_no_broker_is_a_time_out_to_aiomqtt_and_is_named_by_ours(
    first: bytes, words: str
) -> None:
    async with odd() as broker:
        broker.on_connect = lambda _version: first
        with pytest.raises(aiomqtt.MqttError, match="timed out"):
            async with theirs(broker, 0.3):
                pass
        begun_s = soon(0)
        with pytest.raises(LinkDown, match=words):
            async with DRIVER.open(Link(host="127.0.0.1", port=broker.port), soon(10), Home()):
                pass
        assert soon(0) - begun_s < 5


def test_aiomqtt_does_not_tell_whether_a_session_was_resumed() -> None:
    assert "session_present" not in inspect.getsource(aiomqtt.client)
