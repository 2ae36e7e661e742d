"""A line that loses what an OPC UA server publishes: it stands in between, on a connection without security."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from edgeflow.testing.relay import Relay

_SIZE, _BODY = slice(4, 8), 24  # where a message has them (OPC 10000-6, 6.7.2)
_PUBLISH_RESPONSE = b"\x01\x00" + ua.ObjectIds.PublishResponse_Encoding_DefaultBinary.to_bytes(2, "little")


class Loss:
    """In place of the next `wanted` notifications, it says that the publish request has waited too long.

    Keep-alives pass; with `number`, they get that number.
    """

    def __init__(self) -> None:
        self.wanted = 0
        self.number: int | None = None
        self.lost: list[int] = []
        self.kept_alive = 0
        self._rest = b""

    def __call__(self, data: bytes) -> bytes:
        self._rest += data
        passed = b""
        while len(self._rest) >= 8 and (size := int.from_bytes(self._rest[_SIZE], "little")) <= len(self._rest):
            chunk, self._rest = self._rest[:size], self._rest[size:]
            passed += self._passed(chunk)
        return passed

    def _passed(self, chunk: bytes) -> bytes:
        if not chunk.startswith(b"MSG") or not chunk[_BODY:].startswith(_PUBLISH_RESPONSE):
            return chunk
        response: Any = struct_from_binary(ua.PublishResponse, Buffer(chunk[_BODY:]))
        message = response.Parameters.NotificationMessage
        if not message.NotificationData:
            self.kept_alive += 1
            if self.number is not None:
                message.SequenceNumber = ua.Counter(self.number)
            return _with_body(chunk, response)
        if not self.wanted:
            return chunk
        self.wanted -= 1
        self.lost.append(message.SequenceNumber)
        fault = ua.ServiceFault(ResponseHeader=response.ResponseHeader)
        fault.ResponseHeader.ServiceResult = ua.StatusCode(ua.UInt32(ua.StatusCodes.BadTimeout))
        return _with_body(chunk, fault)


def _with_body(chunk: bytes, response: Any) -> bytes:
    body = struct_to_binary(response)
    return chunk[: _SIZE.start] + (_BODY + len(body)).to_bytes(4, "little") + chunk[_SIZE.stop : _BODY] + body


@asynccontextmanager
async def lossy(server: Any) -> AsyncIterator[tuple[Loss, Any]]:
    """The loss, and the server as it is seen through it."""
    assert server.url
    async with Relay("127.0.0.1", server.port) as relay:
        loss = Loss()
        relay.alter(loss)
        yield loss, SimpleNamespace(url=f"opc.tcp://127.0.0.1:{relay.port}")
