"""Arbitration: the highest priority wins per element; what nobody wants any more goes safe.

Levels, not edges: a request stays in force until it is released or its lease ends. Ties go to the
newest request. An element no request mentions is `off` while any request holds the output, and shows
`when_stopped` when there is none at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgeflow.model import Pattern, Request, Scalar, Value, ValueType

OFF = "off"
LEVELS = (OFF, "on", "flash", "flash_fast")
VALUE = "value"
"""The one element of an output that is no light."""
_FITS: Mapping[ValueType, tuple[type, ...]] = {
    "boolean": (bool,), "integer": (int, float), "number": (int, float), "text": (str,), "bytes": (str, bytes),
}  # fmt: skip
LOWEST, FLOW, CALL, OPERATOR = 0, 500, 700, 900


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """An output as flows see it: its elements, and what it shows when nobody can say better.

    `when_stale`: its source's data are BAD or its holder's lease ended; `when_stopped`: no request at
    all, or the holder's flow was stopped or quarantined; `on_exit`: the agent has ended.
    `patterns` names the site's patterns (`running`, `unknown`, ...), so that colours are data. `type`: of the
    value, where it is no light and that is known.
    """

    name: str
    elements: tuple[str, ...]
    when_stale: Pattern = field(default_factory=dict)
    when_stopped: Pattern = field(default_factory=dict)
    on_exit: Pattern = field(default_factory=dict)
    patterns: Mapping[str, Pattern] = field(default_factory=dict)
    type: ValueType | None = None

    @property
    def is_light(self) -> bool:
        return self.elements != (VALUE,)

    def unfit(self, pattern: Pattern) -> str:
        """Why an output cannot show a pattern; "" where it can. Elements that a light does not have are left out."""
        for element, level in pattern.items():
            if self.is_light and element == VALUE and VALUE not in self.elements:
                return f"{self.name} is a light with the elements {', '.join(self.elements)}, and no single value"
            if self.is_light and not (isinstance(level, str) and level in LEVELS):
                return f"{level!r:.40} is not a level of {self.name}; off, on, flash and flash_fast are"
            if element == VALUE and (reason := self._unfit_value(level)):
                return reason
        return ""

    def _unfit_value(self, value: Value) -> str:
        if self.is_light or self.type is None:
            return ""
        if not isinstance(value, _FITS[self.type]) or (isinstance(value, bool) and self.type != "boolean"):
            return f"{value!r:.40} does not fit {self.name}, which is of type {self.type}"
        return ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What an output shall show now, and which owner won each element."""

    output: str
    levels: dict[str, Scalar]
    winners: dict[str, str]


def decide(plan: OutputPlan, requests: Iterable[Request], now_ns: int) -> Decision:
    """The levels of every element of one output. A request whose lease has ended counts as `when_stale`."""
    held = sorted(requests, key=lambda r: (r.priority, r.since, r.owner), reverse=True)
    if not held:
        return _all(plan, plan.when_stopped, "nobody")
    levels: dict[str, Scalar] = {}
    winners: dict[str, str] = {}
    for request in held:
        ended = request.lease_end is not None and request.lease_end <= now_ns
        pattern = plan.when_stale if ended else request.pattern
        for element in plan.elements:
            if element in pattern and element not in levels:
                levels[element] = pattern[element]
                winners[element] = request.owner
    for element in plan.elements:
        levels.setdefault(element, OFF)
        winners.setdefault(element, "nobody")
    return Decision(plan.name, levels, winners)


def alike(one: Pattern, other: Pattern) -> bool:
    """Whether two patterns ask for the very same; True and 1 are equal, but no number can be true."""
    return one == other and [*map(type, one.values())] == [*map(type, other.values())]


def _all(plan: OutputPlan, pattern: Pattern, owner: str) -> Decision:
    return Decision(
        plan.name,
        {element: pattern.get(element, OFF) for element in plan.elements},
        dict.fromkeys(plan.elements, owner),
    )
