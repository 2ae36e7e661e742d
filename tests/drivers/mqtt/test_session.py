"""Watching and writing through a real broker: overlapping topics, doubtful payloads, lost connections."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import uvloop

from edgeflow.driver import Column, Home
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import BAD, UNCERTAIN
from edgeflow.testing.relay import until
from edgeflow_mqtt import DRIVER, Device, Link, Point

PATIENCE_S = 20.0
# 2026-11-20T06:00:00Z: 20,777 days of 86,400 s after 1970, and six hours.
SIX_NS = (20_777 * 86_400 + 6 * 3_600) * 10**9


def soon(seconds: float = PATIENCE_S) -> float:
    return asyncio.get_running_loop().time() + seconds


def link(broker: Any, **more: Any) -> Link:
    return Link.model_validate({"host": "127.0.0.1", "port": broker.port, "keepalive": "1 s", **more})


class Pushed:
    """Everything that was pushed."""

    def __init__(self) -> None:
        self.columns: list[Column] = []

    def __call__(self, column: Column) -> None:
        self.columns.append(column)

    def values(self) -> list[tuple[Any, ...]]:
        return [tuple(column.values) for column in self.columns]


@asynccontextmanager
async def opened(broker: Any, **more: Any) -> AsyncIterator[Any]:
    async with DRIVER.open(link(broker, **more), soon(), Home()) as session:
        yield session


@asynccontextmanager
async def watching(session: Any, device: Device, points: list[Point], pushed: Pushed) -> AsyncIterator[None]:
    """Yields once the subscription has been acknowledged, shown by a first message that comes through."""
    canary = f"canary/{secrets.token_hex(4)}"
    seen = Pushed()
    watched = [*points, Point(topic=canary, type="text")]
    own = device.model_copy(update={"base": None})
    assert device.base is None

    def push(column: Column) -> None:
        (seen if column.points == (len(points),) else pushed)(column)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(session.watch(own, watched, push))
        while not seen.columns:
            await session.write(own, [Point(set=canary, type="text")], ["?"], soon())
            await asyncio.sleep(0.01)
        yield
        task.cancel()


@asynccontextmanager
async def speaking(broker: Any) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        yield client


async def test_all_points_of_one_message_come_in_one_column_with_the_devices_time(broker: Any) -> None:
    points = [
        Point(topic="oven/state", path="temperature", time="ts"),
        Point(topic="oven/+", path="state", type="text", time="ts"),
        Point(topic="oven/#", path="zones[1].kw", time="ts"),
        Point(topic="other", path="temperature"),
    ]
    pushed = Pushed()
    message = {"ts": "2026-11-20T08:00:00.25+02:00", "temperature": 180, "state": "holding", "zones": [{}, {"kw": 1.5}]}
    async with opened(broker) as session, speaking(broker) as oven, watching(session, Device(), points, pushed):
        await oven.publish("oven/state", json.dumps(message), 1)
        await until(lambda: pushed.columns, "the message is pushed")
    assert pushed.columns[0] == Column([180, "holding", 1.5], SIX_NS + 250_000_000, None, (0, 1, 2))


async def test_a_broken_payload_is_bad_with_a_reason_and_the_next_one_is_good(broker: Any) -> None:
    points = [Point(topic="press", path="good", type="integer"), Point(topic="press", type="text")]
    pushed = Pushed()
    async with opened(broker) as session, speaking(broker) as press, watching(session, Device(), points, pushed):
        for payload in (
            b'{"good": 1',
            b'{"bad": 1}',
            b'{"good": 1.5}',
            b'{"good": null}',
            b"\xff\xfe",
            b"",
            b'{"good": 2}',
        ):
            await press.publish("press", payload, 1)
        await until(lambda: len(pushed.columns) == 7, "every message is pushed")
    reasons = [(column.faults or {}).get(0, (None, ""))[1] for column in pushed.columns]
    assert [column.values[0] for column in pushed.columns] == [None] * 6 + [2]
    for reason, part in zip(
        reasons, ("not JSON", "no `good`", "1.5 is not a whole", "None is not", "not JSON", "not JSON", ""), strict=True
    ):
        assert part in reason
    assert pushed.columns[1].values[1] == '{"bad": 1}'


@pytest.mark.parametrize(
    ("retained", "first"), [("uncertain", [(5, UNCERTAIN)]), ("good", [(5, None)]), ("ignore", [])]
)
async def test_a_retained_value_is_worth_what_is_set_until_the_device_speaks(
    broker: Any, retained: Any, first: list[Any]
) -> None:
    topic = f"kept/{secrets.token_hex(4)}"
    pushed = Pushed()
    async with speaking(broker) as meter, opened(broker) as session:
        await meter.publish(topic, b"5", 1, retain=True)
        async with watching(session, Device(retained=retained), [Point(topic=topic)], pushed):
            await meter.publish(topic, b"6", 1)
            await until(lambda: pushed.values()[-1:] == [(6,)], "the live value is pushed")
    found = [(column.values[0], (column.faults or {}).get(0, (None,))[0]) for column in pushed.columns]
    assert found == [*first, (6, None)]


async def test_what_the_broker_kept_is_no_sign_of_life_when_a_silent_device_is_watched_again(broker: Any) -> None:
    topic = f"kept/{secrets.token_hex(4)}"
    points = [Point(topic=topic), Point(topic=f"{topic}/canary", type="text")]
    async with opened(broker) as session, speaking(broker) as meter:
        await meter.publish(topic, b"5", 1, retain=True)
        for wanted in ([((0,), [5])], []):
            first = Pushed()
            async with asyncio.TaskGroup() as group:
                task = group.create_task(session.watch(Device(retained="good"), points, first))
                while (1,) not in [column.points for column in first.columns]:
                    await meter.publish(f"{topic}/canary", b"?", 1)
                    await asyncio.sleep(0.01)
                task.cancel()
            assert [(column.points, column.values) for column in first.columns if column.points == (0,)] == wanted


async def test_devices_with_overlapping_topics_share_one_client_and_one_can_leave(broker: Any) -> None:
    hall = f"hall/{secrets.token_hex(4)}"
    exact, wide = Point(topic=f"{hall}/a/state"), Point(topic=f"{hall}/#")
    one, two = Pushed(), Pushed()
    async with opened(broker) as session, speaking(broker) as device:
        await device.publish(f"{hall}/a/state", b"1", 1, retain=True)
        async with watching(session, Device(), [exact], one):
            await until(lambda: one.values()[:1] == [(1,)], "the kept value is pushed")
            await device.publish(f"{hall}/a/state", b"2", 1)
            await until(lambda: one.values()[-1] == (2,), "the live value is pushed")
            async with watching(session, Device(), [wide, exact], two):
                await device.publish(f"{hall}/b/state", b"3", 1)
                await device.publish(f"{hall}/a/state", b"4", 1)
                await until(lambda: two.values()[-1:] == [(4, 4)], "both points have the value, in one column")
                assert (3,) in two.values()
            await device.publish(f"{hall}/a/state", b"5", 1)
            await until(lambda: one.values()[-1] == (5,), "the other device still gets its values")
    # What the broker kept is sent again for the second device; it must not overwrite what the first had heard.
    assert (1,) not in one.values()[1:]
    assert all(column.faults is None for column in one.columns[1:])


async def test_a_refused_subscription_is_bad_and_the_others_go_on(refusing_broker: Any) -> None:
    pushed = Pushed()
    points = [Point(topic="secret/x"), Point(topic="oven/temperature")]
    async with opened(refusing_broker, version="5") as session, watching(session, Device(), points, pushed):
        await session.write(Device(), [Point(set="oven/temperature")], [180.5], soon())
        await until(lambda: len(pushed.columns) == 2, "refusal and value are pushed")
    refused, good = pushed.columns[:2]
    assert (refused.points, refused.values) == ((0,), [None])
    assert refused.faults is not None
    assert refused.faults[0][0] is BAD
    assert "refuses the subscription to secret/x" in refused.faults[0][1]
    assert good == Column([180.5], 0, None, (1,))


async def test_the_oven_is_set_as_it_expects(broker: Any) -> None:
    base = f"plant/{secrets.token_hex(4)}"
    setpoint = Point(topic="state", path="setpoint", set="set", set_path="setpoint")
    async with opened(broker) as session, speaking(broker) as oven:
        await oven.subscribe(f"{base}/set", 1)
        await session.write(Device(base=base), [setpoint, setpoint], [180.5, 200], soon())
        sent = [await anext(oven.messages), await anext(oven.messages)]
    assert [json.loads(message.payload) for message in sent] == [{"setpoint": 180.5}, {"setpoint": 200}]
    assert [message.qos for message in sent] == [1, 1]


async def test_nothing_is_sent_where_one_value_does_not_fit(broker: Any) -> None:
    topic = f"fit/{secrets.token_hex(4)}"
    good, wrong = Point(set=topic), Point(set=topic, type="boolean")
    async with opened(broker) as session, speaking(broker) as other:
        await other.subscribe(topic, 1)
        with pytest.raises(Rejected, match="1 is not true or false"):
            await session.write(Device(), [good, wrong], [1, 1], soon())
        await session.write(Device(), [good], [2], soon())
        assert (await anext(other.messages)).payload == b"2"


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_killed_broker_ends_the_watch_and_a_new_session_works(own_broker: Any, version: str) -> None:
    with pytest.raises(LinkDown, match="the connection was closed"):
        await watch_while(own_broker, own_broker.kill, version=version)
    with pytest.raises(LinkDown, match="refused"):
        await watch_while(own_broker, lambda: None)
    own_broker.start()
    pushed = Pushed()
    async with opened(own_broker) as session, speaking(own_broker) as device:  # noqa: SIM117 - it would not fit
        async with watching(session, Device(), [Point(topic="x")], pushed):
            await device.publish("x", b"1", 1)
            await until(lambda: pushed.values() == [(1,)], "the value is pushed")


async def test_a_hung_broker_is_noticed_without_any_traffic(own_broker: Any) -> None:
    with pytest.raises(LinkDown, match="no answer in time"):
        await watch_while(own_broker, lambda: own_broker.signal(signal.SIGSTOP))


async def test_a_broker_that_hangs_at_the_start_ends_by_the_deadline_and_leaves_nothing(own_broker: Any) -> None:
    before = files()
    own_broker.signal(signal.SIGSTOP)
    for _ in range(3):
        with pytest.raises(LinkDown, match="no answer in time"):
            async with asyncio.timeout(5), DRIVER.open(link(own_broker), soon(0.2), Home()):
                pass
    await until(lambda: len(asyncio.all_tasks()) == 1, "no task is left")
    await until(lambda: files() <= before, "no file descriptor is left")


async def test_a_write_that_is_not_acknowledged_is_link_down_and_closing_does_not_hang(own_broker: Any) -> None:
    large = Point(set="x", type="bytes")
    async with opened(own_broker) as session:
        own_broker.signal(signal.SIGSTOP)
        with pytest.raises(LinkDown):
            await session.write(Device(), [large], [bytes(20_000_000)], soon(0.3))
        async with asyncio.timeout(5):
            with pytest.raises(LinkDown):
                await session.write(Device(), [large], [b""], soon())
    await until(lambda: len(asyncio.all_tasks()) == 1, "no task is left")


async def test_fifty_sessions_leave_no_task_no_socket_and_no_word(own_broker: Any, caplog: Any) -> None:
    async def once() -> None:
        pushed = Pushed()
        async with opened(own_broker) as session, watching(session, Device(), [Point(topic="x")], pushed):
            await session.write(Device(), [Point(set="x")], [1], soon())
            await until(lambda: pushed.columns, "the value is pushed")

    await once()
    await until(lambda: len(asyncio.all_tasks()) == 1, "the first session's tasks end")
    before = files()
    with caplog.at_level(logging.DEBUG):
        for _ in range(50):
            await once()
        for _ in range(3):
            with pytest.raises(LinkDown):
                await watch_while(own_broker, own_broker.kill)
            own_broker.start()
        await until(lambda: len(asyncio.all_tasks()) == 1, "no task is left")
        await until(lambda: files() <= before, "no file descriptor is left")
        gc.collect()
    noise = [record for record in caplog.records if "mqtt" in record.name or "never retrieved" in record.getMessage()]
    assert not noise


def test_it_runs_on_uvloop(broker: Any) -> None:
    async def look() -> list[tuple[Any, ...]]:
        pushed = Pushed()
        async with opened(broker) as session, watching(session, Device(), [Point(topic="uv/loop")], pushed):
            await session.write(Device(), [Point(set="uv/loop")], [1.5], soon())
            await until(lambda: pushed.columns, "the value is pushed")
        return pushed.values()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(look()) == [(1.5,)]


async def watch_while(broker: Any, end: Any, **more: Any) -> None:
    pushed = Pushed()

    async def stop(session: Any) -> None:
        while not pushed.columns:
            await session.write(Device(), [Point(set="x")], [1], soon())
            await asyncio.sleep(0.01)
        end()

    async with asyncio.timeout(PATIENCE_S), opened(broker, **more) as session:
        async with asyncio.timeout(1 + 5):
            await asyncio.gather(session.watch(Device(), [Point(topic="x")], pushed), stop(session))


def files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_broker_that_disconnects_at_once_leaves_no_socket_and_no_word(caplog: Any) -> None:
    async def disconnect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\x20\x02\x00\x00")  # CONNACK
        writer.close()

    server = await asyncio.start_server(disconnect, "127.0.0.1", 0)
    async with server:
        before = files()
        for _ in range(20):
            with pytest.raises(LinkDown):
                async with DRIVER.open(
                    Link(host="127.0.0.1", port=server.sockets[0].getsockname()[1]), soon(), Home()
                ) as session:
                    await session.watch(Device(), (Point(topic="t"),), lambda column: None)
        await until(lambda: files() <= before, "no file descriptor is left")
        gc.collect()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
