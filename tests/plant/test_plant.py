from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import aiohttp
import aiomqtt
import psutil
import pytest
from asyncua import Client, ua

from edgeflow.clock import utc_ns
from edgeflow.errors import EdgeFlowError
from edgeflow.plant.broker import broker
from edgeflow.plant.plant import Plant, Settings, plant, run
from edgeflow.plant.port import free_port

S = 1_000_000_000


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 15) -> None:
    """Looks again and again; other processes decide when it comes true, so there is no event to wait for."""
    async with asyncio.timeout(seconds):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(0.02)


async def value(client: Client, name: str) -> Any:
    return await client.get_node(f"ns=2;s=Filler.{name}").read_value()


async def ask(running: Plant, path: str, body: dict[str, Any] | None = None, **headers: str) -> tuple[int, Any]:
    url = running.addresses.truth + path
    method = "GET" if body is None else "POST"
    async with aiohttp.ClientSession(headers=headers) as session, session.request(method, url, json=body) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if answer.content_type == "application/json" else text


class Heard:
    """What an OPC UA subscription brought: (node, value, source time)."""

    def __init__(self) -> None:
        self.values: dict[str, list[tuple[Any, Any]]] = {}

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        got = self.values.setdefault(node.nodeid.Identifier, [])
        got.append((value, data.monitored_item.Value.SourceTimestamp))


async def test_the_filler_pushes_every_part_with_the_time_it_was_made(settings: Settings) -> None:
    async with plant(settings.model_copy(update={"speed": 4.0})) as running:
        filler, heard = running.factory.filler, Heard()
        async with Client(running.addresses.filler) as client:
            assert await client.get_namespace_index("urn:edgeflow:plant:filler") == 2
            nodes = [client.get_node(f"ns=2;s=Filler.{n}") for n in ("State", "Good", "Reject", "Speed", "Fault")]
            subscription = await client.create_subscription(50, heard)
            await subscription.subscribe_data_change(nodes, queuesize=100)
            await until(lambda: len(heard.values.get("Filler.Good", ())) > 6)
            made = [round(t, -3) for t in sorted([*filler.good.times, *filler.reject.times])]
            good = heard.values["Filler.Good"]
            assert [b[0] - a[0] for a, b in pairwise(good)] == [1] * (len(good) - 1)
            stamps = [utc_ns(f"{stamp:%Y-%m-%dT%H:%M:%S.%f}Z") for _, stamp in good]
            assert all(min(abs(t - stamp) for t in made) <= 1000 for stamp in stamps[1:])
            assert heard.values["Filler.State"][0][0] == 6
            assert heard.values["Filler.Speed"][0][0] == pytest.approx(240.0)
            assert (await nodes[1].read_data_type_as_variant_type()) == ua.VariantType.UInt32
            assert (await nodes[0].read_data_type_as_variant_type()) == ua.VariantType.Int32


async def test_the_filler_takes_a_setpoint_and_refuses_to_be_written_elsewhere(settings: Settings) -> None:
    async with plant(settings) as running, Client(running.addresses.filler) as client:
        setpoint = client.get_node("ns=2;s=Filler.Setpoint")
        assert await setpoint.read_value() == 60.0
        await setpoint.write_value(30.0)
        await until(lambda: running.factory.filler.base_ns == 200_000_000)
        await setpoint.write_value(9000.0)

        async def limited() -> bool:
            return bool(await value(client, "Setpoint") == 120.0)

        await until(limited)
        with pytest.raises(ua.UaStatusCodeError):
            await client.get_node("ns=2;s=Filler.Good").write_value(ua.Variant(1, ua.VariantType.UInt32))


async def test_the_filler_hangs_recovers_and_restarts(settings: Settings) -> None:
    async with plant(settings) as running:
        async with Client(running.addresses.filler, timeout=1) as client:
            status, active = await ask(running, "faults", {"device": "filler", "fault": "hang", "seconds": 60})
            assert (status, active["filler"]["fault"]) == (200, "hang")
            _, silent = await asyncio.open_connection("127.0.0.1", running.ports["filler"])
            with pytest.raises(TimeoutError):
                await value(client, "Good")
            made = running.factory.filler.good.count
            await until(lambda: running.factory.now() > 0 and running.factory.filler.good.count > made + 3)
            await ask(running, "faults", {"device": "filler", "fault": "none"})

            async def caught_up() -> bool:
                return bool(await value(client, "Good") > 120_000 + made)

            await until(caught_up)
            silent.close()
            await silent.wait_closed()
            await ask(running, "faults", {"device": "filler", "fault": "restart", "seconds": 0.5})
            assert running.factory.filler.state == 0
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", running.ports["filler"])
            with pytest.raises((ConnectionError, TimeoutError, ua.UaError)):
                await value(client, "Good")
        await until(lambda: not running.faults.active(), 30)
        async with Client(running.addresses.filler) as client:
            assert await value(client, "Good") > 120_000 + made


async def test_the_filler_drops_its_connections_and_listens_again(settings: Settings) -> None:
    async with plant(settings) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.ports["filler"])
        await ask(running, "faults", {"device": "filler", "fault": "drop", "seconds": 60})
        assert await reader.read() == b""
        await until(lambda: not _listens(running.ports["filler"]))
        assert running.factory.filler.powered
        await ask(running, "faults", {"device": "filler", "fault": "none"})
        await until(lambda: _listens(running.ports["filler"]))
        async with Client(running.addresses.filler) as client:
            assert await client.get_node("ns=2;s=Filler.State").read_value() == 6
        writer.close()
        await writer.wait_closed()


def _listens(port: int) -> bool:
    return any(c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in psutil.net_connections("tcp"))


async def _next(client: aiomqtt.Client) -> bytes:
    async with asyncio.timeout(10):
        return bytes((await anext(client.messages)).payload)


async def _next_state(client: aiomqtt.Client) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(await _next(client))
    return state


def _is_state(payload: bytes) -> bool:
    try:
        return "ts" in json.loads(payload)
    except ValueError:
        return False


@pytest.mark.parametrize("kind", ["mosquitto", "embedded"])
async def test_the_oven_publishes_and_obeys_through_either_broker(settings: Settings, kind: str) -> None:
    async with (
        plant(settings.model_copy(update={"broker": kind})) as running,
        aiomqtt.Client("127.0.0.1", running.ports["mqtt"]) as client,
    ):
        await client.subscribe("plant/oven/state", qos=1)
        state = await _next_state(client)
        assert state.keys() == {"ts", "temperature", "setpoint", "power", "state"}
        assert (state["setpoint"], state["power"], state["state"]) == (180.0, 24.0, "heating")
        assert running.factory.start_ns < utc_ns(state["ts"]) <= running.factory.now()
        for nonsense in ("{", '{"setpoint": "hot"}', "[]", '{"setpoint": 9999}'):
            await client.publish("plant/oven/set", nonsense, qos=1)
        await client.publish("plant/oven/set", '{"setpoint": 120}', qos=1)
        await until(lambda: running.factory.oven.setpoint_c == 120)
        async with asyncio.timeout(10):
            while (await _next_state(client))["setpoint"] != 120:
                pass


async def test_the_oven_falls_silent_garbles_and_disconnects_on_request(settings: Settings) -> None:
    async with (
        plant(settings) as running,
        aiomqtt.Client("127.0.0.1", running.ports["mqtt"]) as client,
    ):
        await client.subscribe("plant/oven/state", qos=1)
        await _next_state(client)
        await ask(running, "faults", {"device": "oven", "fault": "garble", "seconds": 60})
        payloads = [await _next(client) for _ in range(5)]
        assert sum(_is_state(payload) for payload in payloads) <= 1
        await ask(running, "faults", {"device": "oven", "fault": "drop", "seconds": 60})
        await until(lambda: _connections(running.ports["mqtt"]) == 1)
        await ask(running, "faults", {"device": "oven", "fault": "none"})
        await until(lambda: _connections(running.ports["mqtt"]) == 2)
        assert running.faults.active() == {}


def _connections(port: int) -> int:
    found = psutil.net_connections("tcp")
    return sum(c.laddr.port == port and c.status == psutil.CONN_ESTABLISHED for c in found)


async def test_the_oven_comes_back_after_its_broker(settings: Settings) -> None:
    async with broker(0, "mosquitto") as port:
        pass
    async with (
        plant(settings.model_copy(update={"broker": "none", "mqtt_port": port})),
        broker(port, "mosquitto") as again,
        aiomqtt.Client("127.0.0.1", again) as client,
    ):
        assert again == port
        await client.subscribe("plant/oven/state", qos=1)
        assert (await _next_state(client))["setpoint"] == 180.0


async def test_control_freezes_every_number_and_lets_it_go_on(settings: Settings) -> None:
    async with plant(settings) as running:
        await until(lambda: running.factory.now() > 0 and running.factory.press.good.count > 2)
        _, held = await ask(running, "control", {"running": False})
        assert (held["running"], held["machines"]["press"]["state"], held["machines"]["press"]["reason"]) == (
            False,
            11,
            "hold",
        )
        await asyncio.sleep(0.5)
        _, later = await ask(running, "truth")
        for one in (held, later):
            one["machines"]["press"].pop("kwh")
        assert later["machines"] == held["machines"]
        assert later["meter"]["kwh"] == held["meter"]["kwh"]
        await ask(running, "control", {"running": True})
        made = held["machines"]["press"]["good"]
        await until(lambda: running.factory.now() > 0 and running.factory.press.good.count > made)


async def test_the_truth_of_neighbouring_intervals_adds_up_over_http(settings: Settings) -> None:
    async with plant(settings) as running:
        await until(lambda: running.factory.now() > 0 and running.factory.filler.good.count > 8)
        _, now = await ask(running, "truth")
        a, c = now["start"], now["at"]
        _, middle = await ask(running, f"truth?from={a}&to={c}")
        b = middle["machines"]["filler"]["spells"][0]["from"][:-4] + "900Z"
        (_, first), (_, second), (_, whole) = [
            await ask(running, f"truth?from={x}&to={y}") for x, y in ((a, b), (b, c), (a, c))
        ]
        for name in ("press", "filler"):
            for key in ("good", "reject", "total"):
                parts = first["machines"][name][key] + second["machines"][name][key]
                assert parts == whole["machines"][name][key] == now["machines"][name][key]
        assert first["meter"]["kwh"] + second["meter"]["kwh"] == pytest.approx(whole["meter"]["kwh"], abs=1e-12)


async def test_the_lamp_s_history_is_told(settings: Settings) -> None:
    async with plant(settings) as running:
        factory = running.factory
        factory.io.write(factory.now(), 0, [True, False, False, False, True])
        _, told = await ask(running, "truth/lamp")
        assert [change["levels"]["red"] for change in told["changes"]] == [False, True]
        assert [spell["pattern"]["buzzer"] for spell in told["patterns"]] == ["off", "on"]
        assert told["patterns"][0]["to"] == told["changes"][1]["at"]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("faults", {"device": "mill", "fault": "hang"}, "press, meter, io1, filler, oven"),
        ("faults", {"device": "filler", "fault": "garble"}, "filler cannot have"),
        ("faults", {"device": "press", "fault": "explode"}, "fault"),
        ("faults", {"device": "press", "fault": "hang", "seconds": -1}, "seconds"),
        ("control", {"run": True}, "running"),
        ("truth?from=yesterday", None, "from"),
        ("truth?from=2026-11-20T06:00:00", None, "UTC offset"),
        ("truth?from=2026-11-20T06:00:00Z&to=2026-11-20T05:00:00Z", None, "later"),
    ],
)
async def test_a_wrong_request_is_answered_with_what_to_write(
    settings: Settings, path: str, body: dict[str, Any] | None, words: str
) -> None:
    async with plant(settings) as running:
        status, answer = await ask(running, path, body)
        assert status == 400
        assert words in answer["error"]


async def test_only_local_names_and_json_are_served(settings: Settings) -> None:
    async with plant(settings) as running:
        assert (await ask(running, "truth", Host="plant.example"))[0] == 403
        assert (await ask(running, "truth", Host="localhost"))[0] == 200
        url = running.addresses.truth + "control"
        async with aiohttp.ClientSession() as session, session.post(url, data='{"running": false}') as answer:
            assert answer.status == 400
        assert not running.factory.held
        assert "POST /faults" in (await ask(running, ""))[1]


async def test_a_taken_port_is_refused_or_another_is_taken_as_wanted(settings: Settings) -> None:
    async with plant(settings) as first:
        taken = settings.model_copy(update={"press_port": first.ports["press"]})
        with pytest.raises(EdgeFlowError, match="press is taken"):
            async with plant(taken):
                pass
        async with plant(taken.model_copy(update={"other_ports": True})) as second:
            assert second.ports["press"] != first.ports["press"]


async def test_a_server_that_ends_by_itself_ends_the_plant_with_the_reason(settings: Settings) -> None:
    port = free_port(0)
    task = asyncio.create_task(run(settings.model_copy(update={"truth_port": port})))
    await until(lambda: _listens(port))
    (server,) = [p for p in psutil.Process().children() if "edgeflow.plant.opcua" in " ".join(p.cmdline())]
    server.kill()
    with pytest.raises(EdgeFlowError, match="OPC UA server ended by itself"):
        await task


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_a_plant_that_ends_leaves_no_process_behind(settings: Settings, number: signal.Signals) -> None:
    port = free_port(0)
    values = settings.model_copy(update={"truth_port": port}).model_dump()
    code = f"import asyncio; from edgeflow.plant.plant import *; asyncio.run(run(Settings(**{values!r})))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-W", "error", "-c", code, env=_environment())
    await until(lambda: _listens(port), 30)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 2
    assert await _hang_filler(port) == 200
    process.send_signal(number)
    async with asyncio.timeout(15):
        code_ = await process.wait()
    assert code_ == (0 if number != signal.SIGKILL else -signal.SIGKILL)
    await until(lambda: not any(_alive(p) for p in children))


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def _hang_filler(port: int) -> int:
    order, url = {"device": "filler", "fault": "hang", "seconds": 60}, f"http://127.0.0.1:{port}/faults"
    async with aiohttp.ClientSession() as session, session.post(url, json=order) as answer:
        return answer.status
