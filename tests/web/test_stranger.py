"""One stranger with many connections: the others are served, and who has a token has a place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from edgeflow.clock import SystemClock
from edgeflow.testing.relay import until
from edgeflow.web.guard import Guard
from edgeflow.web.live import Hub
from edgeflow.web.routes import HttpProblem, Prepared, Reply, Request, Route, build_app
from edgeflow.web.server import Limits, Served, serve

TOKEN = "t" * 40
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class App:
    def __init__(self, viewers: int) -> None:
        self.hub = Hub(SystemClock(), viewers=viewers)
        self.held = asyncio.Event()

    async def quick(self, _: Request[None, None]) -> Reply:
        return Prepared(b"1")

    async def slow(self, _: Request[None, None]) -> Reply:
        await self.held.wait()
        return Prepared(b"1")

    async def live(self, request: Request[None, None]) -> web.StreamResponse:
        return await self.hub.attend(request.raw, trusted=bool(request.who))


@asynccontextmanager
async def server(connections: int, reserve: int = 4, viewers: int = 8) -> AsyncIterator[tuple[Served, App]]:
    app = App(viewers)
    routes: list[Route[Any, Any]] = [
        Route("GET", "/quick", app.quick, "Quick."),
        Route("GET", "/slow", app.slow, "Slow."),
        Route("GET", "/live", app.live, "Live.", status=101),
    ]
    made = build_app(routes, title="t", version="1", guard=Guard(("127.0.0.2",), token=TOKEN))
    made.on_shutdown.append(app.hub.close)
    async with serve(made, "0.0.0.0", 0, limits=Limits(connections=connections, reserve=reserve)) as served:
        yield served, app
        app.held.set()


async def ask(served: Served, path: str, source: str = "127.0.0.1", **headers: str) -> tuple[int, str]:
    connector = aiohttp.TCPConnector(local_addr=(source, 0))
    url = f"http://127.0.0.1:{served.port}{path}"
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url, headers=headers) as response:
        return response.status, await response.text()


@pytest.mark.parametrize("stranger", ["127.0.0.1", "127.0.0.2"])
async def test_idle_connections_give_way(stranger: str) -> None:
    async with server(20) as (served, _), AsyncExitStack() as stack:
        writers = []
        for _ in range(60):
            _, writer = await asyncio.open_connection("127.0.0.1", served.port, local_addr=(stranger, 0))
            stack.callback(writer.close)
            writers.append(writer)
        for _ in range(5):
            assert await ask(served, "/quick") == (200, "1")
        assert served.stats.open <= 20
        assert served.stats.displaced >= 40


async def test_busy_connections_of_one_address_leave_room_for_others_and_for_a_token() -> None:
    async with server(20) as (served, app), asyncio.TaskGroup() as tasks:
        for number in range(10):
            tasks.create_task(ask(served, "/slow", "127.0.0.2"))
            await until(lambda number=number: served.stats.requests == number + 1, "it is asked")
        status, text = await ask(served, "/slow", "127.0.0.2")
        assert status == 503, "half of the places are for one address"
        assert "All 20 connections" in text
        assert await ask(served, "/quick") == (200, "1")
        assert await ask(served, "/quick", "127.0.0.2", **BEARER) == (200, "1")
        assert (await ask(served, "/quick", "127.0.0.2", Authorization="Bearer " + "x" * 40))[0] == 503
        app.held.set()


async def test_when_all_places_are_busy_only_a_token_is_served_and_the_rest_is_told_why() -> None:
    async with server(10, reserve=3) as (served, app), asyncio.TaskGroup() as tasks:
        for number in range(10):
            tasks.create_task(ask(served, "/slow", f"127.0.0.{2 + number % 2}"))
            await until(lambda number=number: served.stats.requests == number + 1, "it is asked")
        status, text = await ask(served, "/quick", "127.0.0.4")
        assert (status, "`connections` says how many" in text) == (503, True)
        assert await ask(served, "/quick", "127.0.0.4", **BEARER) == (200, "1")
        app.held.set()


async def test_one_address_does_not_take_all_places_of_the_live_feed() -> None:
    async with server(100, viewers=8) as (served, _), AsyncExitStack() as stack:
        url = f"http://127.0.0.1:{served.port}/live"

        async def watch(source: str, **headers: str) -> int:
            connector = aiohttp.TCPConnector(local_addr=(source, 0))
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            try:
                await stack.enter_async_context(session.ws_connect(url, headers=headers))
            except aiohttp.WSServerHandshakeError as error:
                return error.status
            return 101

        assert [await watch("127.0.0.2") for _ in range(32)] == [101] * 4 + [503] * 28
        assert [await watch(f"127.0.0.{n}") for n in (3, 4, 5, 6, 7)] == [101] * 4 + [503]
        assert [await watch("127.0.0.2", **BEARER) for _ in range(3)] == [101] * 2 + [503]


def test_what_is_refused_names_a_problem() -> None:
    assert HttpProblem(503, "Busy").response().content_type == "application/problem+json"
