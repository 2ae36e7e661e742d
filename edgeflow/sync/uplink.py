"""Keeps a gateway and its central server in step; local work never waits for it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import aiohttp
import structlog
from pydantic import ValidationError

from edgeflow.clock import Clock, monotonic_ns
from edgeflow.errors import LinkDown
from edgeflow.model import Record
from edgeflow.store.documents import Documents
from edgeflow.store.store import Store
from edgeflow.sync import identity
from edgeflow.sync.client import CentralClient, Refused
from edgeflow.sync.desired import Apply, Wishes
from edgeflow.sync.identity import Identity
from edgeflow.sync.live import LiveFeed
from edgeflow.sync.protocol import (
    LARGEST_BATCH,
    PROTOCOL,
    About,
    Acknowledged,
    Announced,
    Enrolled,
    Enrolment,
    FlowReport,
    Gap,
    batch_json,
)
from edgeflow.sync.settings import CentralSettings
from edgeflow.units import NS_PER_S, duration_text

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0
_KEY_PAUSE_S = 2.0
_SETTLED_NS = 5 * NS_PER_S
_BLINK_NS = 3 * NS_PER_S
_SMALLEST_BATCH = 25


@dataclass(slots=True)
class UplinkStats:
    """Counts since the start, and how it stands. Times are UTC ns, 0 for never."""

    connected: bool = False
    enrolled: bool = False
    gateway: str = ""
    last_ack_ns: int = 0
    sent: int = 0
    batches: int = 0
    retries: int = 0
    reconnects: int = 0
    lost: int = 0
    last_error: str = ""


class Uplink:
    """The gateway's end of the exchange. `run` it as a task for as long as the agent lives.

    Everything committed to the store goes up in order and leaves the gateway only when it is
    acknowledged; wishes come down by revision, are fetched, checked against their hash and given to
    `apply`. `live` and `report` can be called at any time and never wait.
    """

    def __init__(
        self,
        settings: CentralSettings,
        *,
        state: Path,
        base: Path,
        store: Store,
        documents: Documents,
        clock: Clock,
        apply: Apply,
        about: About,
    ) -> None:
        self._settings = settings
        self._state = state / "central.json"
        self._base = base
        self._store = store
        self._clock = clock
        self._about = about
        self._client = CentralClient(settings.url, ca=None if settings.ca is None else base / settings.ca)
        self._reachable = asyncio.Event()
        self._contact_ns = monotonic_ns()
        self._lost_ns = monotonic_ns()
        self._told_lost = False
        self._draft = state / "central.enrolling.json"
        self._key_refused = False
        self._root = ""
        self._position: int | None = None
        self._batch = LARGEST_BATCH
        self._live = LiveFeed()
        self._wishes = Wishes(documents, apply, about)
        self.stats = UplinkStats()

    def live(self, record: Record) -> None:
        """Takes the newest value of a (stream, key) for whoever looks at it centrally; it may be lost."""
        self._live.take(record)

    def report(self, flows: Sequence[FlowReport]) -> None:
        """Tells the central server how every flow of this gateway does, as soon as it can be reached."""
        self._wishes.report(flows)

    async def run(self) -> NoReturn:
        """Works until it is cancelled."""
        async with self._client:
            while True:
                known = await self._enrolled()
                self._client.use(known.key)
                self.stats.enrolled, self.stats.gateway = True, known.gateway or ""
                self._root = f"/api/v1/gateways/{quote(known.gateway or '', safe='')}"
                try:
                    async with asyncio.TaskGroup() as tasks:
                        for work in (self._upload, self._listen, self._follow, self._tell):
                            tasks.create_task(self._persist(work))
                except* Refused:
                    self.stats.enrolled, self._key_refused = False, True
                    self._fail(
                        f"the central server does not know this gateway's key; put a new token into {self._place()}"
                    )

    async def _enrolled(self) -> Identity:
        """The identity, after enrolling where that is still to be done."""
        while True:
            known = identity.load(self._state)
            if known is not None and known.gateway and not self._key_refused:
                return known
            token = self._token()
            if token is not None and not (known and known.enrolled_by(token)):
                done = await self._enrol(token)
                if done is not None:
                    return done
            elif known is None:
                self._fail(f"not enrolled: put a one-time token of the central server into {self._place()}")
            if self._key_refused and known is not None:
                self._key_refused = False
                await asyncio.sleep(_KEY_PAUSE_S)
            await asyncio.sleep(_LONGEST_PAUSE_S)

    async def _enrol(self, token: str) -> Identity | None:
        drafted = identity.draft(self._draft, token)
        wish = Enrolment(protocol=PROTOCOL, token=token, key=drafted.key, about=self._about)
        try:
            answer = Enrolled.model_validate_json(await self._client.ask("POST", "/api/v1/enrol", body=wish))
        except (Refused, LinkDown) as error:
            self._fail(f"not enrolled: {error}")
            return None
        done = drafted.model_copy(update={"gateway": answer.gateway})
        done.save(self._state)
        self._draft.unlink(missing_ok=True)
        self._key_refused = False
        log.info("enrolled at the central server", gateway=answer.gateway)
        return done

    def _token(self) -> str | None:
        return self._settings.token.read(self._base) if self._settings.token else None

    def _place(self) -> str:
        return str(self._settings.token or "the place that `central.token` names in the configuration")

    async def _upload(self) -> None:
        """Sends the next records, or waits for some."""
        self._store.appended.clear()
        known = self._position if self._position is not None else self._store.acknowledged
        rows = await self._store.pending(self._batch, after=known)
        if not rows:
            await self._store.appended.wait()
            return
        body = batch_json(self._store.epoch, known + 1, rows)
        missing = rows[-1].seq - known - len(rows)
        try:
            answer = await self._client.ask("POST", f"{self._root}/batches", body=body)
        except LinkDown:
            self._batch = max(self._batch // 2, _SMALLEST_BATCH)
            raise
        except Refused as refusal:
            if refusal.status == 409 and "expected" in refusal.body:
                await self._agree(Gap.model_validate(refusal.body).expected - 1)
                return
            if refusal.status == 413:
                self._batch = max(self._batch // 2, 1)
            raise
        acknowledged = Acknowledged.model_validate_json(answer)
        self._contact()
        self.stats.batches += 1
        self.stats.sent += len(rows)
        self.stats.last_ack_ns = self._clock.now_ns()
        if missing:
            self.stats.lost += missing
            log.error("results were lost before the central server had them", count=missing)
        self._batch = min(self._batch * 2, LARGEST_BATCH)
        await self._agree(acknowledged.acknowledged)
        self._wishes.announce(acknowledged.revision)

    async def _agree(self, acknowledged: int) -> None:
        """Goes on from where the central server says it is."""
        self._position = acknowledged
        if acknowledged <= self._store.last_seq:
            await self._store.acknowledge(acknowledged)
            return
        log.warning("this database is older than what the central server has from it; its results are numbered anew")
        await self._store.renew_epoch()
        self._position = 0

    async def _follow(self) -> None:
        await self._wishes.follow(self._client, self._root)

    async def _tell(self) -> None:
        await self._wishes.tell(self._client, self._root)

    async def _listen(self) -> None:
        """Holds the socket: revisions come down, live values go up. Raises LinkDown when it ends."""
        async with self._client.socket(f"{self._root}/socket") as socket:
            self._contact()
            self.stats.reconnects += 1
            self._wishes.tell_again()
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._live.feed(socket))
                    tasks.create_task(self._hear(socket))
            except ExceptionGroup as group:
                self._contact_ns = monotonic_ns()
                raise group.exceptions[0] from None

    async def _hear(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            self._contact()
            try:
                self._wishes.announce(Announced.model_validate_json(message.data).revision)
            except ValidationError:
                log.debug("the central server said something this version does not know")
        raise LinkDown(f"the central server closed the connection ({socket.close_code})")

    async def _persist(self, work: Callable[[], Awaitable[None]]) -> NoReturn:
        """Does `work` over and over: at once where it ended well, after a growing pause where it failed."""
        pause_s = _FIRST_PAUSE_S
        while True:
            began_ns = monotonic_ns()
            try:
                await work()
                pause_s = _FIRST_PAUSE_S
                continue
            except LinkDown as error:
                self._reachable.clear()
                self._fail(str(error))
            except Refused as error:
                if error.status == 401:
                    raise
                pause_s = _LONGEST_PAUSE_S
                self._fail(f"the central server refuses: {error}")
            if monotonic_ns() - began_ns > _SETTLED_NS:
                pause_s = _FIRST_PAUSE_S
            self.stats.retries += 1
            await self._pause(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads a fleet, guards nothing
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _pause(self, seconds: float) -> None:
        """Waits, but not longer than until the central server is back."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._reachable.wait()
                await asyncio.sleep(_FIRST_PAUSE_S)

    def _contact(self) -> None:
        """The central server has answered."""
        self._contact_ns = monotonic_ns()
        self._reachable.set()
        if not self.stats.connected:
            self.stats.connected = True
            self.stats.last_error = ""
            if self._told_lost:
                log.info("the central server is back", after=duration_text(self._contact_ns - self._lost_ns))
                self._told_lost = False

    def _fail(self, reason: str) -> None:
        """Something went wrong; a short gap is not worth a word."""
        self.stats.last_error = reason
        now_ns = monotonic_ns()
        if now_ns - self._contact_ns < _BLINK_NS:
            return
        if self.stats.connected:
            self._lost_ns = self._contact_ns
        self.stats.connected = False
        if not self._told_lost:
            self._told_lost = True
            log.warning("the central server cannot be reached; results are kept here", reason=reason)
