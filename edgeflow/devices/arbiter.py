"""Who may use a link now: one request at a time, writes before reads, and everyone in turn."""

from __future__ import annotations

import asyncio
from collections import deque

WRITES_IN_A_ROW = 4
"""So many writes may pass a waiting read before it has its turn: a flood of writes cannot blind us."""


class Arbiter:
    """The turns of one link.

    A caller has at most one request waiting, so first come, first served gives every device the same
    number of turns. `busy` is public for the fast way: where it is False, set it and go.
    """

    __slots__ = ("_passed", "_reads", "_writes", "busy", "waited")

    def __init__(self) -> None:
        self.busy = False
        self.waited = 0
        self._reads: deque[asyncio.Future[None]] = deque()
        self._writes: deque[asyncio.Future[None]] = deque()
        self._passed = 0

    async def turn(self, *, write: bool = False) -> None:
        """Waits for a turn; `release` must follow. Cancelling gives the turn on."""
        if not self.busy:
            self.busy = True
            return
        self.waited += 1
        turn = asyncio.get_running_loop().create_future()
        (self._writes if write else self._reads).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Hands the link to the next in turn."""
        while (waiting := self._next()) is not None:
            if not waiting.done():
                waiting.set_result(None)
                return
        self.busy = False

    def _next(self) -> asyncio.Future[None] | None:
        if self._writes and (not self._reads or self._passed < WRITES_IN_A_ROW):
            self._passed = self._passed + 1 if self._reads else 0
            return self._writes.popleft()
        self._passed = 0
        return self._reads.popleft() if self._reads else None
