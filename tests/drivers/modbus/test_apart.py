"""Writes on a connection of their own: they never wait for a read."""

import asyncio
import struct
from contextlib import asynccontextmanager, suppress

import pytest

from edgeflow.driver import Home, WritesApart
from edgeflow.errors import LinkDown, Silent
from edgeflow.testing.drivers import poll_by
from edgeflow.testing.relay import until
from edgeflow_modbus import DRIVER
from edgeflow_modbus.config import Device, Link, Point

from .lines import serving


def soon(seconds=5.0):
    return asyncio.get_running_loop().time() + seconds


class Plc:
    """Answers writes at once, reads while it does not hang; takes so many connections."""

    def __init__(self):
        self.hangs, self.takes, self.writers, self.written = False, 9, [], []

    async def serve(self, reader, writer):
        if len(self.writers) >= self.takes:
            writer.transport.abort()
            return
        self.writers.append(writer)
        try:
            while request := await reader.readexactly(12):
                function, address, value = struct.unpack(">BHH", request[7:])
                if function == 6:
                    self.written.append((address, value))
                    writer.write(request)
                elif not self.hangs:
                    writer.write(request[:4] + struct.pack(">HBBBH", 5, request[6], 3, 2, 42))
        finally:
            self.writers.remove(writer)


@asynccontextmanager
async def plc_and_session(connections=2):
    plc = Plc()
    async with serving(plc.serve) as port:
        link = Link(host="127.0.0.1", port=port, connections=connections)
        async with DRIVER.open(link, soon(), Home()) as session:
            yield plc, session, await session.prepare(Device(), [Point(register=0)], soon())
        await until(lambda: not plc.writers, "every connection is closed")


def write(session, value):
    return session.write(Device(), [Point(register=5)], [value], soon())


@pytest.mark.parametrize("connections", [1, 2])
async def test_the_session_says_whether_writes_go_apart(connections):
    async with plc_and_session(connections) as (plc, session, _):
        assert isinstance(session, WritesApart)
        assert session.writes_apart is (connections == 2)
        await write(session, 7)
        assert plc.written == [(5, 7)]
        assert len(plc.writers) == connections


async def test_a_write_does_not_wait_for_a_read_that_hangs():
    async with plc_and_session() as (plc, session, read):
        plc.hangs = True
        reading = asyncio.ensure_future(poll_by(read, soon(0.5)))
        await write(session, 7)
        assert plc.written == [(5, 7)]
        assert not reading.done()
        with pytest.raises(Silent):
            await reading
        for lost in (Silent, LinkDown):
            with pytest.raises(lost):
                await poll_by(read, soon(0.05))
        with pytest.raises(LinkDown):
            await write(session, 8)
        assert plc.written == [(5, 7)], "a session that is lost writes nothing"


async def test_an_idle_connection_that_the_device_closed_is_made_anew():
    async with plc_and_session() as (plc, session, read):
        await write(session, 7)
        plc.writers[1].close()
        await until(lambda: len(plc.writers) == 1, "it is closed")
        await write(session, 8)
        assert plc.written == [(5, 7), (5, 8)]
        assert list((await poll_by(read, soon())).values) == [42]


async def test_a_second_connection_that_is_dropped_at_once_ends_the_write():
    async with plc_and_session() as (plc, session, _):
        plc.takes = 1
        with pytest.raises(LinkDown, match=r"closed the connection|reset"):
            await write(session, 7)


async def test_a_second_connection_that_is_refused_says_which_setting_helps():
    plc = Plc()

    async def serve(reader, writer):
        with suppress(asyncio.IncompleteReadError):
            await plc.serve(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link = Link(host="127.0.0.1", port=server.sockets[0].getsockname()[1], connections=2)
    async with DRIVER.open(link, soon(), Home()) as session:
        server.close()
        with pytest.raises(LinkDown, match=r"the connection for writes: .*refused.* `connections: 1`"):
            await write(session, 7)
    await until(lambda: not plc.writers, "the first connection is closed")
