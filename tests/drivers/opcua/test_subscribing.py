"""How variables are watched: deadband, queue, one item per variable, and reading instead where that is refused."""

from __future__ import annotations

import asyncio
from typing import Any

from edgeflow.driver import Column
from edgeflow.model import BAD, UNCERTAIN
from edgeflow.testing.relay import until
from edgeflow_opcua import Device
from edgeflow_opcua import watch as watch_module
from edgeflow_opcua.binary import Published
from edgeflow_opcua.item import items_of
from edgeflow_opcua.server import Server
from edgeflow_opcua.subscription import Inbox
from edgeflow_opcua.watch import Watch
from tests.drivers.opcua.pushed import DEVICE, Pushed, opened, point, watching

FAST = {"heartbeat": "200 ms", "publishing_interval": "50 ms"}


async def test_a_change_within_the_deadband_is_not_sent(press: Any) -> None:
    pushed = Pushed()
    points = [point("Double", deadband=0.5), point("Double", deadband=0)]
    async with opened(press) as session, watching(session, points, pushed):
        await until(lambda: pushed.values == {0: 0.1, 1: 0.1}, "both are pushed")
        for value in (0.3, 0.4, 5.0):
            press.tell("set", "Double", value=value)
            await until(lambda value=value: pushed.values[1] == value, "every change is sent to the other")
        await until(lambda: pushed.values[0] == 5.0, "a large change is sent")
    press.tell("set", "Double", value=0.1)
    assert pushed.of(0) == [0.1, 5.0]


async def test_a_server_without_that_deadband_sends_every_change(press: Any) -> None:
    press.tell("no_filters", value=True)
    pushed = Pushed()
    async with opened(press) as session, watching(session, [point("Double", deadband="2 %")], pushed):
        await until(lambda: pushed.values == {0: 0.1}, "it is pushed all the same")
    press.tell("no_filters", value=False)
    assert pushed.faults == {0: None}


async def test_a_queue_brings_every_change_in_order(press: Any) -> None:
    pushed = Pushed()
    device = Device.model_validate({"heartbeat": "200 ms", "publishing_interval": "500 ms", "queue": 50})
    async with opened(press) as session, watching(session, [point("Count", type="integer")], pushed, device):
        await until(lambda: pushed.values, "it is pushed")
        press.tell("run", values=list(range(1, 41)))
        await until(lambda: pushed.values == {0: 40}, "the last is pushed")
    assert pushed.of(0)[-40:] == list(range(1, 41))


async def test_points_on_the_same_variable_share_one_item_and_come_in_one_column(press: Any) -> None:
    points = {0: point("Position", field="X"), 1: point("Double"), 2: point("Position", field="Y")}
    async with opened(press) as session:
        node = {index: session._wire.node_id(one.node) for index, one in points.items()}
        items = items_of(DEVICE, points, node, {}, session._server.types)
    assert [item.indices for item in items] == [(0, 2), (1,)]


async def test_an_overflow_bit_makes_a_value_uncertain_with_the_reason(press: Any) -> None:
    columns: list[Column] = []
    async with opened(press) as session:
        watch = Watch(session._server, DEVICE, [point("Double")], columns.append)
        (item,) = items_of(DEVICE, {0: point("Double")}, {0: session._wire.node_id("i=1")}, {}, session._server.types)
        watch._things[0] = item
        await watch._take(Published(0, changes=[(0, 2.5, 0x0480, 10**18)]))
    assert [(list(column.values), column.faults) for column in columns] == [
        ([2.5], {0: (UNCERTAIN, "values before it were lost: the server's queue was full")})
    ]


async def test_polling_pushes_what_changes_and_names_what_is_refused(press: Any) -> None:
    device = Device.model_validate({**FAST, "mode": "poll", "sampling_interval": "50 ms"})
    points = [point("Double"), point("Nothing"), point("Job", field="Target.X")]
    pushed = Pushed()
    async with opened(press) as session, watching(session, points, pushed, device):
        await until(lambda: pushed.values == {0: 0.1, 1: None, 2: 1.5}, "all are pushed")
        press.tell("set", "Double", value=0.7)
        await until(lambda: pushed.values[0] == 0.7, "a change is pushed")
        press.tell("set", "Double", value=0.1)
        await until(lambda: pushed.values[0] == 0.1, "and the next")
    assert pushed.faults[1] == (BAD, "BadNodeIdUnknown")
    assert pushed.of(2) == [1.5], "what does not change is not pushed again"


async def test_where_subscriptions_are_refused_values_are_read_instead_and_that_is_said_once(
    press: Any, caplog: Any, capsys: Any
) -> None:
    press.tell("no_subscriptions")
    pushed = Pushed()
    device = Device.model_validate(FAST)
    async with (
        opened(press) as session,
        watching(session, [point("Double"), point("Byte", type="integer")], pushed, device),
    ):
        await until(lambda: pushed.values == {0: 0.1, 1: 250}, "they are pushed")
        press.tell("set", "Double", value=0.7)
        await until(lambda: pushed.values[0] == 0.7, "a change is pushed")
    said = capsys.readouterr().out + caplog.text
    assert said.count("the server does not let us subscribe; reading instead") == 1


async def test_a_path_that_appears_later_is_picked_up(press: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(watch_module, "_TRY_REFUSED_AGAIN_S", 0.2)
    pushed = Pushed()
    points = [point(path="/Objects/2:Press/2:Later"), point("Later"), point("Double")]
    async with opened(press) as session:
        server: Server = session._server
        watch = Watch(server, DEVICE, points, pushed)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(watch.run())
            await until(lambda: len(pushed.values) == 3 and pushed.values[2] == 0.1, "the others are pushed")
            await until(lambda: len(pushed.of(0)) >= 3, "it is tried again and again")
            assert len(watch._things) == 1, "what is refused is not kept"
            press.tell("add", "Later", value=4.5)
            await until(lambda: pushed.values == {0: 4.5, 1: 4.5, 2: 0.1}, "the new node is pushed")
            task.cancel()


async def test_a_large_device_may_change_several_times_while_it_is_busy_and_nothing_is_lost() -> None:
    inbox = Inbox()
    inbox.things = 20_000
    for number in range(100):
        inbox.put(Published(1, changes=[(handle, number, 0, 0) for handle in range(1000)], news=True))
    assert [(await inbox.get()).gap for _ in range(100)] == [False] * 100


async def test_what_waits_for_a_device_has_a_bound_and_what_does_not_fit_is_a_gap() -> None:
    inbox = Inbox()
    for number in range(100):
        inbox.put(Published(1, changes=[(handle, number, 0, 0) for handle in range(1000)], news=True))
    left = [await inbox.get() for _ in range(49)]
    assert [one.gap for one in left] == [True, *[False] * 48]
    assert left[-1].changes[0][1] == 99
