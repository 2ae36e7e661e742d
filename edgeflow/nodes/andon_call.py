"""`andon_call`: an Andon call from the press of a button to its end, with escalation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from edgeflow.andon.call import BUTTONS, Button, Call, Level, deadline, escalate, press
from edgeflow.andon.patterns import CALL, LampPattern, unshown
from edgeflow.clock import utc_text
from edgeflow.explain import suggestion
from edgeflow.model import BAD, GOOD, Pattern, Strict
from edgeflow.node import Due, Effects, Inputs, Node, OutputField, Port, Remark, Settings, Site, Started
from edgeflow.outputs.arbitration import CALL as CALL_PRIORITY
from edgeflow.units import NS_PER_S, Duration


class LevelSettings(Strict):
    """Whom to tell when nobody comes."""

    after: Duration = Field(description="How long after the call was raised.")
    to: str = Field(min_length=1, description="Whom to tell, for example `line lead`.")
    unless: Literal["acknowledged", "resolved"] = Field(
        default="acknowledged", description="What stops this level: somebody coming, or only the call's end."
    )


class Config(Settings):
    """The call and who answers it."""

    machine: str = Field(min_length=1, description="The machine's name in the results.")
    type: str = Field(
        default="maintenance", min_length=1, description="What is called for, e.g. maintenance, material."
    )
    output: str | None = OutputField(default=None, description="The stack light that shows the call.")
    patterns: dict[Literal["raised", "acknowledged", "escalated"], LampPattern] = Field(
        default_factory=dict, description="What the light shows; goes before the output's own patterns of these names."
    )
    escalate: tuple[LevelSettings, ...] = Field(default=(), description="Levels of escalation, the soonest first.")
    acknowledge_again: Literal["ignore", "resolve"] = Field(
        default="ignore",
        description="What a second press on acknowledge does; `resolve` where there is no third button.",
    )
    bounce: Duration = Field(
        default=2 * NS_PER_S, description="A second press on acknowledge sooner than this is the first one still."
    )

    @model_validator(mode="after")
    def _levels_in_order(self) -> Self:
        times = [level.after for level in self.escalate]
        if times != sorted(times):
            raise ValueError("write the levels of `escalate` in the order of their times, the soonest first")
        return self


@dataclass(frozen=True, slots=True)
class Plan:
    """The call's configuration, with the patterns of its light."""

    machine: str
    type: str
    output: str | None
    patterns: Mapping[str, Pattern]
    levels: tuple[Level, ...]
    again_resolves: bool
    bounce_ns: int


@dataclass(slots=True)
class State:
    """The call, and which buttons were down last."""

    call: Call = field(default_factory=Call)
    down: dict[str, bool] = field(default_factory=dict)


def prepare(config: Config, site: Site) -> Plan:
    own = site.outputs[config.output].patterns if config.output else {}
    return Plan(
        machine=config.machine,
        type=config.type,
        output=config.output,
        patterns={**CALL, **own, **{str(name): pattern for name, pattern in config.patterns.items()}},
        levels=tuple(Level(level.after, level.to, level.unless) for level in config.escalate),
        again_resolves=config.acknowledge_again == "resolve",
        bounce_ns=config.bounce,
    )


def lint(config: Config, site: Site) -> Iterable[Remark]:
    output = site.outputs[config.output] if config.output else None
    if output and not output.is_light:
        yield Remark(("output",), f"{output.name} is no light but one value; a call needs a stack light")
    elif output:
        own: Mapping[str, Pattern] = {str(name): pattern for name, pattern in config.patterns.items()}
        for phase, pattern in own.items():
            for element in unshown(pattern, output.elements):
                message = f"{output.name} has no element {element!r}{suggestion(element, output.elements)}"
                yield Remark(("patterns", phase, element), message)
        for phase, pattern in {**CALL, **output.patterns, **own}.items():
            if phase in CALL and pattern and len(unshown(pattern, output.elements)) == len(pattern):
                message = (
                    f"{output.name} shows nothing of a call that is {phase}: it has no {' and no '.join(pattern)}; "
                    f"write `patterns: {{{phase}: {{{output.elements[0]}: flash}}}}`"
                )
                yield Remark(("output",), message, wrong=False)


def changed(plan: Plan, state: State, inputs: Inputs, do: Effects) -> None:
    for button in BUTTONS:
        if button not in inputs.fresh or inputs[button].quality == BAD:
            continue
        message = inputs[button]
        pressed = bool(message.value) and not state.down.get(button, False)
        state.down[button] = bool(message.value)
        if pressed and _press(plan, state.call, button, message.at):
            _show(plan, state.call, do)
            _arm(plan, state.call, do)
            do.emit(_result(plan, state.call), "call", quality=message.quality)


def due(plan: Plan, state: State, event: Due, do: Effects) -> None:
    while level := escalate(state.call, plan.levels, event.at):
        _show(plan, state.call, do)
        do.emit(_result(plan, state.call), "call", quality=GOOD)
        do.emit({**_data(plan, state.call), "to": level.to}, "escalation", quality=GOOD)
    _arm(plan, state.call, do)


def started(plan: Plan, state: State, event: Started, do: Effects) -> None:
    if state.call.is_open:  # what is shown of it is not stored: say it again
        do.emit(_result(plan, state.call), "call", quality=GOOD)
    if event.why == "redeploy":  # colours and levels may be others now; a restart brings both back by itself
        _show(plan, state.call, do)
        _arm(plan, state.call, do)


def _press(plan: Plan, call: Call, button: Button, at_ns: int) -> bool:
    if press(call, button, at_ns):
        return True
    again = button == "acknowledge" and plan.again_resolves and at_ns - call.acknowledged_ns >= plan.bounce_ns
    return again and press(call, "resolve", at_ns)


def _arm(plan: Plan, call: Call, do: Effects) -> None:
    at = deadline(call, plan.levels)
    if at is None:
        do.rest()
    else:
        do.wake(at)


def _show(plan: Plan, call: Call, do: Effects) -> None:
    if plan.output is None:
        return
    if call.is_open:
        do.hold(plan.output, _pattern(plan, call), priority=CALL_PRIORITY)
    else:
        do.release(plan.output)


def _pattern(plan: Plan, call: Call) -> Pattern:
    return plan.patterns["escalated" if call.level and call.phase == "raised" else call.phase]


def _result(plan: Plan, call: Call) -> dict[str, Any]:
    raised = utc_text(call.raised_ns)
    return {
        "key": f"{plan.machine}/{plan.type}/{raised}",
        "begin": raised,
        "end": _text(call.closed_ns),
        "status": "provisional" if call.is_open else "final",
        "data": _data(plan, call),
    }


def _data(plan: Plan, call: Call) -> dict[str, Any]:
    return {
        "machine": plan.machine,
        "type": plan.type,
        "state": call.phase,
        "level": call.level,
        "escalated_to": plan.levels[call.level - 1].to if 0 < call.level <= len(plan.levels) else None,
        "raised": utc_text(call.raised_ns),
        "acknowledged": _text(call.acknowledged_ns),
        "closed": _text(call.closed_ns),
        "acknowledged_after_s": _after_s(call, call.acknowledged_ns),
        "closed_after_s": _after_s(call, call.closed_ns),
        "pattern": dict(_pattern(plan, call)) if call.is_open else None,
    }


def _text(at_ns: int) -> str | None:
    return utc_text(at_ns) if at_ns else None


def _after_s(call: Call, at_ns: int) -> float | None:
    return (at_ns - call.raised_ns) / NS_PER_S if at_ns else None


NODE = Node(
    kind="andon_call",
    about="A call for help: raised, acknowledged, resolved; told to the next level when nobody comes. A press counts "
    "when its button turns true; presses that change nothing are ignored. A BAD button is not pressed: what is "
    "open stays open. Deadlines run on through outages.",
    config=Config,
    prepare=prepare,
    state=State,
    inputs={
        "raise": Port("The call button.", "boolean", pressed=True),
        "acknowledge": Port("Somebody is coming.", "boolean", pressed=True),
        "resolve": Port("The matter is settled.", "boolean", pressed=True),
        "cancel": Port("It was a mistake.", "boolean", pressed=True),
    },
    lint=lint,
    outputs={
        "call": Port("The call as it stands, for `record` with stream andon.", "object"),
        "escalation": Port("Whom to tell now, once per level: {machine, type, level, to, ...}.", "object"),
    },
    changed=changed,
    due=due,
    started=started,
    bad="see",
)
