"""OEE: sums first, then one division; no figure is clamped or guessed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflow.production.ledger import BUCKETS
from edgeflow.production.oee import POLICIES, Account, kpis
from edgeflow.units import NS_PER_S


def account(good: int = 0, reject: int = 0, ideal_s: float = 1, gap: int = 0, **minutes: float) -> Account:
    buckets: dict[Any, int] = dict.fromkeys(BUCKETS, 0)
    buckets |= {name: round(value * 60 * NS_PER_S) for name, value in minutes.items()}
    total = good + reject
    return Account(buckets, good, reject, total, gap, round((total - gap) * ideal_s * NS_PER_S))


def test_the_policies_read_the_same_facts_in_their_own_way() -> None:
    facts = account(good=300, reject=20, run=300, small_stop=40, down=60, changeover=20, **{"break": 60})
    availability = {name: kpis(policy, facts).availability for name, policy in POLICIES.items()}
    assert availability == {"vorne": 340 / 420, "haldan": 340 / 480, "iso22400": 300 / 420}


def test_small_stops_move_between_availability_and_performance_but_oee_stays() -> None:
    facts = account(good=9_000, run=300, small_stop=40, down=80)
    vorne, iso = (kpis(POLICIES[name], facts) for name in ("vorne", "iso22400"))
    assert vorne.oee == iso.oee == 9_000 / (420 * 60)
    assert vorne.performance == 9_000 / (340 * 60)
    assert iso.performance == 9_000 / (300 * 60)


def test_performance_is_never_clamped_but_flagged() -> None:
    figures = kpis(POLICIES["vorne"], account(good=120, run=1))
    assert figures.performance == 2
    assert "over 100 %" in figures.flags[0]


def test_what_cannot_be_divided_is_undefined() -> None:
    nothing = kpis(POLICIES["vorne"], account())
    assert (nothing.availability, nothing.performance, nothing.quality, nothing.oee) == (None,) * 4
    stood = kpis(POLICIES["vorne"], account(down=60))
    assert (stood.availability, stood.performance, stood.quality, stood.oee) == (0, None, None, None)


def test_unknown_time_is_neither_up_nor_down_and_lowers_the_coverage() -> None:
    figures = kpis(POLICIES["vorne"], account(good=1, run=300, down=60, unknown=120))
    assert (figures.availability, figures.coverage, figures.planned_ns) == (300 / 360, 0.75, 480 * 60 * NS_PER_S)


def test_pieces_of_a_gap_count_for_quality_but_not_for_performance() -> None:
    figures = kpis(POLICIES["vorne"], account(good=1_200, gap=600, run=20, unknown=10))
    assert (figures.performance, figures.quality) == (0.5, 1)


def test_the_usual_formula_and_not_the_one_of_a_package_that_prints_0_864() -> None:
    """Run 3,600 s of 4,000 s at 50 units a minute, 500 made, 480 good."""
    figures = kpis(POLICIES["vorne"], account(good=480, reject=20, ideal_s=1.2, run=60, down=400 / 60))
    assert figures.oee == pytest.approx(0.144, rel=1e-12)


def test_mixed_products_are_weighed_by_their_time() -> None:
    one, two = account(good=100, ideal_s=1, run=2), account(good=10, ideal_s=30, run=6)
    assert kpis(POLICIES["vorne"], one + two).performance == (100 * 1 + 10 * 30) / 480


ACCOUNTS = st.builds(
    account, good=st.integers(0, 9_999), reject=st.integers(0, 999), ideal_s=st.integers(1, 60),
    run=st.integers(0, 480), small_stop=st.integers(0, 60), down=st.integers(0, 480), changeover=st.integers(0, 60),
    unknown=st.integers(0, 480), excluded=st.integers(0, 60),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(ACCOUNTS, min_size=1, max_size=5), st.sampled_from(sorted(POLICIES)))
def test_rolled_up_figures_are_those_of_the_sums(shifts: list[Account], name: str) -> None:
    policy = POLICIES[name]
    figures = kpis(policy, sum(shifts[1:], shifts[0]))
    run = sum(shift.buckets[bucket] for shift in shifts for bucket in policy.run)
    planned = sum(shift.buckets[bucket] for shift in shifts for bucket in policy.planned)
    known = planned - sum(shift.buckets["unknown"] for shift in shifts)
    assert figures.availability == (run / known if known else None)
    good, total = sum(shift.good for shift in shifts), sum(shift.total for shift in shifts)
    assert figures.quality == (good / total if total else None)
    if figures.oee is not None:
        ideal = sum(shift.ideal_ns for shift in shifts)
        assert figures.oee == pytest.approx(ideal * good / (known * total), rel=1e-12)
