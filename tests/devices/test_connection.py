from __future__ import annotations

import asyncio
import gc

from edgeflow.devices.connection import Connection, LinkStats


async def test_what_is_ended_before_it_began_leaves_nothing_unawaited() -> None:
    """An agent that is stopped while it starts says nothing of coroutines."""
    begun = False

    async def work() -> None:
        nonlocal begun
        begun = True

    async def close() -> None: ...

    connection = Connection("bus", object(), True, LinkStats(), lambda *_: None, lambda *_: None)
    task = connection.spawn(object(), object(), coroutine := work())
    await connection.end(close)
    assert task.cancelled()
    assert not begun
    assert coroutine.cr_frame is None  # closed: it will not warn that it was never awaited
    del coroutine
    gc.collect()
    await asyncio.sleep(0)
