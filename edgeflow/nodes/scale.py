"""`scale`: a straight line: factor and offset."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from edgeflow.node import Effects, Inputs, Node, Port, Settings
from edgeflow.units import UnitName


class Config(Settings):
    """The straight line."""

    factor: float = Field(default=1.0, description="The input is multiplied by this.")
    offset: float = Field(default=0.0, description="Added after the multiplication, in the unit of the result.")
    unit: UnitName | None = Field(default=None, description="The unit of the result, where it has one.")


def changed(plan: Config, _state: None, inputs: Inputs, do: Effects) -> None:
    do.emit(inputs["in"].value * plan.factor + plan.offset)


def outputs(config: Config) -> Mapping[str, Port]:
    return {"out": Port("input × factor + offset", "number", config.unit)}


NODE = Node(
    kind="scale",
    about="Multiplies a number and adds another. BAD gives BAD, UNCERTAIN stays UNCERTAIN.",
    config=Config,
    inputs={"in": Port("The number.", "number")},
    outputs=outputs,
    changed=changed,
)
