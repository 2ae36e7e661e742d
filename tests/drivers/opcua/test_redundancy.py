"""Redundant servers: which one is used, when another takes over, and that there is no going back unasked."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from edgeflow.driver import Home, Reader
from edgeflow.errors import LinkDown
from edgeflow.testing.drivers import poll_by
from edgeflow_opcua import DRIVER, Device, Link, Point
from tests.drivers.opcua.servers import Process, asyncua_server

GOOD = Point(node="ns=2;s=Filler.Good", type="integer")
Pair = tuple[Process, Process]


def soon(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


@pytest.fixture(scope="module")
def started() -> Iterator[Pair]:
    pair = asyncua_server(value=1), asyncua_server(value=2)
    yield pair
    for server in pair:
        server.stop()


@pytest.fixture
def two(started: Pair) -> Iterator[Pair]:
    """The first holds the value 1, the second 2; both are well."""
    for server in started:
        server.tell("level", level=255)
    yield started
    for server in started:
        server.signal(signal.SIGCONT)


def link(*servers: Process) -> Link:
    return Link(urls=tuple(server.url for server in servers), security="none")


async def value(session: Any) -> Any:
    reader = await session.prepare(Device(), [GOOD], soon())
    return (await poll_by(reader, soon())).values[0]


async def used(link: Link, home: Home) -> Any:
    async with DRIVER.open(link, soon(), home) as session:
        return await value(session)


async def until_lost(reader: Reader) -> None:
    """Reads on; the value of the first server, then LinkDown."""
    end = soon(15)
    while soon(0) < end:
        assert list((await poll_by(reader, soon())).values) == [1]
        await asyncio.sleep(0.05)


async def test_the_preferred_server_is_used_as_long_as_it_is_healthy(two: Pair) -> None:
    first, second = two
    first.tell("level", level=200)
    assert await used(link(*two), Home()) == 1
    assert await used(link(second, first), Home()) == 2


async def test_the_better_one_of_two_degraded_servers_is_used(two: Pair) -> None:
    first, second = two
    first.tell("level", level=60)
    second.tell("level", level=70)
    assert await used(link(*two), Home()) == 2
    assert await used(link(second, first), Home()) == 2


async def test_a_server_that_hangs_costs_its_share_of_the_time_only(two: Pair) -> None:
    two[0].signal(signal.SIGSTOP)
    async with DRIVER.open(link(*two), soon(2), Home()) as session:
        assert await value(session) == 2


async def test_where_every_server_is_lost_each_is_told() -> None:
    servers = Link(urls=("opc.tcp://127.0.0.1:1", "opc.tcp://127.0.0.1:2"), security="none")
    with pytest.raises(LinkDown, match=r"127\.0\.0\.1:1: .*; OPC UA server 127\.0\.0\.1:2: "):
        await used(servers, Home())


async def test_a_degraded_server_is_given_up_for_a_better_one_and_there_is_no_going_back(two: Pair) -> None:
    (first, second), home = two, Home()
    async with DRIVER.open(link(*two), soon(), home) as session:
        reader = await session.prepare(Device(), [GOOD], soon())
        first.tell("level", level=100)
        with pytest.raises(LinkDown, match=r"its service level fell to 100; 127\.0\.0\.1:\d+, which has 255, takes"):
            await until_lost(reader)
    assert await used(link(*two), home) == 2
    first.tell("level", level=255)
    assert await used(link(*two), home) == 2
    second.tell("level", level=1)
    assert await used(link(*two), home) == 1


async def test_a_degraded_server_is_kept_where_no_other_is_better(two: Pair) -> None:
    first, second = two
    second.tell("level", level=50)
    async with DRIVER.open(link(*two), soon(), Home()) as session:
        first.tell("level", level=100)
        end = soon(3)
        reader = await session.prepare(Device(), [GOOD], soon())
        while soon(0) < end:
            assert list((await poll_by(reader, soon())).values) == [1]
            await asyncio.sleep(0.1)
        assert second.tell("sessions") == 0
