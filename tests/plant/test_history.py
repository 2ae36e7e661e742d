from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflow.plant.history import Draw, Energy, Spell, Spells, Tally

S = 1_000_000_000


def test_a_part_belongs_to_the_interval_that_begins_with_it() -> None:
    tally = Tally()
    for second in (1, 2, 2, 5):
        tally.add(second * S)
    assert tally.between(1 * S, 2 * S) == 1
    assert tally.between(2 * S, 5 * S) == 2
    assert tally.between(5 * S, 6 * S) == 1
    tally.forget(2 * S)
    assert (tally.count, tally.between(0, 9 * S)) == (4, 3)


def test_a_spell_of_no_length_leaves_no_trace() -> None:
    spells = Spells()
    spells.begin(Spell(0, "execute", "run"))
    spells.begin(Spell(5, "stopped", "jam"))
    spells.begin(Spell(5, "execute", "run"))
    assert spells.spells == [Spell(0, "execute", "run")]


@settings(deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=8).map(sorted))
def test_spells_of_neighbouring_intervals_fill_the_time_without_gap_or_overlap(cuts: list[int]) -> None:
    spells = Spells()
    for at, state in ((0, "a"), (100, "b"), (250, "a"), (900, "c")):
        spells.begin(Spell(at, state, ""))
    pieces = [piece for a, b in pairwise(cuts) for piece in spells.between(a, b)]
    assert sum(stop - start for _, start, stop in pieces) == cuts[-1] - cuts[0]
    assert all(stop == start for (_, _, stop), (_, start, _) in pairwise(pieces))


def test_steady_power_is_power_times_time() -> None:
    energy = Energy([Draw(0)])
    energy.change(0, 1500.0, tan_phi=0.5)
    energy.change(3600 * S, 0.0)
    assert energy.kwh(1800 * S) == pytest.approx(0.75)
    assert energy.kwh(7200 * S) == pytest.approx(1.5)
    assert energy.kvarh(7200 * S) == pytest.approx(0.75)


@pytest.mark.parametrize("until_s", [0.3, 1.0, 1.7, 2.0, 5.9])
def test_the_energy_of_a_rippling_power_is_its_integral(until_s: float) -> None:
    energy = Energy([Draw(0)])
    energy.change(0, 11_000.0, ripple_w=2500.0, phase=0.2, period_ns=2 * S)
    steps = 20_000
    width_ns = until_s * S / steps
    midpoints = (energy.law(0).watts(round((i + 0.5) * width_ns)) for i in range(steps))
    assert energy.kwh(round(until_s * S)) == pytest.approx(sum(midpoints) * width_ns / 3.6e15, rel=1e-7)


def test_whole_cycles_draw_the_mean() -> None:
    energy = Energy([Draw(0)])
    energy.change(0, 11_000.0, ripple_w=2500.0, phase=0.4, period_ns=2 * S)
    assert energy.kwh(3600 * S) == pytest.approx(11.0)


def test_what_is_forgotten_leaves_later_energy_as_it_was() -> None:
    energy = Energy([Draw(0)])
    for hour in range(5):
        energy.change(hour * 3600 * S, 1000.0 * hour)
    before = energy.kwh(5 * 3600 * S) - energy.kwh(4 * 3600 * S)
    energy.forget(4 * 3600 * S)
    assert energy.kwh(5 * 3600 * S) - energy.kwh(4 * 3600 * S) == before == pytest.approx(4.0)
