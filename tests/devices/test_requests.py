"""A poll of several requests: each has its turn, its deadline and its time, and a lost one costs its own points."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from edgeflow.model import BAD, GOOD
from edgeflow.testing.loop import in_virtual_time
from edgeflow.testing.session import Wire
from edgeflow.units import NS_PER_S

MANY = 52


def text(count: int, more: str = "") -> str:
    tags = ", ".join(f"t{i}: {{address: {i}}}" for i in range(count))
    return f"""
links: {{l: {{driver: fake}}}}
devices:
  d: {{link: l, timeout: 300 ms{more}, tags: {{{tags}, out: {{address: 99, writable: true, read: false}}}}}}
"""


def wire_of(count: int, per_request: int) -> Wire:
    wire = Wire({i: float(i) for i in range(count)})
    wire.per_request = per_request
    return wire


@in_virtual_time
async def test_every_value_has_the_time_of_the_answer_that_brought_it(rig: Any) -> None:
    wire = wire_of(6, 1)
    wire.delay_s = 0.1
    plant = rig(text(6), [wire.driver()])
    async with plant.run():
        await asyncio.sleep(5)
    for at_s, block in plant.blocks:
        assert abs(at_s - plant.blocks[0][0] - (block.read_ns - plant.blocks[0][1].read_ns) / NS_PER_S) < 0.001
        assert block.source_ns == block.read_ns
    whole = [block for _, block in plant.blocks if "d/t0" in block.tags]
    last = [block for _, block in plant.blocks if "d/t5" in block.tags]
    assert 0.49 < (last[1].read_ns - whole[1].read_ns) / NS_PER_S < 0.51
    assert plant.device("d").state == "good"


@in_virtual_time
async def test_a_request_that_says_when_it_was_answered_is_believed(rig: Any) -> None:
    wire = wire_of(2, 2)
    wire.answered_ago_s = 0.25
    plant = rig(text(2), [wire.driver()])
    async with plant.run():
        await asyncio.sleep(2)
    at_s, block = plant.blocks[-1]
    assert abs((block.read_ns - plant.clock.now_ns()) / NS_PER_S - (at_s - plant.loop.time()) + 0.25) < 0.001


@in_virtual_time
async def test_a_device_that_loses_every_fourth_request_has_good_values_all_the_time(rig: Any) -> None:
    wire = wire_of(MANY, 10)
    wire.loses = lambda number: number % 4 == 0
    plant = rig(text(MANY), [wire.driver()])
    async with plant.run():
        await asyncio.sleep(60)
        assert plant.device("d").state in {"good", "degraded"}
        assert plant.device("d").stats.failed == 0
    assert len(wire.requests("open")) == 1
    for i in range(MANY):
        samples = plant.samples(f"d/t{i}")
        good = [at_s for at_s, sample in samples if sample.quality == GOOD]
        assert len(good) >= 25
        assert max(b - a for a, b in pairwise(good)) < 5
        assert {sample.reason for _, sample in samples if sample.quality == BAD} <= {"unit 1 does not answer"}


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside another"])
@in_virtual_time
async def test_a_lost_request_costs_only_its_own_points(rig: Any, alone: bool) -> None:
    wire = wire_of(5, 1)
    wire.unanswered = {0}
    other = "" if alone else "\n  e: {link: l, unit: 2, tags: {x: {address: 1}}}\n"
    plant = rig(text(5) + other, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(20)
        assert plant.latest("d/t0").reason == "unit 1 does not answer"
        assert all(plant.latest(f"d/t{i}").value == float(i) for i in range(1, 5))
        assert plant.device("d").state == "degraded"
        assert plant.device("d").reason == "1 of 5 values are not good; d/t0: unit 1 does not answer"
        wire.unanswered = set()
        await asyncio.sleep(3)
        assert plant.device("d").state == "good"


@in_virtual_time
async def test_a_device_of_which_nothing_is_answered_is_silent_after_two_requests(rig: Any) -> None:
    wire = wire_of(50, 5)
    plant = rig(text(50, ", every: 2 s"), [wire.driver()])
    async with plant.run():
        await asyncio.sleep(5)
        wire.silent = {1}
        before, since_s = len(wire.requests("read")), plant.loop.time()
        await asyncio.sleep(10)
        assert plant.device("d").state == "bad"
        assert all(plant.latest(f"d/t{i}").quality == BAD for i in range(50))
        asked = wire.requests("read")[before:]
        assert len(asked) == 10, "five polls of two requests"
        assert all(request.at_s - since_s > 0 for request in asked)
        wire.silent = set()
        await asyncio.sleep(3)
        assert plant.device("d").state == "good"


@in_virtual_time
async def test_a_silent_device_with_several_requests_costs_the_others_a_bounded_share(rig: Any) -> None:
    wire = wire_of(50, 5)
    wire.delay_s = 0.005
    other = "\n  e: {link: l, unit: 2, every: 100 ms, tags: {x: {address: 1}}}\n"
    plant = rig(text(50) + other, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(5)
        wire.silent = {1}
        await asyncio.sleep(5)
        before = len(plant.samples("e/x"))
        await asyncio.sleep(60)
        assert len(plant.samples("e/x")) - before > 0.9 * 600
        assert plant.device("d").state == "bad"


@in_virtual_time
async def test_writes_go_between_the_requests_of_a_poll(rig: Any) -> None:
    wire = wire_of(10, 1)
    wire.delay_s = 0.2
    plant = rig(text(10, ", every: 3 s"), [wire.driver()])
    async with plant.run():
        await asyncio.sleep(6)
        while wire.in_flight == 0:  # noqa: ASYNC110 - a poll has begun
            await asyncio.sleep(0.01)
        begun_s = plant.loop.time()
        await plant.devices.write("d/out", 7.0, plant.loop.time() + 5)
        assert plant.loop.time() - begun_s < 0.45, "one request and the write, not the whole poll"


@in_virtual_time
async def test_slow_requests_each_have_their_own_deadline(rig: Any) -> None:
    wire = wire_of(5, 1)
    wire.delay_s = 0.25
    plant = rig(text(5, ", every: 2 s"), [wire.driver()])
    async with plant.run():
        await asyncio.sleep(10)
        assert plant.device("d").state == "good", "1.25 s a poll with a time-out of 0.3 s for each request"
        wire.takes = {3: 0.5}
        await asyncio.sleep(4)
        assert plant.latest("d/t3").quality == BAD
        assert plant.latest("d/t4").quality == GOOD


@in_virtual_time
async def test_tags_of_several_requests_with_a_pace_of_their_own_keep_their_places(rig: Any) -> None:
    wire = wire_of(6, 2)
    tags = ", ".join(f"t{i}: {{address: {i}{', every: 500 ms' if i % 2 else ''}}}" for i in range(6))
    plant = rig(f"links: {{l: {{driver: fake}}}}\ndevices: {{d: {{link: l, tags: {{{tags}}}}}}}", [wire.driver()])
    async with plant.run():
        await asyncio.sleep(3)
        assert [plant.latest(f"d/t{i}").value for i in range(6)] == [float(i) for i in range(6)]
        wire.unanswered = {5}
        await asyncio.sleep(3)
        assert [plant.latest(f"d/t{i}").quality for i in range(6)] == [GOOD] * 5 + [BAD]


@in_virtual_time
async def test_a_tag_that_is_read_on_request_is_read_alone(rig: Any) -> None:
    wire = wire_of(6, 2)
    plant = rig(text(6), [wire.driver()])
    async with plant.run():
        await asyncio.sleep(3)
        assert (await plant.devices.read("d/t5", plant.loop.time() + 1)).value == 5.0
