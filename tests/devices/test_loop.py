from __future__ import annotations

import asyncio
import time

import pytest

from edgeflow.testing.loop import START_NS, LoopClock, in_virtual_time, run


def test_a_day_passes_at_once() -> None:
    async def sleep() -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    begin = time.monotonic()
    assert run(sleep()) == 86_400
    assert time.monotonic() - begin < 5


@in_virtual_time
async def test_timers_come_in_their_order() -> None:
    loop, seen = asyncio.get_running_loop(), []
    async with asyncio.TaskGroup() as group:
        for delay in (3.0, 1.0, 2.0):

            async def note(delay: float = delay) -> None:
                await asyncio.sleep(delay)
                seen.append((delay, loop.time()))

            group.create_task(note())
    assert seen == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]


@in_virtual_time
async def test_a_timeout_ends_what_never_ends() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await asyncio.Event().wait()
    assert asyncio.get_running_loop().time() == pytest.approx(60)


@in_virtual_time
async def test_the_clock_follows_the_loop() -> None:
    clock = LoopClock()
    await asyncio.sleep(1.5)
    assert clock.now_ns() - START_NS == 1_500_000_000


@in_virtual_time
async def test_threads_are_waited_for_without_moving_the_clock() -> None:
    assert await asyncio.to_thread(lambda: 7) == 7
    assert asyncio.get_running_loop().time() == 0
