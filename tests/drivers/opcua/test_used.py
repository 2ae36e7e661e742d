"""Every setting is used: each changes something that can be seen, in what the server is asked or in what is shown."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import pytest
from asyncua import ua
from pydantic import BaseModel

from edgeflow.testing.relay import until
from edgeflow_opcua import Device, Link, Point
from edgeflow_opcua.wire import Wire
from tests.drivers.opcua.pushed import PRESS, Pushed, opened, point, read, watching

PRESS_OBJECT = {"object": f"{PRESS}Press"}
WEIGH = {**PRESS_OBJECT, "method": f"{PRESS}Press.Weigh", "output": "unit", "type": "text"}
NODE = f"{PRESS}Double"

SHOWN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "node": ({"node": NODE}, {"node": f"{PRESS}Float"}),
    "path": ({"node": f"{PRESS}Press", "path": "/2:Double"}, {"node": f"{PRESS}Press", "path": "/2:Float"}),
    "type": ({"node": f"{PRESS}Mode", "type": "integer"}, {"node": f"{PRESS}Mode", "type": "text"}),
    "index": ({"node": f"{PRESS}Table"}, {"node": f"{PRESS}Table", "index": 1}),
    "field": ({"node": f"{PRESS}Position"}, {"node": f"{PRESS}Position", "field": "X"}),
    "epoch": ({"node": f"{PRESS}DateTime"}, {"node": f"{PRESS}DateTime", "epoch": "s"}),
    "output": ({**WEIGH, "call": "connect", "arguments": [1]},
               {**WEIGH, "call": "connect", "arguments": [1], "output": "at"}),
    "call": (WEIGH, {**WEIGH, "call": "connect", "arguments": [1]}),
    "arguments": ({**WEIGH, "call": "connect"}, {**WEIGH, "call": "connect", "arguments": [1]}),
    "object": ({**WEIGH, "call": "connect", "arguments": [1]},
               {**WEIGH, "call": "connect", "arguments": [1], "object": f"{PRESS}Nothing"}),
    "method": ({**WEIGH, "call": "connect", "arguments": [1]},
               {**WEIGH, "call": "connect", "arguments": [1], "method": f"{PRESS}Press.Select"}),
}  # fmt: skip


@pytest.mark.parametrize("setting", SHOWN)
async def test_each_of_these_settings_of_a_point_changes_what_is_shown(press: Any, setting: str) -> None:
    without, with_it = (point(**one) for one in SHOWN[setting])
    async with opened(press) as session:
        column = await read(session, [without, with_it])
    faults = column.faults or {}
    assert (column.values[0], faults.get(0)) != (column.values[1], faults.get(1))


FAST: dict[str, Any] = {"heartbeat": "200 ms", "publishing_interval": "100 ms"}
PLAIN: dict[str, Any] = {"node": NODE}
EVENTS: dict[str, Any] = {"events": "i=2253"}
ASKED: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "deadband": (PLAIN, {}, {"deadband": 0.5}),
    "sampling_interval": (PLAIN, {}, {"sampling_interval": "70 ms"}),
    "queue": (PLAIN, {}, {"queue": 7}),
    "time": (PLAIN, {}, {"time": "server"}),
    "fields": (EVENTS, {}, {"fields": ["Message"]}),
    "severity": (EVENTS, {}, {"severity": 500}),
    "events": (EVENTS, {}, {"events": f"{PRESS}Press"}),
    "device.mode": (PLAIN, {"mode": "poll"}, {}),
    "device.heartbeat": (PLAIN, {"heartbeat": "1 s"}, {}),
    "device.publishing_interval": (PLAIN, {"publishing_interval": "50 ms"}, {}),
    "device.sampling_interval": (PLAIN, {"sampling_interval": "70 ms"}, {}),
    "device.queue": (PLAIN, {"queue": 7}, {}),
    "device.deadband": (PLAIN, {"deadband": 0.5}, {}),
    "device.time": (PLAIN, {"time": "arrival"}, {}),
}
ELSEWHERE: dict[type[BaseModel], dict[str, str]] = {
    Point: {
        "condition": "test_events.test_a_condition_is_active_until_it_is_gone_and_acked_by_writing",
        "history": "test_history.test_only_those_that_ask_for_it_and_nothing_where_nobody_does",
        "verify": "test_written.test_a_server_that_takes_a_value_and_holds_another_is_told",
    },
    Device: {
        "history": "test_history.test_only_those_that_ask_for_it_and_nothing_where_nobody_does",
        "verify": "test_written.test_it_is_waited_for_as_long_as_the_device_says",
    },
    Link: {
        "url": "test_secured_servers.test_every_policy_and_mode_serves_every_kind_of_user",
        "urls": "test_redundancy.test_the_better_one_of_two_degraded_servers_is_used",
        "security": "test_security.test_what_is_written_is_what_is_used",
        "mode": "test_security.test_what_is_written_is_what_is_used",
        "user": "test_secured_servers.test_every_policy_and_mode_serves_every_kind_of_user",
        "password": "test_secured_servers.test_a_refused_user_is_told_so",
        "password_in_clear": "test_security.test_a_password_in_clear_is_sent_where_it_is_allowed_by_name",
        "user_certificate": "test_secured_servers.test_every_policy_and_mode_serves_every_kind_of_user",
        "user_key": "test_security.test_the_certificate_and_key_of_a_user_must_fit",
    },
}


async def asked(press: Any, device: dict[str, Any], one: dict[str, Any], heard: list[Any]) -> list[str]:
    """How the server is asked to watch it, or that it is read instead; what is asked for in any case is left out."""
    heard.clear()
    pushed = Pushed()
    async with (
        opened(press) as session,
        watching(session, [point(**one)], pushed, Device.model_validate(FAST | device)),
    ):
        await until(lambda: bool(pushed.values), "something is pushed")
    kinds = (ua.CreateSubscriptionRequest, ua.CreateMonitoredItemsRequest)
    wanted = [request.Parameters for request in heard if isinstance(request, kinds)]
    for parameters in wanted:
        if isinstance(parameters, ua.CreateMonitoredItemsParameters):
            parameters.SubscriptionId = ua.IntegerId(0)
    return [repr(parameters) for parameters in wanted]


@pytest.mark.parametrize("setting", ASKED)
async def test_each_of_these_settings_changes_what_the_server_is_asked_for(
    press: Any, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    send = Wire._sent

    def overheard(wire: Wire, request: Any) -> asyncio.Future[Any]:
        heard.append(request)
        return send(wire, request)

    monkeypatch.setattr(Wire, "_sent", overheard)
    one, device, more = ASKED[setting]
    usual, own = await asked(press, {}, one, heard), await asked(press, device, one | more, heard)
    again = await asked(press, {}, one, heard)
    assert usual == again
    assert usual != own


def test_no_setting_is_without_a_test() -> None:
    """A new field has to be put into one of the tables above, or be named there with the test that shows it."""
    tables: dict[type[BaseModel], set[str]] = {
        Point: {*SHOWN, *(name for name in ASKED if "." not in name)},
        Device: {name.partition(".")[2] for name in ASKED if "." in name},
        Link: set(),
    }
    for model, named in ELSEWHERE.items():
        assert tables[model] | named.keys() == set(model.model_fields), model
        for place in named.values():
            module, _, test = place.partition(".")
            assert hasattr(importlib.import_module(f"tests.drivers.opcua.{module}"), test), place
