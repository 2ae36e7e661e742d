"""What a person is told where it does not work: the words lead to what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server.internal_session import InternalSession

from edgeflow.driver import Home
from edgeflow.errors import LinkDown, Rejected
from edgeflow.testing.relay import until
from edgeflow_opcua import DRIVER, Link, Point
from edgeflow_opcua.binary import Published
from edgeflow_opcua.changes import columns_of
from edgeflow_opcua.item import items_of
from edgeflow_opcua.refusal import Clocks, explained, stranger
from tests.drivers.opcua.limited import limited
from tests.drivers.opcua.pushed import DEVICE, Pushed, opened, soon, watching

NS = 10**9
MOMENT_NS = 1_795_154_400 * NS  # 2026-11-20 06:00:00 UTC


@asynccontextmanager
async def answering(first: bytes) -> AsyncIterator[Link]:
    """Something that answers so to whatever comes, or says nothing."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(first)
        if not first:
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    ended = asyncio.Event()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield Link(url=f"opc.tcp://127.0.0.1:{port}", security="none")
        async with asyncio.timeout(10):
            await ended.wait()


async def reason(link: Link) -> str:
    with pytest.raises(LinkDown) as refused:
        async with DRIVER.open(link, soon(1.0), Home()):
            pass
    return str(refused.value)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "a web server (HTTP) listens at this port"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "a server that wants TLS listens at this port"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "an SSH server listens at this port"),
        (b"hello, who is there?", "it answered b'hello, who is th', which is no OPC UA"),
        (b"", "it takes the connection and says nothing; is this the port of its OPC UA server?"),
    ],
)
async def test_a_port_that_is_no_opc_ua_is_told_by_what_it_says(first: bytes, words: str) -> None:
    async with answering(first) as link:
        assert words in await reason(link)


def test_an_opc_ua_server_is_no_stranger() -> None:
    assert [stranger(first) for first in (b"", b"A", b"ACKF\x1c", b"ERRF")] == ["", "", "", ""]


@pytest.mark.parametrize("name", ["BadInvalidTimestamp", "BadCertificateTimeInvalid"])
def test_a_wrong_clock_is_told_with_both_times_and_the_difference(name: str) -> None:
    words = explained(name, who="anonymous", clocks=Clocks(MOMENT_NS, MOMENT_NS - 3 * 3600 * NS))
    assert "the server's says 2026-11-20 03:00:00 UTC, ours says 2026-11-20 06:00:00 UTC, 3 h apart" in words
    assert "compare it with the server's" in explained(name, who="anonymous", clocks=Clocks(MOMENT_NS))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("BadInvalidTimestamp", r"the server's says \d{4}-\d\d-\d\d .* UTC, ours says \d{4}.* apart"),
        ("BadTooManySessions", "all its sessions are taken"),
        ("BadIdentityTokenRejected", "it refuses anonymous users"),
        ("BadTcpEndpointUrlInvalid", "it does not know this address"),
        ("BadLicenseExpired", "its licence has expired"),
    ],
)
async def test_a_session_that_is_refused_says_why(monkeypatch: Any, status: str, words: str) -> None:
    async with limited(monkeypatch, 0) as server:

        async def refuse(*_: Any, **__: Any) -> Any:
            raise ServiceError(getattr(ua.StatusCodes, status))

        monkeypatch.setattr(InternalSession, "create_session", refuse)
        with pytest.raises(LinkDown, match=f"{status}: .*{words}"):
            async with opened(server):
                pass


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("BadNotWritable", "the node cannot be written"),
        ("BadTypeMismatch", "the node has another type"),
        ("BadOutOfRange", "outside of what the node takes"),
        ("BadUserAccessDenied", "this user may not write it"),
        ("BadDeviceFailure", "what is behind the server has failed"),
    ],
)
async def test_a_write_that_is_refused_says_why(monkeypatch: Any, status: str, words: str) -> None:
    async with limited(monkeypatch, 1) as server, opened(server) as session:

        async def refuse(*_: Any) -> list[ua.StatusCode]:
            return [ua.StatusCode(getattr(ua.StatusCodes, status))]

        monkeypatch.setattr(InternalSession, "write", refuse)
        with pytest.raises(Rejected, match=f"the server answered {status}: .*{words}"):
            await session.write(DEVICE, [Point(node="ns=2;s=v0")], [1.0], soon())


async def test_a_value_that_the_server_applies_later_is_acknowledged_and_no_refusal(monkeypatch: Any) -> None:
    """Reading back, and waiting for what comes later, is the shell's (test_written.py)."""
    slow = Point(node="ns=2;s=v0", verify="3 s")
    async with limited(monkeypatch, 1) as server, opened(server) as session:
        await session.write(DEVICE, [Point(node="ns=2;s=v0")], [0.0], soon())

        def apply() -> None:
            applied.append(asyncio.ensure_future(server.nodes[0].write_value(7.0)))
            started.set()

        started = asyncio.Event()

        async def later(*_: Any) -> list[ua.StatusCode]:
            asyncio.get_running_loop().call_later(0.8, apply)
            return [ua.StatusCode(ua.UInt32(ua.StatusCodes.GoodCompletesAsynchronously))]

        applied: list[Any] = []
        monkeypatch.setattr(InternalSession, "write", later)
        plain = server.server.iserver.isession
        monkeypatch.setattr(plain, "write", InternalSessionWrite(plain))
        await session.write(DEVICE, [slow], [7.0], soon())
        assert await server.nodes[0].read_value() == 0.0
        async with asyncio.timeout(10):
            await started.wait()
            await applied[0]
        assert await server.nodes[0].read_value() == 7.0


class InternalSessionWrite:
    """How the server's own side writes, whatever becomes of the writes of clients."""

    def __init__(self, session: Any) -> None:
        self._service, self._user = session.iserver.attribute_service, session.user

    async def __call__(self, parameters: Any) -> Any:
        return await self._service.write(parameters, user=self._user)


async def test_the_last_value_that_came_is_the_last_that_is_shown_whatever_its_clock_does(monkeypatch: Any) -> None:
    point, second = Point(node="ns=2;s=v0"), 10**9
    async with limited(monkeypatch, 1) as server, opened(server) as session:
        node = session._wire.node_id("ns=2;s=v0")
        (item,) = items_of(DEVICE, {0: point}, {0: node}, {}, session._server.types)
    times = [MOMENT_NS, MOMENT_NS + second, MOMENT_NS - 3600 * second, MOMENT_NS - 3600 * second, 0]
    changes = [(4, float(number), 0, at) for number, at in enumerate(times)]
    columns = columns_of({4: item}, Published(1, changes=changes).changes)
    assert [value for column in columns for value in column.values] == [0.0, 1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(("time", "at"), [("source", True), ("server", True), ("arrival", False)])
async def test_the_time_of_a_value_is_the_one_that_is_asked_for(monkeypatch: Any, time: Any, at: bool) -> None:
    pushed = Pushed()
    moment = datetime(2020, 1, 2, tzinfo=UTC)
    async with limited(monkeypatch, 1) as server, opened(server) as session:
        value = ua.DataValue(ua.Variant(4.5), SourceTimestamp=moment)
        await server.nodes[0].write_value(value)
        point = Point.model_validate({"node": "ns=2;s=v0", "time": time})
        async with watching(session, [point], pushed):
            await until(lambda: pushed.values == {0: 4.5}, "it is pushed")
    (column,) = [one for one in pushed.columns if one.points == (0,) and not one.holds]
    if time == "server":  # this server stamps with its own clock
        assert column.source_ns > moment.timestamp() * NS + NS
    else:
        assert column.source_ns == (round(moment.timestamp()) * NS if at else 0)


async def test_the_server_s_clock_is_a_tag(monkeypatch: Any) -> None:
    pushed = Pushed()
    async with (
        limited(monkeypatch, 0) as server,
        opened(server) as session,
        watching(session, [Point(node="i=2258", type="text")], pushed),
    ):
        await until(lambda: pushed.values, "it is pushed")
    assert str(pushed.values[0]).startswith("20")
