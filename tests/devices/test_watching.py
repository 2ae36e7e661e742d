from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edgeflow.model import BAD, GOOD, UNCERTAIN, Tag
from edgeflow.testing.loop import in_virtual_time
from edgeflow.testing.session import Wire
from edgeflow.units import NS_PER_S
from edgeflow.web.columns import TagColumns

ONE = """
links: {l: {driver: fake}}
devices:
  d: {link: l, tags: {a: {address: 1}, b: {address: 2, scale: 0.5}}}
"""
TWO = """
links: {l: {driver: fake}}
devices:
  d1: {link: l, tags: {a: {address: 1}}}
  d2: {link: l, tags: {b: {address: 2}}}
"""


async def push_every_second(wire: Wire, seconds: int, values: dict[int, Any] | None = None) -> None:
    for _ in range(seconds):
        wire.push(values)
        await asyncio.sleep(1)


@in_virtual_time
async def test_a_push_becomes_a_block_of_the_tags_it_covers(rig: Any) -> None:
    wire = Wire()
    plant = rig(ONE, [wire.driver(pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        wire.push({1: 1.0, 2: 4.0})
        await asyncio.sleep(0.1)
        wire.push({2: 6.0}, source_ns=plant.clock.now_ns() - 50)
        await asyncio.sleep(0.1)
    (_, first), (_, second) = plant.blocks
    assert (first.tags, first.values) == (("d/a", "d/b"), [1.0, 2.0])
    assert (second.tags, second.values, second.read_ns - second.source_ns) == (("d/b",), [3.0], 50)


@in_virtual_time
async def test_the_same_tags_pushed_again_share_their_tuple(rig: Any) -> None:
    wire = Wire()
    plant = rig(ONE, [wire.driver(pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        await push_every_second(wire, 5, {2: 1.0})
    assert len(plant.blocks) == 5
    assert len({id(block.tags) for _, block in plant.blocks}) == 1


@in_virtual_time
async def test_a_source_that_vouches_for_its_values_proves_them_and_leaves_their_times(rig: Any) -> None:
    wire = Wire()
    plant = rig(ONE, [wire.driver(pushes=True)])
    table = TagColumns([Tag("d/a"), Tag("d/b")])
    plant.on_block = table.take
    async with plant.run():
        await asyncio.sleep(0.1)
        wire.hold()
        await asyncio.sleep(0.1)
        assert plant.blocks == [], "what was never heard does not come to hold"
        changed_ns = plant.clock.now_ns() - 10
        wire.push({1: 7.0}, source_ns=changed_ns)
        for _ in range(30):
            await asyncio.sleep(1)
            wire.hold(source_ns=plant.clock.now_ns() - 20)
        await asyncio.sleep(0.1)
        block = plant.blocks[-1][1]
        assert (block.tags, block.values, block.holds) == (("d/a",), [7.0], True)
        assert block.read_ns - block.source_ns == 20
        assert table.value("d/a") == (7.0, GOOD, "", changed_ns)
        assert plant.device("d").state == "degraded", "b was never heard"


@in_virtual_time
async def test_a_sign_of_life_vouches_for_no_value(rig: Any) -> None:
    wire = Wire()
    plant = rig(ONE, [wire.driver(pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        wire.push({1: 7.0, 2: 1.0})
        await push_every_second(wire, 10)
        assert [plant.latest(tag).reason for tag in ("d/a", "d/b")] == ["silent for 4 s"] * 2
        assert plant.device("d").reason == "no good value; d/a: silent for 4 s"
        assert len(wire.requests("watch")) == 1, "the device itself is not silent"


@in_virtual_time
async def test_a_tag_that_gets_no_values_is_bad_whatever_its_neighbours_do(rig: Any) -> None:
    wire = Wire()
    plant = rig(ONE, [wire.driver(pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        wire.push({1: 1.0, 2: 1.0})
        await push_every_second(wire, 20, {1: 1.0})
        bad = [at_s for at_s, sample in plant.samples("d/b") if sample.quality == BAD]
        assert len(bad) == 1, "told once"
        assert 4 <= bad[0] < 5
        assert {sample.quality for _, sample in plant.samples("d/a")} == {GOOD}
        wire.push({2: 2.0})
        await asyncio.sleep(0.1)
        assert plant.device("d").state == "good"


@in_virtual_time
async def test_a_source_may_vouch_for_some_values_only(rig: Any) -> None:
    wire = Wire()
    plant = rig(ONE, [wire.driver(pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        wire.push({1: 1.0, 2: 1.0})
        for _ in range(10):
            await asyncio.sleep(1)
            wire.hold(1)
        assert (plant.latest("d/a").quality, plant.latest("d/b").reason) == (GOOD, "silent for 4 s")
        wire.hold(1, 2)
        await asyncio.sleep(0.1)
        (_, back), (_, held) = plant.blocks[-2:]
        assert (back.tags, back.values, back.holds) == (("d/b",), [0.5], False), "its source vouches for it again"
        assert back.source_ns == back.read_ns, "it was told as not known until now"
        assert held.holds


@in_virtual_time
async def test_a_bad_value_keeps_its_own_reason_when_it_is_silent_too(rig: Any) -> None:
    wire = Wire({1: 1.0, 2: 1.0})
    plant = rig(ONE + "\n  e: {link: l, tags: {c: {address: 3, range: [0, 5]}}}", [wire.driver(pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        wire.push({3: 9.0})
        await push_every_second(wire, 10)
        assert plant.latest("e/c").reason == "9 is outside 0 to 5"


@pytest.mark.parametrize(
    ("stamps", "shown"),
    [
        ([0, 0, 0, 0], [0, 0, 0, 0]),
        ([0, -1, -2, 3], [0, 0, 0, 3]),
        ([0, -3600, -3599, -3598], [0, 1, 2, 3]),
        ([0, 3600, 3601, 3], [0, 1, 2, 3]),
    ],
    ids=["a stamp that never moves", "a little out of order", "a clock that was set back", "a clock that runs ahead"],
)
@in_virtual_time
async def test_the_time_of_a_pushed_value_never_runs_backwards(rig: Any, stamps: list[int], shown: list[int]) -> None:
    wire = Wire()
    plant = rig(ONE, [wire.driver(pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        base_ns = plant.clock.now_ns()
        for second, stamp in enumerate(stamps):
            wire.push({1: float(second), 2: 0.0}, source_ns=base_ns + stamp * NS_PER_S)
            wire.hold(source_ns=base_ns + second * NS_PER_S)
            await asyncio.sleep(1)
    times = [round((block.source_ns - base_ns) / NS_PER_S, 3) for _, block in plant.blocks if not block.holds]
    assert times == shown


@in_virtual_time
async def test_two_devices_behind_one_link_fall_silent_in_the_same_moment(rig: Any) -> None:
    wire = Wire()
    plant = rig(TWO, [wire.driver(serial=False, pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        wire.push({1: 1.0, 2: 2.0})
        await asyncio.sleep(30)
        assert not plant.running.done()
        assert [plant.latest(tag).quality for tag in ("d1/a", "d2/b")] == [BAD, BAD]
        await push_every_second(wire, 8, {1: 3.0, 2: 4.0})
        assert [plant.latest(tag).value for tag in ("d1/a", "d2/b")] == [3.0, 4.0]


@pytest.mark.parametrize("count", [3, 7])
@in_virtual_time
async def test_devices_that_fall_silent_one_after_the_other_end_nothing(rig: Any, count: int) -> None:
    devices = "".join(
        f"\n  d{i}: {{link: l, silence: {3 + i % 2} s, tags: {{a: {{address: {i}}}}}}}" for i in range(count)
    )
    wire = Wire()
    plant = rig("links: {l: {driver: fake}}\ndevices:" + devices, [wire.driver(serial=False, pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        for second in range(60):
            wire.push({i: float(second) for i in range(count) if (second // 7 + i) % 3})
            await asyncio.sleep(1)
        assert not plant.running.done()
        await push_every_second(wire, 10, dict.fromkeys(range(count), 1.0))
        assert {plant.device(f"d{i}").state for i in range(count)} == {"good"}


@in_virtual_time
async def test_connected_but_silent_is_bad_and_the_session_is_rebuilt(rig: Any) -> None:
    wire = Wire()
    plant = rig(ONE, [wire.driver(pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        await push_every_second(wire, 5, {1: 1.0, 2: 1.0})
        last_s = plant.blocks[-1][0]
        wire.hang()
        await asyncio.sleep(6)
        at_s, block = plant.blocks[-1]
        assert block.faults is not None
        assert block.faults[0][1].startswith("connected but silent for 4")
        assert at_s - last_s < 5
        assert len(wire.requests("open")) == 2
        wire.heal()
        await asyncio.sleep(5)
        await push_every_second(wire, 10, {1: 2.0, 2: 2.0})
        assert plant.latest("d/a").quality == GOOD
        assert plant.device("d").state == "good"


@in_virtual_time
async def test_values_known_before_a_loss_are_not_repeated_after_it(rig: Any) -> None:
    wire = Wire()
    plant = rig(ONE, [wire.driver(pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        wire.push({1: 1.0, 2: 1.0})
        await asyncio.sleep(1)
        wire.drop()
        await asyncio.sleep(1)
        assert plant.latest("d/a").quality == BAD
        wire.heal()
        await asyncio.sleep(3)
        wire.push()
        await asyncio.sleep(0.5)
        assert plant.latest("d/a").quality == BAD
        wire.push({1: 2.0})
        await asyncio.sleep(0.5)
        assert (plant.latest("d/a").value, plant.latest("d/b").value) == (2.0, None)


@in_virtual_time
async def test_what_was_told_as_not_known_does_not_become_known_afterwards(rig: Any) -> None:
    wire = Wire()
    plant = rig(ONE, [wire.driver(pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        changed_ns = plant.clock.now_ns()
        wire.push({1: 1.0}, source_ns=changed_ns)
        await asyncio.sleep(60)
        assert plant.latest("d/a").quality == BAD, "silent, so it was told as lost"
        meanwhile_ns = plant.clock.now_ns() - 5_000_000_000
        wire.push({1: 1.0}, source_ns=changed_ns)
        wire.push({2: 1.0}, source_ns=meanwhile_ns)
        await asyncio.sleep(0.1)
        for again in (plant.latest("d/a"), plant.latest("d/b")):
            assert again.quality == GOOD
            assert again.source_ns == again.read_ns, "a server tells when a value changed last: while nobody listened"
        wire.push({1: 2.0}, source_ns=plant.clock.now_ns() - 50)
        await asyncio.sleep(0.1)
        assert plant.latest("d/a").read_ns - plant.latest("d/a").source_ns == 50


@in_virtual_time
async def test_a_silent_device_does_not_take_the_session_from_the_others(rig: Any) -> None:
    wire = Wire()
    plant = rig(TWO, [wire.driver(serial=False, pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        await push_every_second(wire, 3, {1: 1.0, 2: 1.0})
        await push_every_second(wire, 30, {1: 1.0})
        assert plant.latest("d2/b").reason.startswith("connected but silent")
        assert {sample.quality for _, sample in plant.samples("d1/a")} == {GOOD}
        assert len(wire.requests("open")) == 1
        assert len(wire.requests("watch")) > 3, "its watch is begun anew"
        await push_every_second(wire, 3, {1: 1.0, 2: 5.0})
        assert plant.latest("d2/b").value == 5.0
        assert plant.device("d2").state == "good"


@in_virtual_time
async def test_a_tag_with_a_cadence_of_its_own_goes_bad_alone(rig: Any) -> None:
    wire = Wire()
    plant = rig(ONE.replace("scale: 0.5", "silence: 3 s"), [wire.driver(pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        wire.push({1: 1.0, 2: 1.0})
        await push_every_second(wire, 6, {1: 1.0})
        assert plant.latest("d/b").reason == "silent for 3 s"
        assert plant.latest("d/a").quality == GOOD
        assert plant.device("d").reason == "1 of 2 values are not good; d/b: silent for 3 s"
        wire.push({2: 2.0})
        await asyncio.sleep(0.1)
        assert plant.device("d").state == "good"


@in_virtual_time
async def test_a_device_that_may_be_silent_for_ever_is_left_alone(rig: Any) -> None:
    wire = Wire()
    plant = rig(ONE.replace("link: l,", "link: l, silence: never,"), [wire.driver(pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        wire.push({1: 1.0, 2: 1.0})
        await asyncio.sleep(3600)
        assert plant.latest("d/a").quality == GOOD
        assert len(wire.requests("open")) == 1


@in_virtual_time
async def test_pushes_beyond_the_bound_are_dropped_counted_and_make_the_next_uncertain(rig: Any) -> None:
    wire = Wire()
    plant = rig(ONE, [wire.driver(pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        for value in range(1005):
            wire.push({1: float(value)})
        await asyncio.sleep(0.1)
    values = [sample.value for _, sample in plant.samples("d/a")]
    assert values == [float(value) for value in range(5, 1005)]
    qualities = [sample.quality for _, sample in plant.samples("d/a")]
    assert (qualities[0], set(qualities[1:])) == (UNCERTAIN, {GOOD})
    assert plant.device("d").stats.dropped == 5


@in_virtual_time
async def test_a_bug_above_the_devices_does_not_run_through_the_drivers_stack(rig: Any) -> None:
    wire = Wire()

    def engine(_block: object) -> None:
        raise ZeroDivisionError

    plant = rig(ONE, [wire.driver(pushes=True)], engine)
    running = asyncio.get_running_loop().create_task(plant.devices.run())
    await asyncio.sleep(0.1)
    wire.push({1: 1.0})
    with pytest.raises(ExceptionGroup) as caught:
        await running
    assert caught.group_contains(ZeroDivisionError)


@in_virtual_time
async def test_a_read_on_request_asks_the_device_where_it_can(rig: Any) -> None:
    wire = Wire()
    plant = rig(ONE, [wire.driver(pushes=True)])
    async with plant.run():
        await asyncio.sleep(0.1)
        wire.push({1: 3.0, 2: 8.0})
        await asyncio.sleep(0.1)
        assert (await plant.devices.read("d/b", plant.loop.time() + 1)).value == 4.0


@in_virtual_time
async def test_a_device_that_speaks_seldom_is_waited_for_and_not_called_unconnected(rig: Any) -> None:
    wire = Wire()
    plant = rig(ONE.replace("link: l,", "link: l, every: 60 s,"), [wire.driver(pushes=True)])
    async with plant.run():
        await asyncio.sleep(30)
        (status,) = plant.devices.status().devices
        assert (status.state, status.reason) == (
            "connecting",
            "connected, waiting for the first message (expected every 1 min)",
        )
        wire.push({1: 1.0, 2: 4.0})
        await asyncio.sleep(0.1)
        (status,) = plant.devices.status().devices
        assert (status.state, status.reason) == ("good", "")
