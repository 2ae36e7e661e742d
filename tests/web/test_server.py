"""Silent, half, trickling and stuck connections are dropped; the server leaves nothing behind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace

import aiohttp
import pytest
from pydantic import Field

from edgeflow.errors import ConfigError, EdgeFlowError
from edgeflow.model import Strict
from edgeflow.web.guard import Guard
from edgeflow.web.listen import listen
from edgeflow.web.routes import Prepared, Reply, Request, Route, build_app
from edgeflow.web.server import Limits, Served, serve, serve_on

BIG = b"x" * (32 << 20)


class Note(Strict):
    """Something to say."""

    text: str = Field(description="The text.")


async def hello(_: Request[None, None]) -> Reply:
    return Prepared(b"hello", "text/plain")


async def big(_: Request[None, None]) -> Reply:
    return Prepared(BIG, "application/octet-stream")


async def slow(_: Request[None, None]) -> Reply:
    await asyncio.sleep(0.3)
    return Prepared(b"done", "text/plain")


async def note(request: Request[Note, None]) -> Reply:
    return Prepared(request.body.text.encode(), "text/plain")


def app(body_deadline_s: float = 0.3) -> aiohttp.web.Application:
    routes = [
        Route("GET", "/hello", hello, "Hello."),
        Route("GET", "/big", big, "Much."),
        Route("GET", "/slow", slow, "Late."),
        Route("POST", "/note", note, "Notes.", body=Note),
    ]
    guard = Guard()
    return build_app(routes, title="t", version="1", guard=guard, body_limit=1000, body_deadline_s=body_deadline_s)


LIMITS = Limits(header_s=0.3, idle_s=0.4, send_s=0.4, connections=5, stop_s=1.0)


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


def head(served: Served, method: str = "GET", path: str = "/hello", more: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n{more}\r\n".encode()


async def until(holds: Callable[[], bool], bound_s: float = 10.0) -> None:
    async with asyncio.timeout(bound_s):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("begun", [b"", b"GET /hello HTTP/1.1\r\nHost: loc"])
async def test_a_silent_or_half_head_is_dropped(begun: bytes) -> None:
    async with serve(app(), "127.0.0.1", 0, limits=LIMITS) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(begun)
        assert await read_to_end(reader) == b""
        assert served.stats.late_heads == 1
        await until(lambda: served.stats.open == 0)
        writer.close()


async def test_a_trickling_head_is_dropped_too() -> None:
    async with serve(app(), "127.0.0.1", 0, limits=LIMITS) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)

        async def trickle() -> None:
            for byte in b"GET /hello HTTP/1.1\r\nX: " + b"y" * 10_000:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as tasks:
            trickling = tasks.create_task(trickle())
            assert await read_to_end(reader) == b""
            trickling.cancel()
        assert served.stats.late_heads == 1
        writer.close()


async def test_a_second_request_that_never_ends_its_head_is_dropped() -> None:
    async with serve(app(), "127.0.0.1", 0, limits=LIMITS) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head(served) + b"GET /hello HTTP/1.1\r\nHo")
        assert (await read_to_end(reader)).endswith(b"hello")
        writer.close()


async def test_an_idle_connection_is_closed() -> None:
    async with serve(app(), "127.0.0.1", 0, limits=LIMITS) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head(served))
        assert (await read_to_end(reader)).endswith(b"hello")
        await until(lambda: served.stats.open == 0)
        writer.close()


async def test_a_body_that_does_not_come_is_answered_and_closed() -> None:
    async with serve(app(), "127.0.0.1", 0, limits=LIMITS) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head(served, "POST", "/note", "Content-Length: 100\r\n") + b'{"te')
        answer = await read_to_end(reader)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"did not arrive" in answer
        writer.close()


async def test_a_body_that_is_too_large_is_refused() -> None:
    async with (
        serve(app(), "127.0.0.1", 0, limits=LIMITS) as served,
        aiohttp.ClientSession() as client,
        client.post(f"{served.url}/note", json={"text": "x" * 2000}) as response,
    ):
        assert response.status == 413
        assert (await response.json())["title"] == "Too large"


async def test_a_client_that_does_not_read_is_dropped() -> None:
    async with serve(app(), "127.0.0.1", 0, limits=LIMITS) as served:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", served.port))
            await loop.sock_sendall(client, head(served, path="/big"))
            await until(lambda: served.stats.stuck == 1)
            await until(lambda: served.stats.open == 0)


async def test_more_connections_than_allowed_are_closed_at_once() -> None:
    limits = Limits(header_s=30, connections=4, reserve=0)
    async with serve(app(), "0.0.0.0", 0, limits=limits) as served:
        local = replace(served, host="127.0.0.1")
        held = []
        for number in range(4):
            source = (f"127.0.0.{2 + number % 2}", 0)
            _, writer = await asyncio.open_connection("127.0.0.1", served.port, local_addr=source)
            writer.write(head(local, path="/slow"))
            held.append(writer)
            await until(lambda number=number: served.stats.requests == number + 1)
        reader, extra = await asyncio.open_connection("127.0.0.1", served.port, local_addr=("127.0.0.4", 0))
        assert await read_to_end(reader) == b""
        assert served.stats.refused == 1
        assert served.stats.displaced == 0, "who is busy gives way to nobody"
        for writer in [*held, extra]:
            writer.close()


async def test_stopping_lets_a_request_end_and_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    async with aiohttp.ClientSession() as client:
        async with serve(app(), "127.0.0.1", 0, limits=LIMITS) as served:
            asking = asyncio.ensure_future(client.get(f"{served.url}/slow"))
            await until(lambda: served.stats.requests == 1)
        response = await asking
        assert await response.text() == "done"
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_an_address_in_use_is_said_plainly() -> None:
    async with serve(app(), "127.0.0.1", 0) as served:
        with pytest.raises(EdgeFlowError, match=f"127.0.0.1:{served.port}.*another program") as caught:
            async with serve(app(), "127.0.0.1", served.port):
                pass
        assert not isinstance(caught.value, ConfigError), "it may be free again later: that is worth another try"


async def test_who_comes_before_there_is_anything_to_serve_waits() -> None:
    listening = listen("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
    writer.write(b"GET /hello HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % listening.port)
    async with serve_on(app(), listening):
        assert (await read_to_end(reader)).endswith(b"hello")
        writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", listening.port)


async def test_a_name_with_two_addresses_is_served_on_both(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host, port in (("127.0.0.1", 0), ("127.0.0.2", 0))
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    listening = listen("gateway", 0)
    monkeypatch.undo()
    async with serve_on(app(), listening):
        for each in listening.sockets:
            reader, writer = await asyncio.open_connection(*each.getsockname())
            writer.write(
                b"GET /hello HTTP/1.1\r\nHost: %b:%d\r\nConnection: close\r\n\r\n"
                % (each.getsockname()[0].encode(), each.getsockname()[1])
            )
            assert (await read_to_end(reader)).endswith(b"hello")
            writer.close()


async def test_an_address_that_this_machine_does_not_have_yet_is_waited_for() -> None:
    async with serve(app(), "192.0.2.1", 0) as served:  # of RFC 5737: nobody has it
        assert served.port


async def test_what_is_not_http_is_answered_without_a_word_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with serve(app(), "127.0.0.1", 0, limits=LIMITS) as served:
        for junk in (b"\x16\x03\x01\x00", b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"\0" * 100):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(junk)
            assert b" 400 " in await reader.readline()
            writer.close()
    assert not caplog.records
