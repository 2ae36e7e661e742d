"""The order in which the nodes of a flow are stepped."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter


def topological(after: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Names so that each comes before those `after` it; the order of equals is the order given."""
    return tuple(TopologicalSorter(_before(after)).static_order())


def cycles_in(after: Mapping[str, set[str]]) -> list[list[str]]:
    """Cycles without a node in common, each with its nodes in the direction of the wires, until none is left."""
    left = {name: set(followers) for name, followers in after.items()}
    found: list[list[str]] = []
    while True:
        try:
            TopologicalSorter(_before(left)).prepare()
        except CycleError as error:
            cycle: list[str] = list(error.args[1])[:-1]
            found.append(cycle)
            for name in cycle:
                left[name] -= set(cycle)
        else:
            return found


def _before(after: Mapping[str, set[str]]) -> dict[str, list[str]]:
    before: dict[str, list[str]] = {name: [] for name in after}
    for name, followers in after.items():
        for follower in sorted(followers):
            before[follower].append(name)
    return before
