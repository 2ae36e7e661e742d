"""The golden case as a document: what a person writes, and the timed samples it stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import zip_longest
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field

from edgeflow.clock import utc_ns
from edgeflow.document import At, Document
from edgeflow.errors import ConfigError
from edgeflow.model import Pattern, Strict, Tag, ValueType
from edgeflow.node import Site
from edgeflow.outputs.arbitration import OutputPlan
from edgeflow.production.calendar import CalendarSettings, TimeZone
from edgeflow.production.counter import CounterSettings
from edgeflow.production.states import StateModel
from edgeflow.units import NS_PER_S, Duration, UnitName, quantity


class TagSettings(Strict):
    """A tag of the case's site; tags of the input need not be declared."""

    type: ValueType = Field(default="number", description="Type of its values.")
    unit: UnitName | None = Field(default=None, description="Unit of its values.")
    writable: bool = Field(default=False, description="Whether it can be written.")
    counter: CounterSettings | None = Field(default=None, description="What is known of it as a counter.")
    map: StateModel | None = Field(default=None, description="What its values mean, where it is a state.")


class OutputSettings(Strict):
    """An output of the case's site."""

    elements: tuple[str, ...] = Field(description="Its elements, for example red, amber, green.")
    when_stale: Pattern = Field(default_factory=dict, description="What it shows when its source is lost.")
    when_stopped: Pattern = Field(default_factory=dict, description="What it shows when no flow holds it.")
    on_exit: Pattern = Field(default_factory=dict, description="What it shows when the agent has ended.")
    patterns: dict[str, Pattern] = Field(default_factory=dict, description="Patterns by name.")


class SiteSettings(Strict):
    """What the flow finds on its gateway."""

    time_zone: TimeZone = Field(default="UTC", description="IANA zone of the gateway and of times in the case.")
    tags: dict[str, TagSettings] = Field(default_factory=dict, description="Tags that the input does not tell.")
    outputs: dict[str, OutputSettings] = Field(default_factory=dict, description="Outputs by name.")
    calendars: dict[str, CalendarSettings] = Field(default_factory=dict, description="Shift calendars by name.")


class Table(Strict):
    """Input rows without their keys."""

    columns: tuple[str, ...] = Field(min_length=2, description="`at` or `for`, then tags and ports.")
    rows: tuple[tuple[Any, ...], ...] = Field(description="One list per row; `~` means not sampled.")


class Restart(Strict):
    """The agent is killed and started again."""

    at: str = Field(description="When it is killed.")
    down: Duration = Field(default=0, alias="for", description="How long it is away; samples of that time are lost.")


class ExpectedRecord(Strict):
    """The latest record of a stream that fits key and status."""

    stream: str = Field(description="Its stream.")
    key: str | None = Field(default=None, description="Its key.")
    status: str | None = Field(default=None, description="live, provisional or final.")
    begin: str | None = Field(default=None, description="Begin of its period.")
    end: str | None = Field(default=None, description="End of its period.")
    quality: str | None = Field(default=None, description="good, uncertain or bad.")
    coverage: Any = Field(default=None, description="Known share of its period.")
    data: dict[str, Any] = Field(default_factory=dict, description="What its data must hold, at least.")


class ExpectedOutput(Strict):
    """What an output shows at a time."""

    at: str = Field(description="When.")
    output: str = Field(description="Which output.")
    shows: Pattern = Field(description="Levels of its elements; those not named may show anything.")


class ExpectedMessage(Strict):
    """The latest message on an output port at a time, at the end where none is given."""

    port: str = Field(description="`node.port`; `out` may be left out.")
    at: str | None = Field(default=None, description="When.")
    value: Any = Field(default=None, description="What it holds.")
    quality: str | None = Field(default=None, description="good, uncertain or bad.")


class ExpectedCall(Strict):
    """A call that the flow makes."""

    service: str = Field(description="Of which service.")
    request: dict[str, Any] = Field(default_factory=dict, description="What the request must hold, at least.")


class Expect(Strict):
    """What must come out."""

    records: tuple[ExpectedRecord, ...] = Field(default=(), description="Records.")
    no_records: tuple[str, ...] = Field(default=(), description="Streams in which nothing may be recorded.")
    outputs: tuple[ExpectedOutput, ...] = Field(default=(), description="Outputs at times.")
    messages: tuple[ExpectedMessage, ...] = Field(default=(), description="Messages on ports.")
    calls: tuple[ExpectedCall, ...] = Field(default=(), description="Calls, in the order in which they are made.")


class Case(Strict):
    """One golden case."""

    case: str = Field(min_length=1, description="What it shows, in one line.")
    about: str = Field(default="", description="Where its numbers come from.")
    flow: str = Field(default="../flow.yaml", description="The flow document, seen from this file.")
    parameters: dict[str, Any] = Field(default_factory=dict, alias="with", description="The flow's parameters.")
    site: SiteSettings = Field(default=SiteSettings(), description="What the flow finds on its gateway.")
    begin: str = Field(description="When it begins, RFC 3339 with offset.")
    until: str | None = Field(default=None, description="When it ends; with its last row where not given.")
    repeat: Duration | None = Field(default=None, description="The latest values are sampled again this often.")
    input: tuple[dict[str, Any], ...] | Table = Field(description="The samples, row by row.")
    restarts: tuple[Restart, ...] = Field(default=(), description="When the agent is killed and started again.")
    expect: Expect = Field(description="What must come out.")

    def rows(self) -> list[dict[str, Any]]:
        if not isinstance(self.input, Table):
            return list(self.input)
        columns = self.input.columns
        return [
            {column: value for column, value in zip(columns, row, strict=True) if value is not None}
            for row in self.input.rows
        ]


class Times:
    """Reads the times of a case."""

    def __init__(self, source: Document, begin: str, zone: str) -> None:
        self._source, self._zone = source, ZoneInfo(zone)
        try:
            self.begin = utc_ns(begin)
        except ValueError as error:
            raise ConfigError([source.problem(("begin",), str(error))]) from None
        self._day = datetime.fromtimestamp(self.begin // NS_PER_S, self._zone).date()

    def read(self, text: Any, at: At, after: int = 0) -> int:
        """UTC ns of `14:00`, `+90 min` or RFC 3339; a time of day is the first one not before `after`."""
        try:
            return self._read(str(text), max(after, self.begin))
        except ValueError:
            why = f"{text!r} is not a time; write 14:00, +90 min, or RFC 3339 with its offset"
            raise ConfigError([self._source.problem(at, why)]) from None

    def _read(self, text: str, after: int) -> int:
        if text.startswith("+"):
            return self.begin + round(quantity(text[1:], "time") * NS_PER_S)
        if not re.fullmatch(r"\d{2}:\d{2}(:\d{2}(\.\d+)?)?", text):
            return utc_ns(text)
        clock = time.fromisoformat(text)
        for i in range(400):
            moment = datetime.combine(self._day + timedelta(days=i), clock, self._zone)
            ns = round(moment.timestamp() * 1_000_000) * 1000
            if ns >= after:
                return ns
        raise ValueError(f"{text!r} never comes")

    def length(self, text: Any, at: At) -> int:
        """ns of a duration such as `405 min`."""
        try:
            return round(quantity(str(text), "time") * NS_PER_S)
        except ValueError as error:
            raise ConfigError([self._source.problem(at, str(error))]) from None


_RISE = re.compile(r"\s*(\d+)\s*\.\.\s*(\d+)\s*$")


def site_of(case: Case) -> Site:
    """What the flow finds on its gateway; tags that only the input names are taken from there."""
    settings = case.site
    tags = {name: Tag(name, t.type, t.unit, t.writable) for name, t in settings.tags.items()}
    for row in case.rows():
        for name, value in row.items():
            if "/" in name and name not in tags:
                tags[name] = Tag(name, _type_of(value))
    outputs = {
        name: OutputPlan(name, o.elements, o.when_stale, o.when_stopped, o.on_exit, o.patterns)
        for name, o in settings.outputs.items()
    }
    calendars = {name: c.calendar(settings.time_zone) for name, c in settings.calendars.items()}
    return Site(
        "golden",
        "golden",
        settings.time_zone,
        tags,
        outputs,
        calendars,
        counters={name: each.counter for name, each in settings.tags.items() if each.counter},
        maps={name: each.map for name, each in settings.tags.items() if each.map},
    )


def _type_of(value: Any) -> ValueType:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) and not _is_rise(value) else "number"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the input: what is sampled from `begin` on; `length` 0 where it has none of its own."""

    begin: int
    length: int
    values: dict[str, Any]


def rows_of(case: Case, source: Document, times: Times) -> list[Row]:
    """The rows with their times."""
    rows, cursor = [], times.begin
    for i, row in enumerate(case.rows()):
        if "at" in row:
            cursor = times.read(row["at"], ("input", i, "at"), after=cursor)
        length = times.length(row["for"], ("input", i, "for")) if "for" in row else 0
        values = {name: value for name, value in row.items() if name not in ("at", "for")}
        if any(_is_rise(value) for value in values.values()) and not (case.repeat and length > case.repeat):
            raise ConfigError([source.problem(("input", i), "a rise such as 0..9 needs `for`, longer than `repeat`")])
        rows.append(Row(cursor, length, values))
        cursor += length
    return rows


def samples(rows: Sequence[Row], repeat: int | None, end: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """What is sampled when: every row, and with `repeat` the latest value of every tag again and again until `end`."""
    latest: dict[str, Any] = {}
    for row, following in zip_longest(rows, rows[1:]):
        if repeat is None:
            yield row.begin, row.values
            continue
        ports = {name: value for name, value in row.values.items() if "/" not in name}
        rises = {name: value for name, value in row.values.items() if _is_rise(value)}
        latest |= row.values
        steps = -(-row.length // repeat)
        for i, at in enumerate(range(row.begin, max(following.begin if following else end, row.begin + 1), repeat)):
            latest |= {name: _risen(text, i, steps) for name, text in rises.items()}
            yield at, {name: value for name, value in latest.items() if "/" in name or (i == 0 and name in ports)}


def _is_rise(value: Any) -> bool:
    return isinstance(value, str) and _RISE.match(value) is not None


def _risen(text: str, step: int, steps: int) -> int:
    """The reading at one of `steps` samples of a row; the last one has the final reading."""
    match = _RISE.match(text)
    assert match
    begin, end = int(match[1]), int(match[2])
    return begin + (end - begin) * min(step, steps - 1) // (steps - 1)
