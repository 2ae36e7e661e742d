"""Keeps the parts of the agent running that may fail without the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from edgeflow.backoff import Backoff

log = structlog.get_logger()

_FIRST_S, _LONGEST_S = 1.0, 30.0
_SETTLED_S = 60.0


async def supervised(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Runs `work` for ever: when it fails it is logged and begun again after a growing pause."""
    backoff, time = Backoff(_FIRST_S, _LONGEST_S, jitter=0.0), asyncio.get_running_loop().time
    while True:
        begun_s = time()
        try:
            await work()
        except Exception as error:  # a part of the shell is contained and begun again
            if time() - begun_s > _SETTLED_S:
                backoff.reset()
            pause_s = backoff.next()
            log.error("a part of the agent failed and is begun again", part=name, exc_info=error, in_s=pause_s)
        else:
            return
        await asyncio.sleep(pause_s)
