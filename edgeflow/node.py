"""The node contract: a kind of step in a flow, written as pure functions.

A node is a frozen value. Its handlers are given a plan (the prepared configuration), the state, the
event, and `do`, where they put effects. A handler never awaits, opens, or asks for the time: `do.at`
is the source time of the newest input, and every effect inherits it, the run, and the worst quality
of the inputs, unless it says otherwise. `edgeflow.testing.nodes` is the conformance suite.

    class Config(Settings):
        factor: float = Field(description="The input is multiplied by this.")

    def changed(plan: Config, state: None, inputs: Inputs, do: Effects) -> None:
        do.emit(inputs["in"].value * plan.factor)

    NODE = Node(
        kind="scale", about="Multiplies a number.", config=Config, changed=changed,
        inputs={"in": Port("The number.", "number")}, outputs={"out": Port("The product.", "number")},
    )
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Generic, Literal, Protocol, TypeVar

from pydantic import Field

from edgeflow.model import Answer, Message, Pattern, Quality, Strict, Tag, Value
from edgeflow.outputs.arbitration import OutputPlan
from edgeflow.production.calendar import Calendar
from edgeflow.production.counter import CounterSettings
from edgeflow.production.states import StateModel

C = TypeVar("C", bound="Settings")
P = TypeVar("P")
S = TypeVar("S")

PortType = Literal["boolean", "number", "text", "object", "any"]


class Settings(Strict):
    """The base of every node's configuration; a field's description is its documentation."""


# Annotated[...] aliases would hide the description of the field that uses them, so references are
# declared with these, e.g. `tag: str = TagField(description="...")`.
def TagField(**more: Any) -> Any:
    """A field that names a tag; the lint checks that it exists."""
    return Field(json_schema_extra={"reference": "tag"}, **more)


def DeviceField(**more: Any) -> Any:
    """A field that names a device; the lint checks that it exists."""
    return Field(json_schema_extra={"reference": "device"}, **more)


def OutputField(**more: Any) -> Any:
    """A field that names an output; the lint checks that it exists."""
    return Field(json_schema_extra={"reference": "output"}, **more)


def CalendarField(**more: Any) -> Any:
    """A field that names a calendar; the lint checks that it exists."""
    return Field(json_schema_extra={"reference": "calendar"}, **more)


def ReachField(service: str, **more: Any) -> Any:
    """A field that says what a call reaches through a service; the gateway's policy may refuse it."""
    return Field(json_schema_extra={"reaches": service}, **more)


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a node.

    - `unit` None means any unit (input) or none known (output).
    - `like` on an output takes type and unit of that input; with `same` it sends that very value on, so what is
      known of its tag goes on too. `like` on an input names the setting that names an output: it takes what that takes.
    - `refuses` on an input: types that it cannot make anything of, and what to write instead.
    - `needed` on an input: without it the node does nothing. `pressed`: a person may press it on the pages.
    """

    about: str
    type: PortType = "any"
    unit: str | None = None
    like: str | None = None
    same: bool = False
    refuses: Mapping[str, str] = field(default_factory=dict)
    needed: bool = False
    pressed: bool = False


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to say of a node's settings: where it is among them, and what to write instead.

    `wrong` false: it runs, but hardly as it was meant.
    """

    at: tuple[str | int, ...]
    message: str
    wrong: bool = True


@dataclass(frozen=True, slots=True)
class Site:
    """What a flow can refer to on its gateway: given to `prepare` and to the lint.

    `counters` and `maps`: what is known of tags that are counters or states. `unread`: devices, outputs and calendars
    that are written but could not be read; what refers to them is no problem of its own.
    """

    gateway: str = "gateway"
    place: str = ""
    time_zone: str = "UTC"
    tags: Mapping[str, Tag] = field(default_factory=dict)
    outputs: Mapping[str, OutputPlan] = field(default_factory=dict)
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    counters: Mapping[str, CounterSettings] = field(default_factory=dict)
    maps: Mapping[str, StateModel] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()

    @property
    def devices(self) -> set[str]:
        return {name.partition("/")[0] for name in self.tags}


class Inputs(dict[str, Message]):
    """The latest message on every input port; `fresh` names the ports that changed in this tick."""

    __slots__ = ("fresh",)

    def __init__(self) -> None:
        super().__init__()
        self.fresh: set[str] = set()


@dataclass(frozen=True, slots=True)
class Due:
    """A timer came due. `at` is the instant it was set for, not when it was looked at."""

    key: str
    at: int


@dataclass(frozen=True, slots=True)
class Started:
    """The flow begins: `first` with fresh state, `restart` after a stop, `redeploy` with a new version."""

    why: Literal["first", "restart", "redeploy"]
    at: int


class Effects(Protocol):
    """Where a handler puts what it wants done."""

    @property
    def at(self) -> int:
        """The source time (UTC ns) of what is being handled."""

    @property
    def run(self) -> int:
        """The run it belongs to."""

    def emit(self, value: Value, port: str = "out", *, quality: Quality | None = None, at: int | None = None) -> None:
        """Sends a message on a port. Several on one port in one tick are taken one after another."""

    def wake(self, at: int, key: str = "") -> None:
        """Asks for a `Due` at a UTC instant; the same key replaces the earlier wish. Survives a restart."""

    def rest(self, key: str = "") -> None:
        """Takes back a `wake`."""

    def call(
        self, service: str, request: Mapping[str, Value], *, key: str = "", fast: str = "", answer: bool = True
    ) -> None:
        """Asks the shell for something; `answered` gets the result under `key`.

        It is sent after the commit of this tick, with an idempotency key, unless `fast` gives the
        reason why it need not wait; a fast call is forgotten by a restart. One without `answer` is kept
        until it is done, over restarts too; one with an answer is answered as interrupted by a restart.
        """

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
        """Queues a result for the central server. `version` counts by itself per (stream, key) where not given."""

    def hold(self, output: str, pattern: Pattern, *, priority: int = 500, lease: int | None = None) -> None:
        """Requests a level of an output until `release`; the same owner's newer request replaces the older.

        With a `lease` (ns) it ends by itself unless it is held again in time, and the output then shows
        `when_stale`; without one it holds until it is released or the flow is stopped.
        """

    def release(self, output: str) -> None:
        """Takes back what this node holds on an output."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a call, under the key it was made with."""

    key: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class Node(Generic[C, P, S]):
    """One kind of node.

    - `inputs`, `outputs`: ports by name, or a function of the configuration where they depend on it.
    - `prepare` turns the configuration into the plan the handlers get (default: the configuration).
    - `state`: a slotted dataclass with defaults, of plain data; None where there is none.
    - `durability`: `exact` state is committed at every commit tick when changed, `window` state at a
      slower pace.
    - `bad`: `pass` means the engine itself answers a BAD input with BAD on every output, and `changed`
      is not called; `see` means that `changed` is called and deals with it. A node that emits only on
      change, or keeps timers, must see: else it never learns that those behind it were told BAD.
    - `listens`: input port -> tag (or `device/*` for the whole block) that the engine feeds it.
    - `of_tag`: setting -> the input whose tag tells it where nobody else does: a counter's settings (the key "" where
      they are the node's own) or the map of a state.
    - `lint`: what is wrong with settings on this site that a schema cannot say.
    """

    kind: str
    about: str
    config: type[C]
    inputs: Mapping[str, Port] | Callable[[C], Mapping[str, Port]] = field(default_factory=dict)
    outputs: Mapping[str, Port] | Callable[[C], Mapping[str, Port]] = field(default_factory=dict)
    state: type[S] | None = None
    prepare: Callable[[C, Site], P] | None = None
    changed: Callable[[P, S, Inputs, Effects], None] | None = None
    due: Callable[[P, S, Due, Effects], None] | None = None
    answered: Callable[[P, S, Answered, Effects], None] | None = None
    started: Callable[[P, S, Started, Effects], None] | None = None
    durability: Literal["exact", "window"] = "exact"
    bad: Literal["pass", "see"] = "pass"
    listens: Callable[[C], Mapping[str, str]] | None = None
    of_tag: Mapping[str, str] = field(default_factory=dict)
    lint: Callable[[C, Site], Iterable[Remark]] | None = None

    def inputs_of(self, config: C) -> Mapping[str, Port]:
        return self.inputs(config) if callable(self.inputs) else self.inputs

    def outputs_of(self, config: C) -> Mapping[str, Port]:
        return self.outputs(config) if callable(self.outputs) else self.outputs


Kinds = Mapping[str, Node[Any, Any, Any]]
GROUP = "edgeflow.nodes"


def installed() -> Kinds:
    """Every installed node kind by name; raises ValueError where two packages claim one name."""
    kinds: dict[str, Node[Any, Any, Any]] = {}
    for entry in entry_points(group=GROUP):
        node = entry.load()
        if node.kind in kinds and kinds[node.kind] is not node:
            raise ValueError(f"two packages give a node kind {node.kind!r}")
        kinds[node.kind] = node
    return kinds
