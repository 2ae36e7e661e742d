"""Whether the server really lives: it is asked for its time and its state, once for all of its devices."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.ua.object_ids import ObjectIds

from edgeflow.model import BAD, UNCERTAIN
from edgeflow_opcua.value import Fault, time_ns
from edgeflow_opcua.wire import Late, Wire

PATIENCE = 2
"""So many heartbeats may pass without an answer."""
LIFE = ua.NodeId(ua.Int32(ObjectIds.Server_ServerStatus_CurrentTime))
STATE = ua.NodeId(ua.Int32(ObjectIds.Server_ServerStatus_State))
_NAMES = {state.value: state.name for state in ua.ServerState}


@dataclass(frozen=True, slots=True)
class Beat:
    """One answer: the server's time (UTC ns, 0 where it says none), whether it has advanced, and its state."""

    time_ns: int
    advanced: bool
    state: int | None

    @property
    def fault(self) -> Fault | None:
        """What its state says of its values; None for a server that runs, or does not say."""
        if self.state is None or self.state == ua.ServerState.Running:
            return None
        name = _NAMES.get(self.state, f"in state {self.state}")
        # In test mode all is as ever, but nothing is connected to the machine (OPC 10000-5, clause 12.6).
        quality = UNCERTAIN if self.state == ua.ServerState.Test else BAD
        return quality, f"the server says that it is {name}, not Running"


class Pulse:
    """The heartbeat of one session."""

    def __init__(self, wire: Wire) -> None:
        self._wire, self._now = wire, asyncio.get_running_loop().time
        self._lock = asyncio.Lock()
        self._fastest_s = float("inf")
        self._asked_at = float("-inf")
        self._beat: Beat | None = None
        self._newest: Any = None

    async def beat(self, every_s: float) -> Beat | None:
        """Asks, unless another device has just asked; None where a server at something slow does not answer now.

        Raises LinkDown where it does not answer otherwise.
        """
        self._fastest_s = min(self._fastest_s, every_s)
        async with self._lock:
            if self._now() < self._asked_at + every_s / 2:
                return self._beat
            self._asked_at = self._now()
            patience_s = PATIENCE * self._fastest_s
            try:
                (moment, code, *stamps), (state, state_code, *_) = await self._wire.read(
                    [LIFE, STATE], self._asked_at + patience_s, beat=True
                )
            except Late:
                self._beat = None
                return None
            good = code >> 30 < 2 and not isinstance(moment, str)
            advanced = good and moment is not None and (self._newest is None or moment > self._newest)
            if advanced:
                self._newest = moment
            told_ns = time_ns(moment) if good else 0
            known = isinstance(state, int) and state_code >> 30 < 2
            self._beat = Beat(told_ns or stamps[0] or stamps[1], advanced, state if known else None)
            return self._beat
