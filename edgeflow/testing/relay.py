"""A TCP line between a client and a server that can fail in every way a line fails, and be well again."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self

Carry = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
"""Brings one piece of what the server sent to the client, or does something else with it."""


async def until(condition: Callable[[], object], what: str, patience_s: float = 5.0) -> None:
    """Waits for a condition; AssertionError names what did not happen."""
    try:
        async with asyncio.timeout(patience_s):
            while not condition():  # noqa: ASYNC110 - it looks at things that have no event
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"within {patience_s:g} s it did not happen that {what}") from None


class Relay:
    """A TCP line on 127.0.0.1 between a driver and its server that can fail and come back.

    async with Relay("127.0.0.1", server_port) as relay:   # the driver connects to relay.port
        relay.hang()    # or delay, trickle, garble, duplicate, alter, cut, reset, half_open
        relay.resume()  # all is well again

    A fault holds for every connection until the next one, or `resume`. What is delayed, trickled, garbled
    and so on are the pieces as they come from the server: as a rule, one answer each.
    """

    def __init__(self, host: str, port: int, seed: int = 0) -> None:
        self._target = host, port
        self._random = random.Random(seed)  # noqa: S311  # faults, no secret
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._carry_back: Carry = _plainly
        self._deaf = False
        self._lines: dict[asyncio.Task[Any], tuple[asyncio.StreamWriter, ...]] = {}
        self.port = 0

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._lines)

    @property
    def open(self) -> bool:
        """Whether it takes connections."""
        return self._server is not None

    # --- faults ---------------------------------------------------------------------------------------

    def hang(self) -> None:
        """From now on requests still reach the server, but its answers are held back."""
        self._fail(_plainly)
        self._flows.clear()

    def delay(self, seconds: float) -> None:
        """Answers come so much later; beyond the driver's time-out they are late replies."""

        async def carry(data: bytes, near: asyncio.StreamWriter) -> None:
            await _pause(seconds, near)
            await _plainly(data, near)

        self._fail(carry)

    def trickle(self, pause_s: float = 0.01, size: int = 1) -> None:
        """Answers come a byte (or `size` bytes) at a time."""

        async def carry(data: bytes, near: asyncio.StreamWriter) -> None:
            for at in range(0, len(data), size):
                await _plainly(data[at : at + size], near)
                await _pause(pause_s, near)

        self._fail(carry)

    def garble(self, share: float = 0.1) -> None:
        """So large a share of the bytes is replaced by others; at least one in each piece."""

        def garbled(data: bytes) -> bytes:
            noisy = bytearray(data)
            sure = self._random.randrange(len(noisy))
            for at in range(len(noisy)):
                if at == sure or self._random.random() < share:
                    noisy[at] ^= self._random.randrange(1, 256)
            return bytes(noisy)

        self.alter(garbled)

    def duplicate(self) -> None:
        """Every answer comes twice."""
        self.alter(lambda data: data + data)

    def alter(self, change: Callable[[bytes], bytes]) -> None:
        """Every piece from the server is changed on its way: another unit, another number, other content."""

        async def carry(data: bytes, near: asyncio.StreamWriter) -> None:
            await _plainly(change(data), near)

        self._fail(carry)

    def cut(self) -> None:
        """Of every answer the first half comes, then the connection is closed in order."""

        async def carry(data: bytes, near: asyncio.StreamWriter) -> None:
            await _plainly(data[: len(data) // 2], near)
            raise _Ended

        self._fail(carry)

    def reset(self) -> None:
        """Instead of an answer the connection is reset; a new one is taken, and fares the same."""

        async def carry(_data: bytes, near: asyncio.StreamWriter) -> None:
            _reset(near)
            raise _Ended

        self._fail(carry)

    def half_open(self) -> None:
        """As if the server had lost its power: connections stay open, and what is sent vanishes.

        When it is over, the server knows nothing of them: they are reset.
        """
        self._fail(_plainly)
        self._deaf = True

    def resume(self) -> None:
        """All is well again: lets through the answers that were held back, and all later ones."""
        self._fail(_plainly)

    def _fail(self, carry: Carry) -> None:
        if self._deaf:
            self._deaf = False
            self._abort()
        self._carry_back = carry
        self._flows.set()

    def _abort(self) -> None:
        for writers in list(self._lines.values()):
            for writer in writers:
                _reset(writer)

    # --- the line itself ------------------------------------------------------------------------------

    async def drop(self) -> None:
        """Resets every connection and refuses new ones."""
        if self._server:
            self._server.close()
            self._server = None
        self._abort()
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
                group.create_task(self._there(reader, far))
                group.create_task(self._back(far_reader, near))
        except OSError:
            near.transport.abort()
        finally:
            del self._lines[task]

    async def _there(self, near: asyncio.StreamReader, far: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await near.read(65536):
                if not self._deaf:
                    await _plainly(data, far)
        far.close()

    async def _back(self, far: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        with suppress(OSError, _Ended):
            while data := await far.read(65536):
                await self._flows.wait()
                if not self._deaf:
                    await self._carry_back(data, near)
        near.close()


class _Ended(Exception):
    """A fault has ended the connection."""


async def _plainly(data: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(data)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with RST, not FIN."""
    if not writer.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _pause(seconds: float, near: asyncio.StreamWriter) -> None:
    """Waits, but not for a connection that has ended."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + seconds
    while (left_s := until_s - loop.time()) > 0 and not near.is_closing():  # noqa: ASYNC110 - its end has no event
        await asyncio.sleep(min(left_s, 0.05))
