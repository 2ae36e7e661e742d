from __future__ import annotations

import asyncio
import shutil
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest
from pymodbus.client import AsyncModbusTcpClient

from edgeflow.errors import EdgeFlowError
from edgeflow.plant.factory import Factory
from edgeflow.plant.fault import Fault, garbled
from edgeflow.plant.modbus import ModbusDevice
from edgeflow.plant.port import free_port
from edgeflow.plant.registers import IoUnit, MeterUnit, PressUnit, Unit

ALL: frozenset[Fault] = frozenset(("hang", "drop", "restart", "garble", "reset_counter"))
Until = Callable[[Callable[[], bool | Awaitable[bool]]], Awaitable[None]]
READ_13 = bytes.fromhex("0001 0000 0006 01 03 0000 000d")


@asynccontextmanager
async def served(unit: Unit) -> AsyncIterator[ModbusDevice]:
    device = ModbusDevice(free_port(), unit, faults=ALL)
    await device.start()
    try:
        yield device
    finally:
        await device.stop()


@asynccontextmanager
async def client(device: ModbusDevice) -> AsyncIterator[AsyncModbusTcpClient]:
    one = AsyncModbusTcpClient("127.0.0.1", port=device.port, timeout=5, retries=0)
    assert await one.connect()
    try:
        yield one
    finally:
        one.close()


async def test_a_read_of_the_press_is_one_instant_of_it(live: Factory) -> None:
    async with served(PressUnit(live)) as device, client(device) as one:
        words = (await one.read_holding_registers(0, count=13)).registers
        good, reject = words[4] << 16 | words[5], words[6] << 16 | words[7]
        assert (good, reject) == (live.press.good_counter, live.press.reject_counter)
        assert words[2] == good & 0xFFFF
        assert (words[0], words[1], words[3], words[12]) == (6, 1, 0, 0)
        assert struct.unpack(">f", struct.pack(">HH", *words[10:12])) == pytest.approx((0.4,))


async def test_the_buttons_of_the_press_are_coils_and_bits_of_a_register(live: Factory) -> None:
    async with served(PressUnit(live)) as device, client(device) as one:
        assert not (await one.write_coil(1, True)).isError()
        assert (await one.read_coils(0, count=2)).bits[:2] == [False, True]
        assert (await one.read_holding_registers(12, count=1)).registers == [2]
        await one.write_coils(0, [True, False])
        assert (await one.read_holding_registers(12, count=1)).registers == [1]


async def test_a_single_register_is_echoed_as_it_was_written_also_where_it_reads_back_another_value(
    live: Factory,
) -> None:
    request = bytes.fromhex("0001 0000 0006 01 06 1008 aa55")  # the watchdog's stop register reads 0
    async with served(IoUnit(live)) as device:
        reader, writer = await asyncio.open_connection("127.0.0.1", device.port)
        writer.write(request)
        async with asyncio.timeout(5):
            assert await reader.readexactly(len(request)) == request
        writer.close()
        await writer.wait_closed()


async def test_what_does_not_exist_is_refused_with_the_right_exception(live: Factory) -> None:
    async with served(PressUnit(live)) as device, client(device) as one:
        assert (await one.read_holding_registers(10, count=9)).exception_code == 2
        assert (await one.write_register(2, 7)).exception_code == 3
        assert (await one.read_input_registers(0, count=2)).exception_code == 1
        assert (await one.write_coils(1, [True, True])).exception_code == 2
        assert (await one.read_holding_registers(0, count=1, device_id=9)).exception_code == 11


@pytest.mark.skipif(not shutil.which("mbpoll"), reason="mbpoll is not installed")
async def test_mbpoll_reads_the_same_meter_that_we_do(live: Factory) -> None:
    live.hold(True)
    async with served(MeterUnit(live)) as device:
        command = f"mbpoll -m tcp -p {device.port} -a 1 -0 -r 72 -c 1 -t 3:float -B -1 127.0.0.1".split()
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0
    assert float(output.split("[72]:")[1].split()[0]) == pytest.approx(12_345.6, abs=0.1)


async def test_the_lamp_module_darkens_when_nobody_asks_any_more(live: Factory, until: Until) -> None:
    async with served(IoUnit(live)) as device, client(device) as one:
        await one.write_register(0x1008, 0xAA55)
        await one.write_register(0x1000, 3)
        await one.write_register(0x100A, 1)
        await one.write_coils(0, [True, False, True, False, False])
        for _ in range(10):
            await asyncio.sleep(0.05)
            assert (await one.read_coils(0, count=5)).bits[:5] == [True, False, True, False, False]
        assert (await one.read_holding_registers(0x1006, count=1)).registers == [1]
        asked_ns = live.now()

        await until(lambda: live.now() > 0 and live.io.light.bits == 0)
        ((dark_ns, bits),) = live.io.light.changes(asked_ns, live.now() + 1)
        assert bits == 0
        assert dark_ns - asked_ns == pytest.approx(0.3e9, abs=0.1e9)
        assert (await one.read_coils(0, count=5)).bits[:5] == [False] * 5
        assert not (await one.write_coil(0, True)).isError()


async def test_an_expired_standard_watchdog_refuses_lamps_until_it_is_armed_again(live: Factory, until: Until) -> None:
    async with served(IoUnit(live)) as device, client(device) as one:
        await one.write_register(0x1000, 1)
        await one.write_register(0x1003, 1)

        async def expired() -> bool:
            return bool((await one.read_holding_registers(0x1006, count=1)).registers == [2])

        await until(expired)
        assert (await one.write_coil(0, True)).exception_code == 4
        await one.write_register(0x1007, 1)
        assert not (await one.write_coil(0, True)).isError()


async def silent(port: int) -> bool:
    """Whether a new connection is taken and a request on it brings nothing, not even an end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(READ_13)
    try:
        async with asyncio.timeout(0.3):
            return not await reader.read(1) and False
    except TimeoutError:
        return True
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_hung_server_keeps_connections_open_and_silent_and_then_goes_on(live: Factory) -> None:
    async with served(PressUnit(live)) as device:
        reader, writer = await asyncio.open_connection("127.0.0.1", device.port)
        writer.write(READ_13)
        first = await reader.readexactly(9 + 26)
        assert first[:2] == b"\x00\x01"
        await device.begin("hang")
        writer.write(b"\x00\x02" + READ_13[2:])
        assert await silent(device.port)
        await device.end("hang")
        late = await reader.readexactly(9 + 26)
        assert late[:2] == b"\x00\x02"
        writer.write(b"\x00\x03" + READ_13[2:])
        assert (await reader.readexactly(9 + 26))[:2] == b"\x00\x03"
        writer.close()
        await writer.wait_closed()


async def test_a_dropped_server_closes_and_refuses_and_comes_back_on_its_port(live: Factory) -> None:
    async with served(PressUnit(live)) as device:
        reader, writer = await asyncio.open_connection("127.0.0.1", device.port)
        writer.write(READ_13)
        await reader.readexactly(9 + 26)
        await device.begin("drop")
        assert await reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", device.port)
        assert live.press.powered
        await device.end("drop")
        async with client(device) as one:
            assert not (await one.read_holding_registers(0, count=13)).isError()
        writer.close()
        await writer.wait_closed()


async def test_a_restart_is_a_power_cycle_that_keeps_the_counters(live: Factory) -> None:
    async with served(PressUnit(live)) as device:
        async with client(device) as one:
            await one.write_coil(0, True)
        await device.begin("restart")
        assert live.press.state == 0
        await device.end("restart")
        async with client(device) as one:
            words = (await one.read_holding_registers(0, count=13)).registers
        assert (words[0], words[12]) == (6, 0)
        assert words[4] << 16 | words[5] >= 65_400


async def test_a_reset_sets_the_counters_to_zero(live: Factory) -> None:
    async with served(PressUnit(live)) as device, client(device) as one:
        await device.begin("reset_counter")
        words = (await one.read_holding_registers(0, count=8)).registers
        assert words[4:] == [0, 0, 0, 0]


async def test_garbled_answers_are_wrong_and_later_ones_right_again(live: Factory) -> None:
    async with served(MeterUnit(live)) as device:
        await device.begin("garble")
        request = bytes.fromhex("0001 0000 0006 01 04 0048 0002")
        right = bytes.fromhex("0001 0000 0007 01 04 04")
        for _ in range(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", device.port)
            writer.write(request)
            answer = await reader.read(100)
            assert not (answer.startswith(right) and len(answer) == 13)
            writer.close()
            await writer.wait_closed()
        await device.end("garble")
        async with client(device) as one:
            assert not (await one.read_input_registers(0x48, count=2)).isError()


def test_no_garbled_frame_is_the_frame() -> None:
    chance, frame = Random(1), bytes.fromhex("0001 0000 0007 01 04 04 4640e666")
    assert all(garbled(chance, frame) != frame for _ in range(1000))


async def test_a_taken_port_is_said_so(live: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeflow.plant.modbus._START_TRIES", 1)
    async with served(PressUnit(live)) as device:
        with pytest.raises(EdgeFlowError, match=f"port {device.port} is taken"):
            await ModbusDevice(device.port, PressUnit(live), faults=ALL).start()
