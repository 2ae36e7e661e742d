"""Which reads to make: whatever costs the least time, within what the device and its user allow."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from edgeflow_modbus.cost import Cost, per_address
from edgeflow_modbus.pdu import Table
from edgeflow_modbus.space import Part, Range, Read


@dataclass(frozen=True, slots=True)
class Rules:
    """What reads may be.

    - `limits`: addresses in one request.
    - `max_gap`: unused addresses in a row that may be read along; None: as many as the cost allows.
    - `borders`: what is not read along, or across.
    - `groups`: registers that are always read whole, in one request.
    """

    cost: Cost
    limits: Mapping[Table, int]
    max_gap: int | None = None
    borders: frozenset[Range] = frozenset()
    groups: tuple[Range, ...] = ()


def plan(parts: Iterable[Part], rules: Rules) -> list[Read]:
    """The cheapest reads that cover all parts, by rising address; where two plans cost the same, the fewer.

    What overlaps is kept together. What must be read in one and is longer than the limit is a read of its own.
    """
    reads: list[Read] = []
    for table, some in groupby(smallest(parts, rules), lambda read: read.table):
        reads += _cheapest(table, list(some), rules)
    return reads


def split(read: Read, rules: Rules) -> list[Read]:
    """Two smaller reads to try when one was refused, cut where nothing is torn; none where that cannot be.

    At the gap nearest to the middle, since what is unused is the likelier to be refused; else between two
    neighbours; else what overlaps, each by itself.
    """
    some = smallest(read.parts, rules)
    if len(some) > 1:
        middle = read.start + read.count / 2

        def badness(i: int) -> tuple[bool, float]:
            left, right = some[i - 1].end, some[i].start
            return right <= left, abs((left + right) / 2 - middle)

        cut = min(range(1, len(some)), key=badness)
        return [joined(some[:cut]), joined(some[cut:])]
    held: dict[Range, list[Part]] = {}
    for part in read.parts:
        held.setdefault(whole(part, rules), []).append(part)
    apart = [Read(read.table, each.start, each.end - each.start, tuple(parts)) for each, parts in held.items()]
    return apart if len(apart) > 1 else []


def duration(reads: Iterable[Read], cost: Cost) -> float:
    """How long some reads take, in seconds."""
    return sum(cost.request_s + cost.byte_s * per_address(read.table) * read.count for read in reads)


def _cheapest(table: Table, some: Sequence[Read], rules: Rules) -> list[Read]:
    """The smallest reads of one table in the cheapest.

    From the last to the first: the cheapest plan from number i on is one read of the numbers i to k and
    the cheapest from k + 1 on, for the best k. As what a read costs is a part for its end less a part for
    its start, the best k is the least of a sliding window. Whole numbers keep equal plans equal.
    """
    request, address = round(rules.cost.request_s * 1e12), round(rules.cost.byte_s * 1e12 * per_address(table))
    borders = [border for border in rules.borders if border.table == table.function]
    limit, count = rules.limits[table], len(some)
    least, last = [0] * (count + 1), [0] * count
    window: deque[tuple[int, int]] = deque()
    for i in range(count - 1, -1, -1):
        if i + 1 < count and not _may_join(some[i].end, some[i + 1].start, rules.max_gap, borders):
            window.clear()
        costs = address * some[i].end + least[i + 1]
        while window and window[-1][0] > costs:
            window.pop()
        window.append((costs, i))
        while window[0][1] != i and some[window[0][1]].end - some[i].start > limit:
            window.popleft()
        costs, last[i] = window[0]
        least[i] = request + costs - address * some[i].start
    reads, at = [], 0
    while at < count:
        reads.append(joined(some[at : last[at] + 1]))
        at = last[at] + 1
    return reads


def _may_join(left: int, right: int, max_gap: int | None, borders: Sequence[Range]) -> bool:
    return (max_gap is None or right - left <= max_gap) and not any(border.bars(left, right) for border in borders)


def smallest(parts: Iterable[Part], rules: Rules) -> list[Read]:
    """What is never cut, by rising start and end: parts, groups, and what overlaps as far as the limit allows."""
    sized = [(whole(part, rules), part.index, part) for part in parts]
    sized.sort(key=lambda each: each[:2])
    found: list[tuple[int, int, list[Part]]] = []
    for each, _, part in sized:
        if found and found[-1][2][0].table is part.table:
            first, behind, held = found[-1]
            longest = max(behind, each.end) - first
            if each.end <= behind or (each.start < behind and longest <= rules.limits[part.table]):
                held.append(part)
                found[-1] = first, max(behind, each.end), held
                continue
        found.append((each.start, each.end, [part]))
    return [Read(held[0].table, start, end - start, tuple(held)) for start, end, held in found]


def joined(reads: Sequence[Read]) -> Read:
    """One read of several, which follow one another."""
    parts = sorted(
        (part for read in reads for part in read.parts), key=lambda part: (part.start, part.count, part.index)
    )
    start = reads[0].start
    return Read(reads[0].table, start, reads[-1].end - start, tuple(parts))


def whole(part: Part, rules: Rules) -> Range:
    """What is read for a part: with every group that it touches."""
    own = part.range
    start, end = own.start, own.end
    for group in rules.groups:
        if group.meets(own):
            start, end = min(start, group.start), max(end, group.end)
    return Range(own.table, start, end)


def check_ranges(groups: Sequence[tuple[int, int]], forbidden: Sequence[tuple[int, int]], limit: int) -> None:
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
