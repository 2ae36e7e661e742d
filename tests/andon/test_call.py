"""The life of a call and its deadlines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflow.andon.call import BUTTONS, Button, Call, Level, deadline, escalate, press

MIN = 60_000_000_000
LEADER = Level(2 * MIN, "line lead")
AREA = Level(10 * MIN, "area lead", unless="resolved")
LEVELS = (LEADER, AREA)


def raised(at: int = 100 * MIN) -> Call:
    call = Call()
    assert press(call, "raise", at)
    return call


def test_a_call_goes_from_raised_over_acknowledged_to_resolved() -> None:
    call = raised()
    assert press(call, "acknowledge", 101 * MIN)
    assert call.phase == "acknowledged"
    assert press(call, "resolve", 105 * MIN)
    assert (call.phase, call.raised_ns, call.acknowledged_ns, call.closed_ns) == (
        "resolved",
        100 * MIN,
        101 * MIN,
        105 * MIN,
    )


@pytest.mark.parametrize(
    ("buttons", "last"),
    [
        (["raise"], "raise"),
        (["raise", "acknowledge"], "raise"),
        (["raise", "acknowledge"], "acknowledge"),
        (["raise", "acknowledge", "resolve"], "resolve"),
        (["raise", "resolve"], "cancel"),
        ([], "acknowledge"),
        ([], "resolve"),
    ],
)
def test_a_press_that_fits_no_phase_changes_nothing(buttons: list[Button], last: Button) -> None:
    call, twin = Call(), Call()
    for i, button in enumerate(buttons):
        press(call, button, 100 * MIN + i)
        press(twin, button, 100 * MIN + i)
    assert not press(call, last, 200 * MIN)
    assert call == twin


def test_resolving_at_once_means_that_somebody_was_there() -> None:
    call = raised()
    press(call, "resolve", 103 * MIN)
    assert call.acknowledged_ns == 103 * MIN


def test_a_new_call_after_the_end_begins_with_its_first_level() -> None:
    call = raised()
    assert escalate(call, LEVELS, 102 * MIN) == LEADER
    press(call, "resolve", 103 * MIN)
    assert press(call, "raise", 200 * MIN)
    assert (call.level, call.acknowledged_ns, call.closed_ns) == (0, 0, 0)
    assert deadline(call, LEVELS) == 202 * MIN


def test_deadlines_are_reckoned_from_the_raising_not_from_now() -> None:
    call = raised()
    assert deadline(call, LEVELS) == 102 * MIN
    assert escalate(call, LEVELS, 102 * MIN - 1) is None
    assert escalate(call, LEVELS, 102 * MIN) == LEADER
    assert deadline(call, LEVELS) == 110 * MIN


def test_overdue_levels_fire_once_and_in_order() -> None:
    call = raised()
    assert [escalate(call, LEVELS, 500 * MIN) for _ in range(3)] == [LEADER, AREA, None]
    assert call.level == 2


def test_acknowledging_stops_the_first_clock_and_not_the_second() -> None:
    call = raised()
    press(call, "acknowledge", 101 * MIN)
    assert deadline(call, LEVELS) == 110 * MIN
    assert escalate(call, LEVELS, 109 * MIN) is None
    assert escalate(call, LEVELS, 110 * MIN) == AREA
    assert escalate(call, LEVELS, 999 * MIN) is None


@pytest.mark.parametrize("end", ["resolve", "cancel"])
def test_a_call_that_is_over_threatens_nobody(end: Button) -> None:
    call = raised()
    press(call, end, 101 * MIN)
    assert deadline(call, LEVELS) is None
    assert escalate(call, LEVELS, 999 * MIN) is None


EVENTS = st.lists(
    st.tuples(st.integers(min_value=0, max_value=5 * MIN), st.sampled_from([*BUTTONS, "look"])), max_size=40
)


@given(EVENTS, st.lists(st.integers(min_value=0, max_value=20), max_size=5), st.data())
def test_every_level_fires_at_most_once_per_call_in_order_and_never_early(
    events: list[tuple[int, str]], minutes: list[int], data: st.DataObject
) -> None:
    unless = st.sampled_from(["acknowledged", "resolved"])
    levels = [Level(m * MIN, f"level {i}", data.draw(unless)) for i, m in enumerate(sorted(minutes))]
    call, at, fired = Call(), 100 * MIN, list[Level]()
    for elapsed, event in events:
        at += elapsed
        if event != "look":
            if press(call, event, at) and event == "raise":  # type: ignore[arg-type]
                fired = []
            continue
        while level := escalate(call, levels, at):
            assert call.is_open
            assert at >= call.raised_ns + level.after_ns
            assert call.phase == "raised" or level.unless == "resolved"
            fired.append(level)
        following = deadline(call, levels)
        assert following is None or following > at
    places = [levels.index(level) for level in fired]
    assert places == sorted(set(places))


@given(EVENTS)
def test_looking_often_or_only_after_an_outage_tells_the_same_levels(events: list[tuple[int, str]]) -> None:
    """As long as nobody presses in between, the time of looking does not matter."""
    often, once = raised(), raised()
    seen, at = [], 100 * MIN
    for elapsed, _ in events:
        at += elapsed
        while level := escalate(often, LEVELS, at):
            seen.append(level)
    late = []
    while level := escalate(once, LEVELS, at):
        late.append(level)
    assert seen == late
