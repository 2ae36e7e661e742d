"""Which flow may drive which output, in which range, how often: decided at the gateway, not by who pushes flows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from edgeflow.model import Scalar

_WRITTEN_OUT = 1e300


@dataclass(frozen=True, slots=True)
class Permit:
    """Flows (instance names, `*` for any part) that may drive an output, and within which bounds.

    `low`..`high` holds for numbers, both ends included. `every_ns`: the least time between two changes.
    """

    output: str
    flows: tuple[str, ...]
    low: float | None = None
    high: float | None = None
    every_ns: int = 0

    def covers(self, output: str, flow: str) -> bool:
        return fnmatchcase(output, self.output) and any(fnmatchcase(flow, name) for name in self.flows)


@dataclass(frozen=True, slots=True)
class ReachPermit:
    """What some flows may reach through a service: topics of `mqtt`, addresses of `http`, whatever others have."""

    service: str
    to: tuple[str, ...]
    flows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """All permits, the first that covers an output and a flow counts. With none at all everything is allowed.

    `reaches`: what flows may reach through services; a service that none of them names has its own default.
    """

    permits: tuple[Permit, ...] | None = None
    reaches: tuple[ReachPermit, ...] = ()

    def permit(self, output: str, flow: str) -> Permit | None:
        return next((each for each in self.permits or () if each.covers(output, flow)), None)

    def refuses(self, output: str, flow: str) -> str:
        """Why a flow may not drive an output at all; empty where it may."""
        if self.permits is None or self.permit(output, flow):
            return ""
        return f"the output policy of this gateway does not let the flow {flow} drive {output}"

    def refuses_values(self, output: str, flow: str, values: Iterable[Scalar]) -> str:
        """Why a flow may not drive an output with these values; empty where it may."""
        permit = self.permit(output, flow)
        if permit is None:
            return self.refuses(output, flow)
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            low, high = permit.low, permit.high
            if low is not None and high is not None and not low <= value <= high:  # NaN is nowhere within
                found = f"{value:g}" if -_WRITTEN_OUT < value < _WRITTEN_OUT else "that number"
                return f"{found} is outside {low:g} to {high:g}, the output policy's range of {output}"
        return ""

    def reach(self, service: str, flow: str) -> tuple[str, ...] | None:
        """What a flow may reach through a service; None where the policy does not speak of that service."""
        rules = [rule for rule in self.reaches if rule.service == service]
        if not rules:
            return None
        fitting = (rule.to for rule in rules if any(fnmatchcase(flow, name) for name in rule.flows))
        return tuple(target for targets in fitting for target in targets)

    def every_ns(self, output: str, flow: str) -> int:
        """The least time between two changes that a flow makes at an output."""
        permit = self.permit(output, flow)
        return permit.every_ns if permit else 0


EVERYTHING = Policy()
"""The policy of a gateway that has none."""
