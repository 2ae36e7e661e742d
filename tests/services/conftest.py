"""Fixtures of the services' tests: real brokers, and the services at work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from edgeflow.clock import SystemClock
from edgeflow.model import Answer
from edgeflow.services.reach import Reach
from edgeflow.services.services import Service, Services
from tests.drivers.mqtt.conftest import Broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of this test's own, to stop and kill."""
    broker = Broker(tmp_path)
    yield broker
    broker.kill()


class Answers:
    """The answers by call, and a way to wait for one."""

    def __init__(self) -> None:
        self.by_call: dict[str, Answer] = {}
        self.services: Services
        self._news = asyncio.Event()

    def take(self, answer: Answer) -> None:
        self.by_call[answer.call] = answer
        self._news.set()

    async def of(self, *calls: str) -> list[Answer]:
        async with asyncio.timeout(20):
            while not set(calls) <= self.by_call.keys():
                self._news.clear()
                await self._news.wait()
        return [self.by_call[call] for call in calls]


Working = Callable[..., AbstractAsyncContextManager[Answers]]


@pytest.fixture
def working() -> Working:
    @asynccontextmanager
    async def run(reach: Reach | None = None, **services: Service) -> AsyncIterator[Answers]:
        answers = Answers()
        answers.services = Services(
            {name: lambda each=each: each for name, each in services.items()}, answers.take, SystemClock(), reach=reach
        )
        task = asyncio.create_task(answers.services.run())
        try:
            yield answers
        finally:
            task.cancel()
            async with asyncio.timeout(10):
                await asyncio.wait({task})

    return run
