from __future__ import annotations

import sqlite3
from typing import Any

import orjson
import pytest

from edgeflow.errors import ConfigError, Rejected
from edgeflow.sync.client import CentralClient, Refused
from edgeflow.testing.relay import until

KEY, OTHER_KEY = "k" * 43, "o" * 43


def enrolment(token: str, key: str = KEY) -> bytes:
    return orjson.dumps({"protocol": 1, "token": token, "key": key, "about": {"name": "line1"}})


async def test_a_gateway_enrols_with_its_token_and_keeps_its_key_for_itself(hall: Any, central: Any) -> None:
    await hall.token(central)
    async with hall.gateway(central) as edge:
        await until(lambda: edge.uplink.stats.connected, "it connects")
        file = edge.state / "central.json"
        assert file.stat().st_mode & 0o777 == 0o600
        identity = orjson.loads(file.read_bytes())
        assert identity["gateway"] == "line1" == edge.uplink.stats.gateway
        assert not (edge.state / "central.enrolling.json").exists()
        content = (central.settings.state / "central.db-wal").read_bytes() + central.settings.database.read_bytes()
        assert identity["key"].encode() not in content
        assert (edge.state / "central.token").read_bytes() not in content


async def test_a_token_cannot_be_used_by_a_second_gateway(hall: Any, central: Any) -> None:
    token = await hall.token(central)
    assert orjson.loads(await central.client.ask("POST", "/api/v1/enrol", body=enrolment(token))) == {
        "gateway": "line1"
    }
    with pytest.raises(Refused, match="used already") as refusal:
        await central.client.ask("POST", "/api/v1/enrol", body=enrolment(token, OTHER_KEY))
    assert refusal.value.status == 403


async def test_the_same_enrolment_sent_twice_is_one_enrolment(hall: Any, central: Any) -> None:
    token = await hall.token(central)
    for _ in range(2):
        answer = await central.client.ask("POST", "/api/v1/enrol", body=enrolment(token))
        assert orjson.loads(answer) == {"gateway": "line1"}


async def test_a_token_that_was_never_made_is_refused(central: Any) -> None:
    with pytest.raises(Refused, match="not known"):
        await central.client.ask("POST", "/api/v1/enrol", body=enrolment("invented"))


async def test_an_expired_token_is_refused(hall: Any, central: Any) -> None:
    token = await hall.token(central)
    with sqlite3.connect(central.settings.database) as connection:
        connection.execute("UPDATE enrolment_token SET expires = made")
    connection.close()
    with pytest.raises(Refused, match="expired"):
        await central.client.ask("POST", "/api/v1/enrol", body=enrolment(token))


async def test_another_protocol_is_refused_with_what_to_do(hall: Any, central: Any) -> None:
    token = await hall.token(central)
    body = orjson.dumps({"protocol": 2, "token": token, "key": KEY})
    with pytest.raises(Refused, match="speaks protocol 1, not 2; update") as refusal:
        await central.client.ask("POST", "/api/v1/enrol", body=body)
    assert refusal.value.status == 400


async def test_a_replaced_gateway_enrols_under_the_same_name_and_the_old_key_is_refused(
    hall: Any, central: Any
) -> None:
    token = await hall.token(central)
    await central.client.ask("POST", "/api/v1/enrol", body=enrolment(token))
    again = await hall.token(central)
    await central.client.ask("POST", "/api/v1/enrol", body=enrolment(again, OTHER_KEY))
    async with CentralClient(central.url, token=OTHER_KEY) as new, CentralClient(central.url, token=KEY) as old:
        assert await new.ask("GET", "/api/v1/gateways/line1/desired")
        with pytest.raises(Refused) as refusal:
            await old.ask("GET", "/api/v1/gateways/line1/desired")
        assert refusal.value.status == 401
        with pytest.raises(Refused, match="used already"):
            await old.ask("POST", "/api/v1/enrol", body=enrolment(token))
        assert await new.ask("GET", "/api/v1/gateways/line1/desired")


async def test_a_name_that_cannot_be_part_of_an_address_is_refused(hall: Any, central: Any) -> None:
    for name in ("", "a/b", "-x", "x" * 65, "über"):
        with pytest.raises(Rejected, match="cannot be a gateway's name"):
            await hall.token(central, name, folder="line1")


async def test_a_gateway_whose_key_was_replaced_says_so_and_enrols_again_with_a_new_token(
    hall: Any, central: Any
) -> None:
    await hall.token(central)
    async with hall.gateway(central) as edge:
        await until(lambda: edge.uplink.stats.connected, "it connects")
        stranger = await hall.token(central, folder="elsewhere")
        await central.client.ask("POST", "/api/v1/enrol", body=enrolment(stranger))
        await edge.store.commit({}, hall.records(1))
        await until(lambda: "does not know this gateway's key" in edge.uplink.stats.last_error, "it is refused")
        await hall.token(central)
        await until(lambda: edge.uplink.stats.last_ack_ns, "it sends again", 20)
    assert await central.keys() == ["press1/1"]


async def test_without_a_token_the_gateway_says_where_to_put_one(hall: Any, central: Any) -> None:
    async with hall.gateway(central) as edge:
        await until(lambda: "central.token" in edge.uplink.stats.last_error, "it says what it needs")
        await edge.store.commit({}, hall.records(1, 2))
        assert edge.store.outbox().count == 2
        assert not edge.uplink.stats.enrolled
        await hall.token(central)
        await until(lambda: edge.store.outbox().count == 0, "the queue is sent")


async def test_an_address_without_a_host_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="write it as https"):
        CentralClient("central.example:8090")


async def test_a_token_can_be_made_over_the_api(hall: Any, central: Any) -> None:
    answer = await central.client.ask("POST", "/api/v1/tokens", body=b'{"gateway": "line9"}')
    token = orjson.loads(answer)["token"]
    reply = await central.client.ask("POST", "/api/v1/enrol", body=enrolment(token))
    assert orjson.loads(reply) == {"gateway": "line9"}
