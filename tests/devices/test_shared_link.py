from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from edgeflow.errors import ConfigError
from edgeflow.model import BAD, GOOD
from edgeflow.testing.loop import in_virtual_time
from edgeflow.testing.relay import until
from edgeflow.testing.session import Wire

LINE = "links: {l: {driver: fake}}\ndevices:\n" + "".join(
    f"  d{unit}: {{link: l, unit: {unit}, every: 1 s, timeout: 1 s, tags: {{a: {{address: 1}}}}}}\n"
    for unit in range(1, 21)
)
RATES = """
links: {l: {driver: fake}}
devices:
  d: {link: l, every: 1 s, tags: {state: {address: 1, every: 100 ms}, good: {address: 2}, hours: {address: 3, every: 10 s}}}
"""
LAMP = """
links: {l: {driver: fake}}
devices:
  d1: {link: l, unit: 1, every: 1 s, tags: {a: {address: 1}}}
  d2: {link: l, unit: 2, every: 1 s, tags: {red: {address: 2, type: boolean, writable: true, read: false}}}
outputs: {lamp: {elements: {red: d2/red}, refresh: 1 s}}
"""


def gaps(plant: Any, device: str) -> list[float]:
    return [b - a for a, b in itertools.pairwise(at for at, _ in plant.of(device))]


@in_virtual_time
async def test_tags_of_one_device_are_read_at_their_own_rates(rig: Any) -> None:
    wire = Wire({1: 6, 2: 100, 3: 7})
    plant = rig(RATES, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(100.05)
    counts = {tag: len(plant.samples(f"d/{tag}")) for tag in ("state", "good", "hours")}
    assert counts["state"] == pytest.approx(1000, abs=2)
    assert counts["good"] == pytest.approx(100, abs=2)
    assert counts["hours"] == pytest.approx(10, abs=2)
    assert plant.device("d").state == "good"
    assert wire.most_in_flight == 1


@in_virtual_time
async def test_the_rates_of_one_device_do_not_fall_on_the_same_moment(rig: Any) -> None:
    wire = Wire({1: 6, 2: 100, 3: 7})
    plant = rig(RATES.replace("100 ms", "1 s").replace("10 s", "2 s"), [wire.driver()])
    async with plant.run():
        await asyncio.sleep(20)
    late = [r for r in wire.requests("read") if r.at_s > 3]
    assert {r.points for r in late} == {(1, 2), (3,)}
    assert len({round(r.at_s % 1, 6) for r in late}) == 2


@in_virtual_time
async def test_a_fault_of_a_slow_tag_is_not_forgotten_between_its_polls(rig: Any) -> None:
    wire = Wire({1: 6, 2: 100, 3: 7})
    wire.faults[3] = (BAD, "refused")
    plant = rig(RATES, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(5.5)
        assert plant.device("d").state == "degraded"
        wire.faults.clear()
        await asyncio.sleep(10)
        assert plant.device("d").state == "good"
    assert plant.latest("d/state").quality == GOOD


def test_a_rate_of_a_tag_that_is_too_fast_is_told_where_it_is_written(rig: Any) -> None:
    with pytest.raises(ConfigError, match=r"4:.*devices\.d\.tags\.state\.every: .*too fast"):
        asyncio.run(_built(rig, RATES.replace("100 ms", "1 ms")))


async def _built(rig: Any, text: str) -> None:
    rig(text, [Wire().driver()])


@in_virtual_time
async def test_one_lost_answer_is_asked_for_again_and_nobody_notices(rig: Any) -> None:
    wire = Wire({1: 5})
    wire.delay_s = 0.01
    plant = rig(LINE, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(10)
        for _ in range(3):
            before = len(wire.requests("read", 7))
            wire.slow[7] = 5.0
            await until(lambda before=before: len(wire.requests("read", 7)) > before, "it is asked")
            wire.slow[7] = 0.01
            await asyncio.sleep(30)
        assert plant.device("d7").state == "good"
        assert {s.quality for at, s in plant.samples("d7/a") if at > 10} == {GOOD}
        assert max(gaps(plant, "d7")) < 2


@in_virtual_time
async def test_a_silent_unit_takes_at_most_a_twentieth_of_the_line(rig: Any) -> None:
    wire = Wire({1: 5})
    wire.delay_s = 0.01
    plant = rig(LINE, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(10)
        wire.silent = {7}
        lost_s = plant.loop.time()
        await asyncio.sleep(600)
        asked = [r for r in wire.requests("read", 7) if r.at_s > lost_s]
        assert plant.device("d7").state == "bad"
        assert plant.latest("d7/a").quality == BAD
        assert wire.requests("open") == wire.requests("open")[:1], "the line was not opened anew"
        for unit in (1, 8, 20):
            device = f"d{unit}"
            assert plant.device(device).state == "good"
            late = sorted(gaps(plant, device))
            assert late[int(0.99 * len(late))] < 1.11
        assert 600 / 9 < len(asked) < 600 / 4
        wire.silent = set()
        back_s = plant.loop.time()
        await asyncio.sleep(10)
        assert plant.device("d7").state == "good"
        assert next(at for at, s in plant.samples("d7/a") if at > back_s and s.quality == GOOD) - back_s < 10


@in_virtual_time
async def test_a_unit_that_is_off_when_we_start_does_not_keep_the_others_waiting(rig: Any) -> None:
    wire = Wire({1: 5})
    wire.delay_s, wire.silent = 0.01, {3}
    plant = rig(LINE, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(600)
        assert 600 / 9 < len(wire.requests("read", 3)) < 600 / 4
        for device in ("d1", "d4", "d20"):
            assert plant.device(device).state == "good"
            late = sorted(gaps(plant, device))
            assert late[int(0.99 * len(late))] < 1.11
        wire.silent = set()
        back_s = plant.loop.time()
        await asyncio.sleep(10)
        assert next(at for at, s in plant.samples("d3/a") if at > back_s and s.quality == GOOD) - back_s < 10


@in_virtual_time
async def test_a_slow_unit_that_is_off_when_we_start_is_heard_within_some_minutes(rig: Any) -> None:
    wire = Wire({1: 5})
    wire.silent = {3}
    plant = rig(LINE, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(300)
        wire.silent, wire.slow = set(), {3: 0.9}
        await asyncio.sleep(300)
        assert plant.latest("d3/a").quality == GOOD


@in_virtual_time
async def test_a_unit_that_has_become_slow_is_heard_again_within_some_minutes(rig: Any) -> None:
    two = "\n".join(LINE.splitlines()[:4]) + "\n"
    wire = Wire({1: 5})
    plant = rig(two, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(10)
        wire.silent = {2}
        await asyncio.sleep(3)
        wire.silent, wire.slow = set(), {2: 0.7}
        await asyncio.sleep(300)
        assert plant.latest("d2/a").quality == GOOD


@in_virtual_time
async def test_an_output_on_a_silent_unit_does_not_take_the_line_either(rig: Any) -> None:
    wire = Wire({1: 5})
    plant = rig(LAMP, [wire.driver()])
    async with plant.run():
        plant.show("lamp", red="on")
        await asyncio.sleep(5)
        wire.silent = {2}
        asked = len(wire.requests("write"))
        await asyncio.sleep(100)
        # pauses of at least 0.4, 0.8, 1.6 and 3.2 s, then of at least 4 s
        assert len(wire.requests("write")) - asked <= 5 + (100 - 6) / 4
        assert plant.output("lamp").shown == "failed"
        wire.silent = set()
        await asyncio.sleep(10)
        assert plant.output("lamp").shown == "ok"
        assert wire.values[2] is True


@in_virtual_time
async def test_writes_do_not_wait_for_reads_where_they_have_a_connection_of_their_own(rig: Any) -> None:
    text = LAMP.replace("unit: 2, every", "unit: 1, every")
    waits = {}
    for apart in (False, True):
        wire = Wire({1: 5})
        wire.writes_apart, wire.delay_s = apart, 0.8
        plant = rig(text, [wire.driver()])
        async with plant.run():
            await asyncio.sleep(4)
            while wire.in_flight:  # noqa: ASYNC110 - a wire has no event
                await asyncio.sleep(0.01)
            while not wire.in_flight:  # noqa: ASYNC110 - a wire has no event
                await asyncio.sleep(0.01)
            shown_s = plant.loop.time()
            plant.show("lamp", red="on")
            await asyncio.sleep(2)
        waits[apart] = next(r.at_s for r in wire.requests("write") if r.at_s >= shown_s) - shown_s
    assert waits[True] == pytest.approx(0, abs=0.01)
    assert waits[False] > 0.5
