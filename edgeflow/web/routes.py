"""Typed routes: pydantic models in, pydantic models out, and the OpenAPI document from the same models.

class Wish(Strict):
    name: str = Field(description="Whom to greet.")

class Greeting(BaseModel):
    text: str = Field(description="The greeting.")

async def greet(request: Request[Wish, None]) -> Greeting:
    return Greeting(text=f"Hello {request.body.name}, you asked {request.path['place']}")

Route("POST", "/api/v1/places/{place}/greetings", greet, "Greets.", body=Wish, answer=Greeting, needs="token")
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import BaseModel, ValidationError

from edgeflow.document import MOST_PROBLEMS, explain
from edgeflow.errors import ConfigError, EdgeFlowError, LinkDown, Problem, Rejected, Unconfirmed
from edgeflow.store.database import StoreError
from edgeflow.web import openapi
from edgeflow.web.guard import Guard
from edgeflow.web.server import TRUST
from edgeflow.web.static import Pages

B = TypeVar("B")
Q = TypeVar("Q")

Needs = Literal["nobody", "token", "device"]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

JSON = "application/json"
BODY_LIMIT = 4 << 20
BODY_DEADLINE_S = 10.0


class HttpProblem(EdgeFlowError):
    """An answer other than success: sent as problem+json `{title, status, detail, problems}`.

    `title` names the kind of problem, `detail` tells a person what happened and what to do next,
    `problems` lists the single ones where there are several, `places` those of a document in their parts.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        problems: Sequence[str] = (),
        *,
        places: Sequence[Problem] = (),
    ) -> None:
        super().__init__(detail or title)
        self.status, self.title, self.detail, self.problems = status, title, detail, tuple(problems)
        self.places = tuple(places)

    def response(self) -> web.Response:
        body: dict[str, Any] = {
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "problems": self.problems,
        }
        if self.places:
            body["places"] = self.places
        return web.Response(status=self.status, body=orjson.dumps(body), content_type="application/problem+json")


@dataclass(frozen=True, slots=True)
class Request(Generic[B, Q]):
    """What a handler is given: everything checked already.

    `who` is what authentication found: `admin` for the token, the device's id for a device, "" for
    nobody. `raw` is for what is not plain request and answer, as a WebSocket.
    """

    path: Mapping[str, str]
    body: B
    query: Q
    who: str
    raw: web.Request


@dataclass(frozen=True, slots=True)
class Prepared:
    """An answer whose bytes are ready."""

    body: bytes
    media: str = JSON
    charset: str | None = None


Reply = BaseModel | Prepared | web.StreamResponse | None
"""What a handler returns: a model, ready bytes, a response of its own (WebSocket), or None for 204."""


@dataclass(frozen=True, slots=True)
class Route(Generic[B, Q]):
    """One operation. `about` is its documentation; `status` that of success; `media` the type of its answer.

    Raise `HttpProblem` for anything but success; `Rejected` becomes 409, `ConfigError` 422 with its
    problems, `LinkDown` 503.
    """

    method: Method
    path: str
    handler: Callable[[Request[B, Q]], Awaitable[Reply]]
    about: str
    body: type[B] | None = None
    answer: type[BaseModel] | None = None
    query: type[Q] | None = None
    needs: Needs = "nobody"
    status: int = 200
    media: str = JSON


Routes = Sequence[Route[Any, Any]]


def build_app(
    routes: Routes,
    *,
    title: str,
    version: str,
    guard: Guard,
    pages: Pages | None = None,
    body_limit: int = BODY_LIMIT,
    body_deadline_s: float = BODY_DEADLINE_S,
) -> web.Application:
    """The web application of these routes, with its OpenAPI document at /api/v1/openapi.json.

    Serve it with `edgeflow.web.server.serve`. Everything goes through the guard first.
    """
    app = web.Application(middlewares=[_problems, _checked(guard)], client_max_size=body_limit)
    app[TRUST] = guard.trusts
    app.on_response_prepare.append(_harden)
    document = orjson.dumps(openapi.document(routes, title=title, version=version))

    async def serve_document(_: web.Request) -> web.Response:
        return web.Response(body=document, content_type=JSON)

    app.router.add_get("/api/v1/openapi.json", serve_document)
    for route in routes:
        endpoint = _endpoint(route, guard, body_deadline_s)
        if route.method == "GET":
            app.router.add_get(route.path, endpoint)
        else:
            app.router.add_route(route.method, route.path, endpoint)
    if pages is not None:
        pages.add_to(app)
    return app


def _endpoint(route: Route[Any, Any], guard: Guard, body_deadline_s: float) -> Handler:
    async def endpoint(raw: web.Request) -> web.StreamResponse:
        who = await guard.identify(raw, route.needs)
        if who is None:
            raise HttpProblem(401, "Not allowed", guard.what_is_missing(route.needs))
        query = _validated(route.query, dict(raw.query), "query") if route.query else None
        body = _validated(route.body, await _body(raw, body_deadline_s), "body") if route.body else None
        reply = await route.handler(Request(raw.match_info, body, query, who, raw))
        return _response(reply, route)

    return endpoint


def check_upgrade(raw: web.Request) -> None:
    """To be called before a WebSocket is prepared; raises HttpProblem where the request does not open one."""
    if not web.WebSocketResponse().can_prepare(raw):
        detail = "This address speaks WebSocket alone; open it as one, with the headers that this needs."
        raise HttpProblem(426, "WebSocket only", detail)


def _response(reply: Reply, route: Route[Any, Any]) -> web.StreamResponse:
    if reply is None:
        return web.Response(status=204)
    if isinstance(reply, Prepared):
        return web.Response(
            status=route.status, body=reply.body, headers={"Content-Type": _content_type(reply.media, reply.charset)}
        )
    if isinstance(reply, BaseModel):
        return web.Response(status=route.status, body=reply.model_dump_json(by_alias=True).encode(), content_type=JSON)
    return reply


def _content_type(media: str, charset: str | None) -> str:
    return f"{media}; charset={charset}" if charset else media


async def _body(raw: web.Request, deadline_s: float) -> bytes:
    try:
        async with asyncio.timeout(deadline_s):
            return await raw.read()
    except TimeoutError:
        detail = f"The body did not arrive within {deadline_s:g} s."
        raise HttpProblem(408, "Too slow", detail) from None
    except web.RequestPayloadError as error:
        raise HttpProblem(400, "The body cannot be read", str(error)) from None


def _validated(model: type[Any], given: bytes | dict[str, str], what: str) -> Any:
    """The body (JSON text) or the query (text by name) as a model; every problem with its place."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        try:
            if isinstance(given, bytes):
                return model.model_validate_json(given)
            return model.model_validate(given)
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, detail['loc'])) or what}: {explain(detail, model)}"
                for detail in error.errors(include_url=False)[:MOST_PROBLEMS]
            ]
            raise HttpProblem(422, f"The {what} does not fit", "; ".join(problems), problems) from None
    raise TypeError(f"the {what} of a route must be a pydantic model, not {model!r}")


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every expected failure as problem+json; anything else is a bug and goes to the server's log as 500."""
    try:
        return await handler(request)
    except HttpProblem as problem:
        return _closing(problem)
    except ConfigError as error:
        problems = [str(problem) for problem in error.problems]
        detail = "; ".join(problems)
        return HttpProblem(422, "The document cannot be used", detail, problems, places=error.problems).response()
    except Unconfirmed as error:
        return HttpProblem(409, "Sent, but the device does not hold it", str(error)).response()
    except Rejected as error:
        return HttpProblem(409, "Refused", str(error)).response()
    except StoreError as error:
        return HttpProblem(503, "Nothing can be saved", str(error)).response()
    except LinkDown as error:
        return HttpProblem(503, "The device does not answer", str(error)).response()
    except web.HTTPRequestEntityTooLarge:
        return HttpProblem(413, "Too large", "The body is larger than this server accepts.").response()
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        response = HttpProblem(405, "Not possible here", f"This address knows {allowed}.").response()
        response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        return response
    except web.HTTPNotFound:
        detail = f"There is nothing at {request.path}; /api/v1/openapi.json lists what there is."
        return HttpProblem(404, "Not found", detail).response()
    except web.HTTPClientError as error:
        return HttpProblem(error.status, error.reason, error.text or "").response()


def _closing(problem: HttpProblem) -> web.Response:
    response = problem.response()
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if problem.status in (403, 408, 413):
        response.force_close()
    return response


def _checked(guard: Guard) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = guard.refusal(request)
        if refusal:
            raise HttpProblem(refusal.status, refusal.title, refusal.detail)
        return await handler(request)

    return check


HARDENING = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


async def _harden(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in HARDENING.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Server"] = "edgeflow"


def built_pages(name: Literal["agent", "central"]) -> Path:
    """Where the build of the pages puts them, inside the package."""
    return Path(__file__).parent / "pages" / name
