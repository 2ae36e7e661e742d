"""One device behind a link: programmed, then polled on an absolute schedule or watched; silence is a fault.

What becomes of a device, and who says so:

    connecting   no session yet, or nothing heard in the first one
    programming  `on_connect` is written, again and again until the device takes it; nothing else is
    polled       one task for each pace of its tags; or
    watched      one task that subscribes and one that takes what is pushed; begun anew after silence
    good         everything known of its tags is good            (`Intake` judges by all that is known)
    degraded     some of its tags are not good, or are silent for longer than their cadence
    bad          nothing is known: the session is lost (`lost`, by the link), it is silent (two requests of a
                 poll without an answer, or nothing pushed for `silence`), or it refused to be read
    back         the first answer or push after that; what it says of the time before is dated now

Calls go one way: a link calls its devices, a device its connection, its turns and its intake; what happened is
found in what they give back (`strike`, `silence`, `well`) or in the connection (`reason`, `ended`, `proven`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import BaseModel

from edgeflow.backoff import Backoff
from edgeflow.clock import Clock
from edgeflow.devices.connection import Connection, ended
from edgeflow.devices.intake import KNOWN_PARTS, DeviceStatus, Intake
from edgeflow.devices.output import OutputWriter
from edgeflow.devices.patience import Custom
from edgeflow.devices.plan import DevicePlan
from edgeflow.devices.turns import Turns
from edgeflow.driver import Column, Reader, Reads, Watches, Writes
from edgeflow.errors import LinkDown, Rejected, Silent
from edgeflow.model import Block, Scalar
from edgeflow.units import NS_PER_S, duration_text

GOLDEN = 0.6180339887498949
"""Its multiples spread any number of polls evenly over a period."""
_WAITING_PUSHES = 1000
_UNSUBSCRIBE_S = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Tags of a device that are read together; `indices` None: all there are. `phase`: 0..1 of the period."""

    every_s: float
    phase: float
    points: Sequence[BaseModel]
    indices: tuple[int, ...] | None = None
    _known: dict[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)

    def tags(self, points: tuple[int, ...] | None) -> tuple[int, ...] | None:
        """Which tags of the device some points of the group are."""
        indices = self.indices
        if points is None or indices is None:
            return indices if points is None else points
        known = self._known.get(points)
        if known is None:
            if len(self._known) >= KNOWN_PARTS:
                self._known.clear()
            known = self._known[points] = tuple(indices[i] for i in points)
        return known


class Device:
    """A device; hands its blocks to `deliver`, one call each, in order.

    `phase` (0..1) spreads the polls of many devices over their period. `custom`: of the link, where others use it too.
    """

    def __init__(
        self,
        plan: DevicePlan,
        clock: Clock,
        deliver: Callable[[Block], None],
        *,
        phase: float = 0.0,
        custom: Custom | None = None,
    ) -> None:
        self.plan, self._strikes = plan, 0
        self.intake = Intake(plan, clock, deliver)
        self.stats = self.intake.stats
        self.turns = Turns(plan.timeout_ns / NS_PER_S, custom)
        self.writer: OutputWriter | None = None
        self._answered = False  # in this session
        self._clock = clock
        self._phase, self._custom, self._backoff = phase, custom, Backoff()
        self._points = tuple(tag.point for tag in self.intake.tags)
        self._heard_s: float | None = None  # loop time of the last answer or push in this session
        self._poll_s = 0.0  # what polls take that take long
        self._polled: dict[tuple[int, ...] | None, float] = {}  # the last slot of each group that was read
        self._pushed: deque[tuple[Column, int, float]] = deque()
        self._news = asyncio.Event()
        self._again = False
        self._watching = False

    @property
    def well(self) -> bool:
        return self.intake.state in ("good", "degraded")

    def status(self) -> DeviceStatus:
        return self.intake.status()

    async def serve(self, connection: Connection) -> None:
        """Programs the device, then polls or watches it until the session is lost."""
        self.intake.begin()
        self._answered = False
        if self._custom is not None and self._strikes:
            await asyncio.sleep(self._backoff.next())  # so that it costs the others a bounded share of the link
        await self._program(connection)
        if self.writer is not None:
            connection.spawn(self, self.writer, self.writer.serve(connection))
        if not self._points:
            return
        self._heard_s = asyncio.get_running_loop().time()
        session = connection.session
        if self.plan.driver.pushes and isinstance(session, Watches):
            await self._watch(connection, session)
        elif isinstance(session, Reads):
            for group in self._groups():
                connection.spawn(self, group, self._poll(connection, session, group))
        else:
            self.intake.trouble(f"the driver {self.plan.driver.name} can neither read nor watch")

    def lost(self, reason: str, *, alone: bool = False) -> None:
        self._heard_s, self._watching = None, False
        self._pushed.clear()
        if self.writer is not None:
            self.writer.lost(reason)
        self.intake.trouble(reason, say=alone)

    def silence(self, now_s: float) -> str:
        """Looks for silence, a fault of its own whatever a library says of its connection.

        Returns the reason where the watch has to begin anew.
        """
        if self._heard_s is None:
            return ""
        silence_ns = round((now_s - self._heard_s - self._poll_s) * NS_PER_S)
        if self.plan.silence_ns is None or silence_ns < self.plan.silence_ns:
            if self._watching:
                self.intake.check(now_s)
            return ""
        if self._watching:
            return f"connected but silent for {duration_text(silence_ns)}"
        if self.well:
            self.intake.trouble(f"no answer for {duration_text(silence_ns)}")
        return ""

    def restart(self, reason: str) -> None:
        """Begins the watch anew on the same session."""
        self._heard_s = asyncio.get_running_loop().time()  # the next look is after another silence
        self.intake.trouble(reason)
        self._again = True
        self._news.set()

    def strike(self) -> int:
        """It has lost the link; returns how many times in a row, without an answer of its own."""
        self._strikes += 1
        return self._strikes

    def _proved(self, connection: Connection) -> None:
        """The first answer or push of a session."""
        self._answered, self._strikes = True, 0
        self._backoff.reset()
        connection.prove()

    # --- programming and polling ----------------------------------------------------------------------

    async def _program(self, connection: Connection) -> None:
        """Writes `on_connect` in order. Until it is done nothing else is: a lamp must not outlive its watchdog."""
        while True:
            entry = 0
            try:
                for entry, (point, value) in enumerate(self.plan.on_connect, 1):  # noqa: B007  # for the message
                    await self._program_one(connection, point, value)
            except Rejected as error:
                self.intake.trouble(f"on_connect, entry {entry}: {error}")
                await asyncio.sleep(self._backoff.next())
            else:
                return

    async def _program_one(self, connection: Connection, point: BaseModel, value: Scalar) -> None:
        session = connection.session
        if not isinstance(session, Writes):
            raise Rejected(f"the driver {self.plan.driver.name} cannot write")
        write = partial(session.write, self.plan.config, (point,), (value,))
        await self.turns.ask(connection, self, write, write=True)

    def _groups(self) -> list[_Group]:
        """The tags by how often they are read."""
        device_ns, found = self.plan.every_ns, dict[int, list[int]]()
        for i, tag in enumerate(self.intake.tags):
            found.setdefault(tag.every_ns or device_ns, []).append(i)
        if len(found) == 1:
            return [_Group(next(iter(found)) / NS_PER_S, self._phase, self._points)]
        return [
            _Group(every_ns / NS_PER_S, (self._phase + n * GOLDEN) % 1, [self._points[i] for i in those], tuple(those))
            for n, (every_ns, those) in enumerate(found.items())
        ]

    async def _prepare(self, connection: Connection, session: Reads[Any, Any], group: _Group) -> Reader:
        prepare = partial(session.prepare, self.plan.config, group.points)
        while True:
            try:
                return await self.turns.ask(connection, group, prepare, plan=True)
            except Rejected as error:
                self._failed(group, error)
                await asyncio.sleep(self._backoff.next())

    def _failed(self, group: _Group, error: Rejected) -> None:
        """A read came to nothing: the device is silent, or it refused what this group asked for."""
        if group.indices is None or isinstance(error, Silent):
            self.intake.trouble(str(error))
        else:
            self.intake.quiet(group.indices, str(error))

    async def _poll(self, connection: Connection, session: Reads[Any, Any], group: _Group) -> None:
        """Reads at base + n * every, however long a read takes; what would come too late is left out and counted.

        A poll that is late by less than half a period is made at once; the schedule stays as it is.
        """
        read = await self._prepare(connection, session, group)
        loop, stats = asyncio.get_running_loop(), self.stats
        every_s, indices = group.every_s, group.indices
        base_s = group.phase * every_s
        slot = (loop.time() - base_s) // every_s
        if self.well and self._polled.get(indices) == slot:
            slot += 1  # the link was lost over another device: this one's schedule goes on
        while True:
            due_s = base_s + slot * every_s
            if due_s > loop.time():
                due = loop.create_future()
                loop.call_at(due_s, _wake, due)
                await due
            begun_s = loop.time()
            if self.writer is None or self.writer.alive(begun_s):
                stats.polls += 1
                try:
                    lost = await self._once(connection, group, read)
                except Rejected as error:
                    stats.failed += 1
                    self._failed(group, error)
                except LinkDown:
                    stats.failed += 1
                    raise
                else:
                    if lost:
                        stats.failed += 1
                        self._silent(lost)
                    else:
                        self._polled[indices] = slot
                        self._poll_s = max(loop.time() - begun_s, 0.9 * self._poll_s)
            self._heard_s = now_s = loop.time()
            slot += 1
            late = (now_s - base_s) / every_s - slot
            if late >= 0.5:
                missed = int(late + 0.5)
                stats.late += missed
                slot += missed

    async def _once(self, connection: Connection, group: _Group, read: Reader) -> list[Silent]:
        """One poll: each request has a turn, a deadline and a time of its own.

        A lost request costs its own points as long as others are answered. Returns those of a silent device.
        """
        lost: list[Silent] = []  # and not yet told, because nothing has been answered
        answered = repeated = False
        time, requests = asyncio.get_running_loop().time, iter(read())
        request = next(requests, None)
        while request is not None:
            try:
                column = await self.turns.one(connection, group, request, again=bool(lost) or repeated)
            except Silent as error:
                lost.append(error)
                following = None if error.points is None else next(requests, None)
                if answered:
                    if error.points is None:
                        return lost
                    self._not_answered(group, lost)
                elif following is None and not repeated and len(lost) == 1 and self.turns.forgives():
                    lost.clear()  # there is no other request that could tell whether the device is there
                    repeated, following = True, request
                elif following is None or len(lost) >= self.turns.most_lost:
                    return lost
                request = following
                continue
            self._heard_s = now_s = time()
            answered, read_ns = True, self._clock.now_ns()
            if column.answered_s:
                read_ns -= round((now_s - column.answered_s) * NS_PER_S)
            if group.indices is not None:
                column.points = group.tags(column.points)
            self.intake.take(column, read_ns)
            if not self._answered:
                self._proved(connection)
            if lost:
                self._not_answered(group, lost)
            request = next(requests, None)
        return lost

    def _not_answered(self, group: _Group, lost: list[Silent]) -> None:
        """Requests of a poll were lost, others were answered: that costs their own points."""
        for error in lost:
            indices = group.tags(error.points)
            self.intake.quiet(indices if indices is not None else tuple(range(len(self._points))), str(error))
        lost.clear()

    def _silent(self, lost: Sequence[Silent]) -> None:
        self.turns.silent(len(lost))
        self.intake.trouble(str(lost[0]))

    # --- watching -------------------------------------------------------------------------------------

    async def _watch(self, connection: Connection, session: Watches[Any, Any]) -> None:
        """Takes what is pushed as soon as it has been pushed, but not on the driver's own stack."""
        self._pushed.clear()
        self._watching = True
        self.intake.waiting()
        while not connection.reason:
            self._again = False
            subscribed = connection.spawn(self, object(), self._subscribe(connection, session))
            while not self._again:
                await self._news.wait()
                self._news.clear()
                while self._pushed:
                    self.intake.take(*self._pushed.popleft())
                    if not self._answered:
                        self._proved(connection)
            await ended({subscribed}, _UNSUBSCRIBE_S)

    async def _subscribe(self, connection: Connection, session: Watches[Any, Any]) -> None:
        push = partial(self._push, connection)
        while True:
            try:
                await connection.listen(session.watch(self.plan.config, self._points, push))
                reason = "the driver stopped watching"
            except Rejected as error:
                reason = str(error)
            self.intake.trouble(reason)
            self._answered = False
            await asyncio.sleep(self._backoff.next())

    def _push(self, connection: Connection, column: Column) -> None:
        if connection.reason:
            return  # of a session that was given up
        self.stats.pushes += 1
        if len(self._pushed) >= _WAITING_PUSHES:
            self._pushed.popleft()
            self.stats.dropped += 1
            self.intake.gap = True
        self._heard_s = now_s = asyncio.get_running_loop().time()
        self._pushed.append((column, self._clock.now_ns(), now_s))
        self._news.set()


def _wake(due: asyncio.Future[None]) -> None:
    if not due.done():
        due.set_result(None)
