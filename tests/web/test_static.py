"""Pages are ready bytes: hashed files may be kept for ever, the rest is asked for again."""

from __future__ import annotations

import gzip
from pathlib import Path

import aiohttp

from edgeflow.web.guard import Guard
from edgeflow.web.routes import build_app
from edgeflow.web.server import serve
from edgeflow.web.static import Pages


def app(folder: Path) -> aiohttp.web.Application:
    return build_app([], title="t", version="1", guard=Guard(), pages=Pages(folder, ("/", "/andon")))


async def test_pages_are_served_with_hashes_and_304(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>Page</title>")
    script = "console.log(1);" * 100
    (tmp_path / "assets" / "index-BCCPyy_X.js").write_text(script)
    async with (
        serve(app(tmp_path), "127.0.0.1", 0) as served,
        aiohttp.ClientSession(auto_decompress=False) as client,
    ):
        for view in ("/", "/andon", "/index.html"):
            async with client.get(served.url + view) as response:
                assert response.status == 200
                assert response.headers["Cache-Control"] == "no-cache"
                assert response.content_type == "text/html"
                assert "default-src 'none'" in response.headers["Content-Security-Policy"]
                etag = response.headers["ETag"]
        async with client.get(served.url, headers={"If-None-Match": etag}) as response:
            assert response.status == 304
        async with client.get(f"{served.url}/assets/index-BCCPyy_X.js") as response:
            assert "immutable" in response.headers["Cache-Control"]
            assert response.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(await response.read()).decode() == script
        plain = {"Accept-Encoding": "identity"}
        async with client.get(f"{served.url}/assets/index-BCCPyy_X.js", headers=plain) as response:
            assert await response.text() == script
        for outside in ("/assets/../../etc/passwd", "/assets/%2e%2e/secret", "/other", "/assets/"):
            async with client.get(served.url + outside) as response:
                assert response.status == 404


async def test_pages_that_were_never_built_say_so(tmp_path: Path) -> None:
    async with (
        serve(app(tmp_path / "nowhere"), "127.0.0.1", 0) as served,
        aiohttp.ClientSession() as client,
        client.get(f"{served.url}/andon") as response,
    ):
        assert response.status == 200
        assert "make pages" in await response.text()
