from __future__ import annotations

import asyncio
import io
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from edgeflow.central.server import started
from edgeflow.central.settings import Settings
from edgeflow.errors import EdgeFlowError
from edgeflow.store.wire import encode
from edgeflow.sync.client import CentralClient, Refused
from edgeflow.sync.protocol import batch_json

KEY = "k" * 43
EPOCH = "00c0ffee00c0ffee"
ADDRESS = "/api/v1/gateways/line1/batches"


@pytest.fixture
async def device(hall: Any, central: Any) -> AsyncIterator[CentralClient]:
    """A client with the key of the enrolled gateway `line1`."""
    token = await hall.token(central)
    body = orjson.dumps({"protocol": 1, "token": token, "key": KEY})
    await central.client.ask("POST", "/api/v1/enrol", body=body)
    async with CentralClient(central.url, token=KEY) as client:
        yield client


def batch(hall: Any, *numbers: int, epoch: str = EPOCH, version: int = 1) -> bytes:
    rows = [(record.data["good"], encode(record)) for record in hall.records(*numbers, version=version)]
    return batch_json(epoch, numbers[0], rows)


async def acknowledged(device: CentralClient, body: bytes) -> int:
    return int(orjson.loads(await device.ask("POST", ADDRESS, body=body))["acknowledged"])


async def test_the_same_batch_sent_twice_is_kept_once(hall: Any, central: Any, device: CentralClient) -> None:
    body = batch(hall, 1, 2, 3)
    assert await acknowledged(device, body) == 3
    assert await acknowledged(device, body) == 3
    assert await central.keys() == ["press1/1", "press1/2", "press1/3"]
    assert (await central.get("/api/v1/gateways/line1"))["records"] == 3


async def test_a_batch_that_overlaps_adds_only_what_is_new(hall: Any, central: Any, device: CentralClient) -> None:
    assert await acknowledged(device, batch(hall, 1, 2, 3)) == 3
    assert await acknowledged(device, batch(hall, 2, 3, 4, 5)) == 5
    assert await central.keys() == [f"press1/{n}" for n in range(1, 6)]


async def test_many_copies_at_once_are_kept_once(hall: Any, central: Any, device: CentralClient) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(acknowledged(device, batch(hall, *range(1, 101))))
    assert await central.keys() == [f"press1/{n}" for n in range(1, 101)]


async def test_a_gap_is_refused_with_the_number_that_is_expected(
    hall: Any, central: Any, device: CentralClient
) -> None:
    await acknowledged(device, batch(hall, 1, 2))
    with pytest.raises(Refused, match="3 is the next that is not known here") as refusal:
        await device.ask("POST", ADDRESS, body=batch(hall, 4, 5))
    assert refusal.value.status == 409
    assert refusal.value.body["expected"] == 3
    assert await central.keys() == ["press1/1", "press1/2"]


async def test_a_new_epoch_counts_from_one_again(hall: Any, central: Any, device: CentralClient) -> None:
    await acknowledged(device, batch(hall, 1, 2))
    with pytest.raises(Refused) as refusal:
        await device.ask("POST", ADDRESS, body=batch(hall, 2, epoch="1" * 16))
    assert refusal.value.body["expected"] == 1
    assert await acknowledged(device, batch(hall, 1, epoch="1" * 16)) == 1
    assert await central.keys() == ["press1/1", "press1/2", "press1/1"]


async def test_numbers_that_a_gateway_no_longer_has_are_counted_as_lost(
    hall: Any, central: Any, device: CentralClient
) -> None:
    rows = [(record.data["good"], encode(record)) for record in hall.records(3, 4, 8)]
    assert await acknowledged(device, batch_json(EPOCH, 1, rows)) == 8
    view = await central.get("/api/v1/gateways/line1")
    assert (view["records"], view["lost"]) == (3, 5)
    assert await acknowledged(device, batch_json(EPOCH, 1, rows)) == 8
    assert (await central.get("/api/v1/gateways/line1"))["lost"] == 5


async def test_only_the_highest_version_of_a_result_stands(hall: Any, central: Any, device: CentralClient) -> None:
    rows = [encode(record) for version in (1, 3, 2) for record in hall.records(7, version=version)]
    await acknowledged(device, batch_json(EPOCH, 1, list(enumerate(rows, 1))))
    page = await central.get("/api/v1/results", gateway="line1", stream="oee")
    assert [result["record"]["version"] for result in page["results"]] == [3]
    assert len(await central.keys()) == 3


async def test_results_come_in_pages_and_go_on_where_the_reader_was(
    hall: Any, central: Any, device: CentralClient
) -> None:
    await acknowledged(device, batch(hall, *range(1, 26)))
    found, after = [], "0"
    while after:
        page = await central.get("/api/v1/results", limit="10", after=after)
        found += [result["record"]["key"] for result in page["results"]]
        after = str(page["next"] or "")
    assert found == [f"press1/{n}" for n in range(1, 26)]
    newest = await central.get("/api/v1/results", limit="2", newest="true")
    assert [result["record"]["key"] for result in newest["results"]] == ["press1/25", "press1/24"]
    since = await central.get("/api/v1/results", since="2025-11-20T07:00:24+01:00")
    assert [result["record"]["key"] for result in since["results"]] == ["press1/24", "press1/25"]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (ADDRESS, b"{broken", 422, "The body does not fit"),
        (
            ADDRESS,
            b'{"protocol":9,"epoch":"%s","seq":1,"records":[{"lost":1}]}' % EPOCH.encode(),
            400,
            "Unknown protocol",
        ),
        (ADDRESS, b'{"protocol":1,"epoch":"%s","seq":1,"records":[]}' % EPOCH.encode(), 422, "The body does not fit"),
        (ADDRESS, b'{"protocol":1,"epoch":"x","seq":0,"records":[{}]}', 422, "The body does not fit"),
        ("/api/v1/gateways/other/batches", None, 403, "Another gateway's address"),
    ],
)
async def test_a_batch_that_cannot_be_taken_is_answered_clearly(
    hall: Any, central: Any, device: CentralClient, path: str, body: bytes | None, status: int, words: str
) -> None:
    with pytest.raises(Refused) as refusal:
        await device.ask("POST", path, body=body or batch(hall, 1))
    assert (refusal.value.status, refusal.value.title) == (status, words)
    assert await acknowledged(device, batch(hall, 1)) == 1


async def test_an_oversized_batch_is_refused_without_being_read_to_the_end(central: Any, device: CentralClient) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(central.url + ADDRESS, data=io.BytesIO(b"x" * 5_000_000), headers=headers) as response,
    ):
        assert response.status == 413
        assert "larger than this server accepts" in (await response.json(content_type=None))["detail"]


async def test_a_wrong_key_is_401_and_a_missing_one_too(hall: Any, central: Any, device: CentralClient) -> None:
    for key in ("wrong" * 9, ""):
        async with CentralClient(central.url, token=key) as stranger:
            with pytest.raises(Refused) as refusal:
                await stranger.ask("POST", ADDRESS, body=batch(hall, 1))
            assert refusal.value.status == 401
    assert await central.keys() == []


async def test_what_a_newer_gateway_adds_to_a_record_is_kept(central: Any, device: CentralClient) -> None:
    record = {"stream": "oee", "key": "a", "version": 1, "at": "2025-11-20T06:00:00Z", "data": {}, "novelty": 5}
    await acknowledged(device, batch_json(EPOCH, 1, [(1, orjson.dumps(record))]))
    page = await central.get("/api/v1/records", gateway="line1")
    assert page["records"][0]["record"]["novelty"] == 5


async def test_metrics_and_health_answer_without_a_token(hall: Any, central: Any, device: CentralClient) -> None:
    await acknowledged(device, batch(hall, 1, 2))
    async with CentralClient(central.url) as anybody:
        text = (await anybody.ask("GET", "/metrics")).decode()
        assert orjson.loads(await anybody.ask("GET", "/healthz"))["status"] == "ok"
        assert orjson.loads(await anybody.ask("GET", "/readyz"))["status"] == "ok"
    assert "edgeflow_central_records_total 2.0" in text
    assert 'edgeflow_central_gateway_connected{gateway="line1"} 0.0' in text


async def test_a_gateway_that_has_lost_more_than_there_are_numbers_does_not_keep_the_server_from_starting(
    hall: Any, central: Any, device: CentralClient, tmp_path: Path
) -> None:
    for epoch in ("1" * 16, "2" * 16):
        items = b",".join([b'{"lost":%d}' % (2**53 - 1)] * 1500)
        body = b'{"protocol":1,"epoch":"%b","seq":1,"records":[%b]}' % (epoch.encode(), items)
        with pytest.raises(Refused, match=r"beyond 2\^53"):
            await device.ask("POST", ADDRESS, body=body)
    lost = 2**53 - 1
    with sqlite3.connect(central.settings.database) as other:  # all together beyond the integers of SQLite
        rows = [("line1", f"{number:016x}", lost, lost) for number in range(1026)]
        other.executemany("INSERT INTO epoch (gateway, epoch, last_seq, lost) VALUES (?, ?, ?, ?)", rows)
    other.close()
    later = shutil.copytree(central.settings.state, tmp_path / "later")
    async with started(Settings(state=later, port=0)) as served, CentralClient(served.url) as client:
        gateway = orjson.loads(await client.ask("GET", "/api/v1/gateways/line1"))
    assert (gateway["records"], gateway["lost"]) == (0, 1026 * lost)


async def test_a_second_server_is_kept_out_of_the_state_folder(central: Any) -> None:
    with pytest.raises(EdgeFlowError, match="in use by another central server"):
        async with started(Settings(state=central.settings.state, port=0)):
            pass


async def test_places_beyond_the_last_are_refused(central: Any) -> None:
    for name in ("after", "before"):
        with pytest.raises(Refused) as refusal:
            await central.get("/api/v1/results", **{name: str(2**63)})
        assert refusal.value.status == 422
