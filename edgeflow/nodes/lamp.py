"""`lamp`: shows a machine's state on a stack light."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from edgeflow.andon.patterns import STATES, UNKNOWN, LampPattern, pattern_of, unshown
from edgeflow.clock import utc_text
from edgeflow.explain import suggestion
from edgeflow.model import BAD, Pattern, Value
from edgeflow.node import Effects, Inputs, Node, OutputField, Port, Remark, Settings, Site, Started
from edgeflow.outputs.arbitration import FLOW
from edgeflow.production.states import StateModel, States
from edgeflow.units import Duration


class Config(Settings):
    """Which lamp, and what it shows for which state."""

    output: str = OutputField(description="The stack light.")
    machine: str = Field(default="", description="The machine's name in the results; the output's where empty.")
    states: StateModel = Field(
        default="packtags", description="How the machine tells its state; packtags and packml are the two numberings."
    )
    patterns: dict[str, LampPattern] = Field(
        default_factory=dict,
        description="State or category of time -> what to show, e.g. `execute: {green: on}`; before the output's own.",
    )
    priority: int = Field(default=FLOW, ge=0, le=899, description="The highest priority wins; people have 900.")
    lease: Duration | None = Field(
        default=None,
        description="Without news for so long the output shows its `when_stale`; longer than the source's cadence.",
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """The lamp and everything it can show."""

    machine: str
    output: str
    priority: int
    lease_ns: int | None
    states: States
    patterns: tuple[Mapping[str, Pattern], ...]
    when_stale: Pattern


@dataclass(slots=True)
class State:
    """The machine's state (empty before the first), the open call beside it, and what was reported last."""

    state: str = ""
    category: str = UNKNOWN
    call: dict[str, Any] | None = None
    reported: dict[str, Any] | None = None


def prepare(config: Config, site: Site) -> Plan:
    output = site.outputs[config.output]
    return Plan(
        machine=config.machine or config.output,
        output=config.output,
        priority=config.priority,
        lease_ns=config.lease,
        states=States(config.states),
        patterns=(config.patterns, output.patterns, STATES),
        when_stale=output.when_stale,
    )


def lint(config: Config, site: Site) -> Iterable[Remark]:
    output, known = site.outputs[config.output], States(config.states).names()
    if not output.is_light:
        yield Remark(("output",), f"{config.output} is no light but one value; use a `write` node")
        return
    for state, pattern in config.patterns.items():
        if state == UNKNOWN:
            message = f"is never shown: {config.output} shows its `when_stale` when nobody knows the state"
            yield Remark(("patterns", state), message)
        elif state not in known:
            message = f"is no state of {config.states} and no category{suggestion(state.lower(), known)}"
            yield Remark(("patterns", state), message)
        for element in unshown(pattern, output.elements):
            message = f"{config.output} has no element {element!r}{suggestion(element, output.elements)}"
            yield Remark(("patterns", state, element), message)


def changed(plan: Plan, state: State, inputs: Inputs, do: Effects) -> None:
    call = inputs.get("call")
    if call and call.quality != BAD:
        state.call = _if_open(call.value)
    message = inputs.get("state")
    if message is None:
        return
    state.state, state.category = (UNKNOWN, UNKNOWN) if message.quality == BAD else plan.states.read(message.value)
    do.hold(plan.output, _pattern(plan, state), priority=plan.priority, lease=plan.lease_ns)
    report = {
        "machine": plan.machine,
        "output": plan.output,
        "state": state.state,
        "pattern": dict(_pattern(plan, state)),
        "call": state.call,
    }
    if report != state.reported:
        state.reported = report
        data = {**report, "since": utc_text(do.at)}
        do.emit({"key": plan.machine, "status": "live", "data": data}, quality=message.quality)


def started(plan: Plan, state: State, event: Started, do: Effects) -> None:
    state.reported = None  # live results are not stored: say it again
    if event.why == "redeploy" and state.state:  # the colours may be others now
        do.hold(plan.output, _pattern(plan, state), priority=plan.priority, lease=plan.lease_ns)


def _pattern(plan: Plan, state: State) -> Pattern:
    found = None if state.category == UNKNOWN else pattern_of(plan.patterns, state.state, state.category)
    return plan.when_stale if found is None else found


def _if_open(call: Value) -> dict[str, Any] | None:
    """The data of a call's result, None where the call is over."""
    open_ = isinstance(call, dict) and call.get("status") == "provisional"
    return call["data"] if open_ else None


def ports(config: Config) -> Mapping[str, Port]:
    refuses = States(config.states).refuses()
    return {
        "state": Port("The machine's state, as a number or by name.", refuses=refuses, needed=True),
        "call": Port("The machine's Andon call, to report it beside the state.", "object"),
    }


NODE = Node(
    kind="lamp",
    about="Holds the pattern of the machine's state on a stack light. BAD, and a state nobody knows, show the output's "
    "when_stale; UNCERTAIN shows the state.",
    config=Config,
    prepare=prepare,
    state=State,
    inputs=ports,
    of_tag={"states": "state"},
    lint=lint,
    outputs={"out": Port("What is shown, for `record` with stream andon.", "object")},
    changed=changed,
    started=started,
    bad="see",
)
