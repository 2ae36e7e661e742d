"""How long the central server keeps results, and how many bytes of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edgeflow.central import storage
from edgeflow.central.archive import Archive
from edgeflow.central.storage import Keeper
from edgeflow.central.tables import SCHEMA
from edgeflow.central.views import RecordQuery, ResultQuery, Storage
from edgeflow.store.database import Database
from edgeflow.store.wire import WireRecord
from edgeflow.sync.protocol import Batch

DAY_NS = 86_400 * 1_000_000_000
AT_NS = 1_763_618_400_000_000_000


class Clock:
    def __init__(self) -> None:
        self.day = 0

    def now_ns(self) -> int:
        return AT_NS + self.day * DAY_NS


class Bench:
    def __init__(self, database: Database, clock: Clock) -> None:
        self.database, self.clock = database, clock
        self.archive = Archive(database, clock)  # type: ignore[arg-type] # all of a clock that it uses
        self.shown: list[Storage] = []
        self.next: dict[str, int] = {}

    def keeper(self, days: int = 10, keep_bytes: int = 1 << 30) -> Keeper:
        return Keeper(
            self.database, self.clock, keep_ns=days * DAY_NS, keep_bytes=keep_bytes, show=self.shown.append  # type: ignore[arg-type]
        )  # fmt: skip

    async def send(self, gateway: str, epoch: str, count: int, size: int = 10) -> None:
        first = self.next.get(epoch, 1)
        self.next[epoch] = first + count
        at = f"2025-11-{20 + self.clock.day:02d}T06:00:00.000Z"
        records = [
            WireRecord(stream="oee", key=f"{gateway}/{first + n}", version=1, at=at, data={"x": "x" * size})
            for n in range(count)
        ]
        await self.archive.take(gateway, Batch(protocol=1, epoch=epoch * 16, seq=first, records=records))

    async def days(self, gateway: str) -> list[str]:
        page = await self.archive.records(RecordQuery(gateway=gateway, limit=1000))
        return sorted({record.record.at[8:10] for record in page.records})


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    database = Database(tmp_path / "central.db", SCHEMA, exclusive=False)
    await database.open()
    yield Bench(database, Clock())
    await database.close()


async def test_what_is_older_goes_and_the_rest_stays(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_BREATH_S", 0)
    monkeypatch.setattr(storage, "_CHUNK", 7)
    for day in range(6):
        bench.clock.day = day
        await bench.send("line1", "1", 20)
        await bench.send("line2", "2", 3)
    keeper = bench.keeper(days=3)
    await keeper.look()
    assert await bench.days("line1") == await bench.days("line2") == ["23", "24", "25"]
    results = await bench.archive.results(ResultQuery(limit=1000))
    assert {result.record.at[8:10] for result in results.results} == {"23", "24", "25"}
    assert keeper.stats.dropped_records == 3 * 23
    assert (bench.shown[-1].keep_days, bench.shown[-1].dropped) == (3, 69)
    await bench.send("line1", "1", 1)
    assert bench.archive.stats.gaps == 0, "the numbers go on"


async def test_what_is_too_much_goes_from_the_oldest_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_BREATH_S", 0)
    monkeypatch.setattr(storage, "_CHUNK", 20)
    for day in range(6):
        bench.clock.day = day
        await bench.send("line1", "1", 40, 10_000)
    keeper = bench.keeper(days=100, keep_bytes=2_000_000)
    await keeper.look()
    assert bench.shown[-1].bytes <= 2_000_000
    kept: Any = await bench.days("line1")
    assert kept
    assert kept[-1] == "25"
    assert "20" not in kept


async def test_an_empty_server_drops_nothing(bench: Bench) -> None:
    keeper = bench.keeper()
    await keeper.look()
    assert bench.shown[-1].dropped == 0
