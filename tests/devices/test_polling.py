from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pytest

from edgeflow.backoff import Backoff
from edgeflow.model import BAD, GOOD
from edgeflow.testing.loop import in_virtual_time
from edgeflow.testing.session import Wire

ONE = """
links: {l: {driver: fake}}
devices:
  d: {link: l, every: 500 ms, tags: {a: {address: 1, scale: 0.1}, b: {address: 2, range: [0, 10]}}}
"""
TWO = """
links: {l: {driver: fake}}
devices:
  d1: {link: l, unit: 1, every: 500 ms, tags: {a: {address: 1}}}
  d2: {link: l, unit: 2, every: 500 ms, tags: {a: {address: 1}}}
"""


@in_virtual_time
async def test_a_poll_becomes_a_block_with_both_times(rig: Any) -> None:
    wire = Wire({1: 205, 2: 5.0})
    plant = rig(ONE, [wire.driver()])
    wire.source_ns = plant.clock.now_ns() - 7
    wire.delay_s = 0.1
    async with plant.run():
        await asyncio.sleep(0.2)
    at, block = plant.blocks[0]
    assert (block.device, block.tags, block.values, block.faults) == ("d", ("d/a", "d/b"), [20.5, 5.0], None)
    assert at == pytest.approx(0.1)
    assert block.source_ns == wire.source_ns
    assert block.read_ns - wire.source_ns == 100_000_007


@in_virtual_time
async def test_blocks_of_a_device_share_one_tuple_of_tags(rig: Any) -> None:
    wire = Wire({1: 1, 2: 1})
    plant = rig(ONE, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(3)
        wire.drop()
        await asyncio.sleep(1)
    assert len(plant.blocks) > 5
    assert len({id(block.tags) for _, block in plant.blocks}) == 1


@in_virtual_time
async def test_polls_keep_an_absolute_schedule_however_long_an_answer_takes(rig: Any) -> None:
    wire = Wire({1: 1, 2: 1})
    wire.delay_s = 0.1234
    plant = rig(ONE, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(1000.2)
    times = [r.at_s for r in wire.requests("read")][1:]
    assert len(times) == 2000
    assert all(at % 0.5 == pytest.approx(times[0] % 0.5, abs=1e-6) for at in times)
    assert plant.device("d").stats.late == 0


@in_virtual_time
async def test_a_poll_whose_time_has_passed_is_left_out_and_counted(rig: Any) -> None:
    wire = Wire({1: 1, 2: 1})
    wire.delay_s = 0.8  # of 1 s allowed, with a period of 0.5 s: each answer misses the next but one
    plant = rig(ONE, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(100)
    stats = plant.device("d").stats
    assert stats.polls + stats.late == pytest.approx(200, abs=2)
    assert stats.late == pytest.approx(100, abs=2)
    assert wire.most_in_flight == 1


@in_virtual_time
async def test_devices_are_spread_over_their_period(rig: Any) -> None:
    wire = Wire({1: 1})
    text = "links:\n" + "".join(f"  l{i}: {{driver: fake}}\n" for i in range(10)) + "devices:\n"
    text += "".join(f"  d{i}: {{link: l{i}, unit: {i}, every: 1 s, tags: {{a: {{address: 1}}}}}}\n" for i in range(10))
    plant = rig(text, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(10)
    phases = sorted(wire.requests("read", unit)[3].at_s % 1 for unit in range(10))
    gaps = [b - a for a, b in zip(phases, [*phases[1:], phases[0] + 1], strict=True)]
    assert max(gaps) < 0.2


@in_virtual_time
async def test_a_hang_is_bad_with_a_reason_within_five_seconds_and_data_are_back_within_ten(rig: Any) -> None:
    for every in ("100 ms", "500 ms", "1 s", "2 s"):
        wire = Wire({1: 1, 2: 1})
        plant = rig(ONE.replace("500 ms", every), [wire.driver()])
        async with plant.run():
            await asyncio.sleep(20)
            wire.hang()
            await asyncio.sleep(60)
            wire.heal()
            healed_s = plant.loop.time()
            await asyncio.sleep(10)
        history = plant.samples("d/a")
        lost = next(i for i, (_, sample) in enumerate(history) if sample.quality == BAD)
        assert history[lost][0] - history[lost - 1][0] < 5
        assert history[lost][1].reason == "no answer by the deadline"
        assert history[lost][1].value is None
        assert history[lost + 1][1].quality == GOOD, "told once, not once per attempt"
        assert history[lost + 1][0] - healed_s < 10
        assert wire.cancelled == 0


@in_virtual_time
async def test_a_dropped_link_makes_every_device_of_it_bad_at_once_and_once(rig: Any) -> None:
    wire = Wire({1: 1})
    plant = rig(TWO, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(3.01)
        plant.blocks.clear()
        wire.drop("connection reset by peer")
        await asyncio.sleep(30)
        assert [(block.device, block.faults) for _, block in plant.blocks] == [
            ("d1", {0: (BAD, "connection reset by peer")}),
            ("d2", {0: (BAD, "connection reset by peer")}),
        ]
        # A sleeping session notices with its next request, half a second later at most.
        assert plant.blocks[1][0] - 3.01 <= 0.5
        assert {d.state for d in plant.devices.status().devices} == {"bad"}
        wire.heal()
        await asyncio.sleep(6)
    assert plant.latest("d1/a").quality == plant.latest("d2/a").quality == GOOD
    assert plant.device("d1").state == "good"


def test_the_first_retry_is_fast_and_waiting_stays_short() -> None:
    backoff = Backoff()
    waits = [backoff.next() for _ in range(10)]
    assert 0.4 <= waits[0] <= 0.5
    assert max(waits) <= 5
    assert min(waits[5:]) >= 4
    backoff.reset()
    assert backoff.next() <= 0.5


@in_virtual_time
async def test_a_link_that_answers_and_drops_again_and_again_is_not_hammered(rig: Any) -> None:
    wire = Wire({1: 1, 2: 1})
    wire.drop("refused")
    plant = rig(ONE, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(60)
    assert 12 <= len(wire.requests("open")) <= 22
    assert plant.devices.status().links[0].reason == "refused"


@in_virtual_time
async def test_a_driver_that_cannot_open_in_time_is_given_up(rig: Any) -> None:
    wire = Wire({1: 1, 2: 1})
    wire.open_hangs = True
    plant = rig(ONE, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(5)
        assert plant.latest("d/a").reason == "it could not be opened in time"
        wire.open_hangs = False
        await asyncio.sleep(8)
        assert plant.latest("d/a").quality == GOOD


@in_virtual_time
async def test_a_driver_that_breaks_its_promise_loses_its_session(rig: Any) -> None:
    wire = Wire({1: 1, 2: 1})
    plant = rig(ONE, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(5)
        wire.breaks_promises = True
        wire.hang()
        await asyncio.sleep(5)
        assert plant.latest("d/a").reason == "the driver did not end a request by its deadline"
        wire.heal()
        await asyncio.sleep(10)
        assert plant.latest("d/a").quality == GOOD
    assert plant.devices.status().links[0].stats.broken >= 1


async def test_a_loop_that_was_held_up_is_no_broken_promise_of_a_driver(rig: Any) -> None:
    wire = Wire({1: 1, 2: 1})
    plant = rig(ONE.replace("every: 500 ms", "every: 60 ms, timeout: 100 ms"), [wire.driver()])
    async with plant.run():
        await asyncio.sleep(0.2)
        for _ in range(3):
            wire.hang()
            while not wire.in_flight:  # noqa: ASYNC110 - the wire has no event
                await asyncio.sleep(0.001)
            time.sleep(1.0)  # noqa: ASYNC251 - this is what is tried
            wire.heal()
            await asyncio.sleep(0.1)
    assert plant.devices.status().links[0].stats.broken == 0


@in_virtual_time
async def test_whatever_a_driver_raises_is_contained_at_its_link(rig: Any) -> None:
    broken, fine = Wire({1: 1, 2: 1}), Wire({1: 1})
    text = ONE.replace("{l: {driver: fake}}", "{l: {driver: fake}, m: {driver: fine}}")
    plant = rig(text + "  e: {link: m, tags: {a: {address: 1}}}\n", [broken.driver(), fine.driver("fine")])
    async with plant.run():
        await asyncio.sleep(5)
        broken.raises = KeyError("lost in the bytes")
        await asyncio.sleep(20)
        assert plant.latest("d/a").reason == "the driver failed: KeyError: 'lost in the bytes'"
        broken.heal()
        await asyncio.sleep(10)
        assert plant.latest("d/a").quality == GOOD
    assert plant.device("e").stats.polls == pytest.approx(35, abs=1)
    assert plant.device("e").stats.failed == 0


@in_virtual_time
async def test_a_bug_above_the_devices_is_not_blamed_on_them(rig: Any) -> None:
    wire = Wire({1: 1, 2: 1})

    def engine(_block: object) -> None:
        raise ZeroDivisionError

    plant = rig(ONE, [wire.driver()], engine)
    with pytest.raises(ExceptionGroup) as caught:
        await plant.devices.run()
    assert caught.group_contains(ZeroDivisionError)


@in_virtual_time
async def test_a_bad_point_degrades_its_device_and_the_others_go_on(rig: Any) -> None:
    wire = Wire({1: 205, 2: 11.0})
    plant = rig(ONE, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(1)
        status = plant.device("d")
        assert (status.state, status.reason) == ("degraded", "1 of 2 values are not good; d/b: 11 is outside 0 to 10")
        assert plant.latest("d/a").value == 20.5
        wire.values[2] = 9.0
        await asyncio.sleep(1)
        assert (plant.device("d").state, plant.device("d").reason) == ("good", "")


@in_virtual_time
async def test_a_device_without_any_good_value_is_bad(rig: Any) -> None:
    wire = Wire({1: 1, 2: 1})
    wire.faults = {1: (BAD, "illegal address"), 2: (BAD, "illegal address")}
    plant = rig(ONE, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(1)
    assert (plant.device("d").state, plant.device("d").last_good_ns) == ("bad", 0)
    assert plant.device("d").reason == "no good value; d/a: illegal address"


@in_virtual_time
async def test_a_clock_in_the_future_does_not_carry_our_time_with_it(rig: Any) -> None:
    wire = Wire({1: 1, 2: 1})
    plant = rig(ONE, [wire.driver()])
    wire.source_ns = plant.clock.now_ns() + 3600 * 10**9
    async with plant.run():
        await asyncio.sleep(1)
    block = plant.blocks[-1][1]
    assert block.source_ns == block.read_ns
    assert plant.device("d").stats.clock_ahead == len(plant.blocks)


@in_virtual_time
async def test_one_request_at_a_time_on_a_serial_link_and_the_same_share_for_all(rig: Any) -> None:
    wire = Wire({1: 1})
    wire.delay_s = 0.1
    text = "links: {l: {driver: fake}}\ndevices:\n" + "".join(
        f"  d{i}: {{link: l, unit: {i}, every: 100 ms, tags: {{a: {{address: 1}}}}}}\n" for i in range(5)
    )
    plant = rig(text, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(100)
    polls = [len(wire.requests("read", unit)) for unit in range(5)]
    assert wire.most_in_flight == 1
    assert sum(polls) == pytest.approx(1000, abs=10)
    assert max(polls) - min(polls) <= 2


@in_virtual_time
async def test_requests_overlap_where_the_driver_allows_it(rig: Any) -> None:
    wire = Wire({1: 1})
    wire.delay_s = 0.4
    plant = rig(TWO, [wire.driver(serial=False)])
    async with plant.run():
        await asyncio.sleep(5)
    assert wire.most_in_flight == 2


@in_virtual_time
async def test_a_dead_unit_costs_the_others_on_its_link_a_bounded_share(rig: Any) -> None:
    wire = Wire({1: 1})
    plant = rig(TWO, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(5)
        wire.dead = {2}
        await asyncio.sleep(10)
        plant.blocks.clear()
        await asyncio.sleep(100)
        assert plant.latest("d1/a").quality == GOOD
        assert {block.device for _, block in plant.blocks if block.faults} == set(), "no flapping of either"
        assert plant.device("d2").state == "bad"
        times = [at for at, _ in plant.of("d1")]
        assert len(times) > 100
        assert max(b - a for a, b in itertools.pairwise(times)) < 4
        wire.dead = set()
        await asyncio.sleep(10)
        assert plant.latest("d2/a").quality == GOOD


@in_virtual_time
async def test_ending_closes_the_sessions_and_cancels_no_request(rig: Any) -> None:
    wire = Wire({1: 1, 2: 1})
    wire.delay_s = 0.4
    plant = rig(ONE, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(2.1)
        assert wire.in_flight == 1
    assert wire.in_flight == wire.cancelled == 0
    assert wire.log[-1].kind == "close"


@in_virtual_time
async def test_one_tag_is_read_and_written_on_request(rig: Any) -> None:
    wire = Wire({1: 205, 2: 5.0})
    text = ONE.replace("scale: 0.1", "scale: 0.1, writable: true, range: [0, 100]")
    plant = rig(text, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(1.1)
        wire.values[1] = 333
        sample = await plant.devices.read("d/a", plant.loop.time() + 1)
        assert (sample.value, sample.quality) == (33.3, GOOD)
        await plant.devices.write("d/a", 44.4, plant.loop.time() + 1)
        assert wire.values[1] == 444
