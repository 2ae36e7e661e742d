"""What gateways and strangers may cost the central server: bounded in bytes, refused in words."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from edgeflow.central import probe
from edgeflow.clock import SystemClock
from edgeflow.store.database import Database, StoreError
from edgeflow.sync.client import CentralClient, Refused

KEY = "k" * 43


async def enrol(hall: Any, central: Any, name: str = "line1", key: str = KEY) -> None:
    body = orjson.dumps({"protocol": 1, "token": await hall.token(central, name), "key": key})
    await central.client.ask("POST", "/api/v1/enrol", body=body)


def wire(key: str, text: str = "", **more: Any) -> dict[str, Any]:
    record = {"stream": "oee", "key": key, "version": 1, "at": "2025-11-20T06:00:00Z", "data": {"text": text}}
    return record | more


async def send(central: Any, seq: int, records: list[Any], key: str = KEY, name: str = "line1") -> Any:
    body = {"protocol": 1, "epoch": "0" * 16, "seq": seq, "records": records}
    async with CentralClient(central.url, token=key) as device:
        return await device.ask("POST", f"/api/v1/gateways/{name}/batches", body=orjson.dumps(body))


async def test_another_gateways_key_is_refused_without_a_path(hall: Any, central: Any) -> None:
    await enrol(hall, central)
    with pytest.raises(Refused, match="belongs to another gateway already") as refusal:
        await enrol(hall, central, "line2")
    assert refusal.value.status == 409
    assert str(hall.folder) not in str(refusal.value.body)
    await enrol(hall, central, "line2", "another key" * 4)


async def test_live_values_of_a_flood_are_bounded_and_the_server_goes_on(hall: Any, central: Any) -> None:
    await enrol(hall, central)
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
        session.ws_connect(f"{central.url}/api/v1/gateways/line1/socket") as socket,
    ):
        for n in range(60):
            records = [wire(f"{n}/{i}", "x" * 60_000, status="live") for i in range(3)]
            await asyncio.wait_for(socket.send_json({"type": "live", "records": records}), 30)
        view = await central.until("/api/v1/gateways/line1", lambda view: len(view["live"]) > 30)
    assert len(orjson.dumps(view["live"])) < 3 << 20


async def test_a_page_of_results_is_bounded_in_bytes_and_goes_on(hall: Any, central: Any) -> None:
    await enrol(hall, central)
    for start in range(1, 61, 4):
        await send(central, start, [wire(str(n), "x" * 200_000) for n in range(start, start + 4)])
    for path, query in (("/api/v1/results", {}), ("/api/v1/records", {"gateway": "line1"})):
        keys: list[str] = []
        following: Any = {"after": "0-0" if "gateway" in query else "0"}
        while following:
            answer = await central.client.ask("GET", path, query={"limit": "1000", **query, **following})
            assert len(answer) < 3 << 20
            page = orjson.loads(answer)
            keys += [entry["record"]["key"] for entry in page[path.rpartition("/")[2]]]
            following = {"after": str(page["next"])} if page["next"] else None
        assert keys == [str(n) for n in range(1, 61)]


@pytest.mark.parametrize("lost", [[2**53 - 1], [10**9 + 1], [10**9, 1]])
async def test_a_gateway_cannot_claim_to_have_lost_more_than_any_queue_holds(
    hall: Any, central: Any, lost: list[int]
) -> None:
    await enrol(hall, central)
    with pytest.raises(Refused) as refusal:
        await send(central, 1, [*({"lost": count} for count in lost), wire("1")])
    assert refusal.value.status == 422
    assert (await central.get("/api/v1/gateways/line1"))["lost"] == 0


BOMBS = {
    "aliases of aliases": "a: &a [x, x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)),
    "mappings of aliases": "a: &a {k: x}\n"
    + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} {{{', '.join(f'k{n}: *{chr(97 + i)}' for n in range(9))}}}\n" for i in range(9)
    ),
    "very many items": "flow: t/a\nnodes: {}\nwires: [" + "a," * 300_000 + "]\n",
    "very deep": "flow: " + "[" * 5000,
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_document_that_stands_for_more_than_it_says_is_refused(hall: Any, central: Any, name: str) -> None:
    await enrol(hall, central)
    body = orjson.dumps({"document": BOMBS[name]})
    with pytest.raises(Refused, match=r"too large|too deeply") as refusal:
        await central.client.ask("PUT", "/api/v1/gateways/line1/flows/a", body=body)
    assert refusal.value.status == 422


@pytest.mark.parametrize("depth", [21, 150, 199, 240])
async def test_parameters_that_are_nested_deeply_are_refused(hall: Any, central: Any, depth: int) -> None:
    await enrol(hall, central)
    deep = '{"a":' * depth + "1" + "}" * depth
    body = b'{"document":%b,"parameters":%b}' % (orjson.dumps(hall.flow()), deep.encode())
    with pytest.raises(Refused) as refusal:
        await central.client.ask("PUT", "/api/v1/gateways/line1/flows/a", body=body)
    assert refusal.value.status == 422


async def test_a_full_disk_is_told_by_readyz_without_a_path(
    central: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert (await central.get("/readyz"))["status"] == "ok"
    database = Database(tmp_path / "full.db", central_schema(), exclusive=False)
    await database.open()
    try:
        pages = await database.query(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
        await database.query(lambda c: c.execute(f"PRAGMA max_page_count={pages}"))
        look = probe.Probe(database, SystemClock())
        await look.look()
        full = os.statvfs_result((4096, 4096, 100, 0, 0, 1, 1, 1, 0, 255))
        monkeypatch.setattr(probe.os, "statvfs", lambda _: full)
        with pytest.raises(StoreError, match="the disk is full"):
            await probe.Probe(database, SystemClock()).look()
    finally:
        await database.close()


def central_schema() -> Any:
    from edgeflow.central.tables import SCHEMA  # noqa: PLC0415 - for this test alone

    return SCHEMA
