"""`constant`: a value that is always the same."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from edgeflow.model import Value
from edgeflow.node import Effects, Node, Port, PortType, Settings, Started


class Config(Settings):
    """The value."""

    value: Value = Field(description="What to emit, once whenever the flow starts.")


def started(plan: Config, _state: None, _event: Started, do: Effects) -> None:
    do.emit(plan.value)


def outputs(config: Config) -> Mapping[str, Port]:
    kinds: tuple[tuple[type | tuple[type, ...], PortType], ...] = (
        (bool, "boolean"), ((int, float), "number"), (str, "text"), (dict, "object"),
    )  # fmt: skip
    return {"out": Port("The value.", next((name for kind, name in kinds if isinstance(config.value, kind)), "any"))}


NODE = Node(
    kind="constant",
    about="Emits a fixed value when the flow starts.",
    config=Config,
    outputs=outputs,
    started=started,
)
