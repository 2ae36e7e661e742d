"""The clock never runs backwards, and says when it was set."""

from __future__ import annotations

import time

import pytest

from edgeflow import clock
from edgeflow.clock import SystemClock, utc_ns, utc_text

S = 1_000_000_000


class Hands:
    """The two clocks of the system, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.mono = 1_000 * S, 0
        monkeypatch.setattr(time, "time_ns", lambda: self.wall)
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.mono)

    def pass_time(self, ns: int) -> None:
        self.wall += ns
        self.mono += ns


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    return Hands(monkeypatch)


def test_a_forward_step_is_taken_over_and_reported(hands: Hands) -> None:
    told = SystemClock()
    hands.pass_time(S)
    hands.wall += 60 * S
    assert told.now_ns() == 1_001 * S
    assert told.check() == 60 * S
    assert told.now_ns() == 1_061 * S
    assert told.epoch == 0


def test_a_small_backward_step_is_held_until_the_wall_clock_has_caught_up(hands: Hands) -> None:
    told = SystemClock()
    assert told.now_ns() == 1_000 * S
    hands.wall -= 2 * S
    assert told.check() == -2 * S
    assert told.now_ns() == 1_000 * S
    hands.pass_time(S)
    assert told.now_ns() == 1_000 * S
    hands.pass_time(2 * S)
    assert told.now_ns() == 1_001 * S
    assert told.epoch == 0


def test_a_large_backward_step_begins_a_new_epoch(hands: Hands) -> None:
    told = SystemClock()
    hands.wall -= 3600 * S
    told.check()
    assert told.epoch == 1
    assert told.now_ns() == 1_000 * S - 3600 * S


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
