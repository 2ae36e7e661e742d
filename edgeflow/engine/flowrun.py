"""A flow at work: ticks its nodes in topological order and contains their faults."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import structlog

from edgeflow.clock import monotonic_ns
from edgeflow.engine.budget import RECORDS, RECORDS_NS, SHARE, TICK_MESSAGES, TICK_NS, Budget
from edgeflow.engine.step import Out, Step
from edgeflow.flow.compile import Plan
from edgeflow.model import BAD, Message

log = structlog.get_logger(__name__)

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
        self.budget = Budget(monotonic_ns(), limited=core.limited)
        self.skipped = self.dropped = self._span = self._records = 0
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
        left, begun_ns = MICRO_TICKS, time.thread_time_ns() if self.pending and self.core.limited else 0
        while self.pending:
            left -= 1
            if not left:
                raise RuntimeError(f"more than {MICRO_TICKS} messages in one tick")
            if begun_ns and not left & 15:
                self._look_at_the_time(MICRO_TICKS - left, time.thread_time_ns() - begun_ns)
            source, out, message = self.pending.popleft()
            self.tick += 1
            out.last = message
            for target, into in out.targets:
                target.take(message, into)
            self._pass(self._downstream[source.index])

    def _look_at_the_time(self, done: int, took_ns: int) -> None:
        """Raises where a tick takes too long; a few messages may be held up by others, such as garbage collection."""
        if took_ns > TICK_NS and (done >= TICK_MESSAGES or took_ns > 5 * TICK_NS):
            raise RuntimeError(
                f"one tick takes more than {TICK_NS // 1_000_000} ms: {done} messages are done, "
                f"{len(self.pending)} and more are left, and everything else waits for it"
            )

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

    def overdrawn(self) -> bool:
        """Whether this input must be left out, because the flow has taken more than its share; raises for good."""
        now_ns = monotonic_ns()
        if not self.budget.over(self.busy_ns, now_ns):
            return False
        self.skipped += 1
        if self.budget.hopeless(now_ns):
            raise RuntimeError(f"takes more than {SHARE:.0%} of the computing time of this gateway, again and again")
        return True

    def may_record(self, at_ns: int) -> bool:
        """Whether it may make one more record now; counts it."""
        span = at_ns // RECORDS_NS
        if span != self._span:
            self._span, self._records = span, 0
        self._records += 1
        if self._records <= RECORDS or not self.core.limited:
            return True
        if not self.dropped:
            log.error(
                "a flow makes too many records; what is beyond its share is dropped",
                flow=self.plan.instance,
                most_in_10_s=RECORDS,
            )
        self.dropped += 1
        return False

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
