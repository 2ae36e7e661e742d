"""The reader against a real server that counts its requests and refuses some; what it finds out is in test_scout.py."""

import asyncio
from contextlib import asynccontextmanager

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edgeflow.driver import Home
from edgeflow.model import BAD
from edgeflow.testing.drivers import poll_by
from edgeflow_modbus import DRIVER
from edgeflow_modbus.config import Device, Link, Point


class Plc:
    """Registers 0 to 399, each holding its own address; `refuse(address, count)` may give an exception."""

    def __init__(self):
        self.asked = []
        self.refuse = lambda address, count: None
        self.pause_s = 0.0

    async def action(self, function, start, address, count, registers, values):
        self.asked.append((address, count))
        await asyncio.sleep(self.pause_s)
        return self.refuse(address, count)

    def lacks(self, *missing):
        """Refuses whatever touches one of these addresses, as a PLC does."""
        hit = ExcCodes.ILLEGAL_ADDRESS
        self.refuse = lambda address, count: hit if any(address <= a < address + count for a in missing) else None


@asynccontextmanager
async def plc_and_reader(points, words=None, **device):
    """A PLC, and `read()`, which is one poll of the points as (values, faults)."""
    plc, loop = Plc(), asyncio.get_running_loop()
    data = SimData(0, values=words or list(range(400)), datatype=DataType.REGISTERS)
    server = ModbusTcpServer(SimDevice(1, [data], action=plc.action), address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    try:
        link = Link(host="127.0.0.1", port=server.transport.sockets[0].getsockname()[1])
        async with DRIVER.open(link, loop.time() + 10, Home()) as session:
            poll = await session.prepare(Device(**device), points, loop.time())
            assert not plc.asked, "preparing sends nothing"

            async def read(patience_s=10.0):
                plc.asked.clear()
                column = await poll_by(poll, loop.time() + patience_s)
                return list(column.values), column.faults or {}

            yield plc, read
    finally:
        await server.shutdown()


def registers(*addresses):
    return [Point(register=address) for address in addresses]


async def test_a_hundred_neighbours_are_one_request_and_a_gap_is_read_along():
    wanted = [*range(50, 100), *range(49), 109]
    async with plc_and_reader(registers(*wanted)) as (plc, read):
        values, faults = await read()
        assert values == wanted
        assert not faults
        assert plc.asked == [(0, 110)]


async def test_tables_and_distant_registers_are_requests_of_their_own():
    points = [Point(input=300), Point(register=7), Point(input=5), Point(register=200)]
    async with plc_and_reader(points) as (plc, read):
        assert (await read())[0] == [300, 7, 5, 200]
        assert sorted(plc.asked) == [(5, 1), (7, 1), (200, 1), (300, 1)]


async def test_one_missing_register_is_found_remembered_and_read_around():
    async with plc_and_reader(registers(*range(100))) as (plc, read):
        plc.lacks(60)
        for _ in range(3):
            values, faults = await read()
            assert values == [None if a == 60 else a for a in range(100)]
            assert set(faults) == {60}
            assert faults[60][0] is BAD
            assert "read holding register 60 " in faults[60][1]
            assert "exception 2, illegal data address" in faults[60][1]
        assert plc.asked == [(0, 60), (61, 39)]


async def test_a_missing_gap_is_not_read_along_any_more_and_costs_no_value():
    async with plc_and_reader(registers(0, 1, 5, 6)) as (plc, read):
        plc.lacks(3)
        for _ in range(3):
            assert await read() == ([0, 1, 5, 6], {})
        assert plc.asked == [(0, 2), (5, 2)]


async def test_a_device_that_gives_few_registers_at_once_is_asked_for_few():
    async with plc_and_reader(registers(*range(100))) as (plc, read):
        plc.refuse = lambda address, count: ExcCodes.ILLEGAL_VALUE if count > 32 else None
        for _ in range(3):
            assert await read() == (list(range(100)), {})
        assert plc.asked == [(0, 25), (25, 25), (50, 25), (75, 25)]


async def test_a_limit_in_the_settings_is_never_exceeded():
    async with plc_and_reader(registers(*range(100)), max_registers=11) as (plc, read):
        assert (await read())[0] == list(range(100))
        assert max(count for _, count in plc.asked) == 11


async def test_a_long_value_over_a_missing_register_is_bad_but_the_short_one_beside_it_is_not():
    points = [Point(register=10), Point(register=10, type="uint32"), Point(register=12)]
    async with plc_and_reader(points) as (plc, read):
        plc.lacks(11)
        for _ in range(3):
            values, faults = await read()
            assert values == [10, None, 12]
            assert set(faults) == {1}


async def test_learning_is_spread_over_polls_when_the_device_is_slow():
    """Every poll ends by its deadline, and what is not known yet is BAD and says so."""
    async with plc_and_reader(registers(*range(100))) as (plc, read):
        plc.lacks(60)
        plc.pause_s = 0.6
        _, faults = await read(patience_s=1.0)
        assert plc.asked == [(0, 100)], "there is no time for a second slow request"
        assert set(faults) == set(range(100))
        assert all("no time was left for it" in reason for _, reason in faults.values())
        plc.pause_s = 0.0
        for _ in range(20):
            values, faults = await read(patience_s=1.0)
            assert plc.asked
        assert values == [None if a == 60 else a for a in range(100)]
        assert set(faults) == {60}


async def test_a_busy_device_is_not_taken_apart():
    async with plc_and_reader(registers(*range(100))) as (plc, read):
        plc.refuse = lambda address, count: ExcCodes.DEVICE_BUSY
        values, faults = await read()
        assert values == [None] * 100
        assert set(faults) == set(range(100))
        assert "exception 6, server device busy" in faults[0][1]
        assert plc.asked == [(0, 100), (0, 1)], "a single value tells that it is not the size"
        plc.refuse = lambda address, count: None
        assert await read() == (list(range(100)), {})
        assert plc.asked == [(0, 100)]


async def test_a_silent_unit_behind_a_gateway_costs_one_request_per_poll():
    async with plc_and_reader(registers(0, 100, 200, 300)) as (plc, read):
        plc.refuse = lambda address, count: ExcCodes.GATEWAY_NO_RESPONSE
        assert set((await read())[1]) == {0, 1, 2, 3}
        assert plc.asked == [(0, 1)]


async def test_numbers_that_are_none_are_bad():
    """float32: 7FC00000 is NaN, 7F800000 infinite, 42280000 is 42."""
    words = [0x7FC0, 0x0000, 0x4228, 0x0000, 0x7F80, 0x0000, 7]
    points = [Point(register=a, type="float32") for a in (0, 2, 4)] + registers(6)
    async with plc_and_reader(points, words) as (_, read):
        values, faults = await read()
        assert values == [None, 42.0, None, 7]
        assert faults == {0: (BAD, "not a number"), 2: (BAD, "infinite")}


async def test_a_list_that_counts_from_one_is_read_one_lower():
    points = registers(1, 100, 0)
    async with plc_and_reader(points, first_address=1) as (_, read):
        values, faults = await read()
        assert values == [0, 99, None]
        assert faults == {2: (BAD, "there is no holding register 0 where the first address is 1")}


async def test_no_points_are_no_requests():
    async with plc_and_reader([]) as (plc, read):
        assert await read() == ([], {})
        assert not plc.asked


async def test_a_device_that_refuses_everything_while_it_starts_is_read_as_soon_as_it_has_started():
    async with plc_and_reader(registers(*range(30), *range(100, 130), 200)) as (plc, read):
        plc.lacks(*range(400))
        for _ in range(40):
            values, faults = await read()
            assert not any(values)
            assert len(faults) == 61
        assert len(plc.asked) <= 8, "it is asked, but not flooded"
        plc.refuse = lambda address, count: None
        for _ in range(2):
            await read()
        values, faults = await read()
        assert values == [*range(30), *range(100, 130), 200]
        assert not faults
