"""Several units behind one link: a silent one is told from a lost link, and costs the others nothing."""

import asyncio
import struct
from contextlib import asynccontextmanager

import pytest

from edgeflow.driver import Home
from edgeflow.errors import LinkDown, Silent
from edgeflow.testing.drivers import poll_by
from edgeflow_modbus import DRIVER
from edgeflow_modbus.config import Device, Link, Point
from edgeflow_modbus.frame import Rtu
from edgeflow_modbus.pdu import Table
from edgeflow_modbus.wire import Roll

from .lines import serving


def soon(seconds=5.0):
    return asyncio.get_running_loop().time() + seconds


class Gateway:
    """Units on a bus behind a TCP gateway, or behind a converter that passes RTU on; some of them are `dead`.

    A unit's registers hold its own number. What a dead unit would have said is kept in `late`.
    """

    def __init__(self, transport):
        self.transport, self.dead, self.late, self.connections = transport, set(), [], 0
        self.asked = []

    async def serve(self, reader, writer):
        self.connections += 1
        self.writer = writer
        rtu = self.transport != "tcp"
        while True:
            request = await reader.readexactly(8 if rtu else 12)
            unit, function, _, count = struct.unpack(">BBHH", request[:6] if rtu else request[6:])
            self.asked.append(unit)
            body = struct.pack(f">BBB{count}H", unit, function, 2 * count, *[unit] * count)
            whole = Rtu().pack(body) if rtu else request[:4] + len(body).to_bytes(2, "big") + body
            if unit in self.dead:
                self.late.append(whole)
            else:
                writer.write(whole)


@asynccontextmanager
async def gateway(transport, *units):
    """A gateway, a session, and `read(unit, seconds)`."""
    behind = Gateway(transport)
    async with serving(behind.serve) as port:
        link = Link(transport=transport, host="127.0.0.1", port=port)
        async with DRIVER.open(link, soon(), Home()) as session:
            points = [Point(register=i) for i in range(3)]
            readers = {unit: await session.prepare(Device(unit=unit), points, soon()) for unit in units}

            async def read(unit, seconds=5.0):
                return list((await poll_by(readers[unit], soon(seconds))).values)

            yield behind, session, read


both = pytest.mark.parametrize("transport", ["tcp", "rtu-over-tcp"])


@both
async def test_a_silent_unit_is_silent_and_the_others_go_on(transport):
    async with gateway(transport, 1, 2, 3) as (behind, session, read):
        behind.dead = {2}
        for _ in range(3):
            assert await read(1) == [1, 1, 1]
            with pytest.raises(
                Silent, match=r"unit 2 behind 127.0.0.1:\d+ did not answer in time when asked to read ho"
            ):
                await read(2, 0.05)
            assert await read(3) == [3, 3, 3]
        assert behind.connections == 1
        assert session.stats.silences == 3


@both
async def test_a_silent_unit_that_is_asked_first_does_not_hide_the_others(transport):
    async with gateway(transport, 1, 2) as (behind, _, read):
        behind.dead = {1}
        with pytest.raises(Silent):
            await read(1, 0.05)
        assert await read(2) == [2, 2, 2]
        with pytest.raises(Silent):
            await read(1, 0.05)


@both
async def test_the_late_answer_of_a_silent_unit_is_a_stray(transport):
    async with gateway(transport, 1, 2) as (behind, session, read):
        assert await read(1) == [1, 1, 1]
        behind.dead = {2}
        with pytest.raises(Silent):
            await read(2, 0.05)
        behind.writer.write(behind.late.pop())
        assert await read(1) == [1, 1, 1]
        behind.dead = set()
        assert await read(2) == [2, 2, 2]
        assert session.stats.strays == 1


@both
async def test_when_nobody_answers_the_link_is_lost(transport):
    async with gateway(transport, 1, 2) as (behind, _, read):
        assert [await read(1), await read(2)] == [[1] * 3, [2] * 3]
        behind.dead = {1, 2}
        for unit in (1, 2):
            with pytest.raises(Silent):
                await read(unit, 0.05)
        with pytest.raises(LinkDown, match="did not answer in time"):
            await read(1, 0.05)
        with pytest.raises(LinkDown):
            await read(2)


@both
async def test_the_only_unit_of_a_link_is_the_link(transport):
    async with gateway(transport, 1) as (behind, _, read):
        behind.dead = {1}
        with pytest.raises(LinkDown, match="did not answer in time"):
            await read(1, 0.05)


@both
async def test_who_searches_is_told_of_every_silent_unit(transport):
    async with gateway(transport) as (behind, session, _):
        behind.dead = {1, 2, 3, 4, 6}
        session.search()
        found, silent = [], []
        for unit in range(1, 7):
            try:
                found.append(await session.read_raw(unit, Table.REGISTER, 0, 2, soon(0.05)))
            except Silent as error:
                silent.append(str(error).split(" behind")[0])
        assert found == [bytes((0, 5, 0, 5))]
        assert silent == [f"unit {unit}" for unit in (1, 2, 3, 4, 6)]


@both
async def test_a_second_request_while_one_is_in_flight_is_a_bug(transport):
    async with gateway(transport, 1, 2) as (behind, _, read), asyncio.TaskGroup() as group:
        behind.dead = {1}

        async def first():
            with pytest.raises(Silent):
                await read(1, 0.1)

        group.create_task(first())
        await asyncio.sleep(0.01)
        with pytest.raises(RuntimeError, match="a second request while one is in flight"):
            await read(2)


def test_three_units_that_fall_silent_one_after_the_other_are_a_lost_link():
    roll = Roll()
    for unit in range(20):
        roll.joins(unit)
        roll.heard(unit)
    assert [roll.missed(unit) for unit in (1, 2, 3)] == [False, False, True]


def test_units_that_never_answered_say_nothing_of_the_link_while_there_are_others():
    roll = Roll()
    for unit in range(20):
        roll.joins(unit)
    assert not any(roll.missed(unit) for unit in range(19))
    assert roll.missed(19)
    roll.heard(7)
    assert not any(roll.missed(unit) for unit in range(7))


async def test_a_broadcast_goes_to_all_and_is_answered_by_nobody():
    async with gateway("rtu-over-tcp", 1) as (behind, session, read):
        await session.write(Device(unit=0), [Point(register=4)], [7], soon())
        assert await read(1) == [1, 1, 1]
        assert behind.asked[0] == 0
        with pytest.raises(Exception, match="nobody answers as unit 0"):
            await session.read_raw(0, Table.REGISTER, 0, 1, soon())
