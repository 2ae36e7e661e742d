from __future__ import annotations

from typing import Any, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflow.clock import utc_ns
from edgeflow.plant import truth
from edgeflow.plant.factory import Factory

S = 1_000_000_000


class Clock(Protocol):
    ns: int
    epoch: int

    def now_ns(self) -> int: ...

    def go(self, seconds: float) -> int: ...


class _Fixed:
    epoch = 0

    def __init__(self, ns: int) -> None:
        self.ns = ns

    def now_ns(self) -> int:
        return self.ns


def _day() -> Factory:
    clock = _Fixed(1_795_176_000_000_000_000)
    day = Factory(clock, seed=5)
    clock.ns += 86_400 * S
    day.now()
    return day


DAY = _day()


def _sum(a: Any, b: Any) -> Any:
    if isinstance(a, dict) or isinstance(b, dict):
        return {key: _sum((a or {}).get(key), (b or {}).get(key)) for key in {*(a or {}), *(b or {})}}
    return (a or 0) + (b or 0)


def _numbers(answer: dict[str, Any]) -> dict[str, Any]:
    for machine in answer["machines"].values():
        machine.pop("spells")
    return {key: answer[key] for key in ("machines", "meter", "oven")}


def _flat(tree: Any, path: str = "") -> dict[str, float]:
    if isinstance(tree, dict):
        return {k: v for key, branch in tree.items() for k, v in _flat(branch, f"{path}/{key}").items()}
    return {path: tree}


@settings(deadline=None)
@given(st.lists(st.integers(0, 86_400_000_000), min_size=3, max_size=3).map(sorted))
def test_neighbouring_intervals_add_up_to_the_whole(cuts_us: list[int]) -> None:
    a, b, c = (DAY.start_ns + cut * 1000 for cut in cuts_us)
    parts = _flat(_sum(*(_numbers(truth.interval(DAY, *span)) for span in ((a, b), (b, c)))))
    whole = _flat(_numbers(truth.interval(DAY, a, c)))
    assert parts.keys() >= whole.keys()
    for key, value in whole.items():
        exact = key.endswith(("good", "reject", "total"))
        assert parts[key] == (value if exact else pytest.approx(value, abs=1e-8))


def test_the_states_and_the_reasons_of_an_interval_each_fill_it() -> None:
    begin, end = DAY.start_ns + 1000 * S, DAY.start_ns + 50_000 * S
    for machine in truth.interval(DAY, begin, end)["machines"].values():
        assert sum(machine["seconds"].values()) == pytest.approx(49_000)
        assert sum(machine["reasons"].values()) == pytest.approx(49_000)


def test_the_interval_since_the_start_is_the_present(factory: Factory, clock: Clock) -> None:
    clock.go(12_345.678)
    now = truth.present(factory)
    whole = truth.interval(factory, utc_ns(now["start"]), utc_ns(now["at"]))
    for name, machine in whole["machines"].items():
        assert [machine[k] for k in ("good", "reject", "total")] == [
            now["machines"][name][k] for k in ("good", "reject", "total")
        ]
    assert whole["meter"]["kwh"] == pytest.approx(now["meter"]["kwh"])


def test_the_low_word_wraps_while_the_whole_counter_goes_on(factory: Factory, clock: Clock) -> None:
    seen = []
    for _ in range(30):
        clock.go(30)
        seen.append(truth.present(factory)["machines"]["press"])
    for press in seen:
        words = press["registers"]
        assert words[4] << 16 | words[5] == 65_400 + press["good"]
        assert words[2] == (65_400 + press["good"]) % 65_536
    assert seen[0]["registers"][2] > 65_000 > seen[-1]["registers"][2]


def test_the_past_is_forgotten_in_time_but_the_totals_stay(factory: Factory, clock: Clock) -> None:
    for _ in range(7):
        clock.go(86_400)
        now_ns = factory.now()
    assert now_ns - factory.since_ns <= 6 * 86_400 * S
    begin = factory.since_ns
    assert factory.press.good.between(begin, now_ns) == len(factory.press.good.times) < factory.press.good.count
    assert sum(truth.interval(factory, begin, now_ns)["machines"]["press"]["seconds"].values()) == pytest.approx(
        (now_ns - begin) / S
    )


def test_a_moment_is_written_so_that_it_is_read_back_exactly(factory: Factory, clock: Clock) -> None:
    clock.ns += 123_456_789
    now_ns = factory.now()
    assert utc_ns(truth.moment(now_ns)) == now_ns
