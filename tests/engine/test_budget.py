"""A flow that costs too much is slowed, and then stopped, before the others notice."""

from __future__ import annotations

import time
from typing import Any

import pytest

from edgeflow.document import parse
from edgeflow.engine import flowrun
from edgeflow.engine.budget import NODE_BYTES, RECORDS
from edgeflow.engine.engine import Engine
from edgeflow.engine.flowrun import FlowRun
from edgeflow.flow.compile import Plan, compile_flow
from edgeflow.model import Block, Tag
from edgeflow.node import Effects, Inputs, Node, Port, Site, installed
from edgeflow.outputs.arbitration import OutputPlan
from tests.engine.kinds import KINDS, Nothing, Seen

TAGS = tuple(f"d/{n}" for n in range(4))
SITE = Site(
    tags={tag: Tag(tag, "integer") for tag in TAGS},
    outputs={"lamp": OutputPlan("lamp", ("red",), when_stopped={"red": "flash"})},
)


class Hands:
    """Time that passes, and time that is computed: a node that spins takes 10 ms of both."""

    now_ns = cpu_ns = 0

    def spin(self) -> None:
        self.now_ns += 10_000_000
        self.cpu_ns += 10_000_000


HANDS = Hands()


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    monkeypatch.setattr(flowrun, "monotonic_ns", lambda: HANDS.now_ns)
    monkeypatch.setattr(time, "thread_time_ns", lambda: HANDS.cpu_ns)
    return HANDS


def _spin(_plan: Any, _state: Any, _inputs: Inputs, do: Effects) -> None:
    HANDS.spin()


def _hoard(_plan: Any, state: Seen, inputs: Inputs, do: Effects) -> None:
    state.log.append("x" * inputs["in"].value)


ALL = {
    **installed(),
    **KINDS,
    "spin": Node("spin", "Computes.", Nothing, {"in": Port("In.")}, {}, changed=_spin),
    "hoard": Node("hoard", "Keeps all.", Nothing, {"in": Port("In.")}, {}, Seen, changed=_hoard),
}


def plan(nodes: list[str], wires: list[str], instance: str = "f") -> Plan:
    lines = ["flow: t/f", "nodes:", *(f"  {node}" for node in nodes), "wires:", *(f"  - {wire}" for wire in wires)]
    return compile_flow(parse("\n".join(lines) + "\n"), {}, SITE, ALL, instance=instance)


def block(value: int, at: int) -> Block:
    return Block("d", TAGS, [value] * 4, at, at)


MOST_DOUBLINGS = 13
"""More are refused; fewer are done in time on a fast machine."""


def doublings(many: int) -> Plan:
    """Four tags, each of whose values becomes twice as many with every merge."""
    nodes = [f"t{n}: {{kind: src, tag: d/{n}}}" for n in range(4)]
    nodes += ["m0: {kind: merge, wait: any, branches: [a, b, c, d]}"]
    nodes += [f"m{n}: {{kind: merge, wait: any}}" for n in range(1, many)] + ["r: {kind: record, stream: raw}"]
    wires = [f"t{n} -> m0.{branch}" for n, branch in enumerate("abcd")]
    wires += [f"m{n} -> m{n + 1}.{branch}" for n in range(many - 1) for branch in "ab"] + [f"m{many - 1} -> r"]
    return plan(nodes, wires)


def test_a_flow_that_doubles_its_messages_is_stopped_within_its_first_ticks() -> None:
    engine = Engine(SITE.outputs, limited=True)
    engine.deploy(doublings(MOST_DOUBLINGS), {}, 0, "first")
    well = plan(["t: {kind: src, tag: d/0}", "sum: {kind: sum}"], ["t -> sum"], "well")
    engine.deploy(well, {}, 0, "first")
    spent_ns = time.thread_time_ns()
    for n in range(1, 21):
        engine.block(block(n, n * 10**8))
    spent_ns = time.thread_time_ns() - spent_ns
    assert "one tick takes more than 40 ms" in engine.flows["f"].fault
    assert spent_ns < 500_000_000, "twenty blocks of which each would take as long"
    assert engine.flows["well"].by_name["sum"].state.sum == 210


SPINS = plan(["t: {kind: src, tag: d/0}", "s: {kind: spin}"], ["t -> s"])


def spinning(hands: Hands, pause_ms: int, times: int, *, limited: bool = True, stolen_ms: int = 0) -> FlowRun:
    """A flow that computes for 10 ms per block, so often; the system takes `stolen_ms` of each for others."""
    engine = Engine(SITE.outputs, limited=limited)
    engine.deploy(SPINS, {}, 0, "first")
    flow = engine.flows["f"]
    for n in range(1, times + 1):
        engine.block(block(n, n * 10**8))
        flow.busy_ns += stolen_ms * 1_000_000
        hands.now_ns += (pause_ms + stolen_ms) * 1_000_000
        if flow.fault:
            break
    return flow


def test_a_flow_that_takes_more_than_its_share_is_slowed_and_then_stopped(hands: Hands) -> None:
    flow = spinning(hands, 1, 10_000)
    assert "takes more than 25% of the computing time" in flow.fault
    assert flow.skipped > flow.ticks, "most was left out before"
    assert flow.ticks < 60


@pytest.mark.parametrize("pause_ms", [31, 40, 500])
def test_a_flow_that_pays_for_what_it_takes_is_left_alone(hands: Hands, pause_ms: int) -> None:
    flow = spinning(hands, pause_ms, 1_000)
    assert (flow.fault, flow.skipped, flow.ticks) == ("", 0, 1_001)


def test_a_flow_is_not_blamed_for_the_time_the_system_gave_to_others(hands: Hands) -> None:
    flow = spinning(hands, 40, 1_000, stolen_ms=200)
    assert (flow.fault, flow.skipped) == ("", 0)


def test_a_replay_is_as_fast_as_it_can_be(hands: Hands) -> None:
    assert spinning(hands, 0, 1_000, limited=False).skipped == 0


def test_a_flow_makes_so_many_records_in_ten_seconds_and_no_more() -> None:
    engine = Engine(SITE.outputs, limited=True)
    many = plan(["t: {kind: src, tag: d/0}", "b: {kind: burst}", "n: {kind: note}"], ["t -> b", "b -> n"])
    engine.deploy(many, {}, 0, "first")
    flow = engine.flows["f"]
    for n in range(100):
        flow.budget.allowed_ns = 10**18
        engine.block(block(100, n * 10**8))
    assert len(engine.records) == RECORDS
    assert flow.dropped == 10_000 - RECORDS
    engine.block(block(100, 11 * 10**9))
    assert len(engine.records) == RECORDS + 100


@pytest.mark.parametrize("size", [NODE_BYTES + 1, 18_000_000])
def test_a_state_that_is_too_large_to_be_kept_stops_its_flow(size: int) -> None:
    engine = Engine(SITE.outputs, limited=True)
    engine.deploy(plan(["t: {kind: src, tag: d/0}", "h: {kind: hoard}"], ["t -> h"]), {}, 0, "first")
    engine.block(block(size, 10))
    commit = engine.commit()
    assert commit is None or ("f", "h") not in commit.states
    assert "at most 2 MB are kept" in engine.flows["f"].fault


def test_the_states_of_a_flow_have_a_bound_together() -> None:
    engine = Engine(SITE.outputs, limited=True)
    nodes = ["t: {kind: src, tag: d/0}", *(f"h{n}: {{kind: hoard}}" for n in range(5))]
    engine.deploy(plan(nodes, [f"t -> h{n}" for n in range(5)]), {}, 0, "first")
    engine.block(block(1_900_000, 10))
    engine.commit()
    assert "the states of its nodes have 9.5 MB" in engine.flows["f"].fault
