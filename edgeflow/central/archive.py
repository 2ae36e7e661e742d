"""The records of all gateways: each exactly once, and the newest version of every result."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeflow.central.views import RawRecord, RawRecords, RecordQuery, Result, ResultQuery, Results
from edgeflow.clock import Clock, utc_ns, utc_text
from edgeflow.store.database import Database
from edgeflow.store.wire import WireRecord
from edgeflow.sync.protocol import Batch, Lost

_PAGE_BYTES = 2 << 20
"""So much of records one answer holds at most; the rest comes with the next page."""


@dataclass(slots=True)
class ArchiveStats:
    """Counts since the start."""

    batches: int = 0
    records: int = 0
    known: int = 0
    lost: int = 0
    gaps: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch. `gap` means that nothing was taken, since it does not follow `last_seq`."""

    last_seq: int
    fresh: int
    lost: int
    gap: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """What a gateway has sent in all."""

    records: int = 0
    lost: int = 0


class Archive:
    """Takes batches and answers questions about records and results."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.stats = ArchiveStats()

    async def take(self, gateway: str, batch: Batch) -> tuple[Taken, Sequence[WireRecord]]:
        """Commits what is new of a batch, and returns it; what is known already is passed over.

        Nothing is answered before the commit is on the disk.
        """
        items = [(number, item, _json(item)) for number, item in _numbered(batch)]
        now_ns = self._clock.now_ns()
        taken = await self._database.transaction(lambda c: _take(c, gateway, batch, items, now_ns))
        if taken.gap:
            self.stats.gaps += 1
            return taken, ()
        self.stats.batches += 1
        self.stats.records += taken.fresh
        self.stats.lost += taken.lost
        records = [item for _, item, _ in items if isinstance(item, WireRecord)]
        self.stats.known += len(records) - taken.fresh
        return taken, records[len(records) - taken.fresh :]

    async def received(self) -> dict[str, Received]:
        """What every gateway has sent in all."""
        statement = "SELECT gateway, last_seq - lost, lost FROM epoch"
        found: dict[str, Received] = {}
        for gateway, records, lost in await self._database.query(lambda c: c.execute(statement).fetchall()):
            before = found.get(gateway, Received())  # added up here, since SQLite ends with an error beyond 2^63
            found[gateway] = Received(before.records + records, before.lost + lost)
        return found

    async def results(self, query: ResultQuery) -> Results:
        """A page of the newest versions. Raises ValueError where `since` is not a time."""
        tests: list[tuple[str, object]] = []
        if query.gateway is not None:
            tests.append(("gateway = ?", query.gateway))
        if query.stream is not None:
            tests.append(("stream = ?", query.stream))
        if query.since is not None:
            tests.append(("at >= ?", utc_text(utc_ns(query.since))))
        if query.after is not None:
            tests.append(("change > ?", query.after))
        if query.before is not None:
            tests.append(("change < ?", query.before))
        where = f"WHERE {' AND '.join(test for test, _ in tests)}" if tests else ""
        order = "DESC" if query.newest else "ASC"
        statement = f"SELECT gateway, change, record FROM result {where} ORDER BY change {order} LIMIT ?"  # noqa: S608 - constants only
        values = (*(value for _, value in tests), query.limit + 1)
        rows, more = await self._database.query(lambda c: _page(c.execute(statement, values), query.limit))
        results = [
            Result(gateway=gateway, change=change, record=WireRecord.model_validate_json(text))
            for gateway, change, text in rows
        ]
        return Results(results=results, next=results[-1].change if more else None)

    async def records(self, query: RecordQuery) -> RawRecords:
        """A page of what a gateway sent, epoch by epoch."""
        epoch, seq = map(int, query.after.split("-"))
        statement = """
            SELECT e.id, e.epoch, r.seq, r.received, r.record FROM epoch e JOIN record r ON r.epoch = e.id
            WHERE e.gateway = ? AND (r.epoch, r.seq) > (?, ?) ORDER BY r.epoch, r.seq LIMIT ?
        """
        values = (query.gateway, epoch, seq, query.limit + 1)
        page, more = await self._database.query(lambda c: _page(c.execute(statement, values), query.limit))
        records = [
            RawRecord(epoch=name, seq=number, received=utc_text(received), record=WireRecord.model_validate_json(text))
            for _, name, number, received, text in page
        ]
        return RawRecords(records=records, next=f"{page[-1][0]}-{page[-1][2]}" if more else None)


def _page(cursor: sqlite3.Cursor, limit: int) -> tuple[list[tuple[Any, ...]], bool]:
    """Rows until there are enough of them, or of their bytes, and whether there are more; a row ends with its text."""
    found: list[tuple[Any, ...]] = []
    left = _PAGE_BYTES
    for row in cursor:
        left -= len(row[-1])
        if found and (len(found) >= limit or left < 0):
            cursor.close()
            return found, True
        found.append(row)
    return found, False


def _numbered(batch: Batch) -> list[tuple[int, WireRecord | Lost]]:
    """Every item with the highest number it stands for."""
    numbered = []
    number = batch.seq - 1
    for item in batch.records:
        number += item.lost if isinstance(item, Lost) else 1
        numbered.append((number, item))
    return numbered


def _json(item: WireRecord | Lost) -> str:
    return "" if isinstance(item, Lost) else item.model_dump_json(by_alias=True)


def _take(
    connection: sqlite3.Connection,
    gateway: str,
    batch: Batch,
    items: Sequence[tuple[int, WireRecord | Lost, str]],
    now_ns: int,
) -> Taken:
    connection.execute(
        "INSERT OR IGNORE INTO epoch (gateway, epoch, last_seq, lost) VALUES (?, ?, 0, 0)", (gateway, batch.epoch)
    )
    epoch, last_seq = connection.execute(
        "SELECT id, last_seq FROM epoch WHERE gateway = ? AND epoch = ?", (gateway, batch.epoch)
    ).fetchone()
    if batch.seq > last_seq + 1:
        return Taken(last_seq, 0, 0, gap=True)
    fresh = [(number, item, text) for number, item, text in items if number > last_seq]
    if not fresh:
        return Taken(last_seq, 0, 0)
    records = [(number, item, text) for number, item, text in fresh if isinstance(item, WireRecord)]
    connection.executemany(
        "INSERT INTO record VALUES (?, ?, ?, ?)", ((epoch, number, now_ns, text) for number, _, text in records)
    )
    _restate(connection, gateway, [(item, text) for _, item, text in records])
    newest = fresh[-1][0]
    lost = newest - last_seq - len(records)
    connection.execute("UPDATE epoch SET last_seq = ?, lost = lost + ? WHERE id = ?", (newest, lost, epoch))
    connection.execute("UPDATE gateway SET seen = ? WHERE id = ?", (now_ns, gateway))
    return Taken(newest, len(records), lost)


def _restate(connection: sqlite3.Connection, gateway: str, records: Sequence[tuple[WireRecord, str]]) -> None:
    """Puts results in place of their lower versions."""
    change = connection.execute("SELECT coalesce(max(change), 0) FROM result").fetchone()[0]
    connection.executemany(
        """
        INSERT INTO result VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (gateway, stream, key) DO UPDATE
        SET version = excluded.version, at = excluded.at, change = excluded.change, record = excluded.record
        WHERE excluded.version >= result.version
        """,
        (
            (gateway, record.stream, record.key, record.version, record.at, number, text)
            for number, (record, text) in enumerate(records, change + 1)
        ),
    )
