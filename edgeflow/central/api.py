"""The HTTP operations of the central server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import structlog
from aiohttp import WSCloseCode, WSMsgType, web
from pydantic import BaseModel, ValidationError

from edgeflow import __version__
from edgeflow.central.archive import Archive
from edgeflow.central.board import Board, summary
from edgeflow.central.fleet import Fleet, Gateway, issue_token
from edgeflow.central.probe import Probe
from edgeflow.central.storage import Keeper
from edgeflow.central.views import (
    Gateways,
    GatewayView,
    Health,
    RawRecords,
    RecordQuery,
    ResultQuery,
    Results,
    Storage,
    Token,
    TokenWish,
    WaitQuery,
)
from edgeflow.clock import SystemClock, utc_text
from edgeflow.store.database import Database, StoreError
from edgeflow.store.wire import WireRecord
from edgeflow.sync.protocol import (
    PROTOCOL,
    Acknowledged,
    Announced,
    Batch,
    Desired,
    Enrolled,
    Enrolment,
    FlowProgress,
    FlowPush,
    Gap,
    Live,
    Progress,
    Pushed,
    Reported,
    Withdrawn,
)
from edgeflow.web.routes import HttpProblem, Needs, Prepared, Request, Route, Routes, check_upgrade

log = structlog.get_logger(__name__)

T = TypeVar("T")

_ROOT = "/api/v1/gateways/{gateway}"
_SEND_S = 2.0
_MESSAGE_S = 0.02
_LIVE_BYTES_PER_S = 1 << 20
"""So fast one gateway is listened to; what it sends faster waits on its side."""


class Api:
    """The operations, over a fleet and an archive."""

    def __init__(
        self,
        database: Database,
        fleet: Fleet,
        archive: Archive,
        board: Board,
        clock: SystemClock,
        keeper: Keeper,
        *,
        token_life_ns: int,
        metrics: Callable[[], bytes],
    ) -> None:
        self._database = database
        self._fleet = fleet
        self._archive = archive
        self._board = board
        self._clock = clock
        self._keeper = keeper
        self._token_life_ns = token_life_ns
        self._metrics = metrics
        self._probe = Probe(database, clock)

    def routes(self) -> Routes:
        """The table of all operations."""
        return (*self._for_gateways(), *self._for_people(), *self._for_machines())

    def _for_gateways(self) -> Routes:
        device: Needs = "device"
        return (
            Route("POST", "/api/v1/enrol", self.enrol, "Makes a gateway known.", body=Enrolment, answer=Enrolled),
            Route("POST", f"{_ROOT}/batches", self.take, "Takes results.", Batch, Acknowledged, needs=device),
            Route("GET", f"{_ROOT}/socket", self.attend, "The gateway's WebSocket.", needs=device, status=101),
            Route("GET", f"{_ROOT}/desired", self.desired, "What it shall run.", answer=Desired, needs=device),
            Route("PUT", f"{_ROOT}/reported", self.report, "What it runs.", body=Reported, needs=device, status=204),
            Route("GET", "/api/v1/flows/{version}", self.flow, "A flow document in its canonical form."),
        )

    def _for_people(self) -> Routes:
        flow, token, wait = f"{_ROOT}/flows/{{target}}", "/api/v1/tokens", WaitQuery
        return (
            Route("GET", "/api/v1/gateways", self.gateways, "All gateways.", answer=Gateways),
            Route("GET", _ROOT, self.gateway, "One gateway.", answer=GatewayView),
            Route("PUT", flow, self.push, "Wishes for a flow version.", FlowPush, Pushed, needs="token"),
            Route("DELETE", flow, self.withdraw, "Takes a wish back.", answer=Withdrawn, needs="token"),
            Route("GET", flow, self.progress, "How far a wish has come.", answer=Progress, query=wait),
            Route("GET", "/api/v1/results", self.results, "Newest versions of results.", None, Results, ResultQuery),
            Route("GET", "/api/v1/records", self.records, "Records as they came.", None, RawRecords, RecordQuery),
            Route("GET", "/api/v1/storage", self.storage, "What is kept, and for how long.", answer=Storage),
            Route("POST", token, self.token, "Makes a one-time token.", TokenWish, Token, needs="token", status=201),
            Route("GET", "/api/v1/live", self.live, "The page's WebSocket.", status=101),
        )

    def _for_machines(self) -> Routes:
        return (
            Route("GET", "/healthz", self.health, "Whether the process works.", answer=Health),
            Route("GET", "/readyz", self.ready, "Whether it can take results.", answer=Health),
            Route("GET", "/metrics", self.scrape, "Metrics for Prometheus.", media="text/plain"),
        )

    async def enrol(self, request: Request[Enrolment, None]) -> Enrolled:
        _speaks(request.body.protocol)
        gateway = await _kept(self._fleet.enrol(request.body))
        self._board.gateway(gateway)
        log.info("gateway enrolled", gateway=gateway.id)
        return Enrolled(gateway=gateway.id)

    async def take(self, request: Request[Batch, None]) -> BaseModel | web.Response:
        gateway = self._asking(request)
        _speaks(request.body.protocol)
        taken, fresh = await _kept(self._archive.take(gateway.id, request.body))
        if taken.gap:
            return _gap(request.body.seq, taken.last_seq + 1)
        gateway.seen_ns = self._clock.now_ns()
        gateway.records += taken.fresh
        gateway.lost += taken.lost
        if taken.lost:
            log.error("a gateway has lost results", gateway=gateway.id, count=taken.lost)
        for record in fresh:
            self._board.result(gateway.id, record)
        self._board.gateway(gateway)
        return Acknowledged(acknowledged=taken.last_seq, revision=gateway.revision)

    async def desired(self, request: Request[None, None]) -> Desired:
        return await self._fleet.desired(self._asking(request).id)

    async def report(self, request: Request[Reported, None]) -> None:
        gateway = self._asking(request)
        await _kept(self._fleet.report(gateway, request.body))
        self._board.gateway(gateway)

    async def attend(self, request: Request[None, None]) -> web.WebSocketResponse:
        gateway = self._asking(request)
        check_upgrade(request.raw)
        socket = web.WebSocketResponse(heartbeat=10, compress=False, max_msg_size=1 << 20, timeout=1.0)
        await socket.prepare(request.raw)
        gateway.sockets.add(socket)
        self._board.gateway(gateway)
        try:
            await _announce(socket, gateway.revision)
            async for message in socket:
                gateway.seen_ns = self._clock.now_ns()
                if message.type is WSMsgType.TEXT:
                    self._hear(gateway, message.data)
                    await asyncio.sleep(max(_MESSAGE_S, len(message.data) / _LIVE_BYTES_PER_S))  # holds a flood up
        finally:
            gateway.sockets.discard(socket)
            self._board.gateway(gateway)
        return socket

    def _hear(self, gateway: Gateway, text: str) -> None:
        """Live values; anything else is from a newer gateway and passed over."""
        try:
            live = Live.model_validate_json(text)
        except ValidationError:
            return
        for record in live.records:
            self._board.live(gateway, record)

    async def close(self, _: web.Application | None = None) -> None:
        """Tells every gateway that the server stops."""
        for gateway in self._fleet.all():
            for socket in list(gateway.sockets):
                with suppress(ConnectionError):
                    await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the server stops")
            gateway.wake()

    async def gateways(self, _: Request[None, None]) -> Gateways:
        return Gateways(gateways=[summary(gateway) for gateway in self._fleet.all()])

    async def gateway(self, request: Request[None, None]) -> GatewayView:
        gateway = self._fleet.get(request.path["gateway"])
        wishes = await self._fleet.desired(gateway.id)
        live = [WireRecord.model_validate_json(value) for value in gateway.live.values()]
        return GatewayView(**dict(summary(gateway)), desired=wishes.flows, live=live)

    async def push(self, request: Request[FlowPush, None]) -> Pushed:
        gateway = self._fleet.get(request.path["gateway"])
        pushed = await _kept(self._fleet.push(gateway, request.path["target"], request.body, request.who))
        log.info("flow pushed", gateway=gateway.id, flow=pushed.flow, version=pushed.version, revision=pushed.revision)
        await self._announced(gateway, pushed.revision)
        return pushed

    async def withdraw(self, request: Request[None, None]) -> Withdrawn:
        gateway = self._fleet.get(request.path["gateway"])
        withdrawn = await _kept(self._fleet.withdraw(gateway, request.path["target"], request.who))
        log.info("wish withdrawn", gateway=gateway.id, instances=withdrawn.instances, revision=withdrawn.revision)
        await self._announced(gateway, withdrawn.revision)
        return withdrawn

    async def _announced(self, gateway: Gateway, revision: int) -> None:
        self._board.gateway(gateway)
        for socket in list(gateway.sockets):
            await _announce(socket, revision)

    async def progress(self, request: Request[None, WaitQuery]) -> Progress:
        gateway = self._fleet.get(request.path["gateway"])
        until = asyncio.get_running_loop().time() + request.query.wait
        while True:
            changed = gateway.changed
            progress = await self._progress(gateway, request.path["target"])
            if progress.settled or asyncio.get_running_loop().time() >= until:
                return progress
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await changed.wait()

    async def _progress(self, gateway: Gateway, target: str) -> Progress:
        wishes = await self._fleet.desired(gateway.id)
        desired = {wish.instance: wish for wish in wishes.flows}
        reported = {report.instance: report for report in gateway.reported.flows}
        names = [n for n in sorted(desired | reported) if target in (n, (desired.get(n) or reported[n]).flow)]
        if not names:
            raise HttpProblem(404, "Unknown instance", f"{gateway.id} has no instance and no flow {target!r}.")
        flows = [FlowProgress(desired=desired.get(name), reported=reported.get(name)) for name in names]
        return Progress(
            gateway=gateway.id,
            connected=bool(gateway.sockets),
            last_seen=utc_text(gateway.seen_ns),
            revision=wishes.revision,
            reported_revision=gateway.reported.revision,
            settled=gateway.reported.revision >= wishes.revision and all(map(_settled, flows)),
            flows=flows,
        )

    async def flow(self, request: Request[None, None]) -> Prepared:
        document = await self._fleet.flow(request.path["version"])
        if document is None:
            raise HttpProblem(404, "Unknown version", "No flow of this version was ever pushed here.")
        return Prepared(document)

    async def results(self, request: Request[None, ResultQuery]) -> Results:
        try:
            return await self._archive.results(request.query)
        except ValueError as error:
            raise HttpProblem(422, "The query does not fit", f"since: {error}") from None

    async def records(self, request: Request[None, RecordQuery]) -> RawRecords:
        self._fleet.get(request.query.gateway)
        return await self._archive.records(request.query)

    async def storage(self, _: Request[None, None]) -> Storage:
        return self._keeper.view()

    async def token(self, request: Request[TokenWish, None]) -> Token:
        return await issue_token(self._database, request.body.gateway, self._clock, self._token_life_ns)

    async def live(self, request: Request[None, None]) -> web.StreamResponse:
        return await self._board.hub.attend(request.raw, trusted=bool(request.who))

    async def health(self, _: Request[None, None]) -> Health:
        return Health(status="ok", version=__version__)

    async def ready(self, _: Request[None, None]) -> Health:
        await _kept(self._probe.look())
        return Health(status="ok", version=__version__)

    async def scrape(self, _: Request[None, None]) -> Prepared:
        return Prepared(self._metrics(), "text/plain; version=0.0.4", "utf-8")

    def _asking(self, request: Request[Any, Any]) -> Gateway:
        """The gateway that asks; it may speak only for itself."""
        self._clock.check()
        if request.who != request.path["gateway"]:
            raise HttpProblem(403, "Another gateway's address", f"This key belongs to the gateway {request.who!r}.")
        return self._fleet.get(request.who)


async def _kept(work: Awaitable[T]) -> T:
    """The outcome of work on the database; 503 where the disk is full or the file damaged."""
    try:
        return await work
    except StoreError as error:
        raise HttpProblem(503, "The database cannot be used", _without_path(error)) from error


def _without_path(error: StoreError) -> str:
    """What is wrong, without the place on this server: everybody may ask."""
    return re.sub(r"^/\S+?:? ", "the database: ", str(error)).replace("the database: : ", "the database: ")


def _settled(flow: FlowProgress) -> bool:
    """Whether the gateway has come to an end with the wish."""
    if flow.desired is None:
        return True
    reported = flow.reported
    if reported is None or (reported.fate == "trial" and not reported.trial_until):
        return False
    return flow.desired.version == reported.wanted


def _speaks(protocol: int) -> None:
    if protocol != PROTOCOL:
        detail = f"This server speaks protocol {PROTOCOL}, not {protocol}; update whichever is older."
        raise HttpProblem(400, "Unknown protocol", detail)


def _gap(given: int, expected: int) -> web.Response:
    detail = (
        f"The batch begins with number {given}, but {expected} is the next that is not known here; send from there."
    )
    gap = Gap(title="Gap", status=409, detail=detail, expected=expected)
    return web.Response(status=409, body=gap.model_dump_json().encode(), content_type="application/problem+json")


async def _announce(socket: web.WebSocketResponse, revision: int) -> None:
    """Tells a gateway of a revision; one that does not take it asks when it comes back."""
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(_SEND_S):
            await socket.send_str(Announced(revision=revision).model_dump_json())
