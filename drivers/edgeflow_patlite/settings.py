"""What a person writes about a tower: where it is, which model it is, and which part of it a tag means."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from edgeflow.model import Strict, ValueType

Model = Literal["la6", "lr5", "nh"]


class Link(Strict):
    """A connection to one tower. Socket control (PNS) must be switched on in the tower's own web page."""

    host: str = Field(min_length=1, description="Address or name of the tower, for example 10.0.0.8.")
    port: int = Field(10000, ge=1, le=65535, description="TCP port of its socket control; 10000 by default.")


class Device(Strict):
    """The tower behind the link."""

    model: Model = Field(
        "la6",
        description="The series: `la6` (LA6-POE), `lr5` (LR5-LAN and its like), `nh` (NHL, NHP, NHB, NH-FV). "
        "They differ in the patterns that they know.",
    )


class Point(Strict):
    """A part of the tower: exactly one of tier, buzzer, input."""

    tier: int | None = Field(
        None,
        ge=1,
        le=5,
        description="A tier, as the tower counts them; its value is the name of its pattern: `off`, `on`, `flash` ... "
        "On `lr5` and `nh` the tiers are colours: 1 red, 2 amber, 3 green, 4 blue, 5 white.",
    )
    buzzer: bool | None = Field(
        None, description="`true` for the buzzer; its value is the number of its pattern, 0 off."
    )
    input: int | None = Field(None, ge=1, le=8, description="A contact input of an `la6`; on or off, read only.")

    @model_validator(mode="after")
    def _one_part(self) -> Self:
        given = [name for name in ("tier", "buzzer", "input") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("write exactly one of tier, buzzer, input, for example `tier: 1`")
        if self.buzzer is False:
            raise ValueError("write `buzzer: true`, or leave the tag out")
        return self

    @property
    def title(self) -> str:
        """What it is called in messages."""
        if self.tier is not None:
            return f"tier {self.tier}"
        return "the buzzer" if self.buzzer else f"input {self.input}"


def value_type(point: Point) -> ValueType:
    """The type that a point yields."""
    if point.tier is not None:
        return "text"
    return "integer" if point.buzzer else "boolean"


def writable(point: Point) -> bool:
    """Whether it can be written."""
    return point.input is None
