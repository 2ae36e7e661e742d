"""The conformance suite for nodes finds what it is there to find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from pydantic import Field

from edgeflow.model import GOOD, Value
from edgeflow.node import Due, Effects, Inputs, Node, Port, Settings, Started
from edgeflow.testing.nodes import (
    BEGIN_NS,
    CHECKS,
    Probe,
    Subject,
    a_restart_changes_nothing,
    bad_never_becomes_good,
    everything_is_described,
    handlers_leave_inputs_and_settings_alone,
    nothing_is_sent_before_an_input_came,
    run,
    state_is_plain_data,
    the_same_events_have_the_same_effects,
)
from edgeflow.units import NS_PER_S


class Config(Settings):
    factor: float = Field(default=2, description="A factor.")


class Silent(Settings):
    factor: float = 2


@dataclass(slots=True)
class Sum:
    total: float = 0
    parts: list[float] = field(default_factory=list)


@dataclass
class Loose:
    total: float = 0


@dataclass(slots=True)
class Opaque:
    seen: set[float] = field(default_factory=set)
    last: Value = None


def changed(plan: Config, state: Sum, inputs: Inputs, do: Effects) -> None:
    state.total += inputs["in"].value * plan.factor
    do.emit(state.total)


def due(_plan: Config, state: Sum, event: Due, do: Effects) -> None:
    do.emit(state.total, at=event.at)


GOOD_NODE: Node[Any, Any, Any] = Node(
    kind="sum", about="Adds up.", config=Config, state=Sum, changed=changed,
    inputs={"in": Port("A number.", "number")}, outputs={"out": Port("The sum.", "number")},
)  # fmt: skip


def started_talking(_plan: Config, _state: Sum, _event: Started, do: Effects) -> None:
    do.emit(0)


def believing(plan: Config, state: Sum, inputs: Inputs, do: Effects) -> None:
    state.total += (inputs["in"].value or 0) * plan.factor
    do.emit(state.total, quality=GOOD)


def meddling(_plan: Config, _state: Sum, inputs: Inputs, do: Effects) -> None:
    inputs["in"].value = 0
    do.emit(1)


def forgetful() -> Callable[..., None]:
    kept: list[float] = []

    def remembers_outside(_plan: Config, _state: Sum, inputs: Inputs, do: Effects) -> None:
        kept.append(inputs["in"].value)
        do.emit(len(kept))

    return remembers_outside


def tuples(_plan: Config, state: Opaque, inputs: Inputs, do: Effects) -> None:
    before, state.last = state.last, (inputs["in"].value,)
    do.emit(isinstance(before, tuple))


def test_a_kind_that_keeps_the_contract_passes_every_check() -> None:
    for check in CHECKS:
        check(Subject(GOOD_NODE))


@pytest.mark.parametrize(
    ("check", "node"),
    [
        (everything_is_described, replace(GOOD_NODE, config=Silent)),
        (everything_is_described, replace(GOOD_NODE, about="")),
        (everything_is_described, replace(GOOD_NODE, inputs={"in": Port("")})),
        (nothing_is_sent_before_an_input_came, replace(GOOD_NODE, started=started_talking)),
        (state_is_plain_data, replace(GOOD_NODE, state=Loose)),
        (state_is_plain_data, replace(GOOD_NODE, state=Opaque, changed=tuples)),
        (the_same_events_have_the_same_effects, replace(GOOD_NODE, changed=forgetful())),
        (a_restart_changes_nothing, replace(GOOD_NODE, state=Opaque, changed=tuples)),
        (handlers_leave_inputs_and_settings_alone, replace(GOOD_NODE, changed=meddling)),
        (bad_never_becomes_good, replace(GOOD_NODE, changed=believing, bad="see")),
    ],
)
def test_a_kind_that_breaks_the_contract_is_found(check: Callable[[Subject], None], node: Node[Any, Any, Any]) -> None:
    with pytest.raises(AssertionError):
        check(Subject(node))


def test_an_exemption_must_have_its_reason() -> None:
    talking = Subject(
        replace(GOOD_NODE, started=started_talking),
        exempt={"nothing_is_sent_before_an_input_came": "it begins with 0"},
    )
    run(nothing_is_sent_before_an_input_came, talking)
    with pytest.raises(AssertionError, match="take the exemption away"):
        run(nothing_is_sent_before_an_input_came, replace(talking, node=GOOD_NODE))


def test_the_probe_fires_timers_before_a_later_input() -> None:
    def waking(_plan: Config, _state: Sum, inputs: Inputs, do: Effects) -> None:
        do.wake(do.at + inputs["in"].value * NS_PER_S)

    probe = Probe(replace(GOOD_NODE, changed=waking, due=due), {})
    probe.send(BEGIN_NS, in_=1)
    effects = probe.send(BEGIN_NS + 5 * NS_PER_S, in_=60)
    assert [(e.what, e.at - BEGIN_NS) for e in effects] == [("emit", NS_PER_S), ("wake", 65 * NS_PER_S)]
