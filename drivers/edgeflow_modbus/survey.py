"""Which addresses of one table of a unit can be read: blocks that are refused or met with silence are halved."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal

from edgeflow.errors import Silent
from edgeflow_modbus.pdu import ACKNOWLEDGE, ADDRESSES, BUSY, FAILED, ILLEGAL_FUNCTION, Refused, Table

Read = Callable[[int, int], Awaitable[bytes]]
"""Reads so many addresses from one on; raises Refused or Silent."""
Range = tuple[int, int]
"""The first address and the last."""
Answer = Literal["yes", "no", "none", "busy", "silent"]
"""`no`: refused; `none`: the device has no such table; `busy`: it failed, or had no time, each time it was asked."""
Outcome = Literal["yes", "no", "busy", "silent", "untried"]

_AGAIN = 3
_MOST_IN_VAIN = 8
"""A device that so often stays with "failed" means it: then nothing is asked again."""
_MOST_IN_A_ROW = 12
"""After so many silences in a row a silent block is halved only where its first or its last address answers."""
_MOST_SILENCES = 100
_REGISTERS, _BITS = 64, 512


class Survey:
    """One table of one unit; `step` asks one block, until nothing is `left`.

    Where the unit is silent too often, some addresses are not tried: they are `untried` in `ranges`, which
    has every other outcome too, by rising address. `pause_s`: how long a busy unit is left alone.
    """

    def __init__(self, table: Table, addresses: Sequence[int], read: Read, pause_s: float) -> None:
        self.ranges: dict[Outcome, list[Range]] = {"yes": [], "no": [], "busy": [], "silent": [], "untried": []}
        self._read, self._pause_s = read, pause_s
        self._blocks = list(reversed(blocks(addresses, _BITS if table.bits else _REGISTERS)))
        self._latest: Outcome = "no"
        self._silences = self._in_a_row = self._in_vain = 0

    @property
    def left(self) -> int:
        """How many addresses are still to be looked at."""
        return sum(count for _, count in self._blocks)

    @property
    def next(self) -> int:
        """The address that comes next, where any are left."""
        return self._blocks[-1][0]

    @property
    def whole(self) -> list[Range]:
        """The ranges that can be read and will not grow any more."""
        found = self.ranges["yes"]
        return found[:-1] if self._latest == "yes" and self._blocks else found

    async def step(self) -> None:
        """Asks the next block; it is settled, or halved."""
        start, count = self._blocks.pop()
        answer = await self._answer(start, count)
        if answer == "none":
            self._blocks.clear()
        elif answer == "yes" or count == 1:
            self._settle(answer, start, count)
        elif answer == "silent" and not await self._promising(start, count):
            self._settle("untried", start, count)
        else:
            half = count // 2
            self._blocks += [(start + half, count - half), (start, half)]
        if self._silences >= _MOST_SILENCES:
            self.end()

    def end(self) -> None:
        """Leaves the rest untried."""
        while self._blocks:
            self._settle("untried", *self._blocks.pop())

    async def _promising(self, start: int, count: int) -> bool:
        """Whether a silent block is worth halving: always, but not in the midst of what is silent anyway."""
        if self._in_a_row < _MOST_IN_A_ROW:
            return True
        for each in (start, start + count - 1):
            if await self._answer(each, 1) == "yes":
                return True
        return False

    async def _answer(self, start: int, count: int) -> Answer:
        """One block; a unit that is busy is asked again."""
        answer = await self._once(start, count)
        for _ in range(_AGAIN if self._in_vain < _MOST_IN_VAIN else 0):
            if answer != "busy":
                return answer
            await asyncio.sleep(self._pause_s)
            answer = await self._once(start, count)
        self._in_vain += answer == "busy"
        return answer

    async def _once(self, start: int, count: int) -> Answer:
        try:
            await self._read(start, count)
        except Refused as refused:
            if not refused.from_gateway:
                self._in_a_row = 0
                busy = refused.code in (FAILED, ACKNOWLEDGE, BUSY)  # they say nothing of the address
                return "none" if refused.code == ILLEGAL_FUNCTION else "busy" if busy else "no"
        except Silent:
            pass
        else:
            self._in_a_row = 0
            return "yes"
        self._silences += 1
        self._in_a_row += 1
        return "silent"

    def _settle(self, outcome: Outcome, start: int, count: int) -> None:
        found = self.ranges[outcome]
        if found and found[-1][1] == start - 1:
            found[-1] = (found[-1][0], start + count - 1)
        else:
            found.append((start, start + count - 1))
        self._latest = outcome


def blocks(addresses: Sequence[int], size: int) -> list[tuple[int, int]]:
    """Neighbouring addresses as blocks (first, count) of at most `size`."""
    found: list[tuple[int, int]] = []
    for address in addresses:
        if found and address == found[-1][0] + found[-1][1] and found[-1][1] < size:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((address, 1))
    return found


def blocks_of(numbers: Iterable[int]) -> list[Range]:
    """Neighbouring numbers as ranges, first and last."""
    return [(first, first + count - 1) for first, count in blocks(sorted(numbers), ADDRESSES)]


def written(ranges: Iterable[Range]) -> str:
    """`20-24,33`, as an option takes it."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
