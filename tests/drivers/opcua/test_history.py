"""The gap after an outage is filled from the server's own history."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from edgeflow.driver import Home
from edgeflow.testing.relay import until
from edgeflow_opcua import Device
from tests.drivers.opcua.pushed import Pushed, opened, point, watching

HISTORY = Device.model_validate({"heartbeat": "200 ms", "publishing_interval": "50 ms", "history": True})
COUNT = point("Count", type="integer")


async def listened(press: Any, home: Home, last: int, device: Device = HISTORY, *more: Any) -> Pushed:
    pushed = Pushed()
    async with opened(press, home) as session, watching(session, [COUNT, *more], pushed, device):
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
