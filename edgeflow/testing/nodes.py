"""The conformance suite for nodes: what every kind must keep, tried without an engine.

A kind's test declares a `Subject` with the settings it needs and runs every check:

    SUBJECT = Subject(NODE, {"limit": 5})

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_the_kind_keeps_the_contract(check):
        check(SUBJECT)

A check that cannot apply is named in `exempt` with the reason, and must then fail; nothing is skipped silently.
`Probe` runs one node and writes down its effects; it serves for a kind's own tests, too.
"""

from __future__ import annotations

import copy
import dataclasses
import heapq
import random
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, cast, get_args

from pydantic import BaseModel, TypeAdapter

from edgeflow.model import BAD, GOOD, Answer, Block, Message, Pattern, Quality, Tag, Value
from edgeflow.node import Answered, Due, Inputs, Node, Port, Site, Started
from edgeflow.outputs.arbitration import OutputPlan
from edgeflow.units import NS_PER_S

BEGIN_NS = 1_795_154_400 * NS_PER_S
"""2026-11-20T06:00:00Z."""

SITE = Site(
    gateway="gateway",
    place="acme/plant1",
    tags={f"machine/{name}": Tag(f"machine/{name}") for name in ("state", "good", "value")},
    outputs={
        "lamp": OutputPlan("lamp", ("red", "amber", "green", "blue", "buzzer"), when_stale={"blue": "flash"}),
        "value": OutputPlan("value", ("value",)),
    },
)
"""What a node can refer to here: tags of the device `machine`, and the outputs `lamp` and `value`."""

_KNOWN_BY: Mapping[str, Sequence[Value]] = {
    "boolean": (False, True, True, False),
    "text": ("execute", "", "aborted"),
    "object": ({"key": "a", "data": {"value": 1}}, {"value": 2}),
}


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing a handler wanted done: `emit`, `wake`, `rest`, `call`, `record`, `hold` or `release`."""

    what: str
    name: str
    content: Value
    at: int = 0
    quality: Quality | None = None


class Probe:
    """Runs one node as the engine does, and writes down its effects. It is the `Effects` of its handlers."""

    def __init__(self, node: Node[Any, Any, Any], settings: Mapping[str, Any], site: Site = SITE) -> None:
        self.node = node
        self.config = node.config.model_validate(dict(settings))
        self.plan = node.prepare(self.config, site) if node.prepare else self.config
        self.state = node.state() if node.state else None
        self.inputs = Inputs()
        self.effects: list[Effect] = []
        self._at = self._run = self._serial = 0
        self._quality: Quality = GOOD
        self._timers: dict[str, int] = {}
        self._heap: list[tuple[int, int, str]] = []

    @property
    def at(self) -> int:
        return self._at

    @property
    def run(self) -> int:
        return self._run

    @property
    def ports(self) -> Mapping[str, Port]:
        """The input ports."""
        return self.node.inputs_of(self.config)

    # events; each returns the effects that it had

    def start(self, why: Literal["first", "restart", "redeploy"] = "first", at: int = BEGIN_NS) -> list[Effect]:
        """The flow begins."""
        return self._handle(self.node.started, Started(why, at), at)

    def send(self, at: int, **values: Value) -> list[Effect]:
        """GOOD values on ports, all in one tick; a port named by a keyword of Python is written `in_`."""
        return self.take({name.rstrip("_"): Message(value, GOOD, at) for name, value in values.items()})

    def take(self, messages: Mapping[str, Message]) -> list[Effect]:
        """Messages on ports, all in one tick; timers that are due by then come first."""
        at = max(message.at for message in messages.values())
        before = self.advance(at)
        mark = self._begin(at)
        self.inputs.update(messages)
        self.inputs.fresh.update(messages)
        self._quality = max(message.quality for message in self.inputs.values())
        if self._quality == BAD and self.node.bad == "pass":
            for port in self.node.outputs_of(self.config):
                self.emit(None, port, quality=BAD)
        elif self.node.changed is not None:
            self.node.changed(self.plan, self.state, self.inputs, self)
        self.inputs.fresh.clear()
        return before + self.effects[mark:]

    def advance(self, at: int) -> list[Effect]:
        """Time goes on: timers that are due fire in order."""
        mark = len(self.effects)
        while self._heap and self._heap[0][0] <= at:
            due_at, _, key = heapq.heappop(self._heap)
            if self._timers.get(key) == due_at:
                del self._timers[key]
                self._handle(self.node.due, Due(key, due_at), due_at)
        return self.effects[mark:]

    def answer(self, key: str, answer: Answer) -> list[Effect]:
        """The answer to a call comes."""
        return self._handle(self.node.answered, Answered(key, answer), answer.at)

    def round_trip(self) -> None:
        """Stores the state as JSON and takes it back, as a restart does."""
        if self.state is not None:
            adapter = _adapter(type(self.state))
            self.state = adapter.validate_json(adapter.dump_json(self.state))

    def _handle(self, handler: Callable[..., None] | None, event: object, at: int) -> list[Effect]:
        mark = self._begin(at)
        if handler is not None:
            handler(self.plan, self.state, event, self)
        return self.effects[mark:]

    def _begin(self, at: int) -> int:
        self._at = at
        self._run += 1
        return len(self.effects)

    # effects

    def emit(self, value: Value, port: str = "out", *, quality: Quality | None = None, at: int | None = None) -> None:
        assert port in self.node.outputs_of(self.config), f"{port!r} is not an output of this kind"
        self._note("emit", port, value, self._at if at is None else at, quality)

    def wake(self, at: int, key: str = "") -> None:
        self._timers[key] = at
        self._serial += 1
        heapq.heappush(self._heap, (at, self._serial, key))
        self._note("wake", key, None, at)

    def rest(self, key: str = "") -> None:
        self._timers.pop(key, None)
        self._note("rest", key, None, self._at)

    def call(
        self, service: str, request: Mapping[str, Value], *, key: str = "", fast: str = "", answer: bool = True
    ) -> None:
        self._note("call", service, {"request": dict(request), "key": key, "fast": fast, "answer": answer}, self._at)

    def record(
        self,
        stream: str,
        key: str,
        data: Mapping[str, Value],
        *,
        version: int | None = None,
        begin: int | None = None,
        end: int | None = None,
        coverage: float | None = None,
        status: Literal["live", "provisional", "final"] = "final",
        quality: Quality | None = None,
    ) -> None:
        about: dict[str, Value] = {"key": key, "data": dict(data), "version": version, "begin": begin, "end": end}
        about |= {"coverage": coverage, "status": status}
        self._note("record", stream, about, self._at, quality)

    def hold(self, output: str, pattern: Pattern, *, priority: int = 500, lease: int | None = None) -> None:
        self._note("hold", output, {"pattern": dict(pattern), "priority": priority, "lease": lease}, self._at)

    def release(self, output: str) -> None:
        self._note("release", output, None, self._at)

    def _note(self, what: str, name: str, content: Value, at: int, quality: Quality | None = None) -> None:
        quality = self._quality if quality is None else quality
        self.effects.append(Effect(what, name, copy.deepcopy(content), at, quality))


@dataclass(frozen=True, slots=True)
class Subject:
    """A kind under test: settings that it needs, values for its ports where random ones say nothing, exemptions."""

    node: Node[Any, Any, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    site: Site = SITE
    exempt: Mapping[str, str] = field(default_factory=dict)

    def probe(self) -> Probe:
        return Probe(self.node, self.settings, self.site)


def run(check: Callable[[Subject], None], subject: Subject) -> None:
    """One check; where the subject is exempt it must fail, so that no exemption outlives its reason."""
    if check.__name__ not in subject.exempt:
        check(subject)
        return
    try:
        check(subject)
    except AssertionError:
        return
    raise AssertionError(f"{subject.node.kind} keeps {check.__name__}; take the exemption away")


# --- the checks ---------------------------------------------------------------------------------------


def everything_is_described(subject: Subject) -> None:
    """Settings, ports and the kind itself say what they are: form and reference are made of it."""
    node, config = subject.node, subject.probe().config
    assert node.about, "the kind does not say what it does"
    missing = list(_undescribed(node.config))
    assert not missing, f"settings without a description: {', '.join(missing)}"
    for name, port in (*node.inputs_of(config).items(), *node.outputs_of(config).items()):
        assert port.about, f"port {name!r} does not say what it is"
        likes = node.config.model_fields if name in node.inputs_of(config) else node.inputs_of(config)
        assert port.like is None or port.like in likes, f"port {name!r} is like nothing that there is"
    for setting, port_name in node.of_tag.items():
        assert not setting or setting in node.config.model_fields, f"there is no setting {setting!r}"
        assert port_name in node.inputs_of(config), f"{setting!r} is told by the tag of an input that is not there"


def nothing_is_sent_before_an_input_came(subject: Subject) -> None:
    probe = subject.probe()
    effects = probe.start() + probe.advance(BEGIN_NS + 86_400 * NS_PER_S)
    sent = [effect for effect in effects if effect.what in ("emit", "record", "call")]
    assert not sent, f"sent out of nothing: {sent[0]}"


def state_is_plain_data(subject: Subject) -> None:
    """A slotted dataclass with defaults that JSON can hold at any time."""
    state = subject.node.state
    if state is None:
        return
    assert dataclasses.is_dataclass(state), "the state is not a dataclass"
    assert not hasattr(state(), "__dict__"), "the state is not slotted"
    adapter = _adapter(state)
    probe = subject.probe()
    probe.start()
    for event in script(subject):
        probe.take(event)
        stored = adapter.dump_json(probe.state)
        again = adapter.validate_json(stored)
        assert again == probe.state, f"comes back from JSON as {again}, was {probe.state}"
        assert adapter.dump_json(again) == stored, "is stored in another way the second time"


def the_same_events_have_the_same_effects(subject: Subject) -> None:
    assert _played(subject) == _played(subject)


def a_restart_changes_nothing(subject: Subject) -> None:
    """The state says everything: stored and taken back after every event, the effects are the same."""
    assert _played(subject, round_trips=True) == _played(subject)


def handlers_leave_inputs_and_settings_alone(subject: Subject) -> None:
    probe = subject.probe()
    settings = probe.config.model_dump()
    probe.start()
    for event in script(subject):
        before = copy.deepcopy(dict(event))
        probe.take(event)
        assert dict(event) == before, "a handler changed a message"
    assert probe.config.model_dump() == settings, "a handler changed the settings"


def bad_never_becomes_good(subject: Subject) -> None:
    """After a BAD input, on any port, what that very input causes is not GOOD."""
    for port in subject.probe().ports:
        probe = subject.probe()
        probe.start()
        at = BEGIN_NS
        for event in script(subject):
            probe.take(event)
            at = max(message.at for message in event.values())
        at += 10_000_000
        probe.advance(at)
        effects = probe.take({port: Message(_bad_value(probe, port, at), BAD, at)})
        good = [e for e in effects if e.what in ("emit", "record") and e.quality == GOOD]
        assert not good, f"BAD on {port!r} gave a GOOD {good[0]}"


CHECKS: tuple[Callable[[Subject], None], ...] = (
    everything_is_described,
    nothing_is_sent_before_an_input_came,
    state_is_plain_data,
    the_same_events_have_the_same_effects,
    a_restart_changes_nothing,
    handlers_leave_inputs_and_settings_alone,
    bad_never_becomes_good,
)


# --- what is tried ------------------------------------------------------------------------------------


def script(subject: Subject, seed: int = 1, length: int = 60) -> list[dict[str, Message]]:
    """Events for every port: GOOD, UNCERTAIN and BAD, together and alone, close and far apart. All ports end GOOD."""
    probe = subject.probe()
    source = random.Random(seed)  # noqa: S311 - reproducible, nothing secret
    at, events = BEGIN_NS, []
    for i in range(length):
        at += source.choice((0, 1, 250, 1_000, 1_000, 30_000, 3_600_000)) * 1_000_000
        ports = [port for port in probe.ports if i < 2 or source.random() < 0.7 or i == length - 1]
        quality = Quality(source.choices((0, 1, 2), (8, 1, 1))[0]) if 2 < i < length - 1 else GOOD
        event = {
            port: Message(
                _bad_value(probe, port, at) if quality == BAD else _value(subject, probe, port, i, at, source),
                quality,
                at,
            )
            for port in ports
        }
        if event:
            events.append(event)
    return events


def _value(subject: Subject, probe: Probe, port: str, i: int, at: int, source: random.Random) -> Value:
    if port in subject.values:
        return subject.values[port][i % len(subject.values[port])]
    if _takes_blocks(probe, port):
        return _block(probe, port, at, [i])
    known = _KNOWN_BY.get(probe.ports[port].type)
    if known:
        return known[i % len(known)]
    return source.choice((i, 3 * i, i % 7, 6, 6, i / 2))


def _bad_value(probe: Probe, port: str, at: int) -> Value:
    return _block(probe, port, at, [None]) if _takes_blocks(probe, port) else None


def _takes_blocks(probe: Probe, port: str) -> bool:
    listens = probe.node.listens(probe.config) if probe.node.listens else {}
    return listens.get(port, "").endswith("/*")


def _block(probe: Probe, port: str, at: int, values: list[Any]) -> Block:
    assert probe.node.listens
    device = probe.node.listens(probe.config)[port].partition("/")[0]
    faults = {0: (BAD, "no answer")} if values == [None] else None
    return Block(device, (f"{device}/value",), values, at, at, faults)


def _played(subject: Subject, *, round_trips: bool = False) -> list[Effect]:
    probe = subject.probe()
    probe.start()
    for event in script(subject):
        probe.take(copy.deepcopy(event))
        if round_trips:
            probe.round_trip()
    probe.advance(probe.at + 86_400 * NS_PER_S)
    return probe.effects


@cache
def _adapter_of(state: Any) -> TypeAdapter[Any]:
    return TypeAdapter(state)


def _adapter(state: type[Any]) -> TypeAdapter[Any]:
    return _adapter_of(cast("Hashable", state))


def _undescribed(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        if not info.description:
            yield f"{path}{name}"
        for inner in _models_in(info.annotation):
            yield from _undescribed(inner, f"{path}{name}.")


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
