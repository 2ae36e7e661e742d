"""Shift calendars: local wall times with an IANA zone outside, UTC instants inside."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from edgeflow.model import Strict
from edgeflow.units import NS_PER_S

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)

_DAY_MIN = 24 * 60
_WEEK_MIN = 7 * _DAY_MIN
_SEARCH_DAYS = 400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _minute_of_day(value: Any) -> int:
    match = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", value) if isinstance(value, str) else None
    if match:
        minute = int(match[1]) * 60 + int(match[2])
        if minute <= _DAY_MIN and int(match[2]) < 60:
            return minute % _DAY_MIN
    raise ValueError(f"write a time of day as HH:MM, for example 06:00, not {value!r}")


def _weekdays(value: Any) -> list[str]:
    """Names and ranges such as `mon..fri` as a list of names."""
    found: list[str] = []
    for item in [value] if isinstance(value, str) else value:
        first, dots, last = str(item).partition("..")
        if first not in WEEKDAYS or (dots and last not in WEEKDAYS):
            raise ValueError(f"write days as {', '.join(WEEKDAYS)} or a range such as mon..fri, not {item!r}")
        begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        found += [WEEKDAYS[(begin + i) % 7] for i in range((end - begin) % 7 + 1)]
    return list(dict.fromkeys(found))


def _zone_name(value: Any) -> Any:
    if isinstance(value, str):
        try:
            ZoneInfo(value)
        except (KeyError, OSError, ValueError):  # not found, a folder of zones, not a relative path
            raise ValueError(f"unknown time zone {value!r}; write an IANA name such as Europe/Berlin") from None
    return value


ClockTime = Annotated[
    int,
    BeforeValidator(_minute_of_day),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,2}:[0-9]{2}$", "examples": ["06:00", "22:00"]}),
]
"""Minutes since local midnight; written `06:00`."""

Weekdays = Annotated[
    tuple[Weekday, ...],
    BeforeValidator(_weekdays),
    WithJsonSchema(
        {"type": ["string", "array"], "items": {"type": "string"}, "examples": ["mon..fri", ["mon", "tue"]]}
    ),
]
TimeZone = Annotated[str, BeforeValidator(_zone_name)]


class BreakSettings(Strict):
    """A planned break inside a shift."""

    begin: ClockTime = Field(alias="from", description="Local time at which the break begins.")
    end: ClockTime = Field(alias="to", description="Local time at which the break ends.")


class ShiftSettings(Strict):
    """One shift of the week; it may cross midnight and belongs to the day on which it begins."""

    name: str = Field(min_length=1, pattern=r"^[^/@]+$", description="Name of the shift, part of its results' keys.")
    days: Weekdays = Field(default=WEEKDAYS, description="Days on which it begins: mon, tue, ... or mon..fri.")
    begin: ClockTime = Field(alias="from", description="Local time at which it begins.")
    end: ClockTime = Field(alias="to", description="Local time at which it ends; the same as `from` means 24 hours.")
    breaks: tuple[BreakSettings, ...] = Field(default=(), description="Planned breaks, in local time.")

    @property
    def minutes(self) -> int:
        """Its length on a day without a change of the clocks."""
        return (self.end - self.begin) % _DAY_MIN or _DAY_MIN

    @model_validator(mode="after")
    def _breaks_lie_inside_in_order(self) -> Self:
        last = 0
        for pause in self.breaks:
            begin = (pause.begin - self.begin) % _DAY_MIN
            end = begin + (pause.end - pause.begin) % _DAY_MIN
            if begin < last or not begin < end <= self.minutes:
                raise ValueError(f"the breaks of shift {self.name!r} must lie inside it, in order, without overlap")
            last = end
        return self


class CalendarSettings(Strict):
    """A shift calendar as people write it, in `calendars:` of the gateway's configuration."""

    time_zone: TimeZone | None = Field(default=None, description="IANA time zone; default: the gateway's.")
    shifts: tuple[ShiftSettings, ...] = Field(min_length=1, description="The shifts of a week; they never overlap.")
    holidays: tuple[date, ...] = Field(default=(), description="Days (YYYY-MM-DD) on which no shift begins.")
    exceptions: dict[date, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Days with other shifts than the week says: the names of those that begin on that day.",
    )

    @model_validator(mode="after")
    def _shifts_are_told_apart(self) -> Self:
        names = {shift.name for shift in self.shifts}
        for day_, wanted in self.exceptions.items():
            if unknown := sorted(set(wanted) - names):
                known = ", ".join(sorted(names))
                raise ValueError(f"exceptions name the shift {unknown[0]!r} on {day_}; known are {known}")
        taken = sorted(
            (WEEKDAYS.index(day) * _DAY_MIN + shift.begin, shift.minutes, shift.name, day)
            for shift in self.shifts
            for day in shift.days
        )
        for i, (begin, minutes, name, day) in enumerate(taken):
            following, _, other, _ = taken[(i + 1) % len(taken)]
            room = (following - begin) % _WEEK_MIN or (_WEEK_MIN if len(taken) == 1 else 0)
            if minutes > room:
                raise ValueError(f"the shifts {name!r} and {other!r} overlap after {day}")
            if any(s[2] == name and s[3] == day for s in taken[:i]):
                raise ValueError(f"two shifts named {name!r} begin on the same day; give them different names")
        plain = self.calendar("UTC")
        for day_ in self.exceptions:
            around = [shift for i in (-1, 0, 1) for shift in plain.shifts_of(day_ + timedelta(days=i))]
            for one, next_one in pairwise(around):
                if one.end_ns > next_one.begin_ns:
                    raise ValueError(f"the shifts {one.name!r} and {next_one.name!r} overlap around {day_}")
        return self

    def calendar(self, time_zone: str = "UTC") -> Calendar:
        """The calendar to work with; `time_zone` is the gateway's and counts where none is written."""
        return Calendar(
            time_zone=self.time_zone or time_zone,
            shifts=self.shifts,
            holidays=frozenset(self.holidays),
            exceptions=tuple(sorted(self.exceptions.items())),
        )


@dataclass(frozen=True, slots=True)
class Shift:
    """One shift of one production day, [begin_ns, end_ns) in UTC; or the time between two shifts.

    `day` is the local date on which it begins. Time between shifts has `scheduled` false and is named
    after the local time at which it begins, so that what is made in it has a key of its own.
    """

    name: str
    day: str
    begin_ns: int
    end_ns: int
    breaks: tuple[tuple[int, int], ...] = ()
    scheduled: bool = True


@dataclass(frozen=True, slots=True)
class Calendar:
    """The shifts of a place. Pure: every question is asked with a UTC instant in nanoseconds.

    A wall time that the clocks skip in spring means the instant of the change; one that comes twice
    in autumn means its first. So local order is kept, and shifts are as long as they really are.
    """

    time_zone: str = "UTC"
    shifts: tuple[ShiftSettings, ...] = ()
    holidays: frozenset[date] = frozenset()
    exceptions: tuple[tuple[date, tuple[str, ...]], ...] = ()
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_zone", ZoneInfo(self.time_zone))

    def shift_at(self, utc_ns: int) -> Shift | None:
        """The shift that `utc_ns` lies in, None between shifts."""
        return next((s for s in self._around(utc_ns, 2) if s.begin_ns <= utc_ns < s.end_ns), None)

    def period_at(self, utc_ns: int) -> Shift:
        """The shift that `utc_ns` lies in, or the time between two shifts, cut at local midnight.

        The periods tile the time axis: each ends where the next begins.
        """
        if shift := self.shift_at(utc_ns):
            return shift
        today = self._local(utc_ns).date()
        begin, end = self._instant(today, 0), self._instant(today + timedelta(days=1), 0)
        for shift in self._around(utc_ns, 2):
            if begin < shift.end_ns <= utc_ns:
                begin = shift.end_ns
            if utc_ns < shift.begin_ns < end:
                end = shift.begin_ns
        return Shift(f"off@{self._local(begin):%H:%M}", today.isoformat(), begin, end, scheduled=False)

    def next_boundary(self, utc_ns: int) -> int | None:
        """The first instant after `utc_ns` at which a shift begins or ends; None within 400 days."""
        for shift in self._around(utc_ns, _SEARCH_DAYS):
            for instant in (shift.begin_ns, shift.end_ns):
                if instant > utc_ns:
                    return instant
        return None

    def periods(self, begin_ns: int, end_ns: int) -> Iterator[Shift]:
        """Every period that shares time with [begin_ns, end_ns), in order."""
        at = begin_ns
        while at < end_ns:
            period = self.period_at(at)
            yield period
            at = period.end_ns

    def _around(self, utc_ns: int, days: int) -> Iterator[Shift]:
        """The shifts that begin on the local day before `utc_ns` and the days after, in order."""
        today = self._local(utc_ns).date()
        for i in range(-1, days):
            yield from self.shifts_of(today + timedelta(days=i))

    def shifts_of(self, day: date) -> Iterator[Shift]:
        """The shifts that begin on a local day, in order."""
        allowed = self._allowed(day)
        for shift in sorted(allowed, key=lambda s: s.begin):
            begin, end = self._span(day, shift.begin, shift.minutes)
            if begin < end:  # a shift that lies wholly in skipped time does not take place
                breaks = [self._break(day, shift, pause) for pause in shift.breaks]
                yield Shift(shift.name, day.isoformat(), begin, end, tuple(b for b in breaks if b[0] < b[1]))

    def _allowed(self, day: date) -> Sequence[ShiftSettings]:
        usual = [shift for shift in self.shifts if WEEKDAYS[day.weekday()] in shift.days]
        for exception, names in self.exceptions:
            if exception == day:  # of two shifts of one name the one of this weekday is meant
                by_name = {shift.name: shift for shift in (*reversed(self.shifts), *usual)}
                return [by_name[name] for name in dict.fromkeys(names)]
        return [] if day in self.holidays else usual

    def _break(self, day: date, shift: ShiftSettings, pause: BreakSettings) -> tuple[int, int]:
        after = (pause.begin - shift.begin) % _DAY_MIN
        return self._span(day, shift.begin + after, (pause.end - pause.begin) % _DAY_MIN)

    def _span(self, day: date, begin: int, minutes: int) -> tuple[int, int]:
        return self._instant(day, begin), self._instant(day, begin + minutes)

    def _local(self, utc_ns: int) -> datetime:
        return datetime.fromtimestamp(utc_ns // NS_PER_S, self._zone)

    def _instant(self, day: date, minute: int) -> int:
        """UTC of a local wall time, given as minutes since the midnight that begins `day`."""
        days, rest = divmod(minute, _DAY_MIN)
        naive = datetime(day.year, day.month, day.day) + timedelta(days=days, minutes=rest)  # noqa: DTZ001 - wall
        first, second = (_seconds(naive.replace(tzinfo=self._zone, fold=fold)) for fold in (0, 1))
        if second >= first:
            return first * NS_PER_S
        # Skipped: between the two readings the offset changes once; that change is what is meant.
        before = self._offset(second)
        while second + 1 < first:
            middle = (first + second) // 2
            if self._offset(middle) == before:
                second = middle
            else:
                first = middle
        return first * NS_PER_S

    def _offset(self, utc_s: int) -> timedelta | None:
        return datetime.fromtimestamp(utc_s, self._zone).utcoffset()


def _seconds(moment: datetime) -> int:
    """Unix seconds; both operands are in UTC, where subtraction is true."""
    delta = moment.astimezone(UTC) - _EPOCH
    return delta.days * 86400 + delta.seconds


def three_shifts(time_zone: str = "UTC") -> Calendar:
    """The calendar that counts where none is configured: 06-14-22 on every day."""
    week = [("early", 6, 14), ("late", 14, 22), ("night", 22, 6)]
    shifts = [{"name": name, "from": f"{begin:02}:00", "to": f"{end:02}:00"} for name, begin, end in week]
    return CalendarSettings.model_validate({"shifts": shifts}).calendar(time_zone)
