"""`count`: what a counter has counted, over wraps, resets and restarts."""

from __future__ import annotations

import math

from pydantic import Field

from edgeflow.model import BAD, UNCERTAIN
from edgeflow.node import Effects, Inputs, Node, Port, Settings
from edgeflow.production.counter import Counter, CounterSettings


class Config(Settings, CounterSettings):
    """What is known of the counter."""

    counts_from: float | None = Field(
        default=None, description="Count from this reading on; default: from the first sample that is seen."
    )


def changed(plan: Config, state: Counter, inputs: Inputs, do: Effects) -> None:
    raw = inputs["in"].value
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        for port in ("out", "total"):
            do.emit(None, port, quality=BAD)
        return
    if state.raw is None and plan.counts_from is not None:
        state.take(plan, type(raw)(plan.counts_from), do.at)
    step = state.take(plan, raw, do.at)
    quality = UNCERTAIN if step.kind == "unexplained" else None
    do.emit(step.increment, quality=quality)
    do.emit(state.total, "total", quality=quality)


NODE = Node(
    kind="count",
    about="Turns a counter's readings into increments and a running total that survive wraps, resets and restarts. "
    "Nothing is lost over BAD samples: the next good one carries the difference.",
    config=Config,
    state=Counter,
    inputs={"in": Port("The counter's reading.", "number")},
    of_tag={"": "in"},
    outputs={
        "out": Port("What was counted since the last sample; negative where a false reset is taken back.", "number"),
        "total": Port("Everything counted since the first sample.", "number"),
    },
    changed=changed,
)
