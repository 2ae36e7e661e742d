"""Every setting is used: each changes something that can be seen, on the wire or in what is pushed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from edgeflow.driver import Column, Home
from edgeflow.errors import LinkDown
from edgeflow.model import Secret
from edgeflow.mqtt.settings import Tls
from edgeflow.testing.relay import until
from edgeflow_mqtt import DRIVER, Device, Link, Point
from edgeflow_mqtt.command import to_set
from edgeflow_mqtt.feed import Feed
from edgeflow_mqtt.settings import Alive, Presence, Sparkplug
from tests.drivers.mqtt.authority import Authority
from tests.drivers.mqtt.hostile import Odd, odd

SIX_NS = 1_795_154_400_000_000_000  # 2026-11-20T06:00:00Z


# --- what a device and a point say ----------------------------------------------------------------------


def pushed(point: dict[str, Any], device: dict[str, Any], topic: str, payload: bytes, *, retained: bool = False) -> Any:
    columns: list[Column] = []
    feed = Feed(Device.model_validate(device), [Point.model_validate(point)], columns.append, lambda: SIX_NS)
    feed.take(topic, payload, retained=retained)
    return [
        (list(column.values), column.source_ns, sorted((column.faults or {}).values(), key=str)) for column in columns
    ]


POINTS: dict[str, tuple[dict[str, Any], dict[str, Any], str, bytes]] = {
    "topic": ({"topic": "a"}, {"topic": "t"}, "t", b"1"),
    "path": ({"topic": "t", "path": "a"}, {"topic": "t", "path": "b"}, "t", b'{"a":1,"b":2}'),
    "type": ({"topic": "t"}, {"topic": "t", "type": "text"}, "t", b"1"),
    "pick": ({"topic": "{a}/{b}", "pick": "a", "type": "text"}, {"topic": "{a}/{b}", "pick": "b", "type": "text"}, "x/y", b""),
    "where": ({"topic": "t", "path": "v"}, {"topic": "t", "path": "v", "where": {"id": 2}}, "t", b'{"id":1,"v":1}'),
    "encoding": ({"topic": "t", "type": "bytes"}, {"topic": "t", "type": "bytes", "encoding": "hex"}, "t", b"01"),
    "bytes": ({"topic": "t", "type": "uint8", "bytes": 0}, {"topic": "t", "type": "uint8", "bytes": 1}, "t", b"\1\2"),
    "byte_order": ({"topic": "t", "type": "uint16", "bytes": "0-1"}, {"topic": "t", "type": "uint16", "bytes": "0-1", "byte_order": "little"}, "t", b"\1\2"),
    "bit": ({"topic": "t", "type": "boolean", "bytes": 0}, {"topic": "t", "type": "boolean", "bytes": 0, "bit": 3}, "t", b"\1"),
    "words": ({"topic": "t"}, {"topic": "t", "words": {"1": "run"}}, "t", b"run"),
    "quality": ({"topic": "t", "path": "v"}, {"topic": "t", "path": "v", "quality": {"path": "q", "good": [1], "uncertain": [0]}}, "t", b'{"v":1,"q":0}'),
    "decimal": ({"topic": "t"}, {"topic": "t", "decimal": "comma"}, "t", b"1,5"),
    "suffix": ({"topic": "t"}, {"topic": "t", "suffix": "V"}, "t", b"5 V"),
    "time": ({"topic": "t", "path": "v"}, {"topic": "t", "path": "v", "time": "t"}, "t", b'{"v":1,"t":1795154400}'),
    "time_form": ({"topic": "t", "path": "v", "time": "t"}, {"topic": "t", "path": "v", "time": "t", "time_form": "ms"}, "t", b'{"v":1,"t":1795154400}'),
}  # fmt: skip
WRITES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "set_path": ({"set": "s"}, {"set": "s", "set_path": "a"}),
    "payload": ({"set": "s"}, {"set": "s", "payload": "T={value}"}),
}
DEVICES: dict[str, tuple[dict[str, Any], dict[str, Any], str, bytes, bool]] = {
    "base": ({}, {"base": "hall"}, "hall/t", b'{"v":1}', False),
    "retained": ({}, {"retained": "good"}, "t", b'{"v":1}', True),
    "format": ({}, {"format": "pairs"}, "t", b"v=1", False),
    "missing": ({}, {"missing": "keep"}, "t", b"{}", False),
    "time_zone": ({}, {"time_zone": "Europe/Berlin"}, "t", b'{"v":1,"t":"2026-11-20T07:00:00"}', False),
    "alive": ({}, {"alive": {"topic": "lwt"}}, "lwt", b"offline", False),
}


@pytest.mark.parametrize("setting", POINTS)
def test_each_setting_of_a_point_changes_what_is_pushed(setting: str) -> None:
    without, with_it, topic, payload = POINTS[setting]
    assert pushed(without, {}, topic, payload) != pushed(with_it, {}, topic, payload)


@pytest.mark.parametrize("setting", WRITES)
def test_each_setting_of_a_point_that_is_set_changes_what_is_sent(setting: str) -> None:
    without, with_it = (to_set(Point.model_validate(one), 7) for one in WRITES[setting])
    assert without != with_it


@pytest.mark.parametrize("setting", DEVICES)
def test_each_setting_of_a_device_changes_what_is_pushed(setting: str) -> None:
    without, with_it, topic, payload, retained = DEVICES[setting]
    point = {"topic": "t", "path": "v", "time": "t"} if setting == "time_zone" else {"topic": "t", "path": "v"}
    assert pushed(point, without, topic, payload, retained=retained) != pushed(
        point, with_it, topic, payload, retained=retained
    )


@pytest.mark.parametrize(
    ("more", "topic", "payload"),
    [({"topic": "x"}, "x", b"offline"), ({"path": "deep.er"}, "lwt", b'{"deep":{"er":"offline"}}'),
     ({"offline": "asleep"}, "lwt", b"asleep"), ({"online": "asleep"}, "lwt", b"asleep")],
)  # fmt: skip
def test_each_setting_of_a_last_will_changes_what_is_pushed(more: dict[str, Any], topic: str, payload: bytes) -> None:
    usual, own = {"alive": {"topic": "lwt"}}, {"alive": {"topic": "lwt", **more}}
    assert pushed({"topic": "t"}, usual, topic, payload) != pushed({"topic": "t"}, own, topic, payload)


# --- what a link says -----------------------------------------------------------------------------------


async def connects(settings: dict[str, Any], broker: Odd) -> None:
    link = Link.model_validate({"host": "127.0.0.1", "port": broker.port, **settings})
    async with DRIVER.open(link, asyncio.get_running_loop().time() + 2, Home()):
        pass


LINKS: dict[str, tuple[dict[str, Any], Callable[[bytes], bool]]] = {
    "user": ({"user": "gw"}, lambda connect: b"\0\2gw" in connect),
    "password": ({"user": "gw", "password": {"env": "BROKER_PASSWORD"}}, lambda connect: b"\0\6sesame" in connect),
    "client_id": ({"client_id": "line1"}, lambda connect: b"\0\5line1" in connect),
    "keepalive": ({"keepalive": "77 s"}, lambda connect: connect[8:10] == b"\0\x4d"),
    "session_expiry": ({"session_expiry": "258 s"}, lambda connect: b"\x11\0\0\1\2" in connect),
    "will": ({"will": {"topic": "gw/up", "offline": "AWAY"}}, lambda connect: b"\0\5gw/up\0\4AWAY" in connect),
    "sparkplug_host": ({"sparkplug_host": "scada"}, lambda connect: b"spBv1.0/STATE/scada" in connect),
    "version": ({"version": "3.1.1"}, lambda connect: connect[6] == 4),
}  # fmt: skip


@pytest.mark.parametrize("setting", LINKS)
async def test_each_setting_of_a_link_is_in_what_the_broker_hears_first(setting: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("BROKER_PASSWORD", "sesame")
    settings, shows = LINKS[setting]
    for given, wanted in (({}, False), (settings, True)):
        async with odd() as broker:
            await connects(given, broker)
        assert shows(broker.first) is wanted


async def test_a_presence_says_online_in_its_word() -> None:
    async with odd() as broker:
        await connects({"will": {"topic": "gw/up", "online": "HERE", "offline": "AWAY"}}, broker)
        await until(lambda: len(broker.published) == 2, "both are published")
    assert [payload for _, payload, _ in broker.published] == [b"HERE", b"AWAY"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [("host", "not known here"), ("port", "refused")],
)
async def test_where_the_broker_is_said_to_be_it_is_looked_for(setting: str, words: str) -> None:
    async with odd() as broker:
        elsewhere = {"host": "no-such-host.invalid"} if setting == "host" else {"port": 1}
        with pytest.raises(LinkDown, match=words):
            await connects(elsewhere, broker)


@pytest.mark.parametrize(("qos", "retain"), [(0, False), (1, False), (1, True)])
async def test_a_write_has_the_quality_of_service_that_is_set(qos: Any, retain: bool) -> None:
    async with odd() as broker:
        link = Link.model_validate({"host": "127.0.0.1", "port": broker.port})
        async with DRIVER.open(link, asyncio.get_running_loop().time() + 2, Home()) as session:
            await session.write(
                Device(), [Point(set="s", qos=qos, retain=retain)], [1], asyncio.get_running_loop().time() + 2
            )
    assert broker.published == [("s", b"1", qos)]
    assert broker.retained == [retain]


def test_each_setting_of_tls_reaches_the_connection(tmp_path: Path, monkeypatch: Any) -> None:
    authority = Authority(tmp_path)
    own = authority.pair("gateway")
    plain = Tls(ca=authority.ca).context()
    assert plain.check_hostname
    assert plain.verify_mode is ssl.CERT_REQUIRED
    assert [one["subject"] for one in plain.get_ca_certs()] != [
        one["subject"] for one in Tls().context().get_ca_certs()
    ]
    assert not Tls(ca=authority.ca, check_name=False).context().check_hostname
    assert Tls(ca=authority.ca, server_name="broker.plant").context().server_name == "broker.plant"
    Tls(ca=authority.ca, certificate=own.certificate, key=own.key).context()
    for wrong in ({"certificate": authority.ca, "key": own.key}, {"certificate": own.certificate, "key": authority.ca}):
        with pytest.raises(LinkDown, match="cannot be used together"):
            Tls(ca=authority.ca, **wrong).context()
    monkeypatch.delenv("KEY_PASSWORD", raising=False)
    with pytest.raises(LinkDown, match=r"the password of .* is not there"):
        Tls(certificate=own.certificate, key=own.key, key_password=Secret(env="KEY_PASSWORD")).context()


def test_no_setting_is_without_a_test() -> None:
    """A new field has to be put into one of the tables above, or be named here with the test that shows it."""
    elsewhere = {
        Point: {"set", "qos", "retain", "metric"}, Device: {"sparkplug"}, Link: {"host", "port", "tls"},
        Presence: {"topic", "online", "offline"}, Alive: {"topic", "path", "online", "offline"},
        Sparkplug: {"group", "node", "device"},  # test_sparkplug.py and test_stranger.py
        Tls: {"ca", "certificate", "key", "key_password", "server_name", "check_name"},
    }  # fmt: skip
    tables: dict[type[BaseModel], set[str]] = {Point: {*POINTS, *WRITES}, Device: {*DEVICES}, Link: {*LINKS}}
    for model, named in elsewhere.items():
        assert tables.get(model, set()) | named == set(model.model_fields), model
