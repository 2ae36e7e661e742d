"""What could never work is refused with its place; what runs but hardly as it was meant is said."""

from __future__ import annotations

from typing import Any

import pytest

from edgeflow.document import parse
from edgeflow.engine.engine import Engine
from edgeflow.errors import ConfigError
from edgeflow.flow.compile import Plan, compile_flow
from edgeflow.model import BAD, Answer, Block, Tag
from edgeflow.node import Site, installed
from edgeflow.outputs.arbitration import OutputPlan

KINDS = installed()
SITE = Site(
    tags={
        "m/state": Tag("m/state"),
        "m/power": Tag("m/power", "number", "kW"),
        "m/door": Tag("m/door", "boolean"),
        "m/name": Tag("m/name", "text"),
    },
    outputs={
        "line1/lamp": OutputPlan("line1/lamp", ("red", "amber", "green"), when_stale={"amber": "flash"}),
        "oven/heat": OutputPlan("oven/heat", ("value",), when_stale={"value": False}, type="boolean"),
        "oven/setpoint": OutputPlan("oven/setpoint", ("value",), type="number"),
        "oven/mode": OutputPlan("oven/mode", ("value",), type="text"),
        "any/thing": OutputPlan("any/thing", ("value",)),
    },
)
S = "  s: {kind: tag, tag: m/state}\n"
P = "  p: {kind: tag, tag: m/power}\n"
D = "  d: {kind: tag, tag: m/door}\n"
N = "  n: {kind: tag, tag: m/name}\n"


def compiled(nodes: str, *wires: str, parameters: str = "", **given: Any) -> Plan:
    lines = "".join(f"  - {wire}\n" for wire in wires)
    text = f"flow: t\n{parameters}nodes:\n{nodes}" + (f"wires:\n{lines}" if wires else "")
    return compile_flow(parse(text, "flow.yaml"), given, SITE, KINDS, instance="t")


def wrong(nodes: str, *wires: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        compiled(nodes, *wires)
    return [str(problem) for problem in caught.value.problems]


def warned(nodes: str, *wires: str, **more: Any) -> list[str]:
    return [str(problem) for problem in compiled(nodes, *wires, **more).warnings]


LAMP = "  l: {kind: lamp, output: line1/lamp"


@pytest.mark.parametrize(
    ("nodes", "wires", "expected"),
    [
        (S + LAMP + ", patterns: {exceute: {green: on}}}\n", ["s -> l.state"],
         "4:50 nodes.l.patterns.exceute: is no state of packtags and no category; did you mean 'execute'?"),
        (S + LAMP + ", patterns: {Execute: {green: on}}}\n", ["s -> l.state"],
         "4:50 nodes.l.patterns.Execute: is no state of packtags and no category; did you mean 'execute'?"),
        (N + LAMP + ", states: words, patterns: {runing: {green: on}}}\n", ["n -> l.state"],
         "4:65 nodes.l.patterns.runing: is no state of words and no category; did you mean 'running'?"),
        (S + LAMP + ", patterns: {unknown: {red: on}}}\n", ["s -> l.state"],
         "4:50 nodes.l.patterns.unknown: is never shown: line1/lamp shows its `when_stale` when nobody knows the state"),
        (S + LAMP + ", patterns: {execute: {gren: on}}}\n", ["s -> l.state"],
         "4:60 nodes.l.patterns.execute.gren: line1/lamp has no element 'gren'; did you mean 'green'?"),
        (S + LAMP + ", patterns: {execute: {green: flsh}}}\n", ["s -> l.state"],
         "4:60 nodes.l.patterns.execute.green: 'flsh' is not one of 'off', 'on', 'flash' or 'flash_fast'; did you mean 'flash'?"),
        ("  c: {kind: andon_call, machine: m, output: line1/lamp, patterns: {raised: {blue: flash}}}\n", [],
         "3:77 nodes.c.patterns.raised.blue: line1/lamp has no element 'blue'; known are amber, green, red"),
        ("  c: {kind: andon_call, machine: m, patterns: {rised: {red: flash}}}\n", [],
         "3:48 nodes.c.patterns.rised: 'rised' is not one of 'raised', 'acknowledged' or 'escalated'; did you mean 'raised'?"),
        ("  c: {kind: andon_call, machine: m, output: oven/heat}\n", [],
         "3:37 nodes.c.output: oven/heat is no light but one value; a call needs a stack light"),
        (S + "  l: {kind: lamp, output: oven/heat}\n", ["s -> l.state"],
         "4:19 nodes.l.output: oven/heat is no light but one value; use a `write` node"),
        (P + "  t: {kind: threshold, limit: 5}\n" + LAMP + "}\n", ["p -> t", "t -> l.state"],
         "8:5 wires.2: t.out gives boolean, but l.state takes a state of packtags; where true means that it runs, "
         "write `states: signal`"),
        (D + "  o: {kind: oee, machine: m, states: machinery}\n", ["d -> o.state"],
         "6:5 wires.1: d.out gives boolean, but o.state takes a state of machinery; where true means that it runs, "
         "write `states: signal`"),
        (S + "  o: {kind: oee, machine: m, states: mtconnect}\n", ["s -> o.state"],
         "6:5 wires.1: s.out gives number, but o.state takes the names of mtconnect; for numbers write "
         "`states: packtags`, packml or signal"),
        (S + "  o: {kind: oee, machine: m, state_map: {excute: stopped}}\n", ["s -> o.state"],
         "4:42 nodes.o.state_map.excute: is no state of packtags; did you mean 'execute'?"),
        (D + "  w: {kind: write, output: line1/lamp}\n", ["d -> w"],
         "4:20 nodes.w.output: line1/lamp is a light with the elements red, amber, green; use a `lamp` node"),
        ("  k: {kind: constant, value: 170}\n  w: {kind: write, output: line1/lamp}\n", ["k -> w"],
         "4:20 nodes.w.output: line1/lamp is a light with the elements red, amber, green; use a `lamp` node"),
        ("  k: {kind: constant, value: 170}\n  w: {kind: write, output: oven/heat}\n", ["k -> w"],
         "6:5 wires.1: k.out gives number, but w.in takes boolean"),
        (D + "  w: {kind: write, output: oven/setpoint}\n", ["d -> w"], "6:5 wires.1: d.out gives boolean, but w.in takes number"),
        (N + "  w: {kind: write, output: oven/heat}\n", ["n -> w"], "6:5 wires.1: n.out gives text, but w.in takes boolean"),
        ("  k: {kind: constant, value: warm}\n  f: {kind: scale}\n", ["k -> f"],
         "6:5 wires.1: k.out gives text, but f.in takes number"),
    ],
)  # fmt: skip
def test_what_could_never_work_is_refused_where_it_is_written(nodes: str, wires: list[str], expected: str) -> None:
    assert wrong(nodes, *wires) == [f"flow.yaml:{expected}"]


@pytest.mark.parametrize(
    ("nodes", "wires"),
    [
        (S + LAMP + ", patterns: {execute: {green: on}, changeover: {amber: on}}}\n", ["s -> l.state"]),
        (D + LAMP + ", states: signal}\n", ["d -> l.state"]),
        (D + LAMP + ", states: words}\n", ["d -> l.state"]),
        (N + LAMP + ", states: machinery, patterns: {outofservice: {red: on}}}\n", ["n -> l.state"]),
        (D + "  o: {kind: oee, machine: m, state_map: {'True': running}}\n  r: {kind: record, stream: o}\n", ["d -> o.state", "o.kpi -> r"]),
        (N + "  o: {kind: oee, machine: m, states: mtconnect, state_map: {warm-up: stopped}}\n  r: {kind: record, stream: o}\n", ["n -> o.state", "o.kpi -> r"]),
        (D + "  w: {kind: write, output: oven/heat}\n", ["d -> w"]),
        (S + "  w: {kind: write, output: oven/setpoint}\n", ["s -> w"]),
        (N + "  w: {kind: write, output: any/thing}\n", ["n -> w"]),
        ("  c: {kind: andon_call, machine: m}\n  r: {kind: record, stream: andon}\n", ["c.call -> r"]),
    ],
)  # fmt: skip
def test_what_works_is_let_pass_without_a_word(nodes: str, wires: list[str]) -> None:
    assert warned(nodes, *wires) == []


# what comes only when it runs


def test_a_value_that_an_output_cannot_show_shows_as_stale_and_says_why() -> None:
    """The answer of a web service may be anything."""
    plan = compiled("  h: {kind: http_request, url: 'http://127.0.0.1/'}\n  w: {kind: write, output: oven/heat}\n" + S,
                    "s -> h", "h -> w")  # fmt: skip
    engine = Engine(SITE.outputs)
    engine.deploy(plan, {}, 1, "first")
    for i, (value, shown) in enumerate(((True, True), (170, False), ("on", False), (True, True)), 1):
        engine.block(Block("m", ("m/state",), [1], i, i))
        engine.commit()
        call = next(iter(engine.waiting))
        engine.answer(Answer(call, ok=True, value=value, at=i))
        assert [decision.levels["value"] for decision in engine.decisions() if decision.output == "oven/heat"][-1:] in (
            [shown],
            [],
        )
        decision = engine.requests.decision("oven/heat")
        assert decision
        assert decision.levels["value"] is shown
    assert not engine.flows["t"].fault
    assert not engine.requests.refused


def test_a_light_that_is_held_with_a_level_it_does_not_have_shows_as_stale() -> None:
    lamp = SITE.outputs["line1/lamp"]
    assert "flsh" in lamp.unfit({"red": "flsh"})
    assert "is not a level" in lamp.unfit({"red": True})
    assert "is not a level" in lamp.unfit({"red": ["on"]})
    assert "no single value" in lamp.unfit({"value": True})
    assert lamp.unfit({"red": "flash_fast", "white": "on"}) == "", "an element that it does not have is left out"
    assert SITE.outputs["oven/setpoint"].unfit({"value": True})
    assert SITE.outputs["oven/mode"].unfit({"value": "eco"}) == ""


@pytest.mark.parametrize(("value", "expected"), [(21, 42), ("21", None), (True, None), ({"v": 21}, None), (None, None)])
def test_a_value_of_another_type_than_its_port_is_bad_and_the_flow_goes_on(value: Any, expected: Any) -> None:
    plan = compiled("  h: {kind: http_request, url: 'http://127.0.0.1/'}\n  f: {kind: scale, factor: 2}\n"
                    "  r: {kind: record, stream: s}\n" + S, "s -> h", "h -> f", "f -> r")  # fmt: skip
    engine = Engine(SITE.outputs)
    engine.deploy(plan, {}, 1, "first")
    for at in (1, 2):
        engine.block(Block("m", ("m/state",), [1], at, at))
        engine.commit()
        engine.answer(Answer(next(iter(engine.waiting)), ok=True, value=value if at == 1 else 5, at=at))
        message = engine.flows["t"].by_name["f"].outs["out"].last
        assert message
        if at == 1 and expected is None:
            assert (message.value, message.quality) == (None, BAD)
        else:
            assert message.value == (expected if at == 1 else 10)
    assert not engine.flows["t"].fault


# what is of no use


@pytest.mark.parametrize(
    ("nodes", "wires", "expected"),
    [
        ("  t: {kind: threshold, limit: 5}\n" + S + "  r: {kind: record, stream: s}\n", ["s -> r"],
         "3:3 nodes.t: is wired to nothing; wire something to t.in, or remove it"),
        (S, [], "3:3 nodes.s: leads nowhere: nothing takes s.out; wire it, or remove the node"),
        (P + "  a: {kind: average, over: 1 min}\n", ["p -> a"],
         "4:3 nodes.a: leads nowhere: nothing takes a.out; wire it, or remove the node"),
        ("  t: {kind: threshold, limit: 5}\n  r: {kind: record, stream: s}\n", ["t -> r"],
         "3:3 nodes.t: nothing is wired to t.in, so it never does anything"),
        (P + "  c: {kind: compare, is: '>'}\n  r: {kind: record, stream: s}\n", ["p -> c.than", "c -> r"],
         "4:3 nodes.c: nothing is wired to c.in, which it needs"),
        (P + "  m: {kind: merge, branches: [a, b, c]}\n  r: {kind: record, stream: s}\n", ["p -> m.a", "m -> r"],
         "4:3 nodes.m: nothing is wired to m.b and m.c, which it needs"),
        (LAMP + "}\n", [], "3:3 nodes.l: is wired to nothing; wire something to l.state or l.call, or remove it"),
    ],
)  # fmt: skip
def test_what_is_of_no_use_is_said_at_its_place(nodes: str, wires: list[str], expected: str) -> None:
    assert f"flow.yaml:{expected}" in warned(nodes, *wires)


def test_what_is_never_reached_is_said_with_what_is_before_it() -> None:
    lines = warned(
        "  t: {kind: threshold, limit: 5}\n  d: {kind: debounce, on_delay: 1 s}\n  r: {kind: record, stream: s}\n",
        "t -> d", "d -> r",
    )  # fmt: skip
    assert lines == [
        "flow.yaml:3:3 nodes.t: nothing is wired to t.in, so it never does anything",
        "flow.yaml:4:3 nodes.d: is never reached: nothing comes to t before it",
        "flow.yaml:5:3 nodes.r: is never reached: nothing comes to d before it",
    ]


def test_a_parameter_that_no_node_uses_is_said() -> None:
    parameters = "parameters:\n  limit: {type: number, default: 5, description: L.}\n  over: {type: number, default: 1, description: O.}\n"
    nodes = P + '  t: {kind: threshold, limit: "{limit}"}\n  r: {kind: record, stream: s}\n'
    assert warned(nodes, "p -> t", "t -> r", parameters=parameters) == [
        "flow.yaml:4:3 parameters.over: the parameter 'over' is used by no node; remove it, or use {over}"
    ]


def test_every_cycle_is_named_node_by_node() -> None:
    debounce = "".join(f"  {name}: {{kind: debounce, on_delay: 1 s}}\n" for name in "abcde")
    wires = ("a -> b", "b -> c", "c -> a", "d -> e", "e -> d")
    lines = wrong(debounce, *wires)
    assert len(lines) == 2
    assert any("closes a cycle: " in line and all(f" {name}" in line for name in "abc") for line in lines)
    assert any("d -> e -> d" in line or "e -> d -> e" in line for line in lines)
    assert wrong("  a: {kind: debounce, on_delay: 1 s}\n", "a -> a") == [
        "flow.yaml:5:5 wires.1: closes a cycle: a -> a; remove one of these wires"
    ]


def test_a_call_that_its_light_cannot_show_is_said() -> None:
    lines = warned("  c: {kind: andon_call, machine: m, output: line1/lamp}\n")
    assert lines[0] == (
        "flow.yaml:3:37 nodes.c.output: line1/lamp shows nothing of a call that is acknowledged: it has no blue; "
        "write `patterns: {acknowledged: {red: flash}}`"
    )
    assert len(lines) == 3


def test_all_that_is_wrong_is_told_at_once() -> None:
    lines = wrong(
        "  s: {kind: tag, tag: m/stat}\n  w: {kind: write, output: line1/lamp, prioriti: 5}\n  x: {kind: threshhold}\n",
        "s -> w.ni", "t -> w", "s > w",
    )  # fmt: skip
    assert [line.split(" ")[1] for line in lines] == [
        "nodes.s.tag:",
        "nodes.w.prioriti:",
        "nodes.x.kind:",
        "wires.2:",
        "wires.3:",
    ]
