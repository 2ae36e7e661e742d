"""What is damaged is set aside and the work goes on; what is out of reach is put back when it can be."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeflow.clock import monotonic_ns
from edgeflow.model import Record
from edgeflow.store.database import StoreError
from edgeflow.store.store import FlowPointer, Store

AT = 1_763_618_400_000_000_000
STATES: dict[tuple[str, str], bytes | None] = {("f", str(n)): b"x" * 3000 for n in range(50)}


def record(n: int) -> Record:
    return Record("oee", f"press1/{n}", n, AT, {"n": n})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10_000])


def garbled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 9] = os.urandom(4096 * 6)
    path.write_bytes(bytes(content))


def header(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[:100] = os.urandom(100)
    path.write_bytes(bytes(content))


def noise(path: Path) -> None:
    path.write_bytes(os.urandom(512))


def foreign(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()


def text(path: Path) -> None:
    path.write_text("this is not a database, and long enough to be looked at as one " * 20)


@pytest.mark.parametrize("damage", [cut, garbled, header, noise, foreign, text])
async def test_a_damaged_database_is_set_aside_and_an_empty_one_takes_its_place(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "gateway.db"
    for life in range(5):
        store = await Store.open(path)
        assert (store.damage != "") == (life > 0)
        assert await store.states("f") == {}
        await store.commit(STATES, [record(1)])
        await store.close()
        damage(path)
    aside = await asyncio.to_thread(lambda: list(tmp_path.glob("gateway.db.damaged-*")))
    assert 1 <= len(aside) <= 3, "kept for a person, but not without end"


@pytest.mark.parametrize("content", [b"", os.urandom(5_000)])
async def test_a_log_that_is_garbled_costs_what_was_in_it_and_no_more(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "gateway.db"
    store = await Store.open(path)
    await store.commit({("f", "a"): b"1"}, [record(1)])
    await store.close()
    (tmp_path / "gateway.db-wal").write_bytes(content)
    store = await Store.open(path)
    assert await store.states("f") == {"a": b"1"}
    await store.close()


async def until(holds: Callable[[], bool], store: Store) -> None:
    """Commits until it holds."""
    end = monotonic_ns() + 20 * 10**9
    while not holds():
        assert monotonic_ns() < end
        await asyncio.sleep(0.05)
        await store.commit({("f", "tick"): str(monotonic_ns()).encode()}, [])


@pytest.mark.parametrize("whole", [True, False], ids=["the folder", "the file"])
async def test_what_is_deleted_under_us_is_said_and_made_again_with_all_that_was_in_it(
    tmp_path: Path, whole: bool
) -> None:
    folder = tmp_path / "state"
    store = await Store.open(folder / "gateway.db")
    await store.commit({("f", "a"): b"1"}, [record(1)], pointers=[FlowPointer("f", "t/f", "v")])
    epoch = store.epoch
    if whole:
        shutil.rmtree(folder)
        folder.write_text("in the way")
    else:
        for file in folder.iterdir():
            file.unlink()
        (folder / "gateway.db").mkdir()
    await store.commit({("f", "b"): b"2"}, [record(2)])
    assert store.trouble
    assert [row.seq for row in await store.pending(10)] == [1, 2], "and the work goes on"
    if whole:
        folder.unlink()
    else:
        (folder / "gateway.db").rmdir()
    await until(lambda: not store.trouble, store)
    await store.close()
    again = await Store.open(folder / "gateway.db")
    states = await again.states("f")
    assert (states["a"], states["b"], again.epoch) == (b"1", b"2", epoch)
    assert [row.seq for row in await again.pending(10)] == [1, 2]
    assert set(await again.pointers()) == {"f"}
    await again.close()


async def test_a_folder_that_cannot_be_had_at_the_start_is_said_and_used_when_it_can_be(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.write_text("in the way")
    store = await Store.open(folder / "gateway.db")
    assert "cannot be opened" in store.trouble
    await store.commit({("f", "a"): b"1"}, [record(1)])
    assert [row.seq for row in await store.pending(10)] == [1]
    folder.unlink()
    await until(lambda: not store.trouble, store)
    await store.close()
    again = await Store.open(folder / "gateway.db")
    assert (await again.states("f"))["a"] == b"1"
    await again.close()


async def test_a_file_that_cannot_be_written_is_worked_from_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gateway.db"
    store = await Store.open(path)
    await store.commit({("f", "a"): b"1"}, [record(1)])
    await store.close()
    system = os.open

    def read_only(file: object, flags: int, mode: int = 0o777) -> int:
        if str(file) == str(path) and flags & os.O_RDWR:
            raise OSError(30, "Read-only file system")
        return system(str(file), flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", read_only)
        store = await Store.open(path)
        assert "Read-only file system" in store.trouble
        assert await store.states("f") == {"a": b"1"}
        await store.commit({("f", "b"): b"2"}, [record(2)])
    await until(lambda: not store.trouble, store)
    await store.close()
    again = await Store.open(path)
    assert (await again.states("f"))["b"] == b"2"
    assert [row.seq for row in await again.pending(10)] == [1, 2]
    await again.close()


async def test_a_second_agent_on_the_same_folder_is_told_so(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    with pytest.raises(StoreError, match="in use by another process"):
        await Store.open(tmp_path / "gateway.db")
    await store.commit({("f", "a"): b"1"}, [])
    await store.close()
