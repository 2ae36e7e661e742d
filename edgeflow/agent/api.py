"""The agent's HTTP API and live feed, drawn from one view of the agent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import orjson
from aiohttp import web
from pydantic import BaseModel

from edgeflow import __version__
from edgeflow.agent.views import (
    Flows,
    Health,
    Outputs,
    Press,
    Results,
    Status,
    TagNow,
    TagQuery,
    TagTable,
    WriteWish,
    Written,
)
from edgeflow.clock import utc_text
from edgeflow.document import suggestion
from edgeflow.model import Record, Scalar, Tag
from edgeflow.store.wire import json_value
from edgeflow.units import NS_PER_S
from edgeflow.web.columns import Chunk, TagColumns, wire
from edgeflow.web.guard import Guard
from edgeflow.web.live import Hub
from edgeflow.web.routes import HttpProblem, Prepared, Reply, Request, Route, Routes, build_app, built_pages
from edgeflow.web.static import Pages

VIEWS = ("/", "/tags", "/andon", "/oee", "/energy", "/flows")
_LONGEST_LEASE_NS = 24 * 3600 * NS_PER_S
_LARGEST = 10**308
"""A float's range, near enough; this also keeps NaN and infinity out."""


class AgentView(Protocol):
    """What the API needs of the agent. The plain calls are quick: they are made twice a second while somebody looks."""

    @property
    def columns(self) -> TagColumns:
        """The newest sample of every tag."""

    def status(self) -> Status:
        """Gateway, devices, flows, outputs, outbox and central as they are now."""

    def results(self) -> Iterable[Record]:
        """The newest record per (stream, key)."""

    def unready(self) -> Sequence[str]:
        """What is still missing before the agent does its job; empty when it is ready."""

    def metrics(self) -> bytes:
        """The Prometheus text."""

    async def write(self, tag: str, value: Scalar, *, lease_ns: int, reason: str) -> Written:
        """Writes as the operator; returns after the device had it. Raises Rejected or LinkDown."""

    async def press(self, instance: str, action: str, press: Press) -> None:
        """Hands an operator's action to a flow; returns after it was committed. Raises Rejected."""


class LiveFeed:
    """Turns the view into bytes per key for the hub, at most every `every_s` and only while somebody looks.

    Keys: `gateway`, `outbox`, `central`, `device/NAME`, `flow/NAME`, `output/NAME`, `result/STREAM/KEY`,
    `plan/DEVICE/FIRST` and `tags/DEVICE/FIRST` (columns of up to 100 tags).
    """

    def __init__(self, view: AgentView, hub: Hub, *, every_s: float = 0.5) -> None:
        self._view, self._hub, self._every_s = view, hub, every_s
        self._records: dict[str, Record] = {}
        self._lock = asyncio.Lock()
        self._next = 0.0

    async def run(self) -> None:
        """Feeds the hub for ever."""
        while True:
            if self._hub.watched:
                await self.refresh()
            await asyncio.sleep(self._every_s)

    async def refresh(self, *, at_once: bool = False) -> None:
        """Brings the hub up to date, unless that was done just now."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now < self._next and not at_once:
                return
            self._next = now + self._every_s / 2
            self._publish_status(self._view.status())
            await self._publish_results()
            for chunk in await self._view.columns.render():
                self._publish_chunk(chunk)

    def _publish_status(self, status: Status) -> None:
        keyed: dict[str, BaseModel] = {"gateway": status.gateway, "outbox": status.outbox, "central": status.central}
        keyed |= {f"device/{device.name}": device for device in status.devices}
        keyed |= {f"flow/{flow.name}": flow for flow in status.flows}
        keyed |= {f"output/{output.name}": output for output in status.outputs}
        for key, model in keyed.items():
            self._hub.publish(key, model.model_dump_json().encode())
        self._forget(("device/", "flow/", "output/"), keyed)

    async def _publish_results(self) -> None:
        seen: dict[str, Record] = {}
        for count, record in enumerate(self._view.results()):
            key = f"result/{record.stream}/{record.key}"
            seen[key] = record
            if self._records.get(key) is not record:
                self._hub.publish(key, result_bytes(record))
            if count % 50 == 49:
                await asyncio.sleep(0)
        self._records = seen
        self._forget(("result/",), seen)

    def _forget(self, prefixes: tuple[str, ...], known: dict[str, Any]) -> None:
        for key in [key for key in self._hub.values if key.startswith(prefixes) and key not in known]:
            self._hub.publish(key, None)

    def _publish_chunk(self, chunk: Chunk) -> None:
        plan = f"plan/{chunk.key}"
        if plan not in self._hub.values:
            self._hub.publish(plan, _object(chunk.plan))
        self._hub.publish(f"tags/{chunk.key}", _object(chunk.now))

    def section(self, prefix: str) -> bytes:
        """The values of all keys that begin so, as a JSON array."""
        return b"[%b]" % b",".join([value for key, value in self._hub.values.items() if key.startswith(prefix)])

    def one(self, key: str) -> bytes:
        return self._hub.values[key]


def _object(columns: dict[str, bytes]) -> bytes:
    return b"{%b}" % b",".join([b'"%b":[%b]' % (name.encode(), column) for name, column in columns.items()])


def result_bytes(record: Record) -> bytes:
    """A record in the form of `Result`."""
    shown = {
        "stream": record.stream,
        "key": record.key,
        "version": record.version,
        "flow": record.flow,
        "at": utc_text(record.at),
        "begin": None if record.begin is None else utc_text(record.begin),
        "end": None if record.end is None else utc_text(record.end),
        "status": record.status,
        "quality": record.quality.name.lower(),
        "coverage": record.coverage,
        "data": record.data,
    }
    try:
        return orjson.dumps(shown, option=orjson.OPT_STRICT_INTEGER)
    except TypeError:
        return orjson.dumps(json_value(shown))


def build(
    view: AgentView, hub: Hub, guard: Guard, *, pages: Pages | None = None, more: Routes = ()
) -> tuple[web.Application, LiveFeed]:
    """The agent's web application, with `more` routes, and the feed whose `run` belongs into its task group."""
    feed = LiveFeed(view, hub)
    pages = pages or Pages(built_pages("agent"), VIEWS)
    routes = [*AgentApi(view, hub, feed).routes(), *more]
    app = build_app(routes, title="EdgeFlow agent", version=__version__, guard=guard, pages=pages)
    app.on_shutdown.append(hub.close)
    return app, feed


class AgentApi:
    """The handlers and their routes."""

    def __init__(self, view: AgentView, hub: Hub, feed: LiveFeed) -> None:
        self._view, self._hub, self._feed = view, hub, feed

    def routes(self) -> list[Route[Any, Any]]:
        return [
            Route("GET", "/healthz", self.healthz, "Whether the process lives.", answer=Health),
            Route("GET", "/readyz", self.readyz, "Whether it does its job; 503 says what is missing.", answer=Health),
            Route("GET", "/metrics", self.metrics, "Measurements for Prometheus.", media="text/plain"),
            Route("GET", "/api/v1/status", self.status, "Devices, flows, outputs, queue and central.", answer=Status),
            Route(
                "GET",
                "/api/v1/tags",
                self.tags,
                "The newest of every tag, as columns.",
                answer=TagTable,
                query=TagQuery,
            ),
            Route("GET", "/api/v1/tags/{device}/{name}", self.tag, "The newest of one tag.", answer=TagNow),
            Route("GET", "/api/v1/flows", self.flows, "The flows.", answer=Flows),
            Route("GET", "/api/v1/outputs", self.outputs, "The outputs and who wants what of them.", answer=Outputs),
            Route("GET", "/api/v1/results", self.results, "The newest result per stream and key.", answer=Results),
            Route("GET", "/api/v1/live", self.live, "All of this as it changes (WebSocket).", status=101),
            Route(
                "POST",
                "/api/v1/tags/{device}/{name}",
                self.write_tag,
                "Writes a tag as the operator; answered after the device had it.",
                body=WriteWish,
                answer=Written,
                needs="token",
            ),
            Route(
                "POST",
                "/api/v1/andon/{instance}/{action}",
                self.press_andon,
                "Presses a button of an Andon flow; answered after it was committed.",
                body=Press,
                needs="token",
                status=204,
            ),
        ]

    async def healthz(self, _: Request[None, None]) -> Reply:
        return Health(ok=True)

    async def readyz(self, _: Request[None, None]) -> Reply:
        problems = list(self._view.unready())
        if problems:
            raise HttpProblem(503, "Not ready", "; ".join(problems), problems)
        return Health(ok=True)

    async def metrics(self, _: Request[None, None]) -> Reply:
        return Prepared(self._view.metrics(), "text/plain; version=0.0.4", "utf-8")

    async def status(self, _: Request[None, None]) -> Reply:
        await self._feed.refresh()
        single = b",".join(
            [b'"%b":%b' % (key.encode(), self._feed.one(key)) for key in ("gateway", "outbox", "central")]
        )
        several = b",".join([b'"%b":%b' % (name, self._feed.section(keys)) for name, keys in _SECTIONS.items()])
        return Prepared(b"{%b,%b}" % (single, several))

    async def flows(self, _: Request[None, None]) -> Reply:
        await self._feed.refresh()
        return Prepared(b'{"flows":%b}' % self._feed.section("flow/"))

    async def outputs(self, _: Request[None, None]) -> Reply:
        await self._feed.refresh()
        return Prepared(b'{"outputs":%b}' % self._feed.section("output/"))

    async def results(self, _: Request[None, None]) -> Reply:
        await self._feed.refresh()
        return Prepared(b'{"results":%b}' % self._feed.section("result/"))

    async def tags(self, request: Request[None, TagQuery]) -> Reply:
        await self._feed.refresh()
        device = request.query.device
        chunks = [chunk for chunk in self._view.columns.chunks if device in (None, chunk.device)]
        if device is not None and not chunks:
            raise _no_such("device", device, {chunk.device for chunk in self._view.columns.chunks})
        return Prepared(await self._view.columns.joined(chunks)) if chunks else TagTable.model_validate(_EMPTY)

    async def tag(self, request: Request[None, None]) -> Reply:
        found = _tag(self._view, request)
        value, quality, reason, source_ns = self._view.columns.value(found.name)
        return TagNow(
            name=found.name,
            type=found.type,
            unit=found.unit,
            writable=found.writable,
            value=wire(value),
            quality=quality.name.lower(),
            time=utc_text(source_ns) if source_ns else None,
            reason=reason,
        )

    async def write_tag(self, request: Request[WriteWish, None]) -> Reply:
        found, wish = _tag(self._view, request), request.body
        if not found.writable:
            raise HttpProblem(409, "Refused", f"{found.name} is not writable; its device's configuration says so.")
        if not 0 < wish.lease <= _LONGEST_LEASE_NS:
            raise HttpProblem(422, "The body does not fit", "lease: write a time up to `24 h`")
        written = await self._view.write(
            found.name, _fitting(found, wish.value), lease_ns=wish.lease, reason=wish.reason
        )
        await self._feed.refresh(at_once=True)
        return written

    async def press_andon(self, request: Request[Press, None]) -> Reply:
        await self._view.press(request.path["instance"], request.path["action"], request.body)
        await self._feed.refresh(at_once=True)
        return None

    async def live(self, request: Request[None, None]) -> Reply:
        await self._feed.refresh()
        return await self._hub.attend(request.raw, trusted=bool(request.who))


_SECTIONS = {b"devices": "device/", b"flows": "flow/", b"outputs": "output/"}
"""The lists of the status, and the keys of what is in them."""
_EMPTY: dict[str, list[Any]] = {name: [] for name in TagTable.model_fields}


def _no_such(what: str, name: str, known: Iterable[str]) -> HttpProblem:
    return HttpProblem(404, "Not found", f"There is no {what} {name!r}{suggestion(name, known)}.".replace("?.", "?"))


def _tag(view: AgentView, request: Request[Any, Any]) -> Tag:
    name = f"{request.path['device']}/{request.path['name']}"
    found = view.columns.tags.get(name)
    if found is None:
        device = request.path["device"]
        known = [tag for tag in view.columns.tags if tag.startswith(f"{device}/")] or list(view.columns.tags)
        raise _no_such("tag", name, known)
    return found


def _fitting(tag: Tag, value: bool | float | str) -> Scalar:
    """The value in the tag's own type; what would have to be guessed is refused."""
    if tag.type == "boolean" and (isinstance(value, bool) or value in (0, 1)):
        return bool(value)
    if not isinstance(value, (bool, str)) and -_LARGEST < value < _LARGEST:
        if tag.type == "integer" and value == value // 1:
            return int(value)
        if tag.type == "number":
            return float(value)
    if tag.type == "text" and isinstance(value, str):
        return value
    wanted = {"boolean": "true or false", "integer": "a whole number", "number": "a number"}.get(tag.type, "text")
    unit = f" in {tag.unit}" if tag.unit else ""
    raise HttpProblem(422, "The body does not fit", f"value: {tag.name} takes {wanted}{unit}, not {value!r}")
