"""Modbus units whose every value is a function of unit, table, address and time, and that fail on request.

They live in a thread with a loop of its own, so that what they do does not disturb who reads them.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
import threading
import zlib
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Self

from edgeflow.clock import SystemClock
from edgeflow.testing.relay import Relay
from edgeflow.units import NS_PER_S

PERIOD_NS = NS_PER_S // 10
"""So long a register holds its value."""

Write = Callable[[bytes], None]


def value(unit: int, function: int, address: int, tick: int) -> int:
    """What a register holds in the tick since the epoch."""
    return zlib.crc32(struct.pack(">BBHQ", unit, function, address, tick)) & 0xFFFF


def tick(at_ns: int) -> int:
    return at_ns // PERIOD_NS


def crc(data: bytes) -> int:
    """CRC-16 of Modbus, bit by bit as MODBUS over Serial Line V1.02, 6.2.2 says."""
    rest = 0xFFFF
    for byte in data:
        rest ^= byte
        for _ in range(8):
            rest = rest >> 1 ^ 0xA001 if rest & 1 else rest >> 1
    return rest


def other_unit(frame: bytes) -> bytes:
    """A Modbus TCP frame as another unit would send it."""
    return frame[:6] + bytes((frame[6] % 247 + 1,)) + frame[7:] if len(frame) > 7 else frame


class Units:
    """Servers for units 1 to `count`.

    `ports`: one Modbus TCP server each, each behind a relay of its own. `line`: all on one RTU over TCP
    connection. `serve_line(path)`: all on a serial line. `answer_s` is how long they take.
    """

    def __init__(self, count: int = 20, answer_s: float = 0.003) -> None:
        self.count, self.answer_s = count, answer_s
        self.relays: dict[int, Relay] = {}
        self.line = 0
        self.faults: dict[int, str] = {}  # of units on the line
        self.late_s = 0.75
        self.requests = 0
        self._clock = SystemClock()
        self._random = random.Random(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="units", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.call(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs something in the units' loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def port(self, unit: int) -> int:
        return self.relays[unit].port

    async def _start(self) -> None:
        for unit in range(1, self.count + 1):
            server = await asyncio.start_server(self._serve_tcp, "127.0.0.1", 0)
            self._servers.append(server)
            relay = Relay("127.0.0.1", server.sockets[0].getsockname()[1])
            await relay.restore()
            self.relays[unit] = relay
        line = await asyncio.start_server(self._serve_rtu, "127.0.0.1", 0)
        self._servers.append(line)
        self.line = line.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        for relay in self.relays.values():
            await relay.drop()
        for server in self._servers:
            server.close()
        for writer in self._writers:
            writer.transport.abort()
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
        for task in self._tasks:
            task.cancel()
        await asyncio.sleep(0.05)

    # --- what they answer -----------------------------------------------------------------------------

    def _answer(self, unit: int, pdu: bytes) -> bytes:
        self.requests += 1
        function, start, count = struct.unpack(">BHH", pdu[:5])
        if function not in (3, 4) or not 1 <= count <= 125:
            return bytes((function | 0x80, 1))
        if start + count > 400:
            return bytes((function | 0x80, 2))
        now = tick(self._clock.now_ns())
        values = [value(unit, function, start + i, now) for i in range(count)]
        return struct.pack(f">BB{count}H", function, 2 * count, *values)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            while head := await reader.readexactly(7):
                transaction, _, length, unit = struct.unpack(">HHHB", head)
                pdu = await reader.readexactly(length - 1)
                await asyncio.sleep(self.answer_s)
                answer = self._answer(unit, pdu)
                writer.write(struct.pack(">HHHB", transaction, 0, 1 + len(answer), unit) + answer)
        self._writers.discard(writer)
        writer.close()

    async def _serve_rtu(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        heard = b""
        with suppress(OSError):
            while data := await reader.read(1000):
                heard = self._hear(heard + data, writer.write, writer.transport.abort)
        self._writers.discard(writer)
        writer.close()

    def serve_line(self, path: str) -> None:
        """Puts all units on a serial line as well."""

        async def serve() -> None:
            self._descriptor = descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            rest = b""

            def readable() -> None:
                nonlocal rest
                with suppress(BlockingIOError):
                    rest = self._hear(rest + os.read(descriptor, 1000), lambda data: _write(descriptor, data), None)

            self._loop.add_reader(descriptor, readable)

        self.call(serve())

    def _hear(self, heard: bytes, write: Write, hang_up: Callable[[], None] | None) -> bytes:
        """Finds requests (they are all 8 bytes) in what was heard on the line; returns the rest."""
        while len(heard) >= 8:
            if crc(heard[:6]) == int.from_bytes(heard[6:8], "little") and 1 <= heard[0] <= self.count:
                self._do(self._reply(heard[0], heard[1:6], write, hang_up))
                heard = heard[8:]
            else:
                heard = heard[1:]
        return heard

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(self, unit: int, pdu: bytes, write: Write, hang_up: Callable[[], None] | None) -> None:
        await asyncio.sleep(self.answer_s)
        message = bytes((unit,)) + self._answer(unit, pdu)
        fault = self.faults.get(unit, "")
        if fault == "wrong-unit":
            message = bytes((unit % self.count + 1,)) + message[1:]
        frame = message + crc(message).to_bytes(2, "little")
        if fault in ("hang", "half-open"):
            return
        if fault in ("late", "delay"):
            await asyncio.sleep(self.late_s if fault == "late" else 0.05)
        if fault == "garble":
            noisy = bytearray(frame)
            for _ in range(3):
                noisy[self._random.randrange(len(noisy))] ^= self._random.randrange(1, 256)
            frame = bytes(noisy)
        if fault == "trickle":
            for byte in frame:
                write(bytes((byte,)))
                await asyncio.sleep(0.02)
        elif fault == "reset" and hang_up is not None:
            hang_up()
        elif fault == "cut":
            write(frame[: len(frame) // 2])
        else:
            write(frame * (2 if fault == "duplicate" else 1))


def _write(descriptor: int, data: bytes) -> None:
    with suppress(OSError):  # nobody reads the line, or its other end is closed
        os.write(descriptor, data)
