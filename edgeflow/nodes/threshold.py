"""`threshold`: whether a quantity is beyond a limit, with a deadband so that it does not chatter (ISA-18.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from edgeflow.node import Effects, Inputs, Node, Port, Settings


class Config(Settings):
    """The limit."""

    limit: float = Field(description="The limit, in the unit of the input.")
    beyond: Literal["above", "below"] = Field(default="above", description="On which side of the limit it is true.")
    deadband: float = Field(
        default=0.0, ge=0, description="How far it must come back behind the limit to be false again."
    )


@dataclass(slots=True)
class State:
    """Whether it is beyond the limit."""

    beyond: bool = False


def changed(plan: Config, state: State, inputs: Inputs, do: Effects) -> None:
    over = inputs["in"].value - plan.limit
    if plan.beyond == "below":
        over = -over
    state.beyond = over > -plan.deadband if state.beyond else over > 0
    do.emit(state.beyond)


NODE = Node(
    kind="threshold",
    about="True beyond a limit until the value is back behind it by the deadband. BAD gives BAD and changes nothing.",
    config=Config,
    state=State,
    inputs={"in": Port("The quantity.", "number")},
    outputs={"out": Port("Whether it is beyond the limit.", "boolean")},
    changed=changed,
)
