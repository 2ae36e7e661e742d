"""Tries a device against reality: probes it, reads every tag several times, and says in words what does not fit.

    async for finding in check(link, device, library, home): ...

`link` and `device` are plans as `read_links_and_devices` makes them, with or without a template. The findings are
three tables of rows (`probe`, `tag`, `check`) with a column `result`, and notes; the last note is the summary.
A row whose result is in `WRONG` is something to be put right.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, create_model

from edgeflow.devices.config import bounds
from edgeflow.devices.physics import Check, Judgement, Live, Measured, adapter, causes, totals, unlikely
from edgeflow.devices.plan import DevicePlan, LinkPlan, TagPlan
from edgeflow.devices.scale import value_of
from edgeflow.devices.template import Library, Sheet
from edgeflow.driver import Column, Driver, Finding, Home, Note, Progress, Reader, Reads, Row, Watches, poll
from edgeflow.errors import ConfigError, LinkDown, Problem, Rejected, Silent
from edgeflow.model import BAD, GOOD, Scalar, Strict, Value
from edgeflow.units import NS_PER_S, Duration

AnyDriver = Driver[Any, Any, Any]
Ask = Callable[[Callable[[float], Awaitable[Any]]], Awaitable[Any]]
"""Makes one request of the device with a deadline; `Connection.ask` with everything else filled in is one."""

FITS, UNREADABLE = "fits", "not readable"
WRONG = ("does not fit", UNREADABLE)
"""Results of rows that are to be put right."""


class Options(Strict):
    """How a device is tried."""

    reads: int = Field(default=5, ge=1, le=100, description="How many times every tag is read.")
    every: Duration = Field(
        default="1 s", validate_default=True, description="How long to wait from one reading to the next."
    )
    others: bool = Field(default=True, description="Where the probe does not fit, try those of the other templates.")


class Probe(Strict):
    """A point and what it must hold, by which a device is told from others."""

    expect: tuple[Scalar, ...] | None = Field(
        default=None, description="The raw value that it holds, or several; `*` in a text stands for anything."
    )
    between: Annotated[tuple[float, float] | None, BeforeValidator(bounds)] = Field(
        default=None, description="[lowest, highest] raw value, where there is none for certain."
    )
    means: str = Field(default="", description="What it is, and what it means where it does not fit.")

    def fits(self, value: Scalar) -> bool:
        """Whether a raw value is what is expected."""
        if self.between is not None:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            return number and self.between[0] <= value <= self.between[1]  # type: ignore[operator] # it is a number
        if isinstance(value, str):
            return any(isinstance(each, str) and fnmatchcase(value, each) for each in self.expect or ())
        return value in (self.expect or ())

    @property
    def wanted(self) -> str:
        if self.between is not None:
            return f"{self.between[0]:g} to {self.between[1]:g}"
        return " or ".join(map(str, self.expect or ()))


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) or value is None else (value,)


def probes_of(sheet: Sheet, given: Mapping[str, Value], driver: AnyDriver) -> list[Any]:
    """The probes of a template: points of its driver that are `Probe`s too. Raises ConfigError at their places."""
    form = create_model(f"{driver.name} probe", __base__=(driver.point, Probe))
    found, problems = list[Any](), list[Problem]()
    for i, each in enumerate(sheet.template.probe):
        filled: Any = sheet.filled({**each, "expect": _listed(each.get("expect"))}, given)
        try:
            probe = form.model_validate(filled)
        except ValidationError as error:
            problems += sheet.document.problems(error, form, ("probe", i))
            continue
        if (probe.expect is None) == (probe.between is None):  # type: ignore[attr-defined] # of Probe
            problems.append(sheet.document.problem(("probe", i), "write either `expect` or `between`"))
        found.append(probe)
    if problems:
        raise ConfigError(problems)
    return found


def checks_of(sheet: Sheet, given: Mapping[str, Value]) -> tuple[Check, ...]:
    """The self-checks of a template, with its parameters put in. Raises ConfigError at their places."""
    problems = [
        sheet.document.problem(("checks", i), f"there is no tag {name!r} in this template")
        for i, each in enumerate(sheet.template.checks)
        for name in _named(each)
        if name not in sheet.template.tags
    ]
    try:
        checks = adapter().validate_python(sheet.filled(sheet.template.checks, given))
    except ValidationError as error:
        problems += sheet.document.problems(error, None, ("checks",))
    if problems:
        raise ConfigError(problems)
    return checks


def _named(check: Mapping[str, Any]) -> Iterable[str]:
    for key in ("tags", "parts", "of"):
        yield from check.get(key, ())
    for key in ("total", "product", "apparent", "active", "reactive"):
        yield from [check[key]] if key in check else ()


# --- the check ----------------------------------------------------------------------------------------


async def check(
    link: LinkPlan, device: DevicePlan, library: Library, home: Home, options: Options | None = None
) -> AsyncIterator[Finding]:
    """Opens a session of its own and tries the device on it.

    Where somebody else holds the link (a serial line, a device with one connection) use `check_on` with that
    session. Raises LinkDown where the link cannot be opened or is lost, Rejected (Silent) where the device does not
    answer, ConfigError where its template is wrong.
    """
    loop = asyncio.get_running_loop()

    async def ask(request: Callable[[float], Awaitable[Any]]) -> Any:
        return await request(loop.time() + device.timeout_ns / NS_PER_S)

    async with link.driver.open(link.config, loop.time() + link.open_ns / NS_PER_S, home.at(link.name)) as session:
        async for finding in check_on(session, ask, device, library, options):
            yield finding


async def check_on(
    session: Any, ask: Ask, device: DevicePlan, library: Library, options: Options | None = None
) -> AsyncIterator[Finding]:
    """Tries a device on a session that is open; every request is made through `ask`. Raises as `check` does."""
    options = options or Options()
    sheet = library.find(device.driver.name, device.template) if device.template else None
    checks = checks_of(sheet, device.given) if sheet else ()
    known, order, heard = True, "", False
    fitting: list[str] = []
    if sheet is not None and isinstance(session, Reads):
        probes = probes_of(sheet, device.given, device.driver)
        for probe in probes:
            row, fits = await _probed(session, ask, device.driver, device.config, probe)
            known, heard = known and fits, heard or row.cells["result"] != UNREADABLE
            yield row
        if not known:
            config, order = await _other_order(session, ask, device, probes)
            if order:
                device, known = replace(device, config=config), True
                yield Note(f"With {order} at the device its probe fits. Write that; what follows is read so.")
            elif given := await _other_parameters(session, ask, device, sheet):
                order, known = given, True
                yield Note(f"With {given} at the device its probe fits. Write that, and check again.")
        if not known and options.others:
            async for finding in _other_templates(session, ask, device, library, sheet, fitting):
                yield finding
    plans = tuple(plan for plan in device.tags if plan.read)
    seen = _Readings(tuple(_unbounded(plan) for plan in plans))
    async for finding in _read(session, ask, device, seen, options):
        yield finding
    rows = [_tag_row(plans, seen, i) for i in range(len(plans))]
    checks += totals({_short(plan): plan.tag.unit for plan in plans}, checks)
    live = seen.live()
    judgements = [judgement for each in checks for judgement in each.judge(live)]
    rows += [
        Row({"check": _title(judgement), "result": judgement.verdict, "says": judgement.text})
        for judgement in judgements
    ]
    for row in rows:
        yield row
    if sheet is not None and not known:
        for contradiction in sheet.template.contradictions:
            yield Note(f"{contradiction.about} Here: {contradiction.here} ({contradiction.source})")
    answered = heard or bool(fitting or seen.values)
    yield Note(_summary(device, rows, judgements, known=known, order=order, answered=answered))


def _title(judgement: Judgement) -> str:
    return judgement.tags[0] if len(judgement.tags) == 1 else ", ".join(judgement.tags)


def _unbounded(plan: TagPlan) -> TagPlan:
    """A tag whose values are shown even where they are out of its range."""
    return TagPlan(plan.tag, plan.point, plan.raw, plan.scale, plan.offset)


@dataclass(slots=True)
class _Readings:
    """What was read of every tag: its values, the last before scaling, and why there was none the last time."""

    plans: tuple[TagPlan, ...]
    values: dict[int, list[Scalar]] = field(default_factory=dict)
    raw: dict[int, Scalar] = field(default_factory=dict)
    faults: dict[int, tuple[int, str]] = field(default_factory=dict)

    def take(self, column: Column) -> None:
        if column.late or column.holds:
            return  # history says nothing of what holds now, and what still holds has been seen
        points = range(len(self.plans)) if column.points is None else column.points
        for at, i in enumerate(points):
            quality, reason = (column.faults or {}).get(at, (GOOD, ""))
            value: Scalar = None
            if quality != BAD:
                self.raw[i] = column.values[at]
                value, wrong = value_of(self.plans[i], column.values[at])
                quality, reason = (BAD, wrong) if wrong else (quality, reason)
            self.faults[i] = (quality, reason)
            if value is not None:
                self.values.setdefault(i, []).append(value)

    def refuse(self, reason: str) -> None:
        """Nothing of it can be read."""
        self.faults = dict.fromkeys(range(len(self.plans)), (BAD, reason))

    def live(self) -> Live:
        """The numbers by the name that the tag has in its device."""
        return {_short(plan): self.measured(i) for i, plan in enumerate(self.plans) if self._is_number(i)}

    def measured(self, index: int) -> Measured:
        numbers: Any = self.values[index]
        raw: Any = self.raw[index]
        return Measured(numbers, self.plans[index].tag.unit, raw)

    def _is_number(self, index: int) -> bool:
        found = self.values.get(index, [None])[-1]
        return isinstance(found, int | float) and not isinstance(found, bool)


def _short(plan: TagPlan) -> str:
    return plan.tag.name.partition("/")[2]


async def _read(
    session: Any, ask: Ask, device: DevicePlan, seen: _Readings, options: Options
) -> AsyncIterator[Finding]:
    points = [plan.point for plan in seen.plans]
    if not points:
        return
    if not isinstance(session, Reads):
        seconds = max(options.reads * options.every, 2 * device.every_ns) / NS_PER_S
        yield Progress(0, 0, f"listening for {seconds:g} s")
        await _listen(session, device, points, seen, seconds)
        return
    try:
        read: Reader = await ask(partial(session.prepare, device.config, points))
    except Silent:
        raise
    except Rejected as error:
        seen.refuse(str(error))
        return
    for turn in range(options.reads):
        if turn:
            await asyncio.sleep(options.every / NS_PER_S)
        yield Progress(turn, options.reads, "reading all tags")
        seen.take(await poll(read, ask))


async def _listen(session: Any, device: DevicePlan, points: Sequence[Any], seen: _Readings, seconds: float) -> None:
    if not isinstance(session, Watches):
        raise Rejected(f"the driver {device.driver.name} can neither read nor watch")
    try:
        async with asyncio.timeout(seconds):
            await session.watch(device.config, points, seen.take)
    except TimeoutError:
        return


def _tag_row(plans: Sequence[TagPlan], seen: _Readings, index: int) -> Row:
    plan = plans[index]
    values = seen.values.get(index)
    quality, reason = seen.faults.get(index, (BAD, "nothing was heard of it"))
    value: Scalar = values[-1] if values and quality != BAD else None
    result, says = ("look" if quality else "read", reason) if value is not None else (UNREADABLE, reason)
    if plan.low is not None and plan.high is not None and isinstance(value, int | float):
        low, high = plan.low, plan.high
        if low <= value <= high:
            result = FITS if result == "read" else result
        else:
            cause = causes(seen.measured(index), lambda given: low <= given <= high and given != 0)
            result, says = "does not fit", f"it is not between {low:g} and {high:g}; {cause}"
    raw = seen.raw.get(index)
    if result in ("read", FITS) and isinstance(raw, float) and (told := unlikely(raw)):
        result, says = told
    return Row({"tag": _short(plan), "value": value, "unit": plan.tag.unit, "result": result, "says": says})


def _summary(
    device: DevicePlan,
    rows: Sequence[Row],
    judgements: Sequence[Judgement],
    *,
    known: bool,
    order: str,
    answered: bool,
) -> str:
    tags = [row for row in rows if "tag" in row.cells]
    unreadable = [str(row.cells["tag"]) for row in tags if row.cells["result"] == UNREADABLE]
    wrong = sum(row.cells["result"] == WRONG[0] for row in rows)
    unjudged = sum(judgement.verdict == "not judged" for judgement in judgements)
    look = sum(row.cells["result"] == "look" for row in rows)
    parts = [f"{len(tags) - len(unreadable)} of {len(tags)} tags were read"]
    parts += [f"not readable: {', '.join(unreadable)}"] if unreadable else []
    parts += [f"{wrong} {'does' if wrong == 1 else 'do'} not fit"] if wrong else []
    parts += [f"{look} {'is' if look == 1 else 'are'} worth a look"] if look else []
    parts += [f"{unjudged} checks say nothing without load"] if unjudged else []
    text = f"{device.name}: {'; '.join(parts)}."
    if not known and not answered:
        reason = next((str(row.cells["says"]).partition(".")[0] for row in rows if row.cells["says"]), "no answer")
        text += f" Nothing could be read, so nobody knows whether it is {device.template}: {reason}."
    elif not known:
        text += f" It is likely not a {device.template}: what identifies it does not fit."
    elif sum("(`word_order`)" in str(row.cells["says"]) for row in tags) > 1:
        text += " Several values point to the word order: set `word_order` at the device."
    elif device.template and not wrong and not unreadable:
        text += f" It fits {device.template}{f' with {order}' if order else ''}."
    return text


# --- telling devices apart ----------------------------------------------------------------------------


async def _probed(session: Any, ask: Ask, driver: AnyDriver, config: Any, probe: Any) -> tuple[Row, bool]:
    value, reason = await _value(session, ask, driver, config, probe)
    fits = not reason and probe.fits(value)
    says = "" if fits else f"{reason}. {probe.means}".strip(". ") if reason else probe.means
    result = FITS if fits else UNREADABLE if reason else WRONG[0]
    cells = {"probe": _place(driver, probe), "value": value, "expected": probe.wanted, "result": result, "says": says}
    return Row(cells), fits


async def _other_order(session: Any, ask: Ask, device: DevicePlan, probes: Sequence[Any]) -> tuple[Any, str]:
    """The device's settings with the order of words and bytes in which its probes fit, and that order as it is written.

    The order "" means that none fits.
    """
    for names in (("word_order",), ("byte_order",), ("word_order", "byte_order")):
        if not device.driver.device.model_fields.keys() >= set(names):
            continue
        changed = {name: "big" if getattr(device.config, name) == "little" else "little" for name in names}
        config = device.config.model_copy(update=changed)
        if all([(await _probed(session, ask, device.driver, config, probe))[1] for probe in probes]):
            return config, f"`{', '.join(f'{name}: {value}' for name, value in changed.items())}`"
    return device.config, ""


async def _other_parameters(session: Any, ask: Ask, device: DevicePlan, sheet: Sheet) -> str:
    """The value of a parameter with which the probes fit, as it is written; "" where there is none."""
    for name, parameter in sheet.template.parameters.items():
        for value in parameter.one_of:
            given = {**device.given, name: value}
            if value == device.given.get(name, parameter.default):
                continue
            probes = probes_of(sheet, given, device.driver)
            if all([(await _probed(session, ask, device.driver, device.config, probe))[1] for probe in probes]):
                return f"`with: {{{name}: {value}}}`"
    return ""


async def _value(session: Any, ask: Ask, driver: AnyDriver, config: Any, probe: Any) -> tuple[Scalar, str]:
    point = driver.point.model_construct(set(), **{name: getattr(probe, name) for name in driver.point.model_fields})
    try:
        read = await ask(partial(session.prepare, config, (point,)))
    except Silent:
        raise
    except Rejected as error:
        return None, str(error)
    column = await poll(read, ask)
    quality, reason = (column.faults or {}).get(0, (GOOD, ""))
    return column.values[0], reason if quality == BAD else ""


def _place(driver: AnyDriver, probe: Any) -> str:
    shown = probe.model_dump(by_alias=True, include=set(driver.point.model_fields), exclude_defaults=True)
    return ", ".join(f"{key}: {value}" for key, value in shown.items())


async def _other_templates(
    session: Any, ask: Ask, device: DevicePlan, library: Library, own: Sheet, fitting: list[str]
) -> AsyncIterator[Finding]:
    """Which other templates of the driver have a probe that fits; those first that know the device for certain.

    Their names are added to `fitting`.
    """
    found: list[tuple[int, int, str]] = []
    names = [name for name in library.names(device.driver.name) if name != own.template.template]
    for i, name in enumerate(names):
        yield Progress(i, len(names), f"trying the probe of {name}")
        try:
            sheet = library.find(device.driver.name, name)
            if not sheet.complete or not sheet.template.probe:
                continue
            probes = probes_of(sheet, {}, device.driver)
            config = _config_of(device, own, sheet)
            certain = sum(probe.expect is not None for probe in probes)
            if not certain and len(probes) < 2:
                continue  # a range alone fits too much else
            if all([(await _probed(session, ask, device.driver, config, probe))[1] for probe in probes]):
                found.append((-certain, -len(probes), name))
        except (Rejected, ConfigError, KeyError, ValidationError):
            continue
    for certain, _, name in sorted(found):
        fitting.append(name)
        title = library.find(device.driver.name, name).template.title
        yield Note(f"{'This is' if certain else 'This may be'} {name} ({title}): its probe fits.")
    if not found:
        yield Note("The probe of no other template fits either. Is the unit number right?")


def _config_of(device: DevicePlan, own: Sheet, other: Sheet) -> Any:
    """The device's own settings with those of another template in place of its own template's."""
    form = device.driver.device
    theirs: Any = other.filled(other.template.device, {})
    names = form.model_fields.keys()
    plain = form.model_validate({key: value for key, value in theirs.items() if key in names})
    changed = {key for key in (*theirs, *own.template.device) if key in names}
    return device.config.model_copy(update={key: getattr(plain, key) for key in changed})


__all__ = ["WRONG", "LinkDown", "Options", "Probe", "Silent", "check", "check_on", "checks_of", "probes_of"]
