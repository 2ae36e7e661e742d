from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflow.plant.machine import Machine, Motion
from edgeflow.plant.script import ABORTED, EXECUTE, HELD, OFF, STOPPED, Segment, machine_script

S = 1_000_000_000
HOUR = 3600 * S


def machine(seed: int = 1, **changes: object) -> Machine:
    given_: dict[str, object] = {"start_ns": 0, "ideal_ns": 2 * S, "good_start": 65_400, "reject_start": 812}
    return Machine(machine_script(seed, "press"), Random(seed), **(given_ | changes))  # type: ignore[arg-type]


def acts(*segments: Segment) -> Iterator[Segment]:
    yield from segments
    while True:
        yield Segment(STOPPED, "end", HOUR)


def seen(one: Machine) -> object:
    return (one.good.times, one.reject.times, one.spells.spells, one.last_cycle_ns, one.next_ns)


@settings(deadline=None)
@given(st.lists(st.integers(1, 400 * S), max_size=40))
def test_a_machine_lives_the_same_life_however_often_it_is_looked_at(steps: list[int]) -> None:
    often, once = machine(), machine()
    for step in steps:
        often.advance(often.at_ns + step)
    once.advance(sum(steps))
    assert seen(often) == seen(once)


def test_the_seconds_of_all_states_are_the_elapsed_time() -> None:
    one = machine()
    one.advance(24 * HOUR)
    assert sum(stop - start for _, start, stop in one.spells.between(0, 24 * HOUR)) == 24 * HOUR


def test_the_same_seed_gives_the_same_day_and_another_seed_another() -> None:
    days = [machine(seed) for seed in (1, 1, 2)]
    for day in days:
        day.advance(8 * HOUR)
    assert seen(days[0]) == seen(days[1])
    assert seen(days[0]) != seen(days[2])


def test_a_day_has_everything_that_happens_in_a_factory() -> None:
    one = machine()
    one.advance(24 * HOUR)
    reasons = {spell.reason for spell in one.spells.spells}
    assert reasons == {"run", "slow", "micro stop", "starved", "unplanned stop", "planned stop", "aborted"}
    assert all((spell.fault > 0) == (spell.reason in ("unplanned stop", "aborted")) for spell in one.spells.spells)
    assert one.reject.count > 0


def test_no_cycle_is_shorter_than_the_ideal_one() -> None:
    one = machine()
    one.advance(8 * HOUR)
    executing = sum(b - a for spell, a, b in one.spells.between(0, 8 * HOUR) if spell.state == "execute")
    scrapped = sum(spell.reason == "aborted" for spell in one.spells.spells)
    assert (one.good.count + one.reject.count - scrapped) * 2 * S <= executing


def test_parts_come_at_the_end_of_each_cycle_and_a_stop_interrupts_it() -> None:
    steady = Random(0)
    steady.gauss = lambda mu=0.0, sigma=1.0: 0.0  # type: ignore[method-assign]
    script = acts(Segment(EXECUTE, "run", 5 * S), Segment(STOPPED, "jam", 10 * S, 101), Segment(EXECUTE, "run", 4 * S))
    one = Machine(script, steady, start_ns=0, ideal_ns=2 * S)
    one.advance(HOUR)
    # 1 s into the third cycle the stop begins; 10 s later the cycle needs 1 s more.
    assert list(one.good.times) == [2 * S, 4 * S, 16 * S, 18 * S]
    assert [(spell.at_ns, spell.fault) for spell in one.spells.spells] == [
        (0, 0),
        (5 * S, 101),
        (15 * S, 0),
        (19 * S, 0),
    ]


def test_an_abort_spoils_the_part_in_work() -> None:
    script = acts(Segment(EXECUTE, "run", 5 * S), Segment(ABORTED, "aborted", 10 * S, 901, scrap=True))
    one = Machine(script, Random(0), start_ns=0, ideal_ns=2 * S)
    one.advance(HOUR)
    assert (one.good.count, list(one.reject.times)) == (2, [5 * S])


def test_hold_freezes_everything_and_going_on_loses_nothing() -> None:
    held, free = machine(), machine()
    held.advance(100 * S)
    held.hold(True)
    frozen = (held.good_counter, held.reject_counter)
    held.advance(700 * S)
    assert (held.state, held.reason, held.fault, held.next_ns) == (HELD, "hold", 0, None)
    assert (held.good_counter, held.reject_counter) == frozen
    held.hold(False)
    held.advance(1600 * S)
    free.advance(1000 * S)
    assert (held.good.count, held.reject.count) == (free.good.count, free.reject.count)


def test_a_controller_without_power_has_no_state_and_forgets_its_last_cycle() -> None:
    one = machine()
    one.advance(10 * S)
    counters = (one.good_counter, one.reject_counter)
    one.power(False)
    one.advance(20 * S)
    assert (one.state, one.last_cycle_ns) == (OFF, 0)
    one.power(True)
    assert (one.state, one.good_counter, one.reject_counter) == (EXECUTE, *counters)


def test_counters_go_on_from_their_start_and_can_be_reset() -> None:
    one = machine()
    one.advance(8 * HOUR)
    assert one.good_counter == 65_400 + one.good.count
    made = one.good.count
    one.reset_counters()
    assert (one.good_counter, one.reject_counter, one.good.count) == (0, 0, made)
    one.advance(9 * HOUR)
    assert one.good_counter == one.good.count - made > 0


def test_a_counter_wraps_at_its_width() -> None:
    one = machine(good_start=2**32 - 2)
    one.advance(60 * S)
    assert one.good_counter == one.good.count - 2


def test_speed_shortens_stops_as_it_shortens_runs() -> None:
    normal, fast = (list(islice(machine_script(3, "press", speed), 50)) for speed in (1.0, 10.0))
    assert [s.reason for s in normal] == [s.reason for s in fast]
    assert sum(s.length_ns for s in fast) == pytest.approx(sum(s.length_ns for s in normal) / 10, rel=1e-9)


def test_the_watcher_hears_of_every_change_of_motion() -> None:
    heard: list[tuple[int, Motion]] = []
    script = acts(Segment(EXECUTE, "run", 5 * S), Segment(STOPPED, "jam", 10 * S, 101))
    one = Machine(script, Random(0), start_ns=0, ideal_ns=2 * S, watch=lambda at, motion: heard.append((at, motion)))
    one.advance(14 * S)
    assert [motion.reason for _, motion in heard] == ["run", "run", "run", "jam"]
    assert heard[-1][0] == 5 * S
    assert heard[-1][1].period_ns == 0
    assert 0 < heard[-1][1].phase < 0.5
