"""`average`: the moving mean of the samples of the last while."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import Field

from edgeflow.model import BAD, GOOD, UNCERTAIN
from edgeflow.node import Effects, Inputs, Node, Port, Settings
from edgeflow.production.window import Window
from edgeflow.units import Duration

_LARGEST = 1e300
"""Beyond this no sum can be told."""


class Config(Settings):
    """How far back."""

    over: Duration = Field(gt=0, description="Samples as old as this, or older, no longer count.")


@dataclass(slots=True)
class State:
    """The samples in the window, and until when a doubtful one is among them."""

    window: Window = field(default_factory=Window)
    doubt_until: int = 0


def changed(plan: Config, state: State, inputs: Inputs, do: Effects) -> None:
    message = inputs["in"]
    if not -_LARGEST < message.value < _LARGEST:  # nor is NaN
        do.emit(None, quality=BAD)
        return
    total = state.window.take(plan.over, do.at, message.value)
    if message.quality != GOOD:
        state.doubt_until = do.at + plan.over
    quality = UNCERTAIN if do.at < state.doubt_until else GOOD
    do.emit(total.mean, quality=quality)


NODE = Node(
    kind="average",
    about="The mean of the samples in a moving window; every sample counts the same, and "
    "none is left out however fast they come. BAD gives BAD and is left out; "
    "UNCERTAIN makes the mean UNCERTAIN for as long as it is in the window.",
    config=Config,
    state=State,
    inputs={"in": Port("The quantity.", "number")},
    outputs={"out": Port("Its mean.", "number", like="in")},
    changed=changed,
    durability="window",
)
