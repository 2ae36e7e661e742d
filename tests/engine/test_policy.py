"""The output policy in the engine: what it refuses is safe, what comes too soon waits, persons and safety do not."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from edgeflow.engine.requests import Requests
from edgeflow.model import Request, Scalar
from edgeflow.outputs.arbitration import FLOW, OPERATOR, OutputPlan
from edgeflow.outputs.policy import Permit, Policy
from edgeflow.units import NS_PER_S

OVEN = OutputPlan("oven/setpoint", ("value",))
LAMP = OutputPlan("lamp", ("green", "blue"), when_stale={"blue": "flash"})
PLANS = {plan.name: plan for plan in (OVEN, LAMP)}


def requests(*permits: Permit) -> Requests:
    made = Requests(PLANS, Policy(permits))
    made.decisions(0)
    return made


def wish(output: str, pattern: Mapping[str, Scalar], owner: str = "oven-1/set", at: int = 0) -> Request:
    return Request(owner, output, dict(pattern), OPERATOR if owner.startswith("operator:") else FLOW, at, None)


def shown(made: Requests, at_s: float) -> dict[str, dict[str, Scalar]]:
    return {d.output: d.levels for d in made.decisions(round(at_s * NS_PER_S))}


@pytest.mark.parametrize("value", [20, 240, 100.5])
def test_a_number_within_the_range_is_written(value: float) -> None:
    made = requests(Permit("oven/*", ("oven-*",), 20, 240))
    made.put(wish("oven/setpoint", {"value": value}))
    assert shown(made, 1) == {"oven/setpoint": {"value": value}}
    assert made.refused == {}


@pytest.mark.parametrize("value", [19.9, 241, -1e9, math.nan, math.inf, 10**400])
def test_a_number_outside_the_range_is_not_written_and_says_why(value: float) -> None:
    made = requests(Permit("oven/*", ("oven-*",), 20, 240))
    made.put(wish("oven/setpoint", {"value": 100}))
    made.decisions(0)
    made.put(wish("oven/setpoint", {"value": value}))
    assert shown(made, 1) == {"oven/setpoint": {"value": "off"}}
    assert "outside 20 to 240" in made.refused["oven/setpoint", "oven-1/set"]
    made.put(wish("oven/setpoint", {"value": 120}))
    assert shown(made, 2) == {"oven/setpoint": {"value": 120}}
    assert made.refused == {}


def test_a_light_that_is_refused_shows_what_it_shows_when_nobody_knows() -> None:
    made = requests(Permit("lamp", ("press-andon",)))
    made.put(wish("lamp", {"green": "on"}, "other/lamp"))
    assert shown(made, 1) == {"lamp": {"green": "off", "blue": "flash"}}
    made.put(wish("lamp", {"green": "on"}, "press-andon/lamp", at=1))
    assert shown(made, 2) == {"lamp": {"green": "on", "blue": "flash"}}
    made.drop("lamp", "other/lamp")
    assert shown(made, 3) == {"lamp": {"green": "on", "blue": "off"}}
    assert made.refused == {}


def test_a_change_that_comes_too_soon_waits_and_the_newest_wish_counts() -> None:
    made = requests(Permit("oven/setpoint", ("oven-1",), every_ns=10 * NS_PER_S))
    made.put(wish("oven/setpoint", {"value": 100}))
    assert shown(made, 20) == {"oven/setpoint": {"value": 100}}
    made.put(wish("oven/setpoint", {"value": 110}))
    assert shown(made, 21) == {}
    assert made.next_end() == 30 * NS_PER_S
    made.put(wish("oven/setpoint", {"value": 120}))
    assert shown(made, 22) == {}
    assert shown(made, 30) == {"oven/setpoint": {"value": 120}}
    assert made.next_end() is None


def test_a_wish_that_is_taken_back_in_time_was_never_carried_out() -> None:
    made = requests(Permit("oven/setpoint", ("oven-1",), every_ns=10 * NS_PER_S))
    made.put(wish("oven/setpoint", {"value": 100}))
    made.decisions(20 * NS_PER_S)
    made.put(wish("oven/setpoint", {"value": 110}))
    made.decisions(21 * NS_PER_S)
    made.put(wish("oven/setpoint", {"value": 100}))
    assert shown(made, 22) == {}
    assert made.next_end() is None
    assert shown(made, 31) == {}


def test_a_person_and_what_is_safe_never_wait() -> None:
    made = requests(Permit("*", ("*",), 0, 50, every_ns=3600 * NS_PER_S))
    made.put(wish("lamp", {"green": "on"}, "f/lamp"))
    made.decisions(0)
    made.put(wish("lamp", {"blue": "flash"}, "f/lamp"))
    assert shown(made, 1) == {"lamp": {"green": "off", "blue": "flash"}}, "stale, and at once"
    made.put(wish("oven/setpoint", {"value": 40}, "f/set"))
    assert shown(made, 2) == {"oven/setpoint": {"value": 40}}
    made.put(wish("oven/setpoint", {"value": 99}, "operator:http"))
    assert shown(made, 3) == {"oven/setpoint": {"value": 99}}, "no range, no rate for a person"
    made.drop("oven/setpoint", "operator:http")
    made.drop_flow("f")
    assert shown(made, 4) == {"oven/setpoint": {"value": "off"}, "lamp": {"green": "off", "blue": "off"}}


def test_without_a_policy_everything_goes_at_once() -> None:
    made = Requests(PLANS, Policy())
    for i, value in enumerate((1e9, -1e9)):
        made.put(wish("oven/setpoint", {"value": value}, "anyone/set"))
        assert shown(made, i)["oven/setpoint"] == {"value": value}


def test_true_and_one_are_not_the_same_wish() -> None:
    made = Requests(PLANS, Policy())
    made.put(wish("oven/setpoint", {"value": True}))
    made.decisions(0)
    made.put(wish("oven/setpoint", {"value": 1}))
    assert [type(level) for level in shown(made, 1)["oven/setpoint"].values()] == [int]


def test_what_is_safe_does_not_take_along_what_comes_too_soon() -> None:
    made = requests(Permit("lamp", ("f",), every_ns=10 * NS_PER_S))
    made.put(wish("lamp", {"green": "off"}, "f/lamp"))
    made.decisions(0)
    made.put(wish("lamp", {"green": "flash"}, "f/lamp"))
    assert shown(made, 20) == {"lamp": {"green": "flash", "blue": "off"}}
    made.put(wish("lamp", {"green": "on", "blue": "flash"}, "f/lamp"))
    assert shown(made, 21) == {"lamp": {"green": "flash", "blue": "flash"}}, "blue is what it shows when nobody knows"
    assert made.next_end() is not None
    assert shown(made, 31)["lamp"] == {"green": "on", "blue": "flash"}
