"""What is known of one unit beyond its settings: what it refuses, how much it gives at once, how long it takes.

It is kept in the driver's home, so that a restart begins where the last run ended. It only ever decides how things
are asked for, never whether: whatever was refused before is asked for again.
"""

from __future__ import annotations

import re
from typing import Literal

import structlog
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from edgeflow.driver import Home
from edgeflow.model import Strict
from edgeflow_modbus.cost import Cost, Measure
from edgeflow_modbus.pdu import Table
from edgeflow_modbus.space import Range, Read

log = structlog.get_logger(__name__)

_SHY = 2
_OTHER_COST = 1.25
TableName = Literal["coil", "discrete", "register", "input"]
Addresses = tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt]


class Kept(Strict):
    """What is kept of one unit. Addresses are as on the wire: function, first, the one behind the last."""

    version: Literal[1] = Field(1, description="The form of this file.")
    where: str = Field(description="The link it was learned on.")
    unit: int = Field(description="The unit it was learned of.")
    request_s: PositiveFloat = Field(description="Seconds that a request takes, whatever its size.")
    byte_s: PositiveFloat = Field(description="Seconds that each byte of values adds.")
    refused: tuple[Addresses, ...] = Field((), description="Asked for and refused, down to the single value.")
    borders: tuple[Addresses, ...] = Field((), description="Not given along or across, though what is around them is.")
    most: dict[TableName, PositiveInt] = Field(
        default_factory=dict, description="The most it gave in one answer, of each table."
    )
    too_many: dict[TableName, PositiveInt] = Field(
        default_factory=dict, description="So many at once it refused, of each table."
    )
    unanswered: NonNegativeInt = Field(
        0, description="Silent where something unused was read along: 0 never, 1 perhaps, 2 certainly."
    )
    silences: tuple[tuple[Addresses, PositiveInt], ...] = Field(
        (), description="Addresses over which it fell silent, and how often, though it answered others."
    )


class Learned:
    """The knowledge of one unit; shared by all who read it over one connection.

    `changes` counts what was learned, so that others notice.
    """

    def __init__(self, home: Home, where: str, unit: int, assumed: Cost) -> None:
        self._home, self._where, self._unit = home, where, unit
        self._name = f"learned/{_file(where)}/{unit}.json"
        kept = self._read() or Kept(where=where, unit=unit, request_s=assumed.request_s, byte_s=assumed.byte_s)
        self.refused = {Range(*each) for each in kept.refused}
        self.borders = {Range(*each) for each in kept.borders}
        self._most, self._too_many = dict(kept.most), dict(kept.too_many)
        self._unanswered = kept.unanswered
        self._silences = {Range(*each): times for each, times in kept.silences}
        self._measure = Measure(Cost(kept.request_s, kept.byte_s))
        self._saved_cost = self._measure.cost
        self.changes = self._saved = 0
        self._said: set[TableName] = set()

    @property
    def cost(self) -> Cost:
        """What reading takes here."""
        return self._measure.cost

    @property
    def wary(self) -> bool:
        """Whether it may be a device that falls silent over addresses it does not have."""
        return self._unanswered > 0

    @property
    def shy(self) -> bool:
        """Whether it is one: nothing unused is ever read along."""
        return self._unanswered >= _SHY

    def limit(self, table: Table, allowed: int, hope: float) -> int:
        """How many addresses to ask for at once, where something is known to be too many.

        `hope` 0: the most that it ever gave; 1: one less than is too many; what is between is worth a try.
        """
        too_many = self._too_many.get(_NAMES[table])
        if too_many is None:
            return allowed
        most = self.most(table)
        return min(allowed, most + round(hope * (too_many - 1 - most)))

    def most(self, table: Table) -> int:
        """The most it ever gave in one answer, at least 1."""
        return self._most.get(_NAMES[table], 1)

    def took(self, size: int, seconds: float) -> None:
        """An answer of so many bytes of values took so long."""
        self._measure.add(size, seconds)
        if not 1 / _OTHER_COST < _worth(self.cost) / _worth(self._saved_cost) < _OTHER_COST:
            self._saved_cost = self.cost
            self.changes += 1

    def gave(self, read: Read) -> None:
        """It answered; what was thought to be too many at once may not be."""
        name = _NAMES[read.table]
        if read.count > self.most(read.table):
            self._most[name] = read.count
            self.changes += 1
        if self._too_many.get(name, read.count + 1) <= read.count:
            del self._too_many[name]
        if self._silences:
            heard = [each for each in self._silences if _within(each, read)]
            for each in heard:
                del self._silences[each]
            self.changes += len(heard)

    def too_long(self, read: Read, most: int) -> None:
        """It refused so many at once; `most`: what it does give."""
        name = _NAMES[read.table]
        if name not in self._said:
            self._said.add(name)
            log.info(
                "a device gives fewer at once than the standard allows; requests are kept shorter",
                where=self._where, unit=self._unit, table=read.table.title, given=most, refused=read.count,
            )  # fmt: skip
        self._too_many[name] = min(read.count, self._too_many.get(name, read.count))
        if self.most(read.table) >= read.count:  # it gave more before
            self._most[name] = max(1, most)
        self.changes += 1

    def refuse(self, what: Range) -> None:
        """A value that was asked for by itself, and refused."""
        self.changes += what not in self.refused
        self.refused.add(what)

    def bar(self, border: Range) -> None:
        """Not to be read along, or across."""
        self.changes += border not in self.borders
        self.borders.add(border)

    def forgive(self, read: Read) -> None:
        """It gives all of this now."""
        inside = {each for each in self.refused if _within(each, read)}
        self.refused -= inside
        self.changes += len(inside)

    def doubt(self, turn: int) -> bool:
        """Lets one of the things that only cost time be tried again, at each turn another; False: there are none."""
        doubtful: list[Range | TableName] = [*sorted(self.borders), *sorted(self._too_many)]
        if not doubtful:
            return False
        what = doubtful[turn % len(doubtful)]
        if isinstance(what, Range):
            self.borders.discard(what)
        else:
            del self._too_many[what]
        self.changes += 1
        return True

    def fell_silent(self, *, alive: bool) -> None:
        """It did not answer when something unused was read along; `alive`: though it had answered right before."""
        before = self._unanswered
        self._unanswered = min(_SHY, before + 1) if alive else max(1, before)
        self.changes += self._unanswered != before

    def spoke(self) -> None:
        """It answered when something unused was read along: its silence had another cause."""
        self.changes += self._unanswered == 1
        self._unanswered -= self._unanswered == 1

    def silences(self, what: Range) -> int:
        """How often it fell silent over this: 1 may be chance, from 2 on it is not asked for as a whole."""
        return self._silences.get(what, 0)

    def skip(self, what: Range, *, alive: bool) -> None:
        """It fell silent over this; `alive`: though it had answered right before, else it may only be off."""
        before = self.silences(what)
        self._silences[what] = before + 1 if alive else max(1, before)
        self.changes += self._silences[what] != before

    # --- keeping --------------------------------------------------------------------------------------

    def save(self) -> None:
        """Hands what is new to the home."""
        if self.changes == self._saved:
            return
        self._saved = self.changes
        kept = Kept(
            where=self._where,
            unit=self._unit,
            request_s=_rough(self._saved_cost.request_s),
            byte_s=_rough(self._saved_cost.byte_s),
            refused=tuple(sorted((each.table, each.start, each.end) for each in self.refused)),
            borders=tuple(sorted((each.table, each.start, each.end) for each in self.borders)),
            most=self._most,
            too_many=self._too_many,
            unanswered=self._unanswered,
            silences=tuple(
                ((each.table, each.start, each.end), times) for each, times in sorted(self._silences.items())
            ),
        )
        self._home.put(self._name, kept.model_dump_json(exclude_defaults=True).encode())

    def _read(self) -> Kept | None:
        content = self._home.get(self._name)
        if content is None:
            return None
        try:
            kept = Kept.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]["msg"]
            log.warning("what was learned of a device is unreadable; it is learned anew", name=self._name, reason=first)
            return None
        return kept if (kept.where, kept.unit) == (self._where, self._unit) else None


_NAMES: dict[Table, TableName] = {
    Table.COIL: "coil", Table.DISCRETE: "discrete", Table.REGISTER: "register", Table.INPUT: "input",
}  # fmt: skip


def _within(what: Range, read: Read) -> bool:
    return read.range.holds(what)


def _worth(cost: Cost) -> float:
    """How many bytes cost as much as another request; the plan depends on nothing else."""
    return cost.request_s / cost.byte_s


def _rough(seconds: float) -> float:
    return float(f"{seconds:.2g}")


def _file(where: str) -> str:
    """The name of a link as the name of a folder."""
    return re.sub(r"[^a-z0-9]+", "-", where.lower()).strip("-") or "link"
