"""The driver against Modbus servers that others wrote: pymodbus and libmodbus."""

import asyncio
import shutil
import struct
import subprocess
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.framer import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edgeflow.driver import Home
from edgeflow.errors import Rejected
from edgeflow.testing.drivers import Relay, Rig, Subject, checks
from edgeflow_modbus import DRIVER
from edgeflow_modbus.config import Device, Link, Point

from .lines import SerialRelay

# What the servers hold at the start, worked out by hand: 70000 = 0x00011170, 21.5 = 0x41AC0000 as float32.
HOLDING = {0: 1234, 10: 0x1170, 11: 0x0001, 20: 0x41AC, 21: 0x0000, 30: 0x0010, 47: 0x8001, 199: 7}
KNOWN = (
    (Point(register=0), 1234),
    (Point(register=10, type="uint32", word_order="little"), 70000),
    (Point(coil=3), True),
    (Point(register=20, type="float32"), 21.5),
    (Point(input=5, type="int16"), -7),
    (Point(discrete=2), True),
    (Point(register=30, bit=4), True),
    (Point(register=30, bit=5), False),
    (Point(register=199), 7),
)
WRITES = (
    (Point(register=40), 4321),
    (Point(register=41, type="uint32"), 100_000),
    (Point(register=43, type="float32", word_order="little", byte_order="little"), -1.5),
    (Point(coil=7), True),
    (Point(coil=8), True),
    (Point(register=47, bit=9), True),
    (Point(register=47, type="uint8", byte="low"), 0x5A),
    (Point(register=48, type="string", length=4), "Press 1"),
)


async def held(client: AsyncModbusTcpClient, i: int) -> object:
    """What the server holds for WRITES[i], by another client and by hand."""

    async def raw(address: int, count: int) -> bytes:
        return struct.pack(f">{count}H", *(await client.read_holding_registers(address, count=count)).registers)

    match i:
        case 0:
            return int.from_bytes(await raw(40, 1), "big")
        case 1:
            return int.from_bytes(await raw(41, 2), "big")
        case 2:
            return struct.unpack("<f", await raw(43, 2))[0]
        case 3 | 4:
            return (await client.read_coils(7, count=2)).bits[i - 3]
        case 5:
            return (await raw(47, 1))[0] & 0x02 == 0x02
        case 6:
            return (await raw(47, 1))[1]
    return (await raw(48, 4)).rstrip(b"\0").decode()


@asynccontextmanager
async def pymodbus_server(framer=FramerType.SOCKET):
    words = [HOLDING.get(address, 0) for address in range(200)]
    registers = [SimData(0, values=words[:31], datatype=DataType.REGISTERS)]
    registers.append(SimData(32, values=words[32:], datatype=DataType.REGISTERS))
    inputs = [SimData(0, values=[0xFFF9 if a == 5 else 0 for a in range(60)], datatype=DataType.REGISTERS)]
    coils = [SimData(0, values=[a == 3 for a in range(48)], datatype=DataType.BITS)]
    discretes = [SimData(0, values=[a == 2 for a in range(48)], datatype=DataType.BITS)]
    device = SimDevice(1, (coils, discretes, registers, inputs))
    server = ModbusTcpServer(device, framer=framer, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    try:
        yield server.transport.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()


@pytest.fixture(scope="session")
def libmodbus_program(tmp_path_factory):
    program = tmp_path_factory.mktemp("libmodbus") / "server"
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler, "a C compiler and libmodbus-dev are needed: apt-get install gcc libmodbus-dev"
    source = Path(__file__).with_name("server.c")
    subprocess.run([compiler, "-Wall", "-o", program, source, "-lmodbus"], check=True)
    return program


@asynccontextmanager
async def libmodbus_server(program):
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(program, stdin=pipe, stdout=pipe)
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), 10))
        async with client_of(port) as client:
            await client.write_coil(3, True)
            for address, value in HOLDING.items():
                await client.write_register(address, value)
        yield port
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 10)


@asynccontextmanager
async def client_of(port, framer=FramerType.SOCKET):
    client = AsyncModbusTcpClient("127.0.0.1", port=port, framer=framer, reconnect_delay=0)
    assert await client.connect()
    try:
        yield client
    finally:
        client.close()


def over_network(transport="tcp"):
    """A relay before a server, and the link through it."""

    @asynccontextmanager
    async def line(port):
        async with Relay("127.0.0.1", port) as relay:
            yield relay, Link(transport=transport, host="127.0.0.1", port=relay.port)

    return line


def over_serial_line(folder):
    @asynccontextmanager
    async def line(port):
        async with SerialRelay(folder, port) as relay:
            yield relay, Link(serial=relay.path, baud=115200)

    return line


def subject(serve, refused, line=None, framer=FramerType.SOCKET):
    """The driver with a rig around one of the servers."""

    @asynccontextmanager
    async def rig():
        async with serve() as port, client_of(port, framer) as client, (line or over_network())(port) as (relay, link):

            async def change(i, value):
                assert i == 0
                await client.write_register(0, value)

            yield Rig(
                link=link,
                device=Device(unit=1),
                relay=relay,
                known=KNOWN,
                other=999,
                change=change,
                refused=refused,
                writes=WRITES,
                held=lambda i: held(client, i),
                refused_write=(Point(register=9000), 1),
            )

    return Subject(DRIVER, rig, can=frozenset({"read", "write"}))


# Both refused points are neighbours of known ones, so that they are asked for in one block.
PYMODBUS = subject(pymodbus_server, refused=Point(register=31))


@pytest.mark.parametrize("check", checks(PYMODBUS), ids=lambda check: check.__name__)
async def test_the_contract_is_kept_with_pymodbus(check):
    await check(PYMODBUS)


@pytest.mark.parametrize("check", checks(PYMODBUS), ids=lambda check: check.__name__)
async def test_the_contract_is_kept_with_libmodbus(check, libmodbus_program):
    await check(subject(lambda: libmodbus_server(libmodbus_program), refused=Point(register=200)))


def rtu(line):
    return subject(lambda: pymodbus_server(FramerType.RTU), Point(register=31), line, FramerType.RTU)


@pytest.mark.parametrize("check", checks(PYMODBUS), ids=lambda check: check.__name__)
async def test_the_contract_is_kept_with_rtu_over_tcp(check):
    await check(rtu(over_network("rtu-over-tcp")))


@pytest.mark.parametrize("check", checks(PYMODBUS), ids=lambda check: check.__name__)
async def test_the_contract_is_kept_with_rtu_on_a_serial_line(check, tmp_path):
    await check(rtu(over_serial_line(tmp_path)))


@pytest.mark.parametrize("exempt", [{"a_check_that_is_not": "because"}, {"reading_again_sees_a_change": " "}])
def test_an_exemption_names_a_check_and_gives_a_reason(exempt):
    with pytest.raises(ValueError, match="give a reason"):
        checks(replace(PYMODBUS, exempt=exempt))


def test_an_exemption_leaves_out_one_check():
    left = checks(replace(PYMODBUS, exempt={"reading_again_sees_a_change": "the values never change"}))
    assert {check.__name__ for check in checks(PYMODBUS)} - {check.__name__ for check in left} == {
        "reading_again_sees_a_change"
    }


@pytest.mark.parametrize(
    ("point", "value", "said"),
    [
        (Point(register=40), 65536, "holding register 40 cannot take the value: 65536 is not between 0 and 65535"),
        (Point(register=40, type="int16"), -32769, "-32769 is not between -32768 and 32767"),
        (Point(register=40), 1.5, "1.5 is not a whole number"),
        (Point(register=40), "12", "'12' is not a number"),
        (Point(register=40), True, "True is not a number"),
        (Point(register=40, type="float32"), 1e39, "1e+39 is too large for float32"),
        (Point(register=40, type="float32"), float("nan"), "nan is not a finite number"),
        (Point(register=40, type="string", length=1), "abc", "'abc' has 3 characters, but only 2 fit"),
        (Point(coil=7), 2, "coil 7 cannot take the value: 2 is not true or false"),
        (Point(coil=7), None, "coil 7: there is no value to write"),
        (Point(input=5), 1, "input register 5 is read only"),
        (Point(discrete=2), True, "discrete input 2 is read only"),
        (Point(register=9000), 1, "unit 1 refused to write holding register 9000 (function 6) with exception 2"),
    ],
)
async def test_what_cannot_be_written_is_rejected_with_the_point_and_the_reason(point, value, said):
    loop = asyncio.get_running_loop()
    async with pymodbus_server() as port, client_of(port) as client:
        async with DRIVER.open(Link(host="127.0.0.1", port=port), loop.time() + 10, Home()) as session:
            with pytest.raises(Rejected) as error:
                await session.write(Device(), [Point(register=50), point], [7, value], loop.time() + 10)
        assert said in str(error.value)
        written = (await client.read_holding_registers(50, count=1)).registers
        assert written == ([7] if "refused" in said else [0]), "nothing may be sent before every value is checked"
