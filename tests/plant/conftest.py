"""Fixtures of the plant's tests: a clock that is told the time, factories, and settings with free ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from edgeflow.clock import SystemClock
from edgeflow.plant.factory import Factory
from edgeflow.plant.modbus import quiet
from edgeflow.plant.plant import Settings

NOON_NS = 1_795_176_000_000_000_000  # 2026-11-20T12:00:00Z


@dataclass
class ToldClock:
    """Stands still until it is told to go on."""

    ns: int = NOON_NS
    epoch: int = 0

    def now_ns(self) -> int:
        return self.ns

    def go(self, seconds: float) -> int:
        self.ns += round(seconds * 1e9)
        return self.ns


@pytest.fixture
def clock() -> ToldClock:
    return ToldClock()


@pytest.fixture
def factory(clock: ToldClock) -> Factory:
    return Factory(clock, seed=1)


@pytest.fixture
def live() -> Factory:
    """A factory in real time, five times as fast."""
    quiet()
    return Factory(SystemClock(), speed=5)


@pytest.fixture
def settings() -> Settings:
    return Settings(truth_port=0, press_port=0, meter_port=0, io_port=0, filler_port=0, mqtt_port=0)


Until = Callable[[Callable[[], bool | Awaitable[bool]]], Awaitable[None]]
During = Callable[[Coroutine[Any, Any, None]], AbstractAsyncContextManager[None]]


@pytest.fixture
def until() -> Until:
    async def look(condition: Callable[[], bool | Awaitable[bool]]) -> None:
        """Looks again and again: other processes decide when it comes true, so there is no event to wait for."""
        async with asyncio.timeout(30):
            while True:
                met = condition()
                if met if isinstance(met, bool) else await met:
                    return
                await asyncio.sleep(0.02)

    return look


@pytest.fixture
def during() -> During:
    @asynccontextmanager
    async def run(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        """Runs something beside the block and ends it afterwards."""
        task = asyncio.create_task(work)
        try:
            yield
        finally:
            while not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=0.5)

    return run


@pytest.fixture
def sockets() -> Callable[[int, str], int]:
    def count(port: int, status: str) -> int:
        """How many sockets of this machine with that local port are in that state."""
        return sum(c.laddr.port == port and c.status == status for c in psutil.net_connections("tcp"))

    return count
