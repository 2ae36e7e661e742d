"""A broker by hand: as much MQTT as it takes to be odd on purpose."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

CONNECT, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT = 1, 3, 8, 10, 14


class Odd:
    """What it was asked, and how it answers; the methods are there to be replaced.

    `version`: 4 or 5, by the CONNECT of the client that speaks.
    """

    def __init__(self) -> None:
        self.connects: list[int] = []
        self.subscribes: list[list[str]] = []
        self.published: list[tuple[str, bytes, int]] = []
        self.retained: list[bool] = []
        self.first = b""  # the body of the last CONNECT
        self.port = 0
        self.on_connect: Callable[[int], bytes | None] = connack
        """Its answer to CONNECT by version; None: none, the connection stays; b"": it hangs up."""
        self.on_subscribe: Callable[[int, list[str]], list[int] | None] = lambda _version, filters: [1] * len(filters)
        """The codes of a SUBACK; None: it hangs up."""
        self.on_publish: Callable[[int, str, bytes], int] = lambda _version, _topic, _payload: 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        version = 4
        try:
            while True:
                kind, flags, body = await _packet(reader)
                if kind == CONNECT:
                    version = body[6]
                    self.connects.append(version)
                    self.first = body
                    answer = self.on_connect(version)
                    if answer == b"":
                        break
                    writer.write(answer or b"")
                elif kind == SUBSCRIBE:
                    filters = _filters(body, version)
                    self.subscribes.append(filters)
                    codes = self.on_subscribe(version, filters)
                    if codes is None:
                        break
                    writer.write(_framed(0x90, body[:2] + (b"\0" if version == 5 else b"") + bytes(codes)))
                elif kind == UNSUBSCRIBE:
                    writer.write(_framed(0xB0, body[:2] + (b"\0\0" if version == 5 else b"")))
                elif kind == PUBLISH:
                    topic, qos, mid, payload = _published(body, flags, version)
                    self.published.append((topic, payload, qos))
                    self.retained.append(bool(flags & 1))
                    if qos:
                        code = self.on_publish(version, topic, payload)
                        writer.write(_framed(0x40, mid + (bytes([code, 0]) if version == 5 else b"")))
                elif kind == 12:
                    writer.write(b"\xd0\0")
                elif kind == DISCONNECT:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the end of the test
        finally:
            writer.close()

    def publish(self, topic: str, payload: bytes, version: int = 4) -> None:
        """To the client that came last, with QoS 0."""
        name = topic.encode()
        body = struct.pack(">H", len(name)) + name + (b"\0" if version == 5 else b"") + payload
        self.writers[-1].write(_framed(0x30, body))


def connack(version: int, *, code: int = 0, properties: bytes = b"") -> bytes:
    """A CONNACK as the version has it."""
    more = bytes([len(properties)]) + properties if version == 5 else b""
    return _framed(0x20, bytes([0, code]) + more)


@asynccontextmanager
async def odd() -> AsyncIterator[Odd]:
    """Runs one on a free port."""
    broker = Odd()
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    async with server:
        yield broker
        for writer in broker.writers:
            writer.close()


async def _packet(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    (first,) = await reader.readexactly(1)
    length = shift = 0
    while True:
        (byte,) = await reader.readexactly(1)
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return first >> 4, first & 15, await reader.readexactly(length)


def _framed(first: int, body: bytes) -> bytes:
    length, left = bytearray(), len(body)
    while left > 0x7F:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    length.append(left)
    return bytes([first]) + bytes(length) + body


def _filters(body: bytes, version: int) -> list[str]:
    at = 3 + body[2] if version == 5 else 2
    found = []
    while at < len(body):
        (length,) = struct.unpack_from(">H", body, at)
        found.append(body[at + 2 : at + 2 + length].decode())
        at += 3 + length
    return found


def _published(body: bytes, flags: int, version: int) -> tuple[str, int, bytes, bytes]:
    (length,) = struct.unpack_from(">H", body)
    at, qos, mid = 2 + length, flags >> 1 & 3, b""
    if qos:
        mid, at = body[at : at + 2], at + 2
    if version == 5:
        at += 1 + body[at]
    return body[2 : 2 + length].decode(), qos, mid, body[at:]
