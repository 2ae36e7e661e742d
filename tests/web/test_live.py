"""The live feed: whole picture first, newest wins, a stalled viewer costs nothing and is dropped."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import Callable

import aiohttp
import orjson

from edgeflow.clock import SystemClock
from edgeflow.web.guard import Guard
from edgeflow.web.live import FRAME_BYTES, Hub
from edgeflow.web.routes import Reply, Request, Route, build_app
from edgeflow.web.server import Limits, Served, serve


def app(hub: Hub) -> aiohttp.web.Application:
    async def live(request: Request[None, None]) -> Reply:
        return await hub.attend(request.raw)

    routes = [Route("GET", "/live", live, "Live.", status=101)]
    application = build_app(routes, title="t", version="1", guard=Guard())
    application.on_shutdown.append(hub.close)
    return application


def hub(**more: float) -> Hub:
    return Hub(SystemClock(), **{"pace_s": 0.01, **more})  # type: ignore[arg-type]


async def until(holds: Callable[[], bool], bound_s: float = 15.0) -> None:
    async with asyncio.timeout(bound_s):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


async def picture(socket: aiohttp.ClientWebSocketResponse, seen: dict[str, object], wanted: dict[str, object]) -> None:
    """Takes frames until the viewer's picture is the wanted one."""
    async with asyncio.timeout(15):
        while seen != wanted:
            frame = orjson.loads(await socket.receive_str())
            if frame["kind"] == "all":
                seen.clear()
            seen |= {key: value for key, value in frame["set"].items() if value is not None}
            for key in [key for key, value in frame["set"].items() if value is None]:
                seen.pop(key, None)


async def test_a_viewer_gets_the_whole_picture_and_then_what_changes() -> None:
    board = hub()
    board.publish("a", b"1")
    board.publish('with "quotes"', b'{"x":[1,2]}')
    async with (
        serve(app(board), "127.0.0.1", 0) as served,
        aiohttp.ClientSession() as client,
        client.ws_connect(f"{served.url}/live") as socket,
    ):
        first = orjson.loads(await socket.receive_str())
        assert first["kind"] == "all"
        assert first["set"] == {"a": 1, 'with "quotes"': {"x": [1, 2]}}
        board.publish("b", b"2")
        board.publish("a", None)
        board.publish('with "quotes"', b'{"x":[1,2]}')
        second = orjson.loads(await socket.receive_str())
        assert (second["kind"], second["set"]) == ("new", {"b": 2, "a": None})
    assert not board.watched


async def test_a_large_picture_comes_in_bounded_frames() -> None:
    board = hub()
    wanted: dict[str, object] = {}
    for i in range(300):
        wanted[f"k{i}"] = "x" * 1000
        board.publish(f"k{i}", orjson.dumps("x" * 1000))
    async with (
        serve(app(board), "127.0.0.1", 0) as served,
        aiohttp.ClientSession() as client,
        client.ws_connect(f"{served.url}/live") as socket,
    ):
        seen: dict[str, object] = {}
        kinds = []
        while seen != wanted:
            text = await socket.receive_str()
            assert len(text) < FRAME_BYTES + 2000
            frame = orjson.loads(text)
            kinds.append(frame["kind"])
            seen |= frame["set"]
        assert kinds[0] == "all"
        assert set(kinds[1:]) == {"more"}


async def stalled(served: Served) -> socket.socket:
    """A viewer that has shaken hands and never reads again."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", served.port))
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    await loop.sock_sendall(client, head.encode())
    return client


async def test_a_stalled_viewer_holds_names_and_not_values_and_is_dropped() -> None:
    board = hub(patience_s=1.0)
    async with serve(app(board), "127.0.0.1", 0, limits=Limits(send_s=30)) as served:
        client = await stalled(served)
        await until(lambda: board.watched)
        (viewer,) = board._viewers
        sent = 0
        while board.stats.dropped == 0:
            sent += 1
            for key in range(20):
                board.publish(f"tag{key}", orjson.dumps([sent] * 2000))
            assert len(viewer.stale) <= 20
            await asyncio.sleep(0.005)
        await until(lambda: not board.watched)
        assert sent > 20
        assert board.stats.bytes < 20 * sent * 2000
        client.close()


async def test_a_slow_viewer_skips_to_the_newest_and_the_others_keep_pace() -> None:
    board = hub(patience_s=30.0)
    async with serve(app(board), "127.0.0.1", 0, limits=Limits(send_s=60)) as served, aiohttp.ClientSession() as client:
        slow = await stalled(served)
        await until(lambda: board.watched)
        async with client.ws_connect(f"{served.url}/live") as quick:
            seen: dict[str, object] = {}
            for turn in range(300):
                board.publish("big", orjson.dumps([turn] * 20_000))
                board.publish("turn", orjson.dumps(turn))
                await picture(quick, seen, {"big": [turn] * 20_000, "turn": turn})
            assert board.stats.viewers == 2
            pending = [viewer.stale for viewer in board._viewers if viewer.stale]
            assert pending == [{"big": None, "turn": None}]
        slow.close()


async def test_too_many_viewers_are_told_so() -> None:
    board = hub(viewers=1)
    async with (
        serve(app(board), "127.0.0.1", 0) as served,
        aiohttp.ClientSession() as client,
        client.ws_connect(f"{served.url}/live"),
        client.get(f"{served.url}/live") as response,
    ):
        assert response.status == 503
        assert "close one" in (await response.json())["detail"]


async def test_viewers_are_told_when_the_server_stops() -> None:
    board = hub()
    before = asyncio.all_tasks()
    async with aiohttp.ClientSession() as client:
        async with serve(app(board), "127.0.0.1", 0) as served:
            socket = await client.ws_connect(f"{served.url}/live")
            await until(lambda: board.watched)
            closing = asyncio.ensure_future(_to_the_end(socket))
        assert await closing == aiohttp.WSCloseCode.GOING_AWAY
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def _to_the_end(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    async for _ in socket:
        pass
    return socket.close_code


async def test_what_a_viewer_says_is_of_no_consequence() -> None:
    board = hub()
    async with serve(app(board), "127.0.0.1", 0) as served, aiohttp.ClientSession() as client:
        async with client.ws_connect(f"{served.url}/live") as socket:
            for word in ("hello", "{", '{"kind":"all"}'):
                await socket.send_str(word)
            board.publish("a", b"1")
            await picture(socket, {}, {"a": 1})
        async with client.ws_connect(f"{served.url}/live") as socket:
            await socket.send_str("x" * 100_000)
            assert await _to_the_end(socket) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
    assert not board.watched
