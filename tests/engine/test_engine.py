"""The engine's rules: ticks without glitches, timers, calls, requests, faults, and nothing forgotten over a restart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflow.document import parse
from edgeflow.engine.engine import INTERRUPTED, Engine
from edgeflow.errors import Rejected
from edgeflow.flow.compile import Plan, compile_flow
from edgeflow.model import BAD, GOOD, UNCERTAIN, Answer, Block, Request, Tag
from edgeflow.node import Site, installed
from edgeflow.outputs.arbitration import OutputPlan
from tests.engine.kinds import KINDS

LAMP = OutputPlan("lamp", ("red", "blue"), when_stale={"blue": "flash"}, when_stopped={"blue": "on"})
SITE = Site(tags={f"d/{n}": Tag(f"d/{n}", "integer") for n in "xy"}, outputs={"lamp": LAMP})
X, XY = ("d/x",), ("d/x", "d/y")


def plan(nodes: str, wires: str = "", instance: str = "f") -> Plan:
    lines = "".join(f"  {line.strip()}\n" for line in nodes.strip().split("\n"))
    wire_lines = "".join(f"  - {w.strip()}\n" for w in wires.split(",") if w.strip())
    text = f"flow: t/{instance}\nnodes:\n{lines}" + (f"wires:\n{wire_lines}" if wire_lines else "")
    return compile_flow(parse(text), {}, SITE, KINDS, instance=instance)


def engine(*plans: Plan, saved: Mapping[str, bytes] | None = None, **more: Any) -> Engine:
    made = Engine({"lamp": LAMP}, **more)
    for each in plans:
        made.deploy(each, saved or {}, 0, "restart" if saved else "first")
    return made


def x(value: object, at: int, quality: int = 0) -> Block:
    return Block("d", X, [value], at, at, {0: (BAD if quality == 2 else UNCERTAIN, "why")} if quality else None)


def log(e: Engine, node: str = "see", flow: str = "f") -> list[Any]:
    return e.flows[flow].by_name[node].state.log


DIAMOND = plan("x: {kind: src, tag: d/x}\nadd: {kind: add}\nsee: {kind: see}", "x -> add.a, x -> add.b, add -> see")


def test_a_step_sees_all_its_ports_that_changed_together_once() -> None:
    e = engine(DIAMOND)
    e.block(x(2, 10))
    e.block(x(3, 20))
    assert log(e) == [[["in"], {"in": 4}, 10], [["in"], {"in": 6}, 20]]
    assert e.flows["f"].by_name["add"].steps == 2


def test_a_block_with_two_tags_is_one_tick() -> None:
    e = engine(plan("x: {kind: src, tag: d/x}\ny: {kind: src, tag: d/y}\nsee: {kind: see}", "x -> see.a, y -> see.b"))
    e.block(Block("d", XY, [1, 2], 5, 6))
    assert log(e) == [[["a", "b"], {"a": 1, "b": 2}, 5]]


def test_several_messages_on_a_port_are_taken_one_after_another() -> None:
    e = engine(plan("x: {kind: src, tag: d/x}\nb: {kind: burst}\nsee: {kind: see}", "x -> b, b -> see"))
    e.block(x(3, 10))
    assert [entry[1] for entry in log(e)] == [{"in": 0}, {"in": 1}, {"in": 2}]


def test_a_runaway_of_messages_quarantines_its_flow() -> None:
    e = engine(plan("x: {kind: src, tag: d/x}\nb: {kind: burst}", "x -> b"))
    e.block(x(20_000, 10))
    assert "more than 10000 messages" in e.flows["f"].fault


def test_bad_is_answered_with_bad_without_asking_the_node() -> None:
    e = engine(plan("x: {kind: src, tag: d/x}\nsum: {kind: sum}\nsee: {kind: see}", "x -> sum, sum -> see"))
    e.block(x(5, 10))
    e.block(x(None, 20, quality=2))
    e.block(x(5, 30))
    assert [entry[1]["in"] for entry in log(e)] == [5, None, 10]


def test_the_worst_quality_of_the_inputs_is_inherited() -> None:
    e = engine(DIAMOND)
    e.block(x(1, 10, quality=1))
    assert e.flows["f"].by_name["add"].outs["out"].last.quality is UNCERTAIN
    e.block(x(1, 20))
    assert e.flows["f"].by_name["add"].outs["out"].last.quality is GOOD


def test_a_fault_stops_its_flow_and_no_other() -> None:
    told: list[tuple[str, str]] = []
    sick = plan(
        "x: {kind: src, tag: d/x}\nfail: {kind: fail}\nl: {kind: light, output: lamp}", "x -> fail, fail -> l", "sick"
    )
    e = engine(sick, DIAMOND, on_fault=lambda *what: told.append(what))
    e.block(x(1, 10))
    assert e.decisions()[0].levels == {"red": "on", "blue": "off"}
    e.block(x(13, 20))
    e.block(x(1, 30))
    assert told[0][0] == "sick"
    assert "node 'fail' (fail) failed: ZeroDivisionError: thirteen" in told[0][1]
    assert e.decisions()[0].levels == {"red": "off", "blue": "on"}, "the output is safe"
    assert len(log(e)) == 3


TIMED = plan("x: {kind: src, tag: d/x}\nl: {kind: later}\nsee: {kind: see}", "x -> l, l -> see")


def test_a_timer_fires_with_the_instant_it_was_set_for() -> None:
    e = engine(TIMED)
    e.block(x(1, 100))
    assert e.next_due() == 110
    e.advance(500)
    assert log(e, "l") == [["1", 110, 2]]
    assert log(e) == [[["in"], {"in": "1"}, 110]]


def test_a_timer_that_is_due_fires_before_a_later_block() -> None:
    e = engine(TIMED)
    e.block(x(1, 100))
    e.block(x(2, 200))
    assert log(e, "l") == [["1", 110, 2]]


def test_the_same_key_replaces_a_timer() -> None:
    e = engine(TIMED)
    e.block(x(1, 100))
    e.block(x(1, 105))
    e.advance(1000)
    assert log(e, "l") == [["1", 115, 3]]


def test_timers_that_are_put_off_for_ever_cost_no_memory() -> None:
    e = engine(TIMED)
    step = e.flows["f"].by_name["l"]
    for i in range(20_000):
        step.wake(10**18 + i, key="far")
        step.wake(10**18, key="shift")
    assert len(e._due) <= 3_000
    e.advance(2 * 10**18)
    assert [entry[:2] for entry in log(e, "l")] == [["shift", 10**18], ["far", 10**18 + 19_999]]


def test_overdue_timers_fire_once_and_in_order_after_a_restart() -> None:
    e = engine(TIMED)
    e.block(x(1, 100))
    e.block(x(2, 103))
    again = engine(TIMED, saved=e.snapshot("f"))
    again.advance(10_000)
    again.advance(20_000)
    assert [entry[:2] for entry in log(again, "l")] == [["1", 110], ["2", 113]]


ASKING = plan("x: {kind: src, tag: d/x}\nask: {kind: ask}", "x -> ask")


def test_a_call_waits_for_the_commit_and_its_answer_comes_back() -> None:
    e = engine(ASKING)
    e.block(x(7, 100))
    assert e.calls_now == []
    commit = e.commit()
    assert commit is not None
    (call,) = commit.calls
    assert (call.service, call.request, call.at) == ("http", {"q": 7}, 100)
    e.answer(Answer(call.id, ok=True, value="fine", at=150))
    e.answer(Answer(call.id, ok=True, value="again", at=160))
    assert log(e, "ask") == [["k", True, "", "fine"]]


def test_an_unanswered_call_is_interrupted_by_a_restart() -> None:
    e = engine(ASKING)
    e.block(x(7, 100))
    again = engine(ASKING, saved=e.snapshot("f"))
    assert log(again, "ask") == [["k", False, INTERRUPTED, None]]
    assert again.commit().calls == []


LIGHT = plan("x: {kind: src, tag: d/x}\nl: {kind: light, output: lamp}", "x -> l")


def test_a_held_request_is_in_force_again_after_a_restart() -> None:
    e = engine(LIGHT)
    e.block(x(1, 100))
    again = engine(LIGHT, saved=e.snapshot("f"))
    (decision,) = again.decisions()
    assert decision.levels == {"red": "on", "blue": "off"}
    assert decision.winners["red"] == "f/l"


def test_an_output_nobody_holds_shows_its_stopped_pattern() -> None:
    e = engine(LIGHT)
    assert e.decisions()[0].levels == {"red": "off", "blue": "on"}
    assert e.decisions() == []


def test_an_operator_outdoes_a_flow_until_the_lease_ends() -> None:
    e = engine(LIGHT)
    e.block(x(1, 100))
    e.requests.put(Request("operator:me", "lamp", {"red": "off"}, 900, 110, lease_end=200))
    assert e.decisions()[0].levels["red"] == "off"
    assert e.next_due() == 200
    e.advance(200)
    assert e.decisions()[0].levels["red"] == "on"
    assert [r.owner for r in e.requests.held("lamp")] == ["f/l"]


def test_a_flows_request_whose_lease_has_ended_shows_stale() -> None:
    e = engine(plan("x: {kind: src, tag: d/x}\nl: {kind: light, output: lamp, lease: 50}", "x -> l"))
    e.block(x(1, 100))
    assert e.decisions()[0].levels == {"red": "on", "blue": "off"}
    e.advance(150)
    assert e.decisions()[0].levels == {"red": "off", "blue": "flash"}
    e.block(x(1, 160))
    assert e.decisions()[0].levels == {"red": "on", "blue": "off"}


def test_a_clock_that_was_ahead_and_is_set_right_moves_timers_and_leases_with_it() -> None:
    year = 365 * 86_400 * 10**9
    leased = plan("x: {kind: src, tag: d/x}\nl: {kind: light, output: lamp, lease: 50}", "x -> l", "leased")
    e = engine(TIMED, leased)
    e.block(x(1, year))
    e.clock_set(100)
    e.block(x(1, 105))
    assert e.next_due() == 110
    e.advance(109)
    assert log(e, "l") == []
    e.advance(160)
    assert [entry[:2] for entry in log(e, "l", "f")] == [["1", 115]]
    assert e.decisions()[0].levels == {"red": "off", "blue": "flash"}


def test_a_removed_flow_lets_go_of_its_outputs_and_states() -> None:
    e = engine(LIGHT)
    e.block(x(1, 100))
    e.decisions()
    e.remove("f")
    assert e.decisions()[0].levels == {"red": "off", "blue": "on"}
    assert e.commit().states == {("f", "x"): None, ("f", "l"): None}


SUMMING = plan("x: {kind: src, tag: d/x}\nsum: {kind: sum}\nn: {kind: note}", "x -> sum, sum -> n")


def test_a_commit_holds_what_changed_and_only_that() -> None:
    e = engine(SUMMING)
    e.block(x(5, 100))
    first = e.commit()
    assert set(first.states) == {("f", "sum")}
    assert [(r.stream, r.key, r.data, r.at, r.flow) for r in first.records] == [("s", "k", {"v": 5}, 100, "f")]
    assert e.commit() is None
    e.block(x(0, 200))
    assert set(e.commit().states) == {("f", "sum")}, "a node without state is never written"


def test_live_records_are_shown_and_not_kept() -> None:
    e = engine(SUMMING)
    e.block(x(-5, 100))
    assert e.commit().records == []
    assert e.live["s", "k"].data == {"v": -5}


def test_versions_rise_even_within_a_millisecond() -> None:
    e = engine(SUMMING)
    for at in (100, 101, 102):
        e.block(x(1, at))
    versions = [r.version for r in e.commit().records]
    assert versions == sorted(set(versions))


def test_a_redeploy_keeps_states_by_node_and_shape() -> None:
    e = engine(SUMMING)
    e.block(x(5, 100))
    wider = plan("x: {kind: src, tag: d/x}\nsum: {kind: sum}\nsee: {kind: see}", "x -> sum, sum -> see")
    lost = e.deploy(wider, e.snapshot("f"), 150, "redeploy")
    e.block(x(6, 200))
    assert lost == {}
    assert log(e) == [[["in"], {"in": 11}, 200]]
    assert e.commit().states["f", "n"] is None, "the node that is gone is forgotten"


def test_a_state_of_another_kind_begins_anew_and_says_so() -> None:
    e = engine(SUMMING)
    e.block(x(5, 100))
    other = plan("x: {kind: src, tag: d/x}\nsum: {kind: see}", "x -> sum")
    assert e.deploy(other, e.snapshot("f"), 150, "redeploy") == {"sum": "was a sum, is a see"}


def test_a_version_that_fails_to_start_leaves_the_old_one_running() -> None:
    e = engine(LIGHT)
    e.block(x(1, 100))
    e.decisions()
    broken = plan("x: {kind: src, tag: d/x}\ns: {kind: stillborn}", "x -> s")
    with pytest.raises(Rejected, match="node 's' failed while starting: ValueError: cannot start"):
        e.deploy(broken, {}, 150, "redeploy")
    assert e.decisions() == [], "the lamp did not so much as flicker"
    e.block(x(0, 200))
    assert e.decisions()[0].levels["red"] == "off"


def test_a_message_from_outside_reaches_its_port() -> None:
    e = engine(plan("see: {kind: see}"))
    e.message("f", "see", "a", True, 42)
    assert log(e) == [[["a"], {"a": True}, 42]]
    with pytest.raises(Rejected, match=r"there is no input f/see\.c"):
        e.message("f", "see", "c", True, 43)


@given(st.lists(st.integers(0, 9), max_size=30), st.data())
def test_a_restart_anywhere_changes_nothing(values: list[int], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(values)))
    whole, first = engine(SUMMING), engine(SUMMING)
    for i, value in enumerate(values):
        whole.block(x(value, i))
    for i, value in enumerate(values[:cut]):
        first.block(x(value, i))
    second = engine(SUMMING, saved=first.snapshot("f"))
    for i, value in enumerate(values[cut:], cut):
        second.block(x(value, i))
    assert second.flows["f"].by_name["sum"].state.sum == sum(values)
    records = [r.data for e in (first, second) for r in e.records]
    assert records == [r.data for r in whole.records]


def test_late_history_changes_nothing_that_holds_now() -> None:
    e = engine(DIAMOND)
    e.block(x(2, 1000))
    e.block(Block("d", X, [9], 500, 1001, late=True))
    e.block(x(3, 2000))
    assert log(e) == [[["in"], {"in": 4}, 1000], [["in"], {"in": 6}, 2000]]


def test_late_history_goes_to_what_keeps_whole_blocks_and_says_so() -> None:
    text = "flow: t/f\nnodes:\n  d: {kind: device, device: d, time: true}\n  see: {kind: see}\nwires:\n  - d -> see\n"
    e = engine(compile_flow(parse(text), {}, SITE, {**KINDS, "device": installed()["device"]}, instance="f"))
    e.block(Block("d", X, [9], 1_700_000_000_000_000_000, 1_700_000_001_000_000_000, late=True))
    ((_, seen, at),) = log(e)
    assert seen["in"] == {"values": {"x": 9}, "at": "2023-11-14T22:13:20.000Z", "late": True}
    assert at == 1_700_000_000_000_000_000


def test_versions_of_records_rise_over_a_restart_whatever_the_clock_says() -> None:
    e = engine(version=5_000_000_000_000)
    e.advance(1_700_000_000_000_000_000)
    assert [e.next_version(), e.next_version()] == [5_000_000_000_001, 5_000_000_000_002]
    e = engine(version=7)
    e.advance(1_700_000_000_000_000_000)
    assert e.next_version() == 1_700_000_000_000
