"""A Modbus TCP server that holds recorded registers, as strict as a real device: what it does not have it refuses."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

Table = Literal["coils", "discrete", "holding", "input"]

_READS: Mapping[int, Table] = {1: "coils", 2: "discrete", 3: "holding", 4: "input"}
_WRITES: Mapping[int, Table] = {5: "coils", 6: "holding", 15: "coils", 16: "holding"}
_FUNCTION, _ADDRESS, _VALUE = 1, 2, 3
"""Exception codes of the Modbus application protocol, clause 7: illegal function, data address, data value."""


@dataclass(slots=True)
class Registers:
    """The content of one device by table and address on the wire.

    `most`: it gives no more registers in one answer. `exception`: it answers everything with that. Addresses between
    those that it has read as 0, unless `gaps` is false; those before the first and after the last do not exist.
    """

    tables: dict[Table, dict[int, int]]
    most: int = 125
    gaps: bool = True
    requests: list[bytes] = field(default_factory=list)
    exception: int = 0

    @asynccontextmanager
    async def served(self) -> AsyncIterator[int]:
        """Serves on a free port of the loopback, and gives it."""
        writers: set[asyncio.StreamWriter] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.add(writer)
            try:
                await self._answer(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()
                writers.discard(writer)

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for writer in list(writers):
                writer.close()
            while writers:  # noqa: ASYNC110 - over after a turn or two of the loop
                await asyncio.sleep(0)
            await server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            transaction, _, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
            request = await reader.readexactly(length - 1)
            self.requests.append(request)
            reply = self.reply(request)
            writer.write(struct.pack(">HHHB", transaction, 0, len(reply) + 1, unit) + reply)
            await writer.drain()

    def reply(self, request: bytes) -> bytes:
        """The answer to one request, without its frame."""
        function = request[0]
        if self.exception:
            return bytes([function | 0x80, self.exception])
        try:
            if function in _READS:
                return self._read(function, *struct.unpack(">HH", request[1:5]))
            if function in _WRITES:
                return self._write(request)
        except _Refused as refused:
            return bytes([function | 0x80, refused.code])
        return bytes([function | 0x80, _FUNCTION])

    def _read(self, function: int, address: int, count: int) -> bytes:
        bits = function < 3
        if not 0 < count <= (2000 if bits else self.most):
            raise _Refused(_VALUE)
        values = self._values(_READS[function], address, count)
        if bits:
            whole = sum(bool(value) << i for i, value in enumerate(values))
            body = whole.to_bytes((count + 7) // 8, "little")
        else:
            body = struct.pack(f">{count}H", *values)
        return bytes([function, len(body)]) + body

    def _values(self, name: Table, address: int, count: int) -> list[int]:
        table = self.tables.get(name)
        if not table:
            raise _Refused(_FUNCTION)
        wanted = range(address, address + count)
        if wanted[0] < min(table) or wanted[-1] > max(table) or (not self.gaps and any(a not in table for a in wanted)):
            raise _Refused(_ADDRESS)
        return [table.get(each, 0) for each in wanted]

    def _write(self, request: bytes) -> bytes:
        function, address = request[0], int.from_bytes(request[1:3], "big")
        name = _WRITES[function]
        count = int.from_bytes(request[3:5], "big")
        values: list[int]
        if function == 5:
            values = [int(count == 0xFF00)]
        elif function == 6:
            values = [count]
        elif function == 15:
            whole = int.from_bytes(request[6:], "little")
            values = [whole >> i & 1 for i in range(count)]
        else:
            values = list(struct.unpack(f">{count}H", request[6:]))
        self._values(name, address, len(values))
        self.tables[name].update(enumerate(values, address))
        return request[:5]


class _Refused(Exception):
    def __init__(self, code: int) -> None:
        self.code = code
