"""`switch`: sends a message one way or another, depending on its value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from edgeflow.model import Scalar, Strict, Value
from edgeflow.node import Effects, Inputs, Node, Port, Settings

OTHERWISE = "otherwise"


class Case(Strict):
    """A way out and the values that take it; every condition given must hold."""

    one_of: tuple[Scalar, ...] | None = Field(default=None, description="The value is one of these.")
    at_least: float | None = Field(default=None, description="The value is this or more.")
    below: float | None = Field(default=None, description="The value is less than this.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.one_of is None and self.at_least is None and self.below is None:
            raise ValueError("write one of one_of, at_least or below")
        return self

    def takes(self, value: Value) -> bool:
        if self.one_of is not None and value not in self.one_of:
            return False
        if self.at_least is None and self.below is None:
            return True
        if not isinstance(value, int | float):
            return False
        return (self.at_least is None or value >= self.at_least) and (self.below is None or value < self.below)


class Config(Settings):
    """The ways out."""

    cases: dict[str, Case] = Field(
        min_length=1, description="Output port -> what goes there; the first that fits is taken, in this order."
    )

    @model_validator(mode="after")
    def _leaves_otherwise_alone(self) -> Self:
        if OTHERWISE in self.cases:
            raise ValueError(f"the port {OTHERWISE!r} takes what fits no case; give this case another name")
        return self


def changed(plan: Config, _state: None, inputs: Inputs, do: Effects) -> None:
    value = inputs["in"].value
    do.emit(value, next((port for port, case in plan.cases.items() if case.takes(value)), OTHERWISE))


def outputs(config: Config) -> Mapping[str, Port]:
    return {port: Port("What fits this case.", like="in", same=True) for port in (*config.cases, OTHERWISE)}


NODE = Node(
    kind="switch",
    about="Sends each message to the first port whose case it fits. BAD goes to every port: nobody knows which it was.",
    config=Config,
    inputs={"in": Port("The message.")},
    outputs=outputs,
    changed=changed,
)
