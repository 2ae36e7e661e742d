"""What a flow does wrong stays in that flow: swapped out, quarantined, unsavable or running away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from edgeflow.document import parse
from edgeflow.engine.engine import INTERRUPTED, Engine
from edgeflow.errors import Rejected
from edgeflow.flow.compile import Plan, compile_flow
from edgeflow.model import Answer, Block, Tag
from edgeflow.node import Due, Effects, Inputs, Node, Port, Site, Started
from edgeflow.outputs.arbitration import OutputPlan
from tests.engine.kinds import KINDS, Nothing, Seen

LAMP = OutputPlan("lamp", ("red",), when_stopped={"red": "flash"})
SITE = Site(tags={"d/x": Tag("d/x", "integer")}, outputs={"lamp": LAMP})


@dataclass(slots=True)
class Odd:
    """A state that JSON cannot hold."""

    content: Any = None
    more: list[int] = field(default_factory=list)


def _keep(_plan: Any, state: Odd, inputs: Inputs, do: Effects) -> None:
    state.content = object() if inputs["in"].value == 13 else inputs["in"].value


def _again(_plan: Any, _state: Any, event: Due, do: Effects) -> None:
    do.wake(event.at)


def _begin(_plan: Any, _state: Any, event: Started, do: Effects) -> None:
    do.wake(event.at + 10)


def _ask_at_start(_plan: Any, _state: Any, event: Started, do: Effects) -> None:
    do.call("http", {"q": "at start"}, key="first")


def _every(_plan: Any, state: Seen, event: Due, do: Effects) -> None:
    state.sum += 1
    do.wake(event.at + 10)


MORE = {
    **KINDS,
    "odd": Node("odd", "Keeps anything.", Nothing, {"in": Port("In.")}, {}, Odd, changed=_keep),
    "stuck": Node("stuck", "Never gets on.", Nothing, due=_again, started=_begin),
    "every": Node("every", "Counts.", Nothing, state=Seen, due=_every, started=_begin),
    "eager": Node(
        "eager",
        "Asks as it starts.",
        Nothing,
        {},
        {"out": Port("Out.")},
        Seen,
        started=_ask_at_start,
        answered=KINDS["ask"].answered,
    ),
}


def plan(nodes: str, wires: str = "", instance: str = "f") -> Plan:
    text = "flow: t/f\nnodes:\n" + "".join(f"  {line.strip()}\n" for line in nodes.strip().split("\n"))
    text += "wires:\n" + "".join(f"  - {wire.strip()}\n" for wire in wires.split(",")) if wires else ""
    return compile_flow(parse(text), {}, SITE, MORE, instance=instance)


def x(value: int, at: int) -> Block:
    return Block("d", ("d/x",), [value], at, at)


ASK = plan("x: {kind: src, tag: d/x}\nask: {kind: ask}", "x -> ask")


def log(engine: Engine, node: str, flow: str = "f") -> list[Any]:
    found: list[Any] = engine.flows[flow].by_name[node].state.log
    return found


def asking() -> tuple[Engine, str]:
    engine = Engine({"lamp": LAMP})
    engine.deploy(ASK, {}, 0, "first")
    engine.block(x(7, 100))
    commit = engine.commit()
    assert commit is not None
    return engine, commit.calls[0].id


def test_the_new_version_gets_the_answer_of_a_call_that_is_under_way() -> None:
    engine, call = asking()
    old = engine.flows["f"]
    engine.deploy(ASK, engine.snapshot("f"), 150, "redeploy")
    assert log(engine, "ask") == [], "it was not interrupted: it goes on"
    engine.answer(Answer(call, ok=True, value="fine", at=200))
    assert log(engine, "ask") == [["k", True, "", "fine"]]
    assert old.by_name["ask"].state.log == [], "and the version that was swapped out does nothing any more"


def test_a_call_of_a_node_that_is_gone_has_nobody_to_answer_to() -> None:
    engine, call = asking()
    engine.deploy(plan("x: {kind: src, tag: d/x}\nl: {kind: light, output: lamp}", "x -> l"), {}, 150, "redeploy")
    engine.answer(Answer(call, ok=True, value=1, at=200))
    assert not engine.flows["f"].fault


def test_a_version_that_does_not_start_leaves_the_call_to_the_old_one() -> None:
    engine, call = asking()
    broken = plan("x: {kind: src, tag: d/x}\nask: {kind: ask}\ns: {kind: stillborn}", "x -> ask, x -> s")
    with pytest.raises(Rejected):
        engine.deploy(broken, engine.snapshot("f"), 150, "redeploy")
    engine.answer(Answer(call, ok=True, value="fine", at=200))
    assert log(engine, "ask") == [["k", True, "", "fine"]]


def test_a_call_made_while_starting_is_not_taken_for_one_of_an_earlier_life() -> None:
    engine = Engine({})
    engine.deploy(plan("e: {kind: eager}"), {}, 10, "first")
    assert log(engine, "e") == []
    commit = engine.commit()
    assert commit is not None
    assert [call.request for call in commit.calls] == [{"q": "at start"}]
    again = Engine({})
    again.deploy(plan("e: {kind: eager}"), engine.snapshot("f"), 20, "restart")
    assert log(again, "e") == [["first", False, INTERRUPTED, None]]


def test_a_quarantined_flow_does_nothing_with_an_answer() -> None:
    engine = Engine({"lamp": LAMP})
    nodes = "x: {kind: src, tag: d/x}\nask: {kind: ask}\nfail: {kind: fail}"
    engine.deploy(plan(nodes, "x -> ask, x -> fail"), {}, 0, "first")
    engine.block(x(7, 100))
    commit = engine.commit()
    assert commit is not None
    engine.block(x(13, 200))
    assert engine.flows["f"].fault
    engine.answer(Answer(commit.calls[0].id, ok=True, value="fine", at=300))
    assert log(engine, "ask") == []


def test_a_state_that_cannot_be_saved_stops_its_flow_and_no_other() -> None:
    engine = Engine({"lamp": LAMP})
    nodes = "x: {kind: src, tag: d/x}\nodd: {kind: odd}\nl: {kind: light, output: lamp}"
    engine.deploy(plan(nodes, "x -> odd, x -> l", "sick"), {}, 0, "first")
    engine.deploy(plan("x: {kind: src, tag: d/x}\nsum: {kind: sum}", "x -> sum", "well"), {}, 0, "first")
    engine.block(x(13, 100))
    assert engine.decisions()[0].levels == {"red": "on"}
    commit = engine.commit()
    assert commit is not None
    assert set(commit.states) == {("well", "sum")}
    assert "node 'odd' (odd) failed: " in engine.flows["sick"].fault
    assert engine.decisions()[0].levels == {"red": "flash"}, "its output is safe"
    with pytest.raises(Rejected, match="the flow sick cannot be saved"):
        engine.snapshot("sick")


def test_what_was_saved_and_cannot_be_read_begins_anew() -> None:
    engine = Engine({})
    nodes, wires = "x: {kind: src, tag: d/x}\nsum: {kind: sum}", "x -> sum"
    for spoilt in (b"", b"[]", b'{"kind": "sum", "inputs": {"in": 3}}', b'{"kind": "sum", "timers": []}'):
        lost = engine.deploy(plan(nodes, wires), {"sum": spoilt}, 0, "restart")
        assert "cannot be read" in lost["sum"]
    engine.block(x(5, 10))
    assert not engine.flows["f"].fault


def test_a_node_that_is_woken_at_the_same_instant_for_ever_is_stopped() -> None:
    engine = Engine({})
    engine.deploy(plan("s: {kind: stuck}"), {}, 0, "first")
    engine.advance(1000)
    assert "woken at the same instant again and again" in engine.flows["f"].fault


def test_catching_up_with_the_clock_is_done_in_portions() -> None:
    engine = Engine({}, most_timers=100)
    engine.deploy(plan("e: {kind: every}"), {}, 0, "first")
    state = engine.flows["f"].by_name["e"].state
    engine.advance(10_000)
    assert state.sum == 100
    due = engine.next_due()
    assert due is not None
    assert due <= 10_000, "so it goes on at once"
    while (due := engine.next_due()) is not None and due <= 10_000:
        engine.advance(10_000)
    assert state.sum == 1000


DAY = 86_400 * 10**9


def _beat(_plan: Any, state: Seen, event: Due, do: Effects) -> None:
    state.log.append(event.at)
    do.record("s", "k", {"at": event.at}, status="provisional")
    do.wake(event.at + 10**9)


def beating(days: float, saved: dict[str, bytes] | None = None, at: int = 0) -> tuple[Engine, list[int]]:
    """An engine with a node that wants to be woken every second, after a jump; and when it was woken."""
    kinds = {**MORE, "beat": Node("beat", "Beats.", Nothing, state=Seen, due=_beat, started=_begin)}
    engine = Engine({})
    document = parse("flow: t/f\nnodes:\n  b: {kind: beat}\n")
    engine.deploy(
        compile_flow(document, {}, SITE, kinds, instance="f"), saved or {}, at, "restart" if saved else "first"
    )
    engine.advance(at)
    engine.advance(at + round(days * DAY))
    return engine, engine.flows["f"].by_name["b"].state.log


@pytest.mark.parametrize("days", [1 / 24, 30, 40, 20_000])
def test_no_timer_catches_up_instant_by_instant(days: float) -> None:
    engine, woken = beating(days)
    assert len(woken) <= 2
    assert woken[-1] == round(days * DAY)
    commit = engine.commit()
    assert commit is not None
    assert len(commit.records) <= 2
    engine.advance(round(days * DAY) + 3 * 10**9)
    assert len(woken) <= 5, "and then it goes on at its pace"


def test_a_clock_set_back_and_right_again_brings_no_flood() -> None:
    engine, woken = beating(1 / 86_400, at=40 * DAY)
    engine.clock_set(10 * DAY)
    engine.advance(10 * DAY + 8 * 10**9)
    assert len(woken) < 12
    engine.clock_set(40 * DAY + 9 * 10**9)
    engine.advance(40 * DAY + 9 * 10**9)
    assert len(woken) < 14


def test_what_was_saved_long_ago_or_in_the_future_brings_no_flood() -> None:
    first, _ = beating(1 / 86_400, at=40 * DAY)
    saved = first.snapshot("f")
    for at in (10 * DAY, 39 * DAY, 70 * DAY, 20_000 * DAY):
        _, woken = beating(1 / 86_400, saved, at)
        assert len(woken) <= 5


def test_leases_last_as_long_as_they_were_to_whatever_the_clock_does() -> None:
    leased = compile_flow(
        parse("flow: t/f\nnodes:\n  x: {kind: src, tag: d/x}\n  l: {kind: light, output: lamp, lease: 50}\nwires: [x -> l]\n"),
        {}, SITE, MORE, instance="f",
    )  # fmt: skip
    for step in (-30 * DAY, DAY, 30 * DAY):
        engine = Engine({"lamp": LAMP})
        engine.deploy(leased, {}, 40 * DAY, "first")
        engine.block(x(1, 40 * DAY))
        assert engine.decisions()[0].levels == {"red": "on"}
        now = 40 * DAY + step
        engine.clock_set(now)
        engine.advance(now + 40)
        assert engine.decisions() == []
        engine.advance(now + 60)
        assert len(engine.decisions()) == 1
    saved = engine.snapshot("f")
    restored = Engine({"lamp": LAMP})
    restored.deploy(leased, saved, DAY, "restart")
    restored.advance(DAY + 60)
    assert restored.next_due() is None, "a lease of a clock that was ahead does not hold for years"
