"""A connection for writes alone, so that they never wait for a read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from edgeflow.errors import LinkDown
from edgeflow_modbus.pdu import Request
from edgeflow_modbus.space import Manners
from edgeflow_modbus.wire import Ask, Roll, Stats, Wire


class ApartWire:
    """The second connection of a link, made when a write is due.

    Devices close connections on which nothing happens for a while; then the next write makes a new one. When
    the first connection is lost the session is over, and so is this.
    """

    tells_apart = True

    def __init__(self, first: Wire, connect: Callable[[float], Awaitable[Wire]]) -> None:
        self._first, self._connect = first, connect
        self._wire: Wire | None = None

    @property
    def stats(self) -> Stats:
        return self._first.stats

    @property
    def roll(self) -> Roll:
        return self._first.roll

    @property
    def down(self) -> str:
        return self._first.down

    def respect(self, unit: int, manners: Manners) -> None:
        """Nothing is asked here but what is bound."""

    def bind(self, request: Request) -> Ask:
        async def ask(deadline: float) -> bytes:
            if self._first.down:
                raise LinkDown(self._first.down)
            if self._wire is not None and self._wire.down:
                await self.close()
            if self._wire is None:
                self._wire = await self._open(deadline)
            return await self._wire.bind(request)(deadline)

        return ask

    async def close(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()

    async def _open(self, deadline: float) -> Wire:
        try:
            return await self._connect(deadline)
        except LinkDown as error:
            raise LinkDown(
                f"the connection for writes: {error}; does it take two? Else write `connections: 1`"
            ) from None
