"""Looks for units on a link, and for the addresses of a unit that answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from edgeflow.driver import Finding, Home, Note, Progress, Row
from edgeflow.errors import LinkDown, Rejected, Silent
from edgeflow.model import Scalar, Strict
from edgeflow.units import NS_PER_S, Duration, duration_text
from edgeflow_modbus.link import Link
from edgeflow_modbus.pdu import ADDRESSES, Refused, Table
from edgeflow_modbus.port import BAUDS, Parity
from edgeflow_modbus.session import Session, open_link
from edgeflow_modbus.survey import Survey, blocks_of, written

_OPEN_S = 3.0
_IDENTIFY_TIMES = 3
_USUAL_BAUDS = (9600, 19200, 38400, 115200, 57600, 4800, 2400, 1200)
_PARITIES: tuple[Parity, ...] = ("none", "even", "odd")
_ALIKE = 8
"""After so many units in a row that all answer, a number that no unit has tells whether it is looked at."""
_MOST_ALIKE = 32
"""So many units of a device that does not look at the number are asked all the same where they are wanted."""
_RESERVED = range(254, 247, -1)  # MODBUS over Serial Line, section 2.2
_PATIENCE = 5
_FEW, _AGAIN = 8, 3
"""So few silent units are asked so many times more: where others answer, one may do so only now and then."""


def numbers(text: Any, *, lowest: int = 0, highest: int = ADDRESSES - 1, what: str = "an address") -> Any:
    """`1-10,17` as the numbers it stands for, in that order; `what` they are is told of those that are not allowed."""
    if isinstance(text, list | tuple):
        return tuple(number for part in text for number in numbers(part, lowest=lowest, highest=highest, what=what))
    found: dict[int, None] = {}
    for part in str(text).split(","):
        first, dash, last = part.strip().partition("-")
        try:
            low = int(first, 0)
            high = int(last, 0) if dash else low
        except ValueError:
            raise ValueError(f"{part.strip()!r} is not a number or a range; write for example `1-10,17`") from None
        if low > high:
            raise ValueError(f"{part.strip()!r} is not a range; write the lower number first")
        for number in (low, high):
            if not lowest <= number <= highest:
                raise ValueError(f"{number} is not {what}; write {lowest} to {highest}")
        found |= dict.fromkeys(range(low, high + 1))
    return tuple(found)


def _usual(found: Sequence[int]) -> Sequence[int]:
    for baud in found:
        if baud not in BAUDS:
            raise ValueError(f"{baud} baud is not usual; write some of {', '.join(map(str, BAUDS))}, or `all`")
    return found


def _bauds(given: Any) -> Any:
    return _USUAL_BAUDS if given == "all" else numbers(given, lowest=BAUDS[0], highest=BAUDS[-1], what="a baud rate")


def _parities(given: Any) -> Any:
    if given == "all":
        return _PARITIES
    return tuple(part.strip() for part in given.split(",")) if isinstance(given, str) else given


_TEXT = WithJsonSchema({"type": "string"})
Units = Annotated[
    tuple[int, ...], BeforeValidator(lambda given: numbers(given, highest=255, what="a unit number")), _TEXT
]
Addresses = Annotated[tuple[int, ...], BeforeValidator(numbers), _TEXT]
Bauds = Annotated[tuple[int, ...], BeforeValidator(_bauds), AfterValidator(_usual), _TEXT]
Parities = Annotated[tuple[Parity, ...], BeforeValidator(_parities), _TEXT]


class ScanOptions(Strict):
    """Where to look, and how long."""

    units: Units | None = Field(
        None, description="Unit numbers to try: `1-10,17`. Default: 1-247, over the network also 255."
    )
    bauds: Bauds | None = Field(
        None, description="Baud rates to try on a serial line: `9600,19200`, or `all`. Default: the link's own."
    )
    parities: Parities | None = Field(
        None, description="Parities to try on a serial line: `none,even`, or `all`. Default: the link's own."
    )
    timeout: Duration = Field(
        NS_PER_S * 3 // 10, description="How long a unit may take to answer; slow gateways need more."
    )
    ranges: bool = Field(False, description="Look also which addresses of the units that answer can be read.")
    addresses: Addresses | None = Field(
        None, description="The addresses to look at with `ranges`, as on the wire: `0-499`. Default: 0-999."
    )
    limit: Duration = Field(
        NS_PER_S * 900, description="After so long it ends with what it has found. Default: 15 min."
    )


@dataclass(slots=True)
class Unit:
    """A unit that answers: on which settings of the link, and what it says of itself."""

    number: int
    link: Link
    says: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""

    def row(self, *, serial: bool) -> Row:
        cells: dict[str, Scalar] = {"unit": self.number}
        if serial:
            cells |= {"baud": self.link.baud, "parity": self.link.parity}
        for key in ("vendor", "product", "revision"):
            cells[key] = self.says.get(key, "")
        return Row({**cells, "remark": self.remark or self.says.get("name", "") or self.says.get("model", "")})


class Search:
    """One scan: it keeps a session open, opens it anew where that is lost, and knows when its time is over."""

    def __init__(self, link: Link, home: Home, options: ScanOptions) -> None:
        self.options = options
        self.found: list[Unit] = []
        self._link, self._home = link, home
        self._loop = asyncio.get_running_loop()
        self._end_s = self._loop.time() + options.limit / NS_PER_S
        self._stack = AsyncExitStack()
        self._session: Session | None = None
        self._open_on: Link | None = None
        self.late = False
        """Whether answers came after their time: a gateway that waits long for each unit. Then all have more time."""
        self.unreached: dict[int, list[int]] = {}
        """The units of which a gateway has said that it does not reach them, by exception."""
        self.lost: dict[int, str] = {}
        """The units at which the connection was lost each time they were asked, and how."""
        self.unreachable = False
        """Whether the link could not be opened any more."""

    @property
    def over(self) -> bool:
        return self._loop.time() >= self._end_s

    async def close(self) -> None:
        self._session = self._open_on = None
        await self._stack.aclose()

    async def session(self, link: Link) -> Session:
        """An open session with these settings of the link."""
        if self._session is None or self._open_on is not link:
            await self.close()
            deadline = self._loop.time() + _OPEN_S
            self.unreachable = True
            self._session = await self._stack.enter_async_context(open_link(link, deadline, self._home))
            self.unreachable = False
            self._session.search()
            self._open_on = link
        return self._session

    async def read(self, link: Link, unit: int, table: Table, start: int, count: int) -> bytes:
        """One read; where the link is lost by it, it is opened anew once, and the second time it counts as silence.

        Raises Refused, Silent, and LinkDown where the link cannot be opened any more.
        """
        for again in (True, False):
            session = await self.session(link)
            try:
                return await session.read_raw(unit, table, start, count, self._soon())
            except Silent:
                self.late = self.late or session.stats.strays > 0
                raise
            except LinkDown as lost:
                await self.close()
                if not again:
                    self.lost.setdefault(unit, str(lost))
                    raise Silent(str(lost)) from None
        raise AssertionError

    async def identified(self, unit: Unit) -> Unit:
        """The unit with what it says of itself, if it does."""
        session = await self.session(unit.link)
        try:
            unit.says = await session.identify(unit.number, self._soon(_IDENTIFY_TIMES))
        except LinkDown:
            await self.close()
        except Rejected:
            pass  # not every device has the function
        return unit

    def _soon(self, times: int = 1) -> float:
        patience = times * _PATIENCE if self.late else times
        return self._loop.time() + patience * self.options.timeout / NS_PER_S

    def settings(self) -> list[Link]:
        """The link with every setting of the line that is to be tried."""
        if self._link.serial is None:
            return [self._link]
        bauds, parities = self.options.bauds or (self._link.baud,), self.options.parities or (self._link.parity,)
        return [self._link.model_copy(update={"baud": baud, "parity": parity}) for baud in bauds for parity in parities]

    def units(self) -> tuple[int, ...]:
        network = () if self._link.serial is not None else (255,)
        return self.options.units or (*range(1, 248), *network)


async def scan(link: Link, home: Home, options: ScanOptions) -> AsyncIterator[Finding]:
    """The units that answer, what they are, and which of their addresses can be read."""
    if link.serial is None and (options.bauds or options.parities):
        raise Rejected("baud rates and parities are those of a serial line; a converter has its own settings for it")
    search = Search(link, home, options)
    try:
        async for finding in _units(search):
            yield finding
        if options.ranges:
            for unit in search.found:
                async for finding in ranges(search, unit):
                    yield finding
        if not search.found:
            raise Rejected(_summary(search))
        yield Note(_summary(search))
    finally:
        await search.close()


async def _units(search: Search) -> AsyncGenerator[Finding, None]:
    settings, units = search.settings(), search.units()
    total = len(settings) * len(units)
    for round_, link in enumerate(settings):
        where = f" at {link.baud} baud, parity {link.parity}" if link.serial is not None else ""
        looking = _Looking(search, link, where, round_ * len(units), total)
        async for finding in looking.at_each(units):
            yield finding
        async for finding in looking.told(units):
            yield finding
        if looking.count < len(units):
            return
        async for finding in _once_more(search, link, looking.silent, where, (round_ + 1) * len(units), total):
            yield finding
        if search.found and round_ + 1 < len(settings):
            yield Note("A line has one speed: the other settings were not tried.")
            return
        if search.over:
            return


@dataclass(slots=True)
class _Looking:
    """One pass over the units; `count` have been looked at, `ignored`: the device does not look at their number."""

    search: Search
    link: Link
    where: str
    done: int
    total: int
    count: int = 0
    ignored: bool = False
    silent: list[int] = field(default_factory=list)

    async def at_each(self, units: Sequence[int]) -> AsyncGenerator[Finding, None]:
        search, alike = self.search, True
        try:
            for number in units:
                yield Progress(self.done + self.count, self.total, f"unit {number}{self.where}")
                unit = await _unit(search, self.link, number, self.silent)
                self.count += 1
                alike = alike and unit is not None
                if unit is not None:
                    search.found.append(await search.identified(unit))
                    yield unit.row(serial=self.link.serial is not None)
                if alike and self.count == _ALIKE:
                    self.ignored = await _ignores_numbers(search, self.link, units)
                if search.over or (self.ignored and len(units) > _MOST_ALIKE):
                    return
        except LinkDown as lost:
            if self.count:
                yield _not_looked_at(units[self.count :], f"since {lost}")
            raise

    async def told(self, units: Sequence[int]) -> AsyncGenerator[Finding, None]:
        """What is to be said of those that gave no answer of their own, and of those that were left out."""
        for code, numbers_ in sorted(self.search.unreached.items()):
            them = "them" if len(numbers_) > 1 else "it"
            yield Note(f"Of {_named(numbers_)} the gateway says that it does not reach {them} (exception {code}).")
        if lost := self.search.lost:
            yield Note(f"Asked for {_named([*lost])}, the connection was lost: {next(iter(lost.values()))}.")
        if self.ignored:
            del self.search.found[1:]
            last = units[self.count - 1]
            yield Note(f"All unit numbers answer, up to {last}: this device does not look at the number.")
        if self.count < len(units):
            why = "since the time is over" if self.search.over else "since they are the same"
            yield _not_looked_at(units[self.count :], why)


async def _once_more(
    search: Search, link: Link, silent: list[int], where: str, done: int, total: int
) -> AsyncGenerator[Finding, None]:
    for number in _again(search, silent):
        if any(unit.number == number for unit in search.found):
            continue
        yield Progress(done, total, f"unit {number} once more{where}")
        unit = await _unit(search, link, number, [])
        if unit is not None:
            unit.remark = unit.remark or ("" if search.late else "answers only now and then")
            search.found.append(await search.identified(unit))
            yield unit.row(serial=link.serial is not None)
        if search.over:
            return


async def _ignores_numbers(search: Search, link: Link, units: Sequence[int]) -> bool:
    """Whether a number answers too that no unit may have."""
    number = next((each for each in _RESERVED if each not in units), None)
    if number is None:
        return False
    answers = await _unit(search, link, number, []) is not None
    search.lost.pop(number, None)
    return answers


def _not_looked_at(units: Sequence[int], why: str) -> Note:
    text = written(blocks_of(units))
    return Note(f"Not looked at: {_named(units)}, {why}. To go on: `--units {text}`.")


def _named(units: Sequence[int]) -> str:
    return f"unit{'s' if len(units) > 1 else ''} {written(blocks_of(units))}"


def _again(search: Search, silent: list[int]) -> list[int]:
    """The silent units that are asked once more: all where answers came late, a few where others answer."""
    if search.late:
        return silent
    return silent * _AGAIN if search.found and len(silent) <= _FEW else []


async def _unit(search: Search, link: Link, number: int, silent: list[int]) -> Unit | None:
    """Whether a unit is there: any answer of its own will do, a refusal too. Silent ones are added to `silent`."""
    try:
        await search.read(link, number, Table.REGISTER, 0, 1)
    except Refused as refused:
        if refused.from_gateway:
            if number not in _RESERVED:
                search.unreached.setdefault(refused.code, []).append(number)
            return None
        return Unit(number, link, remark=f"refuses holding register 0 (exception {refused.code})")
    except Silent:
        silent.append(number)
        return None
    return Unit(number, link)


def _summary(search: Search) -> str:
    over = f" The time of {duration_text(search.options.limit)} is over." if search.over else ""
    if not search.found:
        if search.unreached:
            return (
                "No unit answers, but a gateway does: it says that it does not reach them (exceptions 10 and 11). "
                "Check the unit numbers, that the units are switched on, and behind the gateway the wiring "
                f"(A and B swapped?) and the speed.{over}"
            )
        if search.settings()[0].serial:
            hint = "Check the unit numbers, the wiring (A and B swapped?)"
            line = " and the speed: `--bauds all --parities all` tries the others"
        else:
            hint = "Check the unit numbers, that this port speaks Modbus"
            line = ", and behind a gateway the wiring (A and B swapped?)"
        return f"No unit answers. {hint}{line}.{over}"
    numbers_ = ", ".join(str(unit.number) for unit in search.found)
    one = len(search.found) == 1
    text = f"{'Unit' if one else f'{len(search.found)} units:'} {numbers_}{' answers' if one else ''}."
    first = search.found[0].number
    known = "`edgeflow template list` has devices that are known"
    return f"{text} Next: {known}; of others `edgeflow modbus guess ADDRESS --unit {first}` reads registers.{over}"


# --- addresses ----------------------------------------------------------------------------------------


async def ranges(search: Search, unit: Unit) -> AsyncGenerator[Finding, None]:
    """The addresses of a unit that can be read, table by table, and those of which it is not known."""
    addresses = sorted(search.options.addresses or range(1000))
    total = 4 * len(addresses)
    for place, table in enumerate((Table.REGISTER, Table.INPUT, Table.COIL, Table.DISCRETE)):
        read = partial(search.read, unit.link, unit.number, table)
        survey = Survey(table, addresses, read, search.options.timeout / NS_PER_S / 3)
        told = 0
        while (left := survey.left) and not search.over:
            done = (place + 1) * len(addresses) - left
            yield Progress(done, total, f"unit {unit.number}, {table.title}s from {survey.next}")
            await survey.step()
            for first, last in survey.whole[told:]:
                told += 1
                yield _range(unit, table, first, last)
        survey.end()
        for first, last in survey.whole[told:]:
            yield _range(unit, table, first, last)
        for text in _doubts(survey, over=search.over):
            yield Note(f"Unit {unit.number}, {table.title}s {text}")


def _doubts(survey: Survey, *, over: bool) -> list[str]:
    """What is to be said of the addresses that neither can be read nor were refused."""
    silent, busy, untried = (written(survey.ranges[outcome]) for outcome in ("silent", "busy", "untried"))
    why = "the time was over" if over else "it stayed silent too often"
    texts = (
        (silent, "it stays silent when asked for them."),
        (busy, f"unknown, it says that it failed or is busy (exceptions 4 to 6). Later: `--addresses {busy}`."),
        (untried, f"not looked at, since {why}. To go on: `--addresses {untried}`."),
    )
    return [f"{some}: {text}" for some, text in texts if some]


def _range(unit: Unit, table: Table, first: int, last: int) -> Row:
    return Row({"unit": unit.number, "table": table.title, "first": first, "last": last, "count": last - first + 1})
