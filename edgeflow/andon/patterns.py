"""What a stack light shows for a machine's state: PackML states and site colours, as data."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edgeflow.model import Pattern, Scalar

RED, AMBER, GREEN = "red", "amber", "green"
UNKNOWN = "unknown"

PACKTAGS: Mapping[int, str] = MappingProxyType(
    dict(
        enumerate(
            (
                "clearing stopped starting idle suspended execute stopping aborting aborted holding held "
                "unholding suspending unsuspending resetting completing complete"
            ).split(),
            start=1,
        )
    )
)
"""PackML StateCurrent as PackTags numbers it (ISA-TR88.00.02)."""

OPC_30060: Mapping[int, str] = MappingProxyType(
    dict(
        enumerate(
            (
                "stopped resetting idle starting execute completing complete aborting aborted stopping clearing "
                "suspending suspended unsuspending holding held unholding"
            ).split()
        )
    )
)
"""The same states as OPC 30060 (TMC) numbers them, section 11.9."""

NUMBERINGS: Mapping[str, Mapping[int, str]] = MappingProxyType({"packtags": PACKTAGS, "opc30060": OPC_30060})

_BY_COLOUR: tuple[tuple[Pattern, str], ...] = (
    ({GREEN: "on"}, "execute completing"),
    ({GREEN: "flash"}, "idle starting resetting complete unholding unsuspending"),
    ({AMBER: "flash"}, "suspended suspending"),
    ({AMBER: "on"}, "held holding"),
    ({RED: "on"}, "stopped stopping clearing"),
    ({RED: "flash"}, "aborted aborting"),
)
PACKML: Mapping[str, Pattern] = MappingProxyType(
    {state: MappingProxyType(dict(pattern)) for pattern, states in _BY_COLOUR for state in states.split()}
)
"""The colours that count where a site has not chosen others (IEC 60073: red failure, yellow abnormal, green normal)."""


def state_name(state: Scalar, numbering: Mapping[int, str]) -> str | None:
    """The PackML name of a state given as number or text; None where there is none."""
    if isinstance(state, str):
        return state.strip().lower() or None
    if isinstance(state, bool) or not isinstance(state, int | float):
        return None
    return numbering.get(int(state)) if state == int(state) else None


def palette(*layers: Mapping[str, Pattern]) -> Mapping[str, Pattern]:
    """One map of state -> pattern out of several; a later one overrides an earlier one."""
    merged: dict[str, Pattern] = {}
    for layer in layers:
        merged.update(layer)
    return merged
