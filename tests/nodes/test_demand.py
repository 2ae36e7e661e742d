"""`demand` on the real engine: what is sent when, and what a crash costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeflow.model import BAD, GOOD, UNCERTAIN, Tag

Make = Callable[..., Any]

TAGS = (Tag("m/kwh", unit="kWh"), Tag("m/kw", unit="kW"), Tag("press1/good"), Tag("press1/state"))
FLOW = """
nodes:
  kwh: {kind: tag, tag: m/kwh}
  good: {kind: tag, tag: press1/good}
  it: {kind: demand, meter: m, interval: 1 min, longest: 5 min, settle: 5 s, good_counter: {modulus: 2^16}}
  p: {kind: probe, name: out}
  r: {kind: record, stream: energy}
wires: [kwh -> it.energy, good -> it.good, it -> p, it -> r]
"""


def of(r: Any, status: str) -> list[dict[str, Any]]:
    return [value for value in r.values() if value["status"] == status]


def test_live_figures_come_at_most_once_a_second(rig: Make) -> None:
    r = rig(FLOW, TAGS)
    for i in range(21):
        r.feed(i * 0.25, m__kwh=100 + i)
    assert len(of(r, "live")) == 6


def test_a_meter_read_every_second_give_or_take_is_told_every_time(rig: Make) -> None:
    r = rig(FLOW, TAGS)
    for i in range(10):
        r.feed(i + (i % 2) * 0.02, m__kwh=100 + i)
    assert len(of(r, "live")) == 10


def test_a_lost_meter_is_told_at_once_and_once_a_second(rig: Make) -> None:
    r = rig(FLOW, TAGS)
    r.feed(0, m__kwh=100)
    r.feed(0.25, BAD, m__kwh=100)
    r.feed(0.5, BAD, m__kwh=100)
    r.feed(0.75, m__kwh=100)
    live = [quality for value, quality in zip(r.values(), r.qualities(), strict=True) if value["status"] == "live"]
    assert live == [GOOD, BAD, GOOD]
    assert of(r, "live")[1]["data"]["kw"] is None


def test_the_open_interval_is_sent_every_ten_seconds_and_only_when_changed(rig: Make) -> None:
    r = rig(FLOW, TAGS)
    for at in range(60):
        r.feed(at, m__kwh=100 + min(at, 30))
    kwh = [value["data"]["kwh"] for value in of(r, "provisional")]
    # At 1 s the first energy is known; then every 10 s until it stands still at 30 kWh.
    assert kwh == [1, 11, 21, 30]


def test_parts_that_are_seen_just_after_the_boundary_still_count(rig: Make) -> None:
    r = rig(FLOW, TAGS)
    r.feed(0, press1__good=0)
    r.feed(0, m__kwh=100)
    r.feed(60, m__kwh=101)
    r.feed(60, press1__good=20)  # the press is read after the meter, at the same time
    r.feed(65, m__kwh=101)
    (final,) = of(r, "final")
    assert (final["key"], final["data"]["good"], final["data"]["kwh_per_good"]) == (
        "m/2026-11-20T06:00:00.000Z",
        20,
        0.05,
    )


def test_figures_that_rest_on_a_lost_counter_of_parts_are_doubtful(rig: Make) -> None:
    r = rig(FLOW, TAGS)
    r.feed(0, press1__good=0)
    r.feed(0, m__kwh=100)
    r.feed(30, BAD, press1__good=0)
    r.feed(60, m__kwh=101)
    r.feed(65, m__kwh=101)
    (final,) = of(r, "final")
    assert (final["data"]["kwh"], final["data"]["kwh_per_good"]) == (1, None)
    assert r.qualities()[r.values().index(final)] == UNCERTAIN


def test_doubtful_readings_make_a_doubtful_interval(rig: Make) -> None:
    r = rig(FLOW, TAGS)
    r.feed(0, m__kwh=100)
    r.feed(30, UNCERTAIN, m__kwh=101)
    r.feed(70, m__kwh=102)
    (final,) = of(r, "final")
    assert r.qualities()[r.values().index(final)] == UNCERTAIN


def test_without_power_the_counter_s_last_minute_counts(rig: Make) -> None:
    r = rig(FLOW.replace("1 min", "1 h"), TAGS)
    r.feed(0, m__kwh=100)
    r.feed(60, m__kwh=100.5)  # 0.5 kWh in a minute: 30 kW
    r.feed(90, m__kwh=100.75)
    live = of(r, "live")[-1]["data"]
    assert live["kw"] == 30
    assert live["projected_kw"] == 30


def test_a_clock_that_is_set_back_loses_no_energy_and_silences_nothing(rig: Make) -> None:
    r = rig(FLOW, TAGS)
    r.feed(3600, m__kwh=100)
    r.feed(3610, m__kwh=101)
    r.feed(10, m__kwh=102)
    r.feed(20, m__kwh=103)
    assert len(of(r, "live")) == 4
    r.feed(3670, m__kwh=104)
    assert sum(value["data"]["kwh"] for value in of(r, "final")) + of(r, "live")[-1]["data"]["kwh"] == 4


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["sample", "commit", "crash", "lost"]), st.integers(1, 90)), max_size=60))
def test_crashes_neither_lose_nor_double_energy_and_parts(rig: Make, events: list[tuple[str, int]]) -> None:
    r = rig(FLOW, TAGS)
    at, kwh, good = 0, 0, 0
    r.feed(at, press1__good=0)
    r.feed(at, m__kwh=0)
    r.commit()
    for what, n in events:
        at += n
        kwh, good = kwh + n, good + 5 * n
        if what == "commit":
            r.commit()
        elif what == "crash":
            r.crash(at)
        else:
            quality = BAD if what == "lost" else GOOD
            r.feed(at, quality, press1__good=good % 65536)
            r.feed(at, quality, m__kwh=float(kwh))
    at += 1000
    r.feed(at, press1__good=good % 65536)
    r.feed(at, m__kwh=float(kwh))
    r.feed(at + 70, press1__good=good % 65536)
    r.feed(at + 70, m__kwh=float(kwh))
    r.commit()
    latest = {}
    for record in r.records:
        if record.status == "final":
            assert record.key not in latest or record.version > latest[record.key].version
            latest[record.key] = record
    assert sum(record.data["kwh"] or 0 for record in latest.values()) == pytest.approx(kwh, abs=1e-9)
    assert sum(record.data["good"] for record in latest.values()) == good
