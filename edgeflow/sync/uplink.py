"""Keeps a gateway and its central server in step; local work never waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import aiohttp
import structlog
from pydantic import ValidationError

from edgeflow.backoff import Backoff
from edgeflow.clock import Clock, monotonic_ns, utc_text
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import Record
from edgeflow.store.documents import Documents
from edgeflow.store.store import Queued, Store
from edgeflow.sync import identity
from edgeflow.sync.aside import Aside
from edgeflow.sync.client import CentralClient, Refused, Unreadable
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
_HEAR_S = 0.02
_LONGEST_WORDS = 200
_OF_A_RECORD = frozenset(range(400, 500)) - {401, 403, 404, 405, 407, 408, 409, 421, 425, 426, 429}
"""Refusals that may be because of one record; the others speak of who asks, where, or when."""
_AT_ONCE, _LONGEST_ASIDE_S = 10, 60.0
"""So many records in a row are set aside at once, and then one at most in so long."""


@dataclass(slots=True)
class UplinkStats:
    """Counts since the start, and how it stands. Times are UTC ns, 0 for never.

    `unwell`: the parts of the exchange that fail now (`results`, `wishes`, `reports`, `live`, `enrolment`) -> why.
    """

    connected: bool = False
    enrolled: bool = False
    gateway: str = ""
    last_ack_ns: int = 0
    sent: int = 0
    batches: int = 0
    retries: int = 0
    reconnects: int = 0
    lost: int = 0
    refused: int = 0
    last_error: str = ""
    unwell: dict[str, str] = field(default_factory=dict)


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
        store: Store,
        documents: Documents,
        clock: Clock,
        apply: Apply,
        about: About,
    ) -> None:
        self._settings = settings
        self._state = state / "central.json"
        self._store = store
        self._clock = clock
        self._about = about
        self._client = CentralClient(settings.url, ca=settings.ca)
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
        self._suspect = 0
        self._refused: set[int] = set()
        self._set_aside_in_a_row = 0
        self.aside = Aside(state / "refused")
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
                parts: dict[str, Callable[[], Awaitable[None]]] = {
                    "results": self._upload,
                    "live": self._listen,
                    "wishes": self._follow,
                    "reports": self._tell,
                }
                try:
                    async with asyncio.TaskGroup() as tasks:
                        for part, work in parts.items():
                            tasks.create_task(self._persist(part, work), name=f"uplink {part}")
                except* Refused:
                    self.stats.enrolled, self._key_refused = False, True
                    reason = (
                        f"the central server does not know this gateway's key; put a new token into {self._place()}"
                    )
                    self._fail("enrolment", reason)

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
                reason = f"not enrolled: put a one-time token of the central server into {self._place()}"
                self._fail("enrolment", reason)
            if self._key_refused and known is not None:
                self._key_refused = False
                await asyncio.sleep(_KEY_PAUSE_S)
            await asyncio.sleep(_LONGEST_PAUSE_S)

    async def _enrol(self, token: str) -> Identity | None:
        drafted = identity.draft(self._draft, token)
        wish = Enrolment(protocol=PROTOCOL, token=token, key=drafted.key, about=self._about)
        try:
            answer = await self._client.fetch(Enrolled, "POST", "/api/v1/enrol", body=wish)
        except (Rejected, LinkDown) as error:
            self._fail("enrolment", f"not enrolled: {error}")
            return None
        done = drafted.model_copy(update={"gateway": answer.gateway})
        done.save(self._state)
        self._draft.unlink(missing_ok=True)
        self._key_refused = False
        self._well("enrolment")
        log.info("enrolled at the central server", gateway=answer.gateway)
        return done

    def _token(self) -> str | None:
        token = self._settings.token.read() if self._settings.token else None
        return token.strip() or None if token else None

    def _place(self) -> str:
        return str(self._settings.token or "the place that `central.token` names in the configuration")

    async def _upload(self) -> None:
        """Sends the next records, or waits for some."""
        self._store.appended.clear()
        known = self._position if self._position is not None else self._store.acknowledged
        rows = await self._store.pending(self._most(known), after=known)
        if not rows:
            await self._store.appended.wait()
            return
        body = batch_json(self._store.epoch, known + 1, rows)
        try:
            acknowledged = await self._client.fetch(Acknowledged, "POST", f"{self._root}/batches", body=body)
        except LinkDown:
            self._batch = max(self._batch // 2, _SMALLEST_BATCH)
            raise
        except Refused as refusal:
            if refusal.status == 409 and "expected" in refusal.body:
                await self._agree(_expected(refusal) - 1)
            elif refusal.status not in _OF_A_RECORD:
                raise
            elif len(rows) > 1:
                self._suspect, self._batch = rows[-1].seq, len(rows) // 2
            else:
                await self._set_aside(rows[0], refusal)
            return
        if acknowledged.acknowledged < known:
            raise Unreadable(f"the central server confirms {acknowledged.acknowledged}, but it had {known} before")
        self._took(rows, known)
        await self._agree(acknowledged.acknowledged)
        self._wishes.announce(acknowledged.revision)

    def _most(self, known: int) -> int:
        """How many at once; where one among the next is refused, half of those that may be it."""
        return self._batch if known >= self._suspect else max(min(self._batch, (self._suspect - known + 1) // 2), 1)

    def _took(self, rows: Sequence[Queued], known: int) -> None:
        self._contact()
        self._set_aside_in_a_row = 0
        self.stats.batches += 1
        self.stats.sent += len(rows)
        self.stats.last_ack_ns = self._clock.now_ns()
        sent = {row.seq for row in rows}
        missing = set(range(known + 1, rows[-1].seq)) - sent - self._refused
        self._refused = {seq for seq in self._refused if seq > rows[-1].seq}
        if missing:
            self.stats.lost += len(missing)
            log.error("results were lost before the central server had them", count=len(missing))
        self._batch = min(self._batch * 2, LARGEST_BATCH)

    async def _set_aside(self, row: Queued, refusal: Refused) -> None:
        """Keeps a record that the central server refuses beside the queue, so that the others go on.

        A server that takes nothing at all would have the whole queue set aside: then more and more slowly.
        """
        slow_s = min(2.0 ** (self._set_aside_in_a_row - _AT_ONCE), _LONGEST_ASIDE_S)
        if self._set_aside_in_a_row >= _AT_ONCE:
            self._fail("results", f"the central server refuses one result after the other: {refusal}")
            await asyncio.sleep(slow_s)
        self._set_aside_in_a_row += 1
        at = utc_text(self._clock.now_ns())
        try:
            keep = self.aside.put
            await asyncio.to_thread(keep, self._store.epoch, row.seq, at, refusal.status, str(refusal), row.record)
        except OSError as error:
            raise LinkDown(f"a result that the central server refuses cannot be kept: {error}") from None
        await self._store.take_out(row.seq)
        self._refused.add(row.seq)
        self.stats.refused += 1
        log.error("the central server refuses a result; it is kept aside, the others go on", reason=str(refusal))

    async def retry(self, names: list[str] | None = None) -> int:
        """Queues refused results again, all of them or those that are named; returns how many."""
        records = await asyncio.to_thread(self.aside.records, names)
        await self._store.queue_again(list(records.values()))
        await asyncio.to_thread(self.aside.forget, list(records))
        return len(records)

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
            self._well("live")
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
            if message.type is aiohttp.WSMsgType.TEXT:
                self._contact()
                try:
                    self._wishes.announce(Announced.model_validate_json(message.data).revision)
                except ValidationError:
                    log.debug("the central server said something this version does not know")
            await asyncio.sleep(_HEAR_S)  # a server that says something without end is heard slowly
        raise LinkDown(f"the central server closed the connection ({socket.close_code})")

    async def _persist(self, part: str, work: Callable[[], Awaitable[None]]) -> NoReturn:
        """Does `work` over and over: at once where it ended well, after a growing pause where it failed.

        A part that fails takes no other with it; only a key that is not known ends them all.
        """
        pause = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, jitter=0.5)
        while True:
            began_ns = monotonic_ns()
            try:
                await work()
                self._well(part)
                pause.reset()
                continue
            except LinkDown as error:
                self._reachable.clear()
                self._fail(part, str(error))
            except Refused as error:
                if error.status == 401:
                    raise
                pause.longest()
                self._fail(part, f"the central server refuses: {error}")
            except Rejected as error:
                pause.longest()
                self._fail(part, str(error))
            except Exception as error:
                pause.longest()
                log.error("a part of the exchange with the central server failed", part=part, exc_info=error)
                self._fail(part, f"{type(error).__name__}: {str(error)[:_LONGEST_WORDS]}")
            if monotonic_ns() - began_ns > _SETTLED_NS:
                pause.reset()
            self.stats.retries += 1
            await self._pause(pause.next())

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
            if self._told_lost:
                log.info("the central server is back", after=duration_text(self._contact_ns - self._lost_ns))
                self._told_lost = False

    def _well(self, part: str) -> None:
        """A part of the exchange works; what was wrong with it is over."""
        if self.stats.unwell.pop(part, None) is not None:
            self.stats.last_error = next(reversed(self.stats.unwell.values()), "")

    def _fail(self, part: str, reason: str) -> None:
        """A part went wrong; a short gap is not worth a word."""
        self.stats.unwell.pop(part, None)
        self.stats.unwell[part] = self.stats.last_error = reason
        now_ns = monotonic_ns()
        if now_ns - self._contact_ns < _BLINK_NS:
            return
        if self.stats.connected:
            self._lost_ns = self._contact_ns
        self.stats.connected = False
        if not self._told_lost:
            self._told_lost = True
            log.warning("the central server cannot be reached; results are kept here", reason=reason)


def _expected(refusal: Refused) -> int:
    try:
        return Gap.model_validate(refusal.body).expected
    except ValidationError:
        raise Unreadable("the central server does not say from which number it wants the results") from None
