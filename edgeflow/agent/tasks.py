"""Keeps the parts of the agent running that may fail without the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger()

_LONGEST_S = 30.0
_SETTLED_S = 60.0
_AGAIN_S = 0.5


async def kept_up(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Runs `work` for ever: when it fails it is logged and begun again after a growing pause."""
    pause_s = 1.0
    loop = asyncio.get_running_loop()
    while True:
        begun_s = loop.time()
        try:
            await work()
        except Exception as error:  # a part of the shell is contained and begun again
            log.error("a part of the agent failed and is begun again", part=name, exc_info=error, in_s=pause_s)
        else:
            return
        if loop.time() - begun_s > _SETTLED_S:
            pause_s = 1.0
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_S)


@contextmanager
def insistence(after_s: float, *, spare: asyncio.Task[None]) -> Iterator[None]:
    """Cancels all other tasks but `spare` where the block lasts longer, and then again until it ends.

    A library may swallow one cancellation; aiomqtt on Python 3.11 does.
    """
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    timers: list[asyncio.TimerHandle] = []

    def insist(in_s: float) -> None:
        timers[:] = [loop.call_later(in_s, again)]

    def again() -> None:
        for task in asyncio.all_tasks(loop) - {me, spare}:
            task.cancel()
        insist(_AGAIN_S)

    insist(after_s)
    try:
        yield
    finally:
        timers[0].cancel()
