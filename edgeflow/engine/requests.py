"""All requests on all outputs, and the decisions that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgeflow.model import Request
from edgeflow.outputs.arbitration import Decision, OutputPlan, alike, decide
from edgeflow.outputs.policy import Policy

OPERATORS = "operator:"
"""How the owner of a person's request begins; a flow's is `instance/node`."""


class Requests:
    """What is asked of every output now; tells which decisions changed."""

    def __init__(self, outputs: Mapping[str, OutputPlan], policy: Policy) -> None:
        self.outputs = outputs
        self.refused: dict[tuple[str, str], str] = {}
        self._policy = policy
        self._changed: dict[str, int] = {}
        self._later: dict[str, int] = {}
        self._held: dict[str, dict[str, Request]] = {name: {} for name in outputs}
        self._touched: set[str] = set(outputs)
        self._last: dict[str, Decision] = {}
        self._leases: dict[tuple[str, str], int] = {}

    def put(self, request: Request) -> None:
        """Sets the owner's request; raises KeyError for an output that does not exist.

        What the policy refuses or the output cannot show shows as `when_stale`, and `refused` says why. A value that
        has no `when_stale` goes on: the device's writer refuses it, and says so.
        """
        request = self._allowed(request)
        self._held[request.output][request.owner] = request
        self._touched.add(request.output)
        self._lease(request.output, request.owner, request.lease_end)

    def _allowed(self, request: Request) -> Request:
        if request.owner.startswith(OPERATORS):
            return request
        flow, key = request.owner.partition("/")[0], (request.output, request.owner)
        plan = self.outputs[request.output]
        reason = plan.unfit(request.pattern) if plan.is_light or plan.when_stale else ""
        if not reason and self._policy.permits is not None:
            reason = self._policy.refuses_values(request.output, flow, request.pattern.values())
        if not reason:
            self.refused.pop(key, None)
            return request
        self.refused[key] = reason
        return replace(request, pattern=plan.when_stale)

    def drop(self, output: str, owner: str) -> None:
        self.refused.pop((output, owner), None)
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
        """When the next lease ends, or a change that came too soon may be made (UTC ns)."""
        if not self._leases and not self._later:
            return None
        return min((*self._leases.values(), *self._later.values()))

    def ended(self, now_ns: int) -> None:
        """Drops operators' requests whose lease has ended; a flow's shows the stale pattern instead."""
        for (output, owner), end in list(self._leases.items()):
            if end <= now_ns:
                del self._leases[output, owner]
                self._touched.add(output)
                if owner.startswith(OPERATORS):
                    del self._held[output][owner]

    def shift(self, step_ns: int) -> None:
        """Moves every lease, because the clock they were reckoned by was set."""
        for output, owner in list(self._leases):
            request = self._held[output][owner]
            if request.lease_end is not None:
                self.put(replace(request, since=request.since + step_ns, lease_end=request.lease_end + step_ns))

    def decisions(self, now_ns: int) -> list[Decision]:
        """The decisions that differ from what was decided before."""
        if not self._touched:
            return []
        changed, self._later = [], {}
        for output in sorted(self._touched):
            decision = decide(self.outputs[output], self._held[output].values(), now_ns)
            last = self._last.get(output)
            if decision == last and alike(decision.levels, last.levels):
                continue
            if last is not None:
                decision = self._paced(decision, last, now_ns)
                if decision == last and alike(decision.levels, last.levels):
                    continue
            self._last[output] = decision
            if last is not None:
                self._changed[output] = now_ns
            changed.append(decision)
        self._touched = set(self._later)
        return changed

    def _paced(self, wanted: Decision, last: Decision, now_ns: int) -> Decision:
        """What may be shown now. Only what a flow wishes waits, all of it together; never a person or what is safe."""
        output = wanted.output
        if self._policy.permits is None or output not in self._changed:
            return wanted
        wait_ns, safe, waiting = 0, self.outputs[output].when_stale, []
        for element, level in wanted.levels.items():
            winner = wanted.winners[element]
            if alike({element: level}, {element: last.levels.get(element)}):
                continue
            if "/" in winner and not winner.startswith(OPERATORS) and level != safe.get(element):
                waiting.append(element)
                wait_ns = max(wait_ns, self._policy.every_ns(output, winner.partition("/")[0]))
        if not waiting or self._changed[output] + wait_ns <= now_ns:
            return wanted
        self._later[output] = self._changed[output] + wait_ns
        return Decision(
            output,
            wanted.levels | {element: last.levels[element] for element in waiting},
            wanted.winners | {element: last.winners[element] for element in waiting},
        )
