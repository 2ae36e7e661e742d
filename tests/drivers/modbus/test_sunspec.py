"""SunSpec values by name, from servers that hold chains laid out by hand from the published models."""

import asyncio
import struct
from contextlib import asynccontextmanager

import pytest
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edgeflow.driver import Home
from edgeflow.errors import Rejected
from edgeflow.model import BAD
from edgeflow.testing.drivers import poll_by
from edgeflow_modbus import DRIVER
from edgeflow_modbus.codec import NOT_AVAILABLE
from edgeflow_modbus.config import Device, Link, Point
from edgeflow_modbus.models import models

MARKER = [0x5375, 0x6E53]  # "SunS"
END = [0xFFFF, 0]


def model(number, length, words, blank=0xFFFF):
    """A block [number][length][values]; `words` by their offset from the block's first register."""
    held = [number, length] + [blank] * length
    for at, values in words.items():
        held[at : at + len(values)] = values
    assert len(held) == length + 2
    return held


def text(value, registers):
    raw = value.encode().ljust(2 * registers, b"\0")
    return list(struct.unpack(f">{registers}H", raw))


def long(value):
    return [value >> 16, value & 0xFFFF]


def real(value):
    return list(struct.unpack(">2H", struct.pack(">f", value)))


def signed(value):
    return [value & 0xFFFF]


# Offsets: SunSpec models 1, 103, 113, 160, 203, 213 as the SunSpec Alliance publishes them.
COMMON = model(1, 66, {2: text("Maker", 16), 18: text("GEN24 10.0", 16), 34: [0] * 8, 50: text("S-123", 16)})
INVERTER = model(
    103,
    50,
    {
        2: [1234, 411, 412, 0xFFFF], 6: signed(-2), 10: [2301, 2302, 2303], 13: signed(-1), 14: signed(-500),
        15: signed(1), 16: [5001], 17: signed(-2), 22: signed(-999), 23: signed(-1), 24: long(70_000), 26: [0],
        27: [0xFFFF], 33: [0x8000], 37: signed(-1), 38: [4], 40: long(0x80),
    },
)  # fmt: skip
INVERTER_FLOAT = model(
    113,
    60,
    {
        2: real(12.34), 16: real(230.1), 22: real(-5000.0), 24: real(50.01), 32: real(70_000.0),
        34: real(float("nan")), 48: [4],
    },
)  # fmt: skip
STRINGS = model(
    160,
    48,
    {
        2: signed(-2), 3: signed(-1), 4: signed(0), 5: signed(0), 8: [2],
        10: [1, *text("String 1", 8), 550, 6001, 3300], 22: long(123_456),
        30: [2, *text("String 2", 8), 0, 0, 0], 42: long(0),
    },
)  # fmt: skip
METER = model(
    203,
    105,
    {
        2: signed(-30), 6: signed(-1), 16: [500], 17: signed(-1), 18: signed(-1234), 22: [0], 33: signed(-95),
        37: signed(-2), 38: long(5), 46: long(4_000_000_000), 48: long(0), 54: signed(1), 105: long(0),
    },
    blank=0x8000,
)  # fmt: skip
METER_FLOAT = model(
    213, 124, {2: real(-3.0), 26: real(50.0), 28: real(-1234.0), 68: real(4.0e10), 124: long(4)}, 0x7FC0
)

INTEGERS = [*MARKER, *COMMON, *INVERTER, *STRINGS, *METER, *END]
FLOATS = [*MARKER, *COMMON, *INVERTER_FLOAT, *METER_FLOAT, *END]


class Server:
    """Holding registers with a chain; everything else is refused."""

    def __init__(self):
        self.asked = []
        self.pause_s = 0.0
        self.refusal = None

    async def action(self, function, start, address, count, registers, values):
        self.asked.append((address, count))
        await asyncio.sleep(self.pause_s)
        return self.refusal


@asynccontextmanager
async def sunspec_device(words, base=40000):
    """A server, and an open session with it."""
    server, loop = Server(), asyncio.get_running_loop()
    data = SimData(base, values=words, datatype=DataType.REGISTERS)
    running = ModbusTcpServer(SimDevice(1, [data], action=server.action), address=("127.0.0.1", 0))
    await running.serve_forever(background=True)
    try:
        link = Link(host="127.0.0.1", port=running.transport.sockets[0].getsockname()[1])
        async with DRIVER.open(link, loop.time() + 10, Home()) as session:
            yield server, session
    finally:
        await running.shutdown()


async def polled(session, points, device=None):
    """One poll of the points: values, and faults by index."""
    loop = asyncio.get_running_loop()
    reader = await session.prepare(device or Device(), points, loop.time() + 10)
    column = await poll_by(reader, loop.time() + 10)
    return list(column.values), {i: reason for i, (quality, reason) in (column.faults or {}).items() if quality == BAD}


def named(*names):
    return [Point(sunspec=name) for name in names]


@pytest.mark.parametrize("base", [40000, 50000, 0])
async def test_values_of_integer_models_come_with_their_scale_factors_wherever_the_chain_begins(base):
    names = ["common/Mn", "common/SN", "inverter/A", "inverter/PhVphB", "inverter/W", "inverter/Hz", "inverter/PF"]
    names += ["inverter/WH", "inverter/St", "inverter/Evt1", "meter/W", "meter/TotWhImp", "meter/A", "meter/PF"]
    wanted = ["Maker", "S-123", 12.34, 230.2, -5000.0, 50.01, -99.9, 70_000.0, 4, 0x80]
    wanted += [-1234.0, 40_000_000_000.0, -3.0, -0.95]
    async with sunspec_device(INTEGERS, base) as (_, session):
        assert await polled(session, named(*names)) == (wanted, {})


async def test_the_same_points_fit_a_device_with_float_models():
    names = ["inverter/A", "inverter/PhVphA", "inverter/W", "inverter/Hz", "inverter/WH", "inverter/St"]
    names += ["meter/W", "meter/A", "meter/TotWhImp", "meter/Evt"]
    wanted = [12.34, 230.1, -5000.0, 50.01, 70_000.0, 4, -1234.0, -3.0, 4.0e10, 4]
    async with sunspec_device(FLOATS) as (_, session):
        values, faults = await polled(session, named(*names))
    assert values == [pytest.approx(value, rel=1e-6) for value in wanted]
    assert not faults


async def test_the_first_alternative_that_the_device_has_is_taken():
    async with sunspec_device(FLOATS) as (_, session):
        assert await polled(session, [Point(sunspec=["103/W", "113/W"])]) == ([-5000.0], {})


async def test_strings_of_an_inverter_are_blocks_that_repeat():
    names = ["mppt/N", "mppt/1/IDStr", "mppt/1/DCA", "mppt/1/DCV", "mppt/1/DCW", "mppt/1/DCWH", "mppt/2/IDStr"]
    async with sunspec_device(INTEGERS) as (_, session):
        values, faults = await polled(session, named(*names, "mppt/2/DCWH", "mppt/3/DCW"))
    assert values == [2, "String 1", 5.5, 600.1, 3300.0, 123_456.0, "String 2", None, None]
    assert faults == {7: NOT_AVAILABLE, 8: "mppt/3/DCW: the device's model 160 has only 2 blocks"}


async def test_what_a_model_does_not_implement_is_bad_whatever_its_type():
    names = ["inverter/AphC", "inverter/DCA", "inverter/TmpCab", "common/Opt", "inverter/Evt2", "inverter/StVnd"]
    names += ["meter/TotWhImpPhA", "meter/VA"]
    async with sunspec_device(INTEGERS) as (_, session):
        values, faults = await polled(session, named(*names))
    assert values == [None] * len(names)
    assert set(faults.values()) == {NOT_AVAILABLE}
    async with sunspec_device(FLOATS) as (_, session):
        assert await polled(session, named("inverter/DCA")) == ([None], {0: "not a number"})


async def test_a_value_whose_scale_factor_is_not_there_is_bad():
    held = model(103, 50, {14: [500], 15: [0x8000]})
    async with sunspec_device([*MARKER, *held, *END]) as (_, session):
        _, faults = await polled(session, named("inverter/W"))
    assert faults == {0: f"{NOT_AVAILABLE} (its scale factor)"}


async def test_a_point_that_the_device_does_not_have_is_a_fault_of_that_point_only():
    async with sunspec_device(FLOATS) as (_, session):
        values, faults = await polled(session, named("inverter/W", "103/W", "mppt/1/DCW", "meter.2/W", "meter/W"))
    assert values == [-5000.0, None, None, None, -1234.0]
    has = "unit 1 has no such model; it has 1 (common), 113 (inverter), 213 (meter)"
    assert faults == {1: f"103/W: {has}", 2: f"mppt/1/DCW: {has}", 3: f"meter.2/W: {has}"}


async def test_a_model_that_is_cut_short_lacks_only_its_last_values():
    async with sunspec_device([*MARKER, *COMMON[:1], 48, *COMMON[2:50], *END]) as (_, session):
        values, faults = await polled(session, named("common/Mn", "common/SN"))
    assert values == ["Maker", None]
    assert faults == {1: "common/SN: the device's model 1 ends before it"}


async def test_a_second_meter_of_the_same_unit_is_asked_for_by_its_number():
    second = model(203, 105, {18: signed(77), 22: [0]})
    serial = model(1, 65, {50: text("M-2", 16)})
    async with sunspec_device([*MARKER, *COMMON, *METER, *serial, *second, *END]) as (_, session):
        found = await polled(session, named("meter/W", "meter.2/W", "common.2/SN"))
    assert found == ([-1234.0, 77.0, "M-2"], {})


async def test_models_that_nobody_knows_are_passed_over_and_registers_read_beside_them():
    other = model(64112, 5, {2: [9, 8, 7]})
    async with sunspec_device([*MARKER, *COMMON, *other, *METER, *END]) as (_, session):
        points = [Point(sunspec="meter/W"), Point(register=40072), Point(sunspec="inverter/St", names={4: "mppt"})]
        values, faults = await polled(session, points)
    assert values == [-1234.0, 9, None]
    assert set(faults) == {2}


async def test_names_can_be_given_to_the_numbers_of_a_state():
    async with sunspec_device(INTEGERS) as (_, session):
        points = [Point(sunspec="inverter/St", names={4: "feeding"}), Point(sunspec="inverter/St", names={1: "off"})]
        values, faults = await polled(session, points)
    assert values == ["feeding", None]
    assert faults == {1: "the device gives 4, for which `names` has no name"}


async def test_addresses_count_as_the_device_s_list_does():
    async with sunspec_device(INTEGERS) as (_, session):
        device = Device(first_address=40001)
        points = [Point(sunspec="inverter/W"), Point(register=40001 + 40000)]
        assert await polled(session, points, device) == ([-5000.0, 0x5375], {})


async def test_the_chain_is_walked_once_for_a_session():
    async with sunspec_device(INTEGERS) as (server, session):
        loop = asyncio.get_running_loop()
        await session.prepare(Device(), named("meter/W"), loop.time() + 10)
        assert [address for address, _ in server.asked] == [40000, 40002, 40070, 40122, 40172, 40279]
        server.asked.clear()
        await session.prepare(Device(), named("inverter/W"), loop.time() + 10)
        assert not server.asked


async def test_a_slow_device_is_looked_through_in_several_goes():
    async with sunspec_device(INTEGERS) as (server, session):
        loop = asyncio.get_running_loop()
        server.pause_s = 0.4
        with pytest.raises(Rejected, match="SunSpec models of unit 1 are still being looked up"):
            await session.prepare(Device(), named("meter/W"), loop.time() + 1.0)
        server.pause_s = 0.0
        assert await polled(session, named("meter/W")) == ([-1234.0], {})
        assert len([start for start, _ in server.asked if start == 40000]) == 1, "it goes on where it was"


async def test_a_device_without_sunspec_is_told_in_plain_words_and_asked_again_later():
    async with sunspec_device([1, 2, 3, 4]) as (server, session):
        loop = asyncio.get_running_loop()
        for _ in range(2):
            with pytest.raises(Rejected) as error:
                await session.prepare(Device(), named("meter/W"), loop.time() + 10)
        assert "unit 1 has no SunSpec models (no `SunS` at 40000, 50000 or 0)" in str(error.value)
        assert [address for address, _ in server.asked] == [40000] * 2, "the others are not there"


async def test_what_else_a_device_without_sunspec_has_is_read():
    async with sunspec_device([1, 2, 3, 4]) as (_, session):
        values, faults = await polled(session, [Point(register=40001), Point(sunspec="meter/W")])
    assert values == [2, None]
    assert faults[1].startswith("meter/W: unit 1 has no SunSpec models")


async def test_a_busy_device_is_asked_again():
    async with sunspec_device(INTEGERS) as (server, session):
        loop = asyncio.get_running_loop()
        server.refusal = ExcCodes.DEVICE_BUSY
        with pytest.raises(Rejected, match="exception 6, server device busy"):
            await session.prepare(Device(), named("meter/W"), loop.time() + 10)
        server.refusal = None
        assert await polled(session, named("meter/W")) == ([-1234.0], {})


async def test_a_chain_without_end_is_not_followed_for_ever():
    async with sunspec_device([*MARKER, *[0] * 1000]) as (server, session):
        _, faults = await polled(session, [Point(register=40000), Point(sunspec="meter/W")])
        assert "has no such model" in faults[1]
        assert len(server.asked) < 110


async def test_a_chain_that_just_stops_ends_there():
    async with sunspec_device([*MARKER, *COMMON, *METER]) as (_, session):
        assert await polled(session, named("meter/W")) == ([-1234.0], {})


async def test_sunspec_values_cannot_be_written():
    async with sunspec_device(INTEGERS) as (_, session):
        with pytest.raises(Rejected, match="SunSpec meter/W is read only"):
            await session.write(Device(), named("meter/W"), [1.0], asyncio.get_running_loop().time() + 10)


# --- the models as data -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", models())
def test_the_values_of_a_model_lie_one_after_the_other(number):
    """The published files give names, types and sizes in order; so what they add up to are the offsets."""
    known = models()[number]
    for values, begin, length in ((known.values, 2, known.length), (known.block, 0, known.block_length)):
        at = begin
        for value in values.values():
            assert value.at == at, value.name
            at += value.count
            assert value.factor is None or known.values[value.factor.lower()].keys["type"] == "int16"
        assert at == begin + length


@pytest.mark.parametrize(
    ("number", "length", "offsets"),
    [
        (1, 65, {"Mn": 2, "Md": 18, "SN": 50}),
        (103, 50, {"A": 2, "A_SF": 6, "PhVphA": 10, "V_SF": 13, "W": 14, "W_SF": 15, "Hz": 16, "VA": 18, "PF": 22,
                   "WH": 24, "WH_SF": 26, "St": 38}),
        (113, 60, {"A": 2, "PhVphA": 16, "W": 22, "Hz": 24, "VA": 26, "PF": 30, "WH": 32, "St": 48}),
        (203, 105, {"A": 2, "A_SF": 6, "PhV": 7, "V_SF": 15, "Hz": 16, "W": 18, "W_SF": 22, "VA": 23, "VAR": 28,
                    "PF": 33, "TotWhExp": 38, "TotWhImp": 46, "TotWhImpPhA": 48, "TotWh_SF": 54, "Evt": 105}),
        (213, 124, {"A": 2, "PhV": 10, "Hz": 26, "W": 28, "WphA": 30, "VA": 36, "VAR": 44, "PF": 52,
                    "TotWhExp": 60, "TotWhImp": 68, "Evt": 124}),
    ],
)  # fmt: skip
def test_values_are_where_the_published_models_have_them(number, length, offsets):
    known = models()[number]
    assert known.length == length
    assert {name: known.values[name.lower()].at for name in offsets} == offsets


def test_all_models_of_inverters_meters_and_strings_are_there():
    assert {*models()} >= {1, 101, 102, 103, 111, 112, 113, 160, 201, 202, 203, 204, 211, 212, 213}
