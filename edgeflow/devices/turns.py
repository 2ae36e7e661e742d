"""How one device is asked: in its turn, and with patience where it shares its link."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from edgeflow.devices.connection import Connection
from edgeflow.devices.patience import Custom, Patience
from edgeflow.driver import Ask, spread
from edgeflow.errors import Silent

T = TypeVar("T")


class Turns:
    """The requests of one device: its reads, its writes, what its outputs need.

    `custom`: of the link, where others use it too; `outputs_wait`: outputs wait while this device is read.
    """

    def __init__(self, timeout_s: float, custom: Custom | None, *, outputs_wait: bool = False) -> None:
        self._timeout_s, self._custom, self._outputs_wait = timeout_s, custom, outputs_wait
        self._patience: Patience | None = None

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
        try:
            return await self.one(connection, who, request, write=write, plan=plan)
        except Silent:
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
        """As `ask`, but the caller judges whether the device is silent.

        `again`: the next request of a poll of which one was lost.
        """
        if self._custom is None:
            asked, allowed_s = self._spread(request, self._timeout_s)
            return await connection.ask(who, asked, allowed_s, write=write)
        if self._patience is None:
            self._patience = Patience(self._timeout_s, self._custom)
        patience = self._patience
        while True:
            await patience.turn(again=again)
            try:
                each_s = patience.allowed_s
                asked, allowed_s = self._spread(request, each_s)
                asked = asked if plan else patience.timed(asked, allowed_s / each_s)
                return await connection.ask(who, asked, allowed_s, write=write)
            except Silent:
                if write or not patience.forgives():
                    raise

    def _spread(self, request: Ask[T], each_s: float) -> tuple[Ask[T], float]:
        """How it is asked, and for how long; no output waits for more than one time-out."""
        asked, allowed_s = spread(request, each_s)
        return asked, min(allowed_s, self._timeout_s) if self._outputs_wait else allowed_s

    def silent(self, requests: int = 1) -> None:
        """So many requests in a row were not answered."""
        if self._patience is not None:
            self._patience.silent(requests)
