"""Writing: which functions are used, what the device holds afterwards, and what is said when it does not."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edgeflow.driver import Home
from edgeflow.errors import Rejected
from edgeflow_modbus import DRIVER
from edgeflow_modbus.config import Device, Link, Point


class Plc:
    """Registers and coils 0 to 99; it lacks some functions, and can hold or show something else."""

    def __init__(self):
        self.asked = []
        self.lacks = set()
        self.change = lambda values: None
        self.show = lambda registers, at: None
        self.pause_s = 0.0

    async def action(self, function, start, address, count, registers, values):
        reads_besides = function in (5, 6, 22) and values is None and function not in self.lacks
        if not reads_besides:
            self.asked.append((function, address, count))
        await asyncio.sleep(self.pause_s)
        if function in self.lacks:
            return ExcCodes.ILLEGAL_FUNCTION
        if values is not None:
            self.change(values)
        elif function == 3:
            self.show(registers, address - start)
        return None

    @property
    def functions(self):
        return [function for function, _, _ in self.asked]


@asynccontextmanager
async def plc_and_session(words=(0,) * 100):
    plc, loop = Plc(), asyncio.get_running_loop()
    registers = [SimData(0, values=list(words), datatype=DataType.REGISTERS)]
    coils = [SimData(0, values=[False] * 96, datatype=DataType.BITS)]
    device = SimDevice(1, (coils, coils, registers, registers), action=plc.action)
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    try:
        link = Link(host="127.0.0.1", port=server.transport.sockets[0].getsockname()[1])
        async with DRIVER.open(link, loop.time() + 10, Home()) as session:

            async def write(*pairs, patience_s=10.0, **device):
                """Writes (point, value) pairs; gives the requests that it took."""
                plc.asked.clear()
                points, values = [point for point, _ in pairs], [value for _, value in pairs]
                await session.write(Device(**device), points, values, loop.time() + patience_s)
                return plc.asked[:]

            async def held(*points):
                plc.asked.clear()
                reader = await session.prepare(Device(), points, loop.time() + 10)
                return list((await reader(loop.time() + 10)).values)

            yield plc, write, held
    finally:
        await server.shutdown()


def register(address, **keys):
    return Point(register=address, **keys)


WRITES = (
    (register(0, type="bcd16"), 905),
    (register(1, type="bcd32", word_order="little"), 12345678),
    (register(4, names={0: "idle", 7: "running"}), "running"),
    (register(5, type="int16", fraction=8), -1.25),
    (register(6, type="string", length=2), "ABCD"),
    (register(8, type="string", length=2, byte_order="little"), "ABC"),
    (register(10, type="string", length=2, byte="low"), "AB"),
    (register(12, type="string", length=2, byte="high"), "AB"),
    (register(14, type="bytes", length=2), b"\x01\x02\x03\x04"),
    (register(16, type="uint64"), 2**63 + 1),
    (register(20, type="float16"), 0.5),
    (register(21, bits="4-7"), 0xA),
    (register(21, bits="0-1", names={1: "slow", 2: "fast"}), "fast"),
    (register(21, bit=15), True),
    (register(22, type="uint8", byte="high"), 0x7F),
)


@pytest.mark.parametrize("device", [{}, {"write_function": 6}, {"write_function": 16}, {"verify": True}])
async def test_every_type_that_can_be_written_is_read_as_it_was_written(device):
    async with plc_and_session() as (_, write, held):
        await write(*WRITES, **device)
        assert await held(*(point for point, _ in WRITES)) == [value for _, value in WRITES]
        raw = await held(*(register(i) for i in range(23)))
    assert raw[:2] == [0x0905, 0x5678]
    assert raw[21:] == [0x80A2, 0x7F00]


async def test_neighbours_go_in_one_request_and_a_single_one_by_the_short_function():
    async with plc_and_session() as (_, write, _):
        assert await write((register(1), 1), (register(2, type="uint32"), 2)) == [(16, 1, 3)]
        assert await write((register(1), 1)) == [(6, 1, 1)]
        assert [f for f, _, _ in await write((Point(coil=1), True), (Point(coil=2), True))] == [15]
        assert [f for f, _, _ in await write((Point(coil=1), True))] == [5]


async def test_a_device_that_takes_only_function_16_gets_it_for_one_register_too():
    async with plc_and_session() as (plc, write, held):
        plc.lacks = {5, 6, 22}
        points = ((register(1), 7), (register(3, bit=2), True), (Point(coil=4), True))
        assert [function for function, _, _ in await write(*points, write_function=16)] == [16, 3, 16, 15]
        assert await held(*(point for point, _ in points)) == [7, True, True]


async def test_a_device_that_takes_only_function_6_gets_one_register_at_a_time():
    async with plc_and_session() as (plc, write, held):
        plc.lacks = {15, 16, 22}
        points = ((register(1, type="uint32"), 0x10002), (Point(coil=4), True), (Point(coil=5), True))
        assert await write(*points, write_function=6) == [(6, 1, 1), (6, 2, 1), (5, 4, 1), (5, 5, 1)]
        assert await held(*(point for point, _ in points)) == [0x10002, True, True]


async def test_a_point_can_have_another_function_than_its_device():
    async with plc_and_session() as (_, write, _):
        points = ((register(1, write_function=16), 1), (register(2), 2), (register(4), 3))
        assert await write(*points) == [(16, 1, 1), (6, 2, 1), (6, 4, 1)]


async def test_a_function_that_the_device_lacks_is_found_out_once():
    async with plc_and_session() as (plc, write, held):
        plc.lacks = {5, 6, 22}
        points = ((register(1), 7), (register(3, bit=2), True), (Point(coil=4), True))
        assert [function for function, _, _ in await write(*points)] == [6, 16, 22, 3, 16, 5, 15]
        assert [function for function, _, _ in await write(*points)] == [16, 3, 16, 15]
        assert await held(*(point for point, _ in points)) == [7, True, True]


async def test_several_are_written_one_by_one_where_the_device_lacks_the_functions_for_several():
    async with plc_and_session() as (plc, write, held):
        plc.lacks = {15, 16}
        points = ((register(1), 7), (register(2), 8), (Point(coil=4), True), (Point(coil=5), True))
        assert [function for function, _, _ in await write(*points)] == [16, 6, 6, 15, 5, 5]
        assert [function for function, _, _ in await write(*points)] == [6, 6, 5, 5]
        assert await held(*(point for point, _ in points)) == [7, 8, True, True]


async def test_a_long_value_is_never_torn_unless_that_is_asked_for():
    async with plc_and_session() as (plc, write, held):
        plc.lacks = {16}
        await write((register(1), 7), (register(2), 8))
        for _ in range(2):
            with pytest.raises(Rejected, match=r"function 16.*where it takes only function 6, say `write_function: 6`"):
                await write((register(4, type="float32"), 1.5))
        assert await held(register(4), register(5)) == [0, 0]


async def test_a_scaled_value_is_written_with_the_factor_that_the_device_has():
    async with plc_and_session(words=[0] * 10 + [0xFFFE] + [0] * 89) as (_, write, held):
        point = register(1, type="int16", factor=10)
        await write((point, -12.34))
        assert await held(register(1, type="int16"), point) == [-1234, -12.34]
        with pytest.raises(Rejected, match="40000 is not between -32768 and 32767"):
            await write((point, 400.0))


async def test_a_value_without_its_scale_factor_is_not_written():
    async with plc_and_session(words=[0] * 10 + [0x8000] + [0] * 89) as (plc, write, _):
        with pytest.raises(Rejected, match="holding register 1 cannot be written: the device says: not available"):
            await write((register(1, type="int16", factor=10), 1.0))
        assert plc.functions == [3]


async def test_what_was_written_is_read_back_when_asked():
    async with plc_and_session() as (_, write, _):
        assert await write((register(1, verify=True), 1), (register(4), 2)) == [(6, 1, 1), (3, 1, 1), (6, 4, 1)]
        assert await write((register(1), 1), (register(2), 2), verify=True) == [(16, 1, 2), (3, 1, 2)]
        assert await write((Point(coil=1), True), verify=True) == [(5, 1, 1), (1, 1, 1)]
        assert [f for f, _, _ in await write((register(1, bit=3), True), verify=True)] == [22, 3]


async def test_a_device_that_keeps_another_value_is_told_with_both():
    async with plc_and_session() as (plc, write, _):
        plc.change = lambda values: values.__setitem__(0, min(values[0], 100))
        with pytest.raises(Rejected) as error:
            await write((register(40), 500), verify=True, write_function=16)
        assert str(error.value) == "holding register 40 was written as 500, but the device holds 100"
        assert plc.functions.count(3) > 1, "it is given a moment to show it"
        await write((register(40), 99), verify=True, write_function=16)
        plc.change = lambda values: values.__setitem__(0, False)
        with pytest.raises(Rejected, match="coil 3 was written as True, but the device holds False"):
            await write((Point(coil=3), True), verify=True, write_function=16)


async def test_a_device_that_answers_a_write_with_another_value_did_not_take_it():
    async with plc_and_session() as (plc, write, held):
        plc.change = lambda values: values.__setitem__(0, min(values[0], 100))
        with pytest.raises(
            Rejected, match="unit 1 answered 06 00 28 00 64 when it was asked to write holding register"
        ):
            await write((register(40), 500))
        assert await held(register(40)) == [100], "the link goes on"


async def test_a_device_that_takes_a_moment_to_show_what_was_written_is_waited_for():
    async with plc_and_session() as (plc, write, _):
        shown = iter([0, 0, 500])
        plc.show = lambda registers, at: registers.__setitem__(at, next(shown))
        assert await write((register(40), 500), verify=True) == [(6, 40, 1), *[(3, 40, 1)] * 3]


async def test_reading_back_never_goes_beyond_the_deadline():
    async with plc_and_session() as (plc, write, _):
        plc.change, plc.pause_s = lambda values: values.__setitem__(0, 1), 0.3
        with pytest.raises(Rejected, match="holding register 40 was written as 500, but the device holds 1"):
            await write((register(40), 500), verify=True, write_function=16, patience_s=1.5)
        plc.pause_s = 0.6
        with pytest.raises(Rejected, match="was written, but there was no time left to read it back"):
            await write((register(40), 500), verify=True, write_function=16, patience_s=1.0)
        plc.pause_s = 0.0
        await write((register(40), 1), verify=True)


async def test_what_cannot_be_read_back_is_told_as_unknown():
    async with plc_and_session() as (plc, write, _):
        plc.lacks = {3}
        with pytest.raises(Rejected, match="was written, but nobody knows whether it took it: unit 1 refused to read"):
            await write((register(40), 500), verify=True)


@pytest.mark.parametrize(
    ("point", "value", "said"),
    [
        (register(1, type="bcd16"), 10000, "holding register 1 cannot take the value: 10000 is not between 0 and 9999"),
        (register(1, plus=[2]), 1, "holding register 1 cannot be written: it is a sum"),
        (register(1, type="uint32", bits="4-19"), 1, "bits of more than one register cannot be changed at once"),
        (register(1, names={0: "idle"}), "busy", "'busy' is not one of its names: idle"),
        (Point(input=1, type="bcd16"), 1, "input register 1 is read only"),
        (register(70000), 1, "the last address is 65535"),
    ],
)
async def test_what_cannot_be_written_is_rejected_before_anything_is_sent(point, value, said):
    async with plc_and_session() as (plc, write, _):
        with pytest.raises(Rejected) as error:
            await write((register(50), 7), (point, value))
        assert said in str(error.value)
        assert not plc.asked
