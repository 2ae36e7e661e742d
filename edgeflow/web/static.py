"""The built pages: read once into memory, compressed once, served as ready bytes."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import hdrs, web

_HASHED = re.compile(r"-[\w-]{8}\.\w+$")
_MISSING = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>EdgeFlow</title>"
    b"<h1>The pages are not built</h1><p>Run <code>make pages</code> and start again. "
    b"The program itself runs; its JSON API is described at "
    b"<a href=/api/v1/openapi.json>/api/v1/openapi.json</a>.</p>"
)
_COMPRESSIBLE = ("text/", "application/javascript", "application/json", "image/svg+xml")


@dataclass(frozen=True, slots=True)
class File:
    """One file, ready to be sent."""

    body: bytes
    packed: bytes | None
    media: str
    etag: str
    cache: str


class Pages:
    """The files of one built set of pages and the addresses (`views`) that open its first page.

    A file whose name carries a content hash may be kept for ever; the rest is asked for again and
    answered with 304 where nothing changed. Where the pages were never built, a plain page says so.
    """

    def __init__(self, folder: Path, views: Iterable[str] = ("/",)) -> None:
        self._files = {f"/{path.relative_to(folder).as_posix()}": _file(path) for path in _below(folder)}
        first = self._files.get("/index.html") or _ready(_MISSING, "text/html; charset=utf-8", "no-cache")
        self._files |= dict.fromkeys(views, first)

    @property
    def built(self) -> bool:
        return "/index.html" in self._files

    def add_to(self, app: web.Application) -> None:
        """Adds one address per file and view."""
        for address in self._files:
            app.router.add_get(address, self._serve)

    async def _serve(self, request: web.Request) -> web.Response:
        file = self._files[request.path]
        headers = {"ETag": file.etag, "Cache-Control": file.cache, "Vary": "Accept-Encoding"}
        if request.headers.get(hdrs.IF_NONE_MATCH) == file.etag:
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = file.media
        if file.packed is not None and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
            headers["Content-Encoding"] = "gzip"
            return web.Response(body=file.packed, headers=headers)
        return web.Response(body=file.body, headers=headers)


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []


def _file(path: Path) -> File:
    media = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if media == "text/javascript" or media.startswith("text/"):
        media += "; charset=utf-8"
    cache = "public, max-age=31536000, immutable" if _HASHED.search(path.name) else "no-cache"
    return _ready(path.read_bytes(), media, cache)


def _ready(body: bytes, media: str, cache: str) -> File:
    packed = gzip.compress(body, 9, mtime=0) if media.startswith(_COMPRESSIBLE) else None
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return File(body, packed if packed and len(packed) < len(body) else None, media, etag, cache)
