"""UDP, TLS and serial lines against servers that others wrote, and what is said when they cannot be used."""

import asyncio
import datetime as dt
import errno
import os
import ssl
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pymodbus.framer import FramerType
from pymodbus.server import ModbusTcpServer, ModbusTlsServer, ModbusUdpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edgeflow.driver import Home
from edgeflow.errors import LinkDown
from edgeflow.plant.port import free_port
from edgeflow.testing.drivers import poll_by
from edgeflow.testing.relay import until
from edgeflow_modbus import DRIVER, port
from edgeflow_modbus.config import Device, Link, Point
from edgeflow_modbus.frame import crc

from .lines import SerialRelay, serving, socat_pair
from .test_servers import HOLDING, libmodbus_program  # noqa: F401 - a fixture

POINTS = [Point(register=address) for address in HOLDING]


def soon(seconds=5.0):
    return asyncio.get_running_loop().time() + seconds


async def reads(link, unit=1, points=POINTS, home=None):
    """What a session on this link reads and, after writing 77 to register 50, reads there."""
    async with DRIVER.open(link, soon(), home or Home()) as session:
        reader = await session.prepare(Device(unit=unit), points, soon())
        column = await poll_by(reader, soon())
        assert not column.faults
        await session.write(Device(unit=unit), [Point(register=50), Point(register=51, bit=3)], [77, True], soon())
        again = await session.prepare(Device(unit=unit), [Point(register=50), Point(register=51)], soon())
        assert list((await poll_by(again, soon())).values) == [77, 8]
        assert list((await poll_by(reader, soon())).values) == list(column.values)
    return list(column.values)


def registers():
    words = [HOLDING.get(address, 0) for address in range(200)]
    return SimDevice(1, [SimData(0, values=words, datatype=DataType.REGISTERS)])


@asynccontextmanager
async def running(server):
    await server.serve_forever(background=True)
    try:
        yield
    finally:
        await server.shutdown()


# --- serial lines -----------------------------------------------------------------------------------


async def test_libmodbus_is_read_and_written_over_rtu(libmodbus_program, tmp_path):  # noqa: F811 - the fixture
    async with socat_pair(tmp_path) as (near, far, _):
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(libmodbus_program, far, stdin=pipe, stdout=pipe)
        try:
            assert await asyncio.wait_for(process.stdout.readline(), 10) == b"ready\n"
            points = [Point(input=5, type="int16"), Point(discrete=2), Point(coil=2), Point(register=0)]
            link = Link(serial=near, baud=19200, parity="even")
            assert await reads(link, points=points) == [-7, True, False, 0]
        finally:
            process.stdin.close()
            await asyncio.wait_for(process.wait(), 10)


@pytest.mark.parametrize("framer", [FramerType.RTU, FramerType.ASCII])
async def test_pymodbus_is_read_and_written_through_a_converter(framer):
    server = ModbusTcpServer(registers(), framer=framer, address=("127.0.0.1", 0))
    async with running(server):
        at = server.transport.sockets[0].getsockname()[1]
        assert await reads(Link(transport=f"{framer.value}-over-tcp", host="127.0.0.1", port=at)) == list(
            HOLDING.values()
        )


@pytest.mark.parametrize("framer", [FramerType.RTU, FramerType.ASCII])
async def test_pymodbus_is_read_and_written_on_a_serial_line(framer, tmp_path):
    server = ModbusTcpServer(registers(), framer=framer, address=("127.0.0.1", 0))
    async with running(server), SerialRelay(tmp_path, server.transport.sockets[0].getsockname()[1]) as relay:
        link = Link(transport=framer.value, serial=relay.path, baud=57600, parity="odd", stop_bits=2)
        assert await reads(link) == list(HOLDING.values())


async def test_a_pseudo_terminal_is_opened_again_and_again_whatever_the_line_behind_it_is_set_to(tmp_path):
    async with socat_pair(tmp_path) as (near, _, _):
        for parity, bits in (("even", 8), ("even", 8), ("odd", 8), ("even", 7), ("even", 7), ("none", 8)):
            link = Link(transport="ascii", serial=near, baud=19200, parity=parity, data_bits=bits)
            async with DRIVER.open(link, soon(), Home()):
                pass


async def test_a_line_that_is_not_there_says_what_to_do(tmp_path):
    link = Link(serial=str(tmp_path / "ttyUSB7"))
    with pytest.raises(LinkDown, match=r"ttyUSB7 is not there; is its adapter plugged in\? The lines that there are: "):
        async with DRIVER.open(link, soon(), Home()):
            pass


async def test_what_is_no_serial_line_is_not_used():
    with pytest.raises(LinkDown, match="/dev/null is not a serial line"):
        async with DRIVER.open(Link(serial="/dev/null"), soon(), Home()):
            pass


async def test_a_line_is_opened_once(tmp_path):
    async with socat_pair(tmp_path) as (near, _, _):
        async with DRIVER.open(Link(serial=near), soon(), Home()):
            with pytest.raises(LinkDown, match="is in use by another program; end that first"):
                async with DRIVER.open(Link(serial=near), soon(), Home()):
                    pass
        async with DRIVER.open(Link(serial=near), soon(), Home()):
            pass


def test_a_line_that_may_not_be_opened_says_which_group(monkeypatch):
    """The tests may run as root, to whom nothing is refused."""

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    async def run():
        async with DRIVER.open(Link(serial="/dev/null"), soon(), Home()):
            pass

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(LinkDown, match=r"may not be opened; put the user that EdgeFlow runs as .* dialout"):
        asyncio.run(run())


async def test_an_adapter_that_is_unplugged_and_plugged_in_again_is_used_again(tmp_path):
    loop = asyncio.get_running_loop()
    for _ in range(2):
        async with socat_pair(tmp_path) as (near, _, process):
            async with DRIVER.open(Link(serial=near), soon(), Home()) as session:
                reader = await session.prepare(Device(), POINTS, soon())
                loop.call_later(0.05, process.terminate)
                with pytest.raises(LinkDown, match="near is lost: its adapter was unplugged"):
                    await poll_by(reader, soon(600))
                with pytest.raises(LinkDown):
                    await poll_by(reader, soon())
            with pytest.raises(LinkDown, match="is not there"):
                async with DRIVER.open(Link(serial=near), soon(), Home()):
                    pass


def test_a_line_is_silent_for_three_and_a_half_characters():
    """Serial line guide, section 2.5.1.1: 3.5 characters of 11 bits at 9600 baud are 4.01 ms; 1.75 ms above 19200."""
    assert port.Setting(9600, 8, "even", 1).silence_s == pytest.approx(0.00401, abs=1e-5)
    assert port.Setting(115200, 8, "none", 1).silence_s == 0.00175
    assert str(port.Setting(9600, 8, "none", 2)) == "9600 baud 8N2"


async def test_the_line_is_silent_before_each_request(tmp_path):
    """Seen from the other end: between the last byte of an answer and the first of the next request."""
    loop = asyncio.get_running_loop()
    async with socat_pair(tmp_path) as (near, far, _):
        line = os.open(far, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        answered, pauses = [0.0], []

        def serve():
            request = os.read(line, 100)
            pauses.append(loop.time() - answered[0])
            count = request[5]
            body = bytes((request[0], request[1], 2 * count)) + bytes(2 * count)
            answered[0] = loop.time()
            os.write(line, body + crc(body))

        loop.add_reader(line, serve)
        try:
            async with DRIVER.open(Link(serial=near, baud=9600, pause="30 ms"), soon(), Home()) as session:
                reader = await session.prepare(Device(), POINTS[:1], soon())
                for _ in range(3):
                    await poll_by(reader, soon())
        finally:
            loop.remove_reader(line)
            os.close(line)
    assert len(pauses) >= 4
    assert min(pauses) >= 0.03


# --- UDP --------------------------------------------------------------------------------------------


async def test_pymodbus_is_read_and_written_over_udp():
    server = ModbusUdpServer(registers(), framer=FramerType.SOCKET, address=("127.0.0.1", free_port()))
    async with running(server):
        at = server.transport.get_extra_info("sockname")[1]
        assert await reads(Link(transport="udp", host="127.0.0.1", port=at)) == list(HOLDING.values())


class Datagrams(asyncio.DatagramProtocol):
    """Answers each request with what `answers(request, n)` gives."""

    def __init__(self, answers):
        self.answers, self.count = answers, 0

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.count += 1
        for each in self.answers(data, self.count):
            self.transport.sendto(each, address)


@asynccontextmanager
async def udp_reader(answers):
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Datagrams(answers), local_addr=("127.0.0.1", 0))
    link = Link(transport="udp", host="127.0.0.1", port=transport.get_extra_info("sockname")[1])
    try:
        async with DRIVER.open(link, soon(), Home()) as session:
            yield await session.prepare(Device(), [Point(register=10)], soon()), session
    finally:
        transport.close()


def good(request, value):
    return request[:4] + b"\0\5" + request[6:8] + b"\2" + value.to_bytes(2, "big")


async def test_a_lost_datagram_is_asked_for_once_more():
    async with udp_reader(lambda request, n: [good(request, n)] if n % 2 == 0 else []) as (read, _):
        assert list((await poll_by(read, soon(0.2))).values) == [2]
        assert list((await poll_by(read, soon(0.2))).values) == [4]


async def test_datagrams_that_do_not_fit_are_dropped_and_the_right_one_is_taken():
    def answers(request, n):
        whole = good(request, n)
        others = [b"", b"x", whole[:-1], whole + b"x", b"\x77\x77" + whole[2:], whole[:6] + b"\7" + whole[7:]]
        return [*others, whole, whole]

    async with udp_reader(answers) as (read, session):
        for n in (1, 2, 3):
            assert list((await poll_by(read, soon())).values) == [n]
        await until(lambda: session.stats.strays >= 3 * 5, "the strays are counted")


async def test_a_closed_udp_port_is_link_down():
    link = Link(transport="udp", host="127.0.0.1", port=free_port())
    with pytest.raises(LinkDown, match="cannot be reached: the connection was refused"):
        await reads(link)


async def test_a_silent_udp_server_is_link_down_by_the_deadline():
    async with udp_reader(lambda request, n: []) as (read, _):
        with pytest.raises(LinkDown, match="did not answer in time"):
            await poll_by(read, soon(0.1))


# --- TLS --------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority of the plant, and what it signs, as files."""

    def __init__(self, folder, name="plant"):
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._signed(name, self.key, ca=True)
        self.file = self._write(f"{name}.pem", self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name):
        """The files (certificate, key) of someone called so."""
        key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        certificate = self._signed(name, key).public_bytes(serialization.Encoding.PEM)
        return (
            self._write(f"{self.name}-{name}.pem", certificate),
            self._write(f"{self.name}-{name}.key", key.private_bytes(serialization.Encoding.PEM, *form)),
        )

    def _write(self, name, content):
        file = self.folder / name
        file.write_bytes(content)
        return file

    def _signed(self, name, key, *, ca=False):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        public = key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if ca else self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + dt.timedelta(days=36500))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )


@pytest.fixture
def plant(tmp_path):
    return Authority(tmp_path)


@asynccontextmanager
async def tls_server(plant, name="localhost"):
    certificate, key = plant.issue(name)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=plant.file)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    server = ModbusTlsServer(registers(), framer=FramerType.SOCKET, address=("127.0.0.1", 0), sslctx=context)
    async with running(server):
        yield server.transport.sockets[0].getsockname()[1]


def tls(at, plant, **more):
    certificate, key = plant.issue("edgeflow")
    given = {"host": "localhost", "port": at, "ca": plant.file, "certificate": certificate, "key": key} | more
    return Link(transport="tls", **{name: value for name, value in given.items() if value is not None})


async def test_pymodbus_is_read_and_written_over_tls(plant):
    async with tls_server(plant) as at:
        assert await reads(tls(at, plant, connections=2)) == list(HOLDING.values())


async def test_a_server_of_another_authority_is_not_trusted(plant, tmp_path):
    async with tls_server(plant) as at:
        with pytest.raises(
            LinkDown, match=r"its certificate is not accepted: .*name the authority that signed it as `ca`"
        ):
            await reads(tls(at, plant, ca=Authority(tmp_path, "other").file))
        with pytest.raises(LinkDown, match="its certificate is not accepted"):
            await reads(tls(at, plant, ca=None))


async def test_the_name_in_the_certificate_is_checked_unless_it_is_said_otherwise(plant):
    async with tls_server(plant, "press7") as at:
        with pytest.raises(LinkDown, match=r"its certificate is not accepted: .*localhost.*call the device as its"):
            await reads(tls(at, plant))
        assert await reads(tls(at, plant, check_name=False)) == list(HOLDING.values())


async def test_a_server_that_asks_for_our_certificate_is_told_apart(plant):
    async with tls_server(plant) as at:
        with pytest.raises(LinkDown, match=r"the device may want a `certificate` and `key`|reset|closed"):
            await reads(tls(at, plant, certificate=None, key=None))


async def test_a_server_without_tls_is_never_spoken_to_in_the_clear(plant):
    heard = []

    async def serve(reader, writer):
        heard.append(await reader.read(100))
        writer.write(b"\0\1\0\0\0\5\1\3\2\0\1")
        await writer.drain()

    async with serving(serve) as at:
        with pytest.raises(
            LinkDown, match=r"what it answers is not TLS.*`transport: tcp`|ended the connection while TLS was agreed on"
        ):
            await reads(tls(at, plant))
    assert heard[0][:2] == b"\x16\x03", "the hello of TLS and nothing else"
    assert len(heard) == 1


@pytest.mark.parametrize("key", ["ca", "certificate"])
async def test_a_file_that_cannot_be_used_is_named(plant, tmp_path, key):
    broken = tmp_path / "broken.pem"
    broken.write_text("this is no certificate")
    with pytest.raises(LinkDown, match=f"`{key}`.*broken.pem.* cannot be used"):
        await reads(tls(1, plant, **{key: broken}))
    with pytest.raises(LinkDown, match=f"`{key}`.*gone.pem.* cannot be used.*no such file"):
        await reads(tls(1, plant, **{key: tmp_path / "gone.pem"}))
