"""The life of an Andon call: raised, acknowledged, resolved; with escalation by absolute deadlines.

Pure: presses of buttons and instants in, the changed call out. Deadlines are UTC instants reckoned
from the moment the call was raised, so a level that fell due during an outage is still due after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Phase = Literal["idle", "raised", "acknowledged", "resolved", "cancelled"]
Button = Literal["raise", "acknowledge", "resolve", "cancel"]
BUTTONS: tuple[Button, ...] = get_args(Button)

OPEN: frozenset[Phase] = frozenset({"raised", "acknowledged"})


@dataclass(frozen=True, slots=True)
class Level:
    """A level of escalation: whom to tell when the call is still not `unless` this long after it was raised."""

    after_ns: int
    to: str
    unless: Literal["acknowledged", "resolved"] = "acknowledged"


@dataclass(slots=True)
class Call:
    """One call, or the last one. Times are UTC ns, 0 for not yet.

    `level` counts the levels that have been told; `next_level` those that have been dealt with, told or not.
    """

    phase: Phase = "idle"
    raised_ns: int = 0
    acknowledged_ns: int = 0
    closed_ns: int = 0
    level: int = 0
    next_level: int = 0

    @property
    def is_open(self) -> bool:
        return self.phase in OPEN


def press(call: Call, button: Button, at_ns: int) -> bool:
    """Applies a press; returns whether it changed the call. A press that fits no phase changes nothing.

    So a second press on `raise` is the same call, and one on `acknowledge` does not move its time.
    Resolving a call that nobody acknowledged acknowledges it too: somebody was there.
    """
    match button:
        case "raise" if not call.is_open:
            call.phase, call.raised_ns = "raised", at_ns
            call.acknowledged_ns = call.closed_ns = call.level = call.next_level = 0
        case "acknowledge" if call.phase == "raised":
            call.phase, call.acknowledged_ns = "acknowledged", at_ns
        case "resolve" if call.is_open:
            call.phase, call.closed_ns = "resolved", at_ns
            call.acknowledged_ns = call.acknowledged_ns or at_ns
        case "cancel" if call.is_open:
            call.phase, call.closed_ns = "cancelled", at_ns
        case _:
            return False
    return True


def deadline(call: Call, levels: Sequence[Level]) -> int | None:
    """The UTC instant at which the next level is due; None when nothing more is."""
    for level in levels[call.next_level :]:
        if _waits(call, level):
            return call.raised_ns + level.after_ns
    return None


def escalate(call: Call, levels: Sequence[Level], now_ns: int) -> Level | None:
    """Takes the next level that is due by `now_ns`, if there is one; call again until None.

    Every level is taken at most once, in order; one whose condition was met in time is passed over.
    """
    while call.next_level < len(levels):
        level = levels[call.next_level]
        waits = _waits(call, level)
        if waits and call.raised_ns + level.after_ns > now_ns:
            return None
        call.next_level += 1
        if waits:
            call.level = call.next_level
            return level
    return None


def _waits(call: Call, level: Level) -> bool:
    """Whether the level still threatens: acknowledging stops the one clock, only resolving the other."""
    return call.phase == "raised" or (call.phase == "acknowledged" and level.unless == "resolved")
