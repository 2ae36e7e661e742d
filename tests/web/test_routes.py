"""Typed routes: what does not fit is refused in plain words; the OpenAPI document is valid."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, Field

from edgeflow.errors import ConfigError, LinkDown, Problem, Rejected
from edgeflow.model import Strict
from edgeflow.web.guard import Guard
from edgeflow.web.routes import HttpProblem, Reply, Request, Route, build_app
from edgeflow.web.server import Served, serve


class Item(Strict):
    """One thing."""

    name: str = Field(description="Its name.")
    count: int = Field(1, ge=1, description="How many.")


class Wish(Strict):
    """What is wanted."""

    items: list[Item] = Field(description="The things.")


class Filter(Strict):
    """Which ones."""

    limit: int = Field(10, le=100, description="How many at most.")
    name: str | None = Field(None, description="Only this one.")


class Done(BaseModel):
    """What was done."""

    total: int = Field(description="How many things.")
    place: str = Field(description="Where.")


async def order(request: Request[Wish, None]) -> Reply:
    return Done(total=sum(item.count for item in request.body.items), place=request.path["place"])


async def look(request: Request[None, Filter]) -> Reply:
    return Done(total=request.query.limit, place=request.query.name or "")


async def forget(_: Request[None, None]) -> Reply:
    return None


async def fail(request: Request[None, None]) -> Reply:
    problem = Problem("flow.yaml", 7, 23, "nodes.x", "unknown kind")
    failures: dict[str, Exception] = {
        "rejected": Rejected("The lamp is held by the operator."),
        "link": LinkDown("10.0.0.5 does not answer."),
        "config": ConfigError([problem]),
        "own": HttpProblem(418, "Teapot", "No coffee here.", ["one", "two"]),
    }
    raise failures[request.path["how"]]


ROUTES = [
    Route("POST", "/places/{place}/orders", order, "Orders.", body=Wish, answer=Done, status=201),
    Route("GET", "/things", look, "Looks.", query=Filter, answer=Done),
    Route("DELETE", "/things", forget, "Forgets.", status=204, needs="token"),
    Route("GET", "/fail/{how}", fail, "Fails."),
]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    app = build_app(ROUTES, title="Things", version="1.2.3", guard=Guard(token="t" * 16))
    async with serve(app, "127.0.0.1", 0) as served:
        yield served


async def ask(served: Served, method: str, path: str, **more: Any) -> tuple[int, Any, Any]:
    async with aiohttp.ClientSession() as client, client.request(method, served.url + path, **more) as response:
        text = await response.text()
        return response.status, (await response.json(content_type=None) if text else None), response.headers


async def test_a_body_becomes_a_model_and_a_model_the_answer(served: Served) -> None:
    wish = {"items": [{"name": "bolt", "count": 3}, {"name": "nut"}]}
    status, answer, headers = await ask(served, "POST", "/places/hall2/orders", json=wish)
    assert (status, answer) == (201, {"total": 4, "place": "hall2"})
    assert headers["Content-Type"].startswith("application/json")


async def test_every_problem_of_a_body_is_named_with_its_place(served: Served) -> None:
    wish = {"items": [{"nam": "bolt"}, {"name": "nut", "count": 0}]}
    status, answer, headers = await ask(served, "POST", "/places/hall2/orders", json=wish)
    assert status == 422
    assert headers["Content-Type"].startswith("application/problem+json")
    assert "items.0.name: is required" in answer["problems"]
    assert any(problem.startswith("items.0.nam: unknown key 'nam'") for problem in answer["problems"])
    assert any(problem.startswith("items.1.count:") for problem in answer["problems"])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
async def test_what_is_no_such_body_is_refused_and_never_a_server_error(served: Served, body: bytes) -> None:
    status, answer, _ = await ask(served, "POST", "/places/hall2/orders", data=body)
    assert status == 422
    assert answer["detail"]


async def test_a_query_is_checked_like_a_body(served: Served) -> None:
    assert (await ask(served, "GET", "/things?limit=7&name=nut"))[1] == {"total": 7, "place": "nut"}
    assert (await ask(served, "GET", "/things"))[1]["total"] == 10
    for query in ("limit=1000", "limit=many", "colour=red"):
        status, answer, _ = await ask(served, "GET", f"/things?{query}")
        assert (status, answer["title"]) == (422, "The query does not fit")


async def test_nothing_to_say_is_204(served: Served) -> None:
    assert (await ask(served, "DELETE", "/things", headers={"Authorization": f"Bearer {'t' * 16}"}))[0] == 204


@pytest.mark.parametrize(
    ("how", "status", "detail"),
    [
        ("rejected", 409, "The lamp is held by the operator."),
        ("link", 503, "10.0.0.5 does not answer."),
        ("config", 422, "flow.yaml:7:23 nodes.x: unknown kind"),
        ("own", 418, "No coffee here."),
    ],
)
async def test_expected_failures_have_a_status_and_words(served: Served, how: str, status: int, detail: str) -> None:
    found, answer, _ = await ask(served, "GET", f"/fail/{how}")
    assert (found, answer["status"], answer["detail"]) == (status, status, detail)


async def test_unknown_places_and_methods_say_what_there_is(served: Served) -> None:
    status, answer, _ = await ask(served, "GET", "/nowhere")
    assert (status, answer["title"]) == (404, "Not found")
    status, answer, headers = await ask(served, "PUT", "/things")
    assert (status, headers["Allow"]) == (405, "DELETE, GET, HEAD")
    assert "DELETE" in answer["detail"]
    assert (await ask(served, "HEAD", "/things"))[:2] == (200, None)


async def test_every_answer_is_hardened(served: Served) -> None:
    for path in ("/things", "/nowhere", "/fail/own", "/api/v1/openapi.json"):
        headers = (await ask(served, "GET", path))[2]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


async def test_the_openapi_document_is_valid_and_complete(served: Served) -> None:
    document = (await ask(served, "GET", "/api/v1/openapi.json"))[1]
    OpenAPIV31SpecValidator(document).validate()
    assert document["info"] == {"title": "Things", "version": "1.2.3"}
    assert set(document["paths"]) == {"/places/{place}/orders", "/things", "/fail/{how}"}
    forgetting = document["paths"]["/things"]["delete"]
    assert forgetting["security"] == [{"token": []}]
    looking = document["paths"]["/things"]["get"]["parameters"]
    assert [(one["name"], one["in"], one["required"]) for one in looking] == [
        ("limit", "query", False),
        ("name", "query", False),
    ]
    assert document["components"]["schemas"]["Item"]["properties"]["count"]["minimum"] == 1


async def test_of_very_many_problems_the_first_hundred_are_told(served: Served) -> None:
    wish = {"items": [], **{f"k{i}": 1 for i in range(2000)}}
    status, answer, _ = await ask(served, "POST", "/places/hall2/orders", json=wish)
    assert (status, len(answer["problems"])) == (422, 100)


async def test_a_body_that_is_not_packed_as_it_says_is_refused(served: Served) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    status, answer, _ = await ask(served, "POST", "/places/hall2/orders", data=b"{}", headers=headers)
    assert (status, answer["title"]) == (400, "The body cannot be read")
