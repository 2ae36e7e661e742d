from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from edgeflow.model import UNCERTAIN, Record
from edgeflow.store.database import Database, Schema, StoreError
from edgeflow.store.settings import StoreSettings
from edgeflow.store.store import AuditEntry, FlowPointer, Store

AT = 1_763_618_400_250_000_000  # 2025-11-20T06:00:00.250Z


def record(n: int, **more: object) -> Record:
    return replace(Record("oee", f"press1/{n}", 1, AT, {"n": n}), **more)  # type: ignore[arg-type]


async def numbers(store: Store) -> list[int]:
    """The numbers of everything that is queued."""
    found: list[int] = []
    while rows := await store.pending(1000, after=found[-1] if found else 0):
        found += [queued.seq for queued in rows]
    return found


async def test_states_and_records_of_a_commit_are_there_after_reopening(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    await store.commit({("f", "a"): b"1", ("f", "b"): b"2", ("g", "a"): b"3"}, [record(1), record(2)])
    await store.commit({("f", "a"): b"11", ("f", "b"): None}, [record(3)])
    epoch = store.epoch
    await store.close()

    store = await Store.open(tmp_path / "gateway.db")
    assert await store.states("f") == {"a": b"11"}
    assert await store.states("g") == {"a": b"3"}
    assert store.epoch == epoch
    assert [queued.seq for queued in await store.pending(10)] == [1, 2, 3]
    assert store.outbox().count == 3
    await store.close()


async def test_an_epoch_is_a_64_bit_number_of_its_own_for_every_database(tmp_path: Path) -> None:
    epochs = set()
    for name in "abc":
        store = await Store.open(tmp_path / name)
        epochs.add(store.epoch)
        await store.close()
    assert len(epochs) == 3
    assert all(len(epoch) == 16 and int(epoch, 16) < 2**64 for epoch in epochs)


async def test_a_record_is_kept_as_json_with_utc_times_and_large_integers_as_text(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    data = {"big": 2**53 + 1, "small": 2**53 - 1, "nan": float("nan"), "bytes": b"\x01\xff", "list": [2**60]}
    await store.commit({}, [record(1, data=data, begin=AT - 250_000_000, quality=UNCERTAIN, status="provisional")])
    [queued] = await store.pending(10)
    kept = orjson.loads(queued.record)
    assert kept["at"] == "2025-11-20T06:00:00.250Z"
    assert kept["from"] == "2025-11-20T06:00:00.000Z"
    assert kept["to"] is None
    assert kept["quality"] == "uncertain"
    assert kept["data"] == {
        "big": "9007199254740993",
        "small": 9007199254740991,
        "nan": None,
        "bytes": "01ff",
        "list": ["1152921504606846976"],
    }
    await store.close()


async def test_live_records_are_never_stored(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    with pytest.raises(ValueError, match="is live"):
        await store.commit({}, [record(1, status="live")])
    assert await store.pending(10) == []
    await store.close()


async def test_what_is_acknowledged_leaves_the_gateway_with_the_next_commit(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    store = await Store.open(path)
    await store.commit({}, [record(n) for n in range(1, 11)])
    before = store.outbox()
    await store.pending(10)
    await store.acknowledge(4)
    after = store.outbox()
    assert (after.count, after.acknowledged) == (6, 4)
    assert after.bytes < before.bytes
    assert [queued.seq for queued in await store.pending(10)] == [5, 6, 7, 8, 9, 10]
    await store.commit({("f", "a"): b"1"}, [])
    assert store.outbox().count == 6
    await store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT min(seq), count(*) FROM outbox").fetchone() == (5, 6)
    connection.close()


async def test_numbers_go_on_after_everything_was_acknowledged(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    await store.commit({}, [record(1), record(2)])
    await store.pending(10)
    await store.acknowledge(2)
    await store.close()
    store = await Store.open(tmp_path / "gateway.db")
    status = store.outbox()
    assert (status.count, status.bytes, status.oldest_ns) == (0, 0, None)
    await store.commit({}, [record(3)])
    assert [queued.seq for queued in await store.pending(10)] == [3]
    await store.close()


async def test_the_highest_version_is_known_after_a_restart_whatever_became_of_the_record(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    assert store.version == 0
    await store.commit({}, [record(1, version=7), record(2, version=2_000_000_000_000), record(3, version=9)])
    await store.pending(10)
    await store.acknowledge(3)
    await store.commit({("f", "a"): b"1"}, [])
    await store.close()
    store = await Store.open(tmp_path / "gateway.db")
    assert store.version == 2_000_000_000_000
    await store.close()


async def test_a_full_queue_drops_the_oldest_provisional_records_and_counts_them(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db", StoreSettings(outbox_mb=1))
    filler = {"text": "x" * 10_000}
    for n in range(1, 101):
        await store.commit({}, [record(n, data=filler, begin=AT, status="final" if n % 2 else "provisional")])
    status = store.outbox()
    assert status.bytes <= status.limit_bytes == 1_000_000
    kept = await numbers(store)
    assert store.stats.dropped == 100 - len(kept) > 0
    assert [seq for seq in kept if seq % 2] == list(range(1, 101, 2))
    assert max(seq for seq in range(2, 101, 2) if seq not in kept) < min(seq for seq in kept if seq % 2 == 0)
    await store.close()


async def test_single_values_go_before_results_and_final_results_last(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db", StoreSettings(outbox_mb=1))
    await store.commit({}, [record(1, begin=AT), record(2, begin=AT, status="provisional")])
    for n in range(3, 300):
        await store.commit({}, [record(n, data={"text": "x" * 10_000})])
        assert bool(store.full) == bool(store.stats.dropped), "a full queue is said at once"
    assert (await numbers(store))[:2] == [1, 2]
    assert store.stats.dropped_of == {"raw": store.stats.dropped, "provisional": 0, "final": 0}
    assert store.full == f"{store.stats.dropped} raw"
    for n in range(300, 500):
        await store.commit({}, [record(n, begin=AT, data={"text": "x" * 10_000})])
    assert store.stats.dropped_of["provisional"] == 1
    assert 2 not in await numbers(store)
    last = store.last_seq
    await store.pending(1000, after=last - 1)
    await store.acknowledge(last)
    await store.commit({("f", "a"): b"1"}, [])
    assert store.full == ""
    await store.close()


async def test_final_records_are_dropped_only_when_nothing_else_is_left(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db", StoreSettings(outbox_mb=1))
    for n in range(1, 151):
        await store.commit({}, [record(n, data={"text": "x" * 10_000})])
    kept = await numbers(store)
    assert kept == list(range(kept[0], 151))
    assert store.stats.dropped == kept[0] - 1 > 40
    assert store.outbox().count == len(kept)
    await store.close()


async def test_one_batch_is_at_most_half_a_megabyte(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    await store.commit({}, [record(n, data={"text": "x" * 200_000}) for n in range(5)])
    rows = await store.pending(1000)
    assert [queued.seq for queued in rows] == [1, 2]
    assert [queued.seq for queued in await store.pending(1000, after=2)] == [3, 4]
    await store.close()


async def test_a_record_that_is_too_large_is_dropped_and_the_rest_is_kept(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    await store.commit({}, [record(1), record(2, data={"text": "x" * 300_000}), record(3)])
    assert [orjson.loads(queued.record)["key"] for queued in await store.pending(10)] == ["press1/1", "press1/3"]
    assert store.stats.dropped == 1
    await store.close()


async def test_flow_pointers_change_together_with_the_states(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    store = await Store.open(path)
    running = FlowPointer("press1-oee", "oee/press", "a" * 64, {"machine": "press1"})
    trial = replace(
        running,
        version="b" * 64,
        state="pending",
        revision=7,
        good_version="a" * 64,
        good_parameters={"machine": "press1"},
    )
    await store.commit({("press1-oee", "oee"): b"old"}, [], pointers=[running])
    await store.commit({("press1-oee", "oee"): b"new"}, [], pointers=[trial])
    await store.close()
    store = await Store.open(path)
    assert await store.pointers() == {"press1-oee": trial}
    assert await store.states("press1-oee") == {"oee": b"new"}
    await store.close()


async def test_the_audit_trail_is_newest_first(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    first, second = AuditEntry(AT, "admin", "write", "press1/speed 7"), AuditEntry(AT + 1, "admin", "push")
    await store.commit({}, [], audit=[first])
    await store.commit({}, [], audit=[second])
    assert await store.audit() == [second, first]
    await store.close()


async def test_a_new_epoch_numbers_what_is_queued_from_one(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    await store.commit({}, [record(n) for n in range(1, 6)])
    await store.pending(10)
    await store.acknowledge(2)
    before = store.epoch
    await store.renew_epoch()
    assert store.epoch != before
    assert [(q.seq, orjson.loads(q.record)["key"]) for q in await store.pending(10)] == [
        (1, "press1/3"),
        (2, "press1/4"),
        (3, "press1/5"),
    ]
    await store.commit({}, [record(6)])
    assert (await store.pending(10))[-1].seq == 4
    await store.close()


async def test_a_second_process_on_the_same_state_is_refused(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    with pytest.raises(StoreError, match="in use by another process"):
        await Store.open(tmp_path / "gateway.db")
    await store.close()


async def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    await (await Store.open(path)).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreError, match="newer EdgeFlow"):
        await Store.open(path)


async def test_an_older_file_is_brought_up_to_date_once(tmp_path: Path) -> None:
    first, path = "CREATE TABLE a (x)", tmp_path / "some.db"
    old = Database(path, Schema("some", 77, (first,)), exclusive=False)
    await old.open()
    await old.transaction(lambda c: c.execute("INSERT INTO a VALUES (1)"))
    await old.close()
    for _ in range(2):
        new = Database(
            path, Schema("some", 77, (first, "ALTER TABLE a ADD COLUMN y; UPDATE a SET y = 5")), exclusive=False
        )
        await new.open()
        assert await new.query(lambda c: c.execute("SELECT x, y FROM a").fetchall()) == [(1, 5)]
        await new.close()


async def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "some.db", Schema("some", 77, ("CREATE TABLE a (x)",)), exclusive=True)
    await database.open()

    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO a VALUES (1)")
        raise ValueError("halfway")

    with pytest.raises(ValueError, match="halfway"):
        await database.transaction(fails)
    assert await database.query(lambda c: c.execute("SELECT count(*) FROM a").fetchone()) == (0,)
    await database.close()


async def test_a_full_disk_is_told_in_plain_words_and_the_store_goes_on(tmp_path: Path) -> None:
    database = Database(tmp_path / "some.db", Schema("some", 77, ("CREATE TABLE a (x)",)), exclusive=True)
    await database.open()
    await database.query(lambda c: c.execute("PRAGMA max_page_count=4").fetchall())
    with pytest.raises(StoreError, match="the disk is full"):
        await database.transaction(lambda c: c.execute("INSERT INTO a VALUES (zeroblob(100000))"))
    await database.transaction(lambda c: c.execute("INSERT INTO a VALUES (1)"))
    await database.close()


async def test_the_bytes_written_are_counted(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    before = store.written_bytes
    await store.commit({("f", "a"): b"x" * 20_000}, [])
    assert store.written_bytes - before > 20_000
    await store.close()


async def test_a_record_that_cannot_be_written_is_dropped_alone(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "gateway.db")
    before_year_1, no_64_bits = -62_135_596_801 * 10**9, 2**63  # the latter is a time in 2262
    await store.commit({}, [record(1, begin=before_year_1), record(2), record(3, at=no_64_bits)])
    assert [orjson.loads(queued.record)["key"] for queued in await store.pending(10)] == ["press1/2"]
    assert store.stats.dropped == 2
    await store.close()
