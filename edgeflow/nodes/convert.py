"""`convert`: the same quantity in another unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from edgeflow.node import Effects, Inputs, Node, Port, Settings, Site
from edgeflow.units import UnitName, converter


class Config(Settings):
    """From which unit to which."""

    source: UnitName = Field(alias="from", description="The unit of the input.")
    target: UnitName = Field(alias="to", description="The unit of the result.")

    @model_validator(mode="after")
    def _measure_the_same(self) -> Self:
        converter(self.source, self.target)
        return self


@dataclass(frozen=True, slots=True)
class Plan:
    """The straight line between the two units."""

    factor: float
    offset: float


def prepare(config: Config, _site: Site) -> Plan:
    return Plan(*converter(config.source, config.target))


def changed(plan: Plan, _state: None, inputs: Inputs, do: Effects) -> None:
    do.emit(inputs["in"].value * plan.factor + plan.offset)


def ports(config: Config) -> Mapping[str, Port]:
    return {"in": Port("A quantity.", "number", config.source)}


def outputs(config: Config) -> Mapping[str, Port]:
    return {"out": Port("The same quantity.", "number", config.target)}


NODE = Node(
    kind="convert",
    about="Converts a quantity to another unit. BAD gives BAD, UNCERTAIN stays UNCERTAIN.",
    config=Config,
    prepare=prepare,
    inputs=ports,
    outputs=outputs,
    changed=changed,
)
