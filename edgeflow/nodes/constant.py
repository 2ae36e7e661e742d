"""`constant`: a value that is always the same."""

from __future__ import annotations

from pydantic import Field

from edgeflow.model import Value
from edgeflow.node import Effects, Node, Port, Settings, Started


class Config(Settings):
    """The value."""

    value: Value = Field(description="What to emit, once whenever the flow starts.")


def started(plan: Config, _state: None, _event: Started, do: Effects) -> None:
    do.emit(plan.value)


NODE = Node(
    kind="constant",
    about="Emits a fixed value when the flow starts.",
    config=Config,
    outputs={"out": Port("The value.")},
    started=started,
)
