"""`tag`: where a value of the plant enters a flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from edgeflow.model import Scalar
from edgeflow.node import Effects, Inputs, Node, Port, Settings, Started, TagField


class Config(Settings):
    """Which tag, and how often."""

    tag: str = TagField(description="The tag to listen to, `device/name`.")
    on: Literal["sample", "change"] = Field(
        default="sample", description="`sample`: every sample goes on; `change`: only one that differs from the last."
    )


@dataclass(slots=True)
class State:
    """What was emitted last; `quality` None before the first."""

    value: Scalar = None
    quality: int | None = None


def changed(plan: Config, state: State, inputs: Inputs, do: Effects) -> None:
    message = inputs["tag"]
    if plan.on == "change":
        if message.quality == state.quality and message.value == state.value:
            return
        state.value, state.quality = message.value, int(message.quality)
    do.emit(message.value)


def started(_plan: Config, state: State, _event: Started, _do: Effects) -> None:
    state.quality = None  # those behind may be new: the next sample goes on in any case


def listens(config: Config) -> Mapping[str, str]:
    return {"tag": config.tag}


NODE = Node(
    kind="tag",
    about="Emits the samples of a tag. BAD and UNCERTAIN go on as they are.",
    config=Config,
    state=State,
    inputs={"tag": Port("The tag's samples; fed by the engine.")},
    outputs={"out": Port("The tag's value.", like="tag", same=True)},
    changed=changed,
    started=started,
    listens=listens,
    durability="window",
    bad="see",
)
