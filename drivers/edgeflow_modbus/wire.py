"""What every transport of requests has in common: how it is asked, what it counts, and whom it has heard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from edgeflow_modbus.pdu import Request
from edgeflow_modbus.space import Manners

Ask = Callable[[float], Awaitable[bytes]]
"""Sends a request; given the deadline, gives the payload, raises Refused, Silent or LinkDown."""

_LOST_IN_A_ROW = 3


@dataclass(slots=True)
class Stats:
    """What went over one connection.

    `strays`: answers that nobody waited for; `silences`: requests without an answer; `noise`: bytes that
    belong to no frame; `garbled`: answers of which only noise came, so that the request was sent again;
    `steps`: requests sent only to tell a late answer from the right one.
    """

    requests: int = 0
    exceptions: int = 0
    strays: int = 0
    silences: int = 0
    noise: int = 0
    garbled: int = 0
    steps: int = 0


class Wire(Protocol):
    """A transport of requests. One at a time; `bind` prepares a request that is sent again and again."""

    @property
    def stats(self) -> Stats: ...

    @property
    def roll(self) -> Roll: ...

    @property
    def down(self) -> str:
        """Why it can no longer be used; "" while it can."""

    @property
    def tells_apart(self) -> bool:
        """Whether an answer says which request it answers; else time is saved where a little more may be read along."""

    def bind(self, request: Request) -> Ask: ...

    def respect(self, unit: int, manners: Manners) -> None:
        """What not to read of a unit where the wire asks it something on its own account."""

    async def close(self) -> None:
        """Closes it, and waits until it is closed."""


class Roll:
    """Who is behind a link and who has answered, so that a silent unit can be told from a lost link.

    The link is lost when three units that did answer fall silent one after the other, or when nobody is left who
    might still answer: three requests in a row came to nothing, or nobody ever answered. So one lost answer, or two,
    cost nothing but themselves. `awaited` are the units whose next answer is news; empty when all is well.
    """

    def __init__(self) -> None:
        self.awaited: set[int] = set()
        self.searching = False
        """While someone looks for units, silence is what he expects; it says nothing of the link."""
        self._units: set[int] = set()
        self._failed: set[int] = set()
        self._in_a_row = self._in_vain = 0
        self.never = True
        """Whether nobody has answered yet."""

    def joins(self, unit: int) -> None:
        """A unit is going to be asked."""
        if unit not in self._units:
            self._units.add(unit)
            self.awaited.add(unit)

    def heard(self, unit: int) -> None:
        """A unit has answered, whatever it said."""
        self.awaited.discard(unit)
        self._failed.discard(unit)
        self._in_a_row = self._in_vain = 0
        self.never = False

    def missed(self, unit: int) -> bool:
        """A unit has not answered in time. Returns whether the link must be taken for lost."""
        if unit not in self.awaited:
            self._in_a_row += 1
            self.awaited.add(unit)
        self._failed.add(unit)
        self._in_vain += 1
        nobody = self._failed >= self._units and (self.never or self._in_vain >= _LOST_IN_A_ROW)
        return not self.searching and (nobody or self._in_a_row >= _LOST_IN_A_ROW)


def silent(where: str, request: Request, came: str, check: str) -> str:
    """What to say of a unit that gave no answer: what came instead, or what to look at where nothing came."""
    asked = f"when asked to {request.about} (function {request.function})"
    if came:
        return f"unit {request.unit} behind {where} gave no answer that fits {asked}; {came}"
    return f"unit {request.unit} behind {where} did not answer in time {asked}; {check}"
