"""Shift calendars: wall time outside, true instants inside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edgeflow.clock import utc_ns, utc_text
from edgeflow.production.calendar import Calendar, CalendarSettings, three_shifts
from edgeflow.units import NS_PER_S

HOUR_NS = 3600 * NS_PER_S
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Pacific/Apia"]


def calendar(zone: str = "Europe/Berlin", **settings: Any) -> Calendar:
    settings.setdefault("shifts", [{"name": "night", "from": "22:00", "to": "06:00"}])
    return CalendarSettings.model_validate(settings).calendar(zone)


@pytest.mark.parametrize(
    ("during", "hours"),
    [("2026-03-28T23:30:00+01:00", 7), ("2026-10-24T23:30:00+02:00", 9), ("2026-11-20T23:30:00+01:00", 8)],
)
def test_a_night_shift_is_as_long_as_the_night_really_is(during: str, hours: int) -> None:
    shift = calendar().shift_at(utc_ns(during))
    assert shift is not None
    assert shift.end_ns - shift.begin_ns == hours * HOUR_NS


def test_a_shift_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    shift = calendar().shift_at(utc_ns("2026-11-21T05:59:59+01:00"))
    assert shift is not None
    assert (shift.name, shift.day) == ("night", "2026-11-20")
    assert utc_text(shift.begin_ns) == "2026-11-20T21:00:00.000Z"
    assert utc_text(shift.end_ns) == "2026-11-21T05:00:00.000Z"


def test_a_shift_ends_where_its_end_begins() -> None:
    assert calendar().shift_at(utc_ns("2026-11-21T06:00:00+01:00")) is None


def test_a_break_after_midnight_lies_in_the_night_shift() -> None:
    night = {"name": "night", "from": "22:00", "to": "06:00", "breaks": [{"from": "02:00", "to": "02:30"}]}
    shift = calendar(shifts=[night]).shift_at(utc_ns("2026-11-20T23:00:00+01:00"))
    assert shift is not None
    begin, end = shift.breaks[0]
    assert (utc_text(begin), utc_text(end)) == ("2026-11-21T01:00:00.000Z", "2026-11-21T01:30:00.000Z")


def test_a_break_that_the_clocks_skip_does_not_take_place() -> None:
    night = {"name": "night", "from": "22:00", "to": "06:00", "breaks": [{"from": "02:15", "to": "02:45"}]}
    shift = calendar(shifts=[night]).shift_at(utc_ns("2026-03-28T23:00:00+01:00"))
    assert shift is not None
    assert shift.breaks == ()


def test_no_shift_begins_on_a_holiday_and_an_exception_says_which_do() -> None:
    work = [{"name": n, "days": ["mon..fri"], "from": b, "to": e} for n, b, e in [("a", "06:00", "14:00"), ("b", "14:00", "22:00")]]  # fmt: skip
    plant = calendar("UTC", shifts=work, holidays=["2026-12-25"], exceptions={"2026-12-24": ["a"], "2026-12-26": ["b"]})
    found = {name: (s := plant.shift_at(utc_ns(name))) and s.name for name in (
        "2026-12-23T15:00:00Z", "2026-12-24T07:00:00Z", "2026-12-24T15:00:00Z", "2026-12-25T07:00:00Z", "2026-12-26T15:00:00Z",
    )}  # fmt: skip
    assert list(found.values()) == ["b", "a", None, None, "b"]


def test_an_exception_means_the_shift_of_its_own_weekday() -> None:
    two = [
        {"name": "a", "days": "mon..thu", "from": "06:00", "to": "14:00"},
        {"name": "a", "days": "fri", "from": "06:00", "to": "12:00"},
    ]
    plant = calendar("UTC", shifts=two, exceptions={"2026-12-25": ["a"], "2026-12-26": ["a"]})
    friday, saturday = plant.shift_at(utc_ns("2026-12-25T07:00:00Z")), plant.shift_at(utc_ns("2026-12-26T07:00:00Z"))
    assert friday is not None
    assert saturday is not None
    assert (friday.end_ns - friday.begin_ns, saturday.end_ns - saturday.begin_ns) == (6 * HOUR_NS, 8 * HOUR_NS)


def test_an_exception_cannot_make_shifts_overlap() -> None:
    long = [
        {"name": "day", "days": "mon..fri", "from": "06:00", "to": "14:00"},
        {"name": "long", "days": "sun", "from": "10:00", "to": "20:00"},
    ]
    with pytest.raises(ValidationError, match="overlap around 2026-12-24"):
        calendar(shifts=long, exceptions={"2026-12-24": ["day", "long"]})


def test_days_may_be_a_range_over_the_end_of_the_week() -> None:
    settings = CalendarSettings.model_validate({"shifts": [{"name": "w", "days": "fri..mon", "from": "06:00", "to": "14:00"}]})  # fmt: skip
    assert settings.shifts[0].days == ("fri", "sat", "sun", "mon")


def test_the_next_boundary_is_the_end_and_then_the_next_beginning() -> None:
    plant = calendar()
    end = plant.next_boundary(utc_ns("2026-11-20T23:00:00+01:00"))
    assert end == utc_ns("2026-11-21T06:00:00+01:00")
    assert plant.next_boundary(end) == utc_ns("2026-11-21T22:00:00+01:00")


def test_a_calendar_without_any_further_shift_has_no_boundary() -> None:
    assert Calendar().next_boundary(0) is None


def test_between_shifts_the_time_has_names_of_its_own() -> None:
    shifts = [{"name": "a", "from": "06:00", "to": "10:00"}, {"name": "b", "from": "12:00", "to": "16:00"}]
    plant = calendar("UTC", shifts=shifts)
    names = [plant.period_at(utc_ns(f"2026-11-20T{t}:00Z")).name for t in ("00:00", "09:00", "11:00", "12:00", "23:59")]
    assert names == ["off@00:00", "a", "off@10:00", "b", "off@16:00"]


def test_where_nothing_is_configured_three_shifts_work_every_day() -> None:
    plant = three_shifts("Europe/Berlin")
    day = list(plant.periods(utc_ns("2026-11-22T06:00:00+01:00"), utc_ns("2026-11-23T06:00:00+01:00")))
    assert [(s.name, s.day, s.scheduled) for s in day] == [
        ("early", "2026-11-22", True),
        ("late", "2026-11-22", True),
        ("night", "2026-11-22", True),
    ]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shifts": [{"name": "a", "from": "6 Uhr", "to": "14:00"}]}, "HH:MM"),
        ({"shifts": [{"name": "a", "from": "06:00", "to": "14:00", "days": ["mo"]}]}, "mon..fri"),
        ({"shifts": [{"name": "a", "from": "06:00", "to": "15:00"}, {"name": "b", "from": "14:00", "to": "22:00"}]}, "overlap"),
        ({"shifts": [{"name": "a", "from": "06:00", "to": "14:00", "breaks": [{"from": "13:50", "to": "14:10"}]}]}, "inside"),
        ({"shifts": [{"name": "a", "from": "06:00", "to": "14:00"}], "exceptions": {"2026-12-24": ["z"]}}, "known are a"),
        ({"shifts": [{"name": "a", "from": "06:00", "to": "14:00"}], "time_zone": "Europe/Berlln"}, "IANA"),
        ({"shifts": [{"name": "a", "from": "06:00", "to": "10:00"}, {"name": "a", "from": "12:00", "to": "14:00"}]}, "different names"),
    ],
)  # fmt: skip
def test_a_wrong_calendar_is_refused_in_words_that_help(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CalendarSettings.model_validate(settings)


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    times = sorted(draw(st.sets(st.integers(0, 95), min_size=2, max_size=8)))
    clock = [f"{t // 4:02}:{t % 4 * 15:02}" for t in times]
    pairs = list(zip(clock, [*clock[1:], clock[0]], strict=True))
    kept = [pair for pair in pairs if draw(st.booleans())] or pairs[:1]
    shifts = [{"name": f"s{i}", "from": begin, "to": end} for i, (begin, end) in enumerate(kept)]
    return calendar(draw(st.sampled_from(ZONES)), shifts=shifts)


INSTANTS = st.integers(
    int(datetime(2009, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())
).map(lambda s: s * NS_PER_S)  # fmt: skip
CHANGES = st.sampled_from(
    ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2011-12-30T10:00:00Z", "2026-03-08T05:00:00Z", "2026-04-04T15:00:00Z"]
).flatmap(lambda t: st.integers(-36, 36).map(lambda h: utc_ns(t) + h * HOUR_NS // 2))  # fmt: skip


@settings(deadline=None)
@given(calendars(), INSTANTS | CHANGES)
def test_periods_tile_the_time_without_gap_or_overlap(plant: Calendar, at: int) -> None:
    period = plant.period_at(at)
    assert period.begin_ns <= at < period.end_ns
    following = plant.period_at(period.end_ns)
    assert following.begin_ns == period.end_ns
    assert plant.period_at(period.end_ns - 1) == period
    assert (period.day, period.name) != (following.day, following.name)
    assert (plant.shift_at(at) is not None) == period.scheduled


@settings(deadline=None)
@given(calendars(), CHANGES)
def test_the_next_boundary_is_where_the_shift_changes(plant: Calendar, at: int) -> None:
    boundary = plant.next_boundary(at)
    assert boundary is not None
    assert boundary > at
    assert plant.shift_at(boundary - 1) == plant.shift_at(at)
    assert plant.shift_at(boundary) != plant.shift_at(at)
    assert timedelta(microseconds=(boundary - at) / 1000) < timedelta(days=4)
