"""Golden cases: a flow is given a timed stream of samples, and its records, lamps and messages are compared.

A case is a YAML file in `cases/` beside the flow, written for people who know the machine:

    case: a shift with one breakdown
    with: {machine: press1, ideal_cycle: 30 s}
    begin: 2026-11-20T06:00:00Z
    repeat: 10 s                                  # the latest values are sampled again and again
    input:
      - {for: 405 min, press1/state: 6, press1/good: 0..675, press1/reject: 0..25}
      - {for: 30 min, press1/state: 9}
    until: 14:00
    expect:
      records:
        - {stream: oee, status: final, data: {availability: "93.10 %", good: 675}}

Times are `14:00` (in the site's zone), `+90 min` from the beginning, or RFC 3339. A row begins `at` a time or
where the one before it ended, and lasts `for` a duration. Columns are tags (`press1/good`) or input ports
(`call.in`). `0..675` rises evenly over the row. `{bad: no answer}` is a BAD sample.

Expected numbers: a plain number is compared exactly; `"373/420"` is the exact ratio; `"88.81 %"` and `"~0.888"`
are compared at the printed precision; `"77.7.. %"` is printed without rounding up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeflow import document
from edgeflow.clock import utc_text
from edgeflow.devices.template import CASE
from edgeflow.document import Document
from edgeflow.engine.engine import Engine
from edgeflow.errors import ConfigError, Problem, Rejected
from edgeflow.flow.compile import Plan, compile_flow
from edgeflow.model import BAD, UNCERTAIN, Block, Call, Quality, Record, Value
from edgeflow.node import Kinds, installed
from edgeflow.testing.case import (
    Case,
    ExpectedMessage,
    ExpectedOutput,
    ExpectedRecord,
    Times,
    rows_of,
    samples,
    site_of,
)
from edgeflow.testing.compare import CaseResult, differences

INSTANCE = "case"


def find_cases(paths: Iterable[Path]) -> list[Path]:
    """The case files that paths lead to: a folder (searched), a flow.yaml (its cases), or a case itself.

    Recorded cases of templates (`edgeflow.testing.templates`) lie beside the template.

    Raises ConfigError for a path without any.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            cases = sorted(p for p in path.rglob("*.yaml") if p.parent.name == "cases" or p.name.endswith(CASE))
        elif path.name == "flow.yaml":
            cases = sorted(path.parent.glob("cases/*.yaml"))
        elif (recorded := path.with_name(path.name.removesuffix(".yaml") + CASE)).is_file():
            cases = [recorded]
        else:
            cases = [path]
        if not cases:
            raise ConfigError([Problem(str(path), 0, 0, "", "no golden cases here; write some to cases/*.yaml")])
        found += cases
    return list(dict.fromkeys(found))


def run_cases(paths: Iterable[Path], kinds: Kinds | None = None) -> list[CaseResult]:
    """Runs every case that `paths` lead to."""
    kinds = installed() if kinds is None else kinds
    return [_recorded(path) if path.name.endswith(CASE) else run_case(path, kinds) for path in find_cases(paths)]


def _recorded(path: Path) -> CaseResult:
    from edgeflow.testing import templates  # noqa: PLC0415 - it needs servers, which flows do not

    return templates.run_case(path)


def run_case(path: Path, kinds: Kinds) -> CaseResult:
    """Runs one case file."""
    title = ""
    try:
        source = document.load(path)
        case = source.model(Case)
        title = case.case
        return CaseResult(path, title, tuple(_Run(path, source, case, kinds).problems()))
    except ConfigError as error:
        return CaseResult(path, title or "cannot be read", tuple(map(str, error.problems)))
    except Rejected as error:
        return CaseResult(path, title, (str(error),))


@dataclass(frozen=True, slots=True, order=True)
class _Moment:
    """Something to do at a time; at the same instant restarts come first and checks last."""

    at: int
    order: int
    serial: int
    what: Any = field(compare=False)


class _Run:
    """One case at work."""

    def __init__(self, path: Path, source: Document, case: Case, kinds: Kinds) -> None:
        self.case, self.source = case, source
        self.times = Times(source, case.begin, case.site.time_zone)
        self.site = site_of(case)
        flow = document.load((path.parent / case.flow).resolve())
        self.plan: Plan = compile_flow(
            flow, case.parameters, self.site, kinds, instance=INSTANCE, given_in=(source, ("with",))
        )
        self.now = self.times.begin
        self.found: list[str] = []
        self.records: list[Record] = []
        self.calls: list[Call] = []
        self.levels: dict[str, dict[str, Any]] = {}
        self.tuples: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.engine = self._start({}, "first")
        self.down_until = 0

    def _start(self, saved: Mapping[str, bytes], why: Any) -> Engine:
        engine = Engine(self.site.outputs, on_fault=lambda _, reason: self.found.append(f"the flow stopped: {reason}"))
        engine.deploy(self.plan, saved, self.now, why)
        self.engine = engine
        self._look()
        return engine

    def problems(self) -> list[str]:
        moments = sorted(self._moments())
        for moment in moments:
            if moment.at < self.down_until:
                continue
            self.now = moment.at
            moment.what()
            self._look()
        self._commit()
        self.found += self._compare_records() + self._compare_calls()
        return self.found

    # the timeline

    def _moments(self) -> Iterator[_Moment]:
        rows = rows_of(self.case, self.source, self.times)
        end = max((row.begin + row.length for row in rows), default=self.times.begin)
        if self.case.until is not None:
            end = self.times.read(self.case.until, ("until",))
        for serial, (at, values) in enumerate(samples(rows, self.case.repeat, end)):
            yield _Moment(at, 1, serial, lambda values=values, at=at: self._feed(values, at))
        yield _Moment(end, 2, 0, lambda: self.engine.advance(end))
        for i, restart in enumerate(self.case.restarts):
            at = self.times.read(restart.at, ("restarts", i, "at"))
            yield _Moment(at, 0, i, lambda restart=restart: self._restart(restart.down))
        for i, output in enumerate(self.case.expect.outputs):
            at = self.times.read(output.at, ("expect", "outputs", i, "at"))
            yield _Moment(at, 3, i, lambda output=output, at=at: self._check_output(output, at))
        for i, message in enumerate(self.case.expect.messages):
            at = end if message.at is None else self.times.read(message.at, ("expect", "messages", i, "at"))
            yield _Moment(at, 3, i, lambda message=message, at=at: self._check_message(message, at))

    # what happens

    def _feed(self, values: Mapping[str, Any], at: int) -> None:
        self.engine.advance(at)
        devices: dict[str, list[str]] = {}
        for name, value in values.items():
            if "/" in name:
                devices.setdefault(name.partition("/")[0], []).append(name)
            else:
                node, _, port = name.partition(".")
                given, (quality, _) = _sample(value)
                self.engine.message(INSTANCE, node, port or "in", given, at, quality)
        for device, names in devices.items():
            tags = self.tuples.setdefault(tuple(names), tuple(names))
            samples = [_sample(values[name]) for name in names]
            faults = {i: fault for i, (_, fault) in enumerate(samples) if fault[0]}
            self.engine.block(Block(device, tags, [value for value, _ in samples], at, at, faults or None))

    def _restart(self, down_ns: int) -> None:
        self._commit()
        saved = self.engine.snapshot(INSTANCE)
        self.down_until = self.now = self.now + down_ns
        self._start(saved, "restart")
        self.engine.advance(self.now)

    def _commit(self) -> None:
        """Takes over what the engine has made so far; live records, which are never stored, too."""
        live = list(self.engine.live.values())
        commit = self.engine.commit(windows=True)
        self.calls += self.engine.calls_now
        self.engine.calls_now.clear()
        if commit:
            self.records += commit.records
            self.calls += commit.calls
        self.records += live

    def _look(self) -> None:
        for decision in self.engine.decisions():
            self.levels[decision.output] = decision.levels

    # comparing

    def _check_output(self, expected: ExpectedOutput, at: int) -> None:
        self.engine.advance(at)
        self._look()
        shown = self.levels.get(expected.output)
        if shown is None:
            self.found.append(f"{utc_text(at)} {expected.output}: there is no such output in `site`")
        else:
            self.found += differences(expected.shows, shown, f"{utc_text(at)} {expected.output}")

    def _check_message(self, expected: ExpectedMessage, at: int) -> None:
        self.engine.advance(at)
        name, _, port = expected.port.partition(".")
        step = self.engine.flows[INSTANCE].by_name.get(name)
        out = step.outs.get(port or "out") if step else None
        place = f"{utc_text(at)} {expected.port}"
        if out is None:
            self.found.append(f"{place}: there is no such output port")
        elif out.last is None:
            self.found.append(f"{place}: nothing was sent")
        else:
            self.found += differences(expected.value, out.last.value, place)
            self.found += _quality_differs(expected.quality, out.last.quality, place)

    def _compare_records(self) -> list[str]:
        found: list[str] = []
        for expected in self.case.expect.records:
            fitting = [r for r in self.records if _named_so(expected, r)]
            place = " ".join(filter(None, (expected.stream, expected.key, expected.status)))
            if not fitting:
                there = sorted({f"{r.stream} {r.key} {r.status}" for r in self.records if r.stream == expected.stream})
                found.append(f"no record {place}; there are: {', '.join(there[:12]) or 'none of this stream'}")
                continue
            record = fitting[-1]
            found += differences(expected.data, dict(record.data), place)
            found += _quality_differs(expected.quality, record.quality, place)
            if expected.coverage is not None:
                found += differences(expected.coverage, record.coverage, f"{place} coverage")
            for name in ("begin", "end"):
                if (text := getattr(expected, name)) is not None:
                    wanted = self.times.read(text, ("expect", "records"))
                    given = getattr(record, name)
                    if wanted != given:
                        found.append(f"{place} {name}: expected {text}, got {given and utc_text(given)}")
        for stream in self.case.expect.no_records:
            found += [f"there is a record {stream} {r.key}" for r in self.records if r.stream == stream][:1]
        return found

    def _compare_calls(self) -> list[str]:
        found: list[str] = []
        made = list(self.calls)
        for expected in self.case.expect.calls:
            while made:
                call = made.pop(0)
                if call.service == expected.service and not differences(expected.request, dict(call.request), ""):
                    break
            else:
                found.append(f"no call {expected.service} {expected.request} (in this order)")
        return found


def _sample(value: Any) -> tuple[Value, tuple[Quality, str]]:
    if isinstance(value, dict) and value.keys() == {"bad"}:
        return None, (BAD, str(value["bad"]))
    if isinstance(value, dict) and value.keys() == {"uncertain"}:
        return value["uncertain"], (UNCERTAIN, "uncertain")
    return value, (Quality.GOOD, "")


def _named_so(expected: ExpectedRecord, record: Record) -> bool:
    return (
        record.stream == expected.stream
        and expected.key in (None, record.key)
        and expected.status in (None, record.status)
    )


def _quality_differs(expected: str | None, given: Quality, place: str) -> list[str]:
    if expected is None or expected.upper() == given.name:
        return []
    return [f"{place} quality: expected {expected}, got {given.name.lower()}"]
