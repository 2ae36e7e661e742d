"""Counters: every step is classified, and nothing is lost, doubled or invented."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as unhurried
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from edgeflow.production.counter import JOURNAL_LENGTH, Counter, CounterSettings, Number
from edgeflow.units import NS_PER_S


def settings(**fields: Any) -> CounterSettings:
    return CounterSettings.model_validate(fields)


def fed(rules: CounterSettings, *readings: Number, every_s: float = 1) -> tuple[Counter, list[str]]:
    counter = Counter()
    kinds = [counter.take(rules, raw, round(i * every_s * NS_PER_S)).kind for i, raw in enumerate(readings)]
    return counter, list(kinds)


def test_the_first_sample_is_the_baseline_and_the_next_ones_count() -> None:
    counter, kinds = fed(settings(), 1200, 1200, 1210)
    assert (counter.total, kinds) == (10, ["baseline", "normal", "normal"])


def test_a_decimal_counter_wraps() -> None:
    """AVEVA Historian, counter retrieval: modulus 10,000, 9,900 then 100 are 200 units."""
    counter, kinds = fed(settings(modulus=10_000), 9_900, 100)
    assert (counter.total, kinds[-1]) == (200, "wrap")


def test_the_seconds_of_two_minutes_are_120() -> None:
    """AVEVA Historian, counter retrieval."""
    counter, _ = fed(settings(modulus=60), *range(60), *range(60), 0)
    assert counter.total == 120


def test_a_wrap_is_believed_only_where_it_is_possible_at_the_greatest_rate() -> None:
    rules = settings(modulus="2^16", max_rate="4 /s")
    assert fed(rules, 65_534, 1)[0].total == 3
    assert fed(rules, 60_000, 1)[1][-1] == "unexplained"
    assert fed(rules, 60_000, 1, every_s=2000)[0].total == 5_537


def test_for_an_unexplained_fall_no_number_is_invented() -> None:
    counter, kinds = fed(settings(), 5_000, 120, 125)
    assert (counter.total, kinds[1]) == (5, "unexplained")
    assert [(fall.kind, fall.before, fall.after) for fall in counter.journal] == [("unexplained", 5_000, 120)]


def test_after_a_declared_reset_what_the_counter_shows_was_made_since() -> None:
    counter, kinds = fed(settings(resets_to=0), 5_000, 12, 15)
    assert (counter.total, kinds[1:]) == (15, ["declared", "normal"])


@pytest.mark.parametrize("fields", [{}, {"resets_to": 0}, {"modulus": 65_536}, {"modulus": 65_536, "max_rate": "9 /s"}])
@pytest.mark.parametrize("high", [700, 60_000])
def test_a_single_zero_of_a_plc_that_starts_is_no_reset(fields: dict[str, Any], high: int) -> None:
    counter, kinds = fed(settings(**fields), high, 0, high + 5)
    assert (counter.total, kinds[-1]) == (5, "returned")
    assert counter.journal == []


def test_a_single_spike_beyond_the_greatest_rate_is_not_counted() -> None:
    counter, _ = fed(settings(max_rate="4 /s"), 100, 1_000_000, 103, 105)
    assert counter.total == 5


def test_a_jump_that_stays_is_taken_over_without_a_number() -> None:
    counter, _ = fed(settings(max_rate="4 /s"), 100, 1_000_000, 1_000_002)
    assert counter.total == 2


def test_jitter_down_by_one_counts_nothing_twice() -> None:
    assert fed(settings(), 100, 99, 99, 100, 99, 101)[0].total == 1
    assert fed(settings(modulus=65_536), 65_535, 0, 65_535, 0, 1)[0].total == 2


def test_a_late_sample_is_left_out() -> None:
    counter = Counter()
    for raw, at in ((10, 10), (20, 30), (15, 20), (21, 40)):
        counter.take(settings(), raw, at * NS_PER_S)
    assert counter.total == 11


def test_an_increment_tells_since_when_it_was_made() -> None:
    counter = Counter()
    counter.take(settings(), 10, 5 * NS_PER_S)
    step = counter.take(settings(), 700, 3600 * NS_PER_S)
    assert (step.increment, step.begin_ns) == (690, 5 * NS_PER_S)


def test_the_journal_stays_small() -> None:
    counter, _ = fed(settings(), *[100, 5, 6] * 50)
    assert len(counter.journal) == JOURNAL_LENGTH


def test_a_wrap_cannot_be_told_from_a_reset_without_the_greatest_rate() -> None:
    with pytest.raises(ValidationError, match="max_rate is needed"):
        settings(modulus=65_536, resets_to=0)


@pytest.mark.parametrize(("text", "modulus"), [("2^16", 65_536), ("10 ^ 4", 10_000), ("10000", 10_000), (60, 60)])
def test_a_modulus_may_be_a_power(text: Any, modulus: int) -> None:
    assert settings(modulus=text).modulus == modulus


MADE = st.lists(st.tuples(st.integers(0, 200), st.sampled_from(["", "again", "zero"])), max_size=60)


@unhurried(deadline=None)
@given(st.integers(0, 999), MADE, st.sampled_from([None, "300 /s"]))
def test_over_wraps_repeats_and_single_zeros_the_total_is_what_was_made(
    start: int, made: list[tuple[int, str]], max_rate: str | None
) -> None:
    rules = settings(modulus=1000, max_rate=max_rate)
    counter, at, truth = Counter(), 0, start
    counter.take(rules, truth % 1000, at)
    for pieces, disturbance in made:
        if disturbance == "zero":
            at += NS_PER_S
            counter.take(rules, 0, at)
        at += NS_PER_S
        truth += pieces
        for _ in range(2 if disturbance == "again" else 1):
            counter.take(rules, truth % 1000, at)
    assert counter.total == truth - start


@unhurried(deadline=None)
@given(MADE, st.data())
def test_a_counter_that_is_stored_and_taken_back_goes_on_the_same(
    made: list[tuple[int, str]], data: st.DataObject
) -> None:
    adapter = TypeAdapter(Counter)
    rules = settings(modulus=1000)
    one, two, raw = Counter(), Counter(), 0
    for i, (pieces, disturbance) in enumerate(made):
        raw = 0 if disturbance == "zero" else (raw + pieces) % 1000
        one.take(rules, raw, i)
        two.take(rules, raw, i)
        if data.draw(st.booleans()):
            two = adapter.validate_json(adapter.dump_json(two))
    assert one == two
