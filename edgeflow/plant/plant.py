"""Runs the simulated plant: every device on its protocol, the truth over HTTP, until it is told to end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Literal

import structlog
from pydantic import Field

from edgeflow.clock import SystemClock
from edgeflow.errors import EdgeFlowError
from edgeflow.model import Strict
from edgeflow.plant.api import TruthApi, served
from edgeflow.plant.broker import broker, chosen
from edgeflow.plant.factory import Factory
from edgeflow.plant.fault import Fault, Faults
from edgeflow.plant.filler import FillerDevice
from edgeflow.plant.modbus import ModbusDevice, quiet
from edgeflow.plant.mqtt import OvenDevice
from edgeflow.plant.port import free_port
from edgeflow.plant.registers import IoUnit, MeterUnit, PressUnit

log = structlog.get_logger(__name__)

_NETWORK: frozenset[Fault] = frozenset(("hang", "drop", "restart", "garble"))
_CANCEL_AGAIN_S = 0.5
_COUNTING: frozenset[Fault] = _NETWORK | {"reset_counter"}


class Settings(Strict):
    """What can be chosen about the plant. Everything listens on the loopback only; port 0 means any free one."""

    seed: int = Field(default=1, description="Seed of the script; the same seed gives the same day.")
    speed: float = Field(default=1.0, gt=0, le=100, description="How many times faster than in life everything goes.")
    held: bool = Field(default=False, description="Whether the machines are held until POST /control lets them run.")
    truth_port: int = Field(default=8070, ge=0, le=65535, description="HTTP port of the truth.")
    press_port: int = Field(default=5020, ge=0, le=65535, description="Modbus TCP port of the press.")
    meter_port: int = Field(default=5021, ge=0, le=65535, description="Modbus TCP port of the energy meter.")
    io_port: int = Field(default=5022, ge=0, le=65535, description="Modbus TCP port of the I/O module (stack light).")
    filler_port: int = Field(default=4840, ge=0, le=65535, description="OPC UA port of the filler.")
    mqtt_host: str = Field(default="127.0.0.1", description="Host of the broker, where `broker` is none.")
    mqtt_port: int = Field(default=1883, ge=0, le=65535, description="Port of the broker to run or to use.")
    broker: Literal["auto", "mosquitto", "embedded", "none"] = Field(
        default="auto", description="Broker to run: mosquitto where installed, else the embedded one; none uses yours."
    )
    other_ports: bool = Field(
        default=False, description="Take another free port where one is taken, instead of ending."
    )


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is."""

    truth: str
    press: str
    meter: str
    io1: str
    filler: str
    oven: str


@dataclass(frozen=True, slots=True)
class Plant:
    """A plant that runs."""

    addresses: Addresses
    ports: dict[str, int]
    factory: Factory
    faults: Faults


@asynccontextmanager
async def plant(settings: Settings) -> AsyncIterator[Plant]:
    """Runs the plant while the block lasts; afterwards no task, child or port is left.

    Enter and leave it in the same task. Raises EdgeFlowError where something cannot start or has ended by itself.
    """
    quiet()
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        ports = {name: _port(name, wanted, settings) for name, wanted in _wanted(settings).items()}
        host, mqtt_port = settings.mqtt_host, settings.mqtt_port
        if settings.broker != "none":
            host, mqtt_port = "127.0.0.1", await stack.enter_async_context(broker(ports["mqtt"], settings.broker))
        factory = Factory(clock, seed=settings.seed, speed=settings.speed, held=settings.held)
        units = {
            "press": ModbusDevice(ports["press"], PressUnit(factory), faults=_COUNTING),
            "meter": ModbusDevice(ports["meter"], MeterUnit(factory), faults=_COUNTING),
            "io1": ModbusDevice(ports["io1"], IoUnit(factory), faults=_NETWORK),
        }
        filler = FillerDevice(ports["filler"], factory)
        oven = OvenDevice(host, mqtt_port, factory)
        listening: list[ModbusDevice | FillerDevice] = [*units.values(), filler]
        for device in listening:
            stack.push_async_callback(device.stop)
            await device.start()
        faults = Faults({**units, "filler": filler, "oven": oven}, clock)
        await stack.enter_async_context(served(TruthApi(factory, faults), ports["truth"]))
        addresses = Addresses(
            truth=f"http://127.0.0.1:{ports['truth']}/",
            press=f"modbus://127.0.0.1:{ports['press']}",
            meter=f"modbus://127.0.0.1:{ports['meter']}",
            io1=f"modbus://127.0.0.1:{ports['io1']}",
            filler=f"opc.tcp://127.0.0.1:{ports['filler']}/edgeflow/plant/",
            oven=f"mqtt://{host}:{mqtt_port}/plant/oven/state",
        )
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(run) for run in (filler.run(), oven.run(), *map(faults.run, faults.devices))]
            try:
                yield Plant(addresses, {**ports, "mqtt": mqtt_port}, factory, faults)
            finally:
                await _end(running)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancels until it is heard: before Python 3.12 `asyncio.wait_for`, which aiomqtt uses, can swallow one."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)


async def run(settings: Settings) -> None:
    """Runs the plant until SIGTERM or SIGINT; says on one line where everything is."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with plant(settings) as running:
            runs = chosen(settings.broker) if settings.broker != "none" else "none"
            about = {"seed": settings.seed, "speed": settings.speed, "broker": runs}
            log.info("plant is running", **about, **asdict(running.addresses))
            await stop.wait()
    except BaseExceptionGroup as group:
        expected = group.subgroup(EdgeFlowError)
        if expected is None:
            raise
        raise EdgeFlowError("; ".join(str(error) for error in expected.exceptions)) from group
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    log.info("plant has ended")


def _wanted(settings: Settings) -> dict[str, int]:
    ports = {
        "truth": settings.truth_port,
        "press": settings.press_port,
        "meter": settings.meter_port,
        "io1": settings.io_port,
        "filler": settings.filler_port,
    }
    return ports if settings.broker == "none" else ports | {"mqtt": settings.mqtt_port}


def _port(name: str, wanted: int, settings: Settings) -> int:
    """The port to listen on; raises EdgeFlowError where it is taken and no other may be chosen."""
    port = free_port(wanted)
    if wanted and port != wanted:
        if not settings.other_ports:
            raise EdgeFlowError(
                f"port {wanted} for {name} is taken; end what listens there, or let it take free ports (--other-ports)"
            )
        log.warning("port is taken, took another", device=name, wanted=wanted, port=port)
    return port
