"""The agent's HTTP API over a view: every answer fits its model, everything that changes needs the token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from edgeflow.agent.api import build
from edgeflow.agent.views import Flows, Outputs, Results, Status, TagNow, TagTable, Written
from edgeflow.model import Block
from edgeflow.web.guard import Guard
from edgeflow.web.live import Hub
from edgeflow.web.server import serve
from tests.pages.plant import CLOCK, PRESS, Plant

TOKEN = "token-of-the-test"
KEY = {"Authorization": f"Bearer {TOKEN}"}


class Agent:
    """A served view and a client."""

    def __init__(self, plant: Plant, url: str, client: aiohttp.ClientSession) -> None:
        self.plant, self.url, self.client = plant, url, client

    async def get(self, path: str) -> tuple[int, bytes]:
        async with self.client.get(self.url + path) as response:
            return response.status, await response.read()

    async def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        async with self.client.post(
            self.url + path, json=body, headers=KEY if headers is None else headers
        ) as response:
            return response.status, (await response.json(content_type=None) if response.status != 204 else None)


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    plant = Plant()
    hub = Hub(CLOCK, pace_s=0.01)
    app, feed = build(plant, hub, Guard(token=TOKEN))
    async with serve(app, "127.0.0.1", 0) as served, aiohttp.ClientSession() as client, asyncio.TaskGroup() as tasks:
        feeding = tasks.create_task(feed.run())
        yield Agent(plant, served.url, client)
        feeding.cancel()


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/api/v1/status", Status),
        ("/api/v1/flows", Flows),
        ("/api/v1/outputs", Outputs),
        ("/api/v1/results", Results),
        ("/api/v1/tags", TagTable),
        ("/api/v1/tags?device=oven", TagTable),
        ("/api/v1/tags/press1/good", TagNow),
    ],
)
async def test_prepared_bytes_fit_their_models(agent: Agent, path: str, model: Any) -> None:
    status, body = await agent.get(path)
    assert status == 200
    model.model_validate_json(body)


async def test_the_status_names_devices_flows_outputs_and_the_queue(agent: Agent) -> None:
    status = Status.model_validate_json((await agent.get("/api/v1/status"))[1])
    assert {device.name: device.state for device in status.devices}["filler"] == "bad"
    assert status.outbox.records == 184
    assert status.outputs[1].elements["red"].winner == "andon_filler/lamp"
    assert status.flows[-1].state == "stopped"


async def test_tags_come_as_columns_of_one_device_or_all(agent: Agent) -> None:
    every = TagTable.model_validate_json((await agent.get("/api/v1/tags"))[1])
    assert {len(getattr(every, name)) for name in TagTable.model_fields} == {16}
    oven = TagTable.model_validate_json((await agent.get("/api/v1/tags?device=oven"))[1])
    assert oven.names == ["oven/temperature", "oven/setpoint"]
    assert (oven.values, oven.qualities) == ([184.6, 185.0], ["uncertain", "good"])
    assert oven.reasons == ["older than 5 s", ""]


async def test_an_unknown_name_suggests_the_right_one(agent: Agent) -> None:
    status, body = await agent.get("/api/v1/tags?device=ofen")
    assert (status, b"did you mean 'oven'?" in body) == (404, True)
    status, body = await agent.get("/api/v1/tags/press1/goood")
    assert (status, b"did you mean 'press1/good'?" in body) == (404, True)


async def test_one_tag_is_as_new_as_the_last_block(agent: Agent) -> None:
    agent.plant.columns.take(Block("press1", PRESS, [6, 9999, 0, 2.0, 0], CLOCK.now_ns(), CLOCK.now_ns()))
    tag = TagNow.model_validate_json((await agent.get("/api/v1/tags/press1/good"))[1])
    assert (tag.value, tag.quality, tag.unit) == (9999, "good", "pcs")


async def test_health_and_readiness_are_two_things(agent: Agent) -> None:
    assert (await agent.get("/healthz"))[0] == 200
    assert (await agent.get("/readyz"))[0] == 200
    agent.plant.problems = ["no device has given data yet"]
    assert (await agent.get("/healthz"))[0] == 200
    status, body = await agent.get("/readyz")
    assert (status, b"no device has given data yet" in body) == (503, True)


async def test_metrics_are_prometheus_text(agent: Agent) -> None:
    async with agent.client.get(f"{agent.url}/metrics") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "edgeflow_ticks_total 5" in await response.text()


async def test_a_manual_write_needs_the_token_and_is_answered_when_done(agent: Agent) -> None:
    wish = {"value": 190, "lease": "5 min", "reason": "trial"}
    assert (await agent.post("/api/v1/tags/oven/setpoint", wish, {}))[0] == 401
    assert agent.plant.writes == []
    status, answer = await agent.post("/api/v1/tags/oven/setpoint", wish)
    assert status == 200
    assert Written.model_validate(answer).value == 190.0
    assert agent.plant.writes == [("oven/setpoint", 190.0, "trial")]


@pytest.mark.parametrize(
    ("tag", "wish", "status", "words"),
    [
        ("press1/good", {"value": 1, "reason": "x"}, 409, "not writable"),
        ("oven/setpoint", {"value": "hot", "reason": "x"}, 422, "takes a number in °C"),
        ("oven/setpoint", {"value": True, "reason": "x"}, 422, "takes a number in °C"),
        ("io1/red", {"value": 2, "reason": "x"}, 422, "takes true or false"),
        ("oven/setpoint", {"value": 1}, 422, "reason: is required"),
        ("oven/setpoint", {"value": 1, "reason": "x", "lease": 10}, 422, "write a duration with its unit"),
        ("oven/setpoint", {"value": 1, "reason": "x", "lease": "30 d"}, 422, "up to `24 h`"),
        ("oven/nothing", {"value": 1, "reason": "x"}, 404, "There is no tag"),
    ],
)
async def test_a_write_that_cannot_be_is_refused_in_plain_words(
    agent: Agent, tag: str, wish: dict[str, Any], status: int, words: str
) -> None:
    found, answer = await agent.post(f"/api/v1/tags/{tag}", wish)
    assert (found, words in answer["detail"]) == (status, True), answer
    assert agent.plant.writes == []


async def test_a_number_that_is_not_finite_is_never_written(agent: Agent) -> None:
    headers = KEY | {"Content-Type": "application/json"}
    body = b'{"value": 1e999, "reason": "x"}'
    async with agent.client.post(f"{agent.url}/api/v1/tags/oven/setpoint", data=body, headers=headers) as response:
        assert response.status == 422
    assert agent.plant.writes == []


async def test_an_andon_button_needs_the_token_and_a_flow_that_knows_it(agent: Agent) -> None:
    assert (await agent.post("/api/v1/andon/andon_flow/acknowledge", {}, {}))[0] == 401
    assert (await agent.post("/api/v1/andon/andon_flow/acknowledge", {"by": "Kim"}))[0] == 204
    assert agent.plant.presses == [("andon_flow", "acknowledge")]
    status, answer = await agent.post("/api/v1/andon/andon_flow/dance", {})
    assert (status, "knows no button" in answer["detail"]) == (409, True)


async def test_the_live_feed_begins_with_everything_and_goes_on_with_changes(agent: Agent) -> None:
    seen: dict[str, Any] = {}
    async with agent.client.ws_connect(f"{agent.url}/api/v1/live") as socket, asyncio.timeout(15):
        frame = await socket.receive_json()
        assert frame["kind"] == "all"
        seen |= frame["set"]
        assert seen["device/filler"]["state"] == "bad"
        assert seen["tags/oven/0"]["values"] == [184.6, 185.0]
        assert seen["plan/oven/0"]["names"] == ["oven/temperature", "oven/setpoint"]
        assert seen["result/oee/press1/early"]["data"]["good"] == 3481
        agent.plant.good = 3500
        agent.plant.blocks()
        agent.plant.healthy = True
        del agent.plant.records["andon", "filler"]
        gone: set[str] = set()
        while (
            seen["device/filler"]["state"] != "good"
            or seen["tags/press1/0"]["values"][1] != 3500
            or not {"flow/oven_door", "result/andon/filler"} <= gone
        ):
            frame = await socket.receive_json()
            assert frame["kind"] == "new"
            seen |= frame["set"]
            gone |= {key for key, value in frame["set"].items() if value is None}


async def test_nothing_is_rendered_while_nobody_looks(agent: Agent) -> None:
    asked = 0
    results = agent.plant.results

    def counted() -> Any:
        nonlocal asked
        asked += 1
        return results()

    agent.plant.results = counted  # type: ignore[method-assign]
    await asyncio.sleep(1.2)  # longer than two turns of the feed
    assert asked == 0
    await agent.get("/api/v1/results")
    assert asked == 1


async def test_the_openapi_document_is_valid_and_names_every_operation(agent: Agent) -> None:
    async with agent.client.get(f"{agent.url}/api/v1/openapi.json") as response:
        document = await response.json()
    OpenAPIV31SpecValidator(document).validate()
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations) == 12
    changing = {one["operationId"] for one in operations if one.get("security") == [{"token": []}]}
    assert changing == {"write_tag", "press_andon"}
    for schema in document["components"]["schemas"].values():
        for name, part in schema["properties"].items():
            assert part.get("description") or "$ref" in part, (schema["title"], name)


@pytest.mark.parametrize("view", ["/", "/tags", "/andon", "/oee", "/energy", "/flows"])
async def test_every_page_has_an_address_of_its_own(agent: Agent, view: str) -> None:
    async with agent.client.get(agent.url + view) as response:
        assert (response.status, response.content_type) == (200, "text/html")


async def test_a_result_that_json_cannot_hold_is_shown_all_the_same(agent: Agent) -> None:
    agent.plant.record("odd", "one", {"huge": 2**64, "raw": b"\x01", "nan": float("nan")})
    body = (await agent.get("/api/v1/results"))[1]
    odd = next(one for one in Results.model_validate_json(body).results if one.stream == "odd")
    assert odd.data == {"huge": "18446744073709551616", "raw": "01", "nan": None}
