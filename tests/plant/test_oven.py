from __future__ import annotations

from math import exp, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflow.plant.oven import Oven
from edgeflow.plant.script import oven_script

S = 1_000_000_000


def oven() -> Oven:
    return Oven(oven_script(1), start_ns=0)


def test_heating_follows_the_first_order_law() -> None:
    one = oven()
    one.advance(100 * S)
    # 24 kW against 0.1 kW/K of loss would end 240 K above 22 °C, with a time constant of 240 s.
    assert one.temperature_c == pytest.approx(22 + 240 * (1 - exp(-100 / 240)), abs=0.31)
    assert (one.state, one.power_kw) == ("heating", 24.0)


def test_it_holds_with_just_the_power_it_loses() -> None:
    one = oven()
    one.advance(400 * S)
    reached_s = 240 * log(240 / (240 - (180 - 22)))
    assert (one.state, one.power_kw) == ("holding", pytest.approx(15.8))
    assert one.temperature_c == pytest.approx(180, abs=0.31)
    expected_kwh = (24 * reached_s + 15.8 * (400 - reached_s)) / 3600
    assert one.energy.kwh(400 * S) == pytest.approx(expected_kwh, rel=1e-6)


def test_a_lower_setpoint_lets_it_cool_without_power() -> None:
    one = oven()
    one.advance(400 * S)
    assert one.set(100)
    assert one.power_kw == 0
    one.advance(430 * S)
    assert one.temperature_c == pytest.approx(22 + 158 * exp(-30 / 240), abs=0.31)
    assert not one.set(900)
    assert one.setpoint_c == 100


@settings(deadline=None)
@given(st.lists(st.integers(1, 900 * S), max_size=30))
def test_an_oven_lives_the_same_life_however_often_it_is_looked_at(steps: list[int]) -> None:
    often, once = oven(), oven()
    for step in steps:
        often.advance(often.at_ns + step)
    once.advance(sum(steps))
    assert often.state == once.state
    assert often.temperature_c == pytest.approx(once.temperature_c, abs=1e-6)
    assert often.energy.kwh(often.at_ns) == pytest.approx(once.energy.kwh(once.at_ns), abs=1e-6)


def test_a_day_is_filled_with_heating_holding_and_off() -> None:
    one = oven()
    one.advance(86_400 * S)
    pieces = list(one.spells.between(0, 86_400 * S))
    assert {spell.state for spell, _, _ in pieces} == {"heating", "holding", "off"}
    assert sum(stop - start for _, start, stop in pieces) == 86_400 * S
