"""`average`: the moving mean of the samples of the last while."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from math import fsum

from pydantic import Field

from edgeflow.model import GOOD, UNCERTAIN
from edgeflow.node import Effects, Inputs, Node, Port, Settings
from edgeflow.units import Duration


class Config(Settings):
    """How far back."""

    over: Duration = Field(gt=0, description="Samples as old as this, or older, no longer count.")
    at_most: int = Field(default=600, gt=0, le=10_000, description="No more samples than this, the newest, are kept.")


@dataclass(slots=True)
class State:
    """The samples in the window, the oldest first."""

    at: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    doubt_until: int = 0


def changed(plan: Config, state: State, inputs: Inputs, do: Effects) -> None:
    message = inputs["in"]
    state.at.append(do.at)
    state.values.append(message.value)
    old = max(bisect_right(state.at, do.at - plan.over), len(state.at) - plan.at_most)
    del state.at[:old], state.values[:old]
    if message.quality != GOOD:
        state.doubt_until = do.at + plan.over
    quality = UNCERTAIN if do.at < state.doubt_until else GOOD
    do.emit(fsum(state.values) / len(state.values), quality=quality)


NODE = Node(
    kind="average",
    about="The mean of the samples in a moving window; every sample counts the same. BAD gives BAD and is left out; "
    "UNCERTAIN makes the mean UNCERTAIN for as long as it is in the window.",
    config=Config,
    state=State,
    inputs={"in": Port("The quantity.", "number")},
    outputs={"out": Port("Its mean.", "number", like="in")},
    changed=changed,
    durability="window",
)
