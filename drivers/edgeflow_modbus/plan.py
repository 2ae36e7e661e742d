"""Which blocks to read: neighbours and small gaps together, split where a device will not have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import accumulate

from edgeflow_modbus.pdu import Table

Holes = AbstractSet[tuple[Table, int]]
"""Addresses that must not be read along."""


@dataclass(frozen=True, slots=True)
class Span:
    """The addresses of one point; `index` is its place among the points that were asked for."""

    table: Table
    start: int
    count: int
    index: int

    @property
    def end(self) -> int:
        return self.start + self.count


@dataclass(frozen=True, slots=True)
class Block:
    """The addresses of one request and the points in it, by rising address."""

    table: Table
    start: int
    count: int
    spans: tuple[Span, ...]

    @property
    def end(self) -> int:
        return self.start + self.count

    @property
    def addresses(self) -> range:
        return range(self.start, self.end)


def plan(spans: Iterable[Span], max_gap: int, limits: Mapping[Table, int], holes: Holes = frozenset()) -> list[Block]:
    """The fewest blocks that cover all spans: none longer than its table's limit, none across a hole.

    A span that is itself longer than the limit is a block of its own.
    """
    blocks: list[Block] = []
    run: list[Span] = []
    end = 0
    for span in sorted(spans, key=_by_address):
        if run and not (
            span.table is run[0].table
            and span.start - end <= max_gap
            and max(end, span.end) - run[0].start <= limits[span.table]
            and not any((span.table, address) in holes for address in range(end, span.start))
        ):
            blocks.append(_block(run))
            run = []
        end = max(end, span.end) if run else span.end
        run.append(span)
    if run:
        blocks.append(_block(run))
    return blocks


def gaps(block: Block) -> list[int]:
    """The addresses of a block that no point needs."""
    used = {address for span in block.spans for address in range(span.start, span.end)}
    return [address for address in block.addresses if address not in used]


def split(block: Block) -> list[Block]:
    """Smaller blocks to try when one was refused; none where nothing smaller is left.

    First without its gaps, then in two halves of about the same length, then each of the ranges that
    overlap by itself.
    """
    limits = {block.table: block.count}
    runs = plan(block.spans, 0, limits)
    if len(runs) > 1:
        return runs
    ends = accumulate((span.end for span in block.spans), max)
    cuts = [i for i, end in enumerate(ends, 1) if i < len(block.spans) and end <= block.spans[i].start]
    if cuts:
        middle = block.start + block.count / 2
        cut = min(cuts, key=lambda i: abs(block.spans[i].start - middle))
        return [_block(block.spans[:cut]), _block(block.spans[cut:])]
    ranges: dict[tuple[int, int], list[Span]] = {}
    for span in block.spans:
        ranges.setdefault((span.start, span.count), []).append(span)
    return [_block(same) for same in ranges.values()] if len(ranges) > 1 else []


def _by_address(span: Span) -> tuple[int, int, int, int]:
    return span.table.function, span.start, span.count, span.index


def _block(spans: Sequence[Span]) -> Block:
    start = spans[0].start
    return Block(spans[0].table, start, max(span.end for span in spans) - start, tuple(spans))
