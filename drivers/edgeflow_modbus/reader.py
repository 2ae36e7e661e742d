"""Reads points in the least time: what is planned in the quick way, what is still to be found out with care."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from time import perf_counter
from typing import Any

from edgeflow.driver import Column
from edgeflow.errors import LinkDown, Rejected, Silent
from edgeflow.model import BAD, Quality
from edgeflow_modbus import pdu
from edgeflow_modbus.codec import (
    Compose,
    Decode,
    NoValue,
    bits_decoder,
    compose,
    finite,
    hint,
    parts,
    picker,
    registers_decoder,
    strange,
)
from edgeflow_modbus.config import Device, Point
from edgeflow_modbus.learned import Learned
from edgeflow_modbus.pdu import (
    GATEWAY_NO_ANSWER,
    GATEWAY_NO_PATH,
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    Refused,
    place,
)
from edgeflow_modbus.scout import Scout
from edgeflow_modbus.space import Layout, Part, Read
from edgeflow_modbus.wire import Ask, Wire

Faults = dict[int, tuple[Quality, str]]
Found = dict[int, Any]
"""The raw values that one poll brought, by part."""

_RETRY_S, _RETRY_LONGEST_S = 60.0, 3600.0
_MEASURE_S = 30.0
_MEASURED_FIRST = 8
_TRIES = 8
_LONG = 3.0
_MUTE = (BAD, "the device falls silent when it is asked for this, so it is asked only now and then; is it in its list?")
_NO_TIME = (BAD, "no time was left for it in this poll; where that lasts, give the device a longer `timeout`")


@dataclass(frozen=True, slots=True)
class _Piece:
    """A read ready to be asked for."""

    read: Read
    ask: Ask
    decode: Decode
    spare: bool


@dataclass(frozen=True, slots=True)
class _Maker:
    """How a point's value is made of several parts, or of one that needs more than unpacking.

    `optional`: the part that a device need not have; -1 where there is none.
    """

    point: int
    parts: tuple[int, ...]
    make: Compose
    optional: int = -1


class PointsReader:
    """The points of one device, planned once.

    Most polls ask for the planned reads and unpack them, nothing else. Now and then, and whenever the
    device refuses something, one is made with care: it measures, takes apart what is refused, and tries
    what might be better. What a refusal leaves no time for is BAD in that poll, and comes first in the next.
    Refused points are asked for again after a minute, later every hour; where all are refused, at every poll.
    """

    def __init__(
        self,
        wire: Wire,
        device: Device,
        points: Sequence[Point],
        learned: Learned,
        stopwatch: Callable[[], float] = perf_counter,  # finer than the time of some loops
    ) -> None:
        self._wire, self._device, self._learned, self._stopwatch = wire, device, learned, stopwatch
        self._points = len(points)
        self._layouts: list[Layout | None] = []  # by part; None for bits, and for what cannot be read
        self._faults: Faults = {}  # by part, as `Found`; the first parts are the points' own
        self._makers: list[_Maker] = []
        self._tableless: set[int] = set()  # parts in a table of which the device says that it has none
        self._plain_floats: list[int] = []
        self._scout = Scout(self._resolve(points), device, learned, spares=not wire.tells_apart)
        for part in self._scout.refused:
            self._faults[part.index] = (BAD, "the device refused it before; it is asked again")
        for read in self._scout.mute:
            self._faults |= {part.index: _MUTE for part in read.parts}
        self._time = asyncio.get_running_loop().time
        self._pieces: tuple[_Piece, ...] = ()
        self._known: dict[Read, _Piece] = {}
        self._arrange()
        self._due = 0.0
        self._measured = 0
        self._begun = self._time()
        self._retry_s, self._retry_at = _RETRY_S, self._begun + _RETRY_S
        self._pace, self._each_s = 0.0, inf

    @property
    def requests(self) -> int:
        """How many a poll takes."""
        return len(self._pieces)

    def _resolve(self, points: Sequence[Point]) -> list[Part]:
        """What the points need: first one part for each, then what some of them need besides, each once."""
        needs: list[Part | None] = []
        besides: dict[Part, int] = {}
        wanted = []
        for i, point in enumerate(points):
            try:
                own, *others = parts(point, self._device)
            except Rejected as reason:
                needs.append(None)
                self._faults[i] = (BAD, str(reason))
                continue
            needs.append(own)
            make = compose(point, self._device)
            if make is not None:
                wanted.append((i, others, make))
            elif point.kind.startswith("float"):
                self._plain_floats.append(i)
        for i, others, make in wanted:
            at = [besides.setdefault(part, len(points) + len(besides)) for part in others]
            by = points[i].scale_by
            self._makers.append(_Maker(i, (i, *at), make, at[-1] if by and by.absent is not None else -1))
        needs += besides
        self._layouts = [need.layout if need else None for need in needs]
        return [replace(need, index=i) for i, need in enumerate(needs) if need]

    async def __call__(self, deadline: float, each_s: float = inf) -> Column:
        """One poll, in the order of the points; `each_s`: how long one request may take. Raises LinkDown and Silent."""
        begun = self._time()
        self._each_s = each_s
        if begun >= self._due:
            return await self._carefully(begun, deadline)
        values: list[Any] = []
        by = min(deadline, begun + each_s)
        for at, piece in enumerate(self._pieces):
            if at:
                by = min(deadline, self._time() + each_s)
            try:
                values += piece.decode(await piece.ask(by))
            except Refused as refusal:
                return await self._read_on(at, values, refusal, deadline)
        if self._pick is not None:
            values.append(None)
            values = list(self._pick(values))
        faults = dict(self._faults) if self._faults else None
        if self._makers:
            faults = self._make(values, faults or {})
        column = Column(values, 0, faults)
        if self._floats is not None and not finite(self._floats(values)):
            _mark_strange(column)
        return column

    def _make(self, raws: list[Any], faults: Faults) -> Faults | None:
        """Turns the raw values of parts into the points' values, and the faults of parts into theirs."""
        for maker in self._makers:
            fault = next((faults[i] for i in maker.parts if i in faults and not self._lacks(maker, i)), None)
            if fault is None:
                try:
                    raws[maker.point] = maker.make([raws[i] for i in maker.parts])
                    continue
                except NoValue as reason:
                    fault = (BAD, str(reason))
            raws[maker.point], faults[maker.point] = None, fault
        del raws[self._points :]
        return {i: fault for i, fault in faults.items() if i < self._points} or None

    def _lacks(self, maker: _Maker, part: int) -> bool:
        """Whether the device has refused a part that it need not have."""
        if part != maker.optional:
            return False
        return part in self._tableless or any(refused.index == part for refused in self._scout.refused)

    # --- a poll with care -----------------------------------------------------------------------------

    async def _carefully(self, begun: float, deadline: float) -> Column:
        """A poll in which every answer is measured, and there is time to find something out."""
        if begun >= self._retry_at:
            self._retry_s = min(2 * self._retry_s, _RETRY_LONGEST_S) if self._scout.doubtful else _RETRY_S
            self._retry_at = begun + self._retry_s
            self._scout.retry(begun - self._begun)
        elif self._scout.hopeless:
            self._scout.knock()
        self._pace = 0.0
        self._measured += 1
        return await self._read_on(0, [], None, deadline)

    async def _read_on(self, at: int, early: list[Any], answer: Refused | None, deadline: float) -> Column:
        """Goes on with a poll from piece number `at`; `early` are the values before it, `answer` what it was answered.

        Refused reads are taken apart at once while there is time.
        """
        found: Found = dict(zip(_parts(self._pieces[:at]), early, strict=True))
        todo, faults = deque(self._pieces[at:]), Faults()
        while todo:
            if self._pace and self._time() + 2 * self._pace >= deadline:
                faults |= dict.fromkeys(_parts(todo), _NO_TIME)
                break
            piece = todo.popleft()
            outcome = answer or await self._answer(piece, deadline)
            answer = None
            if isinstance(outcome, bytes):
                self._scout.give(piece.read)
                self._take(piece, outcome, found)
            elif outcome.code in (ILLEGAL_ADDRESS, ILLEGAL_VALUE):
                smaller = self._scout.refuse(piece.read)
                if not smaller:
                    self._faults |= {
                        part.index: (BAD, f"{outcome}{hint(self._device, part.table, part.start)}")
                        for part in piece.read.parts
                    }
                todo.extendleft(reversed([self._piece(read) for read in smaller]))
            else:
                faults |= dict.fromkeys(_parts([piece]), (BAD, str(outcome)))
                if outcome.code == ILLEGAL_FUNCTION:
                    self._tableless.update(_parts([piece]))
                if outcome.code in (GATEWAY_NO_PATH, GATEWAY_NO_ANSWER):
                    faults |= dict.fromkeys(_parts(todo), (BAD, str(outcome)))
                    break
        else:
            await self._try_more(found, deadline)
        self._arrange()
        self._learned.save()
        self._due = self._next_care()
        values = [found.get(i) for i in range(len(self._layouts))]
        faults = {part: fault for part, fault in faults.items() if part not in found}  # what was given after all
        column = Column(values, 0, self._make(values, {**self._faults, **faults}))
        _mark_strange(column)
        return column

    async def _try_more(self, found: Found, deadline: float) -> None:
        """Asks once for what might be better, or given again; more often only in half of the time that is left."""
        half = (self._time() + deadline) / 2
        for n in range(_TRIES):
            read = self._scout.next()
            if read is None or self._time() + 2 * self._pace >= (half if n else deadline):
                return
            piece, hurry = self._piece(read), self._scout.busy
            answer = await self._answer(piece, deadline)
            if isinstance(answer, bytes):
                self._take(piece, answer, found)
            elif answer.code not in (ILLEGAL_ADDRESS, ILLEGAL_VALUE):
                return  # it is busy, or its gateway is: that says nothing of the addresses
            else:
                self._faults |= {s.index: (BAD, str(answer)) for s in read.parts if s.index in self._faults}
            self._scout.tried(read, isinstance(answer, bytes))
            if not hurry:
                return

    async def _answer(self, piece: _Piece, deadline: float) -> bytes | Refused:
        """The answer to one request; notes how long it took."""
        deadline = min(deadline, self._time() + self._each_s)
        begun = self._stopwatch()
        answer: bytes | Refused
        try:
            answer = await piece.ask(deadline)
            self._learned.took(len(answer), self._stopwatch() - begun)
        except Refused as refusal:
            answer = refusal
        except (LinkDown, Silent):
            if self._time() < deadline or self._stopwatch() - begun > _LONG * self._pace:  # else the poll was too long
                self._scout.silent(piece.read)
                self._learned.save()
            raise
        self._pace = max(self._pace, self._stopwatch() - begun)
        return answer

    def _take(self, piece: _Piece, answer: bytes, found: Found) -> None:
        found.update(zip(_parts([piece]), piece.decode(answer), strict=True))
        self._tableless.difference_update(_parts([piece]))
        if self._faults:
            for part in _parts([piece]):
                self._faults.pop(part, None)

    def _next_care(self) -> float:
        if self._scout.busy or self._scout.hopeless or self._measured < _MEASURED_FIRST:
            return 0.0
        return min(self._time() + _MEASURE_S, self._retry_at)

    # --- how pieces are made --------------------------------------------------------------------------

    def _arrange(self) -> None:
        """Takes over the reads to ask for, what is unproven first, and how values come into the order of the parts."""
        reads, unproven = self._scout.reads, self._scout.unproven
        if unproven:
            reads = sorted(reads, key=lambda read: read not in unproven)
        pieces = tuple(map(self._piece, reads))
        if self._known and pieces == self._pieces:
            return
        self._pieces = pieces
        self._known = {piece.read: piece for piece in pieces}
        order = list(_parts(pieces))
        if order == list(range(len(self._layouts))):
            self._pick = None
        else:
            place_of = {part: at for at, part in enumerate(order)}
            self._pick = picker([place_of.get(i, len(order)) for i in range(len(self._layouts))])
        floats = sorted(set(self._plain_floats).intersection(order))
        self._floats = picker(floats) if floats else None

    def _piece(self, read: Read) -> _Piece:
        known, spare = self._known.get(read), self._scout.has_spare(read)
        return known if known is not None and known.spare == spare else self._new_piece(read, spare)

    def _new_piece(self, read: Read, spare: bool) -> _Piece:
        about = f"read {place(read.table, read.start + self._device.first(read.table), read.count)}"
        ask = self._wire.bind(pdu.read(self._device.unit, read.table, read.start, read.count, about, spare=spare))
        if read.table.bits:
            return _Piece(read, ask, bits_decoder([part.start - read.start for part in read.parts]), spare)
        fields = []
        for part in read.parts:
            shape = self._layouts[part.index]
            assert shape is not None, "only registers come here"
            fields.append((part.start - read.start, shape))
        return _Piece(read, ask, registers_decoder(fields), spare)


def _parts(pieces: Iterable[_Piece]) -> Iterator[int]:
    """The parts in some pieces, in the order in which their values come."""
    return (part.index for piece in pieces for part in piece.read.parts)


def _mark_strange(column: Column) -> None:
    """Makes numbers that are not finite BAD."""
    values = list(column.values)
    faults = column.faults or {}
    for i, value in enumerate(values):
        if reason := strange(value):
            values[i] = None
            faults[i] = (BAD, reason)
    column.values, column.faults = values, faults or None
