"""A central server that answers wrongly, without end, or with what would burst a small machine."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from edgeflow.clock import SystemClock
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import Record
from edgeflow.store.documents import Documents
from edgeflow.store.store import Store
from edgeflow.sync.client import ANSWER_BYTES, CentralClient
from edgeflow.sync.desired import Wish
from edgeflow.sync.identity import Identity
from edgeflow.sync.protocol import About, FlowReport
from edgeflow.sync.settings import CentralSettings
from edgeflow.sync.uplink import Uplink
from edgeflow.testing.relay import until

AT = 1_763_618_400_000_000_000
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def good(n: int) -> Record:
    return Record("oee", f"press1/{n}", 1, AT + n * 1_000_000_000, {"good": n})


class Central:
    """Speaks the protocol as it should, but for what a test replaces."""

    def __init__(self) -> None:
        self.url = ""
        self.instead: dict[str, Answer] = {}
        self.wishes: dict[str, Any] = {"revision": 0, "flows": []}
        self.documents: dict[str, bytes] = {}
        self.taken: list[Any] = []
        self.reports: list[Any] = []
        self.sizes: list[int] = []
        self.refuses: Callable[[dict[str, Any]], int] = lambda record: 0
        self.next = 1

    async def handle(self, request: web.Request) -> web.StreamResponse:
        what = request.path.rpartition("/")[2]
        if request.path.startswith("/api/v1/flows/"):
            return web.Response(body=self.documents.get(what, b""), content_type="application/json")
        answer = self.instead.get(what) or getattr(self, what)
        return await answer(request)  # type: ignore[no-any-return]

    async def batches(self, request: web.Request) -> web.StreamResponse:
        batch = await request.json()
        if batch["seq"] != self.next:
            body = {"title": "Gap", "status": 409, "detail": "gap", "expected": self.next}
            return web.json_response(body, status=409, content_type="application/problem+json")
        statuses = [status for record in batch["records"] if "lost" not in record and (status := self.refuses(record))]
        self.sizes.append(len(batch["records"]))
        if statuses:
            body = {"title": "The body does not fit", "status": statuses[0], "detail": "records.0: no"}
            return web.json_response(body, status=statuses[0], content_type="application/problem+json")
        for record in batch["records"]:
            self.next += record.get("lost", 1)
            if "lost" not in record:
                self.taken.append(record["key"])
        return web.json_response({"acknowledged": self.next - 1, "revision": self.wishes["revision"]})

    async def desired(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(self.wishes)

    async def reported(self, request: web.Request) -> web.StreamResponse:
        self.reports.append(await request.json())
        return web.Response(status=204)

    async def socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "desired", "revision": self.wishes["revision"]})
        async for _ in socket:
            pass
        return socket

    def wish(self, instance: str, document: dict[str, Any], parameters: Any = None) -> None:
        content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        version = hashlib.sha256(content).hexdigest()
        self.documents[version] = content
        wish = {"instance": instance, "flow": document["flow"], "version": version, "parameters": parameters}
        self.wishes = {"revision": self.wishes["revision"] + 1, "flows": [*self.wishes["flows"], wish]}


class Edge:
    def __init__(self, uplink: Uplink, store: Store) -> None:
        self.uplink, self.store = uplink, store
        self.applied: list[list[str]] = []

    @property
    def stats(self) -> Any:
        return self.uplink.stats


@pytest.fixture
async def central() -> AsyncIterator[Central]:
    central, app = Central(), web.Application(client_max_size=8 << 20)
    app.router.add_route("*", "/{path:.*}", central.handle)
    async with TestServer(app) as running:
        central.url = str(running.make_url("")).rstrip("/")
        yield central


@asynccontextmanager
async def gateway(central: Central, folder: Path, documents: Documents | None = None) -> AsyncIterator[Edge]:
    store = await Store.open(folder / "gateway.db")
    Identity(gateway="line1", key="k" * 43, enrolled_with="").save(folder / "central.json")
    edge: Edge

    async def apply(wishes: Sequence[Wish], _wished: frozenset[str]) -> Sequence[FlowReport]:
        edge.applied.append([wish.instance for wish in wishes])
        return [FlowReport(instance=wish.instance, state="running", active=wish.version) for wish in wishes]

    uplink = Uplink(
        CentralSettings(url=central.url), state=folder, store=store,
        documents=documents or Documents(folder / "documents.json"), clock=SystemClock(), apply=apply, about=About(),
    )  # fmt: skip
    edge = Edge(uplink, store)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(uplink.run())
        try:
            yield edge
        finally:
            task.cancel()
    await store.close()


def answering(body: bytes | str, status: int = 200, media: str = "application/json", **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        content = body.encode() if isinstance(body, str) else body
        return web.Response(status=status, body=content, content_type=media, headers=headers)

    return answer


@pytest.mark.parametrize("status", [400, 413, 422, 451])
@pytest.mark.parametrize("bad", [[3], [1], [40], [1, 2, 3], [7, 8, 30], list(range(11, 19))])
async def test_what_central_refuses_is_put_aside_and_the_rest_arrives_in_order(
    central: Central, tmp_path: Path, status: int, bad: list[int]
) -> None:
    keys = {f"press1/{n}" for n in bad}
    central.refuses = lambda record: status if record["key"] in keys else 0
    async with gateway(central, tmp_path) as edge:
        await edge.store.commit({}, [good(n) for n in range(1, 41)])
        await until(lambda: len(edge.uplink.aside) == len(bad) and len(central.taken) == 40 - len(bad), "all is done")
        await edge.store.commit({}, [good(41)])
        await until(lambda: edge.store.outbox().count == 0, "and it goes on")
        assert central.taken == [f"press1/{n}" for n in range(1, 42) if n not in bad]
        refused, following = edge.uplink.aside.page("", 100, 1 << 20)
        assert [(one.record["key"], one.status, one.reason) for one in refused] == [
            (f"press1/{n}", status, "records.0: no") for n in bad
        ]
        assert following is None
        assert edge.stats.refused == len(bad)
        assert edge.stats.lost == 0
        central.refuses = lambda record: 0
        assert await edge.uplink.retry() == len(bad)
        await until(lambda: len(central.taken) == 41, "they are taken when a person tries again")
        assert len(edge.uplink.aside) == 0


async def test_what_was_put_aside_is_there_after_a_restart(central: Central, tmp_path: Path) -> None:
    central.refuses = lambda record: 422 if record["key"] == "press1/1" else 0
    async with gateway(central, tmp_path) as edge:
        await edge.store.commit({}, [good(1), good(2)])
        await until(lambda: central.taken == ["press1/2"], "the other arrives")
    async with gateway(central, tmp_path) as edge:
        assert len(edge.uplink.aside) == 1
        assert (tmp_path / "refused").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_a_refusal_that_is_of_no_record_costs_none(central: Central, tmp_path: Path, status: int) -> None:
    central.instead["batches"] = answering("{}", status)
    async with gateway(central, tmp_path) as edge:
        await edge.store.commit({}, [good(1), good(2)])
        await until(lambda: edge.stats.last_error, "it is told")
        await asyncio.sleep(0.3)
        assert (len(edge.uplink.aside), edge.store.outbox().count) == (0, 2)


async def test_a_server_that_refuses_everything_gets_little_of_the_queue(central: Central, tmp_path: Path) -> None:
    central.refuses = lambda record: 422
    async with gateway(central, tmp_path) as edge:
        await edge.store.commit({}, [good(n) for n in range(1, 101)])
        await until(lambda: "one result after the other" in edge.stats.last_error, "it is told")
        assert len(edge.uplink.aside) <= 11
        assert edge.store.outbox().count >= 89
        assert "results" in edge.stats.unwell


NONSENSE = {
    "a page": answering("<html>sign in</html>", media="text/html"),
    "json of another": answering('{"ok": true}'),
    "a list": answering("[]"),
    "nothing": answering(""),
    "half of it": answering('{"acknowledged": 1, "rev'),
    "wrong types": answering('{"acknowledged": "many", "revision": [], "flows": 7}'),
    "deep": answering("[" * 100_000),
    "packed": answering(gzip.compress(b"{}"), **{"Content-Encoding": "gzip"}),
    "another type": answering('{"acknowledged": 1, "revision": 0, "flows": []}', media="text/plain"),
}


@pytest.mark.parametrize("name", NONSENSE)
@pytest.mark.parametrize(("what", "part"), [("batches", "results"), ("desired", "wishes")])
async def test_a_wrong_answer_to_one_part_is_told_and_the_others_go_on(
    central: Central, tmp_path: Path, name: str, what: str, part: str
) -> None:
    central.wish("a", {"flow": "t/a", "nodes": {}})
    right = central.instead.get(what)
    assert right is None
    central.instead[what] = NONSENSE[name]
    async with gateway(central, tmp_path) as edge:
        await edge.store.commit({}, [good(1)])
        await until(lambda: part in edge.stats.unwell, "the part is unwell")
        assert edge.stats.unwell[part] == edge.stats.last_error != ""
        other = (lambda: central.reports and edge.applied) if part == "results" else (lambda: central.taken)
        await until(other, "the others go on")
        assert edge.stats.connected
        del central.instead[what]
        await until(lambda: central.taken and edge.applied, "it goes on when the answers are right again")
        await until(lambda: not edge.stats.unwell, "and nothing is unwell")
        assert edge.stats.last_error == ""


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "wish",
    [
        {"instance": "bad", "flow": "t/a", "version": "0" * 64, "parameters": nested(199)},
        {"instance": "bad", "flow": "t/a", "version": "0" * 64, "parameters": nested(900)},
        {"instance": "bad", "flow": "t/a", "version": 7},
        {"instance": "bad", "flow": ["t"], "version": "0" * 64},
        {"instance": "bad", "flow": "t/a", "version": "0" * 64, "parameters": [1]},
    ],
    ids=["199 deep", "900 deep", "a number", "a list", "no parameters"],
)
async def test_a_wish_that_cannot_be_read_is_refused_alone(
    central: Central, tmp_path: Path, wish: dict[str, Any]
) -> None:
    central.wish("good", {"flow": "t/a", "nodes": {}})
    central.wishes["flows"].insert(0, wish)
    async with gateway(central, tmp_path) as edge:
        await edge.store.commit({}, [good(1)])
        await until(lambda: edge.applied, "the other is applied")
        assert edge.applied[-1] == ["good"]
        await until(lambda: "wishes" in edge.stats.unwell, "it is told")
        await until(lambda: central.reports and len(central.reports[-1]["flows"]) == 2, "and reported")
        [bad] = [flow for flow in central.reports[-1]["flows"] if flow["instance"] == "bad"]
        assert (bad["state"], bad["fate"]) == ("unknown", "refused")
        assert bad["fate_reason"]
        await until(lambda: central.taken == ["press1/1"], "results go up beside it")


@pytest.mark.parametrize("document", [{"flow": "t/a", "nodes": nested(199)}, {"flow": "t/a", "x": 10**40}])
async def test_a_document_is_refused_or_handed_on_as_it_is(
    central: Central, tmp_path: Path, document: dict[str, Any]
) -> None:
    central.wish("a", document)
    async with gateway(central, tmp_path) as edge:
        await until(lambda: central.reports and central.reports[-1]["flows"], "it is reported")
        assert edge.applied[-1] == ([] if "nodes" in document else ["a"])


async def test_documents_that_cannot_be_read_here_are_fetched_again(central: Central, tmp_path: Path) -> None:
    for name in ("documents.json", "documents.json.previous"):
        (tmp_path / name).write_bytes(b"\x00{" + b"[" * 5000)
    (tmp_path / "flows").write_text("no folder")
    central.wish("a", {"flow": "t/a", "nodes": {}})
    async with gateway(central, tmp_path) as edge:
        await until(lambda: edge.applied == [["a"]], "it is fetched and applied")


@pytest.mark.parametrize("what", ["batches", "desired", "reported"])
async def test_an_answer_without_end_is_left_and_the_loop_stays_free(
    central: Central, tmp_path: Path, what: str
) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b"[" * 65536)
            sent += 65536

    central.instead[what] = endless
    async with gateway(central, tmp_path) as edge:
        await edge.store.commit({}, [good(1)])
        central.wish("a", {"flow": "t/a", "nodes": {}})
        edge.uplink.report([])
        longest, loop = 0.0, asyncio.get_running_loop()
        for _ in range(100):
            if "more than" in str(edge.stats.unwell):
                break
            begun = loop.time()
            await asyncio.sleep(0.05)
            longest = max(longest, loop.time() - begun - 0.05)
        assert f"more than {ANSWER_BYTES} bytes" in str(edge.stats.unwell)


async def test_what_is_packed_is_not_unpacked(central: Central) -> None:
    bomb = gzip.compress(b"\0" * (200 << 20), 9)
    central.instead["desired"] = answering(bomb, **{"Content-Encoding": "gzip"})
    async with CentralClient(central.url) as client:
        with pytest.raises(Rejected, match="encoding 'gzip', which was not asked for"):
            await client.document("GET", "/desired")


async def test_a_head_without_end_is_left() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        try:
            for n in range(1_000_000):
                writer.write(b"X-%d: %b\r\n" % (n, b"a" * 1000))
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, CentralClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises((LinkDown, Rejected)):
            await client.ask("GET", "/", timeout_s=5)


async def test_a_socket_that_says_something_without_end_is_heard_slowly(central: Central, tmp_path: Path) -> None:
    said = 0

    async def talk(request: web.Request) -> web.StreamResponse:
        nonlocal said
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        while True:
            said += 1
            await socket.send_json({"type": "desired", "revision": said})

    asked = 0

    async def desired(_: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return web.json_response({"revision": asked, "flows": []})

    central.instead |= {"socket": talk, "desired": desired}
    async with gateway(central, tmp_path) as edge:
        await until(lambda: edge.stats.reconnects, "it listens")
        await edge.store.commit({}, [good(1)])
        await until(lambda: central.taken, "results go up beside it")
        await asyncio.sleep(0.5)
        assert asked < 100


@pytest.mark.parametrize("kind", ["large", "fragments"])
async def test_a_message_that_is_too_long_ends_the_socket_alone(central: Central, tmp_path: Path, kind: str) -> None:
    async def talk(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        writer = socket._writer
        assert writer is not None
        if kind == "large":
            await socket.send_bytes(b"x" * (1 << 20))
        else:
            transport = request.transport
            assert transport is not None
            transport.write(b"\x01\x7d" + b"y" * 125)  # the first fragment of a text that never ends
            while not transport.is_closing():
                transport.write(b"\x00\x7e\xff\xff" + b"z" * 65535)
                await asyncio.sleep(0.005)
        async for message in socket:
            if message.type is WSMsgType.CLOSE:
                break
        return socket

    central.instead["socket"] = talk
    async with gateway(central, tmp_path) as edge:
        await edge.store.commit({}, [good(1)])
        await until(lambda: "live" in edge.stats.unwell, "it is told")
        await until(lambda: central.taken, "results go up beside it")
