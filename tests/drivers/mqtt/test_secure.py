"""Brokers that want a password, a certificate or both, that prove who they are, and that do not allow everything."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from pydantic import ValidationError

from edgeflow.driver import Column, Home
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import BAD
from edgeflow.testing.relay import until
from edgeflow_mqtt import DRIVER, Device, Link, Point
from tests.drivers.mqtt.authority import Authority, Pair
from tests.drivers.mqtt.conftest import Broker

PASSWORD = "ohne Öl läuft nichts"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def client_pair(authority: Authority) -> Pair:
    return authority.pair("gateway")


def _broker(folder: Path, pair: Pair, *more: str) -> Broker:
    return Broker(folder, f"certfile {pair.certificate}", f"keyfile {pair.key}", *more)


@pytest.fixture(scope="module")
def secured(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """TLS with client certificates."""
    pair = authority.pair("broker", address="127.0.0.1")
    broker = _broker(tmp_path_factory.mktemp("secured"), pair, f"cafile {authority.ca}", "require_certificate true")
    yield broker
    broker.kill()


@pytest.fixture(scope="module")
def encrypted(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """TLS, with a certificate for the name broker.test."""
    broker = _broker(tmp_path_factory.mktemp("encrypted"), authority.pair("broker.test"))
    yield broker
    broker.kill()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A password, and an access list: `hall` is readable, `hall/set` writable, nothing else."""
    folder = tmp_path_factory.mktemp("guarded")
    users, access = folder / "users", folder / "access"
    subprocess.run(["mosquitto_passwd", "-b", "-c", users, "gateway", PASSWORD], check=True)
    access.write_text("user gateway\ntopic read hall/#\ntopic write hall/set\n")
    broker = Broker(folder, f"password_file {users}", f"acl_file {access}", anonymous=False)
    yield broker
    broker.kill()


def link(broker: Broker, **more: Any) -> Link:
    return Link.model_validate({"host": "127.0.0.1", "port": broker.port, "keepalive": "1 s", **more})


@asynccontextmanager
async def opened(settings: Link) -> AsyncIterator[Any]:
    async with DRIVER.open(settings, asyncio.get_running_loop().time() + 5, Home()) as session:
        yield session


async def refusal(settings: Link) -> str:
    with pytest.raises(LinkDown) as refused:
        async with opened(settings):
            pass
    return str(refused.value)


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_broker_that_wants_our_certificate_gets_it_and_its_own_is_checked(
    secured: Broker, authority: Authority, client_pair: Pair, version: str
) -> None:
    tls = {"ca": authority.ca, "certificate": client_pair.certificate, "key": client_pair.key}
    pushed: list[Column] = []
    async with opened(link(secured, tls=tls, version=version)) as session, asyncio.TaskGroup() as group:
        watching = group.create_task(session.watch(Device(), [Point(topic="x", type="bytes")], pushed.append))
        large = bytes(range(256)) * 1000  # many records of TLS
        while not pushed:
            deadline = asyncio.get_running_loop().time() + 5
            await session.write(Device(), [Point(set="x", type="bytes")], [large], deadline)
        watching.cancel()
    assert pushed[0].values == [large]


async def test_what_is_wrong_with_a_certificate_is_said_with_what_to_do(
    secured: Broker, authority: Authority, client_pair: Pair, tmp_path: Path
) -> None:
    own = {"certificate": client_pair.certificate, "key": client_pair.key}
    stranger = Authority(tmp_path, "stranger")
    theirs = stranger.pair("impostor")
    old = authority.pair("old", end=dt.datetime(2021, 1, 1, tzinfo=dt.UTC))
    assert "`ca` the file with the certificate that signed it" in await refusal(link(secured, tls={}))
    assert "`ca` the file" in await refusal(link(secured, tls={"ca": stranger.ca, **own}))
    for pair in (theirs, old):
        tls = {"ca": authority.ca, "certificate": pair.certificate, "key": pair.key}
        assert "another client certificate" in await refusal(link(secured, tls=tls))
    assert "another client certificate" in await refusal(link(secured, tls={"ca": authority.ca}))
    missing = {"ca": tmp_path / "nothing.pem"}
    assert "nothing.pem cannot be read: No such file" in await refusal(link(secured, tls=missing))
    (tmp_path / "empty.pem").write_text("nothing")
    assert "holds no certificate" in await refusal(link(secured, tls={"ca": tmp_path / "empty.pem"}))
    mixed = {"ca": authority.ca, "certificate": client_pair.certificate, "key": theirs.key}
    assert "are they a pair" in await refusal(link(secured, tls=mixed))


async def test_without_tls_a_broker_with_tls_is_told_from_a_dead_one(secured: Broker, broker: Broker) -> None:
    assert "does it want TLS" in await refusal(link(secured))
    assert "no TLS connection" in await refusal(link(broker, tls={}))


async def test_the_name_in_the_certificate_counts_unless_another_is_named(
    encrypted: Broker, authority: Authority
) -> None:
    tls = {"ca": authority.ca}
    assert "`server_name` under `tls`" in await refusal(link(encrypted, tls=tls))
    assert "mismatch" in await refusal(link(encrypted, tls={**tls, "server_name": "other.test"}))
    async with opened(link(encrypted, tls={**tls, "server_name": "broker.test"})):
        pass
    async with opened(link(encrypted, tls={**tls, "check_name": False})):
        pass


async def test_a_key_with_a_password_is_opened_by_reference(
    secured: Broker, authority: Authority, tmp_path: Path
) -> None:
    pair = authority.pair("locked", password=b"sesame")
    word = tmp_path / "key.secret"
    tls = {
        "ca": authority.ca,
        "certificate": pair.certificate,
        "key": pair.key,
        "key_password": {"file": word},
    }
    assert "key.secret" in await refusal(link(secured, tls=tls))
    word.write_text("wrong")
    assert "is the password right" in await refusal(link(secured, tls=tls))
    word.write_text("sesame\n")
    async with opened(link(secured, tls=tls)):
        pass


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_password_is_found_by_reference_and_a_wrong_one_is_said(
    guarded: Broker, tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = tmp_path / "broker.secret"
    asked = link(guarded, user="gateway", password={"file": word}, version=version)
    assert f"the password is not there: the file {word}" in await refusal(asked)
    word.write_text("wrong")
    assert "check `user` and `password`" in await refusal(asked)
    assert "check `user` and `password`" in await refusal(link(guarded, version=version))
    word.write_text(PASSWORD + "\n")
    async with opened(asked):
        pass
    monkeypatch.setenv("BROKER_PASSWORD", PASSWORD)
    async with opened(link(guarded, user="gateway", password={"env": "BROKER_PASSWORD"}, version=version)):
        pass


async def test_what_the_access_list_forbids_is_said_by_topic(guarded: Broker, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(PASSWORD)
    settings = link(guarded, user="gateway", password={"file": tmp_path / "secret"}, version="5")
    async with opened(settings) as session:
        deadline = asyncio.get_running_loop().time() + 5
        with pytest.raises(Rejected, match="refuses what is published on hall/lamp: Not authorized"):
            await session.write(Device(), [Point(set="hall/lamp")], [1], deadline)
        await session.write(Device(), [Point(set="hall/set")], [1], deadline)


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_refused_subscription_is_said_by_topic_and_the_others_go_on(
    refusing_broker: Broker, version: str
) -> None:
    pushed: list[Column] = []
    async with (
        opened(link(refusing_broker, version=version)) as session,
        aiomqtt.Client("127.0.0.1", refusing_broker.port) as device,
        asyncio.TaskGroup() as group,
    ):
        points = [Point(topic="secret/x"), Point(topic="open/x")]
        watching = group.create_task(session.watch(Device(), points, pushed.append))
        await until(lambda: pushed, "the refusal is pushed")
        while len(pushed) < 2:
            await device.publish("open/x", b"1", 1)
        watching.cancel()
    (fault,) = (pushed[0].faults or {}).values()
    assert pushed[0].points == (0,)
    assert fault[0] is BAD
    assert "refuses the subscription to secret/x" in fault[1]
    assert "access list" in fault[1]
    assert pushed[1] == Column([1], 0, None, (1,))


def test_the_port_follows_tls_unless_it_is_given() -> None:
    assert Link(host="x").port == 1883
    assert Link.model_validate({"host": "x", "tls": {}}).port == 8883
    assert Link.model_validate({"host": "x", "tls": {}, "port": 1883}).port == 1883


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"password": "x", "user": "y"}, "a secret is not written here"),
        ({"password": {"env": "X"}}, "`password` needs `user`"),
        ({"tls": {"key": "x"}}, "belong together"),
        ({"tls": {"key_password": {"env": "X"}}}, "`key_password` needs `key`"),
        ({"tls": {"check_name": False, "server_name": "x"}}, "of no use"),
        ({"will": {"topic": "x"}, "sparkplug_host": "y"}, "one last will"),
        ({"session_expiry": "1500 ms"}, "whole seconds"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Link.model_validate({"host": "x", **settings})


def test_nothing_below_tls_1_2_is_spoken() -> None:
    settings = Link.model_validate({"host": "x", "tls": {}})
    assert settings.tls is not None
    context = settings.tls.context()
    assert (context.minimum_version, context.check_hostname) == (ssl.TLSVersion.TLSv1_2, True)
    assert context.verify_mode is ssl.CERT_REQUIRED
