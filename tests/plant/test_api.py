from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from edgeflow.clock import SystemClock
from edgeflow.plant.api import TruthApi, served
from edgeflow.plant.factory import Factory
from edgeflow.plant.fault import Fault, Faults
from edgeflow.plant.filler import FillerDevice
from edgeflow.plant.modbus import ModbusDevice
from edgeflow.plant.port import free_port
from edgeflow.plant.registers import IoUnit, PressUnit

Until = Callable[[Callable[[], bool]], Awaitable[None]]
NETWORK: frozenset[Fault] = frozenset(("hang", "drop", "restart", "garble"))


@dataclass
class Served:
    factory: Factory
    faults: Faults
    port: int
    press: ModbusDevice

    async def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        method, url = "GET" if body is None else "POST", f"http://127.0.0.1:{self.port}/{path}"
        async with aiohttp.ClientSession(headers=headers) as session, session.request(method, url, json=body) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if answer.content_type == "application/json" else text


@asynccontextmanager
async def api(factory: Factory) -> AsyncIterator[Served]:
    """The truth over HTTP beside a press and a lamp module; the filler is only known, not started."""
    press = ModbusDevice(free_port(), PressUnit(factory), faults=NETWORK | {"reset_counter"})
    io = ModbusDevice(free_port(), IoUnit(factory), faults=NETWORK)
    async with AsyncExitStack() as stack:
        for device in (press, io):
            await device.start()
            stack.push_async_callback(device.stop)
        faults = Faults({"press": press, "io1": io, "filler": FillerDevice(0, factory)}, SystemClock())
        port = free_port()
        await stack.enter_async_context(served(TruthApi(factory, faults), port))
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(faults.run(name)) for name in faults.devices]
            yield Served(factory, faults, port, press)
            for task in running:
                task.cancel()


async def test_control_freezes_every_number_and_lets_it_go_on(live: Factory, until: Until) -> None:
    async with api(live) as one:
        await until(lambda: live.now() > 0 and live.press.good.count > 2)
        _, held = await one.ask("control", {"running": False})
        press = held["machines"]["press"]
        assert (held["running"], press["state"], press["state_name"], press["reason"]) == (False, 11, "held", "hold")
        await until(lambda: live.now() - live.press.spells.spells[-1].at_ns > 600_000_000)
        _, later = await one.ask("truth")
        assert later["machines"] == held["machines"]
        assert later["meter"]["kwh"] == held["meter"]["kwh"]
        await one.ask("control", {"running": True})
        await until(lambda: live.now() > 0 and live.press.good.count > press["good"])


async def test_the_truth_of_neighbouring_intervals_adds_up(live: Factory, until: Until) -> None:
    async with api(live) as one:
        await until(lambda: live.now() > 0 and live.filler.good.count > 4)
        middle = (await one.ask("truth"))[1]["at"]
        await until(lambda: live.now() > 0 and live.filler.good.count > 8)
        now = (await one.ask("truth"))[1]
        spans = ((now["start"], middle), (middle, now["at"]), (now["start"], now["at"]))
        first, second, whole = [(await one.ask(f"truth?from={a}&to={b}"))[1] for a, b in spans]
        for name in ("press", "filler"):
            for key in ("good", "reject", "total"):
                parts = first["machines"][name][key] + second["machines"][name][key]
                assert parts == whole["machines"][name][key] == now["machines"][name][key]
        assert first["meter"]["kwh"] + second["meter"]["kwh"] == pytest.approx(whole["meter"]["kwh"], abs=1e-12)


async def test_an_interval_is_cut_to_what_is_known(live: Factory) -> None:
    async with api(live) as one:
        _, whole = await one.ask("truth?from=2000-01-01T00:00:00Z&to=2099-01-01T00:00:00%2B02:00")
        now = (await one.ask("truth"))[1]
        assert whole["from"] == now["start"]
        assert now["start"] < whole["to"] <= now["at"]


async def test_the_history_of_the_lamp_is_told(live: Factory) -> None:
    async with api(live) as one:
        live.io.write(live.now(), 0, [True, False, False, False, True])
        _, told = await one.ask("truth/lamp")
        assert [change["levels"]["red"] for change in told["changes"]] == [False, True]
        assert [spell["pattern"]["buzzer"] for spell in told["patterns"]] == ["off", "on"]
        assert told["patterns"][0]["to"] == told["changes"][1]["at"]
        assert (await one.ask("truth"))[1]["lamp"]["pattern"]["red"] == "on"


async def test_a_fault_ends_when_its_time_is_over_and_a_new_one_takes_its_place(live: Factory, until: Until) -> None:
    async with api(live) as one:
        assert (await one.ask("faults"))[1] == {}
        status, active = await one.ask("faults", {"device": "press", "fault": "drop", "seconds": 60})
        assert (status, active["press"]["fault"]) == (200, "drop")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", one.press.port)
        _, active = await one.ask("faults", {"device": "press", "fault": "hang", "seconds": 0.2})
        assert active["press"]["fault"] == "hang"
        _, writer = await asyncio.open_connection("127.0.0.1", one.press.port)
        writer.close()
        await writer.wait_closed()
        await until(lambda: one.faults.active() == {})
        _, active = await one.ask("faults", {"device": "press", "fault": "restart", "seconds": 60})
        assert live.press.state == 0
        await one.ask("faults", {"device": "press", "fault": "none"})
        assert live.press.powered
        assert (await one.ask("faults"))[1] == {}


async def test_a_reset_leaves_the_fault_in_force_alone_and_the_truth_unchanged(live: Factory, until: Until) -> None:
    async with api(live) as one:
        await until(lambda: live.now() > 0 and live.press.good.count > 2)
        await one.ask("control", {"running": False})
        await one.ask("faults", {"device": "press", "fault": "garble", "seconds": 60})
        before = (await one.ask("truth"))[1]["machines"]["press"]
        _, active = await one.ask("faults", {"device": "press", "fault": "reset_counter"})
        assert active["press"]["fault"] == "garble"
        after = (await one.ask("truth"))[1]["machines"]["press"]
        assert (before["counters"]["good"] > 65_400, after["counters"]) == (True, {"good": 0, "reject": 0})
        assert (after["good"], after["reject"]) == (before["good"], before["reject"])


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("faults", {"device": "mill", "fault": "hang"}, "write one of press, io1, filler"),
        ("faults", {"device": "filler", "fault": "garble"}, "filler cannot have the fault"),
        ("faults", {"device": "press", "fault": "explode"}, "fault"),
        ("faults", {"device": "press", "fault": "hang", "seconds": -1}, "seconds"),
        ("control", {"run": True}, "running"),
        ("truth?from=yesterday", None, "from"),
        ("truth?from=2026-11-20T06:00:00", None, "UTC offset"),
        ("truth?from=2026-11-20T06:00:00Z&to=2026-11-20T05:00:00Z", None, "later"),
    ],
)
async def test_a_wrong_request_is_answered_with_what_to_write(
    live: Factory, path: str, body: object, words: str
) -> None:
    async with api(live) as one:
        status, answer = await one.ask(path, body)
        assert status == 400
        assert words in answer["error"]


async def test_only_local_names_and_json_are_served(live: Factory) -> None:
    async with api(live) as one:
        for host in ("plant.example", "127.0.0.1.example", "[", "localhost.example:80"):
            assert (await one.ask("truth", Host=host))[0] == 403
        assert (await one.ask("truth", Host=f"localhost:{one.port}"))[0] == 200
        url = f"http://127.0.0.1:{one.port}/control"
        async with aiohttp.ClientSession() as session, session.post(url, data='{"running": false}') as answer:
            assert answer.status == 400
        assert not live.held
        assert "POST /faults" in (await one.ask(""))[1]
