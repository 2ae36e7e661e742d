"""Machine states by their standards, and the category of time each belongs to.

Numbers differ between two common forms of PackML (ISA-TR88.00.02): OPC 30060 and the PackTags that
PLC libraries use. A device says which it speaks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from edgeflow.model import Value

Category = Literal["running", "stopped", "changeover", "excluded", "unknown"]
"""`excluded`: no production is planned; `changeover`: a planned stop inside planned time."""

CATEGORIES: tuple[Category, ...] = get_args(Category)
StateModel = Literal["packtags", "packml", "machinery", "mtconnect", "signal", "words"]


def _numbered(names: str) -> dict[int, str]:
    return dict(enumerate(names.split()))


PACKTAGS: Mapping[int, str] = _numbered(
    "undefined clearing stopped starting idle suspended execute stopping aborting aborted holding held unholding "
    "suspending unsuspending resetting completing complete"
)
"""PackTags `Status.StateCurrent`."""

PACKML: Mapping[int, str] = _numbered(
    "stopped resetting idle starting execute completing complete aborting aborted stopping clearing suspending "
    "suspended unsuspending holding held unholding"
)
"""OPC 30060, clause 11.9."""

_MTCONNECT_IDLE = ("ready", "interrupted", "feed_hold", "stopped", "optional_stop", "program_stopped")
_PACKML_CATEGORIES: dict[str, Category] = dict.fromkeys(PACKML.values(), "stopped")
_PACKML_CATEGORIES |= {"execute": "running", "undefined": "unknown"}

_NAMES: Mapping[StateModel, Mapping[int, str]] = {
    "packtags": PACKTAGS,
    "packml": PACKML,
    "signal": {0: "stopped", 1: "running"},
}

_CATEGORIES: Mapping[StateModel, Mapping[str, Category]] = {
    "packtags": _PACKML_CATEGORIES,
    "packml": _PACKML_CATEGORIES,
    # OPC 40001-1, MachineryItemState. Out of service and not executing are both no production.
    "machinery": {
        "executing": "running",
        "notexecuting": "stopped",
        "outofservice": "stopped",
        "notavailable": "unknown",
    },
    # MTConnect, Execution of a Controller.
    "mtconnect": {
        "active": "running",
        **dict.fromkeys((*_MTCONNECT_IDLE, "program_completed", "wait"), "stopped"),
        "unavailable": "unknown",
    },
    "signal": {"running": "running", "stopped": "stopped"},
    "words": {**{category: category for category in CATEGORIES}, "idle": "stopped", "break": "excluded"},
}


_RAW = re.compile(r"(?:state )?-?[0-9]+|True|False")
"""A raw value as text, as an override may name it."""


@dataclass(frozen=True, slots=True)
class States:
    """Reads a machine's state: a number, a name or a boolean becomes a name and a category.

    `overrides` sends names or raw values, as text, to other categories than the standard does.
    """

    model: StateModel = "packtags"
    overrides: Mapping[str, Category] = field(default_factory=dict)

    def read(self, value: Value) -> tuple[str, Category]:
        """The state's name and category; a value that the model does not know is `unknown`."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        name = self._name(value)
        for key in (name, str(value)):
            if key in self.overrides:
                return name, self.overrides[key]
        return name, _CATEGORIES[self.model].get(name, "unknown")

    def names(self) -> set[str]:
        """The names and categories that a pattern or an override can be written for."""
        known = {name for name, category in _CATEGORIES[self.model].items() if category != "unknown"}
        return known | set(CATEGORIES) - {"unknown"}

    def is_key(self, key: str) -> bool:
        """Whether an override of this key can ever count; names of other makers only where the model has no numbers."""
        numbered = self.model in _NAMES
        return not numbered or key in _CATEGORIES[self.model] or bool(_RAW.fullmatch(key))

    def refuses(self) -> dict[str, str]:
        """The types of values that can be no state here, and what to write instead."""
        found = {"object": "takes a state: a number, a name, or true and false"}
        raw = self.overrides.keys()
        if self.model not in ("signal", "words") and not raw & {"True", "False"}:
            found["boolean"] = f"takes a state of {self.model}; where true means that it runs, write `states: signal`"
        if self.model not in _NAMES and not any(_RAW.fullmatch(key) for key in raw):
            found["number"] = f"takes the names of {self.model}; for numbers write `states: packtags`, packml or signal"
        return found

    def _name(self, value: Value) -> str:
        if isinstance(value, bool):
            return "running" if value else "stopped"
        if isinstance(value, int):
            return _NAMES.get(self.model, {}).get(value, f"state {value}")
        return str(value).strip().lower()
