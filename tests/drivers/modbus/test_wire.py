"""The wire against servers that misbehave: half, doubled, late and wrong frames."""

import asyncio
import struct
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflow.driver import Home
from edgeflow.errors import LinkDown, Silent
from edgeflow.model import BAD
from edgeflow.testing.drivers import poll_by
from edgeflow_modbus import DRIVER
from edgeflow_modbus.config import Device, Link, Point

POINTS = [Point(register=10), Point(register=11)]


def frame(transaction, unit, pdu, protocol=0, length=None):
    return struct.pack(">HHHB", transaction, protocol, 1 + len(pdu) if length is None else length, unit) + pdu


def number(request):
    """The number of its transaction."""
    return int.from_bytes(request[:2], "big")


def good(request, *registers):
    """The right answer to a reading of registers."""
    transaction, _, _, unit, function = struct.unpack_from(">HHHBB", request)
    return frame(transaction, unit, struct.pack(f">BB{len(registers)}H", function, 2 * len(registers), *registers))


@asynccontextmanager
async def server_that(answers):
    """Serves one connection after another; `answers(request, n)` gives the chunks to send to the n-th request.

    A chunk None closes the connection.
    """
    writers = []

    async def serve(reader, writer):
        writers.append(writer)
        count = 0
        try:
            while request := await reader.readexactly(12):
                count += 1
                for chunk in answers(request, count):
                    if chunk is None:
                        writer.close()
                        return
                    writer.write(chunk)
                    await writer.drain()
                    await asyncio.sleep(0.001)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def reader_of(answers, first_address=0):
    """A reader of registers 10 and 11, as `read(patience)`, and the session."""
    loop = asyncio.get_running_loop()
    async with (
        server_that(answers) as port,
        DRIVER.open(Link(host="127.0.0.1", port=port), loop.time() + 5, Home()) as session,
    ):
        reader = await session.prepare(Device(unit=7, first_address=first_address), POINTS, loop.time())

        async def read(patience=5.0):
            return await poll_by(reader, loop.time() + patience)

        yield read, session


async def test_the_request_is_the_one_of_the_specification():
    seen = []

    def answers(request, n):
        seen.append(request)
        return [good(request, 1, 2)]

    async with reader_of(answers) as (read, _):
        await read()
        await read()
    assert [request[2:] for request in seen] == [bytes.fromhex("0000 0006 07 03 000A 0002")] * 2
    assert number(seen[1]) == (number(seen[0]) + 1) % 65536


async def test_transactions_are_numbered_otherwise_at_every_connection():
    """Some gateways send into a new connection what was asked for over the last one."""
    first = []

    def answers(request, n):
        if n == 1:
            first.append(number(request))
        return [good(request, 1, 2)]

    for _ in range(20):
        async with reader_of(answers) as (read, _):
            await read()
    assert len(set(first)) > 15


async def test_an_answer_may_come_byte_by_byte():
    async with reader_of(lambda request, n: [bytes((b,)) for b in good(request, 500, n)]) as (read, _):
        assert list((await read()).values) == [500, 1]
        assert list((await read()).values) == [500, 2]


async def test_a_doubled_answer_is_dropped_and_does_not_answer_the_next_request():
    async with reader_of(lambda request, n: [good(request, n, n) * 2]) as (read, session):
        for n in (1, 2, 3):
            assert list((await read()).values) == [n, n]
        assert session.stats.strays >= 2


async def test_an_earlier_answer_before_the_right_one_is_dropped():
    def answers(request, n):
        late = (int.from_bytes(request[:2], "big") - 1 & 0xFFFF).to_bytes(2, "big") + request[2:]
        return [good(late, 666, 666) + good(request, n, n)]

    async with reader_of(answers) as (read, session):
        assert list((await read()).values) == [1, 1]
        assert list((await read()).values) == [2, 2]
        assert session.stats.strays == 2


async def test_half_of_a_doubled_answer_is_completed_later_and_dropped():
    kept = []

    def answers(request, n):
        whole = good(request, n, n)
        chunks = [b"".join(kept) + whole + whole[:5]]
        kept[:] = [whole[5:]]
        return chunks

    async with reader_of(answers) as (read, session):
        for n in (1, 2, 3):
            assert list((await read()).values) == [n, n]
        assert session.stats.strays == 2


async def test_an_answer_to_another_transaction_alone_is_no_answer():
    async with reader_of(
        lambda request, n: [good(frame(number(request) ^ 0xFFFF, 7, b"")[:2] + request[2:], 666, 666)]
    ) as (read, session):
        with pytest.raises(Silent, match=r"read holding registers 10 .*an answer came with the transaction number"):
            await read(0.2)
        assert session.stats.strays == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda r: good(r[:6] + b"\x08" + r[7:], 1, 2), "answered as unit 8 when unit 7 was asked"),
        (lambda r: good(r[:7] + b"\x04" + r[8:], 1, 2), "answered with function 4 when function 3 was asked"),
        (lambda r: good(r, 1), "wrong answer to the request to read holding registers 10 to 11"),
        (lambda r: good(r, 1, 2, 3), "wrong answer to the request to read holding registers 10 to 11"),
        (lambda r: frame(number(r), 7, b"\x03\x04\x00\x01"), "wrong answer"),
        (lambda r: frame(number(r), 7, b"\x03\x02\x00\x01\x00\x02"), "wrong answer"),
        (lambda r: frame(number(r), 7, b"\x83\x02\x00"), "answered with function 131 when function 3 was asked"),
        (lambda r: frame(number(r), 7, b"\x03\x04\x00\x01\x00\x02", protocol=1), "not Modbus TCP"),
        (lambda r: frame(number(r), 7, b"\x03\x04\x00\x01\x00\x02", length=2), "impossible length 2"),
        (lambda r: frame(number(r), 7, b"\x03\x04\x00\x01\x00\x02", length=255), "impossible length 255"),
        (lambda r: b"HTTP/1.1 400 Bad Request\r\n\r\n", "not Modbus TCP"),
        (lambda r: None, "closed the connection"),
    ],
)
async def test_a_wrong_answer_ends_the_session_and_says_what_was_wrong(answer, said):
    async with reader_of(lambda request, n: [answer(request)]) as (read, _):
        with pytest.raises(LinkDown, match=said) as first:
            await read()
        with pytest.raises(LinkDown) as second:
            await read()
        assert str(second.value) == str(first.value), "the first reason is the one to show"


async def test_half_an_answer_and_then_nothing_is_link_down_by_the_deadline():
    async with reader_of(lambda request, n: [good(request, 1, 2)[:-1]]) as (read, _):
        with pytest.raises(LinkDown, match="only 12 of 13 bytes came"):
            await read(0.2)


async def test_half_an_answer_and_then_the_end_is_link_down():
    async with reader_of(lambda request, n: [good(request, 1, 2)[:-1], None]) as (read, _):
        with pytest.raises(LinkDown, match="closed the connection"):
            await read()


async def test_a_later_deadline_is_kept_although_an_earlier_one_passes():
    """The one timer was set for the first request; the second has more time."""
    async with reader_of(lambda request, n: [good(request, n, n)] if n == 1 else []) as (read, _):
        await read(0.1)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(Silent):
            await read(0.5)
        assert loop.time() >= begun + 0.5


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (1, "illegal function"),
        (4, "server device failure"),
        (6, "server device busy"),
        (11, "gateway target device failed to respond"),
        (99, "a code that the standard does not define"),
    ],
)
async def test_an_exception_is_named_with_unit_function_address_and_meaning(code, meaning):
    def answers(request, n):
        return [frame(int.from_bytes(request[:2], "big"), 7, bytes((0x83, code)))]

    async with reader_of(answers, first_address=1) as (read, session):
        column = await read()
        assert list(column.values) == [None, None]
        for index in (0, 1):
            quality, reason = column.faults[index]
            assert quality is BAD
            begins = f"unit 7 refused to read holding register{'s 10 to 11' if code == 11 else ' 10'} (function 3)"
            assert reason.startswith(f"{begins} with exception {code}, {meaning}")
        assert session.stats.exceptions == (1 if code == 11 else 2), "and whether a single register is refused too"


async def test_a_second_request_while_one_is_in_flight_is_a_bug():
    async with reader_of(lambda request, n: []) as (read, _), asyncio.TaskGroup() as group:

        async def first():
            with pytest.raises(LinkDown):
                await read(0.3)

        group.create_task(first())
        await asyncio.sleep(0.01)
        with pytest.raises(RuntimeError, match="a second request while one is in flight"):
            await read()


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=40), as_answer=st.booleans())
def test_whatever_a_server_sends_only_the_exact_answer_becomes_a_value(data, as_answer):
    """Anything else is LinkDown or a BAD value, never another error."""

    async def run():
        def answers(request, n):
            return [request[:4] + data if as_answer else data, None]

        async with reader_of(answers) as (read, _):
            exact = as_answer and data[:5] == bytes.fromhex("0007 07 03 04") and len(data) >= 9
            try:
                column = await read()
            except LinkDown:
                assert not exact
            else:
                assert exact or column.faults

    asyncio.run(run())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=6), st.lists(st.integers(0, 65535), max_size=3))
def test_however_the_bytes_are_cut_and_whatever_strays_come_before_the_value_is_the_same(cuts, strays):
    async def run():
        def answers(request, n):
            others = [t for t in strays if t != int.from_bytes(request[:2], "big")]
            stream = b"".join(good(t.to_bytes(2, "big") + request[2:], 6, 6) for t in others) + good(request, 40, 2)
            places = sorted({0, *(c for c in cuts if c < len(stream)), len(stream)})
            return [stream[a:b] for a, b in pairwise(places)]

        async with reader_of(answers) as (read, _):
            assert list((await read()).values) == [40, 2]

    asyncio.run(run())


@pytest.mark.parametrize("at_once", [1, 20_000])
async def test_a_flood_of_answers_that_nobody_asked_for_ends_the_connection(at_once):
    def answers(request, n):
        return [good(b"\x77\x77" + request[2:], 666, 666) * at_once] * 2000

    async with reader_of(answers) as (read, session):
        with pytest.raises(LinkDown, match=r"nobody asked for|bytes when at most"):
            await read(30)
        assert session.stats.strays <= 1001
