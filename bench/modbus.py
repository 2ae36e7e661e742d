"""Modbus TCP: CPU per poll beside two bare clients, and how soon a write is on the wire while all is polled.

python bench/modbus.py [--polls 5000] [--writes 300] [--runs 5]

The devices are a process of their own. `bare`: a client of thirty lines that sends a prepared frame, checks the
transaction and unpacks; `pymodbus`: its asynchronous client; `driver`: the reader of the driver alone; `shell`: the
whole devices part with schedule, quality and scaling, each tag configured by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import statistics
import struct
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any

import uvloop
from pymodbus.client import AsyncModbusTcpClient

from edgeflow.clock import SystemClock
from edgeflow.devices.config import read_links_and_devices
from edgeflow.devices.devices import Devices
from edgeflow.document import parse
from edgeflow.driver import Column, Home, poll
from edgeflow.model import Block
from edgeflow_modbus import DRIVER
from edgeflow_modbus.config import Device, Point
from edgeflow_modbus.link import Link

REGISTERS = 92
Poll = Callable[[], Awaitable[object]]


class Unit(asyncio.Protocol):
    """Answers every read with the same values after `delay_s`; notes when a write comes, by the value it brings."""

    def __init__(self, delay_s: float, seen: dict[int, int]) -> None:
        self.delay_s, self.seen = delay_s, seen

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        while len(data) >= 12:
            end = 6 + int.from_bytes(data[4:6], "big")
            self.answer(data[:end])
            data = data[end:]

    def answer(self, frame: bytes) -> None:
        function, count = frame[7], int.from_bytes(frame[10:12], "big")
        if function == 6:
            self.seen[count] = time.monotonic_ns()
            answer = frame
        else:
            body = bytes((frame[6], function, 2 * count)) + bytes(2 * count)
            answer = frame[:4] + len(body).to_bytes(2, "big") + body
        if self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, self.send, answer)
        else:
            self.transport.write(answer)

    def send(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)


def serve(pipe: Connection, ports: int, delay_s: float) -> None:
    """The process of the devices: tells its ports, and at the end when each write came."""

    async def run() -> None:
        seen: dict[int, int] = {}
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(lambda: Unit(delay_s, seen), "127.0.0.1", 0) for _ in range(ports)]
        pipe.send([server.sockets[0].getsockname()[1] for server in servers])
        await loop.run_in_executor(None, pipe.recv)
        pipe.send(seen)

    uvloop.run(run())


class Process:
    """The process of the devices, as long as it is needed."""

    def __init__(self, ports: int, delay_s: float = 0.0) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=serve, args=(theirs, ports, delay_s), daemon=True)
        self._process.start()
        self.ports: list[int] = self._pipe.recv()

    def end(self) -> dict[int, int]:
        """When each written value came, in ns of the monotonic clock."""
        self._pipe.send(None)
        seen: dict[int, int] = self._pipe.recv()
        self._process.join()
        return seen


# --- CPU per poll -------------------------------------------------------------------------------------


class Bare(asyncio.Protocol):
    """As little as a client can do."""

    def __init__(self) -> None:
        self.number, self.unpack = 0, struct.Struct(f">9x{REGISTERS}H").unpack

    def connection_made(self, transport: Any) -> None:
        self.transport, self.loop = transport, asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        if data[:2] == self.number.to_bytes(2, "big"):
            self.waiting.set_result(self.unpack(data))

    def read(self) -> asyncio.Future[tuple[int, ...]]:
        self.number = self.number + 1 & 0xFFFF
        self.waiting = self.loop.create_future()
        self.transport.write(self.number.to_bytes(2, "big") + struct.pack(">HHBBHH", 0, 6, 1, 3, 0, REGISTERS))
        return self.waiting


async def cpu_us(poll: Poll, polls: int) -> float:
    for _ in range(200):
        await poll()
    begun = time.process_time()
    for _ in range(polls):
        await poll()
    return (time.process_time() - begun) / polls * 1e6


async def bare(port: int, polls: int) -> float:
    _, client = await asyncio.get_running_loop().create_connection(Bare, "127.0.0.1", port)
    return await cpu_us(client.read, polls)


async def pymodbus(port: int, polls: int) -> float:
    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    await client.connect()
    try:
        return await cpu_us(lambda: client.read_holding_registers(0, count=REGISTERS, device_id=1), polls)
    finally:
        client.close()


async def driver(port: int, polls: int) -> float:
    loop = asyncio.get_running_loop()
    async with DRIVER.open(Link(host="127.0.0.1", port=port), loop.time() + 5, Home()) as session:
        points = [Point(holding=address) for address in range(REGISTERS)]
        read = await session.prepare(Device(), points, loop.time() + 5)

        async def once() -> Column:
            return await poll(read, lambda ask: ask(loop.time() + 1))

        return await cpu_us(once, polls)


async def shell(port: int, polls: int) -> float:
    """Twenty devices every 20 ms, so that the loop is not alone with one of them."""
    done = 0

    def deliver(_block: Block) -> None:
        nonlocal done
        done += 1

    devices = plant([port] * 20, 20, deliver)
    running = asyncio.get_running_loop().create_task(devices.run())
    await asyncio.sleep(2)
    begun, at = time.process_time(), done
    while done < at + polls:  # noqa: ASYNC110 - looking now and then disturbs the measurement less
        await asyncio.sleep(0.05)
    used = (time.process_time() - begun) / (done - at) * 1e6
    running.cancel()
    await asyncio.wait({running})
    return used


def plant(ports: list[int], every_ms: float, deliver: Callable[[Block], None], connections: int = 1) -> Devices:
    tags = ", ".join(f"t{a}: {{register: {a}, scale: 0.1, unit: °C}}" for a in range(REGISTERS))
    tags = f"set: {{register: 500, writable: true, read: false}}, {tags}"
    text = "links:\n"
    for i, port in enumerate(ports):
        text += f"  l{i}: {{driver: modbus, host: 127.0.0.1, port: {port}, connections: {connections}}}\n"
    text += "devices:\n"
    for i in range(len(ports)):
        text += f"  d{i}: {{link: l{i}, every: {every_ms:g} ms, tags: {{{tags}}}}}\n"
    homes: dict[str, Home] = {}
    document = parse(text)
    return Devices(
        read_links_and_devices(document), {}, deliver, SystemClock(), lambda name: homes.setdefault(name, Home())
    )


# --- writes while all is polled -----------------------------------------------------------------------


async def writes(ports: list[int], every_ms: float, connections: int, count: int) -> dict[int, int]:
    """Writes at random moments; returns when each was asked for, by its value."""
    loop = asyncio.get_running_loop()
    devices = plant(ports, every_ms, lambda _: None, connections)
    running = loop.create_task(devices.run())
    await asyncio.sleep(3)
    asked = {}
    for value in range(1, count + 1):
        await asyncio.sleep(random.uniform(0.005, 0.025))
        asked[value] = time.monotonic_ns()
        await devices.write(f"d{value % len(ports)}/set", value, loop.time() + 5)
    running.cancel()
    await asyncio.wait({running})
    return asked


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--polls", type=int, default=5000)
    arguments.add_argument("--writes", type=int, default=300)
    arguments.add_argument("--runs", type=int, default=5)
    given = arguments.parse_args()
    print(f"{os.cpu_count()} cores, {given.runs} runs, interleaved; median (lowest to highest)")
    print(f"\nCPU µs for a poll of {REGISTERS} registers on a connection of its own")
    found: dict[str, list[float]] = {}
    for _ in range(given.runs):
        for each in (bare, pymodbus, driver, shell):
            units = Process(1)
            found.setdefault(each.__name__, []).append(uvloop.run(each(units.ports[0], given.polls)))
            units.end()
    for name, values in found.items():
        print(f"  {name:<10} {statistics.median(values):6.1f} ({min(values):.1f} to {max(values):.1f})")
    print("\nms from the call of a write until the device has it, while all is polled: p50, p99, slowest")
    cases = [
        ("1 device that answers in 10 ms, asked without a pause", 1, 10, 10),
        ("20 devices that answer in 10 ms, every 1 s", 20, 1000, 10),
        ("50 devices that answer at once, every 100 ms", 50, 100, 0),
    ]
    for title, devices, every_ms, delay_ms in cases:
        for connections in (1, 2):
            ms: list[list[float]] = []
            for _ in range(given.runs):
                units = Process(devices, delay_ms / 1000)
                asked = uvloop.run(writes(units.ports, every_ms, connections, given.writes))
                seen = units.end()
                ms.append(sorted((seen[value] - at) / 1e6 for value, at in asked.items()))
            p50, p99, most = ([run[int(share * (len(run) - 1))] for run in ms] for share in (0.5, 0.99, 1.0))
            print(
                f"  {title}, {'writes apart' if connections == 2 else 'one connection'}: "
                + ", ".join(
                    f"{statistics.median(some):.2f} ({min(some):.2f} to {max(some):.2f})" for some in (p50, p99, most)
                )
            )


if __name__ == "__main__":
    main()
