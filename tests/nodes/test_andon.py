"""`lamp` and `andon_call` on the real engine: what the golden cases of the shipped flow do not show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from edgeflow.model import BAD, UNCERTAIN, Tag
from edgeflow.nodes.andon_call import Config as AndonCall
from edgeflow.outputs.arbitration import OutputPlan
from edgeflow.production.states import PACKTAGS, States

Make = Callable[..., Any]

LAMP = """
nodes:
  a: {kind: tag, tag: press1/state}
  it: {kind: lamp, output: line1/lamp, machine: press1%s}
  p: {kind: probe, name: out}
wires: [a -> it.state, it -> p]
"""
BUTTONS = tuple(Tag(f"b/{name}", "boolean") for name in ("raise", "acknowledge", "resolve", "cancel"))
CALL = """
nodes:
  r: {kind: tag, tag: b/raise}
  a: {kind: tag, tag: b/acknowledge}
  s: {kind: tag, tag: b/resolve}
  c: {kind: tag, tag: b/cancel}
  it:
    kind: andon_call
    machine: press1
    type: material
    output: line1/lamp%s
    escalate: [{after: 10 s, to: line lead}, {after: 20 s, to: area lead}, {after: 60 s, to: manager, unless: resolved}]
  calls: {kind: probe, name: call}
  told: {kind: probe, name: escalation}
wires: [r -> it.raise, a -> it.acknowledge, s -> it.resolve, c -> it.cancel, it.call -> calls, it.escalation -> told]
"""


def test_no_state_of_packml_is_green_by_mistake(rig: Make) -> None:
    r = rig(LAMP % "")
    green = set()
    for at, number in enumerate(PACKTAGS):
        r.feed(at, press1__state=number)
        if r.lit().get("green") == "on":
            green.add(PACKTAGS[number])
    assert green == {"execute", "completing"}


@pytest.mark.parametrize("value", [0, 99, 6.5, "no such state", None, True])
def test_a_state_that_nobody_knows_shows_the_stale_pattern(rig: Make, value: Any) -> None:
    r = rig(LAMP % "")
    r.feed(1, press1__state=value)
    if States("packtags").read(value)[1] == "unknown":
        assert r.lit() == {"red": "flash", "amber": "flash"}
    else:
        assert value is True


def test_a_doubtful_state_is_shown(rig: Make) -> None:
    r = rig(LAMP % "")
    r.feed(1, UNCERTAIN, press1__state=6)
    assert r.lit() == {"green": "on"}
    assert r.qualities() == [UNCERTAIN]


def test_a_light_with_a_lease_shows_stale_when_no_news_comes(rig: Make) -> None:
    r = rig(LAMP % ", lease: 5 s")
    r.feed(1, press1__state=6)
    r.advance(5)
    assert r.lit() == {"green": "on"}
    r.advance(7)
    assert r.lit() == {"red": "flash", "amber": "flash"}
    r.feed(8, press1__state=6)
    assert r.lit() == {"green": "on"}


def test_without_a_declared_pattern_a_lost_machine_is_dark_and_never_green(rig: Make) -> None:
    dark = OutputPlan("line1/dark", ("red", "green"))
    r = rig((LAMP % "").replace("line1/lamp", "line1/dark"), outputs=(dark,))
    r.feed(1, press1__state=6)
    r.feed(2, BAD, press1__state=6)
    assert r.lit("line1/dark") == {}


def test_the_node_s_colours_go_before_the_output_s_and_a_category_stands_for_its_states(rig: Make) -> None:
    site = OutputPlan(
        "line1/site", ("red", "green", "blue"), patterns={"running": {"blue": "on"}, "stopped": {"blue": "flash"}}
    )
    more = ", patterns: {aborted: {red: flash_fast}}"
    r = rig((LAMP % more).replace("line1/lamp", "line1/site"), outputs=(site,))
    shown = []
    for at, number in enumerate((6, 9, 5)):  # execute, aborted, suspended
        r.feed(at, press1__state=number)
        shown.append(r.lit("line1/site"))
    assert shown == [{"blue": "on"}, {"red": "flash_fast"}, {"blue": "flash"}]


def test_new_colours_show_with_the_new_version_not_with_the_next_change(rig: Make) -> None:
    r = rig(LAMP % "")
    r.feed(1, press1__state=6)
    r.commit()
    r.deploy(LAMP % ", patterns: {execute: {blue: on}}", "redeploy", 2)
    assert r.lit() == {"blue": "on"}


def test_the_lamp_says_what_it_shows_when_that_changes_and_after_a_restart(rig: Make) -> None:
    r = rig(LAMP % "")
    for at in (1, 2):
        r.feed(at, press1__state=6)
    r.commit()
    r.crash(3)
    assert r.lit() == {"green": "on"}
    r.feed(4, press1__state=6)
    assert [value["data"]["state"] for value in r.values()] == ["execute", "execute"]


def press(r: Any, at: float, button: str) -> None:
    r.feed(at, **{f"b__{button}": True})
    r.feed(at + 0.5, **{f"b__{button}": False})


def test_a_call_ends_with_the_third_button(rig: Make) -> None:
    r = rig(CALL % "", BUTTONS)
    for at, button in [(1, "raise"), (2, "acknowledge"), (5, "acknowledge"), (6, "resolve"), (7, "resolve")]:
        press(r, at, button)
    assert [call["data"]["state"] for call in r.values("call")] == ["raised", "acknowledged", "resolved"]
    assert r.values("call")[-1]["status"] == "final"
    assert r.lit() == {}


def test_a_call_made_by_mistake_is_cancelled(rig: Make) -> None:
    r = rig(CALL % "", BUTTONS)
    press(r, 1, "raise")
    press(r, 2, "cancel")
    assert r.values("call")[-1]["data"]["acknowledged"] is None
    assert (r.values("call")[-1]["data"]["state"], r.values("call")[-1]["status"]) == ("cancelled", "final")


def test_two_calls_have_two_keys(rig: Make) -> None:
    r = rig(CALL % "", BUTTONS)
    for at in (1, 5):
        press(r, at, "raise")
        press(r, at + 2, "resolve")
    assert len({call["key"] for call in r.values("call")}) == 2


def test_a_button_that_was_held_through_a_lost_wire_is_one_press(rig: Make) -> None:
    r = rig(CALL % "", BUTTONS)
    r.feed(1, b__raise=True)
    press(r, 2, "resolve")
    r.feed(3, BAD, b__raise=True)
    r.feed(4, b__raise=True)
    assert len(r.values("call")) == 2
    assert r.lit() == {}


def test_a_button_held_through_a_restart_is_one_press(rig: Make) -> None:
    r = rig(CALL % "", BUTTONS)
    r.feed(1, b__raise=True)
    press(r, 2, "resolve")
    r.commit()
    r.crash(3)
    r.feed(4, b__raise=True)
    assert len(r.values("call")) == 2


def test_a_lost_button_neither_ends_nor_dims_a_call(rig: Make) -> None:
    r = rig(CALL % "", BUTTONS)
    press(r, 1, "raise")
    r.feed(2, BAD, b__raise=False, b__acknowledge=False, b__resolve=False)
    assert r.lit() == {"blue": "flash"}


def test_overdue_levels_are_told_once_each_in_order_after_an_outage(rig: Make) -> None:
    r = rig(CALL % "", BUTTONS)
    press(r, 1, "raise")
    r.commit()
    r.crash(3600)
    r.advance(3600)
    r.commit()
    r.crash(3700)
    r.advance(9000)
    assert [told["to"] for told in r.values("escalation")] == ["line lead", "area lead", "manager"]
    assert r.lit() == {"blue": "flash", "buzzer": "on"}


def test_an_open_call_is_told_again_after_a_restart(rig: Make) -> None:
    r = rig(CALL % "", BUTTONS)
    r.crash(0.5)
    press(r, 1, "raise")
    r.commit()
    r.crash(3)
    first, again = r.values("call")
    assert again == first


def test_somebody_who_comes_stops_the_levels_but_not_the_one_that_waits_for_the_end(rig: Make) -> None:
    r = rig(CALL % "", BUTTONS)
    press(r, 1, "raise")
    press(r, 12, "acknowledge")
    r.advance(1000)
    assert [(told["to"], told["level"]) for told in r.values("escalation")] == [("line lead", 1), ("manager", 3)]


def test_a_new_version_with_later_levels_waits_for_those(rig: Make) -> None:
    r = rig(CALL % "", BUTTONS)
    press(r, 1, "raise")
    r.commit()
    r.deploy((CALL % "").replace("after: 10 s", "after: 15 s"), "redeploy", 2)
    r.advance(14)
    assert r.values("escalation") == []
    r.advance(16)
    assert len(r.values("escalation")) == 1


def test_levels_are_written_the_soonest_first() -> None:
    levels = [{"after": "20 s", "to": "area lead"}, {"after": "10 s", "to": "line lead"}]
    with pytest.raises(ValidationError, match="the soonest first"):
        AndonCall.model_validate({"machine": "press1", "escalate": levels})
