"""Reads points in the least time: what is planned in the quick way, what is still to be found out with care."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

from edgeflow.backoff import Backoff
from edgeflow.driver import Ask, Column
from edgeflow.errors import LinkDown, Rejected, Silent
from edgeflow.model import BAD, Scalar
from edgeflow_modbus import pdu
from edgeflow_modbus.codec import (
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
from edgeflow_modbus.pdu import Refused, place
from edgeflow_modbus.prepared import Fault, Prepared, Recipe, result
from edgeflow_modbus.scout import Scout
from edgeflow_modbus.space import Part, Read
from edgeflow_modbus.wire import Wire

Told = dict[int, tuple[Scalar, Fault | None]]

_RETRY_S, _RETRY_LONGEST_S = 60.0, 3600.0
_MEASURE_S = 30.0
_MEASURED_FIRST = 8
_TRIES = 8
_MUTE = (BAD, "the device falls silent when it is asked for this, so it is asked only now and then; is it in its list?")
_NO_TIME = (BAD, "no time was left for it in this poll; where that lasts, give the device a longer `timeout`")


class PointsReader:
    """The points of one device, planned once; calling it begins a poll and gives its requests, one after the other.

    Most polls ask for the planned reads and unpack them, nothing else. Now and then, and whenever the
    device refuses something, one is made with care: it measures, takes apart what is refused, and tries
    what might be better. What a refusal leaves no time for is BAD in that poll, and comes first in the next.
    Refused points are asked for again after a minute, later every hour; where all are refused, at every poll.
    A request that is lost while others are answered is made once more, at the end.
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
        self._time = asyncio.get_running_loop().time
        self._points = len(points)
        self._parts: list[Part | None] = []  # the first are the points' own; None for what cannot be read
        self._recipes: dict[int, Recipe] = {}  # by point
        self._plain_floats: set[int] = set()
        self._faults: dict[int, Fault] = {}  # by part, until it is given
        self._bad: dict[int, Fault] = {}  # the points that are BAD for that
        self._scout = Scout(self._resolve(points), device, learned, spares=not wire.tells_apart)
        self._users: dict[int, list[Recipe]] = {}
        for recipe in self._recipes.values():
            for i in recipe.parts:
                self._users.setdefault(i, []).append(recipe)
        for part in self._scout.refused:
            self._faults[part.index] = (BAD, "the device refused it before; it is asked again")
        self._requests: tuple[Prepared, ...] = ()
        self._known: dict[Read, Prepared] = {}
        self._arrange()
        self._due = 0.0
        self._measured = 0
        self._first: Read | None = None  # what the next poll asks for before all else
        self._begun = self._time()
        self._retry = Backoff(_RETRY_S, _RETRY_LONGEST_S, jitter=0.0)
        self._retry_at = self._begun + self._retry.next()
        self._forget()

    def _resolve(self, points: Sequence[Point]) -> list[Part]:
        """What the points need: first one part for each, then what some of them need besides, each once."""
        besides: dict[Part, int] = {}
        for i, point in enumerate(points):
            try:
                own, *others = parts(point, self._device)
            except Rejected as reason:
                self._parts.append(None)
                self._faults[i] = (BAD, str(reason))
                continue
            self._parts.append(replace(own, index=i))
            make = compose(point, self._device)
            if make is not None:
                at = [besides.setdefault(part, len(points) + len(besides)) for part in others]
                by = point.scale_by
                self._recipes[i] = Recipe(i, (i, *at), make, at[-1] if by and by.absent is not None else -1)
            elif point.kind.startswith("float"):
                self._plain_floats.add(i)
        self._parts += [replace(part, index=i) for part, i in besides.items()]
        return [part for part in self._parts if part]

    def _forget(self) -> None:
        """Begins a poll."""
        self._held: dict[int, tuple[Any, float]] = {}  # parts of values that are made of several answers, and when
        self._refusal: Refused | None = None
        self._lost: list[Prepared] = []
        self._given: set[int] = set()  # the points that a poll with care has told
        self._answered = False

    def __call__(self) -> Iterator[Ask[Column]]:
        """One poll: its requests, each for some of the points. They raise LinkDown and Silent."""
        self._forget()
        return self._carefully(0) if self._time() >= self._due else self._quickly()

    # --- the quick way --------------------------------------------------------------------------------

    def _quickly(self) -> Iterator[Ask[Column]]:
        for at, request in enumerate(self._requests):
            yield partial(self._ask, request)
            if self._refusal is not None:
                yield from self._carefully(at)
                return
            if self._lost and not self._answered and not self._wire.tells_apart:
                return  # a silent unit costs the others on its line one time-out, not two
        if self._lost and self._answered:
            yield from self._once_more()
        if self._held:
            yield from self._composed()
        if self._bad:
            yield self._tell({i: (None, fault) for i, fault in self._bad.items()})

    async def _ask(self, request: Prepared, deadline: float) -> Column:
        try:
            answer = await request.send(deadline)
        except Refused as refusal:
            self._refusal = refusal
            return Column((), points=())
        except Silent as error:
            self._lost.append(request)
            raise Silent(str(error), request.lacking) from None
        self._answered = True
        return self._column(request, request.decode(answer))

    def _column(self, request: Prepared, values: Sequence[Any]) -> Column:
        """What an answer tells."""
        column = Column(values, 0, None, request.points) if request.pick is None else self._made(request, values)
        if request.floats is not None and not finite(request.floats(column.values)):
            _mark_strange(column)
        return column

    def _made(self, request: Prepared, raws: Sequence[Any]) -> Column:
        assert request.pick is not None
        faults: dict[int, Fault] = {}
        values: list[Any] = list(request.pick(raws))
        for recipe, pick, at in request.recipes:
            value, fault = result(recipe, pick(raws))
            if fault is not None:
                faults[at] = fault
            values.insert(at, value)
        if request.kept:
            now_s = self._time()
            for at, i in request.kept:
                self._held[i] = raws[at], now_s
        return Column(values, 0, faults or None, request.points)

    def _once_more(self) -> Iterator[Ask[Column]]:
        """What was lost while others were answered."""
        lost, self._lost = self._lost, []
        for request in lost:
            yield partial(self._ask, request)
            if self._refusal is not None:
                self._refusal, self._due = None, 0.0  # the next poll looks why

    def _composed(self) -> Iterator[Ask[Column]]:
        """Values made of the answers to several requests, with the time of the oldest."""
        made: dict[float, dict[int, tuple[Scalar, Fault | None]]] = {}
        for recipe in self._recipes.values():
            held = [self._held.get(i) for i in recipe.parts]
            if recipe.optional in self._faults:
                held[-1] = held[0] and (None, held[0][1])
            got = [each for each in held if each]
            if got and len(got) == len(held) and recipe.point not in self._bad:
                made.setdefault(min(at for _, at in got), {})[recipe.point] = result(recipe, [raw for raw, _ in got])
        for answered_s, told in made.items():
            self._given.update(told)
            yield self._tell(told, answered_s)

    def _tell(self, told: Told, answered_s: float = 0.0) -> Ask[Column]:
        """What is known without another request, by point."""

        async def tell(deadline: float) -> Column:  # noqa: ARG001 - contract; it takes no time
            faults = {at: fault for at, (_, fault) in enumerate(told.values()) if fault is not None}
            return Column([value for value, _ in told.values()], 0, faults or None, tuple(told), answered_s=answered_s)

        return tell

    # --- a poll with care -----------------------------------------------------------------------------

    def _carefully(self, at: int) -> Iterator[Ask[Column]]:
        """A poll in which every answer is measured, and there is time to find something out; from request `at` on."""
        refusal, self._refusal = self._refusal, None
        self._pace = self._until = 0.0
        self._next: deque[Read] = deque()
        self._troubles: dict[int, Fault] = {}  # by part, in this poll
        self._open: dict[int, Fault] = {}  # what was refused, where it is not found out why
        self._unreachable: Fault | None = None
        self._in_vain = False
        self._measured += 1
        if refusal is None:
            self._look_again()
        try:
            if (first := self._first) is not None:
                self._first = None
                yield partial(self._measure, self._request(first))
                if self._lost:
                    return
                self._next.clear()
                self._arrange()
            for n, request in enumerate(self._requests[at:]):
                if refusal is not None and not n:
                    self._refused(request.read, refusal)
                else:
                    yield from self._find_out(request)
                if self._lost and not (self._answered or self._wire.tells_apart) and self._scout.is_given(request.read):
                    return
                if self._unreachable:
                    self._troubles |= dict.fromkeys(_indices(self._requests[at + n :]), self._unreachable)
                    break
            yield from self._take_apart()
            yield from self._ask_lost()
            if not self._troubles and not self._lost:
                yield from self._try_more()
            self._arrange()
            yield from self._composed()
            bad = self._points_with(self._open) | self._bad | self._points_with(self._troubles)
            if bad := {i: fault for i, fault in bad.items() if i not in self._given}:
                yield self._tell({i: (None, fault) for i, fault in bad.items()})
        finally:
            self._arrange()
            self._learned.save()
            self._due = self._next_care()

    def _look_again(self) -> None:
        """What was refused may be given by now."""
        now_s = self._time()
        if now_s >= self._retry_at:
            if not self._scout.may_change:
                self._retry.reset()
            self._retry_at = now_s + self._retry.next()
            self._scout.retry(now_s - self._begun)
        elif self._scout.all_refused:
            self._scout.ask_refused_again()

    def _take_apart(self) -> Iterator[Ask[Column]]:
        """What was refused, in parts, while there is time: as much as the planned requests may take."""
        while self._next:
            if self._until and self._late(self._until):
                self._troubles |= dict.fromkeys((part.index for read in self._next for part in read.parts), _NO_TIME)
                return
            yield from self._find_out(self._request(self._next.popleft()))

    def _ask_lost(self) -> Iterator[Ask[Column]]:
        """What was lost while others were answered, once more, or some of it: was it chance?"""
        lost, self._lost = self._lost, []
        if lost and not self._answered:
            if len(self._requests) == 1:  # the device may be off, or not answer so much: the next poll asks for less
                sample = self._scout.lost(lost[0].read)
                self._first = sample if sample != lost[0].read else None
            self._lost = lost
            return
        for request in lost:
            sample = self._scout.lost(request.read) or request.read
            yield from self._find_out(self._request(sample))
            if self._lost:
                self._lost.clear()
                self._next.extendleft(reversed(self._scout.lost_again(sample) if self._answered else []))
            yield from self._take_apart()
            self._lost.clear()

    def _try_more(self) -> Iterator[Ask[Column]]:
        """Asks once for what might be better, or given again; more often only in half of the time that is left."""
        by_s = self._until
        for n in range(_TRIES):
            read = self._scout.next_try()
            if read is None or (self._until and self._late(by_s)):
                return
            hurry = self._scout.busy
            yield partial(self._try, self._request(read))
            if self._refusal is not None or self._lost or not hurry:
                return
            by_s = by_s if n else (self._time() + self._until) / 2

    def _find_out(self, request: Prepared) -> Iterator[Ask[Column]]:
        """A request of which it is open what becomes of it; after one that was lost, first one that was given before.

        So it is seen whether the device lives, and some silences in a row are not taken for a lost link.
        """
        if self._in_vain and not self._scout.is_given(request.read):
            proof = next((each for each in self._requests if self._scout.is_given(each.read)), None)
            if proof is not None:
                yield partial(self._measure, proof)
        yield partial(self._measure, request)

    async def _measure(self, request: Prepared, deadline: float) -> Column:
        """A planned request, or a part of one."""
        try:
            answer = await self._timed(request, deadline)
        except Refused as refusal:
            self._refused(request.read, refusal)
            return Column((), points=())
        except Silent as error:
            self._lost.append(request)
            raise Silent(str(error), request.lacking) from None
        self._next.extendleft(reversed(self._scout.answered(request.read)))
        return self._take(request, answer)

    async def _try(self, request: Prepared, deadline: float) -> Column:
        """A request that might be better, or given again."""
        try:
            answer = await self._timed(request, deadline)
        except Refused as refusal:
            if refusal.from_gateway:
                self._refusal = refusal  # that says nothing of the addresses
            else:
                self._scout.tried(request.read, given=False)
                self._say_refused(request.read, refusal, again=True)
            return Column((), points=())
        except Silent:
            self._scout.try_lost(request.read)
            self._lost.append(request)
            return Column((), points=())  # what is read besides has its answer
        self._scout.tried(request.read, given=True)
        return self._take(request, answer)

    async def _timed(self, request: Prepared, deadline: float) -> bytes:
        """The answer to one request; notes how long it took."""
        if not self._until:
            now_s = self._time()
            self._until = now_s + (deadline - now_s) * max(1, len(self._requests))
        begun = self._stopwatch()
        try:
            answer = await request.send(deadline)
        except LinkDown:
            self._scout.cut(request.read)
            raise
        except Silent:
            self._in_vain = True
            raise
        finally:
            self._pace = max(self._pace, self._stopwatch() - begun)
        self._learned.took(len(answer), self._stopwatch() - begun)
        self._answered, self._in_vain = True, False
        return answer

    def _late(self, by_s: float) -> bool:
        """Whether another request may take longer than until then."""
        return self._time() + 2 * self._pace >= by_s

    def _take(self, request: Prepared, answer: bytes) -> Column:
        if self._faults:
            for part in request.read.parts:
                self._faults.pop(part.index, None)
        column = self._column(request, request.decode(answer))
        self._given.update(range(self._points) if column.points is None else column.points)
        return column

    def _refused(self, read: Read, refusal: Refused) -> None:
        """Nothing is told before all is known; then its points are BAD where no part of it gave them."""
        if refusal.from_gateway:
            self._unreachable = (BAD, str(refusal))
            self._troubles |= dict.fromkeys(_indices([read]), self._unreachable)
            return
        self._open |= dict.fromkeys(_indices([read]), (BAD, str(refusal)))
        verdict = self._scout.refuse(read, refusal.code)
        self._next.extendleft(reversed(verdict.ask))
        if verdict.bad is not None and verdict.for_good:
            self._say_refused(verdict.bad, refusal)
        elif verdict.bad is not None:
            self._troubles |= dict.fromkeys(_indices([verdict.bad]), (BAD, str(refusal)))

    def _say_refused(self, read: Read, refusal: Refused, *, again: bool = False) -> None:
        for part in read.parts:
            if part.index in self._faults or not again:
                self._faults[part.index] = (BAD, f"{refusal}{self._hint(part)}")

    def _hint(self, part: Part) -> str:
        most = self._learned.limit(part.table, part.table.limit, 0.0)
        if part.count > most:
            return f"; it gives {most} {part.table.title}s at once, and this value has {part.count}"
        return hint(self._device, part.table, part.start)

    def _next_care(self) -> float:
        if self._scout.busy or self._scout.all_refused or self._measured < _MEASURED_FIRST:
            return 0.0
        return min(self._time() + _MEASURE_S, self._retry_at)

    # --- how requests are made ------------------------------------------------------------------------

    def _arrange(self) -> None:
        """Takes over the reads to make: what is given first, then what is new, then what the device may not answer."""
        scout = self._scout
        for read in scout.mute:
            self._faults |= {part.index: _MUTE for part in read.parts}
        self._bad = self._points_with(self._faults) if self._faults else {}
        reads = scout.reads
        if scout.unproven:
            reads = sorted(reads, key=lambda read: (scout.in_doubt(read), read in scout.unproven))
        requests = tuple(map(self._request, reads))
        if self._known and requests == self._requests:
            return
        self._requests = requests
        self._known = {request.read: request for request in requests}

    def _points_with(self, faults: Mapping[int, Fault]) -> dict[int, Fault]:
        """The points that are BAD where some parts are."""
        found: dict[int, Fault] = {}
        for i, fault in faults.items():
            if i < self._points and i not in self._recipes:
                found[i] = fault
            for recipe in self._users.get(i, ()):
                if i != recipe.optional:
                    found.setdefault(recipe.point, fault)
        return found

    def _request(self, read: Read) -> Prepared:
        known, spare = self._known.get(read), self._scout.has_spare(read)
        return known if known is not None and known.spare == spare else self._new_request(read, spare)

    def _new_request(self, read: Read, spare: bool) -> Prepared:
        about = f"read {place(read.table, read.start + self._device.first(read.table), read.count)}"
        send = self._wire.bind(pdu.read(self._device.unit, read.table, read.start, read.count, about, spare=spare))
        if read.table.bits:
            decode = bits_decoder([part.start - read.start for part in read.parts])
        else:
            fields = [(part.start - read.start, part.layout) for part in read.parts if part.layout is not None]
            decode = registers_decoder(fields)
        at = {part.index: n for n, part in enumerate(read.parts)}
        plain = sorted(i for i in at if i < self._points and i not in self._recipes)
        touched = {recipe.point: recipe for i in at for recipe in self._users.get(i, ())}
        whole = {point: recipe for point, recipe in sorted(touched.items()) if all(i in at for i in recipe.parts)}
        others = [recipe for point, recipe in touched.items() if point not in whole]
        points = tuple(sorted((*plain, *whole)))
        floats = [n for n, i in enumerate(points) if i in self._plain_floats]
        return Prepared(
            read,
            spare,
            send,
            decode,
            None if points == tuple(range(self._points)) else points,
            None if plain == list(at) else picker([at[i] for i in plain]),
            picker(floats) if floats else None,
            tuple((each, picker([at[i] for i in each.parts]), points.index(point)) for point, each in whole.items()),
            tuple((n, i) for i, n in at.items() if any(i in recipe.parts for recipe in others)),
            (*points, *(recipe.point for recipe in others)),
        )


def _indices(some: Iterable[Prepared | Read]) -> Iterator[int]:
    """The parts in some reads."""
    return (part.index for each in some for part in (each.read if isinstance(each, Prepared) else each).parts)


def _mark_strange(column: Column) -> None:
    """Makes numbers that are not finite BAD."""
    values = list(column.values)
    faults = column.faults or {}
    for i, value in enumerate(values):
        if reason := strange(value):
            values[i] = None
            faults[i] = (BAD, reason)
    column.values, column.faults = values, faults or None
