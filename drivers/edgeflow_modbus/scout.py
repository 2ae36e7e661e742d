"""Finds out which reads a device gives: takes apart what it does not, and tries what would cost less.

Every read of the plan is in one of these states, and what the device does moves it on:

    new       planned, and not answered yet
    given     answered as it is; a lost answer changes nothing, for answers get lost
    in parts  not given as it is: in its place there are two smaller reads, which are new
    refused   a single value that the device refuses: out of the plan, asked for again after a while
    mute      a single value over which the device falls silent: as refused, and more seldom

    new, given  -- refused: no such address, or not so many (exceptions 2, 3) ----------> in parts, or refused
    new, given  -- refused for another reason, and one value of it is given right after -> in parts
                   refused too with exception 1: it lacks the function ------------------> refused
                   refused too: it is busy, or it fails just now ------------------------> stays
                   one value, three polls in a row while others are given ---------------> refused
    new         -- lost, and one value of it is answered, or others are -----------------> in parts
                   one value, asked twice, four times in a row while others answer ------> mute
    refused, mute  -- given when they are asked for again -------------------------------> given

Beside that there are tries: reads of a better plan, asked for when there is time. Only when the device gives all
of them does that plan take the place of the present one, so curiosity never costs a value. A try that is refused is
halved until it is known why: so many at once are too many (a limit, learned for each table), or what lies between
two values is not given (a border). What was learned is doubted again after a while.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from edgeflow_modbus.config import Device
from edgeflow_modbus.learned import Learned
from edgeflow_modbus.pdu import ADDRESSES, ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ILLEGAL_VALUE, Table
from edgeflow_modbus.plan import Rules, duration, joined, plan, smallest, split, whole
from edgeflow_modbus.space import Manners, Part, Range, Read

_BETTER = 0.95
_HALVED = 2
"""So often a session ended over a read of several values until it is read in parts."""
_MUTE = 4
_FAILING = 3
_MUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a refusal: what to ask for now, and which read is BAD with it, for good or in this poll."""

    ask: tuple[Read, ...] = ()
    bad: Read | None = None
    for_good: bool = False


class Scout:
    """The reads that cover some parts, and what to ask for besides to find better ones; see above.

    `reads` is the plan; those that are `unproven` are new. `refused` and `mute` are out of it.
    """

    def __init__(self, parts: Iterable[Part], device: Device, learned: Learned, *, spares: bool = False) -> None:
        """`spares`: it is of use to know where a request may be made a little longer."""
        self._device, self._learned, self._spares = device, learned, spares
        self._manners = manners(device)
        self.refused: list[Part] = []
        self.mute: list[Read] = []
        mute: list[Part] = []
        wanted: list[Part] = []
        rules = self._rules()
        for part in parts:
            own = whole(part, rules)
            refused, silent = own in learned.refused, learned.silences(own) >= _MUTE
            (self.refused if refused else mute if silent else wanted).append(part)
        self.mute = smallest(mute, rules)
        self.reads = self._halved(plan(wanted, self._rules()))
        self.unproven = set(self.reads)
        self._given: set[Range] = set()
        self._denied: set[Range] = set()
        self._asked_again: deque[Read] = deque()
        self._tries: deque[Read] = deque()
        self._lost_tries: set[Range] = set()
        self._samples: dict[Range, Read] = {}  # a value that is asked for, and the read that it stands for
        self._pieces: set[Range] = set()  # of reads whose values are given: the size matters, or a single address
        self._failures: dict[Range, int] = {}
        self._target: list[Read] = []
        self._gave_up = False
        self._best_at = -1  # what was known when there was no better plan
        self._turn = 0
        self.ask_refused_again()

    @property
    def busy(self) -> bool:
        """Whether there is something to find out."""
        return bool(self.unproven or self._asked_again or self._tries)

    @property
    def may_change(self) -> bool:
        """Whether something is refused that might be given later."""
        return bool(self.refused or self.mute or self._denied or self._learned.borders)

    @property
    def all_refused(self) -> bool:
        """Whether everything is refused, as by a device that is only starting."""
        return bool(self.refused) and not self.reads

    # --- the plan -------------------------------------------------------------------------------------

    def answered(self, read: Read) -> list[Read]:
        """The device gave it; returns what to ask for now: the parts of the read for which it stood as a sample."""
        self._given.add(read.range)
        self._learned.gave(read)
        self.unproven.discard(read)
        self._failures.pop(read.range, None)
        self._pieces.discard(read.range)
        behind = self._samples.pop(read.range, None)
        return self._take_apart(behind) if behind in self.reads and behind != read else []

    def refuse(self, read: Read, code: int) -> Verdict:
        """The device refused one of the reads, or a sample of one."""
        behind = self._samples.pop(read.range, None)
        if behind is not None and behind in self.reads:
            if code in (ILLEGAL_ADDRESS, ILLEGAL_VALUE) and (parts := self._take_apart(behind)):
                return Verdict(tuple(parts))
            if code == ILLEGAL_FUNCTION:
                self._put_aside(behind)
            return Verdict(bad=behind, for_good=code == ILLEGAL_FUNCTION)
        if read not in self.reads:
            return Verdict(bad=read)
        self.unproven.discard(read)
        if read.range in self._given:  # it gives less than before
            self._given -= {
                each for each in self._given if each.table == read.range.table and _size(each) >= read.count
            }
        self._stop_tries()
        some = smallest(read.parts, self._rules())
        if code in (ILLEGAL_ADDRESS, ILLEGAL_VALUE) or read.range in self._pieces:
            if parts := self._take_apart(read):
                return Verdict(tuple(parts))
        elif len(some) > 1:
            sample = min(some, key=self._doubt)
            self._samples[sample.range] = read
            return Verdict((sample,))
        if code not in (ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE):
            self._failures[read.range] = self._failures.get(read.range, 0) + bool(self._given)
            if self._failures[read.range] < _FAILING:
                return Verdict(bad=read)
        self._put_aside(read)
        return Verdict(bad=read, for_good=True)

    def lost(self, read: Read) -> Read | None:
        """The device answers, but did not answer this; returns what to ask for, to see whether it was chance."""
        if read.range in self._given:
            return None
        some = smallest(read.parts, self._rules())
        sample = min(some, key=self._doubt)
        if sample != read:
            self._samples[sample.range] = read
        if _gaps(read, some):
            self._learned.fell_silent(alive=False)
        return sample

    def lost_again(self, read: Read) -> list[Read]:
        """Nor did it answer that; returns what to ask for now."""
        behind = self._samples.pop(read.range, None)
        if read.range in self._given:
            return []
        self._learned.skip(read.range, alive=True)
        if behind is not None and behind in self.reads:
            return self._take_apart(behind)
        if read in self.reads and self._learned.silences(read.range) >= _MUTE:
            self.reads.remove(read)
            self.unproven.discard(read)
            self.mute.append(read)
        return []

    def cut(self, read: Read) -> None:
        """The connection ended over it, which may be how the device says no; or the whole device is silent."""
        if read not in self.reads and read not in self._asked_again and read.range not in self._samples:
            self._learned.fell_silent(alive=True)
        elif read in self.unproven and _gaps(read, smallest(read.parts, self._rules())):
            self._learned.fell_silent(alive=False)
        elif read.range not in self._given:
            self._learned.skip(read.range, alive=bool(self._given))

    def is_given(self, read: Read) -> bool:
        """Whether the device has answered it, as it is."""
        return read.range in self._given

    def in_doubt(self, read: Read) -> bool:
        """Whether the device may fall silent over it."""
        return self._learned.silences(read.range) > 0

    def _take_apart(self, read: Read) -> list[Read]:
        """Two smaller reads in its place, where there can be."""
        parts = split(read, self._rules())
        if not parts:
            return []
        at = self.reads.index(read)
        self.reads[at : at + 1] = parts
        self._denied.add(read.range)
        self.unproven.discard(read)
        self.unproven.update(parts)
        self._pieces.update(part.range for part in parts)
        return parts

    def _put_aside(self, read: Read) -> None:
        self.reads.remove(read)
        self.unproven.discard(read)
        self._denied.add(read.range)
        self._failures.pop(read.range, None)
        self.refused += read.parts
        for own in {whole(part, self._rules()) for part in read.parts}:
            self._learned.refuse(own)

    def _most_given(self, table: Table) -> int:
        return max((_size(each) for each in self._given if each.table == table.function), default=1)

    def _halved(self, reads: list[Read]) -> list[Read]:
        """The reads without what ended earlier sessions, which is found by halving; what is in doubt is last.

        Where all are in doubt, the first is a single value: does it answer at all?
        """
        todo, found = deque(reads), list[Read]()
        while todo:
            read = todo.popleft()
            parts = split(read, self._rules()) if self._learned.silences(read.range) >= _HALVED else []
            if parts:
                todo.extendleft(reversed(parts))
            else:
                found.append(read)
        found.sort(key=self._doubt)
        if found and self.in_doubt(found[0]):
            single = min((one for read in found for one in smallest(read.parts, self._rules())), key=self._doubt)
            found.insert(0, single)
        return found

    def _doubt(self, read: Read) -> tuple[int, Range]:
        return self._learned.silences(read.range), read.range

    # --- tries ----------------------------------------------------------------------------------------

    def next_try(self) -> Read | None:
        """What to try; None where there is nothing, or what is read is not settled yet."""
        if self.unproven:
            return None
        if self._asked_again:
            return self._asked_again[0]
        while self._tries or self._find_better():
            read = self._tries[0]
            if read.range not in self._given and read.range not in self._denied:
                return read
            self._tries.popleft()
            if read.range in self._denied:
                self._find_cause(read)
        return self._next_spare() if self._spares else None

    def tried(self, read: Read, given: bool) -> None:
        """What became of it."""
        if given:
            self._given.add(read.range)
            self._learned.gave(read)
            self._lost_tries.clear()
        else:
            self._denied.add(read.range)
        if self._asked_again and self._asked_again[0] is read:
            self._asked_again.popleft()
            if given:
                self._restore(read)
            else:
                self._asked_again.extendleft(reversed(split(read, self._rules())))
                if read in self.mute:  # it refuses now, as others do
                    self.mute.remove(read)
                    self.refused += read.parts
                    self._learned.refuse(read.range)

    def try_lost(self, read: Read) -> None:
        """A try was not answered: by chance, unless that happens again."""
        if self._asked_again and self._asked_again[0] is read:
            self._asked_again.popleft()
            if read in self.mute:
                self._learned.skip(read.range, alive=True)
        elif read.range in self._lost_tries:
            self._denied.add(read.range)
            self._learned.fell_silent(alive=True)
        else:
            self._lost_tries.add(read.range)

    def has_spare(self, read: Read) -> bool:
        """Whether it is known that a little more may be read along behind a read."""
        more = longer(read)
        return self._known(more) and more.range not in self._denied

    def retry(self, after_s: float) -> None:
        """Time has passed: what was refused may be given now. What costs a silence is asked for ever more seldom."""
        self._denied.clear()
        self._stop_tries()
        self._gave_up = False
        self.ask_refused_again()
        for read in self.mute:
            if after_s >= _MUTE_S * 2 ** (self._learned.silences(read.range) - _MUTE):
                self._asked_again.append(read)
                break
        self._learned.doubt(self._turn)
        self._turn += 1

    def ask_refused_again(self) -> None:
        """Asks again for what was refused, from the beginning."""
        self._denied.clear()
        self._asked_again = deque(plan(self.refused, replace(self._rules(), max_gap=0)))

    def _stop_tries(self) -> None:
        self._tries.clear()
        self._target, self._best_at = [], -1

    def _restore(self, read: Read) -> None:
        """What was refused or mute is given again."""
        self.refused = [part for part in self.refused if part not in read.parts]
        self.mute = [each for each in self.mute if each is not read]
        self._best_at = -1
        self.reads.append(read)
        self.reads.sort(key=lambda each: each.range)
        self._learned.forgive(read)

    def _next_spare(self) -> Read | None:
        rules = self._rules(1.0)
        if rules.max_gap == 0:
            return None
        for read in self.reads:
            more = longer(read)
            barred = any(b.table == read.table.function and b.bars(read.end, more.end) for b in rules.borders)
            if not (barred or more.count > rules.limits[read.table] or more.end > ADDRESSES or self._known(more)):
                return more
        return None

    def _find_better(self) -> bool:
        """Looks for a better plan; True where something has to be tried for it."""
        if self._gave_up or self._best_at == self._learned.changes:
            return False
        parts = list(dict.fromkeys(part for read in self.reads for part in read.parts))
        if not self._better(plan(parts, self._rules(1.0))):
            self._best_at = self._learned.changes
            return False
        target = plan(parts, self._rules(0.5))
        unknown = [read for read in target if read.range not in self._given]
        if not unknown and self._better(target):
            self.reads = target
            self._learned.spoke()
        elif not unknown or target == self._target:
            self._gave_up = True  # nothing that is learned of it leads any further
        else:
            self._target = target
            self._tries = deque(sorted(unknown, key=lambda read: -read.count))
        return bool(self._tries)

    def _better(self, reads: list[Read]) -> bool:
        cost = self._learned.cost
        return duration(reads, cost) < _BETTER * duration(self.reads, cost)

    def _find_cause(self, read: Read) -> None:
        """Learns from a try that was refused although every value in it is given in the present reads.

        Its halves, cut where two of these meet, are tried first. Where both are given, what lies between
        them is the cause, or the length of the whole.
        """
        some = smallest(read.parts, self._rules(1.0))
        home = {part: each for each in self.reads for part in each.parts}
        seams = [i for i in range(1, len(some)) if home[some[i - 1].parts[-1]] is not home[some[i].parts[0]]]
        if not seams:
            self._gave_up = True  # it makes no sense; what there is works
            return
        cut = seams[len(seams) // 2]
        halves = [joined(some[:cut]), joined(some[cut:])]
        denied = [half for half in halves if half.range in self._denied]
        unknown = [half for half in halves if not self._known(half)]
        if denied:
            self._tries.appendleft(denied[0])
        elif unknown:
            self._tries.extendleft([read, *unknown])
        else:
            self._learn_from(read, halves[0].end, halves[1].start)

    def _known(self, read: Read) -> bool:
        """Whether the device has answered it, or more than it."""
        if read.range in self._given or read.range in self._denied:
            return True
        return any(each.range.holds(read.range) for each in self.reads)

    def _learn_from(self, read: Read, left: int, right: int) -> None:
        """The read was refused, its halves, which end and begin there, are given."""
        self._tries.clear()
        most = self._most_given(read.table)
        if left == right and read.count > most:
            self._learned.too_long(read, most)
        elif left <= right:
            self._learned.bar(Range(read.table.function, left, right))
        else:
            self._gave_up = True

    def _rules(self, hope: float = 0.0) -> Rules:
        device, learned = self._device, self._learned
        allowed = {table: table.limit if table.bits else device.max_registers for table in Table}
        mute = {read.range for read in self.mute}
        return Rules(
            learned.cost,
            {table: learned.limit(table, most, hope) for table, most in allowed.items()},
            0 if learned.shy or (learned.wary and not hope) else device.max_gap,
            frozenset(learned.borders | learned.refused | mute | self._manners.forbidden),
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


def _size(what: Range) -> int:
    return what.end - what.start


def _gaps(read: Read, some: list[Read]) -> bool:
    """Whether something unused is read along."""
    return read.count > sum(each.count for each in some)
