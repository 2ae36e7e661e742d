"""The planner: everything covered, nothing too long, no more requests than needed."""

from hypothesis import given
from hypothesis import strategies as st

from edgeflow_modbus.pdu import Table
from edgeflow_modbus.plan import Span, gaps, plan, split

LIMITS = {Table.COIL: 2000, Table.DISCRETE: 2000, Table.REGISTER: 125, Table.INPUT: 125}


@st.composite
def some_spans(draw, tables=tuple(Table), largest=600):
    spans = []
    for index in range(draw(st.integers(1, 40))):
        table = draw(st.sampled_from(tables))
        count = 1 if table.bits else draw(st.sampled_from([1, 1, 2, 4, 20]))
        spans.append(Span(table, draw(st.integers(0, largest)), count, index))
    return spans


@given(some_spans(), st.integers(0, 124), st.integers(20, 125))
def test_every_point_is_in_exactly_one_block_and_no_block_is_too_long(spans, max_gap, limit):
    limits = LIMITS | {Table.REGISTER: limit}
    blocks = plan(spans, max_gap, limits)
    assert sorted(span.index for block in blocks for span in block.spans) == list(range(len(spans)))
    for block in blocks:
        assert 1 <= block.count <= limits[block.table]
        for span in block.spans:
            assert span.table is block.table
            assert block.start <= span.start
            assert span.end <= block.end


@given(some_spans(), st.integers(0, 124))
def test_nothing_is_read_along_beyond_the_gap(spans, max_gap):
    for block in plan(spans, max_gap, LIMITS):
        unused, longest, run = set(gaps(block)), 0, 0
        for address in block.addresses:
            run = run + 1 if address in unused else 0
            longest = max(longest, run)
        assert longest <= max_gap
        assert block.start not in unused
        assert block.end - 1 not in unused


@given(some_spans(tables=(Table.REGISTER,)), st.integers(0, 124), st.sets(st.integers(0, 620), max_size=30))
def test_no_block_reads_along_a_hole(spans, max_gap, holes):
    for block in plan(spans, max_gap, LIMITS, {(Table.REGISTER, address) for address in holes}):
        assert not holes & set(gaps(block))


def test_neighbours_are_one_request_whatever_their_order():
    spans = [Span(Table.REGISTER, start, 1, i) for i, start in enumerate(reversed(range(100)))]
    (block,) = plan(spans, 0, LIMITS)
    assert (block.start, block.count) == (0, 100)


def test_a_value_is_never_torn_between_two_requests():
    spans = [Span(Table.REGISTER, start, 2, i) for i, start in enumerate(range(0, 200, 2))]
    assert [(block.start, block.count) for block in plan(spans, 16, LIMITS)] == [(0, 124), (124, 76)]


def test_coils_are_read_by_two_thousand():
    spans = [Span(Table.COIL, start, 1, start) for start in range(2001)]
    assert [(block.start, block.count) for block in plan(spans, 0, LIMITS)] == [(0, 2000), (2000, 1)]


@given(some_spans(tables=(Table.REGISTER,), largest=100))
def test_splitting_a_refused_block_keeps_every_point_and_ends(spans):
    todo, rounds = plan(spans, 124, LIMITS), 0
    ends = []
    while todo:
        block = todo.pop()
        parts = split(block)
        rounds += 1
        assert rounds < 1000
        if parts:
            assert sorted(s.index for part in parts for s in part.spans) == sorted(s.index for s in block.spans)
            assert all(len(part.spans) < len(block.spans) for part in parts)
            todo += parts
        else:
            ends.append(block)
    assert sorted(s.index for block in ends for s in block.spans) == list(range(len(spans)))
    assert all((s.start, s.count) == (b.start, b.count) for b in ends for s in b.spans), "down to single addresses"
