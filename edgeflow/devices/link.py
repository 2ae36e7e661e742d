"""A link under supervision: opened with a deadline, watched, discarded when lost, opened again with back-off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from edgeflow.backoff import Backoff
from edgeflow.clock import Clock
from edgeflow.devices.connection import GRACE_S, Connection, LinkStats, ended, failure
from edgeflow.devices.device import Device
from edgeflow.devices.flapping import Flapping
from edgeflow.devices.plan import LinkPlan
from edgeflow.driver import Home
from edgeflow.errors import LinkDown, Rejected
from edgeflow.units import NS_PER_S, duration_text

log = structlog.get_logger(__name__)

_CLOSE_S = 2.0
TICK_S = 0.5
_STEADY_S = 5.0
"""A session that lasted so long is followed by the next without a wait."""
STRIKES = 2
"""So many times a device has to lose the link, without an answer of its own, to be blamed alone."""


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """A link as the pages show it; `since_ns`: how long it has been in this state (UTC)."""

    name: str
    driver: str
    state: Literal["good", "bad", "connecting"]
    reason: str
    since_ns: int
    stats: LinkStats


class Link:
    """One connection, shared by its devices."""

    def __init__(self, plan: LinkPlan, clients: Sequence[Device], clock: Clock, home: Home) -> None:
        self.plan, self.stats = plan, LinkStats()
        self._home = home
        self.connection: Connection | None = None
        self.reason = "not yet connected"
        self._clients, self._clock = clients, clock
        self._backoff, self._said = Backoff(), ""
        self._flapping = Flapping()
        self._at_once = False
        self._free, self._idle = asyncio.Event(), asyncio.Event()
        self._free.set()
        self._idle.set()
        self._state: Literal["good", "bad", "connecting"] = "connecting"
        self._since_ns = clock.now_ns()

    def status(self) -> LinkStatus:
        plan = self.plan
        return LinkStatus(plan.name, plan.driver.name, self._state, self.reason, self._since_ns, self.stats)

    async def run(self) -> None:
        """Keeps the link open for ever; ends only by being cancelled, or by a bug above the drivers."""
        while True:
            self._idle.clear()
            self._at_once = False
            try:
                await self._session()
            except Exception as error:  # noqa: BLE001  # the quarantine of a link: no input ends the process
                self._contain(error)
            self._idle.set()
            if not self._at_once:
                await asyncio.sleep(self._backoff.next())
            await self._free.wait()

    @asynccontextmanager
    async def lent(self, reason: str) -> AsyncIterator[None]:
        """Has no session while the block runs, so that somebody else can have the connection; one at a time.

        Its devices are BAD meanwhile, with the reason. Raises Rejected where it is lent already.
        """
        if not self._free.is_set():
            raise Rejected(f"{self.plan.name}: {self.reason}")
        self._free.clear()
        try:
            if self.connection is not None:
                self.connection.fail(reason)
            else:
                self._lost(reason, None)
            await self._idle.wait()
            self.reason = reason
            yield
        finally:
            self._free.set()

    def _proved(self) -> None:
        self._backoff.reset()
        if self._state == "good":
            return
        if self._state == "bad" and not self._flapping.quiet:
            log.info("link back", link=self.plan.name, after=duration_text(self._clock.now_ns() - self._since_ns))
        self._state, self.reason, self._since_ns = "good", "", self._clock.now_ns()

    async def _session(self) -> None:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[Any] = loop.create_future()
        closing = asyncio.Event()
        holder = loop.create_task(self._hold(opened, closing), name=f"{self.plan.name}: session")

        async def close() -> None:
            closing.set()
            await asyncio.wait({holder}, timeout=_CLOSE_S)
            self.stats.abandoned += await ended({holder}, 1.0)

        connection: Connection | None = None
        try:
            await asyncio.wait(
                {holder, opened},
                timeout=self.plan.open_ns / NS_PER_S + GRACE_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not opened.done():
                holder.cancel()
                self._lost(holder.result() if holder.done() else "it could not be opened in time", None)
                return
            if not self._free.is_set():
                return  # lent while it was being opened
            self.stats.opened += 1
            connection = Connection(
                self.plan.name, opened.result(), self.plan.driver.serial, self.stats, self._lost, self._broken
            )
            self.connection = connection
            if self._state != "good":
                self.reason = "connected, but nothing has been heard yet"
            await self._serve(connection)
        finally:
            self.connection = None
            await (connection.end(close) if connection else close())

    async def _hold(self, opened: asyncio.Future[Any], closing: asyncio.Event) -> str:
        """Opens and closes the session, both in this one task; returns why it could not be opened."""
        deadline = asyncio.get_running_loop().time() + self.plan.open_ns / NS_PER_S
        try:
            async with self.plan.driver.open(self.plan.config, deadline, self._home.at(self.plan.name)) as session:
                opened.set_result(session)
                await closing.wait()
        except (LinkDown, Rejected) as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  # the quarantine of a driver that fails to open or close
            self._broken(reason := failure(error), error)
            return reason
        return ""

    async def _serve(self, connection: Connection) -> None:
        time = asyncio.get_running_loop().time
        begun_s = time()
        for client in self._clients:
            connection.spawn(client, client, client.serve(connection))
        await asyncio.wait({connection.ended, connection.proven}, return_when=asyncio.FIRST_COMPLETED)
        if connection.proven.done() and not connection.ended.done():
            self._proved()
            await asyncio.wait({connection.ended})
        self._at_once |= time() - begun_s >= _STEADY_S

    def check(self, now_s: float) -> None:
        """Called every `TICK_S`: looks for broken promises and for silence.

        A silent device costs only itself while others on the link are well; else the session is rebuilt.
        """
        connection = self.connection
        if connection is None:
            return
        try:
            self._check(connection, now_s)
        except Exception as error:  # noqa: BLE001  # the quarantine of a link: no input ends the process
            self._contain(error)

    def _contain(self, error: Exception) -> None:
        self._broken(reason := failure(error), error)
        if self.connection is not None:
            self.connection.fail(reason)
        else:
            self._lost(reason, None)

    def _check(self, connection: Connection, now_s: float) -> None:
        connection.check(now_s)
        for client in self._clients:
            reason = client.silence(now_s)
            if reason and any(other.well for other in self._clients if other is not client):
                client.restart(reason)
            elif reason:
                connection.fail(reason, client)

    def _broken(self, reason: str, error: Exception | None) -> None:
        """A driver failed against its contract; its session is restarted. Said once, as long as it is the same."""
        self.stats.broken += 1
        if reason != self._said:
            self._said = reason
            log.error("driver failed", link=self.plan.name, reason=reason, exc_info=error)

    def _lost(self, reason: str, blamed: Device | None) -> None:
        """Every device of the link is BAD at once, unless one alone is to blame and the others answer."""
        self.stats.lost += 1
        others = [client for client in self._clients if client is not blamed]
        if blamed is not None and blamed.strike() >= STRIKES and any(client.well for client in others):
            blamed.lost(reason, alone=True)
            self._at_once = True  # that one has to wait, not the others
            return
        if self._state != "bad":
            if said := self._flapping.lost(self._clock.now_ns()):
                log.warning(f"link {said}", link=self.plan.name, reason=reason)
            self._state, self._since_ns = "bad", self._clock.now_ns()
        self.reason = reason
        for client in self._clients:
            client.lost(reason)
