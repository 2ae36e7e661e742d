"""Addresses: the four words for a piece of a device's address space.

- `Range`: addresses of one table, from the first to before the last.
- `Layout`: how a value lies in its registers: type, order of bytes and words, bits.
- `Part`: the addresses of one value on the wire, with its layout. Most points are one part, a sum is several.
- `Read`: one request: a range, and the parts that come with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeflow_modbus.pdu import Table
from edgeflow_modbus.registers import Type


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """Addresses of one table from `start` to before `end`; where both are equal, the border between two.

    `table` is the function that reads it, so that ranges have an order.
    """

    table: int
    start: int
    end: int

    def bars(self, left: int, right: int) -> bool:
        """Whether it lies, even partly, between what ends before `left` and what begins at `right`."""
        if self.start == self.end:
            return left <= self.start <= right
        return max(left, self.start) < min(right, self.end)

    def meets(self, other: Range) -> bool:
        """Whether the two have an address in common."""
        return self.table == other.table and self.start < other.end and other.start < self.end

    def holds(self, other: Range) -> bool:
        """Whether all of the other lies in it."""
        return self.table == other.table and self.start <= other.start and other.end <= self.end


@dataclass(frozen=True, slots=True)
class Layout:
    """How a value lies in its registers.

    `places` are the positions of its bytes, most significant first, counted from the first register.
    `field`: the lowest bit and the number of bits where it is only some bits of that.
    """

    kind: Type
    code: str
    places: tuple[int, ...]
    size: int
    field: tuple[int, int] | None = None

    @property
    def partial(self) -> bool:
        """Whether it shares its register with something else: bits, or a byte."""
        return self.field is not None or (len(self.places) < self.size and self.kind != "string")


@dataclass(frozen=True, slots=True)
class Part:
    """The addresses of one value, as on the wire; `index` is its place among those that are read together.

    `layout` says how it lies there; None for a coil or a discrete input.
    """

    table: Table
    start: int
    count: int
    index: int = 0
    layout: Layout | None = None

    @property
    def end(self) -> int:
        return self.start + self.count

    @property
    def range(self) -> Range:
        return Range(self.table.function, self.start, self.end)


@dataclass(frozen=True, slots=True)
class Read:
    """The addresses of one request and the parts in it, by rising address."""

    table: Table
    start: int
    count: int
    parts: tuple[Part, ...]

    @property
    def end(self) -> int:
        return self.start + self.count

    @property
    def range(self) -> Range:
        return Range(self.table.function, self.start, self.end)


@dataclass(frozen=True, slots=True)
class Manners:
    """How a device wants to be read: what is `forbidden`, and the `groups` of registers that are read whole."""

    forbidden: frozenset[Range] = frozenset()
    groups: tuple[Range, ...] = ()

    def forbid(self, what: Range) -> bool:
        """Whether something in it is forbidden."""
        return any(each.meets(what) for each in self.forbidden)

    def tear(self, what: Range) -> bool:
        """Whether a part of a group would be read without the rest."""
        return any(each.meets(what) and not what.holds(each) for each in self.groups)
