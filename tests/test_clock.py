"""The clock never runs backwards, and says when it was set."""

from __future__ import annotations

import time

import pytest

from edgeflow import clock
from edgeflow.clock import SystemClock, utc_ns, utc_text

S = 1_000_000_000
BEGIN = 1_795_154_400 * S  # 2026-11-20T06:00:00Z


class Hands:
    """The two clocks of the system, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.mono = BEGIN, 0
        monkeypatch.setattr(time, "time_ns", lambda: self.wall)
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.mono)

    def pass_time(self, ns: int) -> None:
        self.wall += ns
        self.mono += ns


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    return Hands(monkeypatch)


def looked_at(told: SystemClock, hands: Hands, seconds: int) -> list[int]:
    """What a look every second finds."""
    found = []
    for _ in range(seconds):
        hands.pass_time(S)
        found.append(told.check())
    return found


def test_a_small_forward_step_is_taken_over_at_once(hands: Hands) -> None:
    told = SystemClock()
    hands.pass_time(S)
    hands.wall += 4 * S
    assert told.now_ns() == BEGIN + S
    assert told.check() == 4 * S
    assert told.now_ns() == BEGIN + 5 * S
    assert told.epoch == 0


@pytest.mark.parametrize("days", [-30, -1 / 24, 1 / 24, 40])
def test_a_clock_that_is_set_wrong_and_right_again_changes_nothing(hands: Hands, days: float) -> None:
    told = SystemClock()
    hands.wall += round(days * 86_400) * S
    assert looked_at(told, hands, 28) == [0] * 28
    assert told.doubted_ns == round(days * 86_400) * S
    hands.wall -= round(days * 86_400) * S
    assert looked_at(told, hands, 28) == [0] * 28
    assert (told.now_ns(), told.epoch, told.doubted_ns) == (BEGIN + 56 * S, 0, 0)


def test_forward_and_back_and_forward_are_doubted_each_anew(hands: Hands) -> None:
    told = SystemClock()
    for step in (3600, -7200, 7200, -7200):
        hands.wall += step * S
        assert looked_at(told, hands, 20) == [0] * 20
    hands.wall += 3600 * S
    assert looked_at(told, hands, 5) == [0] * 5
    assert told.now_ns() == BEGIN + 85 * S


def test_a_step_that_lasts_is_taken_over_once_and_reported(hands: Hands) -> None:
    told = SystemClock()
    hands.wall += 3600 * S
    steps = looked_at(told, hands, 60)
    assert [step for step in steps if step] == [3600 * S]
    assert steps.index(3600 * S) == 30
    assert told.now_ns() == hands.wall


def test_a_clock_that_was_never_set_is_not_believed_and_is_left_at_once_when_it_is_set(hands: Hands) -> None:
    hands.wall = 100 * S
    unknown, known = SystemClock(), SystemClock(BEGIN)
    assert looked_at(known, hands, 3600) == [0] * 3600, "1970 is no time to go back to"
    assert known.now_ns() == BEGIN + 3600 * S
    assert unknown.now_ns() == 3700 * S
    hands.wall = BEGIN + 4000 * S
    assert unknown.check() == BEGIN + 300 * S
    assert sum(looked_at(known, hands, 40)) == 400 * S
    assert unknown.now_ns() == known.now_ns() == hands.wall


def test_a_start_with_the_clock_set_back_goes_on_from_the_newest_result_until_the_clock_has_stayed_so(
    hands: Hands,
) -> None:
    told = SystemClock(BEGIN + 3600 * S)
    assert told.now_ns() == BEGIN + 3600 * S
    assert looked_at(told, hands, 29) == [0] * 29
    assert -3600 * S in looked_at(told, hands, 10)
    assert (told.epoch, told.now_ns()) == (1, hands.wall)


def test_a_small_backward_step_is_held_until_the_wall_clock_has_caught_up(hands: Hands) -> None:
    told = SystemClock()
    assert told.now_ns() == BEGIN
    hands.wall -= 2 * S
    assert told.check() == -2 * S
    assert told.now_ns() == BEGIN
    hands.pass_time(S)
    assert told.now_ns() == BEGIN
    hands.pass_time(2 * S)
    assert told.now_ns() == BEGIN + S
    assert told.epoch == 0


def test_a_large_backward_step_begins_a_new_epoch(hands: Hands) -> None:
    told = SystemClock()
    hands.wall -= 3600 * S
    assert sum(looked_at(told, hands, 40)) == -3600 * S
    assert told.epoch == 1
    assert told.now_ns() == hands.wall


def test_slewing_is_no_step(hands: Hands) -> None:
    told = SystemClock()
    hands.wall += 10_000_000
    assert told.check() == 0


def test_times_are_written_and_read_as_rfc_3339() -> None:
    # 2026-11-20T06:00:00Z is 1795154400 s after 1970: 20777 days and 6 hours
    ns = (20_777 * 86_400 + 6 * 3_600) * S + 250_999_999
    assert utc_text(ns) == "2026-11-20T06:00:00.250Z"
    assert utc_ns("2026-11-20T07:00:00.250+01:00") == ns - 999_999
    assert clock.utc_ns("1970-01-01T00:00:00Z") == 0


def test_a_time_without_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a UTC offset"):
        utc_ns("2026-11-20T06:00:00")
