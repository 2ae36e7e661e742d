"""Outputs on their way to the devices: written at once when they change, refreshed for watchdogs, and read back."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import orjson
import structlog

from edgeflow.clock import Clock
from edgeflow.devices.connection import Connection
from edgeflow.devices.plan import DevicePlan, Element, OutputBinding, TagPlan
from edgeflow.devices.scale import raw_of, value_of
from edgeflow.devices.turns import Turns
from edgeflow.driver import Reader, Reads, Writes, poll
from edgeflow.engine.requests import OPERATORS
from edgeflow.errors import Rejected
from edgeflow.model import Scalar
from edgeflow.outputs.arbitration import OFF, Decision
from edgeflow.units import NS_PER_S

log = structlog.get_logger(__name__)


Shown = Literal["unknown", "ok", "failed"]
ALIVE_S = 5.0
"""Without a sign of life from the engine for so long nothing is written, so that a device's watchdog fires."""

_HALF_PERIOD_NS = {"flash": NS_PER_S // 2, "flash_fast": NS_PER_S // 4}  # 1 Hz and 2 Hz
UNSURE = "it was sent but not acknowledged, so nobody knows whether the device took it; reading the tag tells"
"""What is known of a write without an answer."""
LOOK_AGAIN_S = 0.25  # a PLC takes over what was written only with its next scan
VERIFY_S = 2.0
"""How long a device may take until it shows what it has acknowledged, where its `verify` does not say."""
_RETRY_S = 1.0
_UNSENT: Any = object()


@dataclass(slots=True)
class OutputStats:
    """What happened at the outputs of one device since the start."""

    writes: int = 0
    values: int = 0
    rejected: int = 0
    mismatched: int = 0


@dataclass(frozen=True, slots=True)
class OutputStatus:
    """An output as the pages show it: what it shall show, who wants that, and whether it does.

    `settled`: `shown` speaks of these very levels, not of what was decided before.
    """

    name: str
    levels: Mapping[str, Scalar]
    winners: Mapping[str, str]
    shown: Shown
    reason: str
    settled: bool


class ElementState:
    """One element: what it shall show, what was written last, and what is known of it."""

    __slots__ = (
        "asked", "back", "check_s", "differs_s", "half_ns", "level", "name", "plan", "raws",
        "reason", "refresh_s", "retry_s", "sent", "sent_s", "settled", "shown", "table", "writer",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        element: Element,
        plan: TagPlan,
        back: TagPlan | None,
        refresh_s: float | None,
        writer: OutputWriter,
    ) -> None:
        self.name, self.plan, self.back, self.refresh_s, self.writer = name, plan, back, refresh_s, writer
        self.table = element.levels and {level: raw_of(plan, value) for level, value in element.levels.items()}
        self.level: Scalar = None
        self.raws: tuple[Scalar, ...] = ()  # nothing to write; one value; or the two that flashing toggles
        self.half_ns = 0
        self.shown: Shown = "unknown"
        self.reason = ""
        self.settled = True
        self.asked = False  # what is wanted now was sent, and no answer has come yet
        self.forget("not yet connected")

    def forget(self, reason: str) -> None:
        """The session is lost, or new: it must be written again."""
        self.sent: Any = _UNSENT
        self.sent_s = self.retry_s = 0.0
        self.check_s: float | None = None
        self.differs_s: float | None = None  # since when the device holds something else
        self.shown, self.reason = "unknown", UNSURE if self.asked else reason

    def want(self, level: Scalar, *, frozen: bool = False) -> None:
        """Takes over a level. `frozen`: nobody will be there to toggle, so flashing becomes steady on."""
        self.level, self.half_ns, self.raws = level, 0, ()
        self.retry_s, self.differs_s = 0.0, None
        self.settled = level is None
        self.asked = False
        try:
            self.raws = self._raws(level, frozen)
        except (Rejected, ArithmeticError, ValueError) as error:  # also numbers that no device can hold
            self.fail(str(error))

    def _raws(self, level: Scalar, frozen: bool) -> tuple[Scalar, ...]:
        if level is None:
            return ()
        table = self.table
        if table is None:
            return (raw_of(self.plan, level),)
        if level == "flash_fast" and level not in table and "flash" in table:
            level = "flash"
        if isinstance(level, str) and level in table:  # what no flow checks may not even be hashable
            return (table[level],)
        if not isinstance(level, str) or level not in _HALF_PERIOD_NS:
            raise Rejected(f"{level!r:.40} is not a level; off, on, flash and flash_fast are")
        if frozen:
            return (table["on"],)
        self.half_ns = _HALF_PERIOD_NS[level]
        return table["on"], table["off"]

    def raw(self, now_ns: int) -> Scalar:
        """What it has to be now. The phase of flashing is UTC's, so that all lamps of a hall flash together."""
        raws = self.raws
        return raws[now_ns // self.half_ns % 2] if self.half_ns else raws[0]

    def written(self, raw: Scalar, now_s: float) -> None:
        self.sent, self.sent_s, self.asked = raw, now_s, False
        if self.back is None:
            self.succeed()
        else:
            self.check_s = now_s

    def succeed(self) -> None:
        if self.shown == "failed":
            log.info("output back", output=self.name)
        self.shown, self.reason, self.check_s, self.differs_s, self.settled = "ok", "", None, None, True

    def fail(self, reason: str, retry_s: float = 0.0) -> None:
        if self.shown != "failed":
            log.warning("output failed", output=self.name, reason=reason)
        self.shown, self.reason, self.check_s, self.differs_s, self.settled = "failed", reason, None, None, True
        self.sent, self.retry_s, self.asked = _UNSENT, retry_s, False


class OutputWriter:
    """Writes the elements on one device, all that is due in one request; writes go before reads."""

    def __init__(self, plan: DevicePlan, clock: Clock, turns: Turns, wrote: Callable[[], None]) -> None:
        self.plan, self.stats = plan, OutputStats()
        self._turns = turns
        self.elements: list[ElementState] = []
        self.leaving = False
        self.connected = False
        self.settled = asyncio.Event()
        self._clock, self._wrote = clock, wrote
        self._news = asyncio.Event()
        self._beat_s: float | None = None

    def wake(self) -> None:
        """Something has changed: looks at once what there is to write."""
        self.settled.clear()
        self._news.set()

    def beat(self) -> None:
        """A sign of life of the engine."""
        now_s = asyncio.get_running_loop().time()
        if not self.alive(now_s):
            self._news.set()
        self._beat_s = now_s

    def alive(self, now_s: float) -> bool:
        """Whether the engine has given a sign of life lately; without one nothing is written."""
        return self._beat_s is not None and now_s - self._beat_s < ALIVE_S

    def lost(self, reason: str) -> None:
        self.connected = False
        self.settled.set()
        for element in self.elements:
            element.forget(reason)

    async def serve(self, connection: Connection) -> None:
        """Writes everything anew, then what changes, until the session is lost."""
        for element in self.elements:
            element.forget("not yet written" if element.raws else "")
        self.connected = True
        loop, read = asyncio.get_running_loop(), None
        while True:
            self._news.clear()
            now_s = loop.time()
            if self._due(now_s):
                await self._write(connection)
                continue
            self.settled.set()
            checks = [e for e in self.elements if e.check_s is not None and e.check_s <= now_s]
            if checks and not isinstance(connection.session, Reads):
                for element in checks:
                    element.succeed()
            elif checks:
                read = read or await self._prepare(connection, connection.session)
                await self._check(connection, read, checks)
            else:
                await self._sleep(loop, now_s)

    def _due(self, now_s: float) -> list[tuple[ElementState, Scalar]]:
        if not (self.leaving or self.alive(now_s)):
            return []
        now_ns, due = self._clock.now_ns(), []
        for element in self.elements:
            if not element.raws or now_s < element.retry_s:
                continue
            raw = element.raw(now_ns)
            refresh_s = None if self.leaving else element.refresh_s
            if raw != element.sent or (refresh_s is not None and now_s - element.sent_s >= refresh_s):
                due.append((element, raw))
        return due

    async def _write(self, connection: Connection) -> None:
        due = await self._send(connection, self._due)
        if due is None:  # refused as a whole: each alone tells which one it is
            for element in self.elements:
                await self._send(connection, partial(self._only, element))

    def _only(self, element: ElementState, now_s: float) -> list[tuple[ElementState, Scalar]]:
        return [(each, raw) for each, raw in self._due(now_s) if each is element]

    async def _send(
        self, connection: Connection, choose: Callable[[float], list[tuple[ElementState, Scalar]]]
    ) -> list[tuple[ElementState, Scalar]] | None:
        """Writes what is due when it is our turn; None where the device refused several together."""
        due: list[tuple[ElementState, Scalar]] = []
        time, session = asyncio.get_running_loop().time, connection.session

        async def write(deadline: float) -> None:
            due[:] = choose(time())
            if due:
                points, raws = [e.plan.point for e, _ in due], [raw for _, raw in due]
                for element, _ in due:
                    element.asked = not element.settled
                await session.write(self.plan.config, points, raws, deadline)

        try:
            if not isinstance(session, Writes):
                due = choose(time())
                raise Rejected(f"the driver {self.plan.driver.name} cannot write")  # noqa: TRY301 - told below
            await self._turns.ask(connection, self, write, write=True)
        except Rejected as error:
            self.stats.rejected += 1
            if len(due) > 1 and isinstance(session, Writes):
                return None
            for element, _ in due:
                element.fail(str(error), time() + _RETRY_S)
            return due
        self.stats.writes += 1
        self.stats.values += len(due)
        for element, raw in due:
            element.written(raw, time())
        if due:
            self._wrote()
            connection.prove()
        return due

    async def _prepare(self, connection: Connection, session: Reads[Any, Any]) -> Reader:
        points = [element.back.point for element in self.elements if element.back]
        return await self._turns.ask(connection, self, partial(session.prepare, self.plan.config, points), plan=True)

    async def _check(self, connection: Connection, read: Reader, checks: Iterable[ElementState]) -> None:
        """Reads back and compares; what differs is looked at again before it counts as failed."""
        column = await poll(read, partial(self._turns.ask, connection, self))
        now_s = asyncio.get_running_loop().time()
        faults, backs = column.faults or {}, [element for element in self.elements if element.back]
        for element in checks:
            assert element.back
            at = backs.index(element)
            value, reason = value_of(element.back, column.values[at])
            if at in faults:
                value, reason = None, faults[at][1]
            wanted, _ = value_of(element.plan, element.sent)
            if not reason and same(value, wanted):
                element.succeed()
                continue
            element.check_s = now_s + LOOK_AGAIN_S
            element.differs_s = element.differs_s or now_s
            if element.check_s > element.differs_s + verify_s(self.plan, element.plan):
                self.stats.mismatched += 1
                told = reason or f"sent {wanted!r}, but {element.back.tag.name} holds {value!r}"
                element.fail(told, now_s + _RETRY_S)

    async def _sleep(self, loop: asyncio.AbstractEventLoop, now_s: float) -> None:
        """Until something changes, or the next thing to do by the clock."""
        times = [t for element in self.elements for t in self._times(element, now_s)]
        # A millisecond late rather than early: timers may be that coarse, and early would be for nothing.
        timer = loop.call_at(min(times) + 0.001, self._news.set) if times else None
        await self._news.wait()
        if timer is not None:
            timer.cancel()

    def _times(self, element: ElementState, now_s: float) -> Iterable[float]:
        if element.check_s is not None:
            yield element.check_s
        if not element.raws or not (self.leaving or self.alive(now_s)):
            return
        if element.retry_s > now_s:
            yield element.retry_s
            return
        if element.refresh_s is not None and not self.leaving:
            yield element.sent_s + element.refresh_s
        if element.half_ns:
            yield now_s + (element.half_ns - self._clock.now_ns() % element.half_ns) / NS_PER_S


class Output:
    """One output with its elements, which may be on several devices."""

    def __init__(self, binding: OutputBinding, elements: Mapping[str, ElementState]) -> None:
        self.binding, self.elements = binding, elements
        self._decision = Decision(binding.plan.name, {}, {})

    def show(self, decision: Decision) -> None:
        """Takes over a decision of the arbitration; only what differs is written."""
        before, self._decision = self._decision, decision
        for name, element in self.elements.items():
            level = decision.levels.get(name, OFF)
            if element.table is None and level == OFF and decision.winners.get(name, "nobody") == "nobody":
                level = None  # a number that nobody wants stays as it is
            elif self._by_hand(decision, name):
                level = None  # `Devices.write` carries it out, once; here it only keeps the flows away
            elif self._by_hand(before, name):
                element.sent = _UNSENT  # somebody else has written since
            if level != element.level or type(level) is not type(element.level):
                element.want(level)
                element.writer.wake()

    def _by_hand(self, decision: Decision, element: str) -> bool:
        """Whether a person has written an ordinary tag."""
        return self.binding.implicit and decision.winners.get(element, "").startswith(OPERATORS)

    def taken(self) -> None:
        """What was written past the arbitration was acknowledged."""
        for element in self.elements.values():
            element.succeed()

    def leave(self) -> None:
        """Shows what shall stay when the agent has ended."""
        for name, element in self.elements.items():
            element.want(self.binding.plan.on_exit.get(name, None if element.table is None else OFF), frozen=True)
            element.writer.wake()

    @property
    def held(self) -> bool:
        """Whether it is driven now, so that nobody else may write its tags."""
        return any(element.table is not None or element.level is not None for element in self.elements.values())

    def status(self) -> OutputStatus:
        states = list(self.elements.values())
        worst: Shown = "ok"
        for shown in ("unknown", "failed"):
            if any(element.shown == shown for element in states):
                worst = "unknown" if shown == "unknown" else "failed"
        reason = next((element.reason for element in states if element.shown == worst), "")
        decision = self._decision
        settled = all(element.settled for element in states)
        return OutputStatus(self.binding.plan.name, decision.levels, decision.winners, worst, reason, settled)


def verify_s(device: DevicePlan, tag: TagPlan) -> float:
    """How long a written value is waited for: as `verify` of the tag or its device says, where that is a time."""
    for model in (tag.point, device.config):
        given = getattr(model, "verify", None)
        if isinstance(given, int) and not isinstance(given, bool):
            return given / NS_PER_S
    return VERIFY_S


def same(a: Scalar, b: Scalar) -> bool:
    """Whether a value read back is what was written, as exactly as a 32-bit float, and as freely as JSON."""
    if isinstance(a, int | float) and isinstance(b, int | float) and isinstance(a, bool) == isinstance(b, bool):
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)
    if a != b and isinstance(a, str) and isinstance(b, str) and a[:1] == b[:1] and a[:1] in ("[", "{"):
        with suppress(ValueError):
            return bool(orjson.loads(a) == orjson.loads(b))
    return a == b
