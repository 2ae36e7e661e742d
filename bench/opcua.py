"""OPC UA: processor time per notification, and whether every change arrives, beside the bare library.

python bench/opcua.py --modules FOLDER [--items 20000] [--period 1000] [--seconds 15] [--runs 5]

FOLDER is one in which `npm install node-opcua-server` was run. The server has one core, the client the other.
`library`: asyncua with whole publish responses, looking at every value and doing nothing with it. `driver`: a
watch of the OPC UA driver whose columns are counted. `devices`: the same through EdgeFlow's devices, scaled and
judged, as blocks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import uvloop
from asyncua import Client, ua
from asyncua.common.subscription import Subscription

from edgeflow.clock import SystemClock
from edgeflow.devices.config import read_links_and_devices
from edgeflow.devices.devices import Devices
from edgeflow.document import parse
from edgeflow.driver import Column, Home
from edgeflow.model import Block
from edgeflow_opcua import DRIVER, Device, Link, Point

MODES = ("library", "driver", "devices")
WARM_S = 6.0


class Seen:
    """How many notifications came, and how many changes did not: each value counts up by one."""

    def __init__(self, items: int) -> None:
        self.count = self.missed = 0
        self.last = [0.0] * items

    def take(self, index: int, value: Any) -> None:
        last = self.last[index]
        if last and value and value - last > 1:
            self.missed += int(value - last) - 1
        if value and value != last:
            self.count += 1
            self.last[index] = value


async def library(port: int, items: int, period: int, seen: Seen) -> None:
    class Batch(Subscription):
        async def publish_callback(self, publish_result: Any) -> None:
            for part in publish_result.NotificationMessage.NotificationData or ():
                if isinstance(part, ua.DataChangeNotification):
                    for item in part.MonitoredItems:
                        seen.take(item.ClientHandle, item.Value.Value.Value)

    client = Client(f"opc.tcp://127.0.0.1:{port}/", timeout=60)
    await client.connect()
    services = client.uaclient
    wanted = ua.CreateSubscriptionParameters(
        RequestedPublishingInterval=period / 2, RequestedLifetimeCount=3000, RequestedMaxKeepAliveCount=100
    )
    subscription = Batch(services, wanted, None)
    await subscription.init()
    for first in range(0, items, 1000):
        request = ua.CreateMonitoredItemsParameters(subscription.subscription_id, ua.TimestampsToReturn.Both)
        for index in range(first, min(first + 1000, items)):
            settings = ua.MonitoringParameters(ClientHandle=index, SamplingInterval=period / 2, QueueSize=1)
            node = ua.ReadValueId(ua.NodeId(f"v{index}", 1), ua.AttributeIds.Value)
            request.ItemsToCreate.append(ua.MonitoredItemCreateRequest(node, ua.MonitoringMode.Reporting, settings))
        for result in await services.create_monitored_items(request):
            result.StatusCode.check()
    try:
        await asyncio.Event().wait()
    finally:
        await client.disconnect()


async def driver(port: int, items: int, period: int, seen: Seen) -> None:
    def push(column: Column) -> None:
        if column.holds:
            return
        for index, value in zip(column.points or (), column.values, strict=True):
            seen.take(index, value)

    device = Device.model_validate({"publishing_interval": f"{period // 2} ms"})
    link = Link.model_validate({"url": f"opc.tcp://127.0.0.1:{port}", "security": "none"})
    points = [Point(node=f"ns=1;s=v{index}") for index in range(items)]
    deadline = asyncio.get_running_loop().time() + 30
    async with DRIVER.open(link, deadline, Home()) as session:
        await session.watch(device, points, push)


async def devices(port: int, items: int, period: int, seen: Seen) -> None:
    tags = {f"v{index}": {"node": f"ns=1;s=v{index}"} for index in range(items)}
    plant = read_links_and_devices(
        parse(
            json.dumps(
                {
                    "links": {"s": {"driver": "opcua", "url": f"opc.tcp://127.0.0.1:{port}", "security": "none"}},
                    "devices": {"d": {"link": "s", "publishing_interval": f"{period // 2} ms", "tags": tags}},
                }
            )
        )
    )
    index = {f"d/v{number}": number for number in range(items)}

    def deliver(block: Block) -> None:
        if block.holds:
            return
        for tag, value in zip(block.tags, block.values, strict=True):
            seen.take(index[tag], value)

    await Devices(plant, {}, deliver, SystemClock(), lambda _: Home()).run()


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(mode: str, port: int, items: int, period: int, seconds: float) -> dict[str, float]:
    seen = Seen(items)
    work = asyncio.ensure_future(
        {"library": library, "driver": driver, "devices": devices}[mode](port, items, period, seen)
    )
    begun = time.perf_counter()
    while not all(seen.last):
        if work.done():
            work.result()
        if time.perf_counter() - begun > 60:
            raise TimeoutError(f"{seen.last.count(0.0)} items never came")
        await asyncio.sleep(0.1)
    ready_s = time.perf_counter() - begun
    await asyncio.sleep(WARM_S)
    count, missed, used, begun = seen.count, seen.missed, cpu_s(), time.perf_counter()
    await asyncio.wait({work}, timeout=seconds)
    if work.done():
        work.result()
    arrived, took_s, spent_s = seen.count - count, time.perf_counter() - begun, cpu_s() - used
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {
        "us": 1e6 * spent_s / max(1, arrived),
        "per_s": arrived / took_s,
        "missed": seen.missed - missed,
        "cpu": 100 * spent_s / took_s,
        "ready_s": ready_s,
        "mb": memory_mb,
    }
    work.cancel()
    await asyncio.wait({work}, timeout=5)  # what stays behind at the server would slow the next
    print(json.dumps(result), flush=True)
    os._exit(0)


def pinned(core: int, command: list[str]) -> list[str]:
    return ["taskset", "-c", str(sorted(os.sched_getaffinity(0))[core]), *command]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--modules", type=Path, help="folder with node_modules/node-opcua-server")
    arguments.add_argument("--items", type=int, default=20_000)
    arguments.add_argument("--period", type=int, default=1000, help="milliseconds")
    arguments.add_argument("--seconds", type=float, default=15.0)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--modes", default=",".join(MODES))
    arguments.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.child:
        mode, port = given.child
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure(mode, int(port), given.items, given.period, given.seconds))
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = str(Path(__file__).with_name("opcua_server.mjs"))
    server = subprocess.Popen(
        pinned(-1, ["node", script, str(port), str(given.items), str(given.period)]),
        env=os.environ | {"OPCUA_MODULES": str(given.modules.resolve())},
        stdout=subprocess.PIPE,
        text=True,
    )
    results: dict[str, list[dict[str, float]]] = {}
    try:
        assert server.stdout
        if not any(line.strip() == "ready" for line in server.stdout):
            raise SystemExit("the server did not start; was `npm install node-opcua-server` run in that folder?")
        for _ in range(given.runs):
            for mode in given.modes.split(","):
                same = ["--items", str(given.items), "--period", str(given.period), "--seconds", str(given.seconds)]
                command = [sys.executable, __file__, "--child", mode, str(port), *same]
                out = subprocess.run(pinned(0, command), stdout=subprocess.PIPE, text=True, check=True).stdout
                result = json.loads(out.splitlines()[-1])
                results.setdefault(mode, []).append(result)
                print(mode, {name: round(value, 2) for name, value in result.items()}, flush=True)
    finally:
        server.kill()
        server.wait()
    floor = statistics.median(one["us"] for one in results[next(iter(results))])
    for mode, runs in results.items():
        us = sorted(one["us"] for one in runs)
        median = statistics.median(us)
        missed = sum(one["missed"] for one in runs)
        print(
            f"{mode:8} {median:6.2f} us per notification ({us[0]:.2f} to {us[-1]:.2f}), {median / floor:.2f} x, "
            f"{statistics.median(one['per_s'] for one in runs):.0f} /s, missed {missed:.0f}, "
            f"{statistics.median(one['mb'] for one in runs):.0f} MB"
        )


if __name__ == "__main__":
    main()
