"""What changes together on the gateway: node states, records, calls, flow pointers and audit in one transaction."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import orjson
import structlog

from edgeflow.clock import monotonic_ns, utc_ns
from edgeflow.model import Call, Record, Value
from edgeflow.store import outbox
from edgeflow.store.aside import set_aside
from edgeflow.store.database import Damaged, Database, Schema
from edgeflow.store.rate import FillRate, time_left_ns
from edgeflow.store.rows import queueable, save_calls, save_good, save_states
from edgeflow.store.settings import StoreSettings
from edgeflow.store.wire import call_of
from edgeflow.units import duration_text

log = structlog.get_logger(__name__)

T = TypeVar("T")

BATCH_BYTES = 512 << 10

_SCHEMA = Schema(
    "gateway",
    0x45464C57,
    (
        outbox.TABLES
        + """;
CREATE TABLE node_state (
    flow TEXT NOT NULL,
    node TEXT NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (flow, node)
) WITHOUT ROWID;
CREATE TABLE flow_pointer (
    instance TEXT PRIMARY KEY,
    flow TEXT NOT NULL,
    version TEXT NOT NULL,
    parameters TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'pending')),
    revision INTEGER NOT NULL,
    good_version TEXT,
    good_parameters TEXT,
    attempts INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    detail TEXT NOT NULL
)
""",
        """
CREATE TABLE call (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    call BLOB NOT NULL
)
""",
        outbox.WITH_VERSION,
        """
CREATE TABLE good_state (
    flow TEXT NOT NULL,
    node TEXT NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (flow, node)
) WITHOUT ROWID
""",
        outbox.WITH_CLASSES,
    ),
)
_AUDIT_KEPT = 10_000
_FORGET_AT = 5_000


@dataclass(frozen=True, slots=True)
class FlowPointer:
    """Which version an instance of a flow runs, and which one it goes back to.

    `good_version` with `good_parameters` is the one that was good before it. `pending` means a version on
    trial, `attempts` how often the trial was begun. `revision` is that of the central server's
    wish, 0 for the local configuration. No parameters: those of the configuration, whatever they are then.
    """

    instance: str
    flow: str
    version: str
    parameters: Mapping[str, Value] | None = None
    state: Literal["active", "pending"] = "active"
    revision: int = 0
    good_version: str | None = None
    good_parameters: Mapping[str, Value] | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, when (UTC ns)."""

    at: int
    who: str
    what: str
    detail: str = ""


class Queued(NamedTuple):
    """A committed record that the central server has not acknowledged yet."""

    seq: int
    record: bytes


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """The queue of results at a glance. `left_ns`: how long it lasts at the pace of the last hour, None if unknown."""

    epoch: str
    last_seq: int
    acknowledged: int
    count: int
    bytes: int
    limit_bytes: int
    oldest_ns: int | None
    bytes_per_s: float | None
    left_ns: int | None


@dataclass(slots=True)
class StoreStats:
    """Counts since the start. `commit_ns` is how long the newest commit took."""

    commits: int = 0
    appended: int = 0
    acknowledged: int = 0
    dropped: int = 0
    dropped_of: dict[str, int] = field(default_factory=lambda: dict.fromkeys(outbox.CLASSES, 0))
    commit_ns: int = 0


class _Written(NamedTuple):
    head: outbox.Head
    oldest_ns: int | None
    dropped: tuple[int, ...] = ()


class Store:
    """The gateway's database. Open it with `Store.open`; close it last."""

    def __init__(self, database: Database, limit_bytes: int, written: _Written) -> None:
        self._database = database
        self._limit_bytes = limit_bytes
        self._head, self._oldest_ns, _ = written
        self._confirmed = written.head.acknowledged
        self._handed: dict[int, int] = {}
        self._settled: dict[int, int] = {}
        self._rate = FillRate(monotonic_ns())
        self._dropping_since_ns: int | None = None
        self._dropped_before = 0
        self.stats = StoreStats()
        self.damage = ""
        """What was found damaged and set aside since the start of the process."""
        self.lives = 1
        """Counts the databases there were: what is in a new one must be written whole."""
        self.appended = asyncio.Event()

    @classmethod
    async def open(cls, path: Path, settings: StoreSettings | None = None) -> Store:
        """Opens or makes the database, sets a damaged one aside. Raises StoreError where it is newer or in use."""
        settings = settings or StoreSettings()
        damage = ""
        database = Database(path, _SCHEMA, exclusive=True)
        try:
            await database.open()
            start = await database.transaction(_begin)
        except Damaged as error:
            damage = str(error)
            set_aside(path, "-wal", "-shm")
            database = Database(path, _SCHEMA, exclusive=True)
            await database.open()
            start = await database.transaction(_begin)
        store = cls(database, settings.outbox_mb * 1_000_000, start)
        store.damage = damage
        return store

    @property
    def trouble(self) -> str:
        """Why what is committed is not on the disk, though it is not lost yet; empty where it is."""
        return self._database.trouble

    async def _anew(self, error: Damaged) -> None:
        """An empty database takes the place of one that was found damaged."""
        self.damage = str(error)
        await self._database.renew()
        self._head, self._oldest_ns, _ = await self._database.transaction(_begin)
        self._confirmed, self.lives = 0, self.lives + 1
        self._handed.clear()
        self._settled.clear()

    async def close(self) -> None:
        """Removes what was acknowledged, and closes the file."""
        try:
            if self._settled:
                await self._write()
        finally:
            await self._database.close()

    async def commit(
        self,
        states: Mapping[tuple[str, str], bytes | None],
        records: Sequence[Record],
        *,
        calls: Sequence[Call] = (),
        done: Sequence[str] = (),
        pointers: Sequence[FlowPointer] = (),
        good: Mapping[str, Mapping[str, bytes]] | None = None,
        audit: Sequence[AuditEntry] = (),
    ) -> None:
        """Keeps all of it, or none of it, in one transaction.

        `states`: (flow, node) -> its state, None removes it. `records` join the outbox and are seen by
        the uploader from now on; those with status `live` must not be among them. `calls` are kept until
        their ids are `done`. `good`: flow -> the states of its last good version, for as long as another is on
        trial; none are kept of a flow whose mapping is empty. Raises StoreError where the disk is full or the
        file damaged.
        """
        rows = queueable(records)
        if not (states or rows or calls or done or pointers or good or audit):
            return

        def save(connection: sqlite3.Connection) -> None:
            save_states(connection, states)
            save_calls(connection, calls, done)
            _save_pointers(connection, pointers)
            save_good(connection, good or {})
            _save_audit(connection, audit)

        await self._write(rows, save)
        self.stats.appended += len(rows)
        self.stats.dropped += len(records) - len(rows)
        if rows:
            self._rate.add(sum(row.size for row in rows), monotonic_ns())
            self.appended.set()

    async def _write(
        self,
        rows: Sequence[outbox.Row] = (),
        save: Callable[[sqlite3.Connection], None] = lambda connection: None,
    ) -> None:
        confirmed, limit_bytes, began_ns = self._confirmed, self._limit_bytes, monotonic_ns()

        def work(connection: sqlite3.Connection) -> _Written:
            save(connection)
            before = outbox.head(connection)
            full = outbox.append(connection, outbox.forget(connection, before, confirmed), rows)
            now, dropped = outbox.trim(connection, full, limit_bytes) if full.bytes > limit_bytes else (full, ())
            if now != before:
                outbox.save(connection, now)
            return _Written(now, outbox.oldest_ns(connection), dropped)

        try:
            self._head, self._oldest_ns, dropped = await self._database.transaction(work)
        except Damaged as error:
            await self._anew(error)
            raise
        self._settled = {seq: size for seq, size in self._settled.items() if seq > confirmed}
        self.stats.commits += 1
        self.stats.commit_ns = monotonic_ns() - began_ns
        self._tell_dropped(dropped)

    def _tell_dropped(self, dropped: Sequence[int]) -> None:
        """Logs once when the full queue begins to drop, and once when it has room again."""
        if any(dropped) and self._dropping_since_ns is None:
            self._dropping_since_ns, self._dropped_before = monotonic_ns(), self.stats.dropped
            log.error(
                "the queue of results is full; single values are dropped, then provisional results, then final ones, "
                "until the central server is reached"
            )
        for name, count in zip(outbox.CLASSES, dropped, strict=False):
            self.stats.dropped_of[name] += count
        self.stats.dropped += sum(dropped)
        if self._dropping_since_ns is not None and self._head.bytes < self._limit_bytes * 3 // 4:
            lasted = duration_text(monotonic_ns() - self._dropping_since_ns)
            lost = self.stats.dropped - self._dropped_before
            log.warning("the queue of results has room again", dropped=lost, lasted=lasted)
            self._dropping_since_ns = None

    @property
    def full(self) -> str:
        """What a full queue has dropped since the start, while it is full; empty where it is not."""
        if self._dropping_since_ns is None:
            return ""
        return ", ".join(f"{count} {name}" for name, count in self.stats.dropped_of.items() if count)

    @property
    def version(self) -> int:
        """The highest version that any record had, acknowledged ones too."""
        return self._head.version

    async def states(self, flow: str) -> dict[str, bytes]:
        """The committed states of a flow's nodes."""
        statement = "SELECT node, state FROM node_state WHERE flow = ?"
        return dict(await self._database.query(lambda c: c.execute(statement, (flow,)).fetchall()))

    async def good_states(self, flow: str) -> dict[str, bytes]:
        """What the last good version of a flow had when another went on trial; empty where none is."""
        statement = "SELECT node, state FROM good_state WHERE flow = ?"
        return dict(await self._database.query(lambda c: c.execute(statement, (flow,)).fetchall()))

    async def calls(self) -> list[Call]:
        """The calls that are kept and not done, in the order they were made."""
        rows = await self._database.query(lambda c: c.execute("SELECT call FROM call ORDER BY number").fetchall())
        return [call for (content,) in rows if (call := _readable("call", call_of, content))]

    async def pointers(self) -> dict[str, FlowPointer]:
        """The flow pointers by instance."""
        rows = await self._database.query(lambda c: c.execute("SELECT * FROM flow_pointer").fetchall())
        return {row[0]: pointer for row in rows if (pointer := _readable("flow pointer", _pointer, *row))}

    async def audit(self, limit: int = 100) -> list[AuditEntry]:
        """The newest audit entries, newest first."""
        statement = "SELECT at, who, what, detail FROM audit ORDER BY id DESC LIMIT ?"
        rows = await self._database.query(lambda c: c.execute(statement, (limit,)).fetchall())
        return [AuditEntry(*row) for row in rows]

    async def pending(self, limit: int, *, after: int | None = None) -> list[Queued]:
        """Committed records that are not acknowledged, oldest first, at most half a megabyte of them.

        Numbers may be missing where a full queue has dropped records.
        """
        start = self._confirmed if after is None else after
        rows = await self._database.query(lambda c: outbox.read(c, start, limit, BATCH_BYTES))
        self._handed |= {seq: len(record) for seq, record in rows}
        return [Queued(*row) for row in rows]

    async def acknowledge(self, seq: int) -> None:
        """The central server has everything up to `seq`, a number that was given out.

        It is removed together with the next commit, which saves the disk one of two writes; a crash
        before that only makes the uploader send again what is known already.
        """
        if seq <= self._confirmed:
            return
        self._confirmed = seq
        for known in [known for known in self._handed if known <= seq]:
            self._settled[known] = self._handed.pop(known)
            self.stats.acknowledged += 1
        if len(self._settled) >= _FORGET_AT:
            await self._write()

    async def take_out(self, seq: int) -> None:
        """Removes a record that the central server refuses; it must be kept elsewhere before."""

        def work(connection: sqlite3.Connection) -> outbox.Head:
            now = outbox.take_out(connection, outbox.head(connection), seq)
            outbox.save(connection, now)
            return now

        self._head = await self._database.transaction(work)
        self._handed.pop(seq, None)

    async def queue_again(self, records: Sequence[bytes]) -> None:
        """Queues records that are JSON already, under new numbers: what was taken out, or comes from elsewhere."""
        rows = [_row_again(record) for record in records]
        if rows:
            await self._write(rows)
            self.appended.set()

    async def renew_epoch(self) -> None:
        """Numbers what is queued anew, in a new epoch.

        For a database that was put back from an older copy: its numbers were used before for other
        records, and the central server would take the new ones for known.
        """
        if self._settled:
            await self._write()

        def work(connection: sqlite3.Connection) -> outbox.Head:
            now = outbox.renew(connection, outbox.head(connection))
            outbox.save(connection, now)
            return now

        self._head = await self._database.transaction(work)
        self._confirmed = 0
        self._handed.clear()
        self._settled.clear()

    @property
    def epoch(self) -> str:
        """The outbox's random number: `(epoch, seq)` names a record for ever."""
        return self._head.epoch

    @property
    def last_seq(self) -> int:
        """The newest number given out in this epoch."""
        return self._head.last_seq

    @property
    def acknowledged(self) -> int:
        """The number up to which the central server has everything."""
        return self._confirmed

    @property
    def written_bytes(self) -> int:
        """What was written to the disk since the start; 0 where the system does not tell."""
        return self._database.written_bytes

    def outbox(self) -> OutboxStatus:
        """How the queue stands; costs no look at the disk."""
        count = self._head.count - len(self._settled)
        size = self._head.bytes - sum(self._settled.values()) - len(self._settled) * outbox.ROW_BYTES
        per_s = self._rate.per_s(monotonic_ns())
        return OutboxStatus(
            epoch=self._head.epoch,
            last_seq=self._head.last_seq,
            acknowledged=self._confirmed,
            count=max(count, 0),
            bytes=max(size, 0),
            limit_bytes=self._limit_bytes,
            oldest_ns=self._oldest_ns if count > 0 else None,
            bytes_per_s=per_s,
            left_ns=time_left_ns(self._limit_bytes - size, per_s),
        )


def _begin(connection: sqlite3.Connection) -> _Written:
    return _Written(outbox.head(connection), outbox.oldest_ns(connection))


def _row_again(record: bytes) -> outbox.Row:
    plain = orjson.loads(record)
    return outbox.Row(utc_ns(plain["at"]), plain["status"] == "final", record, int(plain["version"]))


def _save_pointers(connection: sqlite3.Connection, pointers: Sequence[FlowPointer]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO flow_pointer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                p.instance,
                p.flow,
                p.version,
                json.dumps(p.parameters),
                p.state,
                p.revision,
                p.good_version,
                None if p.good_parameters is None else json.dumps(p.good_parameters),
                p.attempts,
            )
            for p in pointers
        ],
    )


def _pointer(
    instance: str,
    flow: str,
    version: str,
    parameters: str,
    state: Literal["active", "pending"],
    revision: int,
    good_version: str | None,
    good_parameters: str | None,
    attempts: int,
) -> FlowPointer:
    good = None if good_parameters is None else json.loads(good_parameters)
    return FlowPointer(instance, flow, version, json.loads(parameters), state, revision, good_version, good, attempts)


def _readable(what: str, read: Callable[..., T], *content: Any) -> T | None:
    """One row; None, and a word in the log, where it is damaged: the others still count."""
    try:
        return read(*content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.error(f"a {what} cannot be read and is left out", content=repr(content)[:200], reason=str(error))
        return None


def _save_audit(connection: sqlite3.Connection, entries: Sequence[AuditEntry]) -> None:
    if not entries:
        return
    connection.executemany(
        "INSERT INTO audit (at, who, what, detail) VALUES (?, ?, ?, ?)",
        [(entry.at, entry.who, entry.what, entry.detail) for entry in entries],
    )
    connection.execute("DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?", (_AUDIT_KEPT,))
