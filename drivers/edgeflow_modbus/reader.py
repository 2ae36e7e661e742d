"""Reads points in the fewest requests, and learns which addresses a device refuses."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edgeflow.driver import Column
from edgeflow.model import BAD, Quality, Scalar
from edgeflow_modbus.codec import Decode, bits_decoder, finite, layout, picker, registers_decoder, strange
from edgeflow_modbus.config import Device, Point
from edgeflow_modbus.pdu import (
    GATEWAY_NO_ANSWER,
    GATEWAY_NO_PATH,
    ILLEGAL_ADDRESS,
    ILLEGAL_VALUE,
    Refused,
    Table,
    place,
    read,
)
from edgeflow_modbus.plan import Block, Span, gaps, plan, split
from edgeflow_modbus.tcp import Ask, Wire

Faults = dict[int, tuple[Quality, str]]

_RETRY_S = 60.0


@dataclass(frozen=True, slots=True)
class _Piece:
    """A block ready to be asked for."""

    block: Block
    ask: Ask
    decode: Decode


class PointsReader:
    """The points of one device, planned once.

    A block refused for its addresses is read in ever smaller parts until only the offending points are
    left; these are BAD, and the rest is merged again around them. What was learned lasts as long as the
    session. Refused points are asked for again every minute.
    """

    def __init__(self, wire: Wire, device: Device, points: Sequence[Point]) -> None:
        self._wire, self._device, self._points = wire, device, points
        self._layouts = [layout(point, device) for point in points]
        self._limits = {table: table.limit if table.bits else device.max_registers for table in Table}
        spans = [Span(p.table, p.address - device.first_address, p.count, i) for i, p in enumerate(points)]
        self._faults: Faults = {
            span.index: (BAD, f"there is no {span.table.title} 0 where the first address is 1")
            for span in spans
            if span.start < 0
        }
        self._refused: list[Span] = []
        self._refused_at = 0.0
        self._holes: set[tuple[Table, int]] = set()
        self._puzzling: list[Block] = []
        self._unproven: set[Block] = set()
        self._learning = False
        self._pace = 0.0
        self._time = asyncio.get_running_loop().time
        self._plan(span for span in spans if span.start >= 0)

    async def read(self, deadline: float) -> Column:
        """One poll, in the order of the points; raises LinkDown."""
        begun = self._time()
        if self._refused and begun >= self._refused_at + _RETRY_S:
            self._try_again(begun)
        if self._unproven:
            return await self._read_on(0, [], await self._answer(self._pieces[0], deadline), deadline)
        values: list[Scalar] = []
        for at, piece in enumerate(self._pieces):
            try:
                values += piece.decode(await piece.ask(deadline))
            except Refused as refusal:
                self._pace = max(self._pace, (self._time() - begun) / (at + 1))
                return await self._read_on(at, values, refusal, deadline)
        if self._pick is not None:
            values.append(None)
            values = list(self._pick(values))
        column = Column(values, 0, dict(self._faults) if self._faults else None)
        if self._floats is not None and not finite(self._floats(values)):
            _mark_strange(column)
        return column

    # --- a poll in which something is refused, or is still to be found out ---

    async def _read_on(self, at: int, early: list[Scalar], answer: bytes | Refused, deadline: float) -> Column:
        """Goes on with a poll from piece number `at`, whose answer is known; `early` are the values before it.

        Refused blocks are taken apart at once while there is time. What there is no time for is BAD in this
        poll; what is still to be found out comes first in the next.
        """
        kept, todo = list(self._pieces[:at]), deque(self._pieces[at:])
        found = dict(zip(_indices(kept), early, strict=True))
        faults: Faults = {}
        while True:
            piece = todo.popleft()
            if isinstance(answer, bytes):
                kept.append(piece)
                self._unproven.discard(piece.block)
                found.update(zip(_indices([piece]), piece.decode(answer), strict=True))
            elif answer.code in (ILLEGAL_ADDRESS, ILLEGAL_VALUE):
                todo.extendleft(reversed(self._take_apart(piece.block, answer)))
            else:
                gone = [piece, *todo] if answer.code in (GATEWAY_NO_PATH, GATEWAY_NO_ANSWER) else [piece]
                kept += gone
                faults |= dict.fromkeys(_indices(gone), (BAD, str(answer)))
                todo = todo if len(gone) == 1 else deque()
            if not todo:
                break
            if self._time() + 2 * self._pace >= deadline:
                kept += todo
                faults |= dict.fromkeys(_indices(todo), (BAD, "no time to read it: finding out what was refused"))
                break
            answer = await self._answer(todo[0], deadline)
        if self._learning:
            self._settle(kept)
        column = Column([found.get(i) for i in range(len(self._points))], 0, self._faults | faults)
        _mark_strange(column)
        return column

    async def _answer(self, piece: _Piece, deadline: float) -> bytes | Refused:
        """The answer to one request, and notes how long the slowest takes."""
        begun = self._time()
        answer: bytes | Refused
        try:
            answer = await piece.ask(deadline)
        except Refused as refusal:
            answer = refusal
        self._pace = max(self._pace, self._time() - begun)
        return answer

    def _take_apart(self, block: Block, refusal: Refused) -> list[_Piece]:
        """The smaller pieces to try instead of a refused block; none where it is refused for good."""
        self._learning = True
        self._unproven.discard(block)
        unused = {(block.table, address) for address in gaps(block)}
        self._holes |= unused
        parts = split(block)
        if not parts:
            self._refuse(block, refusal)
        elif not unused:
            self._puzzling.append(block)
        self._unproven.update(parts)
        return [self._piece(part) for part in parts]

    def _refuse(self, block: Block, refusal: Refused) -> None:
        """Notes the offending points; they explain why the blocks around them were refused."""
        self._refused += block.spans
        self._refused_at = self._time()
        self._faults |= {span.index: (BAD, str(refusal)) for span in block.spans}
        self._holes |= {(block.table, address) for address in block.addresses}
        self._puzzling = [b for b in self._puzzling if b.table is not block.table or block.start not in b.addresses]

    def _settle(self, pieces: Sequence[_Piece]) -> None:
        """Merges the pieces around the offenders once these explain everything that was refused.

        Where something else is behind it (the device gives only so many at once, or not across some
        border), the pieces that it did give stay as they are.
        """
        self._arrange(sorted(pieces, key=self._turn))
        if not self._unproven:
            self._learning, self._pace = False, 0.0
            if not self._puzzling:
                self._plan(span for piece in pieces for span in piece.block.spans)

    def _turn(self, piece: _Piece) -> tuple[bool, int, int]:
        """The order to read in: first what is still to be found out."""
        return piece.block not in self._unproven, piece.block.table.function, piece.block.start

    def _try_again(self, now: float) -> None:
        """Asks once more for what was refused: a device may have refused only while it started."""
        again = plan(self._refused, 0, self._limits)
        self._learning, self._refused_at = True, now
        for span in self._refused:
            del self._faults[span.index]
            self._holes -= {(span.table, address) for address in range(span.start, span.end)}
        self._refused.clear()
        self._unproven.update(again)
        self._arrange([*map(self._piece, again), *self._pieces])

    # --- how pieces are made ---

    def _plan(self, spans: Iterable[Span]) -> None:
        self._arrange(map(self._piece, plan(spans, self._device.max_gap, self._limits, self._holes)))

    def _arrange(self, pieces: Iterable[_Piece]) -> None:
        """Takes over the pieces to ask for, and how their values come into the order of the points."""
        self._pieces = tuple(pieces)
        order = list(_indices(self._pieces))
        place_of = {index: at for at, index in enumerate(order)}
        count = len(self._points)
        in_order = order == list(range(count))
        self._pick = None if in_order else picker([place_of.get(i, len(order)) for i in range(count)])
        floats = [i for i in sorted(order) if self._points[i].kind.startswith("float")]
        self._floats = picker(floats) if floats else None

    def _piece(self, block: Block) -> _Piece:
        about = f"read {place(block.table, block.start + self._device.first_address, block.count)}"
        ask = self._wire.bind(read(self._device.unit, block.table, block.start, block.count, about))
        if block.table.bits:
            return _Piece(block, ask, bits_decoder([span.start - block.start for span in block.spans]))
        fields = [(span.start - block.start, self._layouts[span.index]) for span in block.spans]
        return _Piece(block, ask, registers_decoder(fields))


def _indices(pieces: Iterable[_Piece]) -> Iterator[int]:
    """The points of some pieces, in the order in which their values come."""
    return (span.index for piece in pieces for span in piece.block.spans)


def _mark_strange(column: Column) -> None:
    """Makes numbers that are not finite BAD."""
    values = list(column.values)
    faults = column.faults or {}
    for i, value in enumerate(values):
        if reason := strange(value):
            values[i] = None
            faults[i] = (BAD, reason)
    column.values, column.faults = values, faults or None
