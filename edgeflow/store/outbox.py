"""The durable queue of records on the gateway, as statements inside a transaction of the store."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

TABLES = """
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    final INTEGER NOT NULL,
    record BLOB NOT NULL
);
CREATE TABLE outbox_head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL,
    count INTEGER NOT NULL,
    bytes INTEGER NOT NULL
)
"""
WITH_VERSION = "ALTER TABLE outbox_head ADD COLUMN version INTEGER NOT NULL DEFAULT 0"
WITH_CLASSES = """
ALTER TABLE outbox RENAME COLUMN final TO class;
UPDATE outbox SET class = class + 1
"""
CLASSES = ("raw", "provisional", "final")
"""What is queued, the least precious first: single values, results that are restated, and those that are not."""
ROW_BYTES = 32
"""What a row costs in the file beside its record: key, times and its share of the page, rounded up."""

_TRIM_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """A record ready to be queued; `rank` is the place of its class in `CLASSES`."""

    at_ns: int
    rank: int
    record: bytes
    version: int

    @property
    def size(self) -> int:
        return len(self.record) + ROW_BYTES


@dataclass(frozen=True, slots=True)
class Head:
    """Where the queue stands: numbers that would else need a scan.

    `epoch` is a random 64-bit number in hexadecimal, one per outbox database; `seq` counts from 1
    in it. `count` and `bytes` speak of what is still queued. `version` is the highest of any record ever.
    """

    epoch: str
    last_seq: int
    acknowledged: int
    count: int
    bytes: int
    version: int = 0


def head(connection: sqlite3.Connection) -> Head:
    """Reads the head; a new database is given its epoch."""
    row = connection.execute("SELECT epoch, last_seq, acknowledged, count, bytes, version FROM outbox_head").fetchone()
    if row:
        return Head(*row)
    epoch = secrets.token_hex(8)
    connection.execute("INSERT INTO outbox_head VALUES (1, ?, 0, 0, 0, 0, 0)", (epoch,))
    return Head(epoch, 0, 0, 0, 0)


def renew(connection: sqlite3.Connection, before: Head) -> Head:
    """Begins a new epoch in which what is queued counts from 1."""
    first = connection.execute("SELECT min(seq) FROM outbox").fetchone()[0] or before.last_seq + 1
    connection.execute("UPDATE outbox SET seq = seq - ? WHERE seq >= ?", (first - 1, first))
    epoch = secrets.token_hex(8)
    connection.execute("UPDATE outbox_head SET epoch = ?", (epoch,))
    return replace(before, epoch=epoch, last_seq=before.last_seq - first + 1, acknowledged=0)


def save(connection: sqlite3.Connection, now: Head) -> None:
    """Writes the head at the end of the transaction that changed the queue."""
    connection.execute(
        "UPDATE outbox_head SET last_seq = ?, acknowledged = ?, count = ?, bytes = ?, version = ?",
        (now.last_seq, now.acknowledged, now.count, now.bytes, now.version),
    )


def oldest_ns(connection: sqlite3.Connection) -> int | None:
    """The source time of the oldest queued record."""
    row = connection.execute("SELECT at FROM outbox ORDER BY seq LIMIT 1").fetchone()
    return row[0] if row else None


def append(connection: sqlite3.Connection, before: Head, rows: Sequence[Row]) -> Head:
    """Queues rows; their numbers follow the last one."""
    numbered = enumerate(rows, before.last_seq + 1)
    connection.executemany(
        "INSERT INTO outbox VALUES (?, ?, ?, ?)", ((seq, row.at_ns, row.rank, row.record) for seq, row in numbered)
    )
    return replace(
        before,
        last_seq=before.last_seq + len(rows),
        count=before.count + len(rows),
        bytes=before.bytes + sum(row.size for row in rows),
        version=max([before.version, *(row.version for row in rows)]),
    )


def forget(connection: sqlite3.Connection, before: Head, seq: int) -> Head:
    """Removes what the central server has acknowledged: everything up to `seq`."""
    if seq <= before.acknowledged:
        return before
    sizes = connection.execute("SELECT seq, length(record) FROM outbox WHERE seq <= ?", (seq,)).fetchall()
    connection.execute("DELETE FROM outbox WHERE seq <= ?", (seq,))
    return replace(_without(before, sizes), acknowledged=seq)


def take_out(connection: sqlite3.Connection, before: Head, seq: int) -> Head:
    """Removes one record out of the middle; the central server is told that its number is missing."""
    sizes = connection.execute("SELECT seq, length(record) FROM outbox WHERE seq = ?", (seq,)).fetchall()
    connection.execute("DELETE FROM outbox WHERE seq = ?", (seq,))
    return _without(before, sizes)


def trim(connection: sqlite3.Connection, before: Head, limit_bytes: int) -> tuple[Head, tuple[int, ...]]:
    """Drops the least precious class first, the oldest of it first, until the queue fits; how many of each class.

    Frees a little more than it must, so that a full queue is not trimmed at every commit.
    """
    now, counts = before, [0] * len(CLASSES)
    wanted = limit_bytes - limit_bytes // 64
    for rank in range(len(CLASSES)):
        while now.bytes > wanted:
            oldest = "SELECT seq, length(record) FROM outbox WHERE class = ? ORDER BY seq LIMIT ?"
            rows = connection.execute(oldest, (rank, _TRIM_ROWS)).fetchall()
            if not rows:
                break
            dropped = list(_first(rows, now.bytes - wanted))
            connection.executemany("DELETE FROM outbox WHERE seq = ?", ((seq,) for seq, _ in dropped))
            now = _without(now, dropped)
            counts[rank] += len(dropped)
    return now, tuple(counts)


def _first(rows: Iterable[tuple[int, int]], needed_bytes: int) -> Iterable[tuple[int, int]]:
    for seq, size in rows:
        if needed_bytes <= 0:
            return
        needed_bytes -= size + ROW_BYTES
        yield seq, size


def _without(before: Head, rows: Sequence[tuple[int, int]]) -> Head:
    freed = sum(size + ROW_BYTES for _, size in rows)
    return replace(before, count=before.count - len(rows), bytes=before.bytes - freed)


def read(connection: sqlite3.Connection, after: int, limit: int, max_bytes: int) -> list[tuple[int, bytes]]:
    """The records after a number, oldest first: at most `limit`, and at most `max_bytes` but at least one."""
    found: list[tuple[int, bytes]] = []
    cursor = connection.execute("SELECT seq, record FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
    for seq, record in cursor:
        max_bytes -= len(record)
        if found and max_bytes < 0:
            break
        found.append((seq, record))
    cursor.close()
    return found
