"""Finds out which reads a device gives: takes apart what it refuses, and tries what would cost less."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from edgeflow_modbus.config import Device
from edgeflow_modbus.learned import Learned
from edgeflow_modbus.pdu import ADDRESSES, Table
from edgeflow_modbus.plan import Rules, duration, joined, plan, smallest, split, whole
from edgeflow_modbus.space import Manners, Part, Range, Read

_BETTER = 0.95
_CERTAIN = 2
_MUTE_S = 60.0


class Scout:
    """The reads that cover some values, and what to ask for besides to find better ones.

    `reads` are what to read. One that is refused is taken apart at once, down to the values that the
    device does not have (`refused`). Everything else is a try: asked for when there is time, and only when
    the device gives every read of a better plan does it take the place of the present one. So curiosity
    never costs a value. `mute` are values over which the device falls silent instead of refusing them.
    """

    def __init__(self, parts: Iterable[Part], device: Device, learned: Learned, *, spares: bool = False) -> None:
        """`spares`: it is of use to know where a request may be made a little longer."""
        self._device, self._learned, self._spares = device, learned, spares
        self._manners = manners(device)
        self.refused: list[Part] = []
        wanted: list[Part] = []
        rules = self._rules()
        for part in parts:
            refused = learned.refused and whole(part, rules) in learned.refused
            (self.refused if refused else wanted).append(part)
        self.mute: list[Read] = []
        self.reads = self._audible(plan(wanted, rules))
        self.unproven = set(self.reads)
        self._given: set[Range] = set()
        self._denied: set[Range] = set()
        self._again: deque[Read] = deque()
        self._tries: deque[Read] = deque()
        self._wished: list[Read] = []
        self._resigned = False
        self._settled = -1  # what was known when there was no better plan
        self._turn = 0
        self._ask_again()

    @property
    def busy(self) -> bool:
        """Whether there is something to find out."""
        return bool(self.unproven or self._again or self._tries)

    @property
    def doubtful(self) -> bool:
        """Whether something is refused that might be given later."""
        return bool(self.refused or self.mute or self._denied or self._learned.borders)

    @property
    def hopeless(self) -> bool:
        """Whether everything is refused, as by a device that is only starting."""
        return bool(self.refused) and not self.reads

    # --- what is read ---------------------------------------------------------------------------------

    def give(self, read: Read) -> None:
        """The device gave it."""
        self._given.add(read.range)
        self._learned.gave(read)
        self.unproven.discard(read)

    def refuse(self, read: Read) -> list[Read]:
        """The device refused one of the reads: the parts to ask for instead; none where it is refused for good."""
        self.unproven.discard(read)
        self._denied.add(read.range)
        self._given.discard(read.range)
        self._tries.clear()
        self._wished, self._settled = [], -1
        parts = split(read, self._rules())
        at = self.reads.index(read)
        self.reads[at : at + 1] = parts
        self.unproven.update(parts)
        if not parts:
            self.refused += read.parts
            self._learned.refuse(read.range)
        return parts

    def silent(self, read: Read) -> None:
        """The device did not answer it. Perhaps it is off; perhaps it is one that does not refuse but falls silent.

        Where something is read along for the first time, that may be why. Else it may be what is asked for.
        """
        if read not in self.reads and read not in self._again:
            self._learned.fell_silent(alive=True)
        elif read in self.unproven and len(plan(read.parts, replace(self._rules(), max_gap=0))) > 1:
            self._learned.fell_silent(alive=False)
        elif read.range not in self._given:
            self._learned.skip(read.range, alive=bool(self._given))

    def _audible(self, reads: list[Read]) -> list[Read]:
        """The reads without what the device falls silent over, which is found by halving; what is in doubt is last.

        Where all are in doubt, the first is a single value: does it answer at all?
        """
        todo, found = deque(reads), list[Read]()
        while todo:
            read = todo.popleft()
            if self._learned.silences(read.range) < _CERTAIN:
                found.append(read)
            elif parts := split(read, self._rules()):
                todo.extendleft(reversed(parts))
            else:
                self.mute.append(read)

        def doubt(read: Read) -> tuple[int, Range]:
            return self._learned.silences(read.range), read.range

        found.sort(key=doubt)
        if found and doubt(found[0])[0]:
            single = min((atom for read in found for atom in smallest(read.parts, self._rules())), key=doubt)
            found.insert(0, single)
        return found

    # --- what is tried --------------------------------------------------------------------------------

    def next(self) -> Read | None:
        """What to try; None where there is nothing, or what is read is not settled yet."""
        if self.unproven:
            return None
        if self._again:
            return self._again[0]
        while self._tries or self._wish():
            read = self._tries[0]
            if read.range not in self._given and read.range not in self._denied:
                return read
            self._tries.popleft()
            if read.range in self._denied:
                self._explain(read)
        return self._spare() if self._spares else None

    def tried(self, read: Read, given: bool) -> None:
        """What became of it."""
        if given:
            self._given.add(read.range)
            self._learned.gave(read)
        else:
            self._denied.add(read.range)
        if self._again and self._again[0] is read:
            self._again.popleft()
            if given:
                self._take_back(read)
            else:
                self._again.extendleft(reversed(split(read, self._rules())))
                if read in self.mute:  # it refuses now, as others do
                    self.mute.remove(read)
                    self.refused += read.parts
                    self._learned.refuse(read.range)

    def has_spare(self, read: Read) -> bool:
        """Whether it is known that a little more may be read along behind a read."""
        return self._known(longer(read)) and longer(read).range not in self._denied

    def _spare(self) -> Read | None:
        rules = self._rules(1.0)
        if rules.max_gap == 0:
            return None
        for read in self.reads:
            more = longer(read)
            barred = any(b.table == read.table.function and b.bars(read.end, more.end) for b in rules.borders)
            if not (barred or more.count > rules.limits[read.table] or more.end > ADDRESSES or self._known(more)):
                return more
        return None

    def retry(self, after_s: float) -> None:
        """Time has passed: what was refused may be given now. What costs a silence is asked for ever more seldom."""
        self._denied.clear()
        self._wished, self._settled = [], -1
        self._resigned = False
        self._ask_again()
        for read in self.mute:
            if after_s >= _MUTE_S * 2 ** (self._learned.silences(read.range) - _CERTAIN):
                self._again.append(read)
                break
        self._learned.doubt(self._turn)
        self._turn += 1

    def knock(self) -> None:
        """Asks again for what was refused, from the beginning."""
        self._denied.clear()
        self._ask_again()

    def _ask_again(self) -> None:
        self._again = deque(plan(self.refused, replace(self._rules(), max_gap=0)))

    def _take_back(self, read: Read) -> None:
        self.refused = [part for part in self.refused if part not in read.parts]
        self.mute = [each for each in self.mute if each is not read]
        self._settled = -1
        self.reads.append(read)
        self.reads.sort(key=lambda each: each.range)
        self._learned.forgive(read)

    def _wish(self) -> bool:
        """Looks for a better plan; True where something has to be tried for it."""
        if self._resigned or self._settled == self._learned.changes:
            return False
        parts = list(dict.fromkeys(part for read in self.reads for part in read.parts))
        if not self._better(plan(parts, self._rules(1.0))):
            self._settled = self._learned.changes
            return False
        wished = plan(parts, self._rules(0.5))
        unknown = [read for read in wished if read.range not in self._given]
        if not unknown and self._better(wished):
            self.reads = wished
            self._learned.spoke()
        elif not unknown or wished == self._wished:
            self._resigned = True  # nothing that is learned of it leads any further
        else:
            self._wished = wished
            self._tries = deque(sorted(unknown, key=lambda read: -read.count))
        return bool(self._tries)

    def _better(self, reads: list[Read]) -> bool:
        cost = self._learned.cost
        return duration(reads, cost) < _BETTER * duration(self.reads, cost)

    def _explain(self, read: Read) -> None:
        """Learns from a read that was refused although every value in it is given in the present reads.

        Its halves, cut where two of these meet, are tried first. Where both are given, what lies between
        them is to blame, or the length of the whole.
        """
        rules = self._rules(1.0)
        pieces = smallest(read.parts, rules)
        home = {part: each for each in self.reads for part in each.parts}
        seams = [i for i in range(1, len(pieces)) if home[pieces[i - 1].parts[-1]] is not home[pieces[i].parts[0]]]
        if not seams:
            self._resigned = True  # it makes no sense; what there is works
            return
        cut = seams[len(seams) // 2]
        halves = [joined(pieces[:cut]), joined(pieces[cut:])]
        denied = [half for half in halves if half.range in self._denied]
        unknown = [half for half in halves if not self._known(half)]
        if denied:
            self._tries.appendleft(denied[0])
        elif unknown:
            self._tries.extendleft([read, *unknown])
        else:
            self._blame(read, halves[0].end, halves[1].start)

    def _known(self, read: Read) -> bool:
        """Whether the device has answered it, or more than it."""
        if read.range in self._given or read.range in self._denied:
            return True
        return any(
            each.table is read.table and each.start <= read.start and read.end <= each.end for each in self.reads
        )

    def _blame(self, read: Read, left: int, right: int) -> None:
        self._tries.clear()
        if left == right and read.count > self._learned.most(read.table):
            self._learned.too_long(read)
        elif left <= right:
            self._learned.bar(Range(read.table.function, left, right))
        else:
            self._resigned = True

    def _rules(self, hope: float = 0.0) -> Rules:
        device, learned = self._device, self._learned
        allowed = {table: table.limit if table.bits else device.max_registers for table in Table}
        return Rules(
            learned.cost,
            {table: learned.limit(table, most, hope) for table, most in allowed.items()},
            0 if learned.shy or (learned.wary and not hope) else device.max_gap,
            frozenset(learned.borders | learned.refused | self._manners.forbidden),
            self._manners.groups,
        )


def longer(read: Read) -> Read:
    """The read with what is asked for besides, so that its answer differs in length: a byte or a register."""
    return replace(read, count=read.count + (8 if read.table.bits else 1))


def manners(device: Device) -> Manners:
    """How a device wants to be read, in addresses as on the wire; what a table does not have is left out."""

    def of(table: Table, first: int, last: int) -> Range:
        return Range(table.function, first - device.first(table), last - device.first(table) + 1)

    return Manners(
        frozenset(of(table, *each) for table in Table for each in device.forbidden),
        tuple(of(table, *each) for table in (Table.REGISTER, Table.INPUT) for each in device.groups),
    )
