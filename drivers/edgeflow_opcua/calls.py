"""The tags of one device that show what methods give: who calls them and when, and what is pushed of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from edgeflow.driver import Column
from edgeflow.errors import LinkDown
from edgeflow.model import Scalar
from edgeflow.units import NS_PER_S
from edgeflow_opcua.method import Methods, Source, source_of
from edgeflow_opcua.settings import Point
from edgeflow_opcua.value import Fault

_CALL_S = 10.0
_TRY_AGAIN_S = 30.0


class Calls:
    """Calls in tasks of their own: a slow method keeps neither the heartbeat nor another method waiting."""

    def __init__(self, methods: Methods, points: Mapping[int, Point], push: Callable[[Column], None]) -> None:
        self._methods, self._points, self._push = methods, points, push
        self._of: dict[Source, list[int]] = {}
        for index, point in points.items():
            self._of.setdefault(source_of(point), []).append(index)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    def begin(self) -> None:
        """What is called by itself is called now; the others show what was given before."""
        if not self._of:
            return
        self._methods.listeners.add(self._written)
        self._written()
        for (_, _, arguments), indices in self._of.items():
            if arguments is not None:
                self._start(self._repeat(indices))

    async def end(self) -> None:
        """No more calls."""
        self._methods.listeners.discard(self._written)
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def show(self) -> None:
        """Tells all of them again."""
        if self._points:
            self._start(self._tell(list(self._points)))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="opcua: method")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._failure = self._failure or task.exception()

    def check(self) -> None:
        """Raises what a task has failed with: a fault of ours, which must not stay unheard."""
        if self._failure is not None:
            raise self._failure

    def _written(self) -> None:
        """Somebody has called a method."""
        indices = [i for (_, _, arguments), some in self._of.items() if arguments is None for i in some]
        if indices:
            self._start(self._tell(indices))

    async def _repeat(self, indices: list[int]) -> None:
        """One call for all of them, as often as the most urgent wants it; the heartbeat tells of a lost connection."""
        first = self._points[indices[0]]
        every = [call for i in indices if isinstance(call := self._points[i].call, int)]
        loop = asyncio.get_running_loop()
        due_at, every_s = loop.time(), min(every) / NS_PER_S if every else 0.0
        with suppress(LinkDown):
            while True:
                done = await self._methods.call(first, loop.time() + _CALL_S)
                await self._tell(indices)
                if done and not every:
                    return
                due_at = max(due_at + every_s, loop.time()) if every else loop.time() + _TRY_AGAIN_S
                await asyncio.sleep(due_at - loop.time())

    async def _tell(self, indices: list[int]) -> None:
        values: list[Scalar] = []
        faults: dict[int, Fault] = {}
        deadline = asyncio.get_running_loop().time() + _CALL_S
        with suppress(LinkDown):
            for at, index in enumerate(indices):
                value, fault = await self._methods.shown(self._points[index], deadline)
                values.append(value)
                if fault:
                    faults[at] = fault
            self._push(Column(values, 0, faults or None, tuple(indices)))
