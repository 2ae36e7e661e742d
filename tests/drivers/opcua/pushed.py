"""What the tests of a watch share: a session, the points of the press, and what was pushed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from edgeflow.driver import Column, Home
from edgeflow.testing.drivers import poll_by
from edgeflow_opcua import DRIVER, Device, Link, Point

PRESS = "nsu=urn:edgeflow:plant:press;s="
DEVICE = Device.model_validate({"heartbeat": "200 ms", "publishing_interval": "50 ms"})
PATIENCE_S = 20.0


def soon(seconds: float = PATIENCE_S) -> float:
    return asyncio.get_running_loop().time() + seconds


def point(name: str | None = None, **more: Any) -> Point:
    return Point.model_validate(more if name is None else {"node": PRESS + name, **more})


@asynccontextmanager
async def opened(server: Any, home: Home | None = None) -> AsyncIterator[Any]:
    async with DRIVER.open(Link(url=server.url, security="none"), soon(), home or Home()) as session:
        yield session


class Pushed:
    """Every column that was pushed, and the latest value and fault by point."""

    def __init__(self) -> None:
        self.columns: list[Column] = []
        self.late: list[Column] = []
        self.values: dict[int, Any] = {}
        self.faults: dict[int, Any] = {}

    def __call__(self, column: Column) -> None:
        if column.holds:
            self.columns.append(column)
            return
        assert column.points is not None
        if column.late:
            assert not any(one.points for one in self.columns), "history comes before what is live"
            self.late.append(column)
            return
        self.columns.append(column)
        for at, index in enumerate(column.points):
            self.values[index] = column.values[at]
            self.faults[index] = (column.faults or {}).get(at)

    def of(self, index: int) -> list[Any]:
        """All values of one point, in order."""
        return [
            value
            for one in self.columns
            for i, value in zip(one.points or (), one.values, strict=not one.holds)
            if i == index
        ]


@asynccontextmanager
async def watching(session: Any, points: list[Point], pushed: Pushed, device: Device = DEVICE) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(session.watch(device, points, pushed))
        yield
        task.cancel()


async def read(session: Any, points: list[Point]) -> Column:
    column: Column = await poll_by(await session.prepare(DEVICE, points, soon()), soon())
    return column
