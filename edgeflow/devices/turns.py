"""How one device is asked: in its turn, and with patience where it shares its link."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from edgeflow.devices.connection import Connection
from edgeflow.devices.patience import Custom, Patience
from edgeflow.driver import LOST
from edgeflow.errors import Silent

T = TypeVar("T")


class Turns:
    """The requests of one device: its reads, its writes, what its outputs need.

    `custom`: of the link, where others use it too.
    """

    def __init__(self, timeout_s: float, custom: Custom | None) -> None:
        self._timeout_s, self._custom = timeout_s, custom
        self._patience: Patience | None = None

    @property
    def most_lost(self) -> int:
        """So many requests of a poll in a row are made without an answer."""
        return 1 if self._patience is not None and self._patience.silent_already else LOST

    async def ask(
        self,
        connection: Connection,
        who: object,
        request: Callable[[float], Awaitable[T]],
        *,
        write: bool = False,
        plan: bool = False,
    ) -> T:
        """Asks this device when it is its turn; a silent one on a shared link is asked seldom, and not for long.

        `plan`: the request prepares another and may send nothing, so how long it takes says nothing.
        """
        while True:
            try:
                return await self.one(connection, who, request, write=write, plan=plan)
            except Silent:
                if not write and self.forgives():
                    continue
                self.silent()
                raise

    async def one(
        self,
        connection: Connection,
        who: object,
        request: Callable[[float], Awaitable[T]],
        *,
        write: bool = False,
        plan: bool = False,
        again: bool = False,
    ) -> T:
        """As `ask`, but once, and the caller judges whether the device is silent.

        `again`: the next request of a poll of which one was lost.
        """
        if self._custom is None:
            return await connection.ask(who, request, self._timeout_s, write=write)
        if self._patience is None:
            self._patience = Patience(self._timeout_s, self._custom)
        patience = self._patience
        if again:  # the others, whose polls have waited for the lost one, go on first
            await asyncio.sleep(patience.allowed_s)
        await patience.turn(again=again)
        return await connection.ask(who, request if plan else patience.timed(request), patience.allowed_s, write=write)

    def forgives(self) -> bool:
        """Whether a lost request is made once more at once."""
        return self._patience is not None and self._patience.forgives()

    def silent(self, requests: int = 1) -> None:
        """So many requests in a row were not answered."""
        if self._patience is not None:
            self._patience.silent(requests)
