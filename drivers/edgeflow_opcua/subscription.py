"""The subscriptions of one session, shared by its devices: what is watched, in which of them, and who is told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import structlog
from asyncua import ua

from edgeflow.errors import LinkDown, Rejected
from edgeflow_opcua import service
from edgeflow_opcua.binary import Published
from edgeflow_opcua.item import NS_PER_MS
from edgeflow_opcua.limits import CHUNK, Refused
from edgeflow_opcua.publish import Publisher
from edgeflow_opcua.settings import Device
from edgeflow_opcua.value import status_name
from edgeflow_opcua.wire import Wire

log = structlog.get_logger(__name__)

_SET_UP_S, _LEAVING_S = 10.0, 1.0
_MOST_WAITING, _MOST_OF_EACH = 50_000, 10
_FULL = "BadTooManyMonitoredItems"
_FILTERS = frozenset(
    {
        "BadMonitoredItemFilterUnsupported",
        "BadMonitoredItemFilterInvalid",
        "BadFilterNotAllowed",
        "BadDeadbandFilterInvalid",
    }
)


class Watched(Protocol):
    """What can be subscribed to: a variable, or events."""

    times: ua.TimestampsToReturn

    def request(self, handle: int) -> ua.MonitoredItemCreateRequest:
        """How."""


class _Subscription:
    """One at the server: how long it may say nothing, when it was last heard (loop time), and who has what in it."""

    __slots__ = ("full", "heard_at", "id", "items", "kind", "publishing_ms", "reserved", "silence_s")

    def __init__(
        self, number: int, kind: tuple[float, int], publishing_ms: float, silence_s: float, heard_at: float
    ) -> None:
        self.id, self.kind, self.publishing_ms = number, kind, publishing_ms
        self.silence_s, self.heard_at = silence_s, heard_at
        self.items: dict[Member, dict[int, int]] = {}
        self.reserved = 0
        self.full = False

    @property
    def room(self) -> int:
        """How many more go in before another is begun."""
        return 0 if self.full else max(0, CHUNK - self.reserved)


class Subscriptions:
    """As few as hold everything, with a thousand items each at most: devices that want the same pace share them."""

    def __init__(self, wire: Wire) -> None:
        self._wire, self._publisher = wire, Publisher(wire)
        self._all: dict[int, _Subscription] = {}
        self._owners: dict[int, Member] = {}
        self._next_handle = 0
        self._refused = ""
        self._items_full = False
        self._lock = asyncio.Lock()
        self._now = asyncio.get_running_loop().time

    def member(self, device: Device, beat_s: float) -> Member:
        """A device's part of them."""
        return Member(self, device, beat_s)

    # --- for the members ------------------------------------------------------------------------------

    def handles(self, member: Member, count: int) -> range:
        """Numbers by which the server names what it sends."""
        begin, self._next_handle = self._next_handle, self._next_handle + count
        handles = range(begin, self._next_handle)
        self._owners |= dict.fromkeys(handles, member)
        return handles

    def of(self, member: Member) -> list[_Subscription]:
        """Those in which a member has something."""
        return [one for one in self._all.values() if member in one.items]

    async def add(self, member: Member, items: Mapping[int, Watched]) -> dict[int, str]:
        """Subscribes; gives the handles of those that the server refuses, with the name of its status."""
        refused: dict[int, str] = {}
        waiting = list(items.items())
        for handle, item in waiting:
            if item.times is not ua.TimestampsToReturn.Both:
                self._publisher.timed[handle] = item.times is ua.TimestampsToReturn.Server
        while waiting:
            async with self._lock:
                try:
                    subscription, room = await self._room(member)
                except Rejected as error:
                    return refused | {handle: str(error) for handle, _ in waiting}
                some, waiting = waiting[:room], waiting[room:]
                own = subscription.items.setdefault(member, {})
                subscription.reserved += len(some)
            ids, no = await self._create(subscription, some)
            subscription.reserved -= len(no)
            own |= ids
            over = [(handle, item) for handle, item in some if no.get(handle) == _FULL]
            if over and not self._items_full:
                self._items_full = not subscription.items.keys() - {member} and not own
                subscription.full = True
                if not self._items_full:
                    waiting = over + waiting
                    no = {handle: name for handle, name in no.items() if name != _FULL}
            refused |= no
        return refused

    async def leave(self, member: Member) -> None:
        """Nothing more for this member; the session may go on for others."""
        for handle in [handle for handle, one in self._owners.items() if one is member]:
            del self._owners[handle]
            self._publisher.timed.pop(handle, None)
        empty: list[int] = []
        deadline = self._now() + _LEAVING_S
        with suppress(LinkDown, Rejected):
            for one in self.of(member):
                own = one.items.pop(member)
                one.reserved -= len(own)
                if not one.items:
                    empty.append(one.id)
                    del self._all[one.id]
                elif own and not self._wire.lost:
                    await service.delete_items(self._wire, one.id, list(own.values()), deadline)
            await self._publisher.unsubscribe(empty, deadline)

    # --- what is in which -----------------------------------------------------------------------------

    async def _room(self, member: Member) -> tuple[_Subscription, int]:
        """A subscription and how many items it takes; a server with few subscriptions has fuller ones."""
        kind = member.kind
        for one in self._all.values():
            if one.kind == kind and one.room:
                return one, one.room
        if not self._refused:
            try:
                return await self._subscribe(member), CHUNK
            except Refused as refusal:
                self._refused = refusal.name
        usable = [one for one in self._all.values() if not one.full]
        if not usable:
            raise Rejected(_FULL if self._all else self._refused)
        best = min(usable, key=lambda one: (abs(one.publishing_ms - kind[0]), one.reserved))
        if best.kind[0] != kind[0] and not member.told:
            member.told = True
            log.warning(
                "the server has no more subscriptions; sharing one of another pace",
                server=self._wire.where,
                answer=self._refused,
                wanted_ms=kind[0],
                publishing_ms=best.publishing_ms,
            )
        return best, CHUNK

    async def _subscribe(self, member: Member) -> _Subscription:
        publishing_ms, keep_alive = member.kind
        wanted = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=ua.Double(publishing_ms),
            RequestedLifetimeCount=ua.UInt32(max(3 * keep_alive, round(self._wire.session_s * 1000 / publishing_ms))),
            RequestedMaxKeepAliveCount=ua.UInt32(keep_alive),
        )
        granted = await self._publisher.subscribe(wanted, self._arrive, self._now() + _SET_UP_S)
        pace_s = granted.RevisedPublishingInterval / 1000
        silence_s = 2 * pace_s * max(granted.RevisedMaxKeepAliveCount, 1)
        one = _Subscription(int(granted.SubscriptionId), member.kind, pace_s * 1000, silence_s, self._now())
        self._all[one.id] = one
        return one

    async def _create(
        self, subscription: _Subscription, some: Sequence[tuple[int, Watched]]
    ) -> tuple[dict[int, int], dict[int, str]]:
        """The server's numbers of those that it takes, and the status of the others."""
        ids, refused = await self._ask(subscription, some, lambda handle, item: item.request(handle))
        plain = [(handle, item) for handle, item in some if refused.get(handle) in _FILTERS and _has_deadband(item)]
        if plain:
            reason = refused[plain[0][0]]
            log.warning("the server has no such deadband; it sends every change", nodes=len(plain), answer=reason)
            more, still = await self._ask(subscription, plain, _without_filter)
            refused = {handle: name for handle, name in refused.items() if handle not in more} | still
            ids |= more
        return ids, refused

    async def _ask(
        self,
        subscription: _Subscription,
        some: Sequence[tuple[int, Watched]],
        request: Callable[[int, Watched], ua.MonitoredItemCreateRequest],
    ) -> tuple[dict[int, int], dict[int, str]]:
        ids: dict[int, int] = {}
        refused: dict[int, str] = {}
        for times in dict.fromkeys(item.times for _, item in some):
            those = [(handle, item) for handle, item in some if item.times is times]
            wanted = [request(handle, item) for handle, item in those]
            results = await service.create_items(self._wire, subscription.id, wanted, times, self._now() + _SET_UP_S)
            for (handle, _), result in zip(those, results, strict=True):
                if result.StatusCode.value >> 30 >= 2:
                    refused[handle] = status_name(result.StatusCode.value)
                else:
                    ids[handle] = int(result.MonitoredItemId)
        return ids, refused

    # --- what arrives ---------------------------------------------------------------------------------

    def _arrive(self, published: Published) -> None:
        subscription = self._all.get(published.subscription)
        if subscription is None:
            return
        subscription.heard_at = self._now()
        if not (published.news or published.gap):
            return
        members = list(subscription.items)
        if len(members) == 1:
            members[0].arrived.put(published)
            return
        for member, part in self._parts(published, members).items():
            member.arrived.put(part)

    def _parts(self, published: Published, members: Sequence[Member]) -> dict[Member, Published]:
        parts: dict[Member, Published] = {}
        if published.gap or published.ended is not None:
            for member in members:
                parts[member] = Published(published.subscription, gap=published.gap, ended=published.ended)
        owners: dict[int, Any] = self._owners
        for name in ("changes", "events"):
            for one in getattr(published, name):
                if (owner := owners.get(one[0])) is not None:
                    if owner not in parts:
                        parts[owner] = Published(published.subscription)
                    getattr(parts[owner], name).append(one)
        return parts


class Inbox:
    """What arrives for one member; bounded: what does not fit is a gap, after which all is read anew.

    While it is read, everything may change several times; where that did not fit, it would be read anew for ever.
    """

    def __init__(self) -> None:
        self.things = 0
        self._waiting: deque[Published] = deque()
        self._size = 0
        self._news = asyncio.Event()

    def put(self, published: Published) -> None:
        """Never waits: one device that is slow keeps no other waiting."""
        self._waiting.append(published)
        self._size += 1 + len(published.changes) + len(published.events)
        most = max(_MOST_WAITING, _MOST_OF_EACH * self.things)
        while self._size > most and len(self._waiting) > 1:
            self._take()
            self._waiting[0].gap = True
        self._news.set()

    async def get(self) -> Published:
        """The next, in the order of their arrival."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        return self._take()

    def _take(self) -> Published:
        published = self._waiting.popleft()
        self._size -= 1 + len(published.changes) + len(published.events)
        return published


class Member:
    """One device's part of the subscriptions; `arrived` holds what they publish for it."""

    def __init__(self, subscriptions: Subscriptions, device: Device, beat_s: float) -> None:
        self._subscriptions, self._now = subscriptions, asyncio.get_running_loop().time
        publishing_ms = device.publishing_interval / NS_PER_MS
        # Twice in a heartbeat: while the server is busy with something slow, nothing else shows that it lives.
        self.kind = publishing_ms, max(1, round(beat_s * 500 / publishing_ms))
        self.arrived = Inbox()
        self.told = False

    def handles(self, count: int) -> range:
        """As many numbers as there are things to subscribe to."""
        self.arrived.things += count
        return self._subscriptions.handles(self, count)

    async def add(self, items: Mapping[int, Watched]) -> dict[int, str]:
        """Subscribes; gives the handles of those that the server refuses, with the name of its status.

        Raises LinkDown.
        """
        return await self._subscriptions.add(self, items)

    def silent(self, patience_s: float) -> bool:
        """Whether one of them has published nothing, not even that it lives, for longer than it may."""
        return any(self._now() > one.heard_at + one.silence_s + patience_s for one in self._subscriptions.of(self))

    def publishing(self, patience_s: float) -> list[int]:
        """The numbers of those that have said something lately, at least that they live."""
        now = self._now()
        return [one.id for one in self._subscriptions.of(self) if now <= one.heard_at + one.silence_s + patience_s]

    def holding(self, handle: int) -> int | None:
        """The number of the subscription that something is in."""
        return next(
            (one.id for one in self._subscriptions.of(self) if handle in one.items[self]),
            None,
        )

    async def end(self) -> None:
        """Where the connection is lost there is nobody to tell."""
        await self._subscriptions.leave(self)


def _has_deadband(item: Watched) -> bool:
    return bool(getattr(item, "deadband", None))


def _without_filter(handle: int, item: Watched) -> ua.MonitoredItemCreateRequest:
    request = item.request(handle)
    request.RequestedParameters.Filter = None
    return request
