"""What a device says of itself (function 43/14), and reading and writing in one request (function 23)."""

import asyncio
from functools import partial

import pytest
from pymodbus import ModbusDeviceIdentification
from pymodbus.framer import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edgeflow.driver import Home
from edgeflow.errors import Rejected
from edgeflow_modbus import DRIVER
from edgeflow_modbus.config import Link
from edgeflow_modbus.pdu import (
    BASIC,
    Refused,
    identification,
    measure,
    read_identification,
    read_write_registers,
)

from .lines import serving


def soon(seconds=5.0):
    return asyncio.get_running_loop().time() + seconds


def answer(*objects, more=0, following=0, category=1):
    body = b"".join(bytes((number, len(text))) + text.encode() for number, text in objects)
    return bytes((0x2B, 0x0E, category, 1, more, following, len(objects))) + body


def test_the_request_is_that_of_section_6_21():
    assert read_identification(1, BASIC, 0, "").pdu.hex(" ") == "2b 0e 01 00"


def test_objects_have_names():
    whole = answer((0, "Company"), (1, "Product code XX"), (2, "V2.11"), (0x80, "special"))
    found, following = identification(whole[3:])
    assert found == {"vendor": "Company", "product": "Product code XX", "revision": "V2.11", "object 128": "special"}
    assert following is None
    assert measure(whole) == len(whole)
    assert measure(whole + b"more") == len(whole)


def test_how_long_it_is_cannot_be_told_from_its_beginning():
    whole = answer((0, "Company"), (1, "Product"))
    for end in range(1, len(whole)):
        assert measure(whole[:end]) in (None, len(whole))


@pytest.mark.parametrize("end", range(12))
def test_an_answer_that_is_cut_off_is_no_identification(end):
    with pytest.raises(Rejected, match="cut off"):
        identification(answer((0, "Company"))[3:][:end])


def test_registers_are_written_and_read_as_in_section_6_17():
    request = read_write_registers(1, 3, 6, 14, bytes.fromhex("00FF00FF00FF"), "")
    assert request.pdu.hex(" ") == "17 00 03 00 06 00 0e 00 03 06 00 ff 00 ff 00 ff"
    assert (request.head.hex(" "), request.size) == ("17 0c", 14)


@pytest.mark.parametrize(
    ("framer", "transport"),
    [(FramerType.SOCKET, "tcp"), (FramerType.RTU, "rtu-over-tcp"), (FramerType.ASCII, "ascii-over-tcp")],
)
async def test_pymodbus_says_what_it_is(framer, transport):
    identity = ModbusDeviceIdentification(
        info_name={"VendorName": "Acme", "ProductCode": "P7", "MajorMinorRevision": "2.1", "ModelName": "Press"}
    )
    device = SimDevice(1, [SimData(0, values=list(range(50)), datatype=DataType.REGISTERS)])
    server = ModbusTcpServer(device, framer=framer, identity=identity, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    link = Link(transport=transport, host="127.0.0.1", port=server.transport.sockets[0].getsockname()[1])
    try:
        async with DRIVER.open(link, soon(), Home()) as session:
            found = await session.identify(1, soon())
            both = await session._wire.bind(read_write_registers(1, 7, 2, 8, b"\0\x63", "set and look"))(soon())
    finally:
        await server.shutdown()
    assert {key: found[key] for key in ("vendor", "product", "revision", "model")} == {
        "vendor": "Acme", "product": "P7", "revision": "2.1", "model": "Press",
    }  # fmt: skip
    assert both == b"\0\x07\0\x63", "it writes first and reads then"


async def serve(answers, reader, writer):
    while request := await reader.readexactly(11):
        pdu = answers(request[9], request[10])
        writer.write(request[:4] + (len(pdu) + 1).to_bytes(2, "big") + request[6:7] + pdu)


async def identify(answers):
    async with (
        serving(partial(serve, answers)) as port,
        DRIVER.open(Link(host="127.0.0.1", port=port), soon(), Home()) as session,
    ):
        return await session.identify(1, soon())


async def test_what_does_not_fit_into_one_answer_follows():
    def answers(category, first):
        if first == 0:
            return answer((0, "Acme"), (1, "P7"), more=0xFF, following=2, category=category)
        return answer((2, "2.1"), (5, "Press"), category=category)

    found = await identify(answers)
    assert found == {"vendor": "Acme", "product": "P7", "revision": "2.1", "model": "Press"}


async def test_a_device_that_says_for_ever_that_more_follows_is_asked_once():
    assert await identify(lambda category, first: answer((0, "Acme"), more=0xFF, following=0, category=category)) == {
        "vendor": "Acme"
    }


async def test_a_device_that_has_only_the_basic_objects_gives_these():
    def answers(category, first):
        return answer((0, "Acme")) if category == BASIC else b"\xab\3"

    assert await identify(answers) == {"vendor": "Acme"}


async def test_a_device_without_the_function_refuses():
    with pytest.raises(Refused, match=r"unit 1 refused to tell what it is \(function 43\) with exception 1"):
        await identify(lambda category, first: b"\xab\1")
