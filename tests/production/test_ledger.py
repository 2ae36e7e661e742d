"""The time ledger: every nanosecond is booked, and only once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflow.clock import utc_ns
from edgeflow.production.calendar import CalendarSettings, three_shifts
from edgeflow.production.ledger import LONGEST_GAP_NS, Bucket, Closed, Ended, Ledger, Rules, Sheet
from edgeflow.production.states import CATEGORIES, Category
from edgeflow.units import NS_PER_S

BEGIN = utc_ns("2026-11-20T06:00:00Z")
MINUTE = 60 * NS_PER_S
PAUSED: dict[str, Any] = {
    "shifts": [
        {"name": "early", "from": "06:00", "to": "14:00", "breaks": [{"from": "09:00", "to": "09:30"}]},
        {"name": "late", "from": "14:00", "to": "18:00"},
    ]
}


def rules(stale_min: int | None = None, small_min: int = 2, pulse_s: int = 0) -> Rules:
    plant = CalendarSettings.model_validate(PAUSED).calendar()
    stale = None if stale_min is None else stale_min * MINUTE
    return Rules(plant, small_min * MINUTE, stale, pulse_s * NS_PER_S)


class Books:
    """A ledger with times in minutes after 06:00, hearing at everything it is told."""

    def __init__(self, how: Rules) -> None:
        self.rules, self.ledger = how, Ledger()
        self.closed: list[Sheet] = []
        self.ended: list[Ended] = []
        self.to(0)

    def to(self, minute: float) -> None:
        self._keep(self.ledger.advance(self.rules, BEGIN + round(minute * MINUTE)))

    def at(self, minute: float, category: Category) -> None:
        self.to(minute)
        self.ledger.hear(BEGIN + round(minute * MINUTE))
        self._keep(self.ledger.turn(self.rules, category, category))

    def piece(self, minute: float) -> None:
        self.to(minute)
        self.ledger.hear(BEGIN + round(minute * MINUTE))
        self._keep(self.ledger.pulse(self.rules))

    def _keep(self, events: list[Ended | Closed]) -> None:
        self.closed += [event.sheet for event in events if isinstance(event, Closed)]
        self.ended += [event for event in events if isinstance(event, Ended)]

    def minutes(self, minute: float) -> dict[str, float]:
        sheet = self.ledger.view(self.rules, BEGIN + round(minute * MINUTE))
        return {bucket: ns / MINUTE for bucket, ns in sheet.buckets.items() if ns}


def test_time_before_the_first_state_is_unknown() -> None:
    books = Books(rules())
    books.at(30, "running")
    assert books.minutes(60) == {"unknown": 30, "run": 30}


def test_a_short_stop_is_small_and_a_long_one_is_down() -> None:
    books = Books(rules())
    books.at(0, "running")
    for minute, category in ((10, "stopped"), (11.5, "running"), (20, "stopped"), (22, "running")):
        books.at(minute, category)  # type: ignore[arg-type] # words of Category
    assert books.minutes(30) == {"run": 26.5, "small_stop": 1.5, "down": 2}
    assert [event.bucket for event in books.ended] == ["small_stop", "down"]


def test_an_open_stop_shows_as_what_it_is_by_now() -> None:
    books = Books(rules())
    books.at(0, "running")
    books.at(10, "stopped")
    assert books.minutes(11) == {"run": 10, "small_stop": 1}
    assert books.minutes(13) == {"run": 10, "down": 3}


def test_looking_books_nothing() -> None:
    books = Books(rules())
    books.at(0, "running")
    books.minutes(100)
    books.at(10, "stopped")
    books.at(20, "running")
    assert books.minutes(20) == {"run": 10, "down": 10}


def test_a_break_is_nobodys_time_and_does_not_lengthen_a_stop() -> None:
    books = Books(rules())
    books.at(0, "running")
    books.at(179, "stopped")
    books.at(210.5, "running")
    assert books.minutes(240) == {"run": 179 + 29.5, "break": 30, "small_stop": 1.5}
    assert books.ended[0].stop.planned_ns == 90 * NS_PER_S


def test_changeover_and_time_without_a_plan_have_buckets_of_their_own() -> None:
    books = Books(rules())
    books.at(0, "changeover")
    books.at(1, "excluded")
    books.at(5, "running")
    assert books.minutes(10) == {"changeover": 1, "excluded": 4, "run": 5}
    assert [event.bucket for event in books.ended] == ["changeover"]


def test_the_last_state_holds_only_until_nothing_was_heard_for_too_long() -> None:
    books = Books(rules(stale_min=5))
    books.at(0, "running")
    books.to(60)
    assert books.minutes(60) == {"run": 5, "unknown": 55}


def test_without_a_limit_the_last_state_holds() -> None:
    books = Books(rules())
    books.at(0, "running")
    assert books.minutes(120) == {"run": 120}


def test_a_stop_over_the_end_of_a_shift_is_one_stop_in_two_sheets() -> None:
    books = Books(rules())
    books.at(0, "running")
    books.at(479, "stopped")
    books.at(484, "running")
    assert books.closed[0].buckets["small_stop"] == MINUTE
    assert books.minutes(490) == {"down": 4, "run": 6}
    assert [(event.stop.planned_ns, event.bucket) for event in books.ended] == [(5 * MINUTE, "down")]


def test_a_stop_ends_with_the_planned_time_and_begins_anew_with_the_next_shift() -> None:
    books = Books(rules())
    books.at(0, "running")
    books.at(700, "stopped")
    books.to(24 * 60 + 10)
    assert [(event.stop.planned_ns, event.end_ns) for event in books.ended] == [(20 * MINUTE, BEGIN + 720 * MINUTE)]
    assert books.minutes(24 * 60 + 10) == {"down": 10}


def test_a_machine_without_a_signal_runs_from_piece_to_piece_and_its_stop_begins_at_the_last_one() -> None:
    books = Books(rules(pulse_s=30))
    for minute in (0, 0.25, 0.5, 5.5, 5.75):
        books.piece(minute)
    assert books.minutes(5.75) == {"run": 0.75, "down": 5}
    assert books.ended[0].stop.begin_ns == BEGIN + 30 * NS_PER_S


def test_a_gap_of_years_is_not_booked_shift_by_shift() -> None:
    ledger, how = Ledger(), Rules(three_shifts(), 0)
    ledger.advance(how, 0)
    ledger.turn(how, "running", "running")
    events = ledger.advance(how, utc_ns("2026-11-20T06:30:00Z"))
    assert sum(isinstance(event, Closed) for event in events) == 1
    assert ledger.sheet is not None
    assert ledger.sheet.buckets["unknown"] == 30 * MINUTE
    assert LONGEST_GAP_NS > 31 * 86_400 * NS_PER_S


STORY = st.lists(st.tuples(st.integers(0, 400), st.sampled_from([*CATEGORIES, "piece"])), min_size=1, max_size=40)


@settings(deadline=None)
@given(STORY, st.sampled_from([None, 5, 120]), st.integers(0, 20), st.sampled_from([0, 90]))
def test_every_sheet_adds_up_to_its_shift_and_stops_to_the_time_lost(
    story: list[tuple[int, Any]], stale_min: int | None, small_min: int, pulse_s: int
) -> None:
    books = Books(rules(stale_min, small_min, pulse_s))
    minute = 0
    for after, what in story:
        minute += after
        if what == "piece":
            books.piece(minute)
        else:
            books.at(minute, what)
    for sheet in books.closed:
        assert sum(sheet.buckets.values()) == sheet.shift.end_ns - sheet.shift.begin_ns
    last = books.ledger.view(books.rules, books.ledger.until_ns)
    assert sum(last.buckets.values()) == books.ledger.until_ns - last.shift.begin_ns
    sheets = [*books.closed, last]
    assert all(ns >= 0 for sheet in sheets for ns in sheet.buckets.values())
    lost: tuple[Bucket, ...] = ("small_stop", "down", "changeover")
    booked = sum(sheet.buckets[bucket] for sheet in sheets for bucket in lost)
    open_ns = books.ledger.stop.planned_ns if books.ledger.stop else 0
    told = sum(event.stop.planned_ns for event in books.ended)
    if not pulse_s:  # without a signal a short pause is run time, and is no stop
        assert booked == told + open_ns
    assert all(event.end_ns - event.stop.begin_ns >= event.stop.planned_ns for event in books.ended)
    times = [(event.stop.begin_ns, event.end_ns) for event in books.ended]
    assert all(end <= begin for (_, end), (begin, _) in pairwise(times))
