"""Calls of flows: bounded, each answered, none in the way of another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import Answer, Call, Value
from edgeflow.services.services import NotDone, Services
from edgeflow.testing.loop import LoopClock, in_virtual_time


class Doing:
    """A service that does what the call's request says."""

    workers = 2

    def __init__(self) -> None:
        self.begun: list[str] = []

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def carry_out(self, call: Call) -> Value:
        self.begun.append(call.id)
        match call.request["do"]:
            case "wait":
                await asyncio.sleep(10)
            case "down":
                raise LinkDown("gone")
            case "no":
                raise NotDone("answered 404", status=404)
            case "bug":
                raise ZeroDivisionError("thirteen")
            case "refuse":
                raise Rejected("cannot")
        return call.id.upper()


def call(name: str, do: str = "", *, service: str = "x", fast: str = "", answer: bool = True) -> Call:
    return Call(name, "flow", "node", service, {"do": do}, 0, 0, fast, answer)


class Bench:
    def __init__(self, **limits: int) -> None:
        self.service = Doing()
        self.answers: list[Answer] = []
        self.on_answer: Callable[[Answer], None] = lambda answer: None
        self.services = Services({"x": lambda: self.service}, self._take, LoopClock(), **limits)

    def _take(self, answer: Answer) -> None:
        self.answers.append(answer)
        self.on_answer(answer)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.services.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    def told(self) -> dict[str, str]:
        return {answer.call: answer.error or str(answer.value) for answer in self.answers}


@in_virtual_time
async def test_every_call_gets_its_answer() -> None:
    bench = Bench()
    async with bench.run():
        for name, do in (("a", ""), ("b", "down"), ("c", "no"), ("d", "refuse")):
            bench.services.submit(call(name, do))
        await asyncio.sleep(1)
    assert bench.told() == {"a": "A", "b": "gone", "c": "answered 404", "d": "cannot"}
    assert {answer.call: answer.extra for answer in bench.answers if answer.extra} == {"c": {"status": 404}}
    stats = bench.services.stats["x"]
    assert (stats.done, stats.failed, stats.dropped, stats.waiting) == (1, 3, 0, 0)


@in_virtual_time
async def test_a_service_that_does_not_exist_is_named_with_those_that_do() -> None:
    bench = Bench()
    bench.services.submit(call("a", service="mail"))
    assert bench.answers == [], "never answered before submit has returned"
    await asyncio.sleep(0)
    assert bench.told() == {"a": "this gateway has no service 'mail'; configured are: x"}


async def test_who_waits_for_the_services_does_not_wait_for_one_that_cannot_be_loaded() -> None:
    def missing() -> Doing:
        raise ImportError("no module of that name")

    services = Services({"x": missing}, lambda answer: None, LoopClock())
    with pytest.RaisesGroup(pytest.RaisesExc(ImportError, match="of that name"), allow_unwrapped=True):
        await services.run()
    assert services.loaded.is_set()


@in_virtual_time
async def test_a_node_that_asks_again_at_once_does_not_stop_the_loop() -> None:
    bench = Bench()
    bench.on_answer = lambda answer: bench.services.submit(call("again", service="mail"))
    bench.services.submit(call("a", service="mail"))
    for _ in range(2_000):  # as deep as that would be a RecursionError
        await asyncio.sleep(0)
    assert len(bench.answers) > 1_000


@in_virtual_time
async def test_what_nobody_foresaw_fails_the_call_and_not_the_service() -> None:
    bench = Bench()
    with capture_logs() as logs:
        async with bench.run():
            bench.services.submit(call("a", "bug"))
            bench.services.submit(call("b"))
            await asyncio.sleep(1)
    assert bench.told() == {"a": "ZeroDivisionError: thirteen", "b": "B"}
    assert [entry["log_level"] for entry in logs] == ["error"]


@in_virtual_time
async def test_live_calls_never_hold_up_those_to_be_kept() -> None:
    bench = Bench(most_live=5)
    async with bench.run():
        for i in range(20):
            bench.services.submit(call(f"live{i}", "wait", fast="live", answer=False))
        bench.services.submit(call("kept"))
        await asyncio.sleep(1)
        assert bench.told() == {"kept": "KEPT"}
        assert bench.services.stats["x"].dropped == 15


@in_virtual_time
async def test_a_full_queue_refuses_what_comes_then() -> None:
    bench = Bench(most_kept=3)
    for i in range(5):
        bench.services.submit(call(f"c{i}"))
    await asyncio.sleep(0)
    assert bench.told() == {"c3": "3 calls of x are waiting already", "c4": "3 calls of x are waiting already"}
    assert bench.services.stats["x"].waiting == 3


@in_virtual_time
async def test_a_lost_call_that_nobody_waits_for_is_logged_once() -> None:
    bench = Bench()
    with capture_logs() as logs:
        async with bench.run():
            for i in range(3):
                bench.services.submit(call(f"a{i}", "refuse", answer=False))
            bench.services.submit(call("live", "refuse", fast="live", answer=False))
            await asyncio.sleep(1)
            bench.services.submit(call("b", answer=False))
            await asyncio.sleep(1)
    assert [entry["event"] for entry in logs] == [
        "a call that was to be kept is lost",
        "calls are carried out again",
    ]
    assert set(bench.told()) == {"a0", "a1", "a2", "b"}, "what is kept is told when it is over, live calls are not"
