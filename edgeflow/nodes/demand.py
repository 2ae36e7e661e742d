"""`demand`: energy, demand and energy per good part by interval, from a meter's counter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from edgeflow.clock import utc_text
from edgeflow.energy.interval import (
    NS_PER_H,
    Book,
    Gain,
    Interval,
    begin_of,
    book_energy,
    book_good,
    float32_step,
)
from edgeflow.model import BAD, GOOD, UNCERTAIN, Message, Quality
from edgeflow.node import Effects, Inputs, Node, Port, Settings
from edgeflow.production.counter import Counter, CounterSettings
from edgeflow.production.states import StateModel, States
from edgeflow.units import NS_PER_S, Duration

LIVE_NS = 9 * NS_PER_S // 10
"""Live figures come at most this often: once a second from a meter that is read once a second, give or take."""
MEAN_NS = 60 * NS_PER_S


class Config(Settings):
    """The meter and its intervals."""

    meter: str = Field(min_length=1, description="The meter's name in the results; begins their keys.")
    interval: Duration = Field(
        default=900 * NS_PER_S, ge=NS_PER_S, description="Length of an interval, aligned to the clock in UTC."
    )
    report: Duration = Field(default=10 * NS_PER_S, description="How often the open interval is sent, when changed.")
    settle: Duration = Field(
        default=5 * NS_PER_S, description="How long an interval that has ended waits for samples that are late."
    )
    longest: Duration = Field(
        default=60 * NS_PER_S,
        description="Samples further apart than this make a boundary between them an estimate.",
    )
    limit_kw: float = Field(default=0, ge=0, description="The demand not to exceed, in kW; 0 where there is none.")
    counter: CounterSettings = Field(default=CounterSettings(), description="What is known of the energy counter.")
    good_counter: CounterSettings = Field(default=CounterSettings(), description="What is known of the good counter.")
    states: StateModel = Field(default="packtags", description="What the machine's state numbers or names mean.")
    float32: bool = Field(
        default=False, description="The energy register is a float32: reports `step_kwh`, the least it can show."
    )


@dataclass(slots=True)
class State:
    """Both counters, the intervals that are open, and what was reported."""

    energy: Counter = field(default_factory=Counter)
    good: Counter = field(default_factory=Counter)
    book: Book = field(default_factory=Book)
    booked_ns: int = 0
    mean_at_ns: int = 0
    mean_total_kwh: float = 0.0
    mean_kw: float | None = None
    live_ns: int = 0
    live_quality: int | None = None
    report_ns: int = 0
    reported: list[float] = field(default_factory=list)
    last: dict[str, Any] | None = None


def changed(plan: Config, state: State, inputs: Inputs, do: Effects) -> None:
    good, energy = inputs.get("good"), inputs.get("energy")
    if good and "good" in inputs.fresh and good.quality != BAD:
        _take_good(plan, state, good)
    if energy is None or "energy" not in inputs.fresh:
        return
    if energy.quality != BAD:
        _take_energy(plan, state, energy, idle=_is_idle(plan, inputs))
        for interval in state.book.settle(energy.at - plan.settle):
            _final(plan, state, interval, inputs, do)
        _provisional(plan, state, inputs, do)
    _live(plan, state, inputs, do)


def _take_good(plan: Config, state: State, good: Message) -> None:
    step = state.good.take(plan.good_counter, good.value, good.at)
    if step.increment and state.booked_ns:
        book_good(state.book, plan.interval, good.at, step.increment)


def _take_energy(plan: Config, state: State, energy: Message, *, idle: bool) -> None:
    step = state.energy.take(plan.counter, energy.value, energy.at)
    if step.kind == "baseline":
        state.booked_ns = state.mean_at_ns = energy.at
        return
    if step.kind == "late":
        return
    explained = step.kind != "unexplained"
    # A counter that came back after a fall speaks of the time before the fall too, but only where
    # that was not booked yet.
    begin_ns, end_ns = max(step.begin_ns, state.booked_ns), state.energy.at
    gain = Gain(begin_ns, end_ns, step.increment if explained else None, idle, energy.quality != GOOD)
    book_energy(state.book, plan.interval, gain, plan.longest)
    if explained:
        state.booked_ns = end_ns
    if energy.at - state.mean_at_ns >= MEAN_NS:
        gained_kwh = state.energy.total - state.mean_total_kwh
        state.mean_kw = gained_kwh * NS_PER_H / (energy.at - state.mean_at_ns)
        state.mean_at_ns, state.mean_total_kwh = energy.at, state.energy.total


def _final(plan: Config, state: State, interval: Interval, inputs: Inputs, do: Effects) -> None:
    data = _data(plan, interval, inputs)
    begin = utc_text(interval.begin_ns)
    state.last = {"begin": begin, **{key: data[key] for key in data if key not in ("meter", "limit_kw", "step_kwh")}}
    _emit(plan, interval, data, "final", _quality(interval, inputs, "good", "state"), do)


def _provisional(plan: Config, state: State, inputs: Inputs, do: Effects) -> None:
    at_ns = state.energy.at
    interval = _open(plan, state)
    figures = [interval.begin_ns, interval.kwh, interval.good]
    if _soon(at_ns, state.report_ns, plan.report) or figures == state.reported or not interval.booked_ns:
        return
    state.report_ns, state.reported = at_ns, figures
    data = _data(plan, interval, inputs)
    data["projected_kw"] = interval.projected_kw(at_ns, _power_kw(state, interval, inputs))
    _emit(plan, interval, data, "provisional", _quality(interval, inputs, "good", "state", "power"), do)


def _live(plan: Config, state: State, inputs: Inputs, do: Effects) -> None:
    energy = inputs["energy"]
    if _soon(energy.at, state.live_ns, LIVE_NS) and energy.quality == state.live_quality:
        return
    state.live_ns, state.live_quality = energy.at, int(energy.quality)
    if energy.quality == BAD:
        data: dict[str, Any] = {"meter": plan.meter, "kw": None, "projected_kw": None, "last": state.last}
        do.emit({"key": plan.meter, "status": "live", "data": data}, quality=BAD)
        do.emit(None, "projected", quality=BAD)
        return
    interval = _open(plan, state)
    present_kw = _power_kw(state, interval, inputs)
    projected_kw = interval.projected_kw(energy.at, present_kw)
    quality = _quality(interval, inputs, "energy", "good", "state", "power")
    data = {
        **_data(plan, interval, inputs),
        "kw": present_kw,
        "projected_kw": projected_kw,
        "counter_kwh": energy.value,
        "begin": utc_text(interval.begin_ns),
        "end": utc_text(interval.end_ns),
        "last": state.last,
    }
    period = {"begin": data["begin"], "end": data["end"], "coverage": interval.coverage}
    do.emit({"key": plan.meter, **period, "status": "live", "data": data}, quality=quality)
    do.emit(projected_kw, "projected", quality=quality)


def _soon(at_ns: int, last_ns: int, pause_ns: int) -> bool:
    """Whether less than the pause has passed; a clock that was set back is no reason to be silent."""
    return 0 <= at_ns - last_ns < pause_ns


def _emit(plan: Config, interval: Interval, data: dict[str, Any], status: str, quality: Quality, do: Effects) -> None:
    begin = utc_text(interval.begin_ns)
    result = {
        "key": f"{plan.meter}/{begin}",
        "begin": begin,
        "end": utc_text(interval.end_ns),
        "status": status,
        "coverage": interval.coverage,
        "data": data,
    }
    do.emit(result, quality=quality)


def _data(plan: Config, interval: Interval, inputs: Inputs) -> dict[str, Any]:
    """What is known of an interval; good parts and idle energy only where those inputs are wired."""
    data: dict[str, Any] = {
        "meter": plan.meter,
        "kwh": interval.kwh if interval.booked_ns else None,
        "demand_kw": interval.demand_kw,
        "estimated": interval.doubtful,
    }
    if "good" in inputs:
        data["good"] = interval.good
        data["kwh_per_good"] = None if _is_bad(inputs, "good") else interval.kwh_per_good
    if "state" in inputs:
        data["idle_kwh"] = interval.idle_kwh
    if plan.limit_kw:
        data["limit_kw"] = plan.limit_kw
    if plan.float32:
        data["step_kwh"] = float32_step(inputs["energy"].value)
    return data


def _open(plan: Config, state: State) -> Interval:
    begin_ns = begin_of(state.energy.at, plan.interval)
    return state.book.interval(begin_ns, begin_ns + plan.interval)


def _power_kw(state: State, interval: Interval, inputs: Inputs) -> float:
    """The present power: measured, else the counter's mean over the last minute, else the interval's."""
    power = inputs.get("power")
    if power and power.quality != BAD:
        return float(power.value)
    return state.mean_kw if state.mean_kw is not None else interval.demand_kw or 0.0


def _is_idle(plan: Config, inputs: Inputs) -> bool:
    """Whether the machine is known not to run."""
    state = inputs.get("state")
    if state is None or state.quality == BAD:
        return False
    return States(plan.states).read(state.value)[1] not in ("running", "unknown")


def _quality(interval: Interval, inputs: Inputs, *ports: str) -> Quality:
    """GOOD where neither the interval's energy nor what else is told of it is in doubt; else UNCERTAIN."""
    doubtful = interval.doubtful or any(inputs[port].quality != GOOD for port in ports if port in inputs)
    return UNCERTAIN if doubtful else GOOD


def _is_bad(inputs: Inputs, port: str) -> bool:
    return port in inputs and inputs[port].quality == BAD


def ports(config: Config) -> Mapping[str, Port]:
    power = "Present power, for the projection; without it the counter's last minute counts."
    state = "The machine's state: splits off `idle_kwh`, what was used while it did not run."
    return {
        "energy": Port("The meter's counter.", "number", "kWh", needed=True),
        "power": Port(power, "number", "kW"),
        "good": Port("Counter of good parts, as the machine has it.", "number"),
        "state": Port(state, refuses=States(config.states).refuses()),
    }


NODE = Node(
    kind="demand",
    about="Energy per interval from a counter, with demand, its projection, and energy per good part. Boundaries are "
    "interpolated, so intervals add up to what the counter gained. BAD samples are left out: what was consumed "
    "meanwhile is booked when the counter is back, and an interval whose share is estimated is UNCERTAIN. Without a "
    "good part, energy per good part is undefined.",
    config=Config,
    state=State,
    inputs=ports,
    of_tag={"counter": "energy", "good_counter": "good", "states": "state"},
    outputs={
        "out": Port("Live, provisional and final intervals, for `record` with stream energy.", "object"),
        "projected": Port("Demand at the interval's end if power stays as it is.", "number", "kW"),
    },
    changed=changed,
    bad="see",
)
