"""Processes that are killed at random moments: nothing that was committed is lost, nothing is there twice."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgeflow.testing.relay import until

HERE = Path(__file__).parent
GATEWAY_ROUNDS, CENTRAL_ROUNDS = 20, 5


@asynccontextmanager
async def process(script: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs a script beside this file and kills it at the end, as a power switch would."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / script), *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def printed(child: asyncio.subprocess.Process, begin: str = "") -> str:
    assert child.stdout is not None
    async with asyncio.timeout(20):
        while line := await child.stdout.readline():
            if line.decode().startswith(begin) and line.endswith(b"\n"):
                return line.decode().strip()
    raise AssertionError("the process ended")


def number(line: str) -> int:
    return int(line.partition(" ")[2])


async def test_a_gateway_killed_twenty_times_loses_and_doubles_nothing(hall: Any, central: Any) -> None:
    dice = random.Random(20)
    await hall.token(central)
    committed = 0
    for _ in range(GATEWAY_ROUNDS):
        async with process("gateway_process.py", central.url, str(hall.folder / "line1")) as child:
            committed = number(await printed(child, "committed"))
            await asyncio.sleep(dice.uniform(0, 0.15))
            child.kill()
            assert child.stdout is not None
            lines = (await child.stdout.read()).decode().split("\n")[:-1]
            committed = max([committed, *(number(line) for line in lines if line.startswith("committed"))])
    async with hall.gateway(central) as edge:
        counted = int((await edge.store.states("counter"))["count"])
        await until(lambda: edge.store.acknowledged == edge.store.last_seq, "the rest is sent", 15)
        assert edge.store.last_seq == counted >= committed
    assert await central.keys() == [str(n) for n in range(1, counted + 1)]


async def test_a_central_server_killed_while_it_takes_batches_loses_and_doubles_nothing(
    hall: Any, unused_tcp_port: int
) -> None:
    dice = random.Random(5)
    async with hall.central(unused_tcp_port) as central:
        await hall.token(central)
    state, acknowledged = str(central.settings.state), 0
    async with hall.gateway(central) as edge:
        n = 0
        for _ in range(CENTRAL_ROUNDS):
            async with process("central_process.py", state, str(unused_tcp_port)) as server:
                await printed(server, "ready")
                await until(lambda before=n: edge.store.acknowledged >= before, "what waited is sent", 15)
                for _ in range(dice.randint(5, 60)):
                    n += 4
                    await edge.store.commit({}, hall.records(*range(n - 3, n + 1)))
                    await asyncio.sleep(dice.uniform(0, 0.005))
                server.kill()
                acknowledged = edge.store.acknowledged
        async with hall.central(unused_tcp_port) as central:
            assert len(await central.keys()) >= acknowledged
            await until(lambda: edge.store.acknowledged == n, "the rest is sent", 15)
            assert await central.keys() == [f"press1/{i}" for i in range(1, n + 1)]
