"""A server that sends without end: what it says costs neither the memory nor the time of the others."""

from __future__ import annotations

import asyncio
import struct

import pytest

from edgeflow.driver import Home
from edgeflow.errors import LinkDown
from edgeflow_opcua import DRIVER
from edgeflow_opcua.settings import Link

PIECE = bytes(1 << 20)
_MANY = 1 << 26


async def test_a_piece_without_end_ends_the_connection() -> None:
    sent = 0
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            await reader.read(100)
            writer.write(b"ACKF" + struct.pack("<I", 0x7FFFFFFF))
            while sent < _MANY:
                writer.write(PIECE)
                sent += len(PIECE)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
            gone.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link = Link(url=f"opc.tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", security="none")
    try:
        with pytest.raises(LinkDown):
            async with DRIVER.open(link, asyncio.get_running_loop().time() + 10, Home()):
                pass
        async with asyncio.timeout(10):
            await gone.wait()
    finally:
        server.close()
    assert sent < _MANY, "the connection ended, not the server"
