"""What a stack light shows for a machine's state and for a call: colours as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from edgeflow.model import Pattern

LampPattern = dict[str, Literal["off", "on", "flash", "flash_fast"]]
"""A stack light's pattern as people write it: element -> level."""

RED, AMBER, GREEN, BLUE, BUZZER = "red", "amber", "green", "blue", "buzzer"
UNKNOWN = "unknown"

_BY_COLOUR: tuple[tuple[Pattern, str], ...] = (
    ({GREEN: "on"}, "execute completing running"),
    ({GREEN: "flash"}, "idle starting resetting complete unholding unsuspending"),
    ({AMBER: "flash"}, "suspended suspending"),
    ({AMBER: "on"}, "held holding changeover"),
    ({RED: "on"}, "stopped stopping clearing"),
    ({RED: "flash"}, "aborted aborting"),
    ({}, "excluded"),
)
STATES: Mapping[str, Pattern] = MappingProxyType(
    {state: MappingProxyType(dict(pattern)) for pattern, states in _BY_COLOUR for state in states.split()}
)
"""The colours of PackML states, and of the categories of time for other models, that count where a site has not
chosen others (IEC 60073: red failure, yellow abnormal, green normal)."""

CALL: Mapping[str, Pattern] = MappingProxyType(
    {
        "raised": MappingProxyType({BLUE: "flash"}),
        "acknowledged": MappingProxyType({BLUE: "on"}),
        "escalated": MappingProxyType({BLUE: "flash", BUZZER: "on"}),
    }
)
"""What a call adds to the light (IEC 60073: blue asks for an action)."""


def unshown(pattern: Pattern, elements: Sequence[str]) -> list[str]:
    """The elements of a pattern that a light does not have."""
    return [element for element in pattern if element not in elements]


def pattern_of(layers: Sequence[Mapping[str, Pattern]], name: str, category: str) -> Pattern | None:
    """What the first layer that knows the state shows for it; its name goes before its category of time."""
    for layer in layers:
        for key in (name, category):
            if key in layer:
                return layer[key]
    return None
