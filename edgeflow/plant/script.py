"""The seeded script: what happens to a machine, one segment after the other, for ever."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from edgeflow.units import NS_PER_S

OFF, STOPPED, IDLE, SUSPENDED, EXECUTE, ABORTED, HELD = 0, 2, 4, 5, 6, 9, 11
STATES = {
    OFF: "off",
    STOPPED: "stopped",
    IDLE: "idle",
    SUSPENDED: "suspended",
    EXECUTE: "execute",
    ABORTED: "aborted",
    HELD: "held",
}
"""StateCurrent as PackTags number it; 0 is no state of PackML and means that the controller is off."""

FAULTS = {
    101: "light curtain interrupted",
    114: "die temperature too high",
    127: "part stuck in the ejector",
    203: "hydraulic pressure too low",
    901: "emergency stop",
    902: "guard door opened",
}


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of a machine's day. `slowness` multiplies the cycle time; `scrap` spoils the part in work."""

    state: int
    reason: str
    length_ns: int
    fault: int = 0
    slowness: float = 1.0
    reject_share: float = 0.0
    scrap: bool = False


@dataclass(frozen=True, slots=True)
class _Event:
    reason: str
    state: int
    weight: int
    length_s: tuple[float, float]
    faults: tuple[int, ...] = (0,)
    slowness: tuple[float, float] = (1.0, 1.0)
    scrap: bool = False


_EVENTS = (
    _Event("micro stop", HELD, 8, (3, 20)),
    _Event("starved", SUSPENDED, 4, (15, 60)),
    _Event("slow", EXECUTE, 4, (40, 120), slowness=(1.2, 1.6)),
    _Event("unplanned stop", STOPPED, 3, (45, 180), faults=(101, 114, 127, 203)),
    _Event("planned stop", STOPPED, 1, (120, 300)),
    _Event("aborted", ABORTED, 1, (30, 90), faults=(901, 902), scrap=True),
)
_REJECTS, _REJECTS_SLOW, _REJECTS_STARTING = 0.015, 0.05, 0.15
_COLD = ("unplanned stop", "planned stop", "aborted")


def _run(length_s: float, speed: float, rejects: float = _REJECTS) -> Segment:
    return Segment(EXECUTE, "run", round(length_s / speed * NS_PER_S), reject_share=rejects)


def machine_script(seed: int, name: str, speed: float = 1.0) -> Iterator[Segment]:
    """Runs with something happening after each; every length is divided by `speed`.

    After a long stop the machine makes more rejects for 20 s.
    """
    chance = Random(f"{seed}/{name}/script")  # noqa: S311 - a script to be repeated, no secret
    yield _run(60, speed)
    while True:
        event = chance.choices(_EVENTS, [e.weight for e in _EVENTS])[0]
        yield Segment(
            event.state,
            event.reason,
            round(chance.uniform(*event.length_s) / speed * NS_PER_S),
            chance.choice(event.faults),
            chance.uniform(*event.slowness),
            _REJECTS_SLOW,
            event.scrap,
        )
        if event.reason in _COLD:
            yield _run(20, speed, _REJECTS_STARTING)
        yield _run(chance.uniform(60, 240), speed)


def oven_script(seed: int, speed: float = 1.0) -> Iterator[tuple[bool, int]]:
    """Whether the oven is on, and for how many nanoseconds."""
    chance = Random(f"{seed}/oven/script")  # noqa: S311 - a script to be repeated, no secret
    while True:
        yield True, round(chance.uniform(600, 1200) / speed * NS_PER_S)
        yield False, round(chance.uniform(120, 240) / speed * NS_PER_S)
