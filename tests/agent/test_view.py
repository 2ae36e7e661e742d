"""The operator's way in, and what the gateway says of itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest

from edgeflow.agent.api import result_bytes
from edgeflow.agent.views import Press, Status
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import Record, Request
from edgeflow.testing.loop import in_virtual_time
from edgeflow.units import NS_PER_S
from tests.agent.conftest import SITE, Folder, Gateway

LIGHT = "nodes: {x: {kind: src, tag: d/x}, light: {kind: light, output: lamp}}\nwires: [x -> light]\n"
CALL = "nodes: {call: {kind: andon_call, machine: press}}\n"


@pytest.fixture
def site(folder: Folder) -> Folder:
    folder.write(SITE + "flows: {light: {flow: t/light}, call: {flow: t/call}}", {"t/light": LIGHT, "t/call": CALL})
    return folder


def with_gateway(work: Any) -> Any:
    @in_virtual_time
    async def run(site: Folder) -> Any:
        async with site.open() as gateway, gateway.run():
            await asyncio.sleep(1.25)
            return await work(site, gateway)

    return run


def write(gateway: Gateway, tag: str, value: Any, lease_s: float = 60) -> Coroutine[Any, Any, Any]:
    return gateway.view.write(tag, value, lease_ns=round(lease_s * NS_PER_S), reason="a test")


def held(gateway: Gateway, output: str) -> dict[str, Any]:
    return {request.owner: dict(request.pattern) for request in gateway.engine.requests.held(output)}


def test_a_written_value_is_with_the_device_and_in_the_audit_when_it_is_confirmed(site: Folder) -> None:
    async def work(site: Folder, gateway: Gateway) -> Any:
        written = await write(gateway, "d/limit", 42.5)
        return written, site.wire.values[4], await gateway.store.audit()

    written, value, audit = with_gateway(work)(site)
    assert (written.tag, written.value, value) == ("d/limit", 42.5, 42.5)
    assert [(entry.who, entry.what, entry.detail) for entry in audit] == [
        ("operator:http", "write d/limit", "d/limit = 42.5: a test")
    ]


def test_an_element_of_a_light_is_held_against_the_flow_until_the_lease_ends(site: Folder) -> None:
    async def work(site: Folder, gateway: Gateway) -> Any:
        seen = [site.wire.values[3]]
        await write(gateway, "d/red", value=False, lease_s=5)
        seen.append(site.wire.values[3])
        await asyncio.sleep(3)
        seen.append(site.wire.values[3])
        await asyncio.sleep(3)
        seen.append(site.wire.values[3])
        return seen

    assert with_gateway(work)(site) == [True, False, False, True]


def test_a_value_the_light_does_not_have_is_refused_with_those_it_has(site: Folder) -> None:
    async def work(_site: Folder, gateway: Gateway) -> Any:
        with pytest.raises(Rejected, match="write one of False, True"):
            await write(gateway, "d/red", 7)
        return held(gateway, "lamp").keys()

    assert with_gateway(work)(site) == {"light/light"}


def test_what_no_output_drives_is_refused(site: Folder) -> None:
    async def work(_site: Folder, gateway: Gateway) -> None:
        with pytest.raises(Rejected, match="say `writable: true` at the tag"):
            await write(gateway, "d/x", 7)

    with_gateway(work)(site)


def test_a_write_the_device_refuses_is_an_error_and_does_not_happen_later(site: Folder) -> None:
    async def work(site: Folder, gateway: Gateway) -> Any:
        site.wire.refused[4] = "locked"
        with pytest.raises(Rejected, match="locked"):
            await write(gateway, "d/limit", 50.0)
        site.wire.refused.clear()
        await asyncio.sleep(10)
        await gateway.conductor.committed()
        return site.wire.values[4], held(gateway, "d/limit"), [e.detail for e in await gateway.store.audit()]

    value, requests, audit = with_gateway(work)(site)
    assert (value, requests) == (0.0, {})
    assert audit == ["failed: d/limit: locked", "d/limit = 50.0: a test"]


def test_a_write_out_of_range_is_refused_and_the_one_before_holds(site: Folder) -> None:
    async def work(site: Folder, gateway: Gateway) -> Any:
        await write(gateway, "d/limit", 10.0)
        with pytest.raises(Rejected, match="outside 0 to 100"):
            await write(gateway, "d/limit", 500.0)
        await asyncio.sleep(2)
        return site.wire.values[4], held(gateway, "d/limit")

    assert with_gateway(work)(site) == (10.0, {"operator:http": {"value": 10.0}})


def test_an_old_failure_is_not_taken_for_that_of_a_new_write(site: Folder) -> None:
    async def work(site: Folder, gateway: Gateway) -> Any:
        site.wire.refused[4] = "locked"
        with pytest.raises(Rejected, match="locked"):
            await write(gateway, "d/limit", 50.0)
        site.wire.refused.clear()
        await write(gateway, "d/limit", 60.0)
        return site.wire.values[4]

    assert with_gateway(work)(site) == 60.0


def test_an_old_success_is_not_taken_for_that_of_a_new_write(site: Folder) -> None:
    async def work(site: Folder, gateway: Gateway) -> Any:
        await write(gateway, "d/limit", 50.0)
        site.wire.hang()
        with pytest.raises(LinkDown):
            await write(gateway, "d/limit", 60.0)
        site.wire.heal()
        await asyncio.sleep(30)
        return site.wire.values[4]

    assert with_gateway(work)(site) == 50.0, "the one that was confirmed is still held"


def test_what_a_person_writes_to_an_ordinary_tag_is_sent_once_whatever_becomes_of_the_link(site: Folder) -> None:
    async def work(site: Folder, gateway: Gateway) -> Any:
        await write(gateway, "d/limit", 11.0)
        site.wire.values[4] = 22.0  # somebody at the machine's panel
        for _ in range(3):
            site.wire.drop("cable pulled")
            await asyncio.sleep(2)
            site.wire.heal()
            await asyncio.sleep(10)
        await asyncio.sleep(60)
        return [pair for pair in site.wire.written() if pair[0] == 4], site.wire.values[4]

    assert with_gateway(work)(site) == ([(4, 11.0)], 22.0)


def test_an_element_of_a_light_that_a_person_holds_is_written_again_after_a_reconnect(site: Folder) -> None:
    async def work(site: Folder, gateway: Gateway) -> Any:
        await write(gateway, "d/red", value=False)
        site.wire.drop("cable pulled")
        site.wire.values[3] = True
        await asyncio.sleep(2)
        site.wire.heal()
        await asyncio.sleep(10)
        return site.wire.values[3]

    assert with_gateway(work)(site) is False


def test_what_a_person_wrote_is_not_sent_again_by_the_next_process(site: Folder) -> None:
    async def work(_site: Folder, gateway: Gateway) -> None:
        await write(gateway, "d/limit", 11.0)

    async def later(site: Folder, _gateway: Gateway) -> Any:
        await asyncio.sleep(5)
        return site.wire.values[4]

    with_gateway(work)(site)
    site.wire.values[4] = 22.0
    assert with_gateway(later)(site) == 22.0


def test_the_same_value_written_again_by_a_person_is_sent_again(site: Folder) -> None:
    async def work(site: Folder, gateway: Gateway) -> Any:
        await write(gateway, "d/limit", 11.0)
        site.wire.values[4] = 22.0
        await write(gateway, "d/limit", 11.0)
        return site.wire.values[4]

    assert with_gateway(work)(site) == 11.0


def test_a_write_without_an_answer_is_sent_once_and_nobody_claims_to_know_what_became_of_it(site: Folder) -> None:
    async def work(site: Folder, gateway: Gateway) -> Any:
        site.wire.hang()
        with pytest.raises(LinkDown, match="nobody knows whether the device took it; reading the tag tells"):
            await write(gateway, "d/limit", 50.0)
        sent = [request for request in site.wire.requests("write") if request.points == (4,)]
        site.wire.heal()
        await asyncio.sleep(30)
        return len(sent), [pair for pair in site.wire.written() if pair[0] == 4]

    assert with_gateway(work)(site) == (1, [(4, 50.0)])


def test_a_light_that_was_written_without_an_answer_is_not_called_unwritten(site: Folder) -> None:
    async def work(site: Folder, gateway: Gateway) -> None:
        site.wire.hang()
        with pytest.raises(LinkDown, match="nobody knows whether the device took it"):
            await write(gateway, "d/red", value=False)

    with_gateway(work)(site)


def test_a_write_that_cannot_be_sent_in_time_has_failed_and_is_not_sent_later(site: Folder) -> None:
    async def work(site: Folder, gateway: Gateway) -> Any:
        site.wire.drop("cable pulled")
        await asyncio.sleep(1)
        with pytest.raises(LinkDown, match=r"d/limit: not written: .*cable pulled"):
            await write(gateway, "d/limit", 50.0)
        site.wire.heal()
        await asyncio.sleep(30)
        return site.wire.values[4], held(gateway, "d/limit")

    assert with_gateway(work)(site) == (0.0, {})


def test_a_write_waits_for_a_device_that_comes_back_in_time(site: Folder) -> None:
    async def work(site: Folder, gateway: Gateway) -> Any:
        site.wire.drop("cable pulled")
        await asyncio.sleep(0.1)
        async with asyncio.TaskGroup() as group:
            group.create_task(write(gateway, "d/limit", 50.0))
            await asyncio.sleep(0.1)
            site.wire.heal()
        return site.wire.values[4]

    assert with_gateway(work)(site) == 50.0


def test_what_a_device_does_not_keep_is_told_after_reading_it_back(site: Folder) -> None:
    class Deaf(dict[int, Any]):
        def __setitem__(self, key: int, value: Any) -> None:
            pass

    async def work(site: Folder, gateway: Gateway) -> Any:
        site.wire.values = Deaf(site.wire.values)
        return await write(gateway, "d/limit", 50.0)

    written = with_gateway(work)(site)
    assert (written.value, written.holds) == (50.0, 0.0)
    assert written.note == "sent 50.0, not yet: after 2 s the device still holds 0.0"


def test_a_device_that_limits_a_value_is_told_with_both(site: Folder) -> None:
    class Limited(dict[int, Any]):
        def __setitem__(self, key: int, value: Any) -> None:
            super().__setitem__(key, min(value, 20.0) if key == 4 else value)

    async def work(site: Folder, gateway: Gateway) -> Any:
        site.wire.values = Limited(site.wire.values)
        return await write(gateway, "d/limit", 99.0)

    written = with_gateway(work)(site)
    assert (written.value, written.holds, written.note) == (99.0, 20.0, "sent 99.0, the device holds 20.0")


def test_a_flow_that_a_person_has_outdone_has_its_tag_again_after_the_lease(site: Folder) -> None:
    async def work(site: Folder, gateway: Gateway) -> Any:
        flow = Request("light/x", "d/limit", {"value": 5.0}, 500, gateway.clock.now_ns())
        gateway.engine.requests.put(flow)
        gateway.conductor.effects()
        await asyncio.sleep(1)
        await write(gateway, "d/limit", 11.0, lease_s=20)
        site.wire.drop("cable pulled")
        site.wire.values[4] = 22.0
        await asyncio.sleep(1)
        site.wire.heal()
        await asyncio.sleep(5)
        seen = [site.wire.values[4]]
        await asyncio.sleep(20)
        return [*seen, site.wire.values[4]]

    assert with_gateway(work)(site) == [22.0, 5.0]


def test_a_button_is_pressed_by_somebody_and_confirmed_when_it_is_on_the_disk(site: Folder) -> None:
    async def work(_site: Folder, gateway: Gateway) -> Any:
        await gateway.view.press("call", "raise", Press(by="eva"))
        state = gateway.engine.flows["call"].by_name["call"].state
        return state, await gateway.store.audit(), await gateway.store.states("call")

    state, audit, saved = with_gateway(work)(site)
    assert state.call is not None
    assert {(entry.who, entry.what) for entry in audit} == {("operator:eva", "call/call.raise")}
    assert b"raised" in saved["call"] or b"since" in saved["call"]


@pytest.mark.parametrize(
    ("instance", "action", "words"),
    [
        ("light", "raise", "'light' is no flow with a call"),
        ("nothing", "raise", "'nothing' is no flow with a call"),
        ("call", "destroy", "'destroy' is no button of a call"),
    ],
)
def test_a_button_that_does_not_exist_is_refused(site: Folder, instance: str, action: str, words: str) -> None:
    async def work(_site: Folder, gateway: Gateway) -> None:
        with pytest.raises(Rejected, match=words):
            await gateway.view.press(instance, action, Press())

    with_gateway(work)(site)


def test_it_is_ready_when_devices_answer_and_flows_run(site: Folder) -> None:
    async def work(site: Folder, gateway: Gateway) -> Any:
        return list(gateway.view.unready())

    assert with_gateway(work)(site) == []

    @in_virtual_time
    async def early() -> list[str]:
        async with site.open() as gateway, gateway.run():
            return list(gateway.view.unready())

    assert early() == ["not yet connected: d"]


def test_a_dead_device_does_not_make_the_gateway_unready(site: Folder) -> None:
    site.wire.drop("unplugged")

    async def work(site: Folder, gateway: Gateway) -> Any:
        await asyncio.sleep(5)
        return list(gateway.view.unready()), gateway.view.status()

    problems, status = with_gateway(work)(site)
    assert problems == []
    assert isinstance(status, Status)
    (device,) = status.devices
    assert (device.name, device.state, device.bad_tags) == ("d", "bad", 4)
    assert "unplugged" in device.reason
    assert status.model_dump_json()


def test_the_status_shows_who_holds_what(site: Folder) -> None:
    async def work(site: Folder, gateway: Gateway) -> Any:
        await write(gateway, "d/limit", 3.0)
        return gateway.view.status()

    status = with_gateway(work)(site)
    outputs = {output.name: output for output in status.outputs}
    assert outputs["lamp"].elements["red"].level == "on"
    assert [request.owner for request in outputs["lamp"].requests] == ["light/light"]
    assert outputs["d/limit"].elements["value"].winner == "operator:http"
    assert (outputs["d/limit"].shown, outputs["d/limit"].reason) == ("ok", "")
    assert {flow.name: flow.state for flow in status.flows} == {"light": "running", "call": "running"}


def test_no_result_is_too_odd_to_be_shown() -> None:
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    odd: Any = {"deep": deep, "large": 10**30, "bytes": b"\x01", "nan": float("nan"), 3: "three"}
    shown = json.loads(result_bytes(Record("s", "k", 1, 0, odd)))
    assert (shown["data"]["large"], shown["data"]["nan"], shown["data"]["3"]) == (str(10**30), None, "three")


@pytest.mark.parametrize("strange", [b"\xff", [1, 2], {"a": 1}, 10**400, "\ud800", float("nan")])
def test_whatever_a_flow_asks_of_an_output_the_status_can_be_told(site: Folder, strange: Any) -> None:
    async def work(site: Folder, gateway: Gateway) -> Any:
        gateway.engine.requests.put(Request("light/x", "d/limit", {"value": strange}, 500, gateway.clock.now_ns()))
        gateway.conductor.effects()
        await asyncio.sleep(1)
        return gateway.view.status().model_dump_json()

    told = json.loads(with_gateway(work)(site))
    (limit,) = [output for output in told["outputs"] if output["name"] == "d/limit"]
    assert limit["shown"] == "failed"
