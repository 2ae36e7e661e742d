"""A server that sends without end: what it says costs neither the memory nor the time of the others."""

from __future__ import annotations

import asyncio
import struct

import pytest
from asyncua import ua
from asyncua.ua.uaerrors import UaError
from hypothesis import given
from hypothesis import strategies as some

from edgeflow.driver import Home
from edgeflow.errors import LinkDown
from edgeflow_opcua import DRIVER
from edgeflow_opcua.library import _check_head
from edgeflow_opcua.settings import Link
from edgeflow_opcua.structure import Types, Unknown
from edgeflow_opcua.wire import Wire

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


NULLS = b"\x80" + struct.pack("<i", 0x7FFFFFFF)
"""A Variant of five bytes that claims to be an array of two thousand million nulls."""
LITERAL = ua.NodeId(597)  # LiteralOperand, a structure of the standard that holds a Variant
TYPES = Types(Wire("opc.tcp://127.0.0.1", Link(url="opc.tcp://127.0.0.1", security="none"), Home()))
STANDARD = [node for node in ua.extension_objects_by_typeid if node.NamespaceIndex == 0]


def test_a_variant_of_five_bytes_does_not_hold_up_everything() -> None:
    with pytest.raises(Unknown, match="i=597 is garbled: the bytes end too early"):
        TYPES.unfold(ua.ExtensionObject(LITERAL, NULLS))
    kind = b"\x01\x00" + struct.pack("<H", 597)
    fault = b"\x01\x00" + struct.pack("<HqII", 397, 0, 1, 0) + b"\x00" + struct.pack("<i", -1)
    fault += kind + b"\x01" + struct.pack("<i", len(NULLS)) + NULLS
    with pytest.raises(UaError, match="more than a header"):  # where the library reads a header, it reads an empty one
        _check_head(fault)


@given(some.sampled_from(STANDARD), some.binary(max_size=100))
def test_a_garbled_structure_is_the_fault_of_its_value_alone(node: ua.NodeId, body: bytes) -> None:
    try:
        TYPES.unfold(ua.ExtensionObject(node, body))
    except Unknown:
        return
