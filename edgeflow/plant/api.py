"""The plant's HTTP side: the truth for any interval, and the switches for production and faults."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from edgeflow import clock
from edgeflow.errors import EdgeFlowError, Rejected
from edgeflow.model import Strict
from edgeflow.plant import truth
from edgeflow.plant.factory import Factory
from edgeflow.plant.fault import Fault, Faults

_HOSTS = ("localhost", "127.0.0.1")
_BODY_BYTES = 4096

M = TypeVar("M", bound=BaseModel)

HELP = """EdgeFlow simulated plant: what really happened, and switches to disturb it.

GET  /truth                     totals since the start, states, raw counters, lamp
GET  /truth?from=..&to=..       what was made and used in the interval; RFC 3339, for example 2026-11-20T06:00:00Z
GET  /truth/lamp?from=..&to=..  what the stack light showed in the interval
GET  /faults                    the faults in force
POST /faults                    {"device": "press", "fault": "hang", "seconds": 10}
                                devices: press, meter, io1, filler, oven
                                faults: hang, drop, restart, garble, reset_counter, none
POST /control                   {"running": false} holds both machines, {"running": true} lets them go on

Bodies are JSON and say so, for example:
  curl http://127.0.0.1:8070/faults -H 'Content-Type: application/json' \
       -d '{"device": "press", "fault": "hang", "seconds": 10}'

Left out, `from` is the start and `to` is now; outside of what is known they are moved to its edge.
"""


class Control(Strict):
    """Body of POST /control."""

    running: bool = Field(description="Whether the machines produce; false holds both where they are.")


class FaultOrder(Strict):
    """Body of POST /faults."""

    device: str = Field(description="Which device shall fail: press, meter, io1, filler or oven.")
    fault: Fault = Field(description="What shall happen to it; none ends what is in force.")
    seconds: float = Field(default=10.0, gt=0, le=86_400, description="How long it lasts, in seconds.")


class TruthApi:
    """The routes; loopback names only, bodies must be JSON."""

    def __init__(self, factory: Factory, faults: Faults) -> None:
        self._factory, self._faults = factory, faults

    def application(self) -> web.Application:
        app = web.Application(middlewares=[_guard], client_max_size=_BODY_BYTES)
        app.router.add_get("/", self._help)
        app.router.add_get("/truth", self._truth)
        app.router.add_get("/truth/lamp", self._lamp)
        app.router.add_post("/control", self._control)
        app.router.add_get("/faults", self._active)
        app.router.add_post("/faults", self._inject)
        return app

    async def _help(self, _: web.Request) -> web.Response:
        return web.Response(text=HELP)

    async def _truth(self, request: web.Request) -> web.Response:
        if "from" in request.query or "to" in request.query:
            return web.json_response(truth.interval(self._factory, *self._span(request)))
        return web.json_response(truth.present(self._factory) | {"faults": self._faults_now()})

    async def _lamp(self, request: web.Request) -> web.Response:
        return web.json_response(truth.lamp(self._factory, *self._span(request)))

    async def _control(self, request: web.Request) -> web.Response:
        order = await _body(request, Control)
        self._factory.hold(not order.running)
        return web.json_response(truth.present(self._factory))

    async def _active(self, _: web.Request) -> web.Response:
        return web.json_response(self._faults_now())

    async def _inject(self, request: web.Request) -> web.Response:
        order = await _body(request, FaultOrder)
        try:
            await self._faults.inject(order.device, order.fault, order.seconds)
        except Rejected as error:
            raise _refusal(str(error)) from None
        return web.json_response(self._faults_now())

    def _faults_now(self) -> dict[str, dict[str, str]]:
        return {
            name: {"fault": fault, "until": truth.moment(until_ns)}
            for name, (fault, until_ns) in self._faults.active().items()
        }

    def _span(self, request: web.Request) -> tuple[int, int]:
        """The interval that is asked for, cut to what is known."""
        now_ns, since_ns = self._factory.now(), self._factory.since_ns
        begin_ns, end_ns = _time(request, "from", since_ns), _time(request, "to", now_ns)
        if begin_ns > end_ns:
            raise _refusal("`from` is later than `to`")
        return min(max(begin_ns, since_ns), now_ns), min(max(end_ns, since_ns), now_ns)


@asynccontextmanager
async def served(api: TruthApi, port: int) -> AsyncIterator[None]:
    """Serves on the loopback while the block lasts; raises EdgeFlowError where the port is taken."""
    runner = web.AppRunner(api.application(), access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        except OSError as error:
            raise EdgeFlowError(f"the truth cannot listen on port {port}: {error.strerror}") from None
        yield
    finally:
        await runner.cleanup()


def _time(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        return clock.utc_ns(text)
    except ValueError as error:
        raise _refusal(f"`{name}`: {error}") from None


async def _body(request: web.Request, model: type[M]) -> M:
    if request.content_type != "application/json":
        raise _refusal("send JSON, with the header Content-Type: application/json")
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise _refusal(problems) from None


def _refusal(message: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=json.dumps({"error": message}), content_type="application/json")


@web.middleware
async def _guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """A page of somewhere else must not reach the plant through a browser here."""
    if request.host.partition(":")[0].lower() not in _HOSTS:
        raise web.HTTPForbidden(text="only localhost and 127.0.0.1 are served\n")
    return await handler(request)
