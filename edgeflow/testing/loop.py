"""A virtual event loop: its clock jumps to the next timer whenever nothing else is left to do.

    @in_virtual_time
    async def test_an_hour_passes_at_once() -> None:
        await asyncio.sleep(3600)

Timers, `asyncio.timeout`, `TaskGroup` and everything else built on the loop's clock work as they are.
Work in a thread takes no virtual time. Sockets work too, but the clock does not wait for them: use the
virtual loop with fakes only.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

from edgeflow.units import NS_PER_S

T = TypeVar("T")
A = ParamSpec("A")
Ts = TypeVarTuple("Ts")

START_NS = 1_767_254_400 * NS_PER_S
"""2026-01-01T08:00:00Z: where the virtual clock begins."""

_STUCK_S = 10.0


class _Jumping(selectors.BaseSelector):
    """A selector that never sleeps for a timer: it moves the loop's clock instead."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or (timeout > 0 and self._loop.working):  # another thread wakes the loop, or nobody
            ready = self._real.select(_STUCK_S)
            if not ready:
                raise RuntimeError("the virtual loop waits for something that no timer and no thread will bring")
            return ready
        ready = self._real.select(0)
        if not ready and timeout > 0:
            self._loop.jump(timeout)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.get_key(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time begins at 0 and jumps from timer to timer."""

    def __init__(self) -> None:
        self._now = 0.0
        self.working = 0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self._now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """As ever; the clock stands still until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self.working += 1
        future.add_done_callback(self._worked)
        return future

    def _worked(self, _future: asyncio.Future[Any]) -> None:
        self.working -= 1

    def jump(self, seconds: float) -> None:
        """Moves the loop's clock forward."""
        self._now += seconds

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - asyncio's
        """Waits for threads without a time-out, over which the clock would jump."""
        await super().shutdown_default_executor()


class LoopClock:
    """An `edgeflow.clock.Clock` that follows a loop's clock, beginning at `start_ns` (UTC)."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None, start_ns: int = START_NS) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._start_ns = start_ns

    def now_ns(self) -> int:
        return self._start_ns + round(self._loop.time() * NS_PER_S)

    @property
    def epoch(self) -> int:
        return 0


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def in_virtual_time(function: Callable[A, Coroutine[Any, Any, T]]) -> Callable[A, T]:
    """Turns an async test into a plain one that runs in virtual time."""

    @functools.wraps(function)
    def wrapper(*args: A.args, **kwargs: A.kwargs) -> T:
        return run(function(*args, **kwargs))

    return wrapper
