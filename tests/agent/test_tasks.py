"""Parts that fail are begun again."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from structlog.testing import capture_logs

from edgeflow.agent.tasks import supervised
from edgeflow.testing.loop import in_virtual_time


@in_virtual_time
async def test_a_part_that_fails_is_begun_again_after_a_growing_pause() -> None:
    begun: list[float] = []

    async def work() -> None:
        begun.append(asyncio.get_running_loop().time())
        if len(begun) < 8:
            raise OSError("gone")

    with capture_logs() as logs:
        await supervised("uplink", work)
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
        await supervised("uplink", work)
    assert [b - a for a, b in pairwise(begun)] == [1, 2, 4, 101]


@in_virtual_time
async def test_a_cancelled_part_ends() -> None:
    task = asyncio.create_task(supervised("uplink", asyncio.Event().wait))  # type: ignore[arg-type]
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
