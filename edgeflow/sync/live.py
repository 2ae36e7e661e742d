"""The newest live values on their way up: conflated, bounded, at most twice a second."""

from __future__ import annotations

import asyncio

import aiohttp

from edgeflow.model import Record
from edgeflow.store.wire import encode

_MOST_KEYS = 2000
_PER_MESSAGE = 200
_PACE_S = 0.5


class LiveFeed:
    """Keeps the newest record per (stream, key) and sends what changed; a value that was replaced is never sent."""

    def __init__(self) -> None:
        self._latest: dict[tuple[str, str], Record] = {}
        self._changed: dict[tuple[str, str], None] = {}
        self._due = asyncio.Event()
        self.sent = 0

    def take(self, record: Record) -> None:
        """Notes a record; beyond 2,000 keys the one that was silent longest is forgotten."""
        name = (record.stream, record.key)
        self._latest.pop(name, None)
        self._latest[name] = record
        self._changed[name] = None
        if len(self._latest) > _MOST_KEYS:
            oldest = next(iter(self._latest))
            del self._latest[oldest]
            self._changed.pop(oldest, None)
        self._due.set()

    async def feed(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Sends everything once and then what changes, until the socket is lost."""
        self._changed = dict.fromkeys(self._latest)
        self._due.set()
        while True:
            await self._due.wait()
            self._due.clear()
            names = list(self._changed)
            self._changed.clear()
            for start in range(0, len(names), _PER_MESSAGE):
                known = map(self._latest.get, names[start : start + _PER_MESSAGE])
                records = [encode(record) for record in known if record is not None]
                await socket.send_frame(b'{"type":"live","records":[%b]}' % b",".join(records), aiohttp.WSMsgType.TEXT)
                self.sent += len(records)
            await asyncio.sleep(_PACE_S)
