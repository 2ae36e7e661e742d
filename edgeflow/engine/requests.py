"""All requests on all outputs, and the decisions that follow from them."""

from __future__ import annotations

from collections.abc import Mapping

from edgeflow.model import Request
from edgeflow.outputs.arbitration import Decision, OutputPlan, decide


class Requests:
    """What is asked of every output now; tells which decisions changed."""

    def __init__(self, outputs: Mapping[str, OutputPlan]) -> None:
        self.outputs = outputs
        self._held: dict[str, dict[str, Request]] = {name: {} for name in outputs}
        self._touched: set[str] = set(outputs)
        self._last: dict[str, Decision] = {}

    def put(self, request: Request) -> None:
        """Sets the owner's request; raises KeyError for an output that does not exist."""
        self._held[request.output][request.owner] = request
        self._touched.add(request.output)

    def drop(self, output: str, owner: str) -> None:
        if self._held[output].pop(owner, None):
            self._touched.add(output)

    def drop_flow(self, instance: str) -> None:
        """Takes back everything the nodes of a flow hold."""
        for output, held in self._held.items():
            for owner in [owner for owner in held if owner.startswith(f"{instance}/")]:
                self.drop(output, owner)

    def held(self, output: str) -> list[Request]:
        """Every request on an output, the strongest first."""
        return sorted(self._held[output].values(), key=lambda r: (r.priority, r.since, r.owner), reverse=True)

    def decision(self, output: str) -> Decision | None:
        return self._last.get(output)

    def next_end(self) -> int | None:
        """When the next lease ends (UTC ns)."""
        ends = [r.lease_end for held in self._held.values() for r in held.values() if r.lease_end is not None]
        return min(ends, default=None)

    def ended(self, now_ns: int) -> None:
        """Drops operators' requests whose lease has ended; a flow's shows the stale pattern instead."""
        for output, held in self._held.items():
            for owner, request in list(held.items()):
                if request.lease_end is not None and request.lease_end <= now_ns:
                    self._touched.add(output)
                    if owner.startswith("operator:"):
                        del held[owner]

    def decisions(self, now_ns: int) -> list[Decision]:
        """The decisions that differ from what was decided before."""
        if not self._touched:
            return []
        changed = []
        for output in sorted(self._touched):
            decision = decide(self.outputs[output], self._held[output].values(), now_ns)
            if decision != self._last.get(output):
                self._last[output] = decision
                changed.append(decision)
        self._touched.clear()
        return changed
