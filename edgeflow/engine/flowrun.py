"""A flow at work: ticks its nodes in topological order and contains their faults."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from edgeflow.clock import monotonic_ns
from edgeflow.engine.step import Out, Step
from edgeflow.flow.compile import Plan
from edgeflow.model import BAD, Message

if TYPE_CHECKING:
    from edgeflow.engine.engine import Engine

MICRO_TICKS = 10_000
"""More messages than this on ports of one flow in one tick is a runaway."""


class FlowRun:
    """One running instance of a flow."""

    def __init__(self, plan: Plan, core: Engine) -> None:
        self.plan, self.core = plan, core
        self.fault = ""
        self.stepping: Step | None = None
        self.ticks = self.tick = self.run = self.busy_ns = self.last_at = 0
        self.pending: deque[tuple[Step, Out, Message]] = deque()
        self.steps = [Step(node, i, self) for i, node in enumerate(plan.nodes)]
        self.by_name = {step.name: step for step in self.steps}
        for step, node in zip(self.steps, plan.nodes, strict=True):
            for port, targets in node.targets.items():
                step.outs[port].targets = tuple((self.steps[i], into) for i, into in targets)
        self._downstream = [self._reach(step) for step in self.steps]

    def _reach(self, step: Step) -> tuple[Step, ...]:
        seen, todo = {step.index}, [step]
        while todo:
            for out in todo.pop().outs.values():
                for target, _ in out.targets:
                    if target.index not in seen:
                        seen.add(target.index)
                        todo.append(target)
        return tuple(self.steps[i] for i in sorted(seen))

    def downstream(self, entries: Iterable[Step]) -> tuple[Step, ...]:
        """The entries and everything behind them, in the order of stepping."""
        indices = {step.index for entry in entries for step in self._downstream[entry.index]}
        return tuple(self.steps[i] for i in sorted(indices))

    def settle(self, order: tuple[Step, ...]) -> None:
        """Steps what has fresh inputs, in order; then once more per message that had to wait."""
        self._pass(order)
        left = MICRO_TICKS
        while self.pending:
            left -= 1
            if not left:
                raise RuntimeError(f"more than {MICRO_TICKS} messages in one tick")
            source, out, message = self.pending.popleft()
            self.tick += 1
            out.last = message
            for target, into in out.targets:
                target.take(message, into)
            self._pass(self._downstream[source.index])

    def _pass(self, order: tuple[Step, ...]) -> None:
        for step in order:
            if step.ready:
                step.ready = False
                self.stepping = step
                step.steps += 1
                inputs = step.inputs
                if step.quality is BAD and step.passes_bad:
                    step.emit_bad()
                else:
                    step.changed(step.plan, step.state, inputs, step)
                if step.joins:
                    inputs.fresh.clear()
                step.at = 0

    def begin(self, run: int | None = None) -> int:
        """A new tick, of a new run or of the one that asked for it; returns when it began, for `end`."""
        self.tick += 1
        self.ticks += 1
        self.run = self.ticks if run is None else run
        return monotonic_ns()

    def end(self, begun: int) -> None:
        self.busy_ns += monotonic_ns() - begun

    def view(self) -> list[dict[str, Any]]:
        """The nodes for the pages."""
        return [
            {
                "name": step.name,
                "kind": step.kind.kind,
                "steps": step.steps,
                "outputs": {port: out.last for port, out in step.outs.items()},
            }
            for step in self.steps
        ]
