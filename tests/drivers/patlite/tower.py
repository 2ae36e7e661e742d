"""A tower on a socket, written from the maker's description of the protocol, not from the driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Tower:
    """Obeys control and status commands; `heard` are the frames that came."""

    def __init__(self, product: bytes = b"AB", inputs: bool = True, known: int = 2, buzzer: int = 3) -> None:
        self.product, self.inputs, self.known, self.loudest = product, inputs, known, buzzer
        self.tiers = [0, 0, 0, 0, 0]
        self.buzzer = 0
        self.contacts = [0] * 8
        self.smart = False
        self.filled = False
        self.heard: list[bytes] = []
        self.says: bytes | None = None
        self.pieces = 0
        self.cut = False
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readexactly(6)
                data = await reader.readexactly(int.from_bytes(head[4:6], "big"))
                self.heard.append(head + data)
                answer = self.answer(head, data) if self.says is None else self.says
                if self.cut:
                    writer.write(answer[: len(answer) // 2])
                    return
                for start in range(0, len(answer), self.pieces or len(answer)):
                    writer.write(answer[start : start + (self.pieces or len(answer))])
                    if self.pieces:
                        await asyncio.sleep(0.005)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, head: bytes, data: bytes) -> bytes:
        if head[:2] != self.product or head[3] != 0:
            return b"\x15"
        if head[2:3] == b"G" and not data:
            lights = bytes([*self.tiers, self.buzzer])
            if not self.inputs:
                return lights
            state = bytes([3, 0, 0, 7]) + (b"\0\0" if self.filled else b"") if self.smart else lights
            return bytes([*self.contacts, self.smart]) + state
        if head[2:3] != b"S" or len(data) != 6 or self.smart:
            return b"\x15"
        if any(p != 9 and p > self.known for p in data[:5]) or (data[5] != 9 and data[5] > self.loudest):
            return b"\x15"
        self.tiers = [old if new == 9 else new for old, new in zip(self.tiers, data[:5], strict=True)]
        self.buzzer = self.buzzer if data[5] == 9 else data[5]
        return b"\x06"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Tower]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self
