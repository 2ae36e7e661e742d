"""The trial of a new version of a flow: how long it lasts, what ends it early, and what is worth keeping of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeflow.engine.budget import RECORDS, RECORDS_NS, SHARE
from edgeflow.engine.flowrun import FlowRun
from edgeflow.flow.compile import Plan
from edgeflow.model import BAD
from edgeflow.parameters import fill
from edgeflow.units import NS_PER_S

_SKIPPED = 20
"""So many inputs may be left out in a trial; a start may take a while."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A version on trial; `worked` are the nodes that gave values before it.

    `seen_s` and `end_s` are loop times: when the first look at it is over, and when all of it is; `until_ns` is
    the end for people.
    """

    flow: FlowRun
    seen_s: float
    end_s: float
    until_ns: int
    worked: frozenset[str]

    def failed(self) -> str:
        """Why it has failed already; empty where it has not."""
        if self.flow.fault:
            return self.flow.fault
        if self.flow.dropped:
            return f"it makes more records than the {RECORDS} that a flow may in {RECORDS_NS // NS_PER_S} s"
        if self.flow.skipped > _SKIPPED:
            return f"it takes more than {SHARE:.0%} of the computing time; {self.flow.skipped} inputs were left out"
        return ""

    def verdict(self) -> str:
        """Why it is no better than the version before, at the end of its trial; empty where it is."""
        if any(_is_bad(self.flow, step.name) for step in self.flow.steps if step.fed):
            return ""  # a machine is away: who comes after it cannot be blamed
        worse = sorted(name for name in self.worked if _is_bad(self.flow, name))
        return f"node {worse[0]!r} gave values before, and gives BAD ones now" if worse else ""


def working(flow: FlowRun | None) -> frozenset[str]:
    """The nodes of a flow whose newest values are not BAD."""
    if flow is None:
        return frozenset()
    return frozenset(
        step.name
        for step in flow.steps
        if any(out.last is not None and out.last.quality is not BAD for out in step.outs.values())
    )


def _is_bad(flow: FlowRun, name: str) -> bool:
    step = flow.by_name.get(name)
    said = [out.last for out in step.outs.values() if out.last is not None] if step else []
    return bool(said) and all(message.quality is BAD for message in said)


def returned(good: Plan, tried: Plan, kept: Mapping[str, bytes], newest: Mapping[str, bytes]) -> dict[str, bytes]:
    """The states with which a good version goes on after the trial of another.

    A node that is the same in both, and is fed by the same, has what it has now; every other has what was
    `kept` when the trial began, since what it did meanwhile was not what the good version would have done.
    """
    same = _signatures(good).items() & _signatures(tried).items()
    return {**kept, **{name: newest[name] for name, _ in same if name in newest}}


def _signatures(plan: Plan) -> dict[str, str]:
    """Per node a hash of it, and of everything that feeds it."""
    entries: Mapping[str, Any] = plan.document["nodes"]
    found: dict[str, str] = {}
    feeds: dict[str, list[tuple[str, str, str]]] = {}
    for node in plan.nodes:  # in the order of the wires
        settings = fill(entries[node.name], plan.parameters)
        content = repr((sorted(settings.items()), sorted(feeds.get(node.name, ()))))
        found[node.name] = hashlib.sha256(content.encode()).hexdigest()
        for port, targets in node.targets.items():
            for index, into in targets:
                feeds.setdefault(plan.nodes[index].name, []).append((into, port, found[node.name]))
    return found
