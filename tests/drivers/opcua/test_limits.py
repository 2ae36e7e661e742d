"""One slow request fails alone, and what a server takes at once is learned: a limit is not run into for ever."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from asyncua import ua

from edgeflow.driver import Home
from edgeflow.errors import LinkDown, Rejected, Silent
from edgeflow.model import BAD, UNCERTAIN
from edgeflow.testing.drivers import poll_by
from edgeflow.testing.relay import until
from edgeflow_opcua import Device, Point
from edgeflow_opcua.limits import Limits, Refused, in_pieces
from tests.drivers.opcua.limited import limited
from tests.drivers.opcua.pushed import DEVICE, Pushed, opened, soon, watching

SLOW = Point(object="ns=2;s=Limited", method="ns=2;s=Slow", type="number")


def points(count: int, form: str = "ns=2;s=v{}") -> list[Point]:
    return [Point(node=form.format(number)) for number in range(count)]


def patient(**more: Any) -> Device:
    return Device.model_validate({"heartbeat": "1 s", "publishing_interval": "100 ms", **more})


# --- one slow request -------------------------------------------------------------------------------


async def test_a_slow_method_fails_alone_and_names_the_timeout(monkeypatch: Any) -> None:
    pushed, other = Pushed(), Pushed()
    async with (
        limited(monkeypatch, 3) as server,
        opened(server) as session,
        watching(session, points(3), pushed, patient()),
        watching(session, points(2), other, patient()),
    ):
        await until(lambda: len(pushed.values) == 3 and len(other.values) == 2, "all are pushed")
        with pytest.raises(Silent, match=r"no answer within 1 s.*`timeout`.*may be done all the same"):
            await session.write(DEVICE, [SLOW], [3.0], soon(1.0))
        await asyncio.sleep(2.5)  # until the method has ended
        await server.nodes[0].write_value(7.5)
        await until(lambda: pushed.values[0] == 7.5 == other.values[0], "both go on")
        await session.write(DEVICE, [SLOW], [0.0], soon(1.0))
    assert not any(pushed.faults.values())


@pytest.mark.parametrize("service", ["read", "write", "browse", "translate_browsepaths_to_nodeids"])
async def test_a_slow_service_fails_alone(monkeypatch: Any, service: str) -> None:
    pushed = Pushed()
    by_path = Point(path="/Objects/2:Limited/2:v1")

    async def ask(session: Any) -> None:
        if service == "write":
            await session.write(DEVICE, points(1), [1.0], soon(1.0))
        elif service == "browse":
            [found async for found in session.browse("ns=2;s=Limited", soon(1.0))]
        elif service == "read":
            await poll_by(reader, soon(1.0))
        else:
            await session.prepare(DEVICE, [by_path], soon(1.0))

    async with limited(monkeypatch, 2) as server, opened(server) as session:
        reader = await session.prepare(DEVICE, points(2), soon())
        await session.write(DEVICE, points(1), [1.0], soon())
        async with watching(session, points(1), pushed, patient()):
            await until(lambda: pushed.values, "it is pushed")
            await asyncio.sleep(0.3)
            server.slow[service] = 2.0
            with pytest.raises(Silent, match="`timeout`"):
                await ask(session)
            server.slow.clear()
            await server.nodes[0].write_value(8.5)
            await until(lambda: pushed.values == {0: 8.5}, "the watch goes on", 10.0)


# --- what is taken at once --------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "status"), [(100, "BadTooManyOperations"), (7, "BadEncodingLimitsExceeded")])
async def test_a_server_that_takes_few_at_once_is_asked_for_few_and_that_is_remembered(
    monkeypatch: Any, limit: int, status: str
) -> None:
    home = Home()
    paths = [Point(path=f"/Objects/2:Limited/2:v{number}") for number in range(150)]
    async with limited(monkeypatch, 150) as server:
        server.limit, server.status = limit, status
        for again in (False, True):
            server.asked.clear()
            pushed = Pushed()
            async with opened(server, home) as session, watching(session, paths, pushed):
                await until(lambda pushed=pushed: len(pushed.values) == 150, "all are pushed")
                assert pushed.values == {number: float(number) for number in range(150)}
                column = await poll_by(await session.prepare(DEVICE, points(150), soon()), soon())
                assert list(column.values) == [float(number) for number in range(150)]
                assert not column.faults
                await session.write(DEVICE, points(150), [float(number) for number in range(150)], soon())
                found = [one async for one in session.browse("ns=2;s=Limited", soon())]
                assert len(found) == 152
            refused = {name: [size for size in sizes if size > limit] for name, sizes in server.asked.items()}
            assert all(refused[name] for name in ("read", "write", "create_monitored_items")) is not again
            if again:
                assert not any(refused.values()), "nothing is asked for that was refused before"
                assert sum(server.answered("create_monitored_items")) == 150


async def test_a_server_that_takes_one_at_a_time(monkeypatch: Any) -> None:
    pushed = Pushed()
    async with limited(monkeypatch, 20) as server:
        server.limit = 1
        async with opened(server) as session, watching(session, points(20), pushed, patient()):
            await until(lambda: len(pushed.values) == 20, "all are pushed")
            column = await poll_by(await session.prepare(DEVICE, points(20), soon()), soon())
    assert list(column.values) == [float(number) for number in range(20)]
    assert not any(pushed.faults.values())


class Asked:
    """What stands between `in_pieces` and a server."""

    def __init__(self, home: Home) -> None:
        self.limits, self.ended_by = Limits(home, "opc.tcp://x:4840"), ""
        self.sizes: list[int] = []


async def pieces_of(asked: Asked, count: int, answer: Any) -> list[Any]:
    async def ask(some: Any) -> list[Any]:
        asked.sizes.append(len(some))
        answer(some)
        return list(some)

    return await in_pieces(asked, "read", range(count), ask, lambda one, name: name)


async def test_a_value_too_large_by_itself_makes_no_rule_for_the_others() -> None:
    asked = Asked(Home())

    def answer(some: Any) -> None:
        if 3 in some:
            raise Refused("BadResponseTooLarge")

    found = await pieces_of(asked, 10, answer)
    assert found == [0, 1, 2, "BadResponseTooLarge", *range(4, 10)]
    assert asked.limits.of("read") == 1000


async def test_a_full_server_is_not_asked_for_each_of_the_rest() -> None:
    asked, taken = Asked(Home()), list[int]()

    def answer(some: Any) -> None:
        if len(taken) + len(some) > 5:
            raise Refused("BadTooManyMonitoredItems")
        taken.extend(some)

    found = await pieces_of(asked, 100, answer)
    assert found == [0, 1, 2, 3, 4, *["BadTooManyMonitoredItems"] * 95]
    assert len(asked.sizes) < 12


async def test_a_connection_closed_twice_during_the_same_request_was_closed_for_it() -> None:
    home = Home()

    def close(some: Any) -> None:
        if len(some) > 30:
            asked.ended_by = "closed"
            raise LinkDown("the connection was closed")

    for _ in range(12):
        asked = Asked(home)
        try:
            found = await pieces_of(asked, 100, close)
        except LinkDown:
            continue
        break
    assert found == list(range(100))
    assert max(asked.sizes) == 25
    assert Asked(home).limits.of("read") == 25


async def test_any_other_refusal_is_that_of_the_whole() -> None:
    def answer(some: Any) -> None:
        raise Refused("BadServiceUnsupported")

    asked = Asked(Home())
    with pytest.raises(Rejected, match="BadServiceUnsupported"):
        await pieces_of(asked, 10, answer)
    assert asked.sizes == [10]


# --- subscriptions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 5])
async def test_twelve_devices_share_the_few_subscriptions_of_a_server(
    monkeypatch: Any, most: int, capsys: Any, caplog: Any
) -> None:
    async with limited(monkeypatch, 12) as server:
        server.server.iserver.max_subscriptions = most
        all_pushed = [Pushed() for _ in range(12)]
        async with opened(server) as session, AsyncExitStack() as stack:
            for number, pushed in enumerate(all_pushed):
                pace = f"{50 + 10 * (number % 6)} ms"
                device = Device.model_validate({"heartbeat": "1 s", "publishing_interval": pace})
                await stack.enter_async_context(watching(session, points(12)[number : number + 1], pushed, device))
            await until(lambda: all(pushed.values for pushed in all_pushed), "each has its value")
            assert [pushed.values[0] for pushed in all_pushed] == [float(number) for number in range(12)]
            await server.nodes[3].write_value(33.0)
            await until(lambda: all_pushed[3].values[0] == 33.0, "a change reaches its device")
            assert len(server.server.iserver.subscription_service.subscriptions) == most
    assert [pushed.values[0] for pushed in all_pushed] == [0.0, 1.0, 2.0, 33.0, *map(float, range(4, 12))]
    assert "reading instead" not in capsys.readouterr().out + caplog.text


async def test_devices_of_one_pace_share_one_subscription_and_leave_it_one_by_one(monkeypatch: Any) -> None:
    async with limited(monkeypatch, 4) as server, opened(server) as session:
        service = server.server.iserver.subscription_service
        one, two = Pushed(), Pushed()
        async with watching(session, points(4), one):
            async with watching(session, points(2), two):
                await until(lambda: len(one.values) == 4 and len(two.values) == 2, "both have their values")
                assert len(service.subscriptions) == 1
            (subscription,) = service.subscriptions.values()
            await until(lambda: len(subscription.monitored_item_srv._monitored_items) == 4, "what the other had ends")
            await server.nodes[1].write_value(11.0)
            await until(lambda: one.values[1] == 11.0, "this one goes on")
        await until(lambda: not service.subscriptions, "the last one ends it")
    assert two.values[1] == 1.0


# --- the server's state -----------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["Suspended", "NoConfiguration", "CommunicationFault", "Failed", "Test"])
async def test_a_server_that_does_not_run_says_so_at_every_device(monkeypatch: Any, state: str) -> None:
    quality = UNCERTAIN if state == "Test" else BAD
    fault = (quality, f"the server says that it is {state}, not Running")
    devices = [Pushed() for _ in range(3)]
    async with limited(monkeypatch, 3) as server, opened(server) as session, AsyncExitStack() as stack:
        for pushed in devices:
            await stack.enter_async_context(watching(session, points(3), pushed))
        await until(lambda: all(len(pushed.values) == 3 for pushed in devices), "all are pushed")
        await server.set_state(ua.ServerState[state])
        await until(lambda: all(set(pushed.faults.values()) == {fault} for pushed in devices), "all say it")
        await server.nodes[0].write_value(5.5)
        await server.set_state(ua.ServerState.Running)
        await until(lambda: all(set(pushed.faults.values()) == {None} for pushed in devices), "all are good again")
        assert all(pushed.values == {0: 5.5, 1: 1.0, 2: 2.0} for pushed in devices)
