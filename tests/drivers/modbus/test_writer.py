"""Writing: which functions are used, what the device holds afterwards, and what is said when it does not."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from pydantic import ValidationError
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edgeflow.driver import Home
from edgeflow.errors import LinkDown, Rejected, Silent
from edgeflow.testing.drivers import poll_by
from edgeflow_modbus import DRIVER
from edgeflow_modbus.config import Device, Link, Point
from edgeflow_modbus.pdu import Refused


class Plc:
    """Registers and coils 0 to 99; it lacks some functions, and can hold or show something else."""

    def __init__(self):
        self.asked = []
        self.lacks = set()
        self.refuses = lambda function, address, count: 0
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
        if not reads_besides and (code := self.refuses(function, address, count)):
            return ExcCodes(code)
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
                return list((await poll_by(reader, loop.time() + 10)).values)

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


@pytest.mark.parametrize("device", [{}, {"write_function": 6}, {"write_function": 16}])
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
        assert [function for function, _, _ in await write(*points)] == [6, 16, 22, 3, 6, 16, 5, 15]
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


async def test_a_device_that_acknowledges_with_another_value_has_not_refused():
    async with plc_and_session() as (plc, write, held):
        plc.change = lambda values: values.__setitem__(0, min(values[0], 100))
        assert await write((register(40), 500)) == [(6, 40, 1)], "acknowledged, and not sent again by another function"
        assert await held(register(40)) == [100], "the link goes on"


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


@pytest.mark.parametrize("code", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("make", "one", "several"), [(register, 6, 16), (lambda address: Point(coil=address), 5, 15)], ids=["word", "coil"]
)
async def test_which_function_is_taken_is_learned_for_each_register_and_coil_by_itself(code, make, one, several):
    async with plc_and_session() as (plc, write, held):
        wrong = {10: one, 20: several}
        plc.refuses = lambda function, address, count: code if wrong.get(address) == function else 0
        points = [(make(address), 1) for address in (10, 20, 30)]
        assert [function for function, _, _ in await write(*points)] == [one, several, one, one]
        assert [function for function, _, _ in await write(*points)] == [several, one, one], "and remembered"
        assert await held(*(point for point, _ in points)) == [1, 1, 1]


@pytest.mark.parametrize("code", [1, 2, 3, 4])
async def test_neighbours_of_which_one_takes_only_the_short_function_are_written_apart_from_then_on(code):
    async with plc_and_session() as (plc, write, held):
        plc.refuses = lambda function, address, count: code if function == 16 and address <= 11 < address + count else 0
        points = [(register(address), address) for address in (10, 11, 12)]
        assert await write(*points) == [(16, 10, 3), (6, 10, 1), (6, 11, 1), (6, 12, 1)]
        assert await write(*points) == [(6, 10, 1), (6, 11, 1), (6, 12, 1)]
        others = [(register(address), address) for address in (20, 21)]
        assert await write(*others) == [(16, 20, 2)], "never for the whole unit"
        assert await held(register(10), register(11), register(12)) == [10, 11, 12]


async def test_neighbours_that_are_not_taken_together_are_not_sent_together_again_and_again():
    async with plc_and_session() as (plc, write, _):
        plc.refuses = lambda function, address, count: 3 if function == 6 or count > 1 else 0
        points = [(register(10), 1), (register(11), 2)]
        assert [request[0] for request in await write(*points)] == [16, 6, 16, 6, 16]
        assert await write(*points) == [(16, 10, 1), (16, 11, 1)]


@pytest.mark.parametrize("code", [2, 3, 4])
async def test_a_register_that_does_not_take_function_22_has_its_other_bits_written_back(code):
    async with plc_and_session([0x00F0] * 100) as (plc, write, held):
        plc.refuses = lambda function, address, count: code if (function, address) == (22, 5) else 0
        assert [function for function, _, _ in await write((register(5, bit=0), True))] == [22, 3, 6]
        assert [function for function, _, _ in await write((register(5, bit=1), True))] == [3, 6]
        assert [function for function, _, _ in await write((register(6, bit=1), True))] == [22]
        assert await held(register(5), register(6)) == [0xF3, 0xF2]


@pytest.mark.parametrize("code", [1, 2, 3, 4])
async def test_what_both_functions_refuse_is_refused_with_the_reason_of_the_first(code):
    async with plc_and_session() as (plc, write, _):
        plc.refuses = lambda function, address, count: code
        with pytest.raises(Refused, match=rf"refused to write holding register 7 \(function 6\) with exception {code}"):
            await write((register(7), 1))
        assert plc.functions == [6, 16]


@pytest.mark.parametrize("code", [6, 8, 10])
async def test_what_says_nothing_of_the_function_is_not_tried_with_the_other(code):
    async with plc_and_session() as (plc, write, _):
        plc.refuses = lambda function, address, count: code
        with pytest.raises(Refused, match=f"exception {code}"):
            await write((register(7), 1))
        assert set(plc.functions) == {6}


async def test_a_busy_device_is_asked_again():
    async with plc_and_session() as (plc, write, held):
        codes = iter([6, 6, 0])
        plc.refuses = lambda function, address, count: next(codes)
        assert await write((register(7), 1)) == [(6, 7, 1)] * 3
        plc.refuses = lambda function, address, count: 0
        assert await held(register(7)) == [1]


async def test_exception_5_is_an_acknowledgement():
    async with plc_and_session() as (plc, write, _):
        plc.refuses = lambda function, address, count: 5
        assert await write((register(7), 1)) == [(6, 7, 1)]


async def test_a_write_that_the_gateway_heard_nothing_of_is_unsure_and_not_repeated():
    async with plc_and_session() as (plc, write, _):
        plc.refuses = lambda function, address, count: 11
        with pytest.raises(Silent, match="the gateway heard nothing of unit 1"):
            await write((register(7), 1), (register(8), 1))
        assert plc.asked == [(16, 7, 2)]


async def test_a_write_without_an_answer_is_not_repeated_by_another_function():
    async with plc_and_session() as (plc, write, _):
        plc.pause_s = 0.5
        with pytest.raises((LinkDown, Silent)):
            await write((register(7), 1), patience_s=0.2)
        await asyncio.sleep(0.5)
        assert plc.asked == [(6, 7, 1)]


# --- what is written beside a value ---


async def test_a_value_is_written_with_its_command_in_one_request():
    async with plc_and_session() as (_, write, held):
        assert await write((register(10, write_with={11: 0, 12: 0xAA}), 1500)) == [(16, 10, 3)]
        assert await held(register(10), register(11), register(12)) == [1500, 0, 0xAA]


async def test_what_is_kept_is_read_and_written_back_in_the_same_request():
    async with plc_and_session([0, 7, 8, 9] + [0] * 96) as (_, write, held):
        point = register(2, type="int16", write_with={1: "keep", 3: "keep", 4: -1})
        assert await write((point, -5)) == [(3, 1, 1), (3, 3, 1), (16, 1, 4)]
        assert await held(*map(register, range(1, 5))) == [7, 0xFFFB, 9, 0xFFFF]


async def test_values_that_belong_together_go_with_one_command():
    async with plc_and_session() as (_, write, held):
        power = register(10, type="int32", write_with={12: "keep", 13: 1})
        hours = register(12, write_with={10: "keep", 11: "keep", 13: 1})
        assert await write((power, 70000), (hours, 8)) == [(16, 10, 4)]
        assert await held(register(10, type="int32"), register(12), register(13)) == [70000, 8, 1]
        assert await write((hours, 9)) == [(3, 10, 2), (16, 10, 4)]
        assert await held(register(10, type="int32"), register(12)) == [70000, 9]


async def test_what_belongs_together_is_never_written_apart():
    async with plc_and_session() as (plc, write, _):
        plc.refuses = lambda function, address, count: 2 if function == 16 else 0
        with pytest.raises(Refused, match=r"write holding registers 10 to 11 \(function 16\)"):
            await write((register(10, write_with={11: 1}), 5))
        assert plc.asked == [(16, 10, 2)]


async def test_numbers_of_the_list_hold_for_what_is_written_beside():
    async with plc_and_session() as (_, write, held):
        await write((register(40011, write_with={40012: 3}), 5), first_address=40001)
        assert await held(register(10), register(11)) == [5, 3]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"register": 10, "write_with": {12: 1}}, "leaves out register 11: one request writes neighbours only"),
        ({"register": 10, "type": "uint32", "write_with": {11: 1}}, "names the point's own register 11"),
        ({"register": 10, "bit": 1, "write_with": {11: 1}}, "`write_with` goes with whole registers"),
        ({"register": 10, "write_function": 6, "write_with": {11: 1}}, "`write_with` goes with whole registers"),
        ({"coil": 10, "write_with": {11: 1}}, "a coil is a single bit; leave out `write_with`"),
        ({"input": 10, "write_with": {11: 1}}, "an input cannot be written; leave out `write_with`"),
        ({"register": 10, "write_with": {11: 70000}}, "65535"),
    ],
)
def test_what_cannot_be_written_in_one_request_is_told(keys, said):
    with pytest.raises(ValidationError) as error:
        Point.model_validate(keys)
    assert said in str(error.value)


def test_a_device_for_single_registers_cannot_write_several_at_once():
    point = register(10, write_with={11: 1})
    assert "needs function 16" in DRIVER.unfit(Device(write_function=6), point)
    assert DRIVER.unfit(Device(), point) == ""
    assert "register 40000, which there is not" in DRIVER.unfit(
        Device(first_address=40001), register(40001, write_with={40000: 1})
    )
