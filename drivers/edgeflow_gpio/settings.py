"""What a person writes about a GPIO chip and its lines."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from edgeflow.model import Strict
from edgeflow.units import NS_PER_S, Duration

Level = Literal["off", "on"]
Bias = Literal["as-is", "none", "up", "down"]


class Link(Strict):
    """One GPIO chip of this machine."""

    chip: str = Field(
        "gpiochip0",
        min_length=1,
        description="The chip: its name (`gpiochip0`), path (`/dev/gpiochip0`) or label (`pinctrl-rp1` is the header "
        "of a Raspberry Pi 5, `pinctrl-bcm2711` that of a Pi 4). A label stays when chips are numbered anew.",
    )


class Device(Strict):
    """The lines behind the link."""

    heartbeat: Duration = Field(
        NS_PER_S, ge=NS_PER_S // 100, description="How often all lines are looked at, besides every change at once."
    )


class Point(Strict):
    """One line."""

    line: int | str = Field(
        description="The line: its name (`GPIO17`), or its number on the chip. A pin's number on the header is neither."
    )
    direction: Literal["in", "out"] = Field(
        "in", description="`in` for buttons and contacts, `out` for lamps and relays."
    )
    active_low: bool = Field(
        False, description="`true` where the line is on at 0 V: a button to ground, or a relay board that switches so."
    )
    bias: Bias = Field(
        "as-is",
        description="Resistor within the chip: `up`, `down`, `none`, or `as-is`. A button to ground needs `up`.",
    )
    debounce: Duration = Field(
        5_000_000, le=NS_PER_S, description="Changes of an input that are shorter than this are bouncing contacts."
    )
    start: Level = Field("off", description="Level of an output from the first moment on.")
    exit: Level = Field(
        "off",
        description="Level that an output has when the agent lets go of it. What the chip makes of it then is its own.",
    )

    @model_validator(mode="after")
    def _fits_its_direction(self) -> Self:
        wrong = ("start", "exit") if self.direction == "in" else ("debounce",)
        for name in wrong:
            if name in self.model_fields_set:
                other = "out" if self.direction == "in" else "in"
                raise ValueError(f"`{name}` goes with `direction: {other}`")
        return self
