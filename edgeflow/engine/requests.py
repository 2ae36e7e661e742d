"""All requests on all outputs, and the decisions that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgeflow.model import Request
from edgeflow.outputs.arbitration import Decision, OutputPlan, decide


class Requests:
    """What is asked of every output now; tells which decisions changed."""

    def __init__(self, outputs: Mapping[str, OutputPlan]) -> None:
        self.outputs = outputs
        self._held: dict[str, dict[str, Request]] = {name: {} for name in outputs}
        self._touched: set[str] = set(outputs)
        self._last: dict[str, Decision] = {}
        self._leases: dict[tuple[str, str], int] = {}

    def put(self, request: Request) -> None:
        """Sets the owner's request; raises KeyError for an output that does not exist."""
        self._held[request.output][request.owner] = request
        self._touched.add(request.output)
        self._lease(request.output, request.owner, request.lease_end)

    def drop(self, output: str, owner: str) -> None:
        if self._held[output].pop(owner, None):
            self._touched.add(output)
            self._lease(output, owner, None)

    def _lease(self, output: str, owner: str, end: int | None) -> None:
        if end is not None:
            self._leases[output, owner] = end
        else:
            self._leases.pop((output, owner), None)

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
        return min(self._leases.values(), default=None) if self._leases else None

    def ended(self, now_ns: int) -> None:
        """Drops operators' requests whose lease has ended; a flow's shows the stale pattern instead."""
        for (output, owner), end in list(self._leases.items()):
            if end <= now_ns:
                del self._leases[output, owner]
                self._touched.add(output)
                if owner.startswith("operator:"):
                    del self._held[output][owner]

    def shift(self, step_ns: int) -> None:
        """Moves every lease, because the clock they were reckoned by was set."""
        for output, owner in list(self._leases):
            request = self._held[output][owner]
            if request.lease_end is not None:
                self.put(replace(request, lease_end=request.lease_end + step_ns))

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
