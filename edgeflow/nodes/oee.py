"""`oee`: availability, performance, quality and OEE of one machine by shift, and its stops."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from edgeflow.clock import utc_text
from edgeflow.explain import suggestion
from edgeflow.model import BAD, GOOD, UNCERTAIN, Message, Quality, Scalar
from edgeflow.node import CalendarField, Due, Effects, Inputs, Node, Port, Remark, Settings, Site, Started
from edgeflow.production.calendar import three_shifts
from edgeflow.production.counter import Counter, CounterSettings
from edgeflow.production.ledger import Closed, Ended, Ledger, Rules, Sheet, Tally, seconds
from edgeflow.production.oee import POLICIES, Policy, PolicyName, account, kpis
from edgeflow.production.states import Category, StateModel, States
from edgeflow.units import NS_PER_S, Duration

PlanWord = Literal["production", "changeover", "excluded"]
Status = Literal["live", "provisional", "final"]

_PLAN_WORDS: Mapping[str, PlanWord] = {
    "production": "production", "changeover": "changeover", "excluded": "excluded",
    "True": "production", "False": "excluded",
}  # fmt: skip
_COUNTERS = ("good", "reject", "total")
_LIVE_NS = NS_PER_S
_QUIET_NS = 300 * NS_PER_S
_BEHIND_NS = 600 * NS_PER_S
"""For so long a clock must show a time before the shift that is open until the books begin anew at that time."""


class Config(Settings):
    """How one machine's OEE is reckoned."""

    machine: str = Field(min_length=1, description="The machine's name in the results.")
    policy: PolicyName = Field(
        default="vorne",
        description="`vorne`: breaks are not planned, small stops are a loss of performance; `haldan`: breaks are lost "
        "time; `iso22400`: small stops are a loss of availability.",
    )
    ideal_cycle: Duration | None = Field(
        default=None, description="Shortest cycle per piece at nominal speed; the port `ideal_cycle` overrides it."
    )
    calendar: str | None = CalendarField(
        default=None, description="The shift calendar; default: `plant` where there is one, else 06-14-22 every day."
    )
    states: StateModel = Field(default="packtags", description="What the machine's state numbers or names mean.")
    state_map: dict[str, Category] = Field(
        default_factory=dict, description="States, by number or name, that belong to another category of time."
    )
    plans: dict[str, PlanWord] = Field(
        default_factory=dict, description="What the values on port `plan` mean, where they are not these words."
    )
    small_stop: Duration = Field(default=120 * NS_PER_S, description="A stop shorter than this is a small stop.")
    stale_after: Duration | Literal["never"] = Field(
        default=_QUIET_NS, description="Without any sign of life for so long the state is unknown; or `never`."
    )
    pulse: Duration | None = Field(
        default=None, description="For a machine without a state signal: it runs while pieces follow within this time."
    )
    report: Duration = Field(
        default=10 * NS_PER_S, ge=NS_PER_S, description="How often the shift so far is reported, at least 1 s."
    )
    good: CounterSettings = Field(default=CounterSettings(), description="What is known of the counter of good pieces.")
    reject: CounterSettings = Field(default=CounterSettings(), description="What is known of the counter of rejects.")
    total: CounterSettings = Field(default=CounterSettings(), description="What is known of the counter of all pieces.")


@dataclass(frozen=True, slots=True)
class Plan:
    """The configuration made ready."""

    config: Config
    rules: Rules
    states: States
    policy: Policy


@dataclass(slots=True)
class State:
    """The books, the counters, and what was said when. `*_timer` is 0 where none is set."""

    books: Ledger = field(default_factory=Ledger)
    counters: dict[str, Counter] = field(default_factory=dict)
    ideal_ns: int | None = None
    machine_category: Category = "unknown"
    machine_state: str = ""
    plan: PlanWord = "production"
    reason: Scalar = None
    live_ns: int = 0
    behind_ns: int = 0
    reported: float | None = None
    shift_timer: int = 0
    report_timer: int = 0
    stale_timer: int = 0


def prepare(config: Config, site: Site) -> Plan:
    calendar = site.calendars.get(config.calendar or "plant") or three_shifts(site.time_zone)
    stale = None if config.stale_after == "never" else config.stale_after
    rules = Rules(calendar, config.small_stop, stale, config.pulse or 0)
    return Plan(config, rules, States(config.states, config.state_map), POLICIES[config.policy])


def changed(plan: Plan, state: State, inputs: Inputs, do: Effects) -> None:
    _look_behind(state, do.at)
    books = state.books
    _tell(plan, state, books.advance(plan.rules, do.at), do)
    before = books.category
    fresh = {port: inputs[port] for port in inputs.fresh}
    _ideal(plan, state, fresh.get("ideal_cycle"))
    pieces = _count(plan, state, fresh, do.at)
    if any(message.quality != BAD for message in fresh.values()):
        books.hear(do.at)
    if books.sheet and any(message.quality == UNCERTAIN for message in fresh.values()):
        books.sheet.uncertain = True
    _read_state(plan, state, fresh, pieces)
    _read_plan(plan, state, fresh.get("plan"))
    _turn(plan, state, pieces, do)
    if (reason := fresh.get("reason")) is not None and reason.quality != BAD:
        state.reason = reason.value
    books.why(state.reason)
    _set_timers(plan, state, do)
    if not 0 <= do.at - state.live_ns < _LIVE_NS or books.category != before:
        _report(plan, state, "live", do.at, do, _doubtful(inputs))
        state.live_ns = do.at


def due(plan: Plan, state: State, event: Due, do: Effects) -> None:
    books = state.books
    if books.sheet is None:
        return
    if event.key == "shift":
        state.shift_timer = 0
        heard = books.sheet.heard
        _tell(plan, state, books.advance(plan.rules, event.at), do)
        if not heard:
            return  # nobody there: the next sign of life books what has passed
    elif event.key == "report":
        state.report_timer = 0
        if books.sheet.shift.scheduled or _counted(books.sheet) != state.reported:
            _report(plan, state, "provisional", event.at, do)
            state.reported = _counted(books.sheet)
        if event.at >= books.heard_ns + min(plan.rules.stale_after_ns or _QUIET_NS, _QUIET_NS):
            return
    else:
        state.stale_timer = 0
        stale = books.stale_ns(plan.rules)
        if stale is not None and stale <= event.at:
            _tell(plan, state, books.advance(plan.rules, event.at), do)
            _tell(plan, state, books.turn(plan.rules, "unknown", ""), do)
            _report(plan, state, "provisional", event.at, do)
            return
    _set_timers(plan, state, do)


def started(plan: Plan, state: State, _event: Started, do: Effects) -> None:
    if state.books.sheet is not None:
        _set_timers(plan, state, do)


def _look_behind(state: State, at: int) -> None:
    """Begins the books anew where the clock was ahead when they were written, and has been set right for a while."""
    sheet = state.books.sheet
    if sheet is None or at >= sheet.shift.begin_ns:
        state.behind_ns = 0
    elif not 0 < state.behind_ns <= at:
        state.behind_ns = at
    elif at - state.behind_ns >= _BEHIND_NS:
        state.books, state.behind_ns = Ledger(), 0
        state.shift_timer = state.report_timer = state.stale_timer = 0
        for counter in state.counters.values():
            counter.at = at


# reading the inputs


def _ideal(plan: Plan, state: State, message: Message | None) -> None:
    if message is not None and message.quality != BAD and _number(message.value) and message.value > 0:
        state.ideal_ns = round(message.value * NS_PER_S)
    elif state.ideal_ns is None:
        state.ideal_ns = plan.config.ideal_cycle


def _count(plan: Plan, state: State, fresh: dict[str, Message], at: int) -> float:
    """Takes over the counters; returns how many pieces were made."""
    books, made = state.books, 0.0
    assert books.sheet is not None
    for port in _COUNTERS:
        message = fresh.get(port)
        if message is None or message.quality == BAD or not _number(message.value):
            continue
        counter = state.counters.setdefault(port, Counter())
        step = counter.take(getattr(plan.config, port), message.value, at)
        tally = books.sheet.tallies.setdefault(port, Tally(first=message.value))
        tally.last = counter.raw
        tally.count += step.increment
        if step.begin_ns < books.known_since_ns:
            tally.gap += step.increment
        else:
            tally.ideal_ns += step.increment * (state.ideal_ns or 0)
        if step.kind in ("unexplained", "declared", "returned"):
            books.sheet.flag(f"counter {port}: {step.kind}")
        made += step.increment
    return made


def _read_state(plan: Plan, state: State, fresh: dict[str, Message], pieces: float) -> None:
    message = fresh.get("state")
    if plan.config.pulse:
        counted = [fresh[port] for port in _COUNTERS if port in fresh]
        if counted:
            lost = all(message.quality == BAD for message in counted)
            state.machine_category = "unknown" if lost else "stopped"
            state.machine_state = "" if lost else "running" if pieces > 0 else "no pieces"
    elif message is not None:
        state.machine_state, state.machine_category = (
            ("", "unknown") if message.quality == BAD else plan.states.read(message.value)
        )
        if state.machine_category == "unknown" and message.quality != BAD and state.books.sheet:
            state.books.sheet.flag(f"{state.machine_state!r} is not in the table of states")


def _read_plan(plan: Plan, state: State, message: Message | None) -> None:
    if message is None or message.quality == BAD:
        return  # the last plan holds
    text = str(message.value)
    word = plan.config.plans.get(text) or _PLAN_WORDS.get(text)
    if word:
        state.plan = word
    elif state.books.sheet:
        state.books.sheet.flag(f"{text!r} is not in the table of plans")


def _turn(plan: Plan, state: State, pieces: float, do: Effects) -> None:
    category = state.machine_category
    if state.plan != "production":
        category = state.plan
    elif category == "stopped" and plan.config.pulse and pieces > 0:
        _tell(plan, state, state.books.pulse(plan.rules), do)
    _tell(plan, state, state.books.turn(plan.rules, category, state.machine_state), do)


# saying what was found


def _tell(plan: Plan, state: State, events: list[Ended | Closed], do: Effects) -> None:
    for event in events:
        if isinstance(event, Closed):
            end = event.sheet.shift.end_ns
            do.emit(_result(plan, state, event.sheet, "final", end), "kpi", quality=_quality(event.sheet), at=end)
            state.reported = None
        else:
            do.emit(_stop(plan, event), "stop", quality=UNCERTAIN if event.cut else GOOD, at=event.end_ns)


def _report(plan: Plan, state: State, status: Status, at: int, do: Effects, doubt: bool = False) -> None:
    sheet = state.books.view(plan.rules, at)
    quality = UNCERTAIN if doubt else _quality(sheet)
    do.emit(_result(plan, state, sheet, status, at), "kpi", quality=quality, at=at)


def _result(plan: Plan, state: State, sheet: Sheet, status: Status, at: int) -> dict[str, Any]:
    """The result object of one shift; times in s."""
    config, shift, books = plan.config, sheet.shift, state.books
    whole = account(sheet, has_ideal=state.ideal_ns is not None)
    figures = kpis(plan.policy, whole)
    return {
        "key": f"{config.machine}/{shift.day}/{shift.name}",
        "begin": utc_text(shift.begin_ns),
        "end": utc_text(shift.end_ns if status == "final" else max(at, shift.begin_ns)),
        "status": status,
        "coverage": figures.coverage,
        "data": {
            "machine": config.machine,
            "shift": shift.name,
            "day": shift.day,
            "state": books.state,
            "category": books.shown(plan.rules),
            "availability": figures.availability,
            "performance": figures.performance,
            "quality": figures.quality,
            "oee": figures.oee,
            "good": whole.good,
            "reject": whole.reject,
            "total": whole.total,
            "gap": whole.gap,
            "planned_s": figures.planned_ns / NS_PER_S,
            "run_s": figures.run_ns / NS_PER_S,
            **{f"{bucket}_s": value for bucket, value in seconds(sheet.buckets).items() if bucket != "run"},
            "buckets": seconds(sheet.buckets),
            "ideal_cycle_s": None if state.ideal_ns is None else state.ideal_ns / NS_PER_S,
            "policy": {"name": plan.policy.name, "small_stop_s": config.small_stop / NS_PER_S},
            "counters": {
                name: {"first": tally.first, "last": tally.last, "made": tally.count}
                for name, tally in sheet.tallies.items()
            },
            "flags": [*sheet.flags, *figures.flags],
        },
    }


def _stop(plan: Plan, event: Ended) -> dict[str, Any]:
    stop, machine = event.stop, plan.config.machine
    begin = utc_text(stop.begin_ns)
    return {
        "key": f"{machine}/stop/{begin}",
        "begin": begin,
        "end": utc_text(event.end_ns),
        "status": "final",
        "coverage": None,
        "data": {
            "machine": machine,
            "kind": event.bucket,
            "state": stop.state,
            "reason": stop.reason,
            "shift": event.shift.name,
            "day": event.shift.day,
            "duration_s": stop.planned_ns / NS_PER_S,
        },
    }


def _set_timers(plan: Plan, state: State, do: Effects) -> None:
    """Wakes at the end of the shift, for the next report, and when the state grows stale."""
    books = state.books
    assert books.sheet is not None
    if state.shift_timer != books.sheet.shift.end_ns:
        state.shift_timer = books.sheet.shift.end_ns
        do.wake(state.shift_timer, "shift")
    if not state.report_timer:
        state.report_timer = do.at + plan.config.report
        do.wake(state.report_timer, "report")
    stale = books.stale_ns(plan.rules)
    if stale is not None and not state.stale_timer:
        state.stale_timer = max(stale, do.at + 1)
        do.wake(state.stale_timer, "stale")


def _quality(sheet: Sheet) -> Quality:
    return UNCERTAIN if sheet.buckets["unknown"] or sheet.uncertain else GOOD


def _doubtful(inputs: Inputs) -> bool:
    return any(message.quality != GOOD for message in inputs.values())


def _counted(sheet: Sheet) -> float:
    return float(sum(tally.count for tally in sheet.tallies.values()))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def lint(config: Config, _site: Site) -> Iterable[Remark]:
    states = States(config.states, config.state_map)
    for key in config.state_map:
        if not states.is_key(key):
            message = f"is no state of {config.states}{suggestion(key.lower(), states.names())}"
            yield Remark(("state_map", key), message)


def ports(config: Config) -> Mapping[str, Port]:
    refuses = States(config.states, config.state_map).refuses()
    plan = "What is planned: production, changeover, excluded; or true and false for production or none."
    reason = "Why the machine stands, a fault code or text; 0 and empty mean none. The first one counts."
    return {
        "state": Port("The machine's state, by number or name.", refuses=refuses, needed=config.pulse is None),
        "good": Port("Counter of good pieces.", "number"),
        "reject": Port("Counter of rejected pieces.", "number"),
        "total": Port("Counter of all pieces.", "number"),
        "ideal_cycle": Port("The ideal cycle of what is being made.", "number", "s"),
        "plan": Port(plan),
        "reason": Port(reason),
    }


NODE = Node(
    kind="oee",
    about="Reckons OEE by shift from a machine's state and counters, under a named policy. Time in which the state is "
    "BAD or silent is unknown, neither up nor down, and the result UNCERTAIN. A BAD counter is passed over; its next "
    "good reading carries the difference.",
    config=Config,
    prepare=prepare,
    state=State,
    inputs=ports,
    of_tag={"states": "state", "good": "good", "reject": "reject", "total": "total"},
    lint=lint,
    outputs={
        "kpi": Port("The shift so far (live, provisional) and at its end (final), for a `record` node.", "object"),
        "stop": Port("Every stop that is over, for a `record` node.", "object"),
    },
    changed=changed,
    due=due,
    started=started,
    bad="see",
)
