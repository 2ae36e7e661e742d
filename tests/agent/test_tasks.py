"""Parts that fail are begun again; parts that do not want to end are told again."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from structlog.testing import capture_logs

from edgeflow.agent.tasks import insistence, kept_up
from edgeflow.testing.loop import in_virtual_time


@in_virtual_time
async def test_a_part_that_fails_is_begun_again_after_a_growing_pause() -> None:
    begun: list[float] = []

    async def work() -> None:
        begun.append(asyncio.get_running_loop().time())
        if len(begun) < 8:
            raise OSError("gone")

    with capture_logs() as logs:
        await kept_up("uplink", work)
    assert begun == [0, 1, 3, 7, 15, 31, 61, 91]
    assert {(entry["log_level"], entry["part"]) for entry in logs} == {("error", "uplink")}


@in_virtual_time
async def test_a_part_that_worked_for_long_is_begun_again_at_once() -> None:
    begun: list[float] = []

    async def work() -> None:
        begun.append(asyncio.get_running_loop().time())
        if len(begun) > 4:
            return
        await asyncio.sleep(100 if len(begun) == 4 else 0)
        raise ExceptionGroup("of a task group", [OSError("gone")])

    with capture_logs():
        await kept_up("uplink", work)
    assert [b - a for a, b in pairwise(begun)] == [1, 2, 4, 101]


@in_virtual_time
async def test_a_cancelled_part_ends() -> None:
    task = asyncio.create_task(kept_up("uplink", asyncio.Event().wait))  # type: ignore[arg-type]
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


@in_virtual_time
async def test_a_task_that_swallows_its_cancellation_is_told_again_and_the_spared_one_never() -> None:
    told = 0

    async def stubborn() -> None:
        nonlocal told
        while told < 3:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                told += 1

    task, spare = asyncio.create_task(stubborn()), asyncio.create_task(asyncio.sleep(5))
    await asyncio.sleep(1)
    task.cancel()
    with insistence(3, spare=spare):
        await asyncio.wait({task})
        assert asyncio.get_running_loop().time() == 4.5
    await asyncio.wait({spare})
    assert not spare.cancelled()
