"""The press's flow on the engine, killed at any moment: what was committed adds up to what was made."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflow import document
from edgeflow.engine.engine import Engine
from edgeflow.flow.compile import compile_flow
from edgeflow.model import Block, Record, Tag
from edgeflow.node import Site, installed
from edgeflow.testing.nodes import BEGIN_NS
from edgeflow.units import NS_PER_S

TAGS = ("press/state", "press/good", "press/reject", "press/fault")
FLOW = Path(__file__).parents[2] / "flows" / "oee" / "press" / "flow.yaml"
PLAN = compile_flow(
    document.load(FLOW),
    {"machine": "press", "ideal_cycle": "2 s", "modulus": "65536"},
    Site(tags={name: Tag(name) for name in TAGS}),
    installed(),
)


class Gateway:
    """An engine and its disk: only what was committed survives a kill."""

    def __init__(self) -> None:
        self.states: dict[str, bytes] = {}
        self.records: list[Record] = []
        self.start(BEGIN_NS, "first")

    def start(self, now: int, why: Literal["first", "restart"] = "restart") -> None:
        self.engine = Engine({})
        self.engine.deploy(PLAN, self.states, now, why)
        self.engine.advance(now)

    def commit(self) -> None:
        commit = self.engine.commit()
        if commit:
            self.records += commit.records
            self.states |= {node: state for (_, node), state in commit.states.items() if state is not None}


EVENTS = st.lists(
    st.tuples(st.integers(1, 9_000), st.integers(0, 400), st.integers(0, 9), st.sampled_from(["", "commit", "kill"])),
    min_size=1,
    max_size=50,
)


@settings(deadline=None, max_examples=50)
@given(EVENTS, st.integers(0, 65_535))
def test_killed_at_any_moment_no_piece_is_lost_or_doubled(events: list[tuple[int, int, int, str]], begin: int) -> None:
    gateway, now, good, reject = Gateway(), BEGIN_NS, begin, 0

    def sample() -> None:
        gateway.engine.block(Block("press", TAGS, [6, good % 65_536, reject, 0], now, now))
        assert not gateway.engine.flows[PLAN.instance].fault

    sample()
    gateway.commit()  # what was made before the first commit nobody can know of
    for seconds, pieces, bad, then in events:
        now += seconds * NS_PER_S
        good, reject = good + min(pieces, seconds), reject + bad
        sample()
        if then == "commit":
            gateway.commit()
        elif then == "kill":
            now += NS_PER_S
            gateway.start(now)
    now += NS_PER_S
    sample()
    now += 12 * NS_PER_S
    gateway.engine.advance(now)
    gateway.commit()
    oee = {record.key: record for record in gateway.records if record.stream == "oee"}
    assert sum(record.data["good"] for record in oee.values()) == good - begin
    assert sum(record.data["reject"] for record in oee.values()) == reject
    versions = [(record.key, record.version) for record in gateway.records]
    assert len(versions) == len(set(versions))
