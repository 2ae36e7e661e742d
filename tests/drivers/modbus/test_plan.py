"""The planner: everything covered, nothing that is not allowed, and no plan that takes less time."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edgeflow_modbus.config import Device
from edgeflow_modbus.cost import ETHERNET, Cost, serial
from edgeflow_modbus.pdu import Table
from edgeflow_modbus.plan import Rules, duration, plan, split, whole
from edgeflow_modbus.space import Part, Range

LIMITS = {Table.COIL: 2000, Table.DISCRETE: 2000, Table.REGISTER: 125, Table.INPUT: 125}
REGISTERS = (Table.REGISTER, Table.INPUT)


@st.composite
def some_parts(draw, tables=tuple(Table), largest=400):
    parts = []
    for index in range(draw(st.integers(1, 40))):
        table = draw(st.sampled_from(tables))
        count = 1 if table.bits else draw(st.sampled_from([1, 1, 2, 4, 20]))
        parts.append(Part(table, draw(st.integers(0, largest)), count, index))
    return parts


@st.composite
def some_rules(draw, largest=430):
    """Rules of every kind together: groups that do not overlap, borders and forbidden ranges outside of them."""
    limit = draw(st.integers(20, 125))
    groups, behind = [], 0
    for _ in range(draw(st.integers(0, 3))):
        start = behind + draw(st.integers(0, 60))
        behind = start + draw(st.integers(1, 20))
        groups.append((start, behind))
    borders = set()
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, largest))
        end = start + draw(st.sampled_from([0, 0, 1, 10]))
        if not any(first < max(end, start + 1) and start < behind for first, behind in groups):
            borders |= {Range(table.function, start, end) for table in Table}
    return Rules(
        cost=Cost(draw(st.floats(1e-4, 1e-1)), draw(st.floats(1e-6, 1e-2))),
        limits=LIMITS | dict.fromkeys(REGISTERS, limit),
        max_gap=draw(st.none() | st.integers(0, 124)),
        borders=frozenset(borders),
        groups=tuple(Range(table.function, *group) for table in REGISTERS for group in groups),
    )


def seams(read, rules):
    """The gaps in a read, as (end, begin), with what a group fills not counted."""
    ranges = sorted((each.start, each.end) for each in {whole(part, rules) for part in read.parts})
    behind = ranges[0][1]
    for start, end in ranges[1:]:
        if start >= behind:
            yield behind, start
        behind = max(behind, end)


@settings(deadline=None)
@given(some_parts(), some_rules())
def test_every_value_is_in_exactly_one_read_and_every_rule_is_kept(parts, rules):
    reads = plan(parts, rules)
    assert sorted(part.index for read in reads for part in read.parts) == list(range(len(parts)))
    assert len(reads) <= len(parts), "never more requests than values"
    for read in reads:
        ranges = {whole(part, rules) for part in read.parts}
        assert {part.table for part in read.parts} == {read.table}
        assert read.start == min(each.start for each in ranges)
        assert read.end == max(each.end for each in ranges)
        assert read.count <= rules.limits[read.table] or read.range in ranges
        for left, right in seams(read, rules):
            assert rules.max_gap is None or right - left <= rules.max_gap
            for border in rules.borders:
                assert border.table != read.table.function or not border.bars(left, right)
        for group in rules.groups:
            touched = any(group.meets(part.range) for part in read.parts)
            assert not touched or read.range.holds(group), "a group is read whole"


@settings(deadline=None)
@given(some_parts(tables=(Table.REGISTER,), largest=60), some_rules(largest=80), st.data())
def test_no_other_plan_takes_less_time(parts, rules, data):
    """Any other way to cut the same values into allowed reads, drawn at random, is not better; what overlaps is one."""
    behind, apart = 0, []
    for part in sorted(parts, key=lambda part: whole(part, rules)):
        own = whole(part, rules)
        if own.start >= behind:
            apart.append(part)
            behind = own.end
    parts = apart
    best = duration(plan(parts, rules), rules.cost)
    tight = Rules(rules.cost, rules.limits, data.draw(st.integers(0, 40)), rules.borders, rules.groups)
    if rules.max_gap is None or tight.max_gap <= rules.max_gap:
        assert best <= duration(plan(parts, tight), rules.cost) * (1 + 1e-9)
    short = {table: min(limit, data.draw(st.integers(20, 125))) for table, limit in rules.limits.items()}
    if all(own.end - own.start <= min(short.values()) for own in (whole(part, rules) for part in parts)):
        other = Rules(rules.cost, short, rules.max_gap, rules.borders, rules.groups)
        assert best <= duration(plan(parts, other), rules.cost) * (1 + 1e-9)


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=9, unique=True), st.integers(5, 60), st.integers(1, 30))
def test_the_plan_is_the_best_of_all_ways_to_cut(starts, limit, worth):
    """Against trying every way to cut nine registers: cost in whole units, a request is worth `worth` registers."""
    starts.sort()
    ways = []
    for cuts in range(1 << (len(starts) - 1)):
        runs = [[starts[0]]]
        for i, start in enumerate(starts[1:]):
            if cuts >> i & 1:
                runs.append([start])
            else:
                runs[-1].append(start)
        if all(run[-1] - run[0] < limit for run in runs):
            ways.append((sum(worth + run[-1] - run[0] + 1 for run in runs), len(runs)))
    parts = [Part(Table.REGISTER, start, 1, i) for i, start in enumerate(starts)]
    reads = plan(parts, Rules(Cost(worth * 2.0, 1.0), LIMITS | {Table.REGISTER: limit}))
    assert sum(worth + read.count for read in reads) == min(ways)[0]


def rules(max_gap=16, cost=ETHERNET, limit=125, **more):
    return Rules(cost, LIMITS | {Table.REGISTER: limit}, max_gap, **more)


def registers(*starts, count=1):
    return [Part(Table.REGISTER, start, count, i) for i, start in enumerate(starts)]


def asked(reads):
    return [(read.start, read.count) for read in reads]


def test_neighbours_are_one_request_whatever_their_order():
    assert asked(plan(registers(*reversed(range(100))), rules(0))) == [(0, 100)]


def test_a_value_is_never_torn_between_two_requests():
    assert asked(plan(registers(*range(0, 200, 2), count=2), rules())) == [(0, 124), (124, 76)]


def test_coils_are_read_by_two_thousand():
    parts = [Part(Table.COIL, start, 1, start) for start in range(2001)]
    assert asked(plan(parts, rules(0))) == [(0, 2000), (2000, 1)]


@pytest.mark.parametrize(
    ("cost", "gap"),
    [
        # One register is two characters of 11 bits: 2.2917 ms at 9600 baud. A request is 13 characters, two
        # pauses of 3.5 characters and 10 ms: 14.896 + 8.021 + 10 = 32.917 ms, or 14.36 registers.
        (serial(9600), 14),
        # 115200 baud: 0.19097 ms; 1.2413 + 3.5 + 10 = 14.741 ms, or 77.19 registers.
        (serial(115200), 77),
        (ETHERNET, 16),
    ],
)
def test_a_gap_is_read_along_as_long_as_it_costs_less_than_a_request(cost, gap):
    assert asked(plan(registers(0, gap + 1), rules(None, cost))) == [(0, gap + 2)]
    assert asked(plan(registers(0, gap + 2), rules(None, cost))) == [(0, 1), (gap + 2, 1)]


def test_the_limit_cuts_where_a_gap_is_saved():
    parts = registers(*range(60), *range(70, 130))
    assert asked(plan(parts, rules())) == [(0, 60), (70, 60)]


def test_a_group_is_read_whole_by_itself_or_with_others():
    one = rules(groups=(Range(3, 10, 18),))
    assert asked(plan(registers(12), one)) == [(10, 8)]
    assert asked(plan(registers(8, 12), one)) == [(8, 10)]
    assert asked(plan(registers(*range(20)), rules(limit=9, groups=(Range(3, 8, 15),)))) == [
        (0, 8), (8, 9), (17, 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("border", "reads"),
    [
        (Range(3, 4, 5), [(0, 4), (6, 4)]),
        (Range(3, 6, 6), [(0, 4), (6, 4)]),
        (Range(3, 8, 8), [(0, 8), (8, 2)]),
        (Range(4, 4, 5), [(0, 10)]),
    ],
)
def test_nothing_is_read_across_a_border(border, reads):
    parts = registers(0, 1, 2, 3, 6, 7, 8, 9)
    assert asked(plan(parts, rules(borders=frozenset({border})))) == reads


@settings(deadline=None)
@given(some_parts(tables=(Table.REGISTER,), largest=100), some_rules(largest=120))
def test_splitting_a_refused_read_keeps_every_value_tears_no_group_and_ends(parts, some):
    todo, rounds, ends = plan(parts, some), 0, []
    while todo:
        read = todo.pop()
        smaller = split(read, some)
        rounds += 1
        assert rounds < 1000
        if smaller:
            assert sorted(s.index for each in smaller for s in each.parts) == sorted(s.index for s in read.parts)
            assert all(len(each.parts) < len(read.parts) for each in smaller)
            todo += smaller
        else:
            ends.append(read)
    assert sorted(s.index for read in ends for s in read.parts) == list(range(len(parts)))
    assert all(whole(s, some) == b.range for b in ends for s in b.parts), "down to single values and groups"


def test_what_is_unused_is_suspected_first():
    (read,) = plan(registers(*range(10), *range(12, 100)), rules())
    assert asked(split(read, rules())) == [(0, 10), (12, 88)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"groups": [[17, 10]]}, "write the lower address first: [10, 17]"),
        ({"groups": [[0, 60]], "max_registers": 50}, "has 61 registers, but the device gives 50 at once"),
        ({"groups": [[0, 7], [7, 9]]}, "the group [7, 9] overlaps [0, 7]"),
        ({"groups": [[0, 7]], "forbidden": [[5, 5]]}, "the group [0, 7] overlaps [5, 5]"),
    ],
)
def test_ranges_that_make_no_sense_are_refused_with_what_to_write(settings, said):
    with pytest.raises(ValidationError) as error:
        Device(**settings)
    assert said in str(error.value)


def test_ends_and_starts_rise():
    """What the search for the cheapest plan stands on."""
    parts = [*registers(5, 0, 3, 3), Part(Table.REGISTER, 2, 20, 4), Part(Table.REGISTER, 21, 2, 5)]
    reads = plan(parts, rules(limit=20))
    assert all(a.start <= b.start and a.end < b.end for a, b in pairwise(reads))
