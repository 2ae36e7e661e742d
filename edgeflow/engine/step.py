"""One node at work: its ports, its state, and the effects its handlers make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgeflow.flow.compile import PlannedNode
from edgeflow.model import BAD, GOOD, Call, Message, Pattern, Quality, Record, Request, Value
from edgeflow.node import Inputs
from edgeflow.outputs.arbitration import alike

if TYPE_CHECKING:
    from edgeflow.engine.flowrun import FlowRun


@dataclass(slots=True)
class Out:
    """An output port: where its messages go, and the last one (what a debugger shows on the wire)."""

    targets: tuple[tuple[Step, str], ...] = ()
    tick: int = 0
    last: Message | None = None


@dataclass(slots=True)
class Timer:
    """A wish to be woken: the UTC instant and the run it belongs to."""

    at: int
    run: int


def _nothing(_plan: Any, _state: Any, _inputs: Inputs, _do: Step) -> None:
    """What a kind without `changed` does with its inputs."""


_FITS: Mapping[str, tuple[type, ...]] = {
    "boolean": (bool,), "number": (int, float), "text": (str,), "object": (dict,),
}  # fmt: skip


def _checked(changed: Callable[..., None], ports: Mapping[str, str], *, passes_bad: bool) -> Callable[..., None]:
    """A handler that sees a value that does not fit its port as BAD; only for wires of which the type is not known."""

    def checked(plan: Any, state: Any, inputs: Inputs, do: Step) -> None:
        for port, wanted in ports.items():
            message = inputs.get(port)
            if message is None or message.quality == BAD:
                continue
            fits = isinstance(message.value, _FITS[wanted])
            if not fits or (isinstance(message.value, bool) and wanted != "boolean"):
                inputs[port] = Message(None, BAD, message.at)
                do.quality = BAD
        if do.quality == BAD and passes_bad:
            do.emit_bad()
        else:
            changed(plan, state, inputs, do)

    return checked


class Step:
    """A node of a running flow. It is the `Effects` its own handlers are given."""

    __slots__ = (
        "at", "calls", "changed", "drives", "fed", "flow", "holds", "index", "inputs", "joins", "kind", "name", "outs",
        "passes_bad", "plan", "quality", "ready", "saved", "saved_steps", "state", "steps", "timers",
    )  # fmt: skip

    def __init__(self, planned: PlannedNode, index: int, flow: FlowRun) -> None:
        kind = planned.kind
        self.name, self.kind, self.plan, self.index, self.flow = planned.name, kind, planned.plan, index, flow
        self.state = kind.state() if kind.state else None
        self.changed = kind.changed or _nothing
        if planned.unproven:
            self.changed = _checked(self.changed, planned.unproven, passes_bad=kind.bad == "pass")
        self.passes_bad = kind.bad == "pass"
        self.fed = frozenset(planned.listens)
        self.drives = planned.drives
        self.inputs = Inputs()
        self.joins = len(planned.inputs) > 1
        self.ready = False
        if not self.joins:
            self.inputs.fresh = set(planned.inputs)  # its only port, whenever it is stepped
        self.outs = {port: Out() for port in planned.outputs}
        self.at = self.steps = 0
        self.quality: Quality = GOOD
        self.timers: dict[str, Timer] = {}
        self.calls: dict[str, tuple[str, int]] = {}
        self.holds: dict[str, Request] = {}
        self.saved: bytes | None = None
        self.saved_steps = -1

    @property
    def run(self) -> int:
        return self.flow.run

    @property
    def owner(self) -> str:
        return f"{self.flow.plan.instance}/{self.name}"

    def take(self, message: Message, port: str) -> None:
        """Puts a message on an input port; the step sees it when its turn comes."""
        inputs = self.inputs
        inputs[port] = message
        if self.joins:
            inputs.fresh.add(port)
        self.ready = True
        self.at = max(self.at, message.at)
        if message.quality or self.quality:
            self.quality = max(m.quality for m in inputs.values())

    def emit(self, value: Value, port: str = "out", *, quality: Quality | None = None, at: int | None = None) -> None:
        if quality is None:
            quality = self.quality
        if at is None:
            at = self.at
        out = self.outs[port]
        out.last = message = Message(value, quality, at)
        tick = self.flow.tick
        if out.tick == tick:
            self.flow.pending.append((self, out, message))
            return
        out.tick = tick
        for target, into in out.targets:  # `take`, written out: this is the hottest line of the engine
            inputs = target.inputs
            inputs[into] = message
            if target.joins:
                inputs.fresh.add(into)
            target.ready = True
            if at > target.at:  # noqa: PLR1730 - max() costs three times as much
                target.at = at
            if quality or target.quality:
                target.quality = max(m.quality for m in inputs.values())

    def emit_bad(self) -> None:
        """What the engine answers to a BAD input on behalf of nodes that do not want to see it."""
        for port in self.outs:
            self.emit(None, port, quality=BAD)

    def wake(self, at: int, key: str = "") -> None:
        at = self.flow.core.not_past(at)
        known = self.timers.get(key)
        self.timers[key] = Timer(at, self.run)
        if known is None or known.at != at:
            self.flow.core.schedule(at, self, key)

    def rest(self, key: str = "") -> None:
        self.timers.pop(key, None)

    def call(
        self, service: str, request: Mapping[str, Value], *, key: str = "", fast: str = "", answer: bool = True
    ) -> None:
        core = self.flow.core
        call = Call(
            core.call_id(self), self.flow.plan.instance, self.name, service, request, self.at, self.run, fast, answer
        )
        if answer:
            self.calls[call.id] = (key, self.run)
            core.waiting[call.id] = self
        (core.calls_now if fast else core.calls_after_commit).append(call)

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
        plan, core = self.flow.plan, self.flow.core
        if status != "live" and not self.flow.may_record(core.now):
            return
        record = Record(
            stream, key, core.next_version() if version is None else version, self.at, data, begin, end, core.place,
            plan.instance, plan.version, self.quality if quality is None else quality, coverage, status,
        )  # fmt: skip
        if status == "live":
            core.live[stream, key] = record
        else:
            core.records.append(record)

    def hold(self, output: str, pattern: Pattern, *, priority: int = 500, lease: int | None = None) -> None:
        held = self.holds.get(output)
        if held and alike(held.pattern, pattern) and held.priority == priority and lease is None:
            return
        request = Request(self.owner, output, dict(pattern), priority, self.at, lease and self.flow.core.now + lease)
        self.holds[output] = request
        self.flow.core.requests.put(request)

    def release(self, output: str) -> None:
        if self.holds.pop(output, None):
            self.flow.core.requests.drop(output, self.owner)
