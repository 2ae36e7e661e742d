"""A flow that cannot run is refused with every reason, each at its place."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from edgeflow.document import parse
from edgeflow.errors import ConfigError
from edgeflow.flow.compile import compile_flow
from edgeflow.flow.document import read_wire
from edgeflow.model import Tag
from edgeflow.node import DeviceField, Node, OutputField, Port, Settings, Site, TagField
from edgeflow.outputs.arbitration import OutputPlan
from edgeflow.units import Duration

SITE = Site(
    tags={
        "press/good": Tag("press/good", "integer", "pcs"),
        "press/energy": Tag("press/energy", "number", "kWh"),
        "press/name": Tag("press/name", "text"),
    },
    outputs={"line1/lamp": OutputPlan("line1/lamp", ("red",))},
)


class Source(Settings):
    """A tag."""

    tag: str = TagField(description="Tag.")


class Work(Settings):
    """Work."""

    factor: float = Field(default=1.0, description="Factor.")
    hold: Duration = Field(default=0, description="Hold.")
    device: str | None = DeviceField(default=None, description="Device.")
    output: str | None = OutputField(default=None, description="Output.")


def _listens(config: Source) -> dict[str, str]:
    return {"tag": config.tag}


KINDS = {
    node.kind: node
    for node in (
        Node("tag", "A tag.", Source, {"tag": Port("Fed.")}, {"out": Port("Out.", like="tag")}, listens=_listens),
        Node("work", "W.", Work, {"in": Port("In.", "number")}, {"out": Port("Out.", "number", like="in")}),
        Node("wh", "Wh.", Work, {"in": Port("In.", "number", "Wh")}, {"out": Port("Out.", "number", "Wh")}),
        Node("two", "Two.", Work, {"a": Port("A."), "b": Port("B.")}, {"out": Port("Out.")}),
    )
}


def compiled(text: str, **given: Any) -> Any:
    return compile_flow(parse(text, "flow.yaml"), given, SITE, KINDS)


def problems(text: str, **given: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        compiled(text, **given)
    return [str(problem) for problem in caught.value.problems]


HEAD = "flow: t/one\n"
TAG = "nodes:\n  t: {kind: tag, tag: press/good}\n  w: {kind: work}\n"


def test_a_flow_compiles_in_topological_order_with_its_version() -> None:
    plan = compiled(
        HEAD + "nodes:\n  w: {kind: work}\n  t: {kind: tag, tag: press/good}\n  v: {kind: work}\n"
        "wires: [w -> v, t -> w]\n"
    )
    assert [node.name for node in plan.nodes] == ["t", "w", "v"]
    assert plan.nodes[0].targets == {"out": ((1, "in"),)}
    assert plan.listens == {"press/good"}
    assert len(plan.version) == 64


def test_parameters_fill_settings_with_their_own_type() -> None:
    plan = compiled(
        HEAD + "parameters:\n  machine: {type: device, description: M.}\n  f: {type: number, description: F.}\n"
        'nodes:\n  t: {kind: tag, tag: "{machine}/good"}\n  w: {kind: work, factor: "{f}"}\nwires: [t -> w]\n',
        machine="press",
        f=2.5,
    )
    assert plan.nodes[0].plan.tag == "press/good"
    assert plan.nodes[1].plan.factor == 2.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TAG.replace("press/good", "press/god"), "flow.yaml:3:18 nodes.t.tag: there is no tag 'press/god'; did you mean 'press/good'?"),
        (TAG.replace("kind: work", "kind: wrok"), "flow.yaml:4:7 nodes.w.kind: unknown kind 'wrok'; did you mean 'work'?"),
        (TAG.replace("kind: work", "kind: work, facto: 2"), "flow.yaml:4:19 nodes.w.facto: unknown key 'facto'; did you mean 'factor'?"),
        (TAG.replace("kind: work", "kind: work, hold: 5"), "flow.yaml:4:19 nodes.w.hold: write a duration with its unit, for example `5 s` or `500 ms`"),
        (TAG.replace("kind: work", "kind: work, output: line1/lmp"), "flow.yaml:4:19 nodes.w.output: there is no output 'line1/lmp'; did you mean 'line1/lamp'?"),
        (TAG.replace(", tag: press/good", ""), "flow.yaml:3:3 nodes.t.tag: is required"),
        (TAG.replace("press/good", '"{machin}/good"'), "flow.yaml:3:18 nodes.t.tag: uses {machin}, which is not a parameter"),
        (TAG + "wires:\n  - t -> x\n", "flow.yaml:6:5 wires.1: there is no node 'x'; known are t, w"),
        (TAG + "wires:\n  - t.ou -> w\n", "flow.yaml:6:5 wires.1: t has no output 'ou'; did you mean 'out'?"),
        (TAG + "wires:\n  - t > w\n", "flow.yaml:6:5 wires.1: 't > w' is not a wire; write `node.port -> node.port`, for example `state -> oee.state`"),
        (TAG + "wires:\n  - t -> w\n  - w -> w\n", "flow.yaml:7:5 wires.2: w.in is fed twice; join the two with a `merge` node"),
    ],
)  # fmt: skip
def test_a_mistake_is_placed_and_told_how_to_mend(text: str, expected: str) -> None:
    assert expected in problems(HEAD + text)


def test_a_cycle_names_its_nodes() -> None:
    text = HEAD + "nodes:\n  a: {kind: two}\n  b: {kind: work}\n  c: {kind: work}\nwires: [a -> b, b -> c, c -> a.b]\n"
    (line,) = problems(text)
    assert line.startswith("flow.yaml:6:")
    assert "closes a cycle: " in line
    assert "remove one of these wires" in line


def test_branches_that_double_a_value_again_and_again_are_refused() -> None:
    nodes, wires = "nodes:\n  m0: {kind: tag, tag: press/good}\n", "wires:\n"
    for i in range(1, 21):
        nodes += f"  m{i}: {{kind: two}}\n"
        wires += f"  - m{i - 1} -> m{i}.a\n  - m{i - 1} -> m{i}.b\n"
    (line,) = problems(HEAD + nodes + wires)
    assert "more than 50000 ways" in line


def test_a_flow_of_very_many_nodes_is_refused() -> None:
    nodes = "nodes:\n" + "".join(f"  n{i}: {{kind: tag, tag: press/good}}\n" for i in range(1001))
    (line,) = problems(HEAD + nodes)
    assert "at most 1000 items" in line


def test_a_unit_clash_on_a_wire_says_which_node_to_put_between() -> None:
    text = (
        HEAD
        + "nodes:\n  t: {kind: tag, tag: press/energy}\n  w: {kind: work}\n  e: {kind: wh}\nwires: [t -> w, w -> e]\n"
    )
    assert problems(text) == [
        "flow.yaml:6:17 wires.2: w.out is in kWh, but e.in takes Wh; put a `convert` node "
        "{kind: convert, from: kWh, to: Wh} between them (1 kWh = 1000 Wh)"
    ]


def test_units_of_different_things_cannot_be_converted() -> None:
    text = HEAD + "nodes:\n  t: {kind: tag, tag: press/good}\n  e: {kind: wh}\nwires: [t -> e]\n"
    assert problems(text) == [
        "flow.yaml:5:9 wires.1: t.out is in pcs, but e.in takes Wh: these do not measure the same; wire a value in Wh there"
    ]


def test_a_type_clash_on_a_wire_names_both_types() -> None:
    text = HEAD + "nodes:\n  t: {kind: tag, tag: press/name}\n  w: {kind: work}\nwires: [t -> w]\n"
    assert problems(text) == ["flow.yaml:5:9 wires.1: t.out gives text, but w.in takes number"]


PARAMETERS = HEAD + "parameters:\n  d: {type: duration, description: How long.}\n" + TAG


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "the parameter 'd' is required: How long."),
        ({"d": "5"}, "write a number and one of the units ns, us, ms, s, min, h, d, for example `5 s`"),
        ({"d": "5 s", "e": 1}, "the flow t/one has no parameter 'e'; known are d"),
    ],
)
def test_wrong_parameters_point_to_where_they_were_given(given: dict[str, Any], expected: str) -> None:
    place = parse("flows:\n  one:\n    with: {d: x}\n", "gateway.yaml")
    with pytest.raises(ConfigError) as caught:
        compile_flow(parse(PARAMETERS), given, SITE, KINDS, given_in=(place, ("flows", "one", "with")))
    assert [p.message for p in caught.value.problems] == [expected]
    assert str(caught.value.problems[0]).startswith("gateway.yaml:3:")


def test_all_problems_are_told_at_once() -> None:
    text = HEAD + "nodes:\n  t: {kind: tag, tag: press/no}\n  w: {kind: wrk}\nwires: [t -> z]\n"
    assert len(problems(text)) == 3


def test_wires_have_default_ports() -> None:
    assert read_wire("a -> b") == ("a", "out", "b", "in")
    assert read_wire("a.kpi->b.state") == ("a", "kpi", "b", "state")
