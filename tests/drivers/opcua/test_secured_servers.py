"""Secured connections to servers made with asyncua and node-opcua: every policy, mode and kind of user."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from edgeflow.driver import Column, Home, Note, Row
from edgeflow.errors import LinkDown
from edgeflow.model import BAD
from edgeflow.testing.drivers import poll_by
from edgeflow.testing.relay import Relay, until
from edgeflow_opcua import DRIVER, Device, Link, Point
from edgeflow_opcua.certificate import application_uri, own
from edgeflow_opcua.trust import PENDING, TRUSTED, Trust
from tests.drivers.opcua.servers import PASSWORD, Pair, Process, asyncua_server, make_pair, node_server

GOOD = Point(node="ns=2;s=Filler.Good", type="integer")
NODE_GOOD = Point(node="ns=1;s=Filler.Good", type="integer")
POLICIES = ["Aes256_Sha256_RsaPss", "Basic256Sha256", "Aes128_Sha256_RsaOaep"]
SERVERS = ["asyncua", "node-opcua"]


def soon(seconds: float = 10.0) -> float:
    return asyncio.get_running_loop().time() + seconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secured")


@pytest.fixture(scope="module")
def pair(folder: Path) -> Pair:
    return make_pair(folder, "server")


@pytest.fixture(scope="module")
def operator(folder: Path) -> Pair:
    return make_pair(folder, "operator", uri="urn:edgeflow:test:operator")


@pytest.fixture(scope="module")
def former(folder: Path) -> Pair:
    """A certificate of ours that ends soon."""
    end = datetime.now(UTC) + timedelta(days=30)
    return make_pair(folder, "gateway", uri="urn:edgeflow:test:gateway", end=end)


@pytest.fixture(scope="module")
def own_files() -> dict[str, bytes]:
    """Our own certificate, made once: keys cost time."""
    home = Home()
    asyncio.run(own(home))
    return {name: content for name in home.names() if (content := home.get(name))}


@pytest.fixture(scope="module")
def servers(
    folder: Path, pair: Pair, operator: Pair, former: Pair, own_files: dict[str, bytes]
) -> Iterator[dict[str, Process]]:
    """The first two know the certificate of `own_files` and refuse others until they are approved."""
    known = own_files["own/certificate.der"]
    processes = {
        "asyncua": asyncua_server(pair, known=[known.hex(), former.der.hex()], user_certificate=operator.der.hex()),
        "node-opcua": node_server(folder / "pki", known=known, lifetime=1000),
        "open": asyncua_server(),
        "signing": asyncua_server(pair, policies=["Basic256Sha256_Sign"], anonymous=False, session_s=0.6),
    }
    yield processes
    for process in processes.values():
        process.stop()


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, servers: dict[str, Process]) -> Process:
    return servers[request.param]


@pytest.fixture
def home(own_files: dict[str, bytes]) -> Home:
    home = Home()
    for name, content in own_files.items():
        home.put(name, content)
    return home


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "filler.password"
    path.write_text(f"{PASSWORD}\n")
    return path


async def value(link: Link, home: Home) -> Any:
    async with DRIVER.open(link, soon(), home) as session:
        reader = await session.prepare(Device(), [GOOD, NODE_GOOD], soon())
        column = await poll_by(reader, soon())
        assert column.faults
        ((_, (quality, _)),) = column.faults.items()
        assert quality is BAD
        return next(one for one in column.values if one is not None)


async def refused(link: Link, home: Home) -> str:
    with pytest.raises(LinkDown) as told:
        async with DRIVER.open(link, soon(), home):
            pass
    return str(told.value)


async def approved(link: Link, home: Home) -> None:
    """What a person does at the first connection: it is refused, the certificate is compared and approved."""
    assert "edgeflow opcua trust" in await refused(link, home)
    (waiting,) = Trust(home).entries(PENDING)
    Trust(home).approve(waiting.fingerprint)


def users(password: Path, operator: Pair) -> dict[str, dict[str, Any]]:
    return {
        "anonymous": {},
        "password": {"user": "edgeflow", "password": {"file": password}},
        "certificate": {"user_certificate": operator.file, "user_key": operator.key_file},
    }


@pytest.mark.parametrize("kind", ["anonymous", "password", "certificate"])
@pytest.mark.parametrize("mode", ["Sign", "SignAndEncrypt"])
@pytest.mark.parametrize("policy", POLICIES)
async def test_every_policy_and_mode_serves_every_kind_of_user(
    server: Process, policy: str, mode: str, kind: str, home: Home, password: Path, operator: Pair
) -> None:
    link = Link(url=server.url, security=policy, mode=mode, **users(password, operator)[kind])
    await approved(link, home)
    assert await value(link, home) == 5


@pytest.mark.parametrize("kind", ["anonymous", "password", "certificate"])
async def test_without_encryption_a_password_still_is_encrypted_for_a_server_that_is_trusted(
    server: Process, kind: str, home: Home, password: Path, operator: Pair
) -> None:
    link = Link(url=server.url, security="none", **users(password, operator)[kind])
    if kind == "password":
        await approved(link, home)
    assert await value(link, home) == 5


async def test_auto_takes_the_strongest_that_is_offered(server: Process, home: Home) -> None:
    link = Link(url=server.url)
    findings = [finding async for finding in tool("endpoints")(link, home)]
    (told,) = [finding.text for finding in findings if isinstance(finding, Note)]
    rows = [finding.cells for finding in findings if isinstance(finding, Row)]
    assert rows[0]["security"] == "Aes256_Sha256_RsaPss"
    assert rows[-1]["security"] == "None"
    (waiting,) = Trust(home).entries(PENDING)
    assert f"`edgeflow opcua trust {waiting.fingerprint} --url {server.url}`" in told
    assert {row["certificate"] for row in rows} == {waiting.fingerprint}
    Trust(home).approve(waiting.fingerprint)
    assert await value(link, home) == 5
    (told,) = [finding.text async for finding in tool("endpoints")(link, home) if isinstance(finding, Note)]
    assert told.endswith(": with `security: auto` the link uses Aes256_Sha256_RsaPss (SignAndEncrypt).")


async def test_values_are_pushed_over_an_encrypted_channel(server: Process, home: Home) -> None:
    link = Link(url=server.url)
    await approved(link, home)
    columns: list[Column] = []
    async with DRIVER.open(link, soon(), home) as session, asyncio.TaskGroup() as group:
        watch = group.create_task(session.watch(Device(), [GOOD, NODE_GOOD], columns.append))
        await until(lambda: any(5 in column.values for column in columns), "the value is pushed", 10)
        watch.cancel()


@pytest.mark.parametrize("kind", SERVERS)
async def test_from_the_first_refusal_to_the_first_value(kind: str, servers: dict[str, Process]) -> None:
    """Neither side knows the other: a person approves each at the other, with the tools and by what is said."""
    server, home = servers[kind], Home()
    link = Link(url=server.url)
    told = await refused(link, home)
    rows = [finding.cells async for finding in tool("certificates")(link, home) if isinstance(finding, Row)]
    (theirs,) = [str(row["fingerprint"]) for row in rows if row["list"] == "pending"]
    (ours,) = [str(row["fingerprint"]) for row in rows if row["list"] == "own"]
    assert f"`edgeflow opcua trust {theirs} --url {link.url}`" in told
    assert [finding async for finding in tool("trust")(link, home, fingerprint=theirs[:8].upper())]
    assert f"the server does not trust our certificate {ours}: approve it at the server" in await refused(link, home)
    assert server.tell("approve") == 1
    assert await value(link, home) == 5
    assert [finding async for finding in tool("distrust")(link, home, fingerprint=theirs)]
    assert "nobody has approved it" in await refused(link, home)


@pytest.mark.parametrize(
    ("security", "said"),
    [("none", "leave `security` out"), ("Aes256_Sha256_RsaPss", "it offers Basic256Sha256 (Sign): write one")],
)
async def test_what_is_not_offered_is_said_with_what_is(
    servers: dict[str, Process], home: Home, security: Any, said: str
) -> None:
    assert said in await refused(Link(url=servers["signing"].url, security=security), home)


async def test_a_server_without_encryption_is_used_only_where_that_is_written(
    servers: dict[str, Process], home: Home, password: Path
) -> None:
    url = servers["open"].url
    told = await refused(Link(url=url), home)
    assert "enable Basic256Sha256 on the server, or accept that and write `security: none`" in told
    assert await value(Link(url=url, security="none"), home) == 5
    user: dict[str, Any] = {"url": url, "security": "none", "user": "edgeflow", "password": {"file": password}}
    assert "write `password_in_clear: true`" in await refused(Link(**user), home)
    assert await value(Link(**user, password_in_clear=True), home) == 5


async def test_a_refused_user_is_told_so(server: Process, home: Home, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("wrong")
    wrong: Any = {"file": tmp_path / "wrong"}
    link = Link(url=server.url, security="Basic256Sha256", user="edgeflow", password=wrong)
    await approved(link, home)
    assert "it refuses the user 'edgeflow'; is the name right" in await refused(link, home)


async def test_a_server_that_takes_no_anonymous_users_says_what_it_takes(
    servers: dict[str, Process], home: Home
) -> None:
    link = Link(url=servers["signing"].url)
    await approved(link, home)
    assert "it takes user names (write `user` and `password`)" in await refused(link, home)


async def test_another_server_at_the_same_address_is_not_trusted(server: Process, folder: Path, home: Home) -> None:
    other = make_pair(folder, "other")
    home.put(f"{TRUSTED}{other.fingerprint}.der", other.der)
    assert "nobody has approved it" in await refused(Link(url=server.url), home)


async def test_the_former_certificate_serves_until_the_server_knows_the_renewed_one(
    servers: dict[str, Process], former: Pair
) -> None:
    server, home = servers["asyncua"], Home()
    home.put("own/certificate.der", former.der)
    home.put("own/key.pem", former.key_file.read_bytes())
    link = Link(url=server.url)
    await approved(link, home)
    assert await value(link, home) == 5
    held = await own(home)
    assert held.former == former.certificate
    assert application_uri(held.certificate) == "urn:edgeflow:test:gateway"
    assert server.tell("approve") == 1
    home.put("own/former.der", None)
    assert await value(link, home) == 5


async def test_the_keys_of_a_channel_are_renewed_while_it_is_used(servers: dict[str, Process], home: Home) -> None:
    """Three lifetimes of a token of one second, with requests in flight all the time."""
    link = Link(url=servers["node-opcua"].url)
    await approved(link, home)
    async with DRIVER.open(link, soon(), home) as session:
        reader = await session.prepare(Device(), [NODE_GOOD], soon())
        end = soon(3)
        while soon(0) < end:
            for column in await asyncio.gather(*(poll_by(reader, soon()) for _ in range(5))):
                assert list(column.values) == [5]
            await asyncio.sleep(0.01)


async def test_a_session_lives_on_where_nobody_asks(servers: dict[str, Process], home: Home, password: Path) -> None:
    """The server ends sessions that say nothing for 600 ms."""
    secret: Any = {"file": password}
    link = Link(url=servers["signing"].url, user="edgeflow", password=secret)
    await approved(link, home)
    async with DRIVER.open(link, soon(), home) as session:
        reader = await session.prepare(Device(), [GOOD], soon())
        await asyncio.sleep(1.5)
        assert list((await poll_by(reader, soon())).values) == [5]


async def test_hiding_the_strong_policies_on_the_way_does_not_weaken_the_connection(
    servers: dict[str, Process], home: Home
) -> None:
    """What a server offers is first asked for unencrypted, so anybody in between could change it."""
    assert servers["asyncua"].url
    async with Relay("127.0.0.1", servers["asyncua"].port) as relay:
        link = Link(url=f"opc.tcp://127.0.0.1:{relay.port}")
        await approved(link, home)
        relay.alter(lambda data: data.replace(b"Aes256_Sha256_RsaPss", b"Aes999_Sha256_RsaPss"))
        assert "was changed on the way to us; somebody is in between" in await refused(link, home)
        relay.resume()
        assert await value(link, home) == 5


@pytest.mark.parametrize("security", ["none", "Basic256Sha256"])
async def test_no_fault_of_the_line_gives_a_wrong_value_or_hangs(
    servers: dict[str, Process], home: Home, security: Any
) -> None:
    assert servers["asyncua"].url
    async with Relay("127.0.0.1", servers["asyncua"].port) as relay:
        link = Link(url=f"opc.tcp://127.0.0.1:{relay.port}", security=security)
        if security != "none":
            await approved(link, home)
        faults: list[Callable[[], None]] = [
            relay.hang, relay.garble, relay.duplicate, relay.cut, relay.reset, relay.half_open, relay.trickle,
            lambda: relay.delay(0.3),
        ]  # fmt: skip
        for fault in faults:
            relay.resume()
            async with DRIVER.open(link, soon(), home) as session:
                reader = await session.prepare(Device(), [GOOD], soon())
                fault()
                with suppress(LinkDown):
                    for _ in range(3):
                        column = await poll_by(reader, soon(0.25))
                        if security != "none":  # without, nothing tells a changed value from a true one
                            assert list(column.values) == [5]
            with suppress(LinkDown):
                async with DRIVER.open(link, soon(0.25), home):
                    pass
        relay.resume()
        assert await value(link, home) == 5


async def test_opening_can_be_interrupted_at_any_moment(servers: dict[str, Process], home: Home) -> None:
    """As when the agent is stopped meanwhile: nothing is left and nothing else is raised."""
    link = Link(url=servers["asyncua"].url)
    await approved(link, home)

    async def run() -> None:
        async with DRIVER.open(link, soon(), home):
            await asyncio.sleep(0)

    tasks = asyncio.all_tasks()
    for turns in range(0, 120, 3):
        task = asyncio.create_task(run())
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert ended is None or isinstance(ended, asyncio.CancelledError), ended
    await until(lambda: asyncio.all_tasks() == tasks, "no task is left")


async def test_our_own_certificate_is_shown_for_servers_that_ask_for_a_file(home: Home) -> None:
    (note,) = [finding async for finding in tool("certificates")(Link(url="opc.tcp://127.0.0.1:1"), home, pem=True)]
    assert isinstance(note, Note)
    assert x509.load_pem_x509_certificate(note.text.encode()) == (await own(home)).certificate


def tool(name: str) -> Callable[..., AsyncIterator[Any]]:
    """A tool as the command line and the API run it."""
    (found,) = [one for one in DRIVER.tools() if one.name == name]

    def run(link: Link, home: Home, **options: Any) -> AsyncIterator[Any]:
        return found.run(link, home, found.options.model_validate(options))

    return run
