"""The `count` node: increments and a total that survive what counters do."""

from __future__ import annotations

from typing import Any

import pytest

from edgeflow.model import BAD, UNCERTAIN, Message
from edgeflow.nodes.count import NODE
from edgeflow.testing.nodes import BEGIN_NS, Effect, Probe
from edgeflow.units import NS_PER_S


def counted(probe: Probe, *readings: Any) -> list[list[Any]]:
    """[increment, total] after each reading, a second apart."""
    found = []
    for reading in readings:
        effects = probe.send(probe.at + NS_PER_S if probe.at else BEGIN_NS, in_=reading)
        found.append([effect.content for effect in effects])
    return found


def test_it_emits_the_increment_and_the_total_of_every_reading() -> None:
    assert counted(Probe(NODE, {}), 1200, 1210, 1210, 1215) == [[0, 0], [10, 10], [0, 10], [5, 15]]


def test_it_counts_over_a_wrap() -> None:
    assert counted(Probe(NODE, {"modulus": 10_000}), 9_900, 100)[-1] == [200, 200]


def test_it_may_begin_to_count_at_a_known_reading() -> None:
    assert counted(Probe(NODE, {"counts_from": 1000}), 1200)[-1] == [200, 200]


def test_over_bad_readings_nothing_is_lost() -> None:
    probe = Probe(NODE, {})
    counted(probe, 10)
    bad = probe.take({"in": Message(None, BAD, probe.at + NS_PER_S)})
    assert [(effect.name, effect.quality) for effect in bad] == [("out", BAD), ("total", BAD)]
    assert counted(probe, 17) == [[7, 7]]


@pytest.mark.parametrize("reading", [True, "12", float("nan"), None])
def test_what_is_no_number_is_bad_and_does_not_end_the_flow(reading: Any) -> None:
    probe = Probe(NODE, {})
    counted(probe, 10)
    effects: list[Effect] = probe.send(probe.at + NS_PER_S, in_=reading)
    assert {effect.quality for effect in effects} == {BAD}
    assert counted(probe, 12) == [[2, 2]]


def test_an_unexplained_fall_counts_nothing_and_is_uncertain() -> None:
    probe = Probe(NODE, {})
    counted(probe, 5_000)
    effects = probe.send(probe.at + NS_PER_S, in_=100)
    assert [(effect.content, effect.quality) for effect in effects] == [(0, UNCERTAIN), (0, UNCERTAIN)]


def test_after_a_restart_it_goes_on_where_it_was() -> None:
    probe = Probe(NODE, {"modulus": "2^16"})
    counted(probe, 65_530, 65_535)
    probe.round_trip()
    assert counted(probe, 4) == [[5, 10]]
