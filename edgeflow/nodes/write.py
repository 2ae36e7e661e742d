"""`write`: holds a value on an output."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import Field

from edgeflow.model import BAD, Pattern
from edgeflow.node import Effects, Inputs, Node, OutputField, Port, Remark, Settings, Site
from edgeflow.outputs.arbitration import FLOW
from edgeflow.units import Duration


class Config(Settings):
    """Which output."""

    output: str = OutputField(description="The output to hold.")
    priority: int = Field(default=FLOW, ge=0, le=899, description="The highest priority wins; people have 900.")
    lease: Duration | None = Field(
        default=None,
        description="Without news for so long the output shows its `when_stale`; longer than the source's cadence.",
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """The output and what it shows without a value to trust."""

    output: str
    priority: int
    lease_ns: int | None
    when_stale: Pattern


def prepare(config: Config, site: Site) -> Plan:
    return Plan(config.output, config.priority, config.lease, site.outputs[config.output].when_stale)


def lint(config: Config, site: Site) -> Iterable[Remark]:
    output = site.outputs[config.output]
    if output.is_light:
        message = f"{config.output} is a light with the elements {', '.join(output.elements)}; use a `lamp` node"
        yield Remark(("output",), message)


def changed(plan: Plan, _state: None, inputs: Inputs, do: Effects) -> None:
    message = inputs["in"]
    if message.quality != BAD:
        do.hold(plan.output, {"value": message.value}, priority=plan.priority, lease=plan.lease_ns)
    elif plan.when_stale:
        do.hold(plan.output, plan.when_stale, priority=plan.priority, lease=plan.lease_ns)
    else:
        do.release(plan.output)


NODE = Node(
    kind="write",
    about="Holds the input on an output. BAD holds the output's when_stale instead, or releases it where it has none.",
    config=Config,
    prepare=prepare,
    inputs={"in": Port("The value to hold; of the output's type.", like="output")},
    lint=lint,
    changed=changed,
    bad="see",
)
