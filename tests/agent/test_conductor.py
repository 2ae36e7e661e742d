"""What happens once a second: states, records and calls reach the disk together, or are kept until they do."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from edgeflow.agent import conductor as conductor_module
from edgeflow.model import Answer, Call
from edgeflow.store.database import StoreError
from edgeflow.store.store import FlowPointer, Store
from edgeflow.testing.loop import in_virtual_time
from tests.agent.conftest import SITE, Folder, Gateway

SUM = """\
nodes:
  x: {kind: src, tag: d/x}
  sum: {kind: sum}
  note: {kind: note}
wires: [x -> sum, sum -> note]
"""
CALLING = """\
nodes:
  x: {kind: src, tag: d/x}
  ask: {kind: ask}
  send: {kind: mqtt_publish, topic: t, qos: 1, durable: true}
  live: {kind: mqtt_publish, topic: l}
wires: [x -> ask, x -> send, x -> live]
"""


def with_flow(folder: Folder, content: str) -> None:
    folder.write(SITE + "flows: {f: {flow: t/f}}", {"t/f": content})


async def saved_sum(store: Store) -> int:
    return int(orjson.loads((await store.states("f"))["sum"])["state"]["sum"])


async def records(store: Store) -> list[int]:
    return [orjson.loads(row.record)["data"]["v"] for row in await store.pending(10_000)]


def refusing(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """A disk that can be full."""
    full = False
    original = sqlite3.connect

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
            if full and sql == "COMMIT":
                super().execute("ROLLBACK")
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorname = "SQLITE_FULL"
                raise error
            return super().execute(sql, *rest)

    def connect(*args: Any, **more: Any) -> sqlite3.Connection:
        return original(*args, **more, factory=Connection)

    def switch(on: bool) -> None:
        nonlocal full
        full = on

    monkeypatch.setattr(sqlite3, "connect", connect)
    return switch


@in_virtual_time
async def commits(folder: Folder) -> tuple[int, list[int]]:
    async with folder.open() as gateway:
        async with gateway.run(clean=False):
            await asyncio.sleep(3.55)
        return await saved_sum(gateway.store), await records(gateway.store)


def test_states_and_records_of_a_second_are_on_the_disk_together(folder: Folder) -> None:
    with_flow(folder, SUM)
    total, values = commits(folder)
    assert values == list(range(1, total + 1)), "each tick adds one and notes the sum"
    assert total in range(29, 32), "what came after the third commit is not there"


@in_virtual_time
async def ends(folder: Folder) -> tuple[Gateway, int, list[int]]:
    async with folder.open() as gateway:
        async with gateway.run():
            await asyncio.sleep(0.55)
        return gateway, await saved_sum(gateway.store), await records(gateway.store)


def test_the_last_commit_has_everything(folder: Folder) -> None:
    with_flow(folder, SUM)
    gateway, total, values = ends(folder)
    state = gateway.engine.flows["f"].by_name["sum"].state
    assert total == state.sum == len(values) > 3


@in_virtual_time
async def refuses(folder: Folder, disk: Callable[[bool], None]) -> None:
    async with folder.open() as gateway, gateway.run():
        await asyncio.sleep(1.5)
        disk(True)
        with capture_logs() as logs:
            await asyncio.sleep(4)
            assert "the disk is full" in gateway.conductor.refused
            assert any("nothing can be saved" in problem for problem in gateway.view.unready())
            assert gateway.conductor.stats.failed_commits == 4
            assert gateway.alive == 5, "a full disk is no reason to be restarted by systemd"
            with pytest.raises(StoreError, match="could not be saved"):
                await gateway.conductor.committed()
            disk(False)
            await asyncio.sleep(2)
        assert gateway.conductor.refused == ""
        assert [entry["log_level"] for entry in logs] == ["error", "info"], "once when it begins, once when it ends"
        values = await records(gateway.store)
        assert values == list(range(1, len(values) + 1))
        assert await saved_sum(gateway.store) == len(values) > 100, "nothing of the bad time is missing or doubled"


def test_a_full_disk_loses_nothing_and_ends_nothing(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    with_flow(folder, SUM)
    refuses(folder, refusing(monkeypatch))


@in_virtual_time
async def refuses_long(folder: Folder, disk: Callable[[bool], None]) -> None:
    async with folder.open() as gateway, gateway.run():
        disk(True)
        await asyncio.sleep(10.5)
        assert gateway.conductor.stats.lost >= 30
        disk(False)
        await asyncio.sleep(1)
        values = await records(gateway.store)
        assert values == list(range(values[0], values[0] + len(values))), "only the oldest are gone"
        unsent = {answer.split("@")[0] for answer in gateway.engine.waiting}
        assert unsent <= {"g/ask"}


def test_what_waits_for_a_full_disk_has_a_bound(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write(SITE + "flows: {f: {flow: t/f}, g: {flow: t/g}}", {"t/f": SUM, "t/g": CALLING})
    monkeypatch.setattr(conductor_module, "_MOST_UNSAVED", 50)
    refuses_long(folder, refusing(monkeypatch))


@in_virtual_time
async def calls(folder: Folder) -> tuple[list[Call], list[Call], list[Call]]:
    """The calls before the first commit, after it, and of the next life of the process."""
    async with folder.open() as gateway, gateway.run(clean=False):
        await asyncio.sleep(0.95)
        before = list(gateway.calls)
        await asyncio.sleep(0.5)
        after = gateway.calls[len(before) :]
        sent = [call for call in after if not call.fast and not call.wants_answer]
        for call in sent[:3]:
            gateway.conductor.answer(Answer(call.id, ok=True))
        await asyncio.sleep(1)
    async with folder.open() as gateway:
        await gateway.conductor.resume()
        return before, sent, gateway.calls


def test_a_call_leaves_after_its_commit_and_a_fast_one_at_once(folder: Folder) -> None:
    with_flow(folder, CALLING)
    before, sent, _ = calls(folder)
    assert before
    assert all(call.fast for call in before)
    assert [call.request["topic"] for call in sent] == ["t"] * len(sent)


def test_what_was_not_done_is_sent_again_after_a_kill_and_what_was_done_is_not(folder: Folder) -> None:
    with_flow(folder, CALLING)
    _, sent, again = calls(folder)
    assert len(sent) > 5
    assert [call.id for call in again][: len(sent) - 3] == [call.id for call in sent[3:]], "in order"
    assert again[0].request == sent[3].request
    assert not {call.id for call in sent[:3]} & {call.id for call in again}
    assert not any(call.fast or call.wants_answer for call in again)


@in_virtual_time
async def interrupted(folder: Folder) -> list[Any]:
    async with folder.open() as gateway, gateway.run(clean=False):
        await asyncio.sleep(1.5)
    async with folder.open() as gateway, gateway.run():
        log: list[Any] = gateway.engine.flows["f"].by_name["ask"].state.log
        return list(log)


def test_a_call_with_an_answer_is_told_of_the_interruption(folder: Folder) -> None:
    with_flow(folder, CALLING)
    assert [entry[1] for entry in interrupted(folder)] == [False] * 10


@in_virtual_time
async def stepped(folder: Folder) -> tuple[int, int]:
    async with folder.open() as gateway, gateway.run():
        await asyncio.sleep(0.5)
        before = gateway.alive
        gateway.clock.step_ns = 40 * 365 * 86_400 * 10**9
        await asyncio.sleep(5)
        return before, gateway.alive


def test_a_clock_that_jumps_by_forty_years_does_not_stop_the_commits(folder: Folder) -> None:
    flow = "nodes: {x: {kind: src, tag: d/x}, l: {kind: later}}\nwires: [x -> l]\n"
    with_flow(folder, flow)
    before, after = stepped(folder)
    assert (before, after) == (0, 5)


@in_virtual_time
async def damaged(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = False
    commit = sqlite3.Connection.execute

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
            nonlocal broken
            if broken and sql.startswith("BEGIN"):
                broken = False
                error = sqlite3.DatabaseError("database disk image is malformed")
                error.sqlite_errorname = "SQLITE_CORRUPT"
                raise error
            return commit(self, sql, *rest)

    original = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **more: original(*args, **more, factory=Connection))
    async with folder.open() as gateway, gateway.run():
        await asyncio.sleep(2.5)
        before = gateway.engine.flows["f"].by_name["sum"].state.sum
        gateway.conductor.pointers["f"] = FlowPointer("f", "t/f", "v")
        broken = True
        await asyncio.sleep(3)
        assert "damaged" in " ".join(gateway.view.unready())
        assert await saved_sum(gateway.store) > before, "what runs is saved whole in the new one"
        assert set(await gateway.store.pointers()) == {"f"}
        assert gateway.conductor.refused == ""


def test_a_database_that_is_found_damaged_at_work_is_set_aside_and_the_work_goes_on(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_flow(folder, SUM)
    damaged(folder, monkeypatch)
    assert list(folder.path.glob("edgeflow.db.damaged-*"))
