"""The gap after an outage is filled from the server's own history."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from edgeflow.driver import Home
from edgeflow.testing.relay import until
from edgeflow_opcua import Device, Point
from edgeflow_opcua import history as history_module
from tests.drivers.opcua.pushed import Pushed, opened, point, watching

HISTORY = Device.model_validate({"heartbeat": "200 ms", "publishing_interval": "50 ms", "history": True})
COUNT = point("Count", type="integer")
SCRAP = point("Scrap", type="integer")
NODE_COUNT = Point(node="ns=1;s=Filler.Count", type="integer")


async def listened(
    server: Any, home: Home, last: int, device: Device = HISTORY, *more: Any, count: Point = COUNT
) -> Pushed:
    pushed = Pushed()
    async with opened(server, home) as session, watching(session, [count, *more], pushed, device):
        await until(lambda: pushed.values.get(0) == last, "the present value is pushed")
        await until(lambda: len(pushed.values) == 1 + len(more), "all are pushed")
    return pushed


async def test_what_came_in_between_is_pushed_late_in_order_and_once(press: Any) -> None:
    home = Home()
    press.tell("run", values=[1, 2, 3])
    first = await listened(press, home, 3)
    assert first.late == [], "at the first start there is no gap"
    press.tell("run", values=list(range(4, 3004)))
    second = await listened(press, home, 3003)
    values = [value for column in second.late for value in column.values]
    times = [column.source_ns for column in second.late]
    assert values == list(range(4, 3004))
    assert times == sorted(times)
    assert [b - a for a, b in pairwise(times)] == [10_000] * 2999
    third = await listened(press, home, 3003)
    assert third.late == [], "what was pushed before is not pushed again"


async def test_only_those_that_ask_for_it_and_nothing_where_nobody_does(press: Any) -> None:
    home = Home()
    press.tell("run", values=[1])
    without = Device.model_validate({"heartbeat": "200 ms", "publishing_interval": "50 ms"})
    await listened(press, home, 1, without)
    press.tell("run", values=[2, 3])
    assert (await listened(press, home, 3, without)).late == []
    assert home.names("history/") == []


async def test_a_server_without_history_is_no_fault(press: Any) -> None:
    home = Home()
    press.tell("run", values=[1])
    await listened(press, home, 1, HISTORY, point("Double"))
    press.tell("no_history")
    press.tell("run", values=[2, 3])
    pushed = await listened(press, home, 3, HISTORY, point("Double"))
    assert pushed.late == []
    assert set(pushed.faults.values()) == {None}


def late(pushed: Pushed, index: int) -> list[Any]:
    """What came late of one point, in the order in which it came."""
    return [
        value
        for column in pushed.late
        for i, value in zip(column.points or (), column.values, strict=True)
        if i == index
    ]


@pytest.mark.parametrize(
    ("most", "forget"),
    [(10, False), (1, False), (10, True)],
    ids=["enough points", "one continuation point at a time", "a continuation point is forgotten"],
)
async def test_a_history_in_pages_comes_as_a_whole_in_order_and_once(press: Any, most: int, forget: bool) -> None:
    home, both = Home(), ["Count", "Scrap"]
    press.tell("run", values=[1, 2, 3], nodes=both)
    await listened(press, home, 3, HISTORY, SCRAP)
    press.tell("run", values=list(range(4, 504)), nodes=both)
    press.tell("pages", size=60, most=most, forget=forget)
    pushed = await listened(press, home, 503, HISTORY, SCRAP)
    assert [late(pushed, 0), late(pushed, 1)] == [list(range(4, 504))] * 2
    times = [column.source_ns for column in pushed.late]
    assert times == sorted(times)
    assert press.tell("held") == [0, 0, False], "the server holds nothing for us any more"


async def test_pages_of_a_server_of_others_come_as_a_whole_in_order_and_once(node: Any) -> None:
    home = Home()
    assert node.url
    node.tell("run", values=[1], since=datetime.now(UTC).isoformat())
    await listened(node, home, 1, count=NODE_COUNT)
    node.tell("run", values=list(range(2, 2502)), since=datetime.now(UTC).isoformat())
    pushed = Pushed()
    async with opened(node, home) as session, watching(session, [NODE_COUNT], pushed, HISTORY):
        await until(lambda: pushed.values.get(0) == 2501, "the present value is pushed")
        assert node.tell("held") == [0], "it holds nothing for our session any more"
    assert late(pushed, 0) == list(range(2, 2502))


async def test_where_reading_is_given_up_the_server_need_not_remember_us(press: Any, monkeypatch: Any) -> None:
    home = Home()
    press.tell("run", values=[1, 2, 3])
    await listened(press, home, 3)
    press.tell("run", values=list(range(4, 504)))
    press.tell("pages", size=50, most=1, forget=False)
    monkeypatch.setattr(history_module, "_MOST_VALUES", 120)
    pushed = await listened(press, home, 503)
    # More than 120 are three pages of 50, read before subscribing and once more after it. The first page begins
    # with the value that was there before, so each time 149 are new.
    assert late(pushed, 0) == list(range(4, 4 + 2 * 149))
    assert press.tell("held") == [0, 2, False]


async def test_a_watch_that_ends_while_it_reads_lets_the_server_forget_it(press: Any) -> None:
    home = Home()
    press.tell("run", values=[1, 2, 3])
    await listened(press, home, 3)
    press.tell("run", values=list(range(4, 504)))
    press.tell("pages", size=50, most=1, forget=False)
    press.tell("stop_at", page=3)
    async with opened(press, home) as session:
        watch = asyncio.ensure_future(session.watch(HISTORY, [COUNT], Pushed()))
        await until(lambda: press.tell("held")[2], "the third page is asked for")
        watch.cancel()
        press.tell("go_on")
        with suppress(asyncio.CancelledError):
            await watch
        assert press.tell("held")[:2] == [0, 1]
    assert late(await listened(press, home, 503), 0) == list(range(4, 504)), "nothing is taken as read"
