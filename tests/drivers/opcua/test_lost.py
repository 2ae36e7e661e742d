"""What gets lost between the server and us comes again or is read anew: nothing stays as it was before the loss."""

from __future__ import annotations

from typing import Any

import pytest

from edgeflow.driver import Column
from edgeflow.model import UNCERTAIN
from edgeflow.testing.relay import until
from edgeflow_opcua import Point
from edgeflow_opcua.binary import Published
from edgeflow_opcua.item import items_of
from edgeflow_opcua.watch import Watch
from tests.drivers.opcua.loss import lossy
from tests.drivers.opcua.pushed import DEVICE, PRESS, Pushed, opened, point, watching

LOST = (UNCERTAIN, "values before it were lost on the way")


async def begun(pushed: Pushed, count: int) -> None:
    await until(lambda: len(pushed.values) == count, "all are pushed")


@pytest.mark.parametrize("server", ["press", "node"])
async def test_a_lost_change_is_sent_again_though_nothing_changes_after_it(request: Any, server: str) -> None:
    there = request.getfixturevalue(server)
    name = "Double" if server == "press" else "One"
    one = point(name) if server == "press" else Point(node="ns=1;s=Filler.One")
    pushed = Pushed()
    async with lossy(there) as (loss, seen), opened(seen) as session, watching(session, [one], pushed):
        await begun(pushed, 1)
        loss.wanted = 1
        there.tell("set", node=name, value=7.5)
        await until(lambda: pushed.values == {0: 7.5}, "the lost change is pushed")
        there.tell("set", node=name, value=8.5)
        await until(lambda: pushed.values == {0: 8.5}, "and the next one")
    assert len(loss.lost) == 1
    assert pushed.of(0)[1:] == [7.5, 8.5], "each of them once"
    assert pushed.faults == {0: None}


async def test_a_keep_alive_alone_is_no_gap_and_only_what_is_missing_is_asked_for(press: Any) -> None:
    pushed = Pushed()
    async with lossy(press) as (loss, seen), opened(seen) as session, watching(session, [point("Double")], pushed):
        await begun(pushed, 1)
        press.tell("count_republish")
        for loss.number in (0, 1, None):  # some servers give none, or that of their last message
            before = loss.kept_alive
            await until(lambda before=before: loss.kept_alive >= before + 2, "the server says that it lives")
        assert press.tell("republished") == []
        loss.wanted = 1
        press.tell("set", "Double", value=1.5)
        await until(lambda: pushed.values == {0: 1.5}, "the lost change is pushed")
        assert press.tell("republished") == loss.lost
    assert pushed.of(0) == [0.1, 1.5]


@pytest.mark.parametrize("say", [True, False], ids=["refuses", "empty message"])
async def test_what_the_server_does_not_keep_is_read_anew(press: Any, say: bool) -> None:
    points = [point("Double"), point("Float"), point(condition=f"{PRESS}Press.Hot")]
    pushed = Pushed()
    press.tell("no_republish", say=say)
    async with lossy(press) as (loss, seen), opened(seen) as session, watching(session, points, pushed):
        await until(lambda: pushed.values == {0: 0.1, 1: 0.5, 2: False}, "all are pushed")
        loss.wanted = 1
        press.tell("set", "Double", value=7.5)
        await until(lambda: pushed.values[0] == 7.5, "it is read after a keep-alive")
        loss.wanted = 1
        press.tell("alarm", "Hot", active=True, acked=False)
        await until(lambda: len(loss.lost) == 2, "the event is lost")
        press.tell("set", "Float", value=1.5)
        await until(lambda: pushed.values == {0: 7.5, 1: 1.5, 2: True}, "the alarm is asked for")
        await until(lambda: set(pushed.faults.values()) == {None}, "all of it is known again")
    faults = [one.faults for one in pushed.columns if one.points == (1,) and list(one.values) == [1.5]]
    assert {0: LOST} in faults, "the first that comes after the gap says so"


async def test_what_was_on_its_way_while_it_was_read_anew_does_not_bring_a_value_back(press: Any) -> None:
    columns: list[Column] = []
    long_ago, long_hence = 10**18, 2 * 10**18
    async with opened(press) as session:
        watch = Watch(session._server, DEVICE, [point("Double")], columns.append)
        node = session._wire.node_id(point("Double").node)
        (watch._things[0],) = items_of(DEVICE, {0: point("Double")}, {0: node}, {}, session._server.types)
        await watch._take(Published(0, changes=[(0, 3.5, 0, long_ago)], gap=True))
        await watch._take(Published(0, changes=[(0, 4.5, 0, long_ago)]))
        await watch._take(Published(0, changes=[(0, 5.5, 0, long_hence)]))
    assert [list(column.values) for column in columns] == [[3.5], [0.1], [5.5]]
    assert [column.faults for column in columns] == [{0: LOST}, None, None]
