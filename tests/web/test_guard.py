"""Exact Host and Origin, and the token for whatever changes something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from pydantic import BaseModel, Field

from edgeflow.web.guard import Guard
from edgeflow.web.routes import Reply, Request, Route, build_app
from edgeflow.web.server import Served, serve
from edgeflow.web.token import admin_token

TOKEN = "a-token-of-some-length"


class Said(BaseModel):
    """Who asked."""

    who: str = Field(description="Who.")


async def say(request: Request[None, None]) -> Reply:
    return Said(who=request.who)


async def device_of(token: str) -> str | None:
    return "line3" if token == "key-of-line3" else None


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    routes = [
        Route("GET", "/read", say, "Reads.", answer=Said),
        Route("POST", "/change", say, "Changes.", answer=Said, needs="token"),
        Route("POST", "/device", say, "A device speaks.", answer=Said, needs="device"),
    ]
    guard = Guard(["gw1.plant", "proxy.plant:8443"], token=TOKEN, device=device_of)
    async with serve(build_app(routes, title="t", version="1", guard=guard), "127.0.0.1", 0) as served:
        yield served


async def ask(served: Served, method: str = "GET", path: str = "/read", **headers: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as client,
        client.request(method, served.url + path, headers=headers) as response,
    ):
        return response.status, await response.text()


@pytest.mark.parametrize(
    "host",
    ["localhost:{}", "127.0.0.1:{}", "[::1]:{}", "LOCALHOST:{}", "gw1.plant:{}", "gw1.plant", "proxy.plant:8443"],
)
async def test_the_names_it_goes_by_are_let_in(served: Served, host: str) -> None:
    status, _ = await ask(served, Host=host.format(served.port))
    assert status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{}",
        "localhost",
        "localhost:1",
        "localhost.evil.example:{}",
        "10.0.0.1:{}",
        "gw1.plant:1",
        "gw1.plant.:{}",
        "proxy.plant:{}",
        "localhost:{}:80",
        "user@localhost:{}",
    ],
)
async def test_a_stranger_s_name_is_refused_even_on_loopback(served: Served, host: str) -> None:
    status, text = await ask(served, Host=host.format(served.port))
    assert status == 403
    assert "Unknown host" in text
    assert "`hosts`" in text


async def test_a_page_of_its_own_may_ask_and_a_foreign_one_may_not(served: Served) -> None:
    port = served.port
    assert (await ask(served, Origin=f"http://127.0.0.1:{port}"))[0] == 200
    for origin in (
        f"http://localhost:{port}",
        "http://127.0.0.1:1",
        "null",
        "http://evil.example",
        f"ws://127.0.0.1:{port}",
    ):
        status, text = await ask(served, Origin=origin)
        assert (status, "Foreign origin" in text) == (403, True), origin


async def test_changing_something_needs_the_right_token(served: Served) -> None:
    assert (await ask(served, "POST", "/change"))[0] == 401
    assert (await ask(served, "POST", "/change", Authorization=f"Bearer {TOKEN}x"))[0] == 401
    assert (await ask(served, "POST", "/change", Authorization=f"Basic {TOKEN}"))[0] == 401
    assert (await ask(served, "POST", "/change", Authorization="Bearer "))[0] == 401
    assert (await ask(served, "POST", "/change", Authorization="Bearer tökén"))[0] == 401
    status, text = await ask(served, "POST", "/change", Authorization=f"Bearer {TOKEN}")
    assert (status, text) == (200, '{"who":"admin"}')


async def test_the_token_does_not_help_a_foreign_page(served: Served) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Origin": "http://evil.example"}
    assert (await ask(served, "POST", "/change", **headers))[0] == 403


async def test_a_device_is_known_by_its_own_key_and_by_nothing_else(served: Served) -> None:
    assert (await ask(served, "POST", "/device", Authorization=f"Bearer {TOKEN}"))[0] == 401
    assert (await ask(served, "POST", "/device", Authorization="Bearer key-of-line3"))[1] == '{"who":"line3"}'


async def test_without_a_token_nothing_can_be_changed() -> None:
    route = Route("POST", "/change", say, "Changes.", answer=Said, needs="token")
    async with serve(build_app([route], title="t", version="1", guard=Guard()), "127.0.0.1", 0) as served:
        assert (await ask(served, "POST", "/change", Authorization="Bearer "))[0] == 401


def test_the_token_is_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    token = admin_token(state)
    file = state / "admin.token"
    assert len(token) >= 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert admin_token(state) == token
    assert [path.name for path in state.iterdir()] == ["admin.token"]


def test_a_token_file_that_others_could_read_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "admin.token"
    file.write_text("one-that-a-person-has-written\n")
    file.chmod(0o644)
    assert admin_token(tmp_path) == "one-that-a-person-has-written"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"\n", b"short", bytes(range(128, 192)), b"\0" * 40], ids=range(5))
def test_a_token_file_without_a_token_is_made_anew(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "admin.token"
    file.write_bytes(content)
    token = admin_token(tmp_path)
    assert len(token) > 30
    assert file.read_text().strip() == token == admin_token(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600


async def test_headers_that_are_no_text_are_refused_and_never_a_server_error(served: Served) -> None:
    for head, answer in (
        (b"POST /change HTTP/1.1\r\nAuthorization: Bearer \xff\xfe", b"401"),
        (b"POST /device HTTP/1.1\r\nAuthorization: Bearer \xff\xfe", b"401"),
        (b"POST /change HTTP/1.1\r\nOrigin: \xff\xfe", b"403"),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head + b"\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % served.port)
        line = await reader.readline()
        writer.close()
        assert line.split()[1] == answer, head
