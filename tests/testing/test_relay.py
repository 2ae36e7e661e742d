"""The line that fails on purpose, between an echo and its client."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from edgeflow.testing.relay import Relay, until


@asynccontextmanager
async def line():
    """A relay before a server that answers every message with itself; `heard` is what reached the server."""
    heard = []

    async def serve(reader, writer):
        while data := await reader.read(1000):
            heard.append(data)
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with Relay("127.0.0.1", server.sockets[0].getsockname()[1]) as relay:
        yield relay, heard
    server.close()


@asynccontextmanager
async def client(relay):
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer(reader, size=5, patience_s=5.0):
    async with asyncio.timeout(patience_s):
        return await reader.readexactly(size)


async def nothing_comes(reader):
    with pytest.raises(TimeoutError):
        await answer(reader, 1, 0.05)


async def test_without_a_fault_everything_passes():
    async with line() as (relay, _), client(relay) as (reader, writer):
        writer.write(b"hello")
        assert await answer(reader) == b"hello"
        assert relay.connections == 1


async def test_a_hang_holds_answers_back_until_it_is_over():
    async with line() as (relay, heard), client(relay) as (reader, writer):
        relay.hang()
        writer.write(b"hello")
        await until(lambda: heard, "the request reaches the server")
        await nothing_comes(reader)
        relay.resume()
        assert await answer(reader) == b"hello"


async def test_a_delayed_answer_comes_late_but_whole():
    async with line() as (relay, _), client(relay) as (reader, writer):
        relay.delay(0.1)
        writer.write(b"hello")
        await nothing_comes(reader)
        assert await answer(reader) == b"hello"


async def test_a_long_delay_does_not_hold_up_the_end():
    async with line() as (relay, heard), client(relay) as (_, writer):
        relay.delay(3600)
        writer.write(b"hello")
        await until(lambda: heard, "the request reaches the server")


async def test_trickling_sends_a_byte_at_a_time():
    async with line() as (relay, _), client(relay) as (reader, writer):
        relay.trickle(0.01)
        writer.write(b"hello")
        assert len(await reader.read(100)) == 1
        assert await answer(reader, 4) == b"ello"


async def test_garbling_changes_at_least_a_byte_of_every_answer():
    async with line() as (relay, _), client(relay) as (reader, writer):
        relay.garble(0.0)
        for _ in range(20):
            writer.write(b"hello")
            got = await answer(reader)
            assert sum(a != b for a, b in zip(got, b"hello", strict=True)) == 1
        relay.resume()
        writer.write(b"hello")
        assert await answer(reader) == b"hello"


async def test_duplicating_sends_every_answer_twice():
    async with line() as (relay, _), client(relay) as (reader, writer):
        relay.duplicate()
        writer.write(b"hello")
        assert await answer(reader, 10) == b"hellohello"


async def test_altering_changes_answers_as_asked():
    async with line() as (relay, _), client(relay) as (reader, writer):
        relay.alter(bytes.upper)
        writer.write(b"hello")
        assert await answer(reader) == b"HELLO"


async def test_a_cut_ends_the_connection_in_the_middle_of_an_answer():
    async with line() as (relay, _), client(relay) as (reader, writer):
        relay.cut()
        writer.write(b"hello")
        assert await asyncio.wait_for(reader.read(), 5) == b"he"


async def test_a_reset_ends_the_connection_without_an_answer():
    async with line() as (relay, _):
        relay.reset()
        for _ in range(2):
            async with client(relay) as (reader, writer):
                writer.write(b"hello")
                with pytest.raises(ConnectionResetError):
                    await answer(reader)


async def test_on_a_half_open_connection_everything_vanishes_and_then_it_is_reset():
    async with line() as (relay, heard), client(relay) as (reader, writer):
        relay.half_open()
        writer.write(b"hello")
        await nothing_comes(reader)
        assert not heard
        relay.resume()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await answer(reader)
        async with client(relay) as (again, other):
            other.write(b"world")
            assert await answer(again) == b"world"


async def test_a_dropped_line_refuses_and_a_restored_one_takes_connections():
    async with line() as (relay, _):
        await relay.drop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", relay.port)
        await relay.restore()
        async with client(relay) as (reader, writer):
            writer.write(b"hello")
            assert await answer(reader) == b"hello"
