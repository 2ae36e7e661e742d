from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import orjson
import pytest
from openapi_spec_validator import validate

from edgeflow.errors import ConfigError, LinkDown, Rejected
from edgeflow.sync.client import CentralClient, Refused
from edgeflow.sync.push import push, withdraw

KEY = "k" * 43


@pytest.fixture
async def enrolled(hall: Any, central: Any) -> Any:
    token = await hall.token(central)
    body = orjson.dumps({"protocol": 1, "token": token, "key": KEY})
    await central.client.ask("POST", "/api/v1/enrol", body=body)
    return central


def admin(central: Any) -> str:
    return (central.settings.state / "admin.token").read_text().strip()


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        (("title:", "titel:"), "3:1", "unknown key 'titel'; did you mean 'title'?"),
        (("good -> report", "god -> report"), "10:5", "there is no node 'god'; did you mean 'good'?"),
        (("good -> report", "good report"), "10:5", "is not a wire"),
        (("nodes:", "nodes: ["), "8:3", "is not valid YAML"),
        (("stream: oee", "stream: .nan"), "1:1", "write a number"),
    ],
)
async def test_a_document_that_is_not_a_flow_is_refused_with_its_places(
    hall: Any, enrolled: Any, tmp_path: Path, change: tuple[str, str], place: str, words: str
) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text(hall.flow().replace(*change))
    with pytest.raises(ConfigError) as refusal:
        await push(enrolled.url, admin(enrolled), "line1", file, instance="press1-oee")
    assert str(refusal.value).startswith(f"{file}:{place}")
    assert words in str(refusal.value)
    assert (await enrolled.get("/api/v1/gateways/line1"))["revision"] == 0


async def test_a_push_without_the_administrators_token_is_refused(hall: Any, enrolled: Any, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(hall.flow())
    for token in ("", "wrong", KEY):
        with pytest.raises(Rejected, match=r"admin\.token"):
            await push(enrolled.url, token, "line1", tmp_path, instance="press1-oee")


async def test_a_push_to_an_unknown_gateway_names_those_that_are_known(
    hall: Any, enrolled: Any, tmp_path: Path
) -> None:
    (tmp_path / "flow.yaml").write_text(hall.flow())
    with pytest.raises(Rejected, match="no gateway 'line2'; enrolled are: line1"):
        await push(enrolled.url, admin(enrolled), "line2", tmp_path, instance="press1-oee")


async def test_a_flow_that_no_instance_runs_needs_the_name_of_one(hall: Any, enrolled: Any, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(hall.flow())
    with pytest.raises(Rejected, match="give the instance that shall run oee/press by name"):
        await push(enrolled.url, admin(enrolled), "line1", tmp_path)


async def test_a_push_to_nobody_says_that_central_cannot_be_reached(hall: Any, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(hall.flow())
    with pytest.raises(LinkDown, match=r"127\.0\.0\.1:1 cannot be reached: connection refused"):
        await push("http://127.0.0.1:1", "token", "line1", tmp_path)


async def test_a_version_is_the_hash_of_the_canonical_document(hall: Any, enrolled: Any, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(hall.flow() + "# a remark does not change the version\n")
    outcome = await push(enrolled.url, admin(enrolled), "line1", tmp_path, instance="press1-oee", wait_s=0)
    content = await enrolled.client.ask("GET", f"/api/v1/flows/{outcome.pushed.version}")
    assert hashlib.sha256(content).hexdigest() == outcome.pushed.version
    (tmp_path / "flow.yaml").write_text(hall.flow())
    again = await push(enrolled.url, admin(enrolled), "line1", tmp_path, instance="press1-oee", wait_s=0)
    assert (again.pushed.version, again.pushed.changed) == (outcome.pushed.version, False)


async def test_the_same_flow_on_two_instances_is_pushed_to_both(hall: Any, enrolled: Any, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(hall.flow())
    for instance in ("press1-oee", "press2-oee"):
        await push(enrolled.url, admin(enrolled), "line1", tmp_path, instance=instance, wait_s=0)
    (tmp_path / "flow.yaml").write_text(hall.flow("new"))
    outcome = await push(enrolled.url, admin(enrolled), "line1", tmp_path, wait_s=0)
    assert outcome.pushed.instances == ["press1-oee", "press2-oee"]
    async with CentralClient(enrolled.url, token=KEY) as device:
        desired = orjson.loads(await device.ask("GET", "/api/v1/gateways/line1/desired"))
    assert desired["revision"] == 3
    assert {flow["version"] for flow in desired["flows"]} == {outcome.pushed.version}


async def test_an_unknown_version_is_404(enrolled: Any) -> None:
    with pytest.raises(Refused) as refusal:
        await enrolled.client.ask("GET", f"/api/v1/flows/{'0' * 64}")
    assert refusal.value.status == 404


async def test_the_api_describes_itself(enrolled: Any) -> None:
    document = await enrolled.get("/api/v1/openapi.json")
    validate(document)
    assert "/api/v1/gateways/{gateway}/batches" in document["paths"]


@pytest.mark.parametrize("number", [b"NaN", b"1" + b"0" * 30])
async def test_parameters_that_would_not_come_back_as_they_were_given_are_refused(
    hall: Any, enrolled: Any, number: bytes
) -> None:
    flow = orjson.dumps(hall.flow())
    body = b'{"document":%b,"parameters":{"machine":%b}}' % (flow, number)
    with pytest.raises(Refused, match="cannot be kept") as refusal:
        await enrolled.client.ask("PUT", "/api/v1/gateways/line1/flows/press1-oee", body=body)
    assert refusal.value.status == 422


async def test_a_wish_is_taken_back_and_the_gateway_is_told(hall: Any, enrolled: Any, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(hall.flow())
    for instance in ("press1-oee", "pres1-oee"):
        await push(enrolled.url, admin(enrolled), "line1", tmp_path, instance=instance, wait_s=0)
    done = await withdraw(enrolled.url, admin(enrolled), "line1", "pres1-oee")
    assert (done.instances, done.revision) == (["pres1-oee"], 3)
    async with CentralClient(enrolled.url, token=KEY) as device:
        desired = orjson.loads(await device.ask("GET", "/api/v1/gateways/line1/desired"))
    assert [flow["instance"] for flow in desired["flows"]] == ["press1-oee"]
    with pytest.raises(Rejected, match="there are wishes for: press1-oee"):
        await withdraw(enrolled.url, admin(enrolled), "line1", "pres1-oee")
    done = await withdraw(enrolled.url, admin(enrolled), "line1", "oee/press")
    assert done.instances == ["press1-oee"]


async def test_what_is_wrong_in_a_document_comes_in_its_parts(hall: Any, enrolled: Any) -> None:
    text = hall.flow().replace("good -> report", "a:b c -> report: x")
    body = orjson.dumps({"document": text, "file": "my flows/press: two/flow.yaml"})
    with pytest.raises(Refused) as refusal:
        await enrolled.client.ask("PUT", "/api/v1/gateways/line1/flows/press1-oee", body=body)
    [place] = refusal.value.body["places"]
    assert (place["file"], place["line"], place["column"]) == ("my flows/press: two/flow.yaml", 10, 5)
    assert place["message"]


async def test_a_report_of_another_version_does_not_keep_central_from_starting(hall: Any) -> None:
    async with hall.central() as central:
        token = await hall.token(central)
        await central.client.ask(
            "POST", "/api/v1/enrol", body=orjson.dumps({"protocol": 1, "token": token, "key": KEY})
        )
    with sqlite3.connect(central.settings.database) as connection:
        old = '{"revision": 1, "flows": [{"instance": "a", "state": "active"}]}'
        connection.execute("UPDATE gateway SET reported = ?", (old,))
    connection.close()
    async with hall.central() as central:
        assert (await central.get("/api/v1/gateways/line1"))["flows"] == []
