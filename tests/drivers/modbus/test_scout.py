"""What a reader finds out, against model devices that refuse what they do not have, in virtual time."""

import asyncio
import json
import struct
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from edgeflow.driver import Home
from edgeflow.errors import LinkDown
from edgeflow.model import BAD
from edgeflow.testing.drivers import poll_by
from edgeflow.testing.loop import in_virtual_time, run
from edgeflow_modbus.config import Device, Point
from edgeflow_modbus.cost import ETHERNET, Cost, Measure
from edgeflow_modbus.learned import Learned
from edgeflow_modbus.pdu import Refused, Table
from edgeflow_modbus.reader import PointsReader

WHERE = "10.0.0.5:502"
COST = Cost(5e-3, 5e-5)


def held(table, address):
    """What a model device holds: a function of the table and the address alone."""
    return (address * 131 + table.function * 7919) & (1 if table.bits else 0xFFFF)


@dataclass
class Model:
    """A wire to a device without some addresses, that gives only so many at once, and none across some borders."""

    holes: set = field(default_factory=set)  # (table, address)
    borders: set = field(default_factory=set)
    limit: int = 125
    mute: set = field(default_factory=set)
    forbidden: set = field(default_factory=set)
    groups: list = field(default_factory=list)
    cost: Cost = COST
    asked: list = field(default_factory=list)
    spares: set = field(default_factory=set)
    tells_apart: bool = True

    def refuses(self, table, start, count):
        if count > (self.limit if not table.bits else 16 * self.limit):
            return 3
        if any(table is t and start <= a < start + count for t, a in self.holes):
            return 2
        return 2 if any(start < border < start + count for border in self.borders) else 0

    def bind(self, request):
        function, start, count = struct.unpack(">BHH", request.pdu)
        table = next(table for table in Table if table.function == function)
        addresses = range(start, start + count)
        if request.spare:
            self.spares.add((start, count))
        for first, last in self.groups:
            touched = not table.bits and start <= last and first < start + count
            assert not touched or (start <= first and last < start + count), "a group is torn"

        async def ask(deadline):
            self.asked.append((start, count))
            await asyncio.sleep(self.cost.request_s + self.cost.byte_s * (count / 8 if table.bits else 2 * count))
            if any((table, address) in self.mute for address in addresses):
                await asyncio.sleep(max(0.0, deadline - asyncio.get_running_loop().time()))
                raise LinkDown("it did not answer in time")
            if code := self.refuses(table, start, count):
                raise Refused(request.unit, function, request.about, code)
            if table.bits:
                packed = sum(held(table, a) << i for i, a in enumerate(addresses))
                return packed.to_bytes((count + 7) // 8, "little")
            return struct.pack(f">{count}H", *(held(table, a) for a in addresses))

        return ask


def reader_of(model, points, home=None, device=None, assumed=ETHERNET):
    learned = Learned(home or Home(), WHERE, 1, assumed)
    return PointsReader(model, device or Device(), points, learned, asyncio.get_running_loop().time)


async def poll(reader, model=None, patience_s=1.0):
    if model is not None:
        model.asked.clear()
    column = await poll_by(reader, asyncio.get_running_loop().time() + patience_s)
    return list(column.values), column.faults or {}


def value_of(point):
    if point.count == 2:
        return held(point.table, point.address) << 16 | held(point.table, point.address + 1)
    value = held(point.table, point.address)
    return value == 1 if point.table.bits else value


def registers(*addresses):
    return [Point(register=address) for address in addresses]


# --- whatever a device refuses ----------------------------------------------------------------------


@st.composite
def some_points(draw):
    points = []
    for _ in range(draw(st.integers(1, 30))):
        address = draw(st.integers(0, 150))
        points.append(
            draw(
                st.sampled_from(
                    [
                        Point(register=address),
                        Point(register=address),
                        Point(register=address, type="uint32"),
                        Point(input=address),
                        Point(coil=address),
                    ]
                )
            )
        )
    return points


@st.composite
def some_models(draw):
    holes = {(draw(st.sampled_from(list(Table))), draw(st.integers(0, 150))) for _ in range(draw(st.integers(0, 12)))}
    borders = draw(st.sets(st.integers(1, 150), max_size=2))
    return Model(holes, borders, draw(st.sampled_from([125, 125, 100, 50, 11, 2])))


def readable(model, device, point):
    start, end = point.address, point.address + point.count
    if not point.table.bits:
        for first, last in device.groups:
            if start <= last and first < end:
                start, end = min(start, first), max(end, last + 1)
    return not model.refuses(point.table, start, end - start)


def check(points, values, faults):
    """Not one wrong value."""
    for i, point in enumerate(points):
        if i in faults:
            assert values[i] is None
            assert faults[i][0] is BAD
            assert faults[i][1]
        else:
            assert values[i] == value_of(point)


@settings(max_examples=80, deadline=None)
@given(some_models(), some_points(), some_models(), some_points(), st.booleans())
def test_the_reader_ends_with_exactly_the_readable_points_good(model, points, former_model, former_points, grouped):
    """Also where what is known is of another device and of other points; and curiosity costs no value."""
    device = Device(groups=[[20, 24], [100, 101]], forbidden=[[60, 70]]) if grouped else Device()

    async def main():
        home = Home()
        former = reader_of(former_model, former_points, home, device)
        for _ in range(5):
            await poll(former)
            await asyncio.sleep(1)
        if grouped:
            model.groups = [(20, 24), (100, 101)]
        reader, good = reader_of(model, points, home, device), set()
        for _ in range(40):
            values, faults = await poll(reader, model)
            check(points, values, faults)
            assert good.isdisjoint(faults), "a value that was there is lost"
            good = set(range(len(points))) - faults.keys()
            await asyncio.sleep(1)
        assert good == {i for i, point in enumerate(points) if readable(model, device, point)}
        await asyncio.sleep(1)
        reader._due = float("inf")
        await poll(reader, model)
        assert len(model.asked) <= len(points)
        model.holes, model.borders, model.limit = set(), set(), 125
        model.asked.clear()
        reader._due = 0.0
        for _ in range(80):
            _, faults = await poll(reader)
            await asyncio.sleep(120)
        assert not faults, "what was refused is asked for again"

    run(main())


@settings(max_examples=60, deadline=None)
@given(some_points(), st.integers(0, 50))
def test_forbidden_addresses_are_only_read_where_a_point_asks_for_them(points, first):
    device = Device(forbidden=[[first, first + 20], [90, 95]])
    own = {(point.table.function, point.address + i) for point in points for i in range(point.count)}

    class Watched(Model):
        def bind(self, request):
            function, start, count = struct.unpack(">BHH", request.pdu)
            for address in range(start, start + count):
                forbidden = first <= address <= first + 20 or 90 <= address <= 95
                assert not forbidden or (function, address) in own
            return super().bind(request)

    async def main():
        model = Watched(cost=Cost(0.05, 1e-6))
        reader = reader_of(model, points, device=device)
        for _ in range(15):
            assert not (await poll(reader, model))[1]
            await asyncio.sleep(30)

    run(main())


@in_virtual_time
async def test_what_was_refused_is_asked_for_again_after_a_minute_and_ever_more_seldom():
    model = Model(holes={(Table.REGISTER, 60), (Table.REGISTER, 61)})
    reader = reader_of(model, registers(*range(100)))
    time, asked_at = asyncio.get_running_loop().time, []
    while time() < 4000:
        assert set((await poll(reader, model))[1]) == {60, 61}
        if (60, 1) in model.asked:
            asked_at.append(time())
        await asyncio.sleep(5)
    first, second, *_ = asked_at
    assert 60 <= second - first <= 70
    assert all(later - at > 50 * 2**n for n, (at, later) in enumerate(pairwise(asked_at)))
    model.holes = {(Table.REGISTER, 61)}
    while time() < 8000:
        _, faults = await poll(reader, model)
        await asyncio.sleep(5)
    assert set(faults) == {61}
    model.holes.clear()
    while time() < 12000:
        _, faults = await poll(reader, model)
        await asyncio.sleep(5)
    assert not faults
    assert model.asked == [(0, 100)], "all in one request again"


@in_virtual_time
async def test_a_device_that_refuses_everything_while_it_starts_is_read_once_it_runs():
    model = Model(holes={(Table.REGISTER, address) for address in range(20)})
    reader = reader_of(model, registers(*range(20)))
    assert set((await poll(reader))[1]) == set(range(20))
    model.holes.clear()
    await asyncio.sleep(61)
    await poll(reader)
    assert not (await poll(reader, model))[1]
    assert not (await poll(reader, model))[1]
    assert model.asked == [(0, 20)]


# --- how much at once, and across what --------------------------------------------------------------


@pytest.mark.parametrize("limit", [100, 64, 50, 32, 11, 7, 1])
def test_the_most_that_a_device_gives_at_once_is_found_to_the_register(limit):
    async def main():
        model = Model(limit=limit)
        reader = reader_of(model, registers(*range(120)))
        for _ in range(20):
            assert not (await poll(reader, model, 5.0))[1]
            await asyncio.sleep(1)
        reader._due = float("inf")
        await poll(reader, model)
        assert len(model.asked) == -(-120 // limit)

    run(main())


@in_virtual_time
async def test_a_border_that_must_not_be_crossed_is_found_and_costs_no_more_than_one_request():
    model = Model(borders={70})
    reader = reader_of(model, registers(*range(100)))
    for _ in range(10):
        assert not (await poll(reader, model))[1]
        await asyncio.sleep(1)
    reader._due = float("inf")
    await poll(reader, model)
    assert model.asked == [(0, 70), (70, 30)]


@in_virtual_time
async def test_only_the_gap_with_the_hole_is_not_read_along():
    model = Model(holes={(Table.REGISTER, 52)})
    reader = reader_of(model, registers(*range(0, 100, 10)))
    for _ in range(10):
        assert not (await poll(reader, model))[1]
        await asyncio.sleep(1)
    reader._due = float("inf")
    await poll(reader, model)
    assert model.asked == [(0, 51), (60, 31)]


@in_virtual_time
async def test_single_reads_are_only_for_the_offenders():
    model = Model(holes={(Table.REGISTER, 37)})
    await poll(reader_of(model, registers(*range(100))), model)
    assert model.asked.count((37, 1)) == 1
    assert [count for start, count in model.asked if count == 1] in ([1], [1, 1]), "the offender, perhaps a neighbour"
    assert len(model.asked) <= 2 * 7 + 2, "halves, and two tries of the rest"


# --- by what it costs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cost", "blocks"),
    [
        (Cost(0.010, 1e-6), [(0, 122)]),  # a device that answers once in its cycle: length costs nothing
        (Cost(0.010, 1e-3), [(0, 2), (40, 2), (120, 2)]),  # five registers are worth a request
        (Cost(0.200, 1.5e-3), [(0, 42), (120, 2)]),  # 67 are: a gap of 38 is read along, one of 78 is not
    ],
)
def test_gaps_are_read_along_as_far_as_measured_times_say(cost, blocks):
    async def main():
        model = Model(cost=cost)
        other = [Point(input=i) for i in range(60)]  # so that there are answers of different lengths
        reader = reader_of(model, registers(0, 1, 40, 41, 120, 121) + other)
        for _ in range(12):
            assert not (await poll(reader, model, 5.0))[1]
            await asyncio.sleep(31)
        assert model.asked[: len(blocks)] == blocks

    run(main())


@in_virtual_time
async def test_a_gap_given_by_a_person_is_kept_whatever_is_measured():
    model = Model(cost=Cost(0.010, 1e-6))
    reader = reader_of(model, registers(0, 6, 20, 40), device=Device(max_gap=5))
    for _ in range(12):
        await poll(reader, model)
        await asyncio.sleep(31)
    assert model.asked == [(0, 7), (20, 1), (40, 1)]


@settings(deadline=None)
@given(st.floats(1e-4, 0.2), st.floats(1e-6, 3e-3), st.lists(st.integers(2, 250), min_size=40, max_size=60))
def test_the_two_parts_of_the_cost_are_told_apart(request_s, byte_s, sizes):
    measure = Measure(ETHERNET)
    sizes += [2, 250] * 10
    for size in sizes:
        measure.add(size, request_s + byte_s * size)
    found, longest = measure.cost, request_s + byte_s * 250
    assert abs(found.request_s - request_s) < 0.2 * longest
    assert abs(found.byte_s * 250 - byte_s * 250) < 0.2 * longest


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 250), st.floats(0, 10)), max_size=100))
def test_a_cost_is_always_positive(answers):
    measure = Measure(ETHERNET)
    for size, took in answers:
        measure.add(size, took)
    assert measure.cost.request_s > 0
    assert measure.cost.byte_s > 0


def test_one_answer_that_took_very_long_does_not_change_much():
    measure = Measure(ETHERNET)
    for _ in range(50):
        measure.add(100, 0.02)
    before = measure.cost
    measure.add(100, 30.0)
    assert measure.cost.request_s < 1.2 * before.request_s


@in_virtual_time
async def test_on_a_bus_it_is_found_out_where_a_request_may_be_longer():
    """Where answers do not say what they answer, requests of two lengths in turn spare a third."""
    model = Model({(Table.REGISTER, 11), (Table.INPUT, 6)}, tells_apart=False)
    points = [*registers(*range(10), *range(40, 50)), Point(input=5), Point(coil=3)]
    device = Device(max_gap=5, forbidden=[[50, 60]])
    reader = reader_of(model, points, device=device)
    for _ in range(10):
        assert not (await poll(reader, model))[1]
        await asyncio.sleep(1)
    assert model.spares == {(0, 10), (3, 1)}
    model = Model()
    reader = reader_of(model, points)
    for _ in range(10):
        await poll(reader, model)
    assert not model.spares, "elsewhere nobody asks"


# --- over a restart ---------------------------------------------------------------------------------


@in_virtual_time
async def test_what_was_learned_is_used_after_a_restart():
    home, model = Home(), Model(holes={(Table.REGISTER, 37), (Table.REGISTER, 52)}, limit=50)
    points = registers(*range(50), *range(60, 100))
    for _ in range(12):
        await poll(reader_of(model, points, home))
    assert home.names() == ["learned/10-0-0-5-502/1.json"]
    reader = reader_of(model, points, home)
    values, faults = await poll(reader, model)
    check(points, values, faults)
    assert set(faults) == {37}
    assert model.asked[:3] == [(0, 37), (38, 12), (60, 40)], "nothing is taken apart again"
    assert (37, 1) in model.asked, "but what was refused is asked for again"
    assert len(model.asked) <= 5


@in_virtual_time
async def test_a_point_that_was_refused_before_a_restart_is_good_as_soon_as_the_device_has_it():
    home, model = Home(), Model(holes={(Table.REGISTER, 5)})
    await poll(reader_of(model, registers(*range(10)), home))
    model.holes.clear()
    assert not (await poll(reader_of(model, registers(*range(10)), home)))[1]
    assert not (await poll(reader_of(model, registers(5), home)))[1], "also by itself"


@in_virtual_time
async def test_readers_of_one_device_share_what_they_learn():
    model = Model(limit=40)
    learned = Learned(Home(), WHERE, 1, ETHERNET)
    time = asyncio.get_running_loop().time
    fast = PointsReader(model, Device(), registers(*range(120)), learned, time)
    for _ in range(8):
        await poll(fast)
    slow = PointsReader(model, Device(), registers(*range(200, 280)), learned, time)
    await poll(slow, model)
    assert model.asked == [(200, 40), (240, 40)]


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"version": 2}', b"\xff", b"[]", b'{"version":1,"where":"x","unit":1}']
)
@in_virtual_time
async def test_what_cannot_be_read_is_said_and_learned_anew(content):
    home = Home()
    home.put("learned/10-0-0-5-502/1.json", content)
    with capture_logs() as logs:
        reader = reader_of(Model(holes={(Table.REGISTER, 2)}), registers(1, 2, 3), home)
    assert logs[0]["log_level"] == "warning"
    assert "learned anew" in logs[0]["event"]
    assert set((await poll(reader))[1]) == {1}
    assert json.loads(home.get("learned/10-0-0-5-502/1.json"))["refused"] == [[3, 2, 3]]


@in_virtual_time
async def test_what_was_learned_of_another_link_of_a_like_name_is_not_used():
    home = Home()
    await poll(reader_of(Model(holes={(Table.REGISTER, 2)}), registers(1, 2, 3), home))
    assert Learned(home, WHERE, 1, ETHERNET).refused
    assert not Learned(home, "10.0.0.5-502", 1, ETHERNET).refused
    assert not Learned(home, WHERE, 2, ETHERNET).refused


@in_virtual_time
async def test_little_is_written_to_the_disk():
    """A hundred polls of a steady device change what is kept at most a few times."""

    class Counting(Home):
        puts = 0

        def put(self, name, content):
            self.puts += content != self.get(name)
            super().put(name, content)

    home, model = Counting(), Model(holes={(Table.REGISTER, 7)})
    reader = reader_of(model, registers(*range(20)), home)
    for _ in range(100):
        await poll(reader)
        await asyncio.sleep(60)
    assert home.puts <= 4


# --- devices that fall silent -----------------------------------------------------------------------


@in_virtual_time
async def test_a_device_that_falls_silent_over_unused_addresses_is_read_without_them():
    """At first it is found out which, then never tried again; and a restart changes nothing."""
    home, lost = Home(), []
    mute = {(Table.REGISTER, address) for address in range(2, 9)}
    for session in range(6):
        model = Model(mute=mute)
        reader = reader_of(model, registers(0, 1, 9, 10, 50, 51, 52), home)
        try:
            for _ in range(20):
                assert not (await poll(reader, model))[1]
                await asyncio.sleep(31)
        except LinkDown:
            lost.append(session)
    assert lost == [0, 1], "once to suspect, once to be certain"
    assert model.asked == [(0, 2), (9, 2), (50, 3)]


@in_virtual_time
async def test_a_device_that_was_off_is_not_taken_for_one_that_falls_silent():
    home, everything = Home(), {(Table.REGISTER, address) for address in range(100)}
    points = registers(0, 10, 20)
    for _ in range(7):
        with pytest.raises(LinkDown):
            await poll(reader_of(Model(mute=everything), points, home))
    model = Model()
    reader = reader_of(model, points, home)
    for _ in range(9):
        assert not (await poll(reader, model))[1]
        await asyncio.sleep(31)
    assert model.asked == [(0, 21)]
    assert not Learned(home, WHERE, 1, ETHERNET).wary


@pytest.mark.parametrize("mutes", [{37}, {0}, {99}, {10, 80}, {50, 51}])
def test_a_register_that_the_device_falls_silent_over_is_found_and_the_others_are_good(mutes):
    """One wrong line in a list does not cost the others: they are good after some sessions, also after a restart."""

    async def main():
        home, points = Home(), registers(*range(100))
        mute = {(Table.REGISTER, address) for address in mutes}
        lost = 0
        while True:
            reader = reader_of(Model(mute=mute), points, home)
            try:
                for _ in range(10):
                    values, faults = await poll(reader)
                    check(points, values, faults)
                    await asyncio.sleep(1)
                break
            except LinkDown:
                lost += 1
                assert lost < 60
                await asyncio.sleep(1)
        assert set(faults) == mutes
        assert "falls silent" in faults[min(mutes)][1]
        model = Model(mute=mute)
        assert set((await poll(reader_of(model, points, home), model))[1]) == mutes, "a restart asks for it no more"
        while asyncio.get_running_loop().time() < 20_000:
            reader = reader_of(model, points, home)
            try:
                while asyncio.get_running_loop().time() < 20_000:
                    await poll(reader)
                    await asyncio.sleep(5)
            except LinkDown:
                lost += 1
        assert lost < 90, "it is asked for ever more seldom"
        model.mute.clear()
        reader = reader_of(model, points, home)
        for _ in range(5000):
            _, faults = await poll(reader, model)
            await asyncio.sleep(5)
        assert not faults
        assert model.asked == [(0, 100)]

    run(main())


# --- values of several parts ------------------------------------------------------------------------


class Words(Model):
    """A device with given words; what it lacks it refuses."""

    words: dict

    def refuses(self, table, start, count):
        return 0 if all(address in self.words for address in range(start, start + count)) else 2

    def bind(self, request):
        inner, (start, count) = super().bind(request), struct.unpack(">HH", request.pdu[1:])

        async def ask(deadline):
            await inner(deadline)
            return struct.pack(f">{count}H", *(self.words[address] for address in range(start, start + count)))

        return ask


@in_virtual_time
async def test_parts_of_values_are_read_with_the_others_and_once_only():
    """123.4 = 1234 * 10^-1; 5 + 7 = 12; 0x8000 is what an int16 holds where there is no value."""
    model = Words()
    model.words = {0: 1234, 1: 4321, 2: 5, 3: 7, 4: 0x8000, 5: 9, 9: 0xFFFF}
    points = [
        Point(register=0, factor=9),
        Point(register=5),
        Point(register=1, factor=9),
        Point(register=2, plus=[3]),
        Point(register=4, type="int16", missing="default"),
    ]
    reader = reader_of(model, points)
    for _ in range(30):
        values, faults = await poll(reader, model)
        assert values == [123.4, 9, 432.1, 12, None]
        assert faults == {4: (BAD, "the device says: not available")}
        await asyncio.sleep(31)
    assert model.asked == [(0, 6), (9, 1)], "6 to 8 are not there"
    del model.words[9]
    for _ in range(3):
        values, faults = await poll(reader, model)
        assert values == [None, 9, None, 12, None]
        assert set(faults) == {0, 2, 4}
        assert "read holding register 9 " in faults[0][1]
    reader._due = float("inf")
    assert (await poll(reader, model))[0] == [None, 9, None, 12, None]
    assert model.asked == [(0, 6)]
