"""What a server publishes as columns: by source time, and each variable's values in their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from edgeflow.driver import Column
from edgeflow.model import Scalar
from edgeflow_opcua.item import NS_PER_MS, Item
from edgeflow_opcua.value import Fault

Change = tuple[int, Any, int, int]
"""The number of a thing, a value, its status code, and its time (UTC ns)."""


def columns_of(things: Mapping[int, object], changes: Sequence[Change]) -> list[Column]:
    """By source time, to the millisecond: servers stamp the values of one scan microseconds apart.

    The values of one variable stay in the order in which they came, whatever its clock does.
    """
    columns: list[Column] = []
    for some in _in_turns(changes):
        columns += _grouped(things, some)
    return columns


def _grouped(things: Mapping[int, object], changes: Sequence[Change]) -> list[Column]:
    groups: dict[int, _Group] = {}
    for handle, value, code, at in changes:
        item = things.get(handle)
        if not isinstance(item, Item):
            continue
        group = groups.get(at // NS_PER_MS)
        if group is None:
            group = groups[at // NS_PER_MS] = _Group()
        group.at = max(group.at, at)
        if not code and (kind := type(value)) in item.plain and (kind is not float or isfinite(value)):
            group.points.append(item.index)
            group.values.append(value)
            continue
        if item.history and at > item.last_ns:
            item.last_ns = at
        for index, scalar, fault in item.taken(value, code):
            group.add(index, scalar, fault)
    return [column for key in sorted(groups) for column in groups[key].columns()]


def _in_turns(changes: Sequence[Change]) -> list[Sequence[Change]]:
    """As they are, or in several turns where the clock of a variable goes back between two of its values."""
    if len({change[0] for change in changes}) == len(changes):
        return [changes]
    turns: list[Sequence[Change]] = []
    begin, last = 0, dict[int, int]()
    for number, (handle, _, _, at) in enumerate(changes):
        if at < last.get(handle, 0):
            turns.append(changes[begin:number])
            begin, last = number, {}
        last[handle] = at
    return [*turns, changes[begin:]]


class _Group:
    """Values of one publish response with the same source time."""

    __slots__ = ("at", "faults", "points", "values")

    def __init__(self) -> None:
        self.at = 0
        self.points: list[int] = []
        self.values: list[Scalar] = []
        self.faults: dict[int, Fault] = {}

    def add(self, index: int, value: Scalar, fault: Fault | None) -> None:
        if fault:
            self.faults[len(self.values)] = fault
        self.points.append(index)
        self.values.append(value)

    def columns(self) -> Iterable[Column]:
        """One column, or several where a variable brings more than one value of the same time."""
        if len(set(self.points)) == len(self.points):
            return [Column(self.values, self.at, self.faults or None, tuple(self.points))]
        return [
            Column([value], self.at, {0: self.faults[at]} if at in self.faults else None, (index,))
            for at, (index, value) in enumerate(zip(self.points, self.values, strict=True))
        ]
