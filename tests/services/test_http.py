"""HTTP calls against a real server that fails, stalls and answers at length."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from edgeflow.model import Call
from edgeflow.outputs.policy import Policy, ReachPermit
from edgeflow.services.http import BODY_BYTES, HttpService
from edgeflow.services.reach import Reach
from edgeflow.units import NS_PER_S
from tests.services.conftest import Working

LOCAL = Reach(Policy(reaches=(ReachPermit("http", ("127.0.0.1",), ("*",)),)))


class Server:
    """Answers by path and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.keys: list[str] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        self.asked.append((request.method, request.path, body))
        self.keys.append(request.headers["Idempotency-Key"])
        match request.path:
            case "/echo":
                return web.json_response({"got": body, "type": request.content_type})
            case "/third-time":
                return web.json_response("done") if len(self.asked) == 3 else web.Response(status=503)
            case "/broken":
                return web.Response(status=500, text="no disk")
            case "/forbidden":
                return web.Response(status=403, text="not you")
            case "/slow":
                await asyncio.sleep(30)
            case "/pieces":
                response = web.StreamResponse()
                await response.prepare(request)
                for piece in (b"[1", b", 2, ", b"3]"):
                    await response.write(piece)
                    await asyncio.sleep(0.02)
                return response
            case "/huge":
                return web.Response(body=b"x" * (BODY_BYTES + 1))
            case "/hangup":
                assert request.transport
                request.transport.close()
        return web.Response(text="plain")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server, app = Server(), web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with TestServer(app) as running:
        server.url = str(running.make_url("")).rstrip("/")
        yield server


def ask(url: str, method: str = "POST", **more: Any) -> Call:
    return Call("call-1", "flow", "node", "http", {"url": url, "method": method, **more}, 0, 0)


async def answer(working: Working, call: Call) -> tuple[bool, Any, str, Any]:
    async with working(LOCAL, http=HttpService(LOCAL, pause_s=0.01)) as answers:
        answers.services.submit(call)
        (answer,) = await answers.of(call.id)
    return answer.ok, answer.value, answer.error, answer.extra


async def test_json_goes_out_and_comes_back(server: Server, working: Working) -> None:
    ok, value, *_ = await answer(working, ask(server.url + "/echo", json={"a": 1}))
    assert ok
    assert value == {"got": '{"a":1}', "type": "application/json"}
    assert server.keys == ["call-1"]


async def test_an_answer_that_is_not_json_is_text(server: Server, working: Working) -> None:
    assert (await answer(working, ask(server.url + "/", "GET")))[:2] == (True, "plain")
    assert server.asked == [("GET", "/", "")]


async def test_an_answer_in_pieces_is_read_whole(server: Server, working: Working) -> None:
    assert (await answer(working, ask(server.url + "/pieces", "GET")))[:2] == (True, [1, 2, 3])


async def test_a_failing_server_is_asked_again_with_the_same_key(server: Server, working: Working) -> None:
    assert (await answer(working, ask(server.url + "/third-time")))[:2] == (True, "done")
    assert server.keys == ["call-1"] * 3


async def test_a_server_that_goes_on_failing_is_asked_four_times(server: Server, working: Working) -> None:
    ok, _, error, extra = await answer(working, ask(server.url + "/broken"))
    assert (ok, extra, len(server.asked)) == (False, {"status": 500}, 4)
    assert error == f"{server.url}/broken answered 500: no disk"


async def test_a_refusal_is_not_asked_again(server: Server, working: Working) -> None:
    ok, _, error, extra = await answer(working, ask(server.url + "/forbidden"))
    assert (ok, extra, len(server.asked)) == (False, {"status": 403}, 1)
    assert error.endswith("/forbidden answered 403: not you")


async def test_a_silent_server_is_left_in_time(server: Server, working: Working) -> None:
    ok, _, error, _ = await answer(working, ask(server.url + "/slow", timeout=NS_PER_S // 20))
    assert (ok, error) == (False, f"{server.url}/slow did not answer in time")
    assert len(server.asked) == 4


async def test_an_answer_without_end_is_cut_off(server: Server, working: Working) -> None:
    ok, _, error, extra = await answer(working, ask(server.url + "/huge", "GET"))
    assert (ok, extra) == (False, {"status": 200})
    assert f"more than {BODY_BYTES} bytes" in error


async def test_a_connection_that_is_closed_is_a_failure_in_words(server: Server, working: Working) -> None:
    ok, _, error, _ = await answer(working, ask(server.url + "/hangup"))
    assert not ok
    assert error.startswith(f"{server.url}/hangup: ")


@pytest.mark.parametrize(
    "call",
    [
        ask("http://[bad"),
        ask("http://127.0.0.1:1/x", headers={"X-A": "two\nlines"}),
        ask("http://127.0.0.1:1/x", json={"a": object()}),
        ask("http://127.0.0.1:1/x"),
    ],
    ids=["address", "header", "body", "nobody listens"],
)
async def test_nothing_a_flow_asks_for_ends_the_service(call: Call, working: Working) -> None:
    ok, _, error, _ = await answer(working, call)
    assert not ok
    assert error
