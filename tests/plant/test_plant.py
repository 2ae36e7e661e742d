from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import aiomqtt
import psutil
import pytest
from asyncua import Client
from pymodbus.client import AsyncModbusTcpClient

from edgeflow.errors import EdgeFlowError
from edgeflow.plant.plant import Settings, plant, run
from edgeflow.plant.port import free_port

Until = Callable[[Callable[[], bool]], Awaitable[None]]
Sockets = Callable[[int, str], int]


async def order(port: int, path: str, body: object) -> Any:
    url = f"http://127.0.0.1:{port}/{path}"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
        assert answer.status == 200
        return await answer.json()


async def test_every_device_says_over_its_protocol_what_the_truth_says(settings: Settings, until: Until) -> None:
    async with plant(settings.model_copy(update={"speed": 10.0})) as running:
        ports = running.ports
        await until(lambda: running.factory.now() > 0 and running.factory.press.good.count > 3)
        truth = await order(ports["truth"], "control", {"running": False})
        press, meter = (AsyncModbusTcpClient("127.0.0.1", port=ports[name]) for name in ("press", "meter"))
        for one in (press, meter):
            assert await one.connect()
        words = (await press.read_holding_registers(0, count=13)).registers
        assert words == truth["machines"]["press"]["registers"]
        words = (await meter.read_input_registers(0x48, count=2)).registers
        kwh = meter.convert_from_registers(words, meter.DATATYPE.FLOAT32)
        assert kwh == pytest.approx(truth["meter"]["register_kwh"], abs=2**-10)
        for one in (press, meter):
            one.close()
        async with Client(running.addresses.filler) as client:
            good = client.get_node("ns=2;s=Filler.Good")
            async with asyncio.timeout(10):
                while await good.read_value() != truth["machines"]["filler"]["counters"]["good"]:
                    pass
        async with aiomqtt.Client("127.0.0.1", ports["mqtt"]) as listener:
            await listener.subscribe("plant/oven/state")
            message = await anext(listener.messages)
            assert json.loads(bytes(message.payload))["setpoint"] == truth["oven"]["setpoint"]  # type: ignore[arg-type]


async def test_a_taken_port_is_refused_or_another_is_taken_as_wanted(settings: Settings) -> None:
    listener = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    taken: int = listener.sockets[0].getsockname()[1]
    wanted = settings.model_copy(update={"press_port": taken})
    with pytest.raises(EdgeFlowError, match=f"port {taken} for press is taken"):
        async with plant(wanted):
            pass
    async with plant(wanted.model_copy(update={"other_ports": True})) as running:
        assert running.ports["press"] != taken
    listener.close()
    await listener.wait_closed()


async def test_a_server_that_ends_by_itself_ends_the_plant_with_the_reason(
    settings: Settings, until: Until, sockets: Sockets
) -> None:
    port = free_port()
    task = asyncio.create_task(run(settings.model_copy(update={"truth_port": port})))
    await until(lambda: sockets(port, psutil.CONN_LISTEN) == 1)
    (server,) = [p for p in psutil.Process().children() if "edgeflow.plant.opcua" in " ".join(p.cmdline())]
    server.kill()
    with pytest.raises(EdgeFlowError, match="OPC UA server ended by itself"):
        await task


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_a_plant_that_ends_leaves_no_process_behind(
    settings: Settings, until: Until, sockets: Sockets, number: signal.Signals
) -> None:
    port = free_port()
    values = settings.model_copy(update={"truth_port": port}).model_dump()
    code = f"import asyncio; from edgeflow.plant.plant import *; asyncio.run(run(Settings(**{values!r})))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = await asyncio.create_subprocess_exec(sys.executable, "-W", "error", "-c", code, env=environment)
    await until(lambda: sockets(port, psutil.CONN_LISTEN) == 1)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 2
    # Even a child that is stopped must go.
    await order(port, "faults", {"device": "filler", "fault": "hang", "seconds": 60})
    process.send_signal(number)
    async with asyncio.timeout(15):
        assert await process.wait() == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    await until(lambda: not any(alive(child) for child in children))


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
