"""Energy by interval: boundaries, gaps, conservation."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflow.clock import utc_ns
from edgeflow.energy.interval import (
    MOST,
    Book,
    Gain,
    Interval,
    begin_of,
    book_energy,
    book_good,
    float32_step,
)

S = 1_000_000_000
QUARTER = 900 * S
SIX = utc_ns("2026-11-20T06:00:00Z")


def booked(*gains: Gain, length: int = QUARTER, longest: int = 60 * S) -> list[Interval]:
    book = Book()
    for gain in gains:
        book_energy(book, length, gain, longest)
    return book.open


def test_an_increment_over_a_boundary_is_shared_in_proportion_to_time() -> None:
    # 10 s before the quarter and 30 s after: a quarter and three quarters of 4 kWh.
    first, second = booked(Gain(SIX - 10 * S, SIX + 30 * S, 4.0))
    assert (first.kwh, second.kwh) == (1.0, 3.0)
    assert (first.booked_ns, second.booked_ns) == (10 * S, 30 * S)
    assert first.end_ns == second.begin_ns == SIX


def test_a_full_quarter_hour_of_2_5_kwh_is_a_demand_of_10_kw() -> None:
    (interval,) = booked(Gain(SIX, SIX + QUARTER, 2.5))
    assert interval.demand_kw == 10.0
    assert interval.coverage == 1.0
    assert not interval.doubtful


def test_a_gap_over_whole_intervals_is_estimated_and_says_so() -> None:
    # 45 minutes without a sample at constant power: every quarter gets its third, none is known.
    intervals = booked(Gain(SIX, SIX + 3 * QUARTER, 9.0))
    assert [i.kwh for i in intervals] == pytest.approx([3.0, 3.0, 3.0])
    assert all(i.doubtful and i.coverage == 0.0 for i in intervals)


def test_a_gap_inside_one_interval_costs_no_certainty() -> None:
    (interval,) = booked(Gain(SIX, SIX + 600 * S, 9.0))
    assert not interval.doubtful
    assert interval.known_ns == 600 * S


def test_no_energy_is_invented_for_a_step_that_cannot_be_explained() -> None:
    (interval,) = booked(Gain(SIX, SIX + 60 * S, None))
    assert interval.kwh == 0.0
    assert interval.demand_kw is None
    assert interval.doubtful


def test_energy_per_good_part_is_undefined_without_a_good_part() -> None:
    book = Book()
    book_energy(book, QUARTER, Gain(SIX, SIX + QUARTER, 2.5), QUARTER)
    assert book.open[0].kwh_per_good is None
    book_good(book, QUARTER, SIX + 10 * S, 50)
    assert book.open[0].kwh_per_good == 0.05


def test_pieces_seen_on_a_boundary_belong_to_what_ended_there() -> None:
    book = Book()
    book_good(book, QUARTER, SIX, 3)
    book_good(book, QUARTER, SIX + 1, 4)
    assert [(i.begin_ns, i.good) for i in book.open] == [(SIX - QUARTER, 3), (SIX, 4)]


def test_late_pieces_go_to_the_oldest_interval_that_is_open() -> None:
    book = Book()
    book_energy(book, QUARTER, Gain(SIX, SIX + QUARTER + 10 * S, 1.0), QUARTER)
    assert [i.begin_ns for i in book.settle(SIX + QUARTER)] == [SIX]
    book_good(book, QUARTER, SIX + 5 * S, 7)
    assert [(i.begin_ns, i.good) for i in book.open] == [(SIX + QUARTER, 7)]


def test_a_new_length_does_not_reopen_what_is_settled() -> None:
    book = Book()
    book_energy(book, QUARTER, Gain(SIX, SIX + QUARTER, 1.0), QUARTER)
    book.settle(SIX + QUARTER)
    book_energy(book, 2 * QUARTER, Gain(SIX + QUARTER, SIX + 2 * QUARTER, 1.0), QUARTER)
    book_good(book, 2 * QUARTER, SIX + QUARTER + S, 1)
    assert [(i.begin_ns, i.end_ns, i.good) for i in book.open] == [(SIX + QUARTER, SIX + 2 * QUARTER, 1)]


def test_a_year_without_samples_is_one_interval_and_two_ends() -> None:
    year = 365 * 24 * 3600 * S
    intervals = booked(Gain(SIX + 300 * S, SIX + 300 * S + year, 1000.0))
    assert len(intervals) == 3
    assert sum(i.kwh for i in intervals) == pytest.approx(1000.0)
    assert intervals[1].end_ns - intervals[1].begin_ns == year - QUARTER


def test_projection_adds_present_power_for_the_time_left() -> None:
    # 5 minutes in, 1 kWh used; 6 kW for the 10 minutes left are another 1 kWh: 2 kWh in a quarter = 8 kW.
    interval = Interval(SIX, SIX + QUARTER, kwh=1.0, booked_ns=300 * S)
    assert interval.projected_kw(SIX + 300 * S, 6.0) == pytest.approx(8.0)


def test_projection_after_a_late_start_leaves_out_the_time_that_was_missed() -> None:
    # Begun 10 minutes late, nothing used yet: 6 kW for the 5 minutes left are 6 kW over what is known.
    interval = Interval(SIX, SIX + QUARTER)
    assert interval.projected_kw(SIX + 600 * S, 6.0) == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("value", "step"), [(131_072.0, 0.015625), (1_048_576.0, 0.125), (1_048_575.9, 0.0625), (0, 0)]
)
def test_the_step_of_a_float32_register_is_the_one_that_the_maker_s_format_has(value: float, step: float) -> None:
    assert float32_step(value) == step


@given(st.floats(min_value=2**-10, max_value=2**30, width=32))
def test_the_step_of_a_float32_register_leads_to_the_next_number(value: float) -> None:
    (bits,) = struct.unpack(">I", struct.pack(">f", value))
    (following,) = struct.unpack(">f", struct.pack(">I", bits + 1))
    assert float32_step(value) == following - value


SAMPLES = st.lists(
    st.tuples(
        st.integers(min_value=1, max_value=40 * QUARTER),
        st.one_of(st.none(), st.floats(min_value=0, max_value=1e4)),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


@given(SAMPLES, st.integers(min_value=0, max_value=10**18), st.integers(min_value=0, max_value=20))
def test_intervals_add_up_to_what_the_counter_gained(
    samples: list[tuple[int, float | None, bool]], begin: int, settle_every: int
) -> None:
    book, done, at = Book(), [], begin
    for i, (elapsed, kwh, idle) in enumerate(samples):
        book_energy(book, QUARTER, Gain(at, at + elapsed, kwh, idle), 60 * S)
        at += elapsed
        if settle_every and i % settle_every == 0:
            done += book.settle(at)
    intervals = done + book.open
    assert sum(i.kwh for i in intervals) == pytest.approx(sum(k or 0 for _, k, _ in samples), rel=1e-9, abs=1e-9)
    assert sum(i.idle_kwh for i in intervals) == pytest.approx(
        sum(k or 0 for _, k, idle in samples if idle), rel=1e-9, abs=1e-9
    )
    assert sum(i.booked_ns for i in intervals) == sum(e for e, k, _ in samples if k is not None)
    assert all(a.end_ns <= b.begin_ns for a, b in pairwise(intervals))
    assert all(0 <= i.known_ns <= i.booked_ns <= i.end_ns - i.begin_ns for i in intervals)


@given(
    st.lists(st.tuples(st.integers(min_value=0, max_value=3 * QUARTER), st.integers(0, 100)), max_size=50),
    st.integers(min_value=QUARTER, max_value=10**18),
)
def test_pieces_are_never_lost_or_doubled(steps: list[tuple[int, int]], begin: int) -> None:
    book, done, at = Book(), [], begin
    for elapsed, pieces in steps:
        at += elapsed
        book_good(book, QUARTER, at, pieces)
        done += book.settle(at - QUARTER)
    assert sum(i.good for i in done + book.open) == sum(pieces for _, pieces in steps)
    assert all(i.end_ns > i.begin_ns for i in done + book.open)


def test_open_intervals_are_bounded_while_the_meter_is_away() -> None:
    book = Book()
    for i in range(MOST + 50):
        book_good(book, QUARTER, SIX + i * QUARTER + S, 1)
    assert len(book.open) == MOST
    assert sum(i.good for i in book.open) == MOST + 50


def test_intervals_are_aligned_to_the_clock() -> None:
    assert begin_of(utc_ns("2026-11-20T06:14:59.999Z"), QUARTER) == SIX
    assert begin_of(utc_ns("2026-11-20T06:15:00Z"), QUARTER) == SIX + QUARTER
