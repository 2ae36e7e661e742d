"""What a node must remember over a restart, as one JSON object: state, inputs, timers, calls, held requests."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import fields
from functools import cache
from typing import Any, cast

import orjson
from pydantic import TypeAdapter, ValidationError

from edgeflow.engine.step import Step, Timer
from edgeflow.model import Message, Quality, Request


@cache
def _adapter_of(state: Any) -> TypeAdapter[Any]:
    return TypeAdapter(state)


def _adapter(state: type[Any]) -> TypeAdapter[Any]:
    return _adapter_of(cast("Hashable", state))


def dump(step: Step) -> bytes:
    """The node as it stands. Ports the engine feeds from tags are left out: the next sample brings them."""
    kind = step.kind
    keeps_inputs = kind.state is not None or len(step.inputs) > 1
    content: dict[str, Any] = {"kind": kind.kind}
    if kind.state is not None:
        content["state"] = _adapter(kind.state).dump_python(step.state, mode="json")
    if keeps_inputs and step.inputs:
        content["inputs"] = {
            port: [m.value, int(m.quality), m.at] for port, m in step.inputs.items() if port not in step.fed
        }
    if step.timers:
        content["timers"] = {key: [timer.at, timer.run] for key, timer in step.timers.items()}
    if step.calls:
        content["calls"] = {call: list(key_run) for call, key_run in step.calls.items()}
    if step.holds:
        content["holds"] = {
            output: [dict(r.pattern), r.priority, r.since, r.lease_end] for output, r in step.holds.items()
        }
    return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS)


def load(step: Step, saved: bytes) -> str:
    """Puts a saved node back; returns why its state had to begin anew, empty where it was taken over."""
    try:
        return _load(step, orjson.loads(saved))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        step.inputs.clear()
        return f"what was saved of it cannot be read ({error})"


def _load(step: Step, content: dict[str, Any]) -> str:
    kind = step.kind
    if content.get("kind") != kind.kind:
        return f"was a {content.get('kind')}, is a {kind.kind}"
    lost = ""
    if kind.state is not None and "state" in content:
        lost = _restore(step, kind.state, content["state"])
    if not lost:
        for port, (value, quality, at) in content.get("inputs", {}).items():
            step.inputs[port] = Message(value, Quality(quality), at)
        step.quality = max((m.quality for m in step.inputs.values()), default=Quality.GOOD)
        step.timers = {key: Timer(at, run) for key, (at, run) in content.get("timers", {}).items()}
        step.calls = {call: (key, run) for call, (key, run) in content.get("calls", {}).items()}
    for output, (pattern, priority, since, lease_end) in content.get("holds", {}).items():
        if output in step.drives:
            step.holds[output] = Request(step.owner, output, pattern, priority, since, lease_end)
    return lost


def _restore(step: Step, shape: type[Any], state: dict[str, Any]) -> str:
    """Takes a state over where nothing of it would be lost; fields that are new begin with their defaults."""
    unknown = sorted(set(state) - {each.name for each in fields(shape)})
    if unknown:
        return f"its state has another shape: {', '.join(unknown)} would be lost"
    try:
        step.state = _adapter(shape).validate_python(state)
    except ValidationError as error:
        return f"its state has another shape ({error.error_count()} differences)"
    return ""
