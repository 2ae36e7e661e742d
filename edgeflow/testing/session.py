"""A fake at the driver-session seam: a wire whose other end does what a test says.

    wire = Wire({1: 20.5, 2: True})
    driver = wire.driver(serial=True)
    wire.hang()                 # nothing is answered any more; requests end at their deadline
    wire.drop("cable pulled")   # open sessions are lost, new ones refused
    wire.heal()
    wire.per_request = 10       # a poll takes a request for every ten points
    wire.unanswered = {2}       # a request with this address in it is lost, the others are not

Everything that reached the other end is in `wire.log`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

from pydantic import Field

from edgeflow.driver import Ask, Column, Driver, Home, Push, Reader
from edgeflow.errors import LinkDown, Rejected, Silent
from edgeflow.model import BAD, Quality, Scalar, Strict, ValueType


class FakeLink(Strict):
    """A connection to a wire."""

    host: str = Field(default="fake", description="A name without a meaning.")


class FakeDevice(Strict):
    """A unit on the wire."""

    unit: int = Field(default=1, description="The unit; `Wire.dead` and `Wire.silent` name those that never answer.")


class FakePoint(Strict):
    """An address on the wire."""

    address: int = Field(description="The key in `Wire.values`.")
    type: ValueType = Field(default="number", description="The type it yields.")
    fixed: bool = Field(default=False, description="Whether it cannot be written.")


@dataclass(frozen=True, slots=True)
class Request:
    """Something that reached the other end: when (loop time), from which unit's device, and what."""

    at_s: float
    kind: Literal["open", "close", "read", "write", "watch"]
    unit: int = 0
    points: tuple[int, ...] = ()
    values: tuple[Scalar, ...] = ()


class Wire:
    """The other end: its values by address, and its moods."""

    NORMAL: Any = object()

    def __init__(self, values: Mapping[int, Scalar] | None = None) -> None:
        self.strange: Any = self.NORMAL  # what every read gives against its contract, whatever that is
        self.values: dict[int, Scalar] = dict(values or {})
        self.faults: dict[int, tuple[Quality, str]] = {}
        self.refused: dict[int, str] = {}
        self.dead: set[int] = set()
        self.silent: set[int] = set()
        self.writes_apart = False
        self.log: list[Request] = []
        self.source_ns = 0
        self.delay_s = 0.0
        self.slow: dict[int, float] = {}
        self.per_request = 0
        self.unanswered: set[int] = set()
        self.loses: Callable[[int], bool] = lambda number: False  # by the number of a read, from 1 on
        self.takes: dict[int, float] = {}
        self.answered_ago_s = 0.0
        self.reads = 0
        self.breaks_promises = False
        self.open_hangs = False
        self.raises: Exception | None = None
        self.in_flight = self.most_in_flight = self.cancelled = 0
        self.watchers: list[tuple[Sequence[FakePoint], Push]] = []
        self._hangs = False
        self._down = ""
        self._sessions: set[_Session] = set()

    # --- what a test says ------------------------------------------------------------------------------

    def hang(self) -> None:
        """Says nothing from now on; connections stay up."""
        self._hangs = True

    def drop(self, reason: str = "the connection was reset") -> None:
        """Loses all sessions and refuses new ones."""
        self._down = reason
        for session in list(self._sessions):
            session.lose(reason)

    def heal(self) -> None:
        """All is well again; sessions that were lost stay lost."""
        self._hangs, self._down, self.raises = False, "", None

    def hold(self, *addresses: int, source_ns: int = 0) -> None:
        """The source vouches for the values of some addresses, or of all where none is named."""
        for points, push in list(self.watchers):
            some = tuple(i for i, point in enumerate(points) if point.address in addresses)
            push(Column((), source_ns, points=some if addresses else None, holds=True))

    def push(self, values: Mapping[int, Scalar] | None = None, source_ns: int = 0) -> None:
        """Pushes some addresses to all watchers; without values: the source lives."""
        self.values.update(values or {})
        if self._hangs:
            return
        for points, push in list(self.watchers):
            indices = tuple(i for i, point in enumerate(points) if point.address in (values or {}))
            if indices or not values:
                push(Column([self.values[points[i].address] for i in indices], source_ns, None, indices))

    def requests(self, kind: str, unit: int | None = None) -> list[Request]:
        """What of one kind has reached the other end so far."""
        return [r for r in self.log if r.kind == kind and unit in (None, r.unit)]

    def written(self) -> list[tuple[int, Scalar]]:
        """All (address, value) written so far, in order."""
        return [pair for r in self.requests("write") for pair in zip(r.points, r.values, strict=True)]

    def driver(self, name: str = "fake", *, serial: bool = True, pushes: bool = False) -> Driver[Any, Any, Any]:
        """A driver whose sessions lead to this wire."""
        return Driver(
            name,
            "A fake for tests.",
            FakeLink,
            FakeDevice,
            FakePoint,
            open=self._open,
            value_type=lambda point: point.type,
            serial=serial,
            pushes=pushes,
            writable=lambda point: not point.fixed,
        )

    # --- the other end ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def _open(self, _link: FakeLink, _deadline: float, _home: Home) -> AsyncIterator[_Session]:
        if self.open_hangs:
            await asyncio.Event().wait()
        self.note("open")
        if self._down:
            raise LinkDown(self._down)
        session = _Session(self)
        self._sessions.add(session)
        try:
            yield session
        finally:
            self._sessions.discard(session)
            session.lose("the session was closed")
            self.note("close")

    def note(self, kind: Any, unit: int = 0, points: Sequence[FakePoint] = (), values: Sequence[Scalar] = ()) -> None:
        at_s = asyncio.get_running_loop().time()
        self.log.append(Request(at_s, kind, unit, tuple(p.address for p in points), tuple(values)))

    @contextmanager
    def _flying(self) -> Iterator[None]:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            yield
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1

    async def answer(
        self, session: _Session, unit: int, deadline: float, *, lost: bool = False, takes_s: float = 0.0
    ) -> None:
        """Takes as long as an answer takes; raises what becomes of it. `lost`: this one request is."""
        with self._flying():
            if session.lost.done():
                raise LinkDown(session.reason)
            if self.raises is not None:
                raise self.raises
            now_s = asyncio.get_running_loop().time()
            silent = self._hangs or unit in self.dead or unit in self.silent or lost
            if silent and self.breaks_promises:
                await asyncio.Event().wait()
            delay_s = takes_s or self.slow.get(unit, self.delay_s)
            wait_s = deadline - now_s if silent else min(delay_s, deadline - now_s)
            if wait_s > 0:
                await asyncio.wait({session.lost}, timeout=wait_s)
            if session.lost.done():
                raise LinkDown(session.reason)
            if lost or unit in self.silent or ((takes_s or unit in self.slow) and delay_s > deadline - now_s):
                raise Silent(f"unit {unit} does not answer")
            if silent or delay_s > deadline - now_s:
                raise LinkDown("no answer by the deadline")


class _Session:
    """One open session: reads, watches and writes."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.writes_apart = wire.writes_apart
        self.reason = ""
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def lose(self, reason: str) -> None:
        if not self.lost.done():
            self.reason = reason
            self.lost.set_result(None)

    async def prepare(self, device: FakeDevice, points: Sequence[FakePoint], deadline: float) -> Reader:  # noqa: ARG002 - contract
        wire, everything = self._wire, tuple(range(len(points)))

        async def read(indices: tuple[int, ...], deadline: float) -> Column:
            asked = [points[i] for i in indices]
            addresses = [point.address for point in asked]
            part = None if indices == everything else indices
            wire.note("read", device.unit, asked)
            wire.reads += 1
            lost = wire.loses(wire.reads) or not wire.unanswered.isdisjoint(addresses)
            takes_s = max((wire.takes.get(address, 0.0) for address in addresses), default=0.0)
            try:
                await wire.answer(self, device.unit, deadline, lost=lost, takes_s=takes_s)
            except Silent as error:
                raise Silent(str(error), part) from None
            faults = {i: wire.faults[a] for i, a in enumerate(addresses) if a in wire.faults}
            values = [None if a in wire.faults and wire.faults[a][0] == BAD else wire.values[a] for a in addresses]
            column = Column(values, wire.source_ns, faults or None, part)
            if wire.strange is not wire.NORMAL:
                return cast("Column", wire.strange)
            if wire.answered_ago_s:
                column.answered_s = asyncio.get_running_loop().time() - wire.answered_ago_s
            return column

        def begin() -> Iterator[Ask[Column]]:
            size = wire.per_request or len(points)
            for first in range(0, len(points), size):
                yield partial(read, everything[first : first + size])

        return begin

    async def watch(self, device: FakeDevice, points: Sequence[FakePoint], push: Push) -> None:
        wire, entry = self._wire, (points, push)
        wire.note("watch", device.unit, points)
        wire.watchers.append(entry)
        try:
            await asyncio.wait({self.lost})
            raise LinkDown(self.reason)
        finally:
            wire.watchers.remove(entry)

    async def write(
        self, device: FakeDevice, points: Sequence[FakePoint], values: Sequence[Scalar], deadline: float
    ) -> None:
        wire = self._wire
        wire.note("write", device.unit, points, values)
        await wire.answer(self, device.unit, deadline)
        for point, value in zip(points, values, strict=True):
            if point.address in wire.refused:
                raise Rejected(wire.refused[point.address])
            wire.values[point.address] = value
