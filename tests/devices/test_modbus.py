"""The devices part on real sockets: the Modbus driver against a server that others wrote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edgeflow.clock import SystemClock
from edgeflow.devices.binding import read_outputs
from edgeflow.devices.config import read_links_and_devices
from edgeflow.devices.devices import Devices
from edgeflow.document import parse
from edgeflow.driver import Home
from edgeflow.model import BAD, GOOD, Block, Quality
from edgeflow.outputs.arbitration import Decision
from edgeflow.testing.relay import Relay, until
from edgeflow.units import NS_PER_S
from tests.devices.units import Units

CONFIG = """
links: {{plc: {{driver: modbus, host: 127.0.0.1, port: {port}}}}}
devices:
  press:
    link: plc
    every: 50 ms
    timeout: 300 ms
    on_connect: [{{register: 9, value: 30}}]
    tags:
      good: {{register: 4, type: uint32}}
      temperature: {{register: 2, type: int16, scale: 0.1, unit: °C}}
      red: {{coil: 0, writable: true}}
      green: {{coil: 1, writable: true}}
      setpoint: {{register: 6, type: uint16, scale: 0.1, unit: °C, writable: true, range: [0, 250]}}
outputs:
  lamp: {{elements: {{red: press/red, green: press/green}}, refresh: 200 ms, on_exit: {{red: on}}}}
"""


@asynccontextmanager
async def server() -> AsyncIterator[int]:
    registers = [0, 0, 0xFFF9, 0, 0x0001, 0x1170, 0, 0, 0, 0]  # -7 as int16; 70000 = 0x00011170
    device = SimDevice(
        1,
        (
            [SimData(0, values=[False] * 8, datatype=DataType.BITS)],
            [SimData(0, values=[False] * 8, datatype=DataType.BITS)],
            [SimData(0, values=registers, datatype=DataType.REGISTERS)],
            [SimData(0, values=[0] * 8, datatype=DataType.REGISTERS)],
        ),
    )
    running = ModbusTcpServer(device, address=("127.0.0.1", 0))
    await running.serve_forever(background=True)
    try:
        yield running.transport.sockets[0].getsockname()[1]
    finally:
        await running.shutdown()


class Seen:
    """The latest of every tag."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.qualities: dict[str, Quality] = {}

    def __call__(self, block: Block) -> None:
        for sample in block.samples():
            self.values[sample.tag] = sample.value
            self.qualities[sample.tag] = sample.quality


async def held(port: int) -> tuple[list[bool], list[int]]:
    """What the server holds, by another client."""
    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    await client.connect()
    try:
        coils = await client.read_coils(0, count=2)
        registers = await client.read_holding_registers(0, count=10)
    finally:
        client.close()
    return coils.bits[:2], registers.registers


@asynccontextmanager
async def rig() -> AsyncIterator[tuple[Relay, Devices, Seen, int]]:
    seen = Seen()
    async with server() as port, Relay("127.0.0.1", port) as relay:
        document = parse(CONFIG.format(port=relay.port))
        plant = read_links_and_devices(document)
        devices = Devices(plant, read_outputs(document, plant.tags), seen, SystemClock(), lambda _: Home())
        running = asyncio.get_running_loop().create_task(devices.run())
        try:
            await until(lambda: seen.values.get("press/good") == 70000, "the counter arrives")
            yield relay, devices, seen, port
        finally:
            running.cancel()
            await asyncio.wait({running})


async def test_from_the_wire_to_blocks_and_back() -> None:
    async with rig() as (_, devices, seen, port):
        assert seen.values["press/temperature"] == -0.7
        devices.apply([Decision("lamp", {"red": "off", "green": "on"}, {})])
        await until(lambda: devices.status().outputs[0].shown == "ok", "the lamp is read back")
        coils, registers = await held(port)
        assert (coils, registers[9]) == ([False, True], 30)
        deadline = asyncio.get_running_loop().time() + 1
        await devices.write("press/setpoint", 180.5, deadline)
        sample = await devices.read("press/setpoint", deadline)
        assert (sample.value, sample.quality) == (180.5, GOOD)
        assert (await held(port))[1][6] == 1805
        await devices.exit_pattern(asyncio.get_running_loop().time() + 1)
        assert (await held(port))[0] == [True, False]


async def test_a_hang_and_a_drop_are_bad_with_a_reason_and_over_when_they_are_over() -> None:
    async with rig() as (relay, devices, seen, port):
        devices.apply([Decision("lamp", {"red": "off", "green": "on"}, {})])
        relay.hang()
        await until(lambda: seen.qualities["press/good"] == BAD, "a hang is noticed")
        status = devices.status()
        assert (status.devices[0].state, status.links[0].state, status.outputs[0].shown) == ("bad", "bad", "unknown")
        assert status.devices[0].reason
        relay.resume()
        await until(lambda: seen.qualities["press/good"] == GOOD, "data are back", 10)
        await relay.drop()
        await until(lambda: seen.qualities["press/good"] == BAD, "a drop is noticed")
        client = AsyncModbusTcpClient("127.0.0.1", port=port)
        await client.connect()
        await client.write_coil(1, False)  # as if the module had lost its power
        client.close()
        await relay.restore()
        devices.beat()
        await until(lambda: seen.qualities["press/good"] == GOOD, "data are back", 10)
        await until(lambda: devices.status().outputs[0].shown == "ok", "the lamp is shown again")
        assert (await held(port))[0] == [False, True]


async def test_each_request_of_a_slow_device_may_take_as_long_as_the_time_out() -> None:
    """Four requests at 150 ms: together twice as long as one may take."""
    tags = ", ".join(f"r{address}: {{register: {address}}}" for address in (0, 130, 260, 390))
    blocks: list[Block] = []
    with Units(1, answer_s=0.15) as units:
        plant = read_links_and_devices(
            parse(
                f"links: {{l: {{driver: modbus, host: 127.0.0.1, port: {units.port(1)}}}}}\n"
                f"devices: {{d: {{link: l, every: 200 ms, timeout: 300 ms, tags: {{{tags}}}}}}}\n"
            )
        )
        devices = Devices(plant, {}, blocks.append, SystemClock(), lambda driver: Home())
        running = asyncio.get_running_loop().create_task(devices.run())
        try:
            await until(lambda: len([each for each in blocks if not each.faults]) >= 20, "it is read five times", 15)
            first = next(i for i, each in enumerate(blocks) if not each.faults)
            assert not any(each.faults for each in blocks[first:]), "and all of it each time"
            told = [each for each in blocks[first:] if each.tags]
            assert {tag for each in told[:4] for tag in each.tags} == {"d/r0", "d/r130", "d/r260", "d/r390"}
            times = [each.read_ns for each in told]
            assert all(later - at >= 0.14 * NS_PER_S for at, later in pairwise(times)), "each with its own time"
        finally:
            running.cancel()
            await asyncio.wait({running})
