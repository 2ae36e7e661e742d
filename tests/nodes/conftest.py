"""A rig that runs a small flow on the real engine and writes down what it emits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytest
from pydantic import Field

from edgeflow import document
from edgeflow.clock import utc_ns
from edgeflow.engine.engine import Engine
from edgeflow.flow.compile import compile_flow
from edgeflow.model import BAD, Answer, Block, Call, Message, Pattern, Quality, Record, Tag, ValueType
from edgeflow.node import Effects, Inputs, Node, Port, Settings, Site
from edgeflow.nodes import (
    andon_call,
    average,
    compare,
    constant,
    convert,
    debounce,
    demand,
    device,
    http_request,
    lamp,
    merge,
    minmax,
    mqtt_publish,
    record,
    scale,
    switch,
    tag,
    threshold,
    write,
)
from edgeflow.outputs.arbitration import OutputPlan

MODULES = (andon_call, average, compare, constant, convert, debounce, demand, device, http_request, lamp, merge)
MODULES += (minmax, mqtt_publish, record, scale, switch, tag, threshold, write)
KINDS: Mapping[str, Node[Any, Any, Any]] = {module.NODE.kind: module.NODE for module in MODULES}
START = utc_ns("2026-11-20T06:00:00Z")
STALE: Pattern = {"red": "flash", "amber": "flash"}
LAMP = OutputPlan("line1/lamp", ("red", "amber", "green", "blue", "buzzer"), when_stale=STALE)
VALUE = OutputPlan("oven/setpoint", ("value",))


class ProbeSettings(Settings):
    name: str = Field(description="Where its messages are written down.")


class Rig:
    """One flow on an engine of its own; times are seconds after `START`."""

    def __init__(
        self, text: str, tags: tuple[Tag, ...] = (Tag("press1/state"),), outputs: tuple[OutputPlan, ...] = ()
    ) -> None:
        self.seen: dict[str, list[Message]] = {}
        self.records: list[Record] = []
        self.calls: list[Call] = []
        self.levels: dict[str, dict[str, Any]] = {}
        self.saved: dict[str, bytes] = {}
        self.site = Site(
            tags={tag.name: tag for tag in tags},
            outputs={plan.name: plan for plan in (*outputs, LAMP, VALUE)},
        )
        self._tuples: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.engine = Engine(self.site.outputs)
        self.deploy(text, "first")

    def deploy(self, text: str, why: Literal["first", "restart", "redeploy"], now: float = 0) -> None:
        """Starts the flow, with the states of the last commit."""

        def changed(plan: ProbeSettings, _state: None, inputs: Inputs, _do: Effects) -> None:
            self.seen.setdefault(plan.name, []).append(inputs["in"])

        probe = Node("probe", "Writes down.", ProbeSettings, {"in": Port("Anything.")}, changed=changed, bad="see")
        self.text = text
        plan = compile_flow(document.parse("flow: test\n" + text), {}, self.site, {**KINDS, "probe": probe})
        self.engine.deploy(plan, self.saved, START + round(now * 1e9), why)
        self.take()

    def crash(self, now: float) -> None:
        """Kill and restart: what was not committed is gone."""
        self.engine = Engine(self.site.outputs)
        self.levels.clear()
        self.deploy(self.text, "restart", now)

    def feed(self, at: float, quality: Quality = Quality.GOOD, **values: Any) -> None:
        """A block of one device, `press1__good=3` being the tag press1/good."""
        tags = tuple(name.replace("__", "/") for name in values)
        tags = self._tuples.setdefault(tags, tags)
        bad = quality == BAD
        faults = dict.fromkeys(range(len(tags)), (quality, "the wire is cut")) if quality else None
        ns = START + round(at * 1e9)
        content = [None] * len(tags) if bad else list(values.values())
        self.engine.block(Block(tags[0].partition("/")[0], tags, content, ns, ns, faults))
        self.take()

    def advance(self, at: float) -> None:
        self.engine.advance(START + round(at * 1e9))
        self.take()

    def answer(self, answer: Answer) -> None:
        self.engine.answer(answer)
        self.take()

    def commit(self) -> None:
        commit = self.engine.commit(windows=True)
        if commit:
            self.records += commit.records
            self.calls += commit.calls
            self.saved.update({name: state for (_, name), state in commit.states.items() if state is not None})

    def take(self) -> None:
        for decision in self.engine.decisions():
            self.levels[decision.output] = decision.levels
        self.calls += self.engine.calls_now
        self.engine.calls_now.clear()
        faults = [flow.fault for flow in self.engine.flows.values() if flow.fault]
        assert not faults, faults

    def values(self, name: str = "out") -> list[Any]:
        return [message.value for message in self.seen.get(name, [])]

    def qualities(self, name: str = "out") -> list[Quality]:
        return [message.quality for message in self.seen.get(name, [])]

    def lit(self, output: str = "line1/lamp") -> dict[str, Any]:
        """The elements of a lamp that are not off."""
        return {element: level for element, level in self.levels[output].items() if level != "off"}


@pytest.fixture
def rig() -> Callable[..., Rig]:
    return Rig


@pytest.fixture
def one() -> Callable[..., Rig]:
    """A flow of one node, fed from tags and probed: `one("scale, factor: 2")`."""

    def build(
        node: str,
        inputs: tuple[str, ...] = ("in",),
        outputs: tuple[str, ...] = ("out",),
        *,
        types: Mapping[str, ValueType] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> Rig:
        nodes, wires = [f"  it: {{kind: {node}}}"], []
        for port in inputs:
            nodes.append(f"  t-{port}: {{kind: tag, tag: d/{port}}}")
            wires.append(f"  - t-{port} -> it.{port}")
        for port in outputs:
            nodes.append(f"  p-{port}: {{kind: probe, name: {port}}}")
            wires.append(f"  - it.{port} -> p-{port}")
        tags = [Tag(f"d/{port}", (types or {}).get(port, "number"), (units or {}).get(port)) for port in inputs]
        return Rig("\n".join(["nodes:", *nodes, *(["wires:"] if wires else []), *wires]), tuple(tags))

    return build
