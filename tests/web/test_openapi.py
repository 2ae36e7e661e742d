"""The description of the API is as strict as the checks, and what it allows is taken."""

from __future__ import annotations

import re
from typing import Any

import aiohttp
import pytest
from pydantic import TypeAdapter, ValidationError

from edgeflow.agent.views import WriteWish
from edgeflow.clock import SystemClock, utc_ns
from edgeflow.units import Duration
from edgeflow.web.guard import Guard
from edgeflow.web.live import Hub
from edgeflow.web.routes import Request, Route, build_app
from edgeflow.web.server import serve

DURATION: TypeAdapter[int] = TypeAdapter(Duration)


@pytest.mark.parametrize(
    "text",
    [
        "500 ms",
        "2s",
        "1.5 h",
        "1e3 ms",
        " 7 d ",
        "+1 s",
        "0 s",
        "-1 s",
        "1",
        "1 kWh",
        "s",
        "1 s 2",
        "1,5 s",
        "",
        "1e s",
    ],
)
def test_a_duration_is_taken_where_the_schema_says_so(text: str) -> None:
    pattern = DURATION.json_schema()["pattern"]
    try:
        DURATION.validate_python(text)
        taken = True
    except ValidationError:
        taken = False
    assert taken == (re.search(pattern, text) is not None)


@pytest.mark.parametrize("text", ["1e400 s", "1e300 d", "36501 d", "9" * 400 + " s"])
def test_a_duration_beyond_all_measure_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValidationError, match="at most 36500 d"):
        DURATION.validate_python(text)


@pytest.mark.parametrize("lease", ["1 ms", "9999 s", "1440 min", "1399 min", "24 h", "1 h"])
def test_a_lease_that_fits_its_schema_is_taken(lease: str) -> None:
    schema = WriteWish.model_json_schema()["properties"]["lease"]
    assert re.search(schema["pattern"], lease)
    wish = WriteWish.model_validate({"value": 1, "lease": lease, "reason": "a test"})
    assert 0 < wish.lease <= 24 * 3600 * 10**9


@pytest.mark.parametrize("lease", ["25 h", "1441 min", "0 s", "2 d", "soon"])
def test_a_lease_that_is_refused_does_not_fit_its_schema(lease: str) -> None:
    schema = WriteWish.model_json_schema()["properties"]["lease"]
    assert not re.search(schema["pattern"], lease)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01T00:00:00Z", "", "2026-03-01T06:00:00"])
def test_a_time_that_is_none_is_said_in_our_own_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time; write it as 2026|needs a UTC offset"):
        utc_ns(text)


async def test_a_websocket_that_is_asked_like_a_page_says_what_it_is() -> None:
    hub = Hub(SystemClock())

    async def live(request: Request[None, None]) -> Any:
        return await hub.attend(request.raw)

    routes: list[Route[Any, Any]] = [Route("GET", "/live", live, "Live.", status=101)]
    app = build_app(routes, title="t", version="1", guard=Guard())
    app.on_shutdown.append(hub.close)
    async with serve(app, "127.0.0.1", 0) as served, aiohttp.ClientSession() as client:
        for headers in ({}, {"Upgrade": "websocket"}, {"Upgrade": "websocket", "Connection": "Upgrade"}):
            async with client.get(f"{served.url}/live", headers=headers) as response:
                problem = await response.json(content_type="application/problem+json")
                assert (response.status, problem["title"]) == (426, "WebSocket only")
        async with client.ws_connect(f"{served.url}/live") as socket:
            assert (await socket.receive()).data
        async with client.get(f"{served.url}/api/v1/openapi.json") as response:
            operation = (await response.json())["paths"]["/live"]["get"]
    assert {one["name"] for one in operation["parameters"]} >= {"Upgrade", "Sec-WebSocket-Key"}
