"""What a unit may still send, kept so that a late or doubled answer is never taken for another.

On RTU and ASCII an answer does not say which request it belongs to. But a unit answers in the order in which
it was asked: once an answer has come that only a later request can have caused, no earlier one can follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import filterfalse, islice
from struct import unpack_from

from edgeflow_modbus.pdu import ADDRESSES, READING, WRITING, Request, Table, read, read_identification
from edgeflow_modbus.space import Manners, Range

_ECHOED = (*WRITING, 43)
"""Functions whose answer, when it comes twice, says nothing else the second time."""
_MOST_SENT = 50
_ANY_NUMBER = 1 << 40
_MOST_CHOICES = 4


@dataclass(slots=True)
class _Sent:
    """One request, or the same several times in a row: how many are unanswered, and whether one was answered."""

    function: int
    head: bytes
    unanswered: int = 1
    answered: bool = False

    def may_bring(self, pdu: bytes) -> bool:
        """Whether an answer can be one to this."""
        if pdu[0] & 0x80:
            return self.unanswered > 0 and pdu[0] == self.function | 0x80
        return pdu.startswith(self.head)


class Ledger:
    """The requests to one unit whose answers may still come, oldest first.

    The rule: what comes in is the answer to the oldest request that can have caused it. So a request may
    only be believed when none before it could bring the same answer. The latest answer may come again
    (doubled) as long as nothing later has been answered; an exception that comes again is not told
    apart, for it carries no value. `heads`: how answers begin that may still come from earlier, any number
    of each; what else was on the line before is not known, so the first request is never believed.
    """

    def __init__(self, unit: int, heads: Iterable[bytes] = ()) -> None:
        self._unit = unit
        self._strange = True
        self._sent = [_Sent(head[0], head, _ANY_NUMBER) for head in heads]
        self._reads: dict[bytes, Request] = {}
        self._ignored: set[bytes] = set()
        self._refusing: set[int] = set()
        self._manners: list[Manners] = []

    @property
    def heads(self) -> list[bytes]:
        """How the answers begin that may still come, oldest first."""
        return [sent.head for sent in self._sent]

    def knows(self, request: Request) -> None:
        """A request that will be sent to this unit again and again."""
        if request.function in READING:
            self._reads.setdefault(request.pdu, request)

    def respects(self, manners: Manners) -> None:
        """What a step must not read, and what it should not tear."""
        if manners not in self._manners:
            self._manners.append(manners)

    def clear_for(self, request: Request) -> bool:
        """Whether only this request itself, sent now, could bring its answer."""
        if self._strange:
            return False
        twice = request.function not in _ECHOED
        return not any(sent.head == request.head and (twice or sent.unanswered) for sent in self._sent)

    def send(self, request: Request) -> None:
        """A request is being sent."""
        last = self._sent[-1] if self._sent else None
        if last is not None and last.head == request.head:
            last.answered = last.answered and last.unanswered > 0
            last.unanswered += 1
        else:
            self._sent.append(_Sent(request.function, request.head))
        if len(self._sent) > _MOST_SENT:
            self._sent.clear()
            self._strange = True

    def take(self, pdu: bytes) -> bytes:
        """An answer has come; returns the head of the request that it belongs to, b"" for none."""
        i = next((i for i, sent in enumerate(self._sent) if sent.may_bring(pdu)), None)
        if i is None:
            return b""
        sent, refused = self._sent[i], pdu[0] & 0x80 > 0
        self._ignored.update(earlier.head for earlier in self._sent[:i] if not earlier.answered)
        self._ignored.discard(sent.head)
        (self._refusing.add if refused else self._refusing.discard)(sent.function)
        del self._sent[:i]
        self._strange = False
        if refused or not sent.answered:  # else it may be the one that came before, doubled
            sent.unanswered -= 1
        sent.answered = True
        return sent.head

    def step_for(self, request: Request) -> Request:
        """A request whose answer shows that none can come any more that looks like the answer to `request`.

        What the unit most likely answers with values comes first; then what cannot be mistaken when refused. What
        is forbidden is never read, a group is torn only where nothing else is left, and where nothing at all may
        be read it is asked what it is.
        """
        after = max((i for i, sent in enumerate(self._sent) if sent.head == request.head), default=-1)
        missing = {sent.head for sent in self._sent if sent.unanswered}
        refusing = {sent.function for sent in self._sent if sent.unanswered}

        def usable(steps: Iterator[Request]) -> Iterator[Request]:
            fit = (step for step in steps if step.head != request.head and self._place(step) > after)
            return islice(filterfalse(self._forbidden, fit), _MOST_CHOICES)

        known = [(step, step.function in refusing & self._refusing) for step in usable(self._known(request))]
        guessed = [(step, step.function in refusing) for step in usable(self._guessed(request))]

        def doubts(choice: tuple[Request, bool]) -> tuple[bool, bool, bool, bool]:
            step, may_refuse = choice
            return self._torn(step), step.head in self._ignored, step.head in missing, may_refuse

        choices = known + guessed or [(step, False) for step in usable(self._identifications())]
        return min(choices, key=doubts)[0]

    def _forbidden(self, step: Request) -> bool:
        return any(each.forbid(_range(step)) for each in self._manners) if step.function in READING else False

    def _torn(self, step: Request) -> bool:
        return any(each.tear(_range(step)) for each in self._manners) if step.function in READING else False

    def _place(self, step: Request) -> int:
        return next((i for i, sent in enumerate(self._sent) if sent.head == step.head), len(self._sent))

    def _known(self, request: Request) -> Iterator[Request]:
        """Parts of what is read anyway, the shortest first."""
        for other in [request, *(other for other in self._reads.values() if other is not request)]:
            if other.function in READING:
                table, own = READING[other.function], _range(other)
                for fewer in range(1, own.end - own.start, _unit_of(table)):
                    yield self._read(table, own.start, fewer)
                yield other

    def _guessed(self, request: Request) -> Iterator[Request]:
        """The same address in the other tables, and a little more of it in its own."""
        table = READING.get(request.function, Table.REGISTER)
        start = int.from_bytes(request.pdu[1:3], "big") if request.function in READING else 0
        others = [other for other in Table if other is not table]
        others.sort(key=lambda other: other.bits is not table.bits)
        for length in range(Table.REGISTER.limit):
            for other in (*others, table):
                count = 1 + length * _unit_of(other)
                yield self._read(other, min(start, ADDRESSES - count), count)

    def _identifications(self) -> Iterator[Request]:
        """What every unit understands, or refuses, without a register being read."""
        for category in range(1, 5):
            yield read_identification(self._unit, category, 0, "tell what it is, to show that it answers")

    def _read(self, table: Table, start: int, count: int) -> Request:
        return read(self._unit, table, start, count, "show that it answers what it is asked")


def _range(request: Request) -> Range:
    start, count = unpack_from(">HH", request.pdu, 1)
    return Range(request.function, start, start + count)


def wider(request: Request) -> Request | None:
    """The same read with a longer answer, where one more address may be read along."""
    if not request.spare or request.function not in READING:
        return None
    table, (start, count) = READING[request.function], unpack_from(">HH", request.pdu, 1)
    more = count + _unit_of(table)
    fits = more <= table.limit and start + more <= ADDRESSES
    return read(request.unit, table, start, more, request.about) if fits else None


def _unit_of(table: Table) -> int:
    """How many more addresses make an answer longer."""
    return 8 if table.bits else 1
