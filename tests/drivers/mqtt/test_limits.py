"""Brokers that do not say what they cannot do: versions that they do not answer, and how much they take at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from edgeflow.driver import Column, Home
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import BAD
from edgeflow.mqtt.learned import Learned
from edgeflow.mqtt.settings import Broker
from edgeflow.testing.relay import until
from edgeflow_mqtt import DRIVER, Device, Link, Point
from tests.drivers.mqtt.hostile import Odd, connack, odd

DAY_NS = 24 * 3600 * 10**9


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


@asynccontextmanager
async def opened(broker: Odd, home: Home | None = None, within_s: float = 1.0, **more: Any) -> AsyncIterator[Any]:
    link = Link.model_validate({"host": "127.0.0.1", "port": broker.port, "keepalive": "1 s", **more})
    async with DRIVER.open(link, soon(within_s), home or Home()) as session:
        yield session


async def subscribed(broker: Odd, home: Home, points: list[Point], most: int = 20) -> list[Column]:
    """Watches, and again after each lost connection as the shell does, until the broker has taken all it will."""
    pushed: list[Column] = []
    for _ in range(most):
        async with opened(broker, home, within_s=5.0) as session, asyncio.TaskGroup() as group:
            task = group.create_task(_outcome(session, points, pushed))
            while not task.done():
                wanted = {str(point.topic) for point in points}
                taken = {topic for those in broker.subscribes for topic in those if broker.on_subscribe(5, those)}
                left_out = {points[i].topic for column in pushed for i in column.points or ()}
                if taken | left_out >= wanted:
                    task.cancel()
                    return pushed
                await asyncio.sleep(0.01)
    raise AssertionError(f"not subscribed after {most} connections: {broker.subscribes}")


async def _outcome(session: Any, points: list[Point], pushed: list[Column]) -> str:
    try:
        await session.watch(Device(), points, pushed.append)
    except LinkDown as error:
        return str(error)
    return ""


# --- versions -------------------------------------------------------------------------------------------

ODD: dict[str, Callable[[int], bytes | None]] = {
    "is silent": lambda version: None if version == 5 else connack(4),
    "hangs up": lambda version: b"" if version == 5 else connack(4),
    "says 0x01 as 3.1.1 has it": lambda version: b"\x20\x02\x00\x01" if version == 5 else connack(4),
    "says 0x84": lambda version: connack(5, code=0x84) if version == 5 else connack(4),
    "says 0x84 without properties": lambda version: b"\x20\x02\x00\x84" if version == 5 else connack(4),
    "says malformed packet": lambda version: connack(5, code=0x81) if version == 5 else connack(4),
    "says protocol error": lambda version: connack(5, code=0x82) if version == 5 else connack(4),
    "answers garbage": lambda version: b"\x07garbage\xff\xff" if version == 5 else connack(4),
    "answers half a CONNACK": lambda version: b"\x20\x06\x00" if version == 5 else connack(4),
}  # fmt: skip


@pytest.mark.parametrize("how", ODD)
async def test_a_broker_that_does_not_understand_mqtt_5_is_spoken_to_in_the_other_however_it_shows_it(how: str) -> None:
    home = Home()
    async with odd() as broker:
        broker.on_connect = ODD[how]
        with capture_logs() as logs:
            for _ in range(3):
                async with opened(broker, home) as session:
                    assert session.version == "3.1.1"
    assert broker.connects == [5, 4, 4, 4]
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("the broker speaks MQTT 3.1.1", "info")]


async def test_the_newer_version_is_asked_for_again_after_a_day_and_at_once_where_the_other_is_not_answered() -> None:
    home, now = Home(), [10 * DAY_NS]
    learned = Learned(Broker(host="x"), home, lambda: now[0])
    assert learned.spoke("3.1.1")
    assert not learned.spoke("3.1.1")
    assert Learned(Broker(host="x"), home, lambda: now[0]).version == "3.1.1"
    assert Learned(Broker(host="y"), home, lambda: now[0]).version == "5"
    for at_ns in (now[0] + DAY_NS, now[0] - 1):
        now[0] = at_ns
        assert learned.version == "5"
    home = Home()
    async with odd() as broker:
        broker.on_connect = ODD["is silent"]
        async with opened(broker, home):
            pass
        broker.on_connect = lambda version: connack(5) if version == 5 else None
        for _ in range(2):
            async with opened(broker, home) as session:
                assert session.version == "5"
    assert broker.connects == [5, 4, 4, 5, 5]


@pytest.mark.parametrize(("version", "tried"), [("auto", "MQTT 5 and 3.1.1"), ("5", "MQTT 5"), ("3.1.1", "MQTT 3.1.1")])
async def test_a_silent_broker_is_given_up_by_the_deadline_and_the_message_names_the_versions(
    version: str, tried: str
) -> None:
    async with odd() as broker:
        broker.on_connect = lambda _version: None
        begun_s = soon(0)
        with pytest.raises(LinkDown, match=rf"no answer in time; .*\(tried: {tried}\)"):
            async with opened(broker, within_s=0.6, version=version):
                pass
        assert soon(0) - begun_s < 1.5


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x16", "it wants TLS on this port: write `tls`"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a web server answers there"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH server answers there"),
        (b"AMQP\x00\x00\x09\x01", "it speaks AMQP on this port"),
        (b'INFO {"server_id":"x"}\r\n', "it speaks NATS on this port"),
        (b"-ERR unknown command\r\n", "no MQTT broker"),
        (b"220 mail.plant ESMTP\r\n", "a mail or FTP server answers there"),
        (b"\x00\x00\x00\x00", "what is not MQTT"),
    ],
)
async def test_what_answers_instead_of_a_broker_is_named(first: bytes, words: str) -> None:
    async with odd() as server:
        server.on_connect = lambda _version: first
        with pytest.raises(LinkDown, match=words):
            async with opened(server):
                pass


# --- how much at once -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "topics"), [(8, 12), (1, 5), (20, 100), (3, 250)])
async def test_a_broker_that_ends_the_connection_at_too_many_topics_is_asked_for_fewer_and_that_is_remembered(
    limit: int, topics: int
) -> None:
    home, points = Home(), [Point(topic=f"t/{i}") for i in range(topics)]
    async with odd() as broker:
        broker.on_subscribe = lambda _version, filters: [1] * len(filters) if len(filters) <= limit else None
        await subscribed(broker, home, points)
        broker.subscribes.clear()
        pushed = await subscribed(broker, home, points)
        assert max(map(len, broker.subscribes)) <= limit
        assert sorted(topic for those in broker.subscribes for topic in those) == sorted(
            f"t/{i}" for i in range(topics)
        )
        assert pushed == []


async def test_the_person_is_told_what_ended_the_connection() -> None:
    points = [Point(topic=f"t/{i}") for i in range(12)]
    async with odd() as broker:
        broker.on_subscribe = lambda _version, _filters: None
        async with opened(broker) as session:
            told = await _outcome(session, points, [])
    assert "it ended the connection when asked for 12 topics at once; from now on at most 6" in told


async def test_the_topic_at_which_a_broker_ends_the_connection_is_left_out_and_said_and_the_others_go_on() -> None:
    home, points = Home(), [Point(topic=f"t/{i}") for i in range(10)]
    async with odd() as broker:
        broker.on_subscribe = lambda _version, filters: None if "t/4" in filters else [1] * len(filters)
        (column,) = await subscribed(broker, home, points)
    assert column.points == (4,)
    quality, reason = (column.faults or {})[0]
    assert quality is BAD
    assert "refuses the subscription to t/4: it ends the connection when asked for this topic" in reason


async def test_a_topic_that_was_left_out_is_asked_for_again_when_it_has_been_long_enough() -> None:
    home, points = Home(), [Point(topic="a"), Point(topic="secret")]
    async with odd() as broker:
        learned = Learned(Broker(host="127.0.0.1", port=broker.port), home)
        for _ in range(3):
            learned.ended_at(["secret"])
        async with opened(broker, home) as session, asyncio.TaskGroup() as group:
            task = group.create_task(session.watch(Device(), points, lambda column: None))
            await until(lambda: broker.subscribes == [["a"]], "the other is asked for")
            (name,) = home.names("broker/")
            known = orjson.loads(home.get(name) or b"")
            home.put(name, orjson.dumps(known | {"ended_ns": known["ended_ns"] - DAY_NS}))
            await until(lambda: len(broker.subscribes) == 2, "it is asked for again")
            task.cancel()
    assert sorted(broker.subscribes[1]) == ["a", "secret"]


async def test_a_topic_is_asked_for_again_by_the_next_process_and_after_a_day() -> None:
    home, now = Home(), [10 * DAY_NS]
    learned = Learned(Broker(host="x"), home, lambda: now[0])
    for _ in range(3):
        assert learned.left_out == frozenset()
        learned.ended_at(["secret"])
    assert learned.left_out == {"secret"}
    now[0] += DAY_NS
    assert learned.left_out == frozenset()
    learned.ended_at(["secret"])
    learned.took(["secret"])
    learned.ended_at(["secret"])
    learned.ended_at(["secret"])
    assert learned.left_out == frozenset(), "three times in a row"


@pytest.mark.parametrize("kept", [b"", b"nonsense", b"[1]", b'{"filters": "x", "version": 7, "version_ns": "y"}'])
def test_what_was_kept_badly_counts_as_not_known(kept: bytes) -> None:
    home = Home()
    home.put("broker/x-1883", kept)
    learned = Learned(Broker(host="x"), home)
    assert (learned.version, learned.at_once, learned.left_out) == ("5", 100, frozenset())


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x87, "Not authorized; its access list must allow us to read there"),
        (0x8F, "Topic filter invalid"),
        (0x80, "its access list must allow us to read there"),
        (0x97, "Quota exceeded; it allows no more subscriptions"),
        (0xA2, "write every topic by itself"),
    ],
)
async def test_a_topic_that_a_broker_refuses_is_said_and_the_others_go_on(code: int, words: str) -> None:
    pushed: list[Column] = []
    points = [Point(topic="a"), Point(topic="b"), Point(topic="c")]
    async with odd() as broker:
        broker.on_subscribe = lambda _version, filters: [code if topic == "b" else 1 for topic in filters]
        async with opened(broker) as session, asyncio.TaskGroup() as group:
            task = group.create_task(session.watch(Device(), points, pushed.append))
            await until(lambda: pushed, "it is told")
            broker.publish("c", b"5", 5)
            await until(lambda: len(pushed) == 2, "the others go on")
            task.cancel()
    assert (pushed[0].points, pushed[1].points, pushed[1].values) == ((1,), (2,), [5])
    assert words in (pushed[0].faults or {})[0][1]


async def test_a_broker_that_limits_the_length_of_a_packet_is_asked_in_shorter_ones() -> None:
    points = [Point(topic=f"a/rather/long/topic/{i:03}") for i in range(30)]
    async with odd() as broker:
        broker.on_connect = lambda version: connack(version, properties=b"\x27\x00\x00\x00\x80")  # 128 bytes at most
        sizes: list[int] = []

        def measured(_version: int, filters: list[str]) -> list[int] | None:
            sizes.append(sum(len(topic) + 3 for topic in filters) + 5)
            return [1] * len(filters) if sizes[-1] <= 128 else None

        broker.on_subscribe = measured
        async with opened(broker) as session, asyncio.TaskGroup() as group:
            task = group.create_task(session.watch(Device(), points, lambda column: None))
            await until(lambda: sum(map(len, broker.subscribes)) == 30, "all are asked for")
            task.cancel()
            with pytest.raises(Rejected, match="takes messages of 128 bytes at most"):
                await session.write(Device(), [Point(set="x", type="text")], ["x" * 200], soon(1))
    assert len(broker.connects) == 1


@pytest.mark.parametrize(
    ("properties", "point", "words"),
    [
        (b"\x24\x01", Point(set="x", qos=2), "takes QoS 1 at most; write `qos: 1`"),
        (b"\x24\x00", Point(set="x"), "takes QoS 0 at most; write `qos: 0`"),
        (b"\x25\x00", Point(set="x", retain=True), "keeps no messages; write `retain: false`"),
    ],
)
async def test_what_a_broker_says_that_it_does_not_take_is_not_sent(
    properties: bytes, point: Point, words: str
) -> None:
    async with odd() as broker:
        broker.on_connect = lambda version: connack(version, properties=properties)
        async with opened(broker) as session:
            with pytest.raises(Rejected, match=words):
                await session.write(Device(), [point], [1], soon(1))
            await session.write(Device(), [Point(set="x", qos=0)], [1], soon(1))
    assert broker.published == [("x", b"1", 0)]


@pytest.mark.parametrize(
    ("code", "words"),
    [(0x87, "Not authorized; its access list must allow us to write there"), (0x97, "Quota exceeded"),
     (0x99, "it wants another payload"), (0x90, "Topic name invalid"), (0x80, "Unspecified error")],
)  # fmt: skip
async def test_why_a_write_is_refused_is_said_in_words(code: int, words: str) -> None:
    async with odd() as broker:
        broker.on_publish = lambda _version, _topic, _payload: code
        async with opened(broker) as session:
            with pytest.raises(Rejected, match=rf"refuses what is published on lamp/set: .*{words}|{words}"):
                await session.write(Device(), [Point(set="lamp/set")], [1], soon(1))


async def test_a_write_that_nobody_gets_is_said_once() -> None:
    async with odd() as broker:
        broker.on_publish = lambda _version, _topic, _payload: 0x10
        with capture_logs() as logs:
            async with opened(broker) as session:
                for _ in range(3):
                    await session.write(Device(), [Point(set="lamp/set")], [1], soon(1))
    assert [(entry["event"], entry.get("topic")) for entry in logs] == [
        ("nobody listens to what is written", "lamp/set")
    ]


async def test_no_more_is_sent_at_once_than_the_broker_takes() -> None:
    async with odd() as broker:
        broker.on_connect = lambda version: connack(version, properties=b"\x21\x00\x01")  # Receive Maximum 1
        async with opened(broker) as session, asyncio.TaskGroup() as group:
            for i in range(20):
                group.create_task(session.write(Device(), [Point(set=f"x/{i}")], [1], soon(5)))
    assert len(broker.published) == 20


async def test_a_message_of_a_hundred_megabytes_is_passed_over_and_the_next_one_counts() -> None:
    pushed: list[Column] = []
    async with odd() as broker:
        with capture_logs() as logs:
            async with opened(broker, version="3.1.1") as session, asyncio.TaskGroup() as group:
                task = group.create_task(session.watch(Device(), [Point(topic="x")], pushed.append))
                await until(lambda: broker.subscribes, "it is subscribed")
                broker.publish("x", bytes(100_000_000))
                broker.publish("x", b"7")
                await until(lambda: pushed, "the next one is pushed", 20)
                task.cancel()
    assert [column.values for column in pushed] == [[7]]
    assert [entry["event"] for entry in logs] == ["a message was too large and was left out"]


async def test_a_client_that_is_thrown_out_without_a_word_is_told_of_its_client_id() -> None:
    async with odd() as broker, opened(broker, client_id="line1", version="3.1.1") as session:
        asyncio.get_running_loop().call_later(0.1, broker.writers[-1].close)
        with pytest.raises(LinkDown, match="does another client use the same `client_id`, line1"):
            await session.watch(Device(), [Point(topic="x")], lambda column: None)
