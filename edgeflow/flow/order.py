"""The order in which the nodes of a flow are stepped."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter


def topological(after: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Names so that each comes before those `after` it; the order of equals is the order given."""
    before: dict[str, list[str]] = {name: [] for name in after}
    for name, followers in after.items():
        for follower in sorted(followers):
            before[follower].append(name)
    return tuple(TopologicalSorter(before).static_order())


def cycle_in(after: Mapping[str, set[str]]) -> list[str]:
    """The nodes of one cycle, in the direction of the wires; empty where there is none."""
    before: dict[str, list[str]] = {name: [] for name in after}
    for name, followers in after.items():
        for follower in sorted(followers):
            before[follower].append(name)
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        cycle: list[str] = list(error.args[1])[:-1]
        return cycle
    return []
