from __future__ import annotations

import asyncio
from typing import Any

import orjson

from edgeflow.model import Record
from edgeflow.sync.live import LiveFeed
from edgeflow.testing.relay import until


class Wire:
    """The sending end of a socket."""

    def __init__(self) -> None:
        self.sent: list[list[dict[str, Any]]] = []

    async def send_frame(self, message: bytes, opcode: object) -> None:
        self.sent.append(orjson.loads(message)["records"])


def value(key: str, n: int) -> Record:
    return Record("oee", key, 1, 1_763_618_400_000_000_000, {"n": n}, status="live")


async def test_only_the_newest_value_of_a_key_is_sent_and_all_of_them_after_a_reconnect() -> None:
    feed, wire, again = LiveFeed(), Wire(), Wire()
    for n in range(100):
        feed.take(value("a", n))
        feed.take(value("b", -n))
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(feed.feed(wire))  # type: ignore[arg-type]
        await until(lambda: wire.sent, "it sends")
        task.cancel()
    assert {item["key"]: item["data"]["n"] for item in wire.sent[0]} == {"a": 99, "b": -99}
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(feed.feed(again))  # type: ignore[arg-type]
        await until(lambda: again.sent, "it sends all again")
        task.cancel()
    assert [item["key"] for item in again.sent[0]] == ["a", "b"]


async def test_it_holds_at_most_two_thousand_keys() -> None:
    feed, wire = LiveFeed(), Wire()
    for n in range(2500):
        feed.take(value(str(n), n))
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(feed.feed(wire))  # type: ignore[arg-type]
        await until(lambda: sum(map(len, wire.sent)) >= 2000, "it sends")
        task.cancel()
    assert [item["key"] for message in wire.sent for item in message] == [str(n) for n in range(500, 2500)]
    assert max(map(len, wire.sent)) <= 200
