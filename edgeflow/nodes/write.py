"""`write`: holds a value on an output."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from edgeflow.model import BAD, Pattern
from edgeflow.node import Effects, Inputs, Node, OutputField, Port, Settings, Site
from edgeflow.outputs.arbitration import FLOW


class Config(Settings):
    """Which output."""

    output: str = OutputField(description="The output to hold.")
    priority: int = Field(default=FLOW, ge=0, le=899, description="The highest priority wins; people have 900.")


@dataclass(frozen=True, slots=True)
class Plan:
    """The output and what it shows without a value to trust."""

    output: str
    priority: int
    when_stale: Pattern


def prepare(config: Config, site: Site) -> Plan:
    return Plan(config.output, config.priority, site.outputs[config.output].when_stale)


def changed(plan: Plan, _state: None, inputs: Inputs, do: Effects) -> None:
    message = inputs["in"]
    if message.quality != BAD:
        do.hold(plan.output, {"value": message.value}, priority=plan.priority)
    elif plan.when_stale:
        do.hold(plan.output, plan.when_stale, priority=plan.priority)
    else:
        do.release(plan.output)


NODE = Node(
    kind="write",
    about="Holds the input on an output. BAD holds the output's when_stale instead, or releases it where it has none.",
    config=Config,
    prepare=prepare,
    inputs={"in": Port("The value to hold.")},
    changed=changed,
    bad="see",
)
