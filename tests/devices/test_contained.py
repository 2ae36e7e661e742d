"""No input ends the process: what a driver does against its contract costs its own link, and only for a while."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edgeflow.driver import Column
from edgeflow.model import BAD, GOOD
from edgeflow.testing.loop import in_virtual_time
from edgeflow.testing.session import Wire

TEXT = """
links: {l: {driver: fake}, m: {driver: other}}
devices:
  d: {link: l, tags: {a: {address: 1}, b: {address: 2}}}
  e: {link: m, tags: {c: {address: 1}}}
"""
STRANGE = {
    "an index that is not there": Column([1.0], points=(7,)),
    "a fault of no value": Column([1.0, 2.0], 0, {9: (BAD, "?")}),
    "no fault": Column([1.0, 2.0], 0, {0: None}),  # type: ignore[dict-item]
    "no values": Column(None),  # type: ignore[arg-type]
    "no column": None,
    "points that are none": Column([1.0], points=("a",)),  # type: ignore[arg-type]
    "a time that is none": Column([1.0, 2.0], source_ns="now"),  # type: ignore[arg-type]
    "an answer from nowhere": Column([1.0, 2.0], answered_s="now"),  # type: ignore[arg-type]
    "still holds of nothing": Column((), points=(7,), holds=True),
}


@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("pushes", [True, False], ids=["pushed", "polled"])
@in_virtual_time
async def test_a_strange_column_costs_its_own_link_and_only_for_a_while(rig: Any, strange: Any, pushes: bool) -> None:
    wire, other = Wire({1: 1.0, 2: 2.0}), Wire({1: 5.0})
    plant = rig(TEXT, [wire.driver(pushes=pushes), other.driver("other")])
    async with plant.run():
        await asyncio.sleep(2)
        wire.strange = strange
        for _ in range(10):
            if pushes:
                for _, push in list(wire.watchers):
                    push(strange)
            await asyncio.sleep(1)
        assert not plant.running.done()
        wire.strange = wire.NORMAL
        for _ in range(10):
            wire.push({1: 3.0, 2: 4.0})
            await asyncio.sleep(1)
        assert [plant.latest(tag).quality for tag in ("d/a", "d/b")] == [GOOD, GOOD]
        assert {sample.quality for _, sample in plant.samples("e/c")} == {GOOD}


@in_virtual_time
async def test_a_device_that_speaks_seldom_is_said_to_be_connected(rig: Any) -> None:
    wire = Wire()
    plant = rig(
        "links: {l: {driver: fake}}\ndevices: {d: {link: l, every: 1 min, tags: {a: {address: 1}}}}",
        [wire.driver(pushes=True)],
    )
    async with plant.run():
        await asyncio.sleep(30)
        assert plant.device("d").reason == "connected, waiting for the first message (expected every 1 min)"
        assert plant.devices.status().links[0].reason == "connected, but nothing has been heard yet"
