"""What a watch must notice: a server that hangs, dies, comes back, lies or is slow."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from edgeflow.driver import Column, Home
from edgeflow.errors import LinkDown
from edgeflow.model import BAD, UNCERTAIN
from edgeflow.testing.drivers import poll_by
from edgeflow.testing.relay import until
from edgeflow_opcua import DRIVER, Device, Link, Point, wire
from edgeflow_opcua import watch as watch_module

DEVICE = Device.model_validate({"heartbeat": "200 ms", "publishing_interval": "50 ms"})
GOOD = Point(node="ns=2;s=Filler.Good", type="integer")
SPEED = Point(node="ns=2;s=Filler.Speed")
NOTICED_S = 0.6  # a heartbeat and twice as long for its answer
PATIENCE_S = 20.0


def soon(seconds: float = PATIENCE_S) -> float:
    return asyncio.get_running_loop().time() + seconds


@asynccontextmanager
async def opened(filler: Any) -> AsyncIterator[Any]:
    async with DRIVER.open(Link(url=filler.url, security="none"), soon(), Home()) as session:
        yield session


class Pushed:
    """Everything that was pushed, and the latest by point."""

    def __init__(self) -> None:
        self.columns: list[Column] = []
        self.values: dict[int, Any] = {}
        self.faults: dict[int, Any] = {}
        self.alive_ns: list[int] = []

    def __call__(self, column: Column) -> None:
        self.columns.append(column)
        if column.holds:
            self.alive_ns.append(column.source_ns)
            return
        assert column.points is not None
        for at, index in enumerate(column.points):
            self.values[index] = column.values[at]
            self.faults[index] = (column.faults or {}).get(at)


async def test_a_hung_server_is_noticed_and_closing_does_not_hang(own_filler: Any) -> None:
    with pytest.raises(LinkDown, match="no answer in time"):
        await watch_while_it_hangs(own_filler)
    own_filler.signal(signal.SIGCONT)
    again = Pushed()
    async with opened(own_filler) as session:
        await watched(session, [GOOD], again, lambda: again.values == {0: 5})


async def test_a_restarted_server_ends_the_watch_and_a_new_session_has_its_values(own_filler: Any) -> None:
    pushed = Pushed()
    async with opened(own_filler) as session:
        watching = asyncio.ensure_future(session.watch(DEVICE, [GOOD], pushed))
        await until(lambda: pushed.values == {0: 5}, "the first value is pushed")
        own_filler.tell("set", "Filler.Good", value=17)
        own_filler.kill()
        own_filler.start()
        with pytest.raises(LinkDown):
            async with asyncio.timeout(NOTICED_S + 5):
                await watching
    again = Pushed()
    async with opened(own_filler) as session:
        await watched(session, [GOOD], again, lambda: again.values == {0: 5})


async def test_only_an_advancing_server_time_says_alive(filler: Any) -> None:
    pushed = Pushed()
    async with opened(filler) as session:
        await watched(session, [GOOD], pushed, lambda: len(pushed.alive_ns) >= 3)
    assert all(a < b for a, b in zip(pushed.alive_ns, pushed.alive_ns[1:], strict=False))


async def test_five_thousand_items_arrive_and_change(large_filler: Any) -> None:
    points = [Point(node=f"ns=2;s=v{index}") for index in range(5000)]
    pushed = Pushed()
    patient = Device.model_validate({"publishing_interval": "50 ms", "heartbeat": "5 s"})  # 5,000 writes keep it busy
    async with opened(large_filler) as session, watching(session, points, pushed, patient):
        await until(lambda: len(pushed.values) == 5000, "every value is pushed", PATIENCE_S)
        assert pushed.values == {index: float(index) for index in range(5000)}
        large_filler.tell("set_all", count=5000, value=0.5)
        await until(lambda: set(pushed.values.values()) == {0.5}, "every change is pushed", PATIENCE_S)
        reader = await session.prepare(DEVICE, points, soon())
        column = await poll_by(reader, soon())
    assert list(column.values) == [0.5] * 5000
    assert not column.faults


async def test_status_codes_become_quality_with_their_names(filler: Any) -> None:
    points = [GOOD, SPEED, Point(node="ns=2;s=Filler.State", type="integer")]
    filler.tell("set", "Filler.Speed", value=3.5, status="UncertainLastUsableValue")
    filler.tell("set", "Filler.State", value=6, status="BadSensorFailure")
    wanted = {1: (UNCERTAIN, "UncertainLastUsableValue"), 2: (BAD, "BadSensorFailure")}
    pushed = Pushed()
    async with opened(filler) as session:
        column = await poll_by(await session.prepare(DEVICE, points, soon()), soon())
        await watched(session, points, pushed, lambda: len(pushed.values) == 3)
    assert (list(column.values), column.faults) == ([5, 3.5, None], wanted)
    assert (pushed.values, pushed.faults) == ({0: 5, 1: 3.5, 2: None}, {0: None, **wanted})


async def test_values_are_pushed_with_the_time_the_server_gives_them(filler: Any) -> None:
    # 2026-11-20T06:00:00Z is 1,795,154,400 s after 1970 (20,777 days of 86,400 s and six hours).
    first_ns = (20_777 * 86_400 + 6 * 3_600) * 10**9
    filler.tell("set", "Filler.Good", value=8, time="2026-11-20T06:00:00+00:00")
    filler.tell("set", "Filler.Speed", value=9.0, time="2026-11-20T06:00:00.000250+00:00")
    filler.tell("set", "Filler.Ratio", value=0.25, time="2026-11-20T06:00:01.5+00:00")
    points = [GOOD, SPEED, Point(node="ns=2;s=Filler.Ratio")]
    pushed = Pushed()
    async with opened(filler) as session:
        await watched(session, points, pushed, lambda: len(pushed.values) == 3)
    found = [(column.points, column.source_ns) for column in pushed.columns if column.points]
    assert found == [((0, 1), first_ns + 250_000), ((2,), first_ns + 1_500_000_000)]


async def test_what_does_not_fit_the_declared_type_is_bad_with_what_it_is(filler: Any) -> None:
    points = [
        GOOD,
        Point(node="ns=2;s=Filler.Name"),
        Point(node="ns=2;s=Filler.Table"),
        Point(node="ns=2;s=Filler.Empty"),
        Point(node="nsu=urn:elsewhere;s=Filler.Good"),
    ]
    async with opened(filler) as session:
        column = await poll_by(await session.prepare(DEVICE, points, soon()), soon())
    reasons = {index: reason for index, (_, reason) in (column.faults or {}).items()}
    assert list(column.values) == [5, None, None, None, None]
    assert "'filler' (str), not number" in reasons[1]
    assert "array of 3" in reasons[2]
    assert "no value" in reasons[3]
    assert "no namespace 'urn:elsewhere'" in reasons[4]
    assert "urn:edgeflow:plant:filler" in reasons[4]


async def test_a_node_that_appears_later_is_picked_up(own_filler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "_TRY_REFUSED_AGAIN_S", 0.2)
    pushed = Pushed()
    async with opened(own_filler) as session, watching(session, [GOOD, Point(node="ns=2;s=late")], pushed):
        await until(lambda: pushed.faults.get(1) == (BAD, "BadNodeIdUnknown"), "the unknown node is BAD")
        own_filler.tell("add", "late", value=2.5)
        await until(lambda: pushed.values == {0: 5, 1: 2.5}, "the new node is pushed")


async def test_the_channel_is_renewed_without_a_gap(filler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_CHANNEL_MS", 1000)
    pushed = Pushed()
    async with opened(filler) as session, watching(session, [GOOD], pushed):
        await until(lambda: len(pushed.alive_ns) >= 4, "the server's clock advances by three lifetimes", PATIENCE_S)
        filler.tell("set", "Filler.Good", value=99)
        await until(lambda: pushed.values == {0: 99}, "a change is pushed under a renewed token")


async def test_two_devices_share_one_session_and_one_can_leave(filler: Any) -> None:
    one, two = Pushed(), Pushed()
    async with opened(filler) as session, watching(session, [GOOD], one):
        async with watching(session, [SPEED, GOOD], two):
            await until(lambda: one.values == {0: 5} and two.values == {0: 61.5, 1: 5}, "both have their values")
        filler.tell("set", "Filler.Good", value=6)
        await until(lambda: one.values == {0: 6}, "the other still gets changes")
    assert two.values[1] == 5


async def test_fifty_sessions_leave_no_task_no_socket_and_no_word(filler: Any, caplog: Any) -> None:
    async def once() -> None:
        pushed = Pushed()
        async with opened(filler) as session:
            await watched(session, [GOOD], pushed, lambda: pushed.values)

    await once()
    await until(lambda: len(asyncio.all_tasks()) == 1, "the first session's tasks end")
    open_files = files()
    with caplog.at_level(logging.DEBUG):
        for _ in range(50):
            await once()
        await until(lambda: len(asyncio.all_tasks()) == 1, "no task is left")
        await until(lambda: files() <= open_files, "no file descriptor is left")
        gc.collect()
    assert not [record for record in caplog.records if record.name.startswith("asyncua")]


async def test_lost_connections_leave_no_task_no_socket_and_no_word(own_filler: Any, caplog: Any) -> None:
    async def once() -> None:
        own_filler.signal(signal.SIGCONT)
        with pytest.raises(LinkDown):
            await watch_while_it_hangs(own_filler)

    await once()
    await until(lambda: len(asyncio.all_tasks()) == 1, "the first session's tasks end")
    before = files()
    with caplog.at_level(logging.DEBUG):
        for _ in range(4):
            await once()
        await until(lambda: len(asyncio.all_tasks()) == 1, "no task is left")
        await until(lambda: files() <= before, "no file descriptor is left")
        gc.collect()
    noise = [r for r in caplog.records if r.name.startswith("asyncua") or "never retrieved" in r.getMessage()]
    assert not noise


async def test_something_that_is_no_opc_ua_server_is_link_down_with_a_reason() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(LinkDown, match=f"OPC UA server 127.0.0.1:{port}: "):
            async with DRIVER.open(Link(url=f"opc.tcp://127.0.0.1:{port}", security="none"), soon(2), Home()):
                pass


def test_it_runs_on_uvloop(filler: Any) -> None:
    async def look() -> dict[int, Any]:
        pushed = Pushed()
        async with opened(filler) as session:
            await watched(session, [GOOD, SPEED], pushed, lambda: len(pushed.values) == 2)
        return pushed.values

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(look()) == {0: 5, 1: 61.5}


@asynccontextmanager
async def watching(session: Any, points: list[Point], pushed: Pushed, device: Device = DEVICE) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(session.watch(device, points, pushed))
        yield
        task.cancel()


async def watched(session: Any, points: list[Point], pushed: Pushed, enough: Any) -> None:
    async with watching(session, points, pushed):
        await until(enough, "enough is pushed", PATIENCE_S)


async def watch_while_it_hangs(filler: Any) -> None:
    pushed = Pushed()

    async def stop() -> None:
        await until(lambda: pushed.values, "the first value is pushed")
        filler.signal(signal.SIGSTOP)

    async with asyncio.timeout(PATIENCE_S), opened(filler) as session:
        async with asyncio.timeout(NOTICED_S + 5):
            await asyncio.gather(session.watch(DEVICE, [GOOD], pushed), stop())


def files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
