"""Events, and conditions with their acknowledgement."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asyncua import ua

from edgeflow.errors import Rejected
from edgeflow.model import BAD, UNCERTAIN
from edgeflow.testing.relay import until
from edgeflow_opcua import watch as watch_module
from edgeflow_opcua.event import Events
from edgeflow_opcua.structure import Types
from tests.drivers.opcua.pushed import DEVICE, PRESS, Pushed, opened, point, read, soon, watching

EVENTS = point(events="i=2253", fields=["Message", "Severity", "SourceName"], severity=500)
HOT = f"{PRESS}Press.Hot"
FIELDS = ("active", "acked", "severity", "message", "comment", "source")


def fields(condition: str) -> list[Any]:
    return [point(condition=condition, field=name) for name in FIELDS]


async def test_each_event_is_one_text_in_order_and_mild_ones_are_left_out(press: Any) -> None:
    pushed = Pushed()
    async with opened(press) as session, watching(session, [EVENTS], pushed):
        await until(lambda: pushed.values == {0: "{}"}, "nothing has come yet")
        for number in range(200):
            press.tell("event", message=f"event {number}", severity=700 if number % 2 else 100)
        await until(lambda: "event 199" in pushed.values[0], "the last has come")
        assert (await read(session, [EVENTS])).values == [pushed.values[0]]
    texts = [json.loads(text) for text in pushed.of(0)[1:]]
    assert [text["Message"] for text in texts] == [f"event {number}" for number in range(1, 200, 2)]
    assert {(text["Severity"], text["SourceName"]) for text in texts} == {(700, "Press")}
    assert len({text["EventId"] for text in texts}) == 100
    assert all(column.source_ns for column in [column for column in pushed.columns if column.points][1:])


async def test_events_of_one_object_and_a_node_that_has_none(press: Any) -> None:
    points = [point(events="/Objects/2:Press"), point(events=f"{PRESS}Double"), point("Double")]
    pushed = Pushed()
    async with opened(press) as session, watching(session, points, pushed):
        await until(lambda: len(pushed.values) == 3, "all have begun")
        press.tell("event", message="here", severity=1)
        await until(lambda: "here" in pushed.values[0], "the event has come")
    assert json.loads(pushed.values[0]).keys() == {"Time", "SourceName", "Severity", "Message", "EventId"}
    assert pushed.faults[1][0] is BAD
    assert pushed.values[2] == 0.1


async def test_more_events_than_the_servers_queue_holds_are_told(filler: Any) -> None:
    # What an overflow looks like on the wire: an event of its own type, from the server itself.
    async with opened(filler) as session:
        one = Events(ua.NodeId(2253), 0, EVENTS, Types(session._wire))
        overflow = [ua.LocalizedText("overflow"), 1, "Server", b"\x01", ua.NodeId(3035), None, 1]
        (column,) = one.columns(overflow)
    assert column.faults == {0: (UNCERTAIN, "events before this one were lost: the server's queue was full")}


async def test_a_condition_is_active_until_it_is_gone_and_acked_by_writing(press: Any) -> None:
    pushed = Pushed()
    points = fields(HOT)
    async with opened(press) as session, watching(session, points, pushed):
        await until(lambda: len(pushed.values) == 6, "the refresh has told the state")
        assert [pushed.values[index] for index in range(6)] == [False, True, 0, "", "", ""]
        press.tell("alarm", "Hot", active=True, acked=False, severity=800, message="too hot")
        await until(lambda: pushed.values[0] is True, "it is active")
        assert [pushed.values[index] for index in range(6)] == [True, False, 800, "too hot", "", "Press"]
        await session.write(DEVICE, [points[1]], [True], soon())
        await until(lambda: pushed.values[1] is True, "it is acknowledged")
        press.tell("alarm", "Hot", active=False, acked=False, severity=800, message="was hot")
        await until(lambda: not pushed.values[0], "it is gone")
        assert pushed.values[1] is False
        await session.write(DEVICE, [points[4]], ["was looked at"], soon())
        await until(lambda: pushed.values[1] is True, "it is acknowledged with a comment")
        await until(lambda: pushed.values[2] == 0, "nobody is needed any more")
        await session.write(DEVICE, [points[1]], [True], soon())
        with pytest.raises(Rejected, match="it cannot be taken back; write true"):
            await session.write(DEVICE, [points[1]], [False], soon())
    assert press.tell("took")[1] == [["Hot", ""], ["Hot", "was looked at"]]


async def test_after_a_reconnect_the_state_is_that_of_the_server(press: Any) -> None:
    press.tell("alarm", "Empty", active=True, acked=False, severity=300, message="empty")
    press.tell("alarm", "Hot", active=True, acked=True, severity=900, message="too hot")
    points = [
        point(condition=HOT), point(condition=HOT, field="acked"), point(condition=f"{PRESS}Press", field="severity"),
        point(condition=f"{PRESS}Press", field="acked"), point(events="i=2253"),
    ]  # fmt: skip
    for wanted in ((True, True, 900, False), (False, True, 300, False)):
        pushed = Pushed()
        async with opened(press) as session, watching(session, points, pushed):
            await until(lambda pushed=pushed: len(pushed.values) == 5, "the refresh has told the state")
            assert tuple(pushed.values[index] for index in range(4)) == wanted
            assert (await read(session, points[:4])).values == list(wanted)
            press.tell("event", message="by itself", severity=1)
            await until(lambda pushed=pushed: pushed.values[4] != "{}", "an event has come")
        assert len(pushed.of(4)) == 2, "a refresh is no news"
        press.tell("alarm", "Hot", active=False, acked=True, severity=900, message="cool")


async def test_a_server_that_cannot_refresh_tells_with_its_next_event(press: Any) -> None:
    press.tell("no_refresh")
    pushed = Pushed()
    async with opened(press) as session, watching(session, [point(condition=HOT)], pushed):
        await until(lambda: pushed.values == {0: None}, "nobody knows")
        assert "not known before its next event" in pushed.faults[0][1]
        with pytest.raises(Rejected, match="no event of it has come yet"):
            await session.write(DEVICE, [point(condition=HOT, field="acked")], [True], soon())
        press.tell("alarm", "Hot", active=True, acked=False, severity=800, message="too hot")
        await until(lambda: pushed.values == {0: True}, "it is known now")


async def test_a_server_that_does_not_end_its_refresh_is_not_waited_for_ever(press: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(watch_module, "_REFRESH_S", 0.1)
    press.tell("endless_refresh")
    pushed = Pushed()
    async with opened(press) as session, watching(session, [point(condition=HOT)], pushed):
        await until(lambda: pushed.values == {0: False}, "what is known is all there is")
