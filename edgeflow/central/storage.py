"""How long results are kept, and how many bytes of them: the oldest go, a little at a time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import structlog

from edgeflow.central.views import Storage
from edgeflow.clock import Clock, utc_text
from edgeflow.store.database import Database, StoreError
from edgeflow.units import NS_PER_S

log = structlog.get_logger()

EVERY_S = 600.0
_CHUNK = 1000
_BREATH_S = 0.05


@dataclass(slots=True)
class StorageStats:
    """`bytes` is now; the others count since the start."""

    bytes: int = 0
    dropped_records: int = 0
    dropped_results: int = 0


class Keeper:
    """Drops what is older than `keep_ns`, and the oldest where the database holds more than `keep_bytes`.

    The space is used again; the file itself does not shrink. `show` is given how it stands after each look.
    """

    def __init__(
        self, database: Database, clock: Clock, *, keep_ns: int, keep_bytes: int, show: Callable[[Storage], None]
    ) -> None:
        self._database, self._clock, self._show = database, clock, show
        self._keep_ns, self._keep_bytes = keep_ns, keep_bytes
        self.stats = StorageStats()

    async def run(self) -> NoReturn:
        """Looks for ever."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                log.error("old results cannot be dropped", reason=str(error))
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Drops what is due. Raises StoreError."""
        until_ns = self._clock.now_ns() - self._keep_ns
        while await self._drop(until_ns):  # noqa: ASYNC110 - the disk has no event
            await asyncio.sleep(_BREATH_S)  # batches of gateways come between
        self.stats.bytes = await self._database.query(_used)
        while self.stats.bytes > self._keep_bytes and await self._drop(self._clock.now_ns()):
            self.stats.bytes = await self._database.query(_used)
            await asyncio.sleep(_BREATH_S)
        self._show(self.view())

    def view(self) -> Storage:
        """How it stands."""
        return Storage(
            bytes=self.stats.bytes,
            most_bytes=self._keep_bytes,
            keep_days=self._keep_ns / (86_400 * NS_PER_S),
            dropped=self.stats.dropped_records,
        )

    async def _drop(self, until_ns: int) -> int:
        records, results = await self._database.transaction(lambda c: (_records(c, until_ns), _results(c, until_ns)))
        self.stats.dropped_records += records
        self.stats.dropped_results += results
        return records + results


def _used(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _records(connection: sqlite3.Connection, until_ns: int) -> int:
    """Drops the oldest records that came by then, of the epoch that begins earliest."""
    first = "SELECT epoch, min(seq), received FROM record WHERE epoch = ?"
    epochs = connection.execute("SELECT id FROM epoch").fetchall()
    heads = [row for epoch in epochs if (row := connection.execute(first, epoch).fetchone())[0] is not None]
    if not heads:
        return 0
    epoch, _, received = min(heads, key=lambda head: head[2])
    if received > until_ns:
        return 0
    rows = connection.execute(
        "SELECT seq, received FROM record WHERE epoch = ? ORDER BY seq LIMIT ?", (epoch, _CHUNK)
    ).fetchall()
    last = max(seq for seq, came in rows if came <= until_ns)
    return connection.execute("DELETE FROM record WHERE epoch = ? AND seq <= ?", (epoch, last)).rowcount


def _results(connection: sqlite3.Connection, until_ns: int) -> int:
    """Drops the newest versions that changed longest ago, as far as they speak of times before."""
    oldest = connection.execute("SELECT change, at FROM result ORDER BY change LIMIT ?", (_CHUNK,)).fetchall()
    until = utc_text(until_ns)
    due = [change for change, at in oldest if at <= until]
    connection.executemany("DELETE FROM result WHERE change = ?", [(change,) for change in due])
    return len(due)
