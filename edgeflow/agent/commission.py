"""Commissioning over HTTP: tools of the drivers, looking around, checks of devices, templates; as lines of JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from edgeflow import driver as drivers
from edgeflow.agent.views import (
    BrowseWish,
    CheckWish,
    DriverAbout,
    Drivers,
    FindingLine,
    LinkAbout,
    Links,
    RawTags,
    TemplateAbout,
    TemplateQuery,
    Templates,
    ToolAbout,
    ToolWish,
)
from edgeflow.clock import Clock, utc_text
from edgeflow.devices.connection import Connection
from edgeflow.devices.devices import Devices
from edgeflow.devices.part import GIVEN, given_link
from edgeflow.devices.plan import LinkPlan, Plant
from edgeflow.devices.template import FOLDER, Library
from edgeflow.devices.tool import MOST_FOUND, Look, address_of, browse, data_of, look_with, opened, tool_of, until
from edgeflow.document import explain, suggestion
from edgeflow.driver import Browses, Driver, Finding, Found, Home
from edgeflow.errors import ConfigError, EdgeFlowError, LinkDown, Rejected
from edgeflow.model import Secret
from edgeflow.units import NS_PER_S
from edgeflow.web.columns import wire
from edgeflow.web.routes import HttpProblem, Reply, Request, Route

T = TypeVar("T")

LINES = "application/x-ndjson"
MOST_AT_ONCE = 4
_LOOK_S = 0.5

Findings = AsyncGenerator[Finding, None]


class Commission:
    """The handlers and their routes; `base` is the folder of the configuration, where the site's templates are."""

    def __init__(self, plant: Plant, devices: Devices, home: Callable[[str], Home], base: Path, clock: Clock) -> None:
        self._plant, self._devices, self._home, self._clock = plant, devices, home, clock
        self._library = Library([base / FOLDER])
        self._running = 0
        self._reading = asyncio.Lock()  # of files, in a thread: several at once would take the loop's turns

    def routes(self) -> list[Route[Any, Any]]:
        route: Any = Route
        return [
            Route("GET", "/api/v1/links", self.links, "The connections, and what can be done with them.", answer=Links),
            Route("GET", "/api/v1/drivers", self.drivers, "The protocols that are installed.", answer=Drivers),
            Route("GET", "/api/v1/drivers/{driver}", self.driver, "One protocol: its settings.", answer=DriverAbout),
            route(
                "GET",
                "/api/v1/templates",
                self.templates,
                "The kinds of devices that are known.",
                answer=Templates,
                query=TemplateQuery,
            ),
            Route("GET", "/api/v1/raw/{device}", self.raw, "A device's values before scaling.", answer=RawTags),
            self._stream(
                "/api/v1/drivers/{driver}/tools/{tool}",
                self.run_tool,
                "Runs a tool on a link: scan, identify.",
                ToolWish,
            ),
            self._stream("/api/v1/browse", self.browse, "Looks around behind a link.", BrowseWish),
            self._stream("/api/v1/check", self.check, "Tries a device: does its template fit it?", CheckWish),
        ]

    def _stream(self, path: str, handler: Any, about: str, body: Any) -> Route[Any, Any]:
        about = f"{about} One JSON object a line, until the end or until the client leaves."
        return Route("POST", path, handler, about, body=body, answer=FindingLine, needs="token", media=LINES)

    # --- what there is --------------------------------------------------------------------------------

    async def links(self, _: Request[None, None]) -> Reply:
        behind: dict[str, list[str]] = {}
        for device in self._plant.devices.values():
            behind.setdefault(device.link, []).append(device.name)
        found = []
        for status in self._devices.status().links:
            plan = self._plant.links[status.name]
            found.append(
                LinkAbout(
                    name=status.name,
                    driver=status.driver,
                    address=address_of(plan),
                    state=status.state,
                    reason=status.reason,
                    exclusive=plan.driver.exclusive(plan.config),
                    devices=behind.get(status.name, []),
                    tools=[tool.name for tool in plan.driver.tools()],
                )
            )
        return Links(links=found)

    async def drivers(self, _: Request[None, None]) -> Reply:
        return Drivers(drivers=drivers.names())

    async def driver(self, request: Request[None, None]) -> Reply:
        found = await self._driver(request.path["driver"])
        return DriverAbout(
            name=found.name,
            about=found.about,
            link=found.link.model_json_schema(),
            device=found.device.model_json_schema(),
            point=found.point.model_json_schema(),
            tools=[
                ToolAbout(
                    name=tool.name, about=tool.about, changes=tool.changes, options=tool.options.model_json_schema()
                )
                for tool in found.tools()
            ],
        )

    async def templates(self, request: Request[None, TemplateQuery]) -> Reply:
        wanted = request.query.driver
        names = [wanted] if wanted else sorted({link.driver.name for link in self._plant.links.values()})
        if wanted:
            await self._driver(wanted)
        async with self._reading:
            return Templates(templates=await asyncio.to_thread(self._templates, names))

    def _templates(self, names: list[str]) -> list[TemplateAbout]:
        found = []
        for driver in names:
            for name in self._library.names(driver):
                try:
                    template = self._library.find(driver, name).template
                    about = TemplateAbout(template=name, driver=driver, title=template.title, fits=list(template.fits))
                except KeyError:
                    continue  # of the site, for another driver
                except ConfigError as error:
                    about = TemplateAbout(template=name, driver=driver, problem=str(error))
                found.append(about)
        return found

    async def _driver(self, name: str) -> Driver[Any, Any, Any]:
        if name not in drivers.names():
            raise HttpProblem(404, "Not found", f"There is no driver {name!r}{suggestion(name, drivers.names())}")
        try:
            async with self._reading:
                return await asyncio.to_thread(drivers.find, name)
        except ImportError as error:
            raise HttpProblem(503, "Not possible", f"The driver {name} cannot be loaded: {error}") from None

    async def raw(self, request: Request[None, None]) -> Reply:
        device = request.path["device"]
        try:
            found = self._devices.raw(device)
        except Rejected as error:
            raise HttpProblem(404, "Not found", str(error)) from None
        names = list(found)
        return RawTags(
            device=device, now=utc_text(self._clock.now_ns()), names=names, raw=[wire(found[name]) for name in names]
        )

    # --- what takes time ------------------------------------------------------------------------------

    async def run_tool(self, request: Request[ToolWish, None]) -> Reply:
        wish, name = request.body, request.path["driver"]
        link = await self._link_of({**wish.link, "driver": name} if isinstance(wish.link, dict) else wish.link)
        if link.driver.name != name:
            raise Rejected(f"the link {link.name} speaks {link.driver.name}, not {name}")
        tool = tool_of(link, request.path["tool"])
        try:
            options = tool.options.model_validate(wish.options)
        except ValidationError as error:
            raise _unfit(error, tool.options) from None
        findings = tool.run(link.config, self._home(name), options)
        return await self._told(
            request, self._alone(link, f"given to the tool {name} {tool.name}", findings, wish.take)
        )

    async def _alone(self, link: LinkPlan, reason: str, findings: AsyncIterator[Finding], take: bool) -> Findings:
        """The findings; a link that only one can open is given up by the agent for so long, if it may."""
        async with AsyncExitStack() as stack:
            if self._is_ours(link) and link.driver.exclusive(link.config):
                if not take:
                    raise Rejected(self._in_use(link))
                await stack.enter_async_context(self._devices.lent(link.name, reason))
            async with _closed(findings):
                async for finding in findings:
                    yield finding

    def _in_use(self, link: LinkPlan) -> str:
        devices = [device.name for device in self._plant.devices.values() if device.link == link.name]
        return (
            f"the link {link.name} is in use by the agent, and only one at a time can open it. With `take` the agent "
            f"gives it up for so long; then {', '.join(devices) or 'nothing'} is not read and not written"
        )

    def _is_ours(self, link: LinkPlan) -> bool:
        return self._plant.links.get(link.name) is link

    async def browse(self, request: Request[BrowseWish, None]) -> Reply:
        wish = request.body
        link = await self._link_of(wish.link)
        return await self._told(request, self._browse(link, wish))

    async def _browse(self, link: LinkPlan, wish: BrowseWish) -> Findings:
        """Through the agent's own session where it has one: some servers have no room for another."""
        timeout_s = wish.timeout / NS_PER_S
        async with AsyncExitStack() as stack:
            if self._is_ours(link):
                look = _look_over(self._devices.connection(link.name), timeout_s)
            else:
                session = await stack.enter_async_context(opened(link, self._home(link.driver.name)))
                look = look_with(session, timeout_s)
            async with aclosing(browse(look, wish.path, depth=wish.depth)) as findings:
                async for finding in findings:
                    yield finding

    async def check(self, request: Request[CheckWish, None]) -> Reply:
        from edgeflow.devices.check import Options, check_on  # noqa: PLC0415 - for the first who tries a device

        wish = request.body
        device = self._plant.devices.get(wish.device)
        if device is None:
            message = f"There is no device {wish.device!r}{suggestion(wish.device, self._plant.devices)}"
            raise HttpProblem(404, "Not found", message)
        connection = self._devices.connection(device.link)
        ask = partial(_ask, connection, device.timeout_ns / NS_PER_S)
        options = Options.model_construct(reads=wish.reads, every=wish.every, others=True)
        return await self._told(request, check_on(connection.session, ask, device, self._library, options))

    async def _link_of(self, wish: str | dict[str, Any]) -> LinkPlan:
        if isinstance(wish, str):
            if wish not in self._plant.links:
                message = f"There is no link {wish!r}{suggestion(wish, self._plant.links)}"
                raise HttpProblem(404, "Not found", message)
            return self._plant.links[wish]
        name = wish.get("driver")
        if not isinstance(name, str):
            raise HttpProblem(422, "The body does not fit", "link.driver: is required")
        await self._driver(name)
        try:
            link = given_link(name, {key: value for key, value in wish.items() if key != "driver"})
        except ConfigError as error:
            problems = [str(problem).strip().replace(f"links.{GIVEN}", "link") for problem in error.problems]
            raise HttpProblem(422, "The body does not fit", "; ".join(problems), problems) from None
        if found := ", ".join(_on_this_machine(link.config)):
            message = (
                f"link.{found}: files and secrets of this machine go only to links that its configuration names; "
                "write the link there and give its name"
            )
            raise HttpProblem(422, "The body does not fit", message, [message])
        return link

    async def _told(self, request: Request[Any, Any], findings: AsyncIterator[Finding]) -> Reply:
        """Sends findings line by line as they come; ends them where the client leaves.

        What goes wrong before the first finding is an answer of its own kind; after that, a last line.
        """
        if self._running >= MOST_AT_ONCE:
            raise HttpProblem(503, "Busy", f"{MOST_AT_ONCE} tools are running; wait for one of them to end.")
        self._running += 1
        stop = asyncio.Event()
        try:
            async with _closed(findings):
                with _watched(request.raw, stop):
                    return await _send(request.raw, findings, stop)
        finally:
            self._running -= 1


async def _send(raw: web.Request, findings: AsyncIterator[Finding], stop: asyncio.Event) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": LINES, "X-Accel-Buffering": "no"})
    last: dict[str, Any] = {"kind": "end"}
    try:
        async with aclosing(until(findings, stop)) as found:
            async for finding in found:
                if not response.prepared:
                    await response.prepare(raw)
                await response.write(orjson.dumps(data_of(finding)) + b"\n")
    except ConnectionError:
        return response
    except EdgeFlowError as error:
        if not response.prepared:
            raise
        last = {"kind": "error", "text": str(error)}
    if not response.prepared:
        await response.prepare(raw)
    if not stop.is_set():
        await response.write(orjson.dumps(last) + b"\n")
        await response.write_eof()
    return response


@contextmanager
def _watched(raw: web.Request, stop: asyncio.Event) -> Iterator[None]:
    """Sets `stop` as soon as the client is gone: a tool that finds nothing for long writes nothing either."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def look() -> None:
        if raw.transport is None or raw.transport.is_closing():
            stop.set()
        else:
            timers[:] = [loop.call_later(_LOOK_S, look)]

    look()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()


@asynccontextmanager
async def _closed(findings: AsyncIterator[Finding]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if isinstance(findings, AsyncGenerator):
            await findings.aclose()


async def _ask(connection: Connection, timeout_s: float, request: Callable[[float], Awaitable[T]]) -> T:
    """One request in its turn over the agent's session; where the link is lost by it, the agent opens it anew."""
    try:
        return await connection.ask(object(), request, timeout_s, patient=False)
    except LinkDown as error:
        connection.fail(str(error))
        raise


def _look_over(connection: Connection, timeout_s: float) -> Look:
    session = connection.session
    if not isinstance(session, Browses):
        raise Rejected("this driver cannot look around: write the addresses from the maker's list")

    async def look(path: str) -> AsyncGenerator[Found, None]:
        async def level(deadline: float) -> list[Found]:
            return [found async for found in _some(session.browse(path, deadline))]

        for found in await _ask(connection, timeout_s, level):
            yield found

    return look


async def _some(level: AsyncIterator[Found]) -> AsyncGenerator[Found, None]:
    """As much of a level as is shown, and one more: a server can go on with it for ever."""
    count = 0
    async for found in level:
        yield found
        count += 1
        if count > MOST_FOUND:
            return


def _on_this_machine(settings: BaseModel, above: str = "") -> Iterator[str]:
    """The settings that name a file or a secret: with them a request could send any of them to any address."""
    for name in type(settings).model_fields:
        value = getattr(settings, name, None)
        if isinstance(value, Secret | Path):
            yield above + name
        elif isinstance(value, BaseModel):
            yield from _on_this_machine(value, f"{above}{name}.")


def _unfit(error: ValidationError, model: type[BaseModel]) -> HttpProblem:
    problems = [
        f"{'.'.join(map(str, ('options', *detail['loc'])))}: {explain(detail, model)}" for detail in error.errors()
    ]
    return HttpProblem(422, "The body does not fit", "; ".join(problems), problems)
