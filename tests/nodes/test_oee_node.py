"""The `oee` node: what it says when, what BAD and silence do, and that no piece is lost between shifts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflow.model import BAD, GOOD, UNCERTAIN, Message, Quality
from edgeflow.node import Site
from edgeflow.nodes.oee import NODE
from edgeflow.production.calendar import CalendarSettings
from edgeflow.testing.nodes import BEGIN_NS, Effect, Probe
from edgeflow.units import NS_PER_S

RUNNING, STOPPED, ABORTED = 6, 2, 9
DAY = CalendarSettings.model_validate(
    {"shifts": [{"name": "a", "from": "06:00", "to": "14:00"}, {"name": "b", "from": "14:00", "to": "20:00"}]}
).calendar()
SITE = Site(calendars={"plant": DAY})


class Machine:
    """An `oee` node with times in seconds after 06:00."""

    def __init__(self, site: Site = SITE, **settings: Any) -> None:
        self.probe = Probe(NODE, {"machine": "m", "ideal_cycle": "1 s", "report": "10 s", **settings}, site)
        self.probe.start()

    def at(self, second: float, quality: Quality = GOOD, **values: Any) -> list[Effect]:
        ns = BEGIN_NS + round(second * NS_PER_S)
        return self.probe.take(
            {port: Message(None if quality == BAD else value, quality, ns) for port, value in values.items()}
        )

    def to(self, second: float) -> list[Effect]:
        return self.probe.advance(BEGIN_NS + round(second * NS_PER_S))

    def restart(self, second: float) -> None:
        self.probe.round_trip()
        self.probe.start("restart", BEGIN_NS + round(second * NS_PER_S))

    @property
    def results(self) -> list[Mapping[str, Any]]:
        return [effect.content for effect in self.probe.effects if effect.name == "kpi"]

    def said(self, status: str) -> list[Mapping[str, Any]]:
        return [result for result in self.results if result["status"] == status]

    def stops(self) -> list[Mapping[str, Any]]:
        return [effect.content for effect in self.probe.effects if effect.name == "stop"]

    def now(self) -> Mapping[str, Any]:
        data: Mapping[str, Any] = self.results[-1]["data"]
        return data


def test_it_says_the_shift_live_at_most_once_a_second_of_source_time() -> None:
    machine = Machine()
    for i in range(40):
        machine.at(i / 10, state=RUNNING, good=i)
    assert len(machine.said("live")) == 4


def test_the_last_pieces_before_a_pause_are_reported_within_the_interval() -> None:
    machine = Machine()
    machine.at(0, state=RUNNING, good=100, reject=0)
    machine.at(1, state=RUNNING, good=107, reject=1)
    machine.to(12)
    assert [result["data"]["good"] for result in machine.said("provisional")] == [7]


def test_reports_end_when_nobody_is_heard_any_more() -> None:
    machine = Machine(stale_after="1 min")
    machine.at(0, state=RUNNING, good=0)
    machine.to(3600)
    reports = machine.said("provisional")
    assert len(reports) <= 8
    assert reports[-1]["data"]["unknown_s"] == 0
    assert reports[-1]["data"]["category"] == "unknown"


def test_the_end_of_the_shift_is_final_without_any_input() -> None:
    machine = Machine(stale_after="never")
    machine.at(0, state=RUNNING, good=0, reject=0)
    machine.at(7200, state=RUNNING, good=7000, reject=50)
    machine.to(8 * 3600)
    (final,) = machine.said("final")
    assert (final["key"], final["begin"], final["end"]) == (
        "m/2026-11-20/a",
        "2026-11-20T06:00:00.000Z",
        "2026-11-20T14:00:00.000Z",
    )
    assert (final["data"]["good"], final["data"]["run_s"], final["coverage"]) == (7000, 28_800, 1)


def test_buckets_add_up_to_the_shift() -> None:
    machine = Machine()
    machine.at(600, state=RUNNING, good=0)
    machine.at(900, state=ABORTED)
    machine.at(1000, BAD, state=None)
    machine.at(8 * 3600, state=RUNNING)
    (final,) = machine.said("final")
    assert sum(final["data"]["buckets"].values()) == 28_800
    assert final["data"]["buckets"]["unknown"] == 600 + 28_800 - 1000


def test_a_bad_state_is_unknown_time_and_the_result_uncertain() -> None:
    machine = Machine()
    machine.at(0, state=RUNNING, good=0)
    machine.at(60, BAD, state=None)
    machine.at(120, state=RUNNING)
    effects = machine.at(180, state=RUNNING)
    (result,) = [effect for effect in effects if effect.name == "kpi" and effect.content["status"] == "live"]
    assert result.quality == UNCERTAIN
    data = result.content["data"]
    assert (data["run_s"], data["unknown_s"], data["availability"]) == (120, 60, 1)


def test_what_rests_on_uncertain_inputs_stays_uncertain_for_the_shift() -> None:
    machine = Machine(stale_after="never")
    machine.at(0, state=RUNNING, good=0)
    machine.at(60, UNCERTAIN, good=9)
    machine.at(120, state=RUNNING, good=20)
    (final,) = [effect for effect in machine.to(8 * 3600) if effect.content and effect.content["status"] == "final"]
    assert (final.quality, final.content["data"]["good"], final.content["coverage"]) == (UNCERTAIN, 20, 1)


def test_a_bad_counter_is_passed_over_and_its_next_reading_carries_the_difference() -> None:
    machine = Machine()
    machine.at(0, state=RUNNING, good=10)
    machine.at(10, BAD, good=None)
    machine.at(20, state=RUNNING, good=25)
    assert machine.now()["good"] == 15


def test_pieces_made_while_the_state_was_unknown_count_but_not_for_performance() -> None:
    machine = Machine()
    machine.at(0, state=RUNNING, good=0)
    machine.at(100, state=RUNNING, good=50)
    machine.at(101, BAD, state=None, good=None)
    machine.at(1101, state=RUNNING, good=900)
    machine.at(1201, state=RUNNING, good=950)
    data = machine.now()
    assert (data["good"], data["gap"], data["run_s"]) == (950, 850, 201)
    assert data["performance"] == 100 / 201


def test_total_and_reject_give_good_and_good_and_reject_give_total() -> None:
    one, two = Machine(), Machine()
    one.at(0, state=RUNNING, total=100, reject=5)
    one.at(10, state=RUNNING, total=150, reject=8)
    two.at(0, state=RUNNING, good=100, reject=5)
    two.at(10, state=RUNNING, good=147, reject=8)
    for machine in (one, two):
        data = machine.now()
        assert (data["good"], data["reject"], data["total"]) == (47, 3, 50)


def test_a_result_without_pieces_is_undefined_not_zero_and_not_full() -> None:
    machine = Machine()
    machine.at(0, state=RUNNING, good=0, reject=0)
    machine.at(60, state=RUNNING, good=0, reject=0)
    data = machine.now()
    assert (data["availability"], data["performance"], data["quality"], data["oee"]) == (1, None, None, None)


def test_the_ideal_cycle_may_come_from_the_machine_and_change_with_the_product() -> None:
    machine = Machine(ideal_cycle="9 s")
    machine.at(0, state=RUNNING, good=0, ideal_cycle=2.0)
    machine.at(100, state=RUNNING, good=40)
    machine.at(100.5, ideal_cycle=0.5)
    machine.at(200, state=RUNNING, good=140)
    assert machine.now()["performance"] == (40 * 2 + 100 * 0.5) / 200


def test_what_is_planned_may_be_said_by_another_signal() -> None:
    machine = Machine(stale_after="never", plans={"4": "changeover"})
    machine.at(0, state=STOPPED, plan=4)
    machine.at(600, plan="production", state=RUNNING)
    machine.at(900, plan=False)
    machine.at(1000, plan=True)
    data = machine.now()
    assert (data["changeover_s"], data["run_s"], data["excluded_s"], data["planned_s"]) == (600, 300, 100, 900)


def test_the_first_fault_is_the_reason_of_the_stop() -> None:
    machine = Machine()
    machine.at(0, state=RUNNING, reason=0)
    machine.at(10, state=ABORTED)
    machine.at(11, reason=17)
    machine.at(12, reason=99)
    machine.at(300, state=RUNNING, reason=0)
    (stop,) = machine.stops()
    assert stop["data"] == {
        "machine": "m", "kind": "down", "state": "aborted", "reason": 17, "shift": "a", "day": "2026-11-20",
        "duration_s": 290,
    }  # fmt: skip
    assert (stop["begin"], stop["end"]) == ("2026-11-20T06:00:10.000Z", "2026-11-20T06:05:00.000Z")


def test_without_a_state_signal_the_stop_is_dated_back_to_the_last_piece() -> None:
    machine = Machine(pulse="10 s", small_stop="0 s")
    for second, good in ((0, 0), (5, 1), (10, 2), (100, 2), (310, 3), (315, 4)):
        machine.at(second, good=good)
    data = machine.now()
    assert (data["down_s"], data["buckets"]["run"]) == (300, 15)
    assert machine.stops()[0]["begin"] == "2026-11-20T06:00:10.000Z"


def test_a_state_that_no_table_knows_is_unknown_and_flagged() -> None:
    machine = Machine()
    machine.at(0, state=99)
    machine.at(60, state=99)
    data = machine.now()
    assert (data["unknown_s"], data["flags"][0]) == (60, "'state 99' is not in the table of states")


def test_shifts_in_which_nobody_was_there_are_booked_when_somebody_is() -> None:
    machine = Machine()
    machine.at(0, state=RUNNING, good=0)
    machine.to(4 * 86_400)
    assert len(machine.said("final")) == 2  # the shift itself, and one of silence; then it waits
    machine.at(2 * 86_400 + 60, state=RUNNING, good=500)
    keys = [final["key"] for final in machine.said("final")]
    assert [key for key in keys if "off" not in key] == ["m/2026-11-20/a", "m/2026-11-20/b", "m/2026-11-21/a", "m/2026-11-21/b"]  # fmt: skip
    assert machine.now()["good"] == 500


def test_after_a_start_with_the_clock_set_back_it_goes_on_from_the_true_time() -> None:
    machine = Machine()
    machine.at(30 * 86_400, state=RUNNING, good=100)
    machine.restart(0)
    machine.at(10, state=RUNNING, good=103)
    assert machine.results[-1]["key"] == "m/2026-12-20/a", "it may be a clock that is wrong for a moment"
    machine.at(620, state=RUNNING, good=105)
    machine.at(630, state=RUNNING, good=107)
    assert (machine.results[-1]["key"], machine.now()["good"]) == ("m/2026-11-20/a", 4)


def test_a_clock_that_is_set_back_by_days_for_a_while_costs_no_piece_and_no_other_shift() -> None:
    machine = Machine()
    machine.at(30 * 86_400, state=RUNNING, good=100)
    machine.at(30 * 86_400 + 10, state=RUNNING, good=110)
    for second in range(0, 500, 10):
        machine.at(second, state=RUNNING, good=111 + second // 10)
    machine.at(30 * 86_400 + 520, state=RUNNING, good=170)
    assert {result["key"] for result in machine.results} == {"m/2026-12-20/a"}
    assert machine.now()["good"] == 70


@pytest.mark.parametrize(("settings", "name"), [({}, "a"), ({"calendar": "office"}, "week")])
def test_the_calendar_is_the_one_named_or_that_of_the_plant(settings: dict[str, Any], name: str) -> None:
    office = CalendarSettings.model_validate({"shifts": [{"name": "week", "from": "05:00", "to": "17:00"}]}).calendar()
    machine = Machine(Site(calendars={"plant": DAY, "office": office}), **settings)
    machine.at(0, state=RUNNING)
    assert machine.now()["shift"] == name


def test_without_any_calendar_three_shifts_in_the_gateways_zone_count() -> None:
    machine = Machine(Site(time_zone="Europe/Berlin"))
    machine.at(0, state=RUNNING)
    assert (machine.now()["shift"], machine.now()["planned_s"]) == ("early", 3600)


SAMPLES = st.lists(
    st.tuples(
        st.integers(1, 20_000), st.integers(0, 50), st.integers(0, 5), st.sampled_from([RUNNING, STOPPED, ABORTED, None])
    ),
    min_size=1, max_size=40,
)  # fmt: skip


@settings(deadline=None, max_examples=50)
@given(SAMPLES, st.integers(0, 70_000), st.data())
def test_over_shifts_gaps_and_restarts_the_sum_of_all_results_is_what_was_made(
    samples: list[tuple[int, int, int, int | None]], start: int, data: st.DataObject
) -> None:
    machine = Machine(good={"modulus": "2^16", "max_rate": "100 /s"})
    second, good, reject = 0, start, 7
    machine.at(second, state=RUNNING, good=good % 65_536, reject=reject)
    for after, more, bad, state in samples:
        second += after
        good, reject = good + more, reject + bad
        if state is None:
            machine.at(second, BAD, state=None, good=None, reject=None)
        else:
            machine.at(second, state=state, good=good % 65_536, reject=reject)
        if data.draw(st.booleans()):
            machine.restart(second)
    second += 1
    machine.at(second, state=RUNNING, good=good % 65_536, reject=reject)
    machine.to(second + 20)
    stored = [result for result in machine.results if result["status"] != "live"]
    latest = {result["key"]: result["data"] for result in stored}
    assert sum(result["good"] for result in latest.values()) == good - start
    assert sum(result["reject"] for result in latest.values()) == reject - 7
    finals = [result["key"] for result in stored if result["status"] == "final"]
    assert len(finals) == len(set(finals))
