"""`minmax`: the smallest and the largest value since the last reset."""

from __future__ import annotations

from dataclasses import dataclass

from edgeflow.model import BAD, GOOD, UNCERTAIN
from edgeflow.node import Effects, Inputs, Node, Port, Settings


class Config(Settings):
    """Nothing to set."""


@dataclass(slots=True)
class State:
    """The extremes; None before the first value."""

    low: float | None = None
    high: float | None = None
    doubtful: bool = False
    reset: bool = False


def changed(_plan: Config, state: State, inputs: Inputs, do: Effects) -> None:
    reset = inputs.get("reset")
    if reset and reset.quality != BAD:
        if reset.value and not state.reset:
            state.low = state.high = None
            state.doubtful = False
        state.reset = bool(reset.value)
    if "in" not in inputs.fresh:
        return
    message = inputs["in"]
    if message.quality == BAD:
        do.emit(None, "low", quality=BAD)
        do.emit(None, "high", quality=BAD)
        return
    state.low = message.value if state.low is None else min(state.low, message.value)
    state.high = message.value if state.high is None else max(state.high, message.value)
    state.doubtful |= message.quality != GOOD
    unsure = state.doubtful or (reset is not None and reset.quality == BAD)
    quality = UNCERTAIN if unsure else GOOD
    do.emit(state.low, "low", quality=quality)
    do.emit(state.high, "high", quality=quality)


NODE = Node(
    kind="minmax",
    about="The extremes of a quantity. BAD gives BAD and is left out; after an UNCERTAIN value they are UNCERTAIN "
    "until the next reset. While `reset` is BAD it is no reset, and they are UNCERTAIN.",
    config=Config,
    state=State,
    inputs={
        "in": Port("The quantity.", "number", needed=True),
        "reset": Port("Begins anew when it turns true.", "boolean"),
    },
    outputs={
        "low": Port("The smallest value.", "number", like="in"),
        "high": Port("The largest value.", "number", like="in"),
    },
    changed=changed,
    bad="see",
)
