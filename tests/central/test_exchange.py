"""Gateway and central server together: nothing lost, nothing doubled, wishes carried out and reported."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from edgeflow.model import Record
from edgeflow.store.settings import StoreSettings
from edgeflow.store.store import Store
from edgeflow.sync.protocol import FlowReport
from edgeflow.sync.push import push
from edgeflow.testing.relay import Relay, until

VIEW = "/api/v1/gateways/line1"


def keys(*numbers: int) -> list[str]:
    return [f"press1/{n}" for n in numbers]


async def test_what_is_committed_arrives_once_and_in_order(hall: Any, central: Any) -> None:
    await hall.token(central)
    async with hall.gateway(central) as edge:
        for first in range(1, 2501, 500):
            await edge.store.commit({}, hall.records(*range(first, first + 500)))
        await until(lambda: edge.store.acknowledged == 2500, "all is acknowledged", 15)
        assert edge.store.outbox().count == 0
        assert edge.uplink.stats.last_ack_ns > 0
        assert edge.uplink.stats.connected
    assert await central.keys() == keys(*range(1, 2501))


async def test_records_made_while_central_is_away_follow_when_it_is_back(hall: Any) -> None:
    async with hall.central() as central:
        port = int(central.url.rpartition(":")[2])
        await hall.token(central)
        edge_context = hall.gateway(central)
        edge = await edge_context.__aenter__()
        await edge.store.commit({}, hall.records(1, 2))
        await until(lambda: edge.store.acknowledged == 2, "the first two arrive")
    try:
        for n in range(3, 43):
            await edge.store.commit({}, hall.records(n))
        assert edge.store.outbox().count == 40
        await until(lambda: "cannot be reached" in edge.uplink.stats.last_error, "the gateway says what is wrong")
        async with hall.central(port) as central:
            await until(lambda: edge.store.acknowledged == 42, "the rest arrives")
            assert await central.keys() == keys(*range(1, 43))
    finally:
        await edge_context.__aexit__(None, None, None)


async def test_a_lost_answer_makes_no_double(hall: Any, unused_tcp_port: int) -> None:
    async with (
        Relay("127.0.0.1", unused_tcp_port) as relay,
        hall.central(unused_tcp_port, (f"127.0.0.1:{relay.port}",)) as central,
    ):
        await hall.token(central)
        async with hall.gateway(central, url=f"http://127.0.0.1:{relay.port}") as edge:
            await edge.store.commit({}, hall.records(1))
            await until(lambda: edge.store.acknowledged == 1, "the first arrives")
            for n in range(2, 8):
                relay.hang()
                await edge.store.commit({}, hall.records(n))
                await central.until(VIEW, lambda view, n=n: view["records"] == n)
                assert edge.store.acknowledged == n - 1
                await relay.drop()
                await relay.restore()
                await until(lambda n=n: edge.store.acknowledged == n, "the answer comes at last")
        assert await central.keys() == keys(*range(1, 8))


async def test_the_gateway_goes_on_where_it_was_after_a_restart(hall: Any, central: Any) -> None:
    await hall.token(central)
    for first in (1, 11, 21):
        async with hall.gateway(central) as edge:
            await edge.store.commit({}, hall.records(*range(first, first + 10)))
            await until(lambda last=first + 9: edge.store.acknowledged == last, "ten more arrive")
    assert await central.keys() == keys(*range(1, 31))


async def test_a_central_server_put_back_from_an_older_copy_gets_what_the_gateway_still_has(hall: Any) -> None:
    async with hall.central() as central:
        await hall.token(central)
        async with hall.gateway(central) as edge:
            await edge.store.commit({}, hall.records(1, 2))
            await until(lambda: edge.store.acknowledged == 2, "two arrive")
    copy = hall.folder / "copy"
    shutil.copytree(central.settings.state, copy)
    async with hall.central() as central, hall.gateway(central) as edge:
        await edge.store.commit({}, hall.records(3, 4))
        await until(lambda: edge.store.acknowledged == 4, "two more arrive")
    shutil.rmtree(central.settings.state)
    shutil.move(copy, central.settings.state)
    async with hall.central() as central, hall.gateway(central) as edge:
        await edge.store.commit({}, hall.records(5))
        await until(lambda: edge.store.acknowledged == 5, "they agree again")
        assert await central.keys() == keys(1, 2, 5)
        assert (await central.get("/api/v1/gateways/line1"))["lost"] == 2


async def test_a_gateway_put_back_from_an_older_copy_loses_none_of_its_new_records(hall: Any, central: Any) -> None:
    await hall.token(central)
    async with hall.gateway(central) as edge:
        await edge.store.commit({}, hall.records(1))
        await until(lambda: edge.store.acknowledged == 1, "one arrives")
    copy = hall.folder / "copy"
    shutil.copytree(edge.state, copy)
    async with hall.gateway(central) as edge:
        await edge.store.commit({}, hall.records(*range(2, 10)))
        await until(lambda: edge.store.acknowledged == 9, "nine are there")
    shutil.rmtree(edge.state)
    shutil.move(copy, edge.state)
    async with hall.gateway(central) as edge:
        await edge.store.commit({}, hall.records(10))
        await until(lambda: edge.store.outbox().count == 0 and edge.uplink.stats.sent > 1, "the new one arrives")
    assert sorted(await central.keys(), key=lambda key: int(key.partition("/")[2])) == keys(*range(1, 11))


async def test_what_a_full_queue_dropped_is_told_and_the_rest_arrives(hall: Any, central: Any) -> None:
    await hall.token(central)
    store = await Store.open(hall.folder / "line1" / "gateway.db", StoreSettings(outbox_mb=1))
    filler = {"text": "x" * 20_000}
    for n in range(1, 81):
        await store.commit({}, [replace(record, data=filler, status="provisional") for record in hall.records(n)])
    dropped = store.stats.dropped
    assert dropped > 0
    await store.close()
    async with hall.gateway(central) as edge:
        await until(lambda: edge.store.acknowledged == 80, "all is acknowledged", 15)
        assert edge.uplink.stats.lost == dropped
    view = await central.get("/api/v1/gateways/line1")
    assert (view["lost"], view["records"]) == (dropped, 80 - dropped)
    assert await central.keys() == keys(*range(dropped + 1, 81))


async def test_live_values_are_conflated_shown_and_never_stored(hall: Any, central: Any) -> None:
    await hall.token(central)
    async with hall.gateway(central) as edge, aiohttp.ClientSession() as session:
        await until(lambda: edge.uplink.stats.connected, "it connects")
        async with session.ws_connect(f"{central.url}/api/v1/live") as page:
            for n in range(200):
                edge.uplink.live(Record("oee", "press1", 1, 1_763_618_400_000_000_000, {"good": n}, status="live"))

            async def newest() -> None:
                async for message in page:
                    shown = orjson.loads(message.data)["set"].get("live/line1/oee/press1")
                    if shown and shown["data"]["good"] == 199:
                        return

            await asyncio.wait_for(newest(), 10)
        [shown] = (await central.get("/api/v1/gateways/line1"))["live"]
        assert shown["data"] == {"good": 199}
    assert await central.keys() == []


async def test_a_pushed_flow_is_fetched_applied_and_reported(hall: Any, central: Any, tmp_path: Path) -> None:
    await hall.token(central)
    token = (central.settings.state / "admin.token").read_text().strip()
    (tmp_path / "flow.yaml").write_text(hall.flow())
    async with hall.gateway(central) as edge:
        await until(lambda: edge.uplink.stats.connected, "it connects")
        outcome = await push(
            central.url, token, "line1", tmp_path, instance="press1-oee", parameters={"machine": "press1"}
        )
        assert outcome.ok, outcome.lines()
        assert outcome.lines() == [f"press1-oee: runs {outcome.pushed.version[:12]}"]
        [wish] = edge.applied[-1]
        assert (wish.instance, wish.flow, wish.parameters) == ("press1-oee", "oee/press", {"machine": "press1"})
        assert wish.document["title"] == "OEE of one press"

        (tmp_path / "flow.yaml").write_text(hall.flow("another title"))
        second = await push(central.url, token, "line1", tmp_path)
        assert second.ok
        assert second.pushed.instances == ["press1-oee"]
        assert second.pushed.revision == outcome.pushed.revision + 1
        assert edge.applied[-1][0].parameters == {"machine": "press1"}
        again = await push(central.url, token, "line1", tmp_path)
        assert (again.pushed.changed, again.pushed.revision) == (False, second.pushed.revision)


async def test_the_gateways_refusal_comes_back_with_its_reason(hall: Any, central: Any, tmp_path: Path) -> None:
    await hall.token(central)
    token = (central.settings.state / "admin.token").read_text().strip()
    (tmp_path / "flow.yaml").write_text(hall.flow())
    async with hall.gateway(central) as edge:
        await until(lambda: edge.uplink.stats.connected, "it enrols")
        edge.refuse = "there is no device 'press9'"
        outcome = await push(central.url, token, "line1", tmp_path, instance="press1-oee")
        assert not outcome.ok
        assert outcome.progress.settled
        version = outcome.pushed.version[:12]
        assert outcome.lines() == [f"press1-oee: refused {version}; nothing is active: there is no device 'press9'"]
        [flow] = (await central.get("/api/v1/gateways/line1"))["flows"]
        assert (flow["fate"], flow["fate_reason"]) == ("refused", "there is no device 'press9'")


async def test_a_push_to_a_gateway_that_is_away_waits_for_it(hall: Any, central: Any, tmp_path: Path) -> None:
    await hall.token(central)
    token = (central.settings.state / "admin.token").read_text().strip()
    (tmp_path / "flow.yaml").write_text(hall.flow())
    async with hall.gateway(central) as edge:
        await until(lambda: edge.uplink.stats.connected, "it enrols")
    outcome = await push(central.url, token, "line1", tmp_path, instance="press1-oee", wait_s=0.1)
    assert not outcome.ok
    assert "is not connected" in outcome.lines()[0]
    async with hall.gateway(central) as edge:
        await until(lambda: edge.applied, "it is applied")
        assert edge.applied[-1][0].version == outcome.pushed.version


async def test_a_document_that_is_not_what_its_hash_says_is_refused(hall: Any, central: Any, tmp_path: Path) -> None:
    await hall.token(central)
    token = (central.settings.state / "admin.token").read_text().strip()
    (tmp_path / "flow.yaml").write_text(hall.flow())
    async with hall.gateway(central) as edge:
        await until(lambda: edge.uplink.stats.connected, "it enrols")
    await push(central.url, token, "line1", tmp_path, instance="press1-oee", wait_s=0)
    with sqlite3.connect(central.settings.database) as connection:
        connection.execute(
            "UPDATE flow_version SET document = CAST(replace(CAST(document AS TEXT), 'good', 'best') AS BLOB)"
        )
    connection.close()
    async with hall.gateway(central) as edge:
        progress = await central.until(f"{VIEW}/flows/press1-oee", lambda answer: answer["settled"], wait="5")
        [flow] = progress["flows"]
        assert flow["reported"]["fate"] == "refused"
        assert "not the one of that hash" in flow["reported"]["fate_reason"]
        assert edge.applied == [[]]


async def test_a_flow_that_fails_later_is_reported_by_itself(hall: Any, central: Any) -> None:
    await hall.token(central)
    async with hall.gateway(central) as edge:
        await until(lambda: edge.applied, "it has taken over the wishes, of which there are none")
        edge.uplink.report(
            [FlowReport(instance="andon", flow="andon/line", active="a" * 64, state="quarantined", reason="boom")]
        )
        view = await central.until(VIEW, lambda view: view["flows"])
        [flow] = view["flows"]
        assert (flow["instance"], flow["state"], flow["reason"]) == ("andon", "quarantined", "boom")
