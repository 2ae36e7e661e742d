"""Answers that are lost, slow or refused for another reason than usual: what was answered is good, with its own time."""

import asyncio
import random
import struct

import pytest

from edgeflow.driver import Home, poll
from edgeflow.errors import LinkDown, Rejected, Silent
from edgeflow.model import BAD
from edgeflow.testing.loop import in_virtual_time, run
from edgeflow_modbus.config import Device, Point
from edgeflow_modbus.cost import ETHERNET
from edgeflow_modbus.learned import Learned
from edgeflow_modbus.pdu import Refused, Table
from edgeflow_modbus.reader import PointsReader
from edgeflow_modbus.wire import Roll


class Wire:
    """A wire to one unit of which every register holds its own address; `fate(number, table, start, count)` says what
    becomes of a request: None, an exception code, or "lost"."""

    tells_apart = True

    def __init__(self, fate=lambda number, table, start, count: None, takes_s=0.005):
        self.fate, self.takes_s, self.asked, self.roll = fate, takes_s, [], Roll()
        self.roll.joins(1)

    def bind(self, request):
        function, start, count = struct.unpack(">BHH", request.pdu)
        table = next(table for table in Table if table.function == function)

        async def ask(deadline):
            self.asked.append((table, start, count))
            fate = self.fate(len(self.asked), table, start, count)
            if fate == "lost":
                await asyncio.sleep(max(0.0, deadline - asyncio.get_running_loop().time()))
                said = f"unit 1 did not answer in time when asked to {request.about}"
                raise LinkDown(said) if self.roll.missed(1) else Silent(said)
            await asyncio.sleep(self.takes_s)
            self.roll.heard(1)
            if fate is not None:
                raise Refused(request.unit, function, request.about, fate)
            if table.bits:
                return sum((start + i & 1) << i for i in range(count)).to_bytes((count + 7) // 8, "little")
            return struct.pack(f">{count}H", *range(start, start + count))

        return ask


def reader_of(wire, points, home=None):
    learned = Learned(home or Home(), "there", 1, ETHERNET)
    return PointsReader(wire, Device(), points, learned, asyncio.get_running_loop().time)


async def requests(reader, timeout_s=1.0):
    """One poll as the shell makes it: what each request brought, by point (value, fault or None, time)."""
    found, lost, time = {}, 0, asyncio.get_running_loop().time
    for ask in reader():
        try:
            column = await ask(time() + timeout_s)
        except Silent as error:
            lost += 1
            found |= {i: (None, (BAD, str(error)), time()) for i in error.points}
            continue
        points = range(len(column.values)) if column.points is None else column.points
        at = column.answered_s or time()
        for n, (i, value) in enumerate(zip(points, column.values, strict=True)):
            found[i] = value, (column.faults or {}).get(n), at
    return found


def registers(*addresses):
    return [Point(register=address) for address in addresses]


DISTANT = (0, 1000, 2000, 3000, 4000)


@in_virtual_time
async def test_every_fourth_answer_is_lost_and_each_value_is_good_again_and_again():
    wire = Wire(lambda number, *_: "lost" if number % 4 == 0 else None)
    reader, good = reader_of(wire, registers(*DISTANT)), [0] * len(DISTANT)
    for _ in range(60):
        found = await requests(reader)
        for i, (value, fault, _) in found.items():
            assert (value, fault) == (DISTANT[i], None) or "did not answer in time" in fault[1]
            good[i] += fault is None
        await asyncio.sleep(1)
    assert min(good) >= 30, "what is lost is asked for once more, which may be a fourth request too"
    assert sum(good) >= 250


@pytest.mark.parametrize(("count", "share"), [(4, 0.1), (4, 0.4), (5, 0.25), (5, 0.4), (52, 0.1), (52, 0.25)])
def test_loss_by_chance_is_never_blamed_on_addresses(count, share):
    async def main():
        chance = random.Random(count)
        points, home = registers(*(200 * i for i in range(count))), Home()
        wire = Wire(lambda *_: "lost" if chance.random() < share else None)
        reader, good = reader_of(wire, points, home), 0
        for _ in range(60):
            try:
                found = await requests(reader)
            except LinkDown:
                wire.roll = Roll()
                wire.roll.joins(1)
                reader = reader_of(wire, points, home)
                continue
            assert not any(fault and "falls silent" in fault[1] for _, fault, _ in found.values())
            good += sum(fault is None for _, fault, _ in found.values())
            await asyncio.sleep(1)
        assert good > 0.4 * 60 * count * (1 - share) ** 2

    run(main())


@pytest.mark.parametrize("mute", [{2000}, {0}, {1000, 4000}])
def test_an_address_that_is_never_answered_is_named_and_the_others_stay_good(mute):
    async def main():
        wire = Wire(lambda number, table, start, count: "lost" if mute & set(range(start, start + count)) else None)
        wire.roll.heard(1)
        reader, wanted = reader_of(wire, registers(*DISTANT)), {i for i, a in enumerate(DISTANT) if a in mute}
        for _ in range(8):
            found = await requests(reader)
            assert {i for i, (_, fault, _) in found.items() if fault} == wanted
            await asyncio.sleep(1)
        assert all("falls silent" in found[i][1][1] for i in wanted)
        wire.asked.clear()
        await requests(reader)
        assert not any(start in mute for _, start, _ in wire.asked), "it is asked for only now and then"
        mute.clear()
        for _ in range(200):
            found = await requests(reader)
            await asyncio.sleep(30)
        assert not any(fault for _, fault, _ in found.values())

    mute = set(mute)
    run(main())


@pytest.mark.parametrize("missing", [0, 37, 99])
def test_a_register_that_silences_a_whole_read_is_found(missing):
    """The device answers everything but what touches this register; nothing else is lost for long."""

    async def main():
        wire = Wire(lambda number, table, start, count: "lost" if start <= missing < start + count else None)
        wire.roll.heard(1)
        home, lost = Home(), 0
        reader = reader_of(wire, registers(*range(100)), home)
        for _ in range(40):
            try:
                found = await requests(reader)
            except LinkDown:
                lost += 1
                wire.roll = Roll()
                wire.roll.joins(1)
                reader = reader_of(wire, registers(*range(100)), home)
            await asyncio.sleep(1)
        assert lost <= 3
        assert {i for i, (_, fault, _) in found.items() if fault} == {missing}

    run(main())


# --- limits that nobody declared ------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1, 4, 5, 6, 7, 99])
@pytest.mark.parametrize(("limit", "table"), [(10, "register"), (1, "input"), (33, "input"), (100, "coil")])
def test_a_limit_is_found_whatever_exception_says_it(code, limit, table):
    async def main():
        home, points = Home(), [Point(**{table: i}) for i in range(40 if table != "coil" else 400)]
        wire = Wire(lambda number, table, start, count: code if count > limit else None)
        reader = reader_of(wire, points, home)
        for n in range(20):
            found = await requests(reader)
            bad = [fault for _, fault, _ in found.values() if fault]
            assert len(found) == len(points)
            assert not bad, f"poll {n}: {bad[0]}"
            await asyncio.sleep(1)
        wire.asked.clear()
        reader = reader_of(wire, points, home)
        assert not any(fault for _, fault, _ in (await requests(reader)).values())
        assert max(count for _, _, count in wire.asked) <= limit, "it is remembered"

    run(main())


@in_virtual_time
async def test_a_limit_of_one_table_is_not_one_of_the_other():
    wire = Wire(lambda number, table, start, count: 6 if table is Table.INPUT and count > 8 else None)
    reader = reader_of(wire, [*registers(*range(100)), *(Point(input=i) for i in range(24))])
    for _ in range(12):
        assert not any(fault for _, fault, _ in (await requests(reader)).values())
        await asyncio.sleep(1)
    reader._due = float("inf")
    wire.asked.clear()
    await requests(reader)
    assert sorted((table.title, count) for table, _, count in wire.asked) == [
        ("holding register", 100), ("input register", 8), ("input register", 8), ("input register", 8),
    ]  # fmt: skip


@pytest.mark.parametrize("code", [2, 3, 4, 6])
def test_a_limit_that_appears_later_costs_no_value(code):
    async def main():
        limit = [125]
        wire = Wire(lambda number, table, start, count: code if count > limit[0] else None)
        reader = reader_of(wire, registers(*range(60)))
        for n in range(30):
            limit[0] = 125 if n < 10 else 16
            assert not any(fault for _, fault, _ in (await requests(reader)).values()), n
            await asyncio.sleep(1)
        reader._due = float("inf")
        wire.asked.clear()
        await requests(reader)
        assert len(wire.asked) <= 5

    run(main())


@in_virtual_time
async def test_a_device_that_is_busy_for_a_while_is_asked_little_and_read_as_before_afterwards():
    busy = [False]
    wire = Wire(lambda *_: 6 if busy[0] else None)
    reader = reader_of(wire, registers(*range(50), *range(1000, 1050)))
    for n in range(60):
        busy[0] = 20 <= n < 30
        wire.asked.clear()
        found = await requests(reader)
        assert {fault is None for _, fault, _ in found.values()} == {not busy[0]}
        assert len(wire.asked) <= (4 if busy[0] else 6), n
        await asyncio.sleep(1)


@in_virtual_time
async def test_one_register_that_fails_does_not_cost_the_others():
    wire = Wire(lambda number, table, start, count: 4 if start <= 7 < start + count else None)
    reader = reader_of(wire, registers(*range(20)))
    for _ in range(10):
        found = await requests(reader)
        assert {i for i, (_, fault, _) in found.items() if fault} == {7}
        assert "exception 4" in found[7][1][1]
        await asyncio.sleep(1)


# --- times ----------------------------------------------------------------------------------------------


@in_virtual_time
async def test_every_value_has_the_time_of_its_own_answer():
    """Six distant registers of a unit that takes 300 ms; a sum of the first and the last has the time of the first."""
    wire = Wire(takes_s=0.3)
    points = [*registers(*range(0, 6000, 1000)), Point(register=0, plus=[5000])]
    reader, time = reader_of(wire, points), asyncio.get_running_loop().time
    for _ in range(12):
        begun = time()
        found = await requests(reader)
        at = [round(found[i][2] - begun, 3) for i in range(7)]
        assert at[:6] == [0.3, 0.6, 0.9, 1.2, 1.5, 1.8]
        assert (found[6][0], at[6]) == (5000, 0.3)
        await asyncio.sleep(5)


@in_virtual_time
async def test_a_sum_of_which_a_part_is_lost_is_bad_and_its_other_parts_are_not():
    wire = Wire(lambda number, table, start, count: "lost" if start == 1000 else None)
    reader = reader_of(wire, [*registers(0, 1000), Point(register=0, plus=[1000])])
    found = await requests(reader)
    assert found[0][:2] == (0, None)
    assert "did not answer" in found[1][1][1]
    assert "did not answer" in found[2][1][1]


@in_virtual_time
async def test_a_poll_of_a_silent_unit_ends_after_two_requests():
    wire = Wire(lambda *_: "lost")
    wire.roll.heard(1)
    reader = reader_of(wire, registers(*DISTANT))
    time = asyncio.get_running_loop().time
    with pytest.raises(Rejected, match="did not answer in time"):
        await poll(reader, lambda ask: ask(time() + 1))
    assert len(wire.asked) == 2
