"""A TCP line between a client and a server that can hang, drop and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self


async def until(condition: Callable[[], object], what: str, patience_s: float = 5.0) -> None:
    """Waits for a condition; AssertionError names what did not happen."""
    try:
        async with asyncio.timeout(patience_s):
            while not condition():  # noqa: ASYNC110 - it looks at things that have no event
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"within {patience_s:g} s it did not happen that {what}") from None


class Relay:
    """A TCP line on 127.0.0.1 between a driver and its server that can hang, drop and come back.

    async with Relay("127.0.0.1", server_port) as relay:   # the driver connects to relay.port
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._lines: dict[asyncio.Task[Any], tuple[asyncio.StreamWriter, ...]] = {}
        self.port = 0

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._lines)

    def hang(self) -> None:
        """From now on requests still reach the server, but its answers are held back."""
        self._flows.clear()

    def resume(self) -> None:
        """Lets through the answers that were held back, and all later ones."""
        self._flows.set()

    async def drop(self) -> None:
        """Resets every connection and refuses new ones."""
        if self._server:
            self._server.close()
            self._server = None
        for writers in list(self._lines.values()):
            for writer in writers:
                writer.transport.abort()
        self._flows.set()
        await until(lambda: not self._lines, "the relay's connections end")

    async def restore(self) -> None:
        """Accepts connections again, on the same port."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def __aenter__(self) -> Self:
        await self.restore()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drop()

    async def _carry(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lines[task] = (near,)
        try:
            far_reader, far = await asyncio.open_connection(*self._target)
            self._lines[task] = near, far
            if near.is_closing():
                far.transport.abort()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, far, held=False))
                group.create_task(self._pump(far_reader, near, held=True))
        except OSError:
            near.transport.abort()
        finally:
            del self._lines[task]

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, held: bool) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                if held:
                    await self._flows.wait()
                sink.write(data)
                await sink.drain()
        sink.close()
