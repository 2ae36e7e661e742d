"""Which blocks to read: whatever costs the least time, within what the device and its user allow."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from edgeflow_modbus.cost import Cost, per_address
from edgeflow_modbus.pdu import Table


@dataclass(frozen=True, slots=True, order=True)
class Stretch:
    """Addresses of one table from `start` to before `end`; where both are equal, the border between two.

    `table` is the function that reads it, so that stretches have an order.
    """

    table: int
    start: int
    end: int

    def bars(self, left: int, right: int) -> bool:
        """Whether it lies, even partly, between what ends before `left` and what begins at `right`."""
        if self.start == self.end:
            return left <= self.start <= right
        return max(left, self.start) < min(right, self.end)


@dataclass(frozen=True, slots=True)
class Span:
    """The addresses of one value; `index` is its place among those that were asked for."""

    table: Table
    start: int
    count: int
    index: int

    @property
    def end(self) -> int:
        return self.start + self.count


@dataclass(frozen=True, slots=True)
class Block:
    """The addresses of one request and the values in it, by rising address."""

    table: Table
    start: int
    count: int
    spans: tuple[Span, ...]

    @property
    def end(self) -> int:
        return self.start + self.count

    @property
    def stretch(self) -> Stretch:
        return Stretch(self.table.function, self.start, self.end)


Range = tuple[int, int]
"""The first address and the one behind the last."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How a device wants to be read: what is `forbidden`, and the `groups` of registers that are read whole."""

    forbidden: frozenset[Stretch] = frozenset()
    groups: Mapping[Table, Sequence[Range]] = field(default_factory=dict)

    def forbid(self, table: Table, start: int, end: int) -> bool:
        """Whether something between is forbidden."""
        return any(each.table == table.function and each.start < end and start < each.end for each in self.forbidden)

    def tear(self, table: Table, start: int, end: int) -> bool:
        """Whether a part of a group would be read without the rest."""
        return any(
            first < end and start < behind and not (start <= first and behind <= end)
            for first, behind in self.groups.get(table, ())
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """What blocks may be.

    - `limits`: addresses in one request.
    - `max_gap`: unused addresses in a row that may be read along; None: as many as the cost allows.
    - `borders`: what is not read along, or across.
    - `groups`: registers that are always read whole, in one request.
    """

    cost: Cost
    limits: Mapping[Table, int]
    max_gap: int | None = None
    borders: frozenset[Stretch] = frozenset()
    groups: Mapping[Table, Sequence[Range]] = field(default_factory=dict)


def plan(spans: Iterable[Span], rules: Rules) -> list[Block]:
    """The cheapest blocks that cover all spans, by rising address; where two plans cost the same, the fewer.

    What overlaps is kept together. What must be read in one and is longer than the limit is a block of its own.
    """
    blocks: list[Block] = []
    for table, pieces in groupby(atoms(spans, rules), lambda atom: atom.table):
        blocks += _cheapest(table, list(pieces), rules)
    return blocks


def split(block: Block, rules: Rules) -> list[Block]:
    """Two smaller blocks to try when one was refused, cut where nothing is torn; none where that cannot be.

    At the gap nearest to the middle, since what is unused is the likelier to be refused; else between two
    neighbours; else what overlaps, each by itself.
    """
    pieces = atoms(block.spans, rules)
    if len(pieces) > 1:
        middle = block.start + block.count / 2

        def badness(i: int) -> tuple[bool, float]:
            left, right = pieces[i - 1].end, pieces[i].start
            return right <= left, abs((left + right) / 2 - middle)

        cut = min(range(1, len(pieces)), key=badness)
        return [joined(pieces[:cut]), joined(pieces[cut:])]
    ranges: dict[Range, list[Span]] = {}
    for span in block.spans:
        ranges.setdefault(whole(span, rules), []).append(span)
    parts = [Block(block.table, start, end - start, tuple(some)) for (start, end), some in ranges.items()]
    return parts if len(parts) > 1 else []


def duration(blocks: Iterable[Block], cost: Cost) -> float:
    """How long some blocks take, in seconds."""
    return sum(cost.request_s + cost.byte_s * per_address(block.table) * block.count for block in blocks)


def _cheapest(table: Table, pieces: Sequence[Block], rules: Rules) -> list[Block]:
    """Atoms of one table in the cheapest blocks.

    From the last atom to the first: the cheapest plan from atom i on is one block of the atoms i to k and
    the cheapest from k + 1 on, for the best k. As what a block costs is a part for its end less a part for
    its start, the best k is the least of a sliding window. Whole numbers keep equal plans equal.
    """
    request, address = round(rules.cost.request_s * 1e12), round(rules.cost.byte_s * 1e12 * per_address(table))
    borders = [border for border in rules.borders if border.table == table.function]
    limit, count = rules.limits[table], len(pieces)
    least, last = [0] * (count + 1), [0] * count
    window: deque[tuple[int, int]] = deque()
    for i in range(count - 1, -1, -1):
        if i + 1 < count and not _may_join(pieces[i].end, pieces[i + 1].start, rules.max_gap, borders):
            window.clear()
        costs = address * pieces[i].end + least[i + 1]
        while window and window[-1][0] > costs:
            window.pop()
        window.append((costs, i))
        while window[0][1] != i and pieces[window[0][1]].end - pieces[i].start > limit:
            window.popleft()
        costs, last[i] = window[0]
        least[i] = request + costs - address * pieces[i].start
    blocks, at = [], 0
    while at < count:
        blocks.append(joined(pieces[at : last[at] + 1]))
        at = last[at] + 1
    return blocks


def _may_join(left: int, right: int, max_gap: int | None, borders: Sequence[Stretch]) -> bool:
    return (max_gap is None or right - left <= max_gap) and not any(border.bars(left, right) for border in borders)


def atoms(spans: Iterable[Span], rules: Rules) -> list[Block]:
    """What is never cut, by rising start and end: values, groups, and what overlaps as far as the limit allows."""
    sized = [(span.table.function, *whole(span, rules), span.index, span) for span in spans]
    sized.sort()
    found: list[tuple[int, int, list[Span]]] = []
    for _, start, end, _, span in sized:
        if found and found[-1][2][0].table is span.table:
            first, behind, held = found[-1]
            longest = max(behind, end) - first
            if end <= behind or (start < behind and longest <= rules.limits[span.table]):
                held.append(span)
                found[-1] = first, max(behind, end), held
                continue
        found.append((start, end, [span]))
    return [Block(held[0].table, start, end - start, tuple(held)) for start, end, held in found]


def joined(pieces: Sequence[Block]) -> Block:
    """One block of several, which follow one another."""
    spans = sorted(
        (span for piece in pieces for span in piece.spans), key=lambda span: (span.start, span.count, span.index)
    )
    start = pieces[0].start
    return Block(pieces[0].table, start, pieces[-1].end - start, tuple(spans))


def whole(span: Span, rules: Rules) -> Range:
    """What is read for a span: with every group that it touches."""
    start, end = span.start, span.start + span.count
    for first, behind in rules.groups.get(span.table, ()):
        if first < span.end and span.start < behind:
            start, end = min(start, first), max(end, behind)
    return start, end


def check_ranges(groups: Sequence[Range], forbidden: Sequence[Range], limit: int) -> None:
    """Checks ranges as a person writes them, first and last; raises ValueError with what to write instead."""
    for first, last in (*groups, *forbidden):
        if last < first:
            raise ValueError(f"[{first}, {last}] is not a range; write the lower address first: [{last}, {first}]")
    for i, (first, last) in enumerate(groups):
        if last - first >= limit:
            raise ValueError(
                f"the group [{first}, {last}] has {last - first + 1} registers, but the device gives {limit} at once"
            )
        for other in (*groups[:i], *forbidden):
            if first <= other[1] and other[0] <= last:
                raise ValueError(
                    f"the group [{first}, {last}] overlaps {list(other)}; a group is read whole, by itself"
                )
