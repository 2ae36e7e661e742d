"""Live values over WebSocket: each viewer gets the whole picture once and then the newest of what changed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import orjson
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from edgeflow.clock import Clock, utc_text
from edgeflow.web.routes import HttpProblem, check_upgrade

FRAME_BYTES = 64 << 10
BEAT_S = 2.0
"""An empty frame is sent after so long without news: a page cannot see pings, but must notice silence."""
_GONE = b"null"


@dataclass(slots=True)
class LiveStats:
    """Counts since the start; `viewers` is now."""

    viewers: int = 0
    frames: int = 0
    bytes: int = 0
    dropped: int = 0
    refused: int = 0


class _Viewer:
    """One client: which keys it has not been sent in their newest form. Holds names, never values."""

    __slots__ = ("due", "stale")

    def __init__(self, keys: Iterable[str]) -> None:
        self.stale: dict[str, None] = dict.fromkeys(keys)
        self.due = asyncio.Event()
        self.due.set()


class Hub:
    """The newest value per key, and who has to be told.

    A value is JSON in bytes, encoded once for all viewers. A viewer that is slow skips what was
    replaced meanwhile, so it costs at most one entry per key; one that does not take a frame within
    `patience_s` is dropped. Frames are `{"kind": "all"|"more"|"new", "now": time, "set": {key: value}}`:
    `all` begins the whole picture (forget what you have), `more` goes on with it, `new` is what
    changed; a value of null means that the key is gone.
    """

    def __init__(
        self, clock: Clock, *, viewers: int = 32, patience_s: float = 10.0, ping_s: float = 15.0, pace_s: float = 0.1
    ) -> None:
        self._clock = clock
        self._values: dict[str, bytes] = {}
        self._viewers: set[_Viewer] = set()
        self._most, self._patience_s, self._ping_s, self._pace_s = viewers, patience_s, ping_s, pace_s
        self._hosts: Counter[str] = Counter()
        self._closing = asyncio.Event()
        self.stats = LiveStats()

    @property
    def watched(self) -> bool:
        """Whether anybody looks; nothing need be encoded where nobody does."""
        return bool(self._viewers)

    @property
    def values(self) -> Mapping[str, bytes]:
        return self._values

    def publish(self, key: str, value: bytes | None) -> None:
        """Sets the newest value of a key, or takes the key away; what has not changed is not sent again."""
        if self._values.get(key) == value:
            return
        if value is None:
            del self._values[key]
        else:
            self._values[key] = value
        for viewer in self._viewers:
            viewer.stale[key] = None
            viewer.due.set()

    async def attend(self, request: web.Request, *, trusted: bool = False) -> web.StreamResponse:
        """Serves one viewer until it leaves, stalls or the server stops.

        One address may have half of the places; who is `trusted`, by a token, has a quarter more than there are.
        """
        host = request.remote or ""
        if trusted:
            full = len(self._viewers) >= self._most + max(self._most // 4, 1)
        else:
            full = len(self._viewers) >= self._most or self._hosts[host] >= max(self._most // 2, 1)
        if full:
            self.stats.refused += 1
            detail = (
                f"{len(self._viewers)} viewers are connected, {self._hosts[host]} from your address; close one of them."
            )
            raise HttpProblem(503, "Busy", detail)
        check_upgrade(request)
        self._hosts[host] += 1
        try:
            return await self._attend(request)
        finally:
            self._hosts[host] -= 1
            self._hosts += Counter()  # drops those at zero

    async def _attend(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(heartbeat=self._ping_s, compress=False, max_msg_size=1024, timeout=1.0)
        await socket.prepare(request)
        viewer = _Viewer(self._values)
        self._viewers.add(viewer)
        self.stats.viewers = len(self._viewers)
        try:
            async with asyncio.TaskGroup() as tasks:
                feeding = tasks.create_task(self._feed(viewer, socket, request))
                closing = tasks.create_task(self._close_with_server(socket))
                await _read_to_the_end(socket)
                feeding.cancel()
                closing.cancel()
        finally:
            self._viewers.discard(viewer)
            self.stats.viewers = len(self._viewers)
        return socket

    async def _feed(self, viewer: _Viewer, socket: web.WebSocketResponse, request: web.Request) -> None:
        kind = "all"
        try:
            while True:
                await _due_or_beat(viewer)
                frame, done = self._frame(viewer, kind)
                async with asyncio.timeout(self._patience_s):
                    await socket.send_frame(frame, WSMsgType.TEXT)
                self.stats.frames += 1
                self.stats.bytes += len(frame)
                kind = "new" if done else ("more" if kind != "new" else "new")
                await asyncio.sleep(self._pace_s if done else 0)
        except TimeoutError:
            self.stats.dropped += 1
            _abort(request)
        except ConnectionError:
            _abort(request)

    def _frame(self, viewer: _Viewer, kind: str) -> tuple[bytes, bool]:
        """The newest of what this viewer lacks, up to the size of one frame; whether that was all."""
        parts: list[bytes] = []
        size = 0
        while viewer.stale and size < FRAME_BYTES:
            key = next(iter(viewer.stale))
            del viewer.stale[key]
            part = b"%b:%b" % (orjson.dumps(key), self._values.get(key, _GONE))
            parts.append(part)
            size += len(part)
        done = not viewer.stale
        if done:
            viewer.due.clear()
        now = utc_text(self._clock.now_ns())
        return b'{"kind":"%b","now":"%b","set":{%b}}' % (kind.encode(), now.encode(), b",".join(parts)), done

    async def _close_with_server(self, socket: web.WebSocketResponse) -> None:
        await self._closing.wait()
        with suppress(ConnectionError):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the server stops")

    async def close(self, _: web.Application | None = None) -> None:
        """Tells every viewer that the server stops; put it into `app.on_shutdown`."""
        self._closing.set()


async def _due_or_beat(viewer: _Viewer) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(BEAT_S):
            await viewer.due.wait()


async def _read_to_the_end(socket: web.WebSocketResponse) -> None:
    """Viewers have nothing to say; what they send is dropped."""
    while True:
        message: WSMessage = await socket.receive()
        if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
            return


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
