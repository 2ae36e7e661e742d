"""`debounce`: lets a value through once it has stayed the same for a while (ISA-18.2: on-delay and off-delay)."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from edgeflow.model import BAD, Quality, Value
from edgeflow.node import Due, Effects, Inputs, Node, Port, Settings
from edgeflow.units import Duration


class Config(Settings):
    """How long a value must last."""

    on_delay: Duration = Field(description="How long a new value must stay unchanged before it is emitted.")
    off_delay: Duration | None = Field(
        default=None, description="The same for false, 0 and empty text; as long as on_delay where not given."
    )


@dataclass(slots=True)
class State:
    """What was emitted last, and what waits to be."""

    shown: Value = None
    shown_quality: int | None = None
    waiting: bool = False
    next: Value = None
    next_quality: int = 0


def changed(plan: Config, state: State, inputs: Inputs, do: Effects) -> None:
    message = inputs["in"]
    if message.quality == BAD:
        _settle(state, do)
        if state.shown_quality != BAD:  # doubt is not debounced
            state.shown_quality = int(BAD)
            do.emit(None)
    elif state.shown_quality is not None and message.value == state.shown:
        _settle(state, do)
        if state.shown_quality != message.quality:
            state.shown_quality = int(message.quality)
            do.emit(message.value)
    else:
        if not state.waiting or message.value != state.next:
            state.waiting, state.next = True, message.value
            do.wake(do.at + _delay(plan, message.value))
        state.next_quality = int(message.quality)


def due(_plan: Config, state: State, _event: Due, do: Effects) -> None:
    state.waiting = False
    state.shown, state.shown_quality = state.next, state.next_quality
    do.emit(state.shown, quality=Quality(state.next_quality))


def _settle(state: State, do: Effects) -> None:
    if state.waiting:
        state.waiting = False
        do.rest()


def _delay(plan: Config, value: Value) -> int:
    return plan.on_delay if value or plan.off_delay is None else plan.off_delay


NODE = Node(
    kind="debounce",
    about="Emits a value that has not changed for a while. BAD goes on at once and ends the wait.",
    config=Config,
    state=State,
    inputs={"in": Port("The value that may bounce.")},
    outputs={"out": Port("The value, once it has stayed.", like="in", same=True)},
    changed=changed,
    due=due,
    bad="see",
)
