"""Finds out which blocks a device gives: takes apart what it refuses, and tries what would cost less."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from edgeflow_modbus.config import Device
from edgeflow_modbus.learned import Learned
from edgeflow_modbus.pdu import ADDRESSES, Table
from edgeflow_modbus.plan import Block, Manners, Rules, Span, Stretch, atoms, duration, joined, plan, split, whole

_BETTER = 0.95
_CERTAIN = 2
_MUTE_S = 60.0


class Scout:
    """The blocks that cover some values, and what to ask for besides to find better ones.

    `blocks` are what to read. One that is refused is taken apart at once, down to the values that the
    device does not have (`refused`). Everything else is a try: asked for when there is time, and only when
    the device gives every block of a better plan does it take the place of the present one. So curiosity
    never costs a value. `mute` are values over which the device falls silent instead of refusing them.
    """

    def __init__(self, spans: Iterable[Span], device: Device, learned: Learned, *, spares: bool = False) -> None:
        """`spares`: it is of use to know where a request may be made a little longer."""
        self._device, self._learned, self._spares = device, learned, spares
        self._manners = manners(device)
        self.refused: list[Span] = []
        wanted: list[Span] = []
        rules = self._rules()
        for span in spans:
            refused = learned.refused and Stretch(span.table.function, *whole(span, rules)) in learned.refused
            (self.refused if refused else wanted).append(span)
        self.mute: list[Block] = []
        self.blocks = self._audible(plan(wanted, rules))
        self.unproven = set(self.blocks)
        self._given: set[Stretch] = set()
        self._denied: set[Stretch] = set()
        self._again: deque[Block] = deque()
        self._tries: deque[Block] = deque()
        self._wished: list[Block] = []
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
        return bool(self.refused) and not self.blocks

    # --- what is read ---------------------------------------------------------------------------------

    def give(self, block: Block) -> None:
        """The device gave it."""
        self._given.add(block.stretch)
        self._learned.gave(block)
        self.unproven.discard(block)

    def refuse(self, block: Block) -> list[Block]:
        """The device refused one of the blocks: the parts to ask for instead; none where it is refused for good."""
        self.unproven.discard(block)
        self._denied.add(block.stretch)
        self._given.discard(block.stretch)
        self._tries.clear()
        self._wished, self._settled = [], -1
        parts = split(block, self._rules())
        at = self.blocks.index(block)
        self.blocks[at : at + 1] = parts
        self.unproven.update(parts)
        if not parts:
            self.refused += block.spans
            self._learned.refuse(block.stretch)
        return parts

    def silent(self, block: Block) -> None:
        """The device did not answer it. Perhaps it is off; perhaps it is one that does not refuse but falls silent.

        Where something is read along for the first time, that may be why. Else it may be what is asked for.
        """
        if block not in self.blocks and block not in self._again:
            self._learned.fell_silent(alive=True)
        elif block in self.unproven and len(plan(block.spans, replace(self._rules(), max_gap=0))) > 1:
            self._learned.fell_silent(alive=False)
        elif block.stretch not in self._given:
            self._learned.skip(block.stretch, alive=bool(self._given))

    def _audible(self, blocks: list[Block]) -> list[Block]:
        """The blocks without what the device falls silent over, which is found by halving; what is in doubt is last.

        Where all are in doubt, the first is a single value: does it answer at all?
        """
        todo, found = deque(blocks), list[Block]()
        while todo:
            block = todo.popleft()
            if self._learned.silences(block.stretch) < _CERTAIN:
                found.append(block)
            elif parts := split(block, self._rules()):
                todo.extendleft(reversed(parts))
            else:
                self.mute.append(block)

        def doubt(block: Block) -> tuple[int, Stretch]:
            return self._learned.silences(block.stretch), block.stretch

        found.sort(key=doubt)
        if found and doubt(found[0])[0]:
            single = min((atom for block in found for atom in atoms(block.spans, self._rules())), key=doubt)
            found.insert(0, single)
        return found

    # --- what is tried --------------------------------------------------------------------------------

    def next(self) -> Block | None:
        """What to try; None where there is nothing, or what is read is not settled yet."""
        if self.unproven:
            return None
        if self._again:
            return self._again[0]
        while self._tries or self._wish():
            block = self._tries[0]
            if block.stretch not in self._given and block.stretch not in self._denied:
                return block
            self._tries.popleft()
            if block.stretch in self._denied:
                self._explain(block)
        return self._spare() if self._spares else None

    def tried(self, block: Block, given: bool) -> None:
        """What became of it."""
        if given:
            self._given.add(block.stretch)
            self._learned.gave(block)
        else:
            self._denied.add(block.stretch)
        if self._again and self._again[0] is block:
            self._again.popleft()
            if given:
                self._take_back(block)
            else:
                self._again.extendleft(reversed(split(block, self._rules())))
                if block in self.mute:  # it refuses now, as others do
                    self.mute.remove(block)
                    self.refused += block.spans
                    self._learned.refuse(block.stretch)

    def has_spare(self, block: Block) -> bool:
        """Whether it is known that a little more may be read along behind a block."""
        return self._known(longer(block)) and longer(block).stretch not in self._denied

    def _spare(self) -> Block | None:
        rules = self._rules(1.0)
        if rules.max_gap == 0:
            return None
        for block in self.blocks:
            more = longer(block)
            barred = any(b.table == block.table.function and b.bars(block.end, more.end) for b in rules.borders)
            if not (barred or more.count > rules.limits[block.table] or more.end > ADDRESSES or self._known(more)):
                return more
        return None

    def retry(self, after_s: float) -> None:
        """Time has passed: what was refused may be given now. What costs a silence is asked for ever more seldom."""
        self._denied.clear()
        self._wished, self._settled = [], -1
        self._resigned = False
        self._ask_again()
        for block in self.mute:
            if after_s >= _MUTE_S * 2 ** (self._learned.silences(block.stretch) - _CERTAIN):
                self._again.append(block)
                break
        self._learned.doubt(self._turn)
        self._turn += 1

    def knock(self) -> None:
        """Asks again for what was refused, from the beginning."""
        self._denied.clear()
        self._ask_again()

    def _ask_again(self) -> None:
        self._again = deque(plan(self.refused, replace(self._rules(), max_gap=0)))

    def _take_back(self, block: Block) -> None:
        self.refused = [span for span in self.refused if span not in block.spans]
        self.mute = [each for each in self.mute if each is not block]
        self._settled = -1
        self.blocks.append(block)
        self.blocks.sort(key=lambda each: each.stretch)
        self._learned.forgive(block)

    def _wish(self) -> bool:
        """Looks for a better plan; True where something has to be tried for it."""
        if self._resigned or self._settled == self._learned.changes:
            return False
        spans = list(dict.fromkeys(span for block in self.blocks for span in block.spans))
        if not self._better(plan(spans, self._rules(1.0))):
            self._settled = self._learned.changes
            return False
        wished = plan(spans, self._rules(0.5))
        unknown = [block for block in wished if block.stretch not in self._given]
        if not unknown and self._better(wished):
            self.blocks = wished
            self._learned.spoke()
        elif not unknown or wished == self._wished:
            self._resigned = True  # nothing that is learned of it leads any further
        else:
            self._wished = wished
            self._tries = deque(sorted(unknown, key=lambda block: -block.count))
        return bool(self._tries)

    def _better(self, blocks: list[Block]) -> bool:
        cost = self._learned.cost
        return duration(blocks, cost) < _BETTER * duration(self.blocks, cost)

    def _explain(self, block: Block) -> None:
        """Learns from a block that was refused although every value in it is given in the present blocks.

        Its halves, cut where two of these meet, are tried first. Where both are given, what lies between
        them is to blame, or the length of the whole.
        """
        rules = self._rules(1.0)
        pieces = atoms(block.spans, rules)
        home = {span: each for each in self.blocks for span in each.spans}
        seams = [i for i in range(1, len(pieces)) if home[pieces[i - 1].spans[-1]] is not home[pieces[i].spans[0]]]
        if not seams:
            self._resigned = True  # it makes no sense; what there is works
            return
        cut = seams[len(seams) // 2]
        halves = [joined(pieces[:cut]), joined(pieces[cut:])]
        denied = [half for half in halves if half.stretch in self._denied]
        unknown = [half for half in halves if not self._known(half)]
        if denied:
            self._tries.appendleft(denied[0])
        elif unknown:
            self._tries.extendleft([block, *unknown])
        else:
            self._blame(block, halves[0].end, halves[1].start)

    def _known(self, block: Block) -> bool:
        """Whether the device has answered it, or more than it."""
        if block.stretch in self._given or block.stretch in self._denied:
            return True
        return any(
            each.table is block.table and each.start <= block.start and block.end <= each.end for each in self.blocks
        )

    def _blame(self, block: Block, left: int, right: int) -> None:
        self._tries.clear()
        if left == right and block.count > self._learned.most(block.table):
            self._learned.too_long(block)
        elif left <= right:
            self._learned.bar(Stretch(block.table.function, left, right))
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


def longer(block: Block) -> Block:
    """The block with what is asked for besides, so that its answer differs in length: a byte or a register."""
    return replace(block, count=block.count + (8 if block.table.bits else 1))


def manners(device: Device) -> Manners:
    """How a device wants to be read, in addresses as on the wire; what a table does not have is left out."""
    groups = {
        table: [(first - device.first(table), last - device.first(table) + 1) for first, last in device.groups]
        for table in (Table.REGISTER, Table.INPUT)
    }
    forbidden = frozenset(
        Stretch(table.function, first - device.first(table), last - device.first(table) + 1)
        for table in Table
        for first, last in device.forbidden
    )
    return Manners(forbidden, groups)
