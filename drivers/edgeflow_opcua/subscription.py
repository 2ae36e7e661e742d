"""The subscriptions of one watch: what is watched, in which of them, and when each was last heard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import structlog
from asyncua import ua

from edgeflow.errors import LinkDown, Rejected
from edgeflow_opcua.binary import Published
from edgeflow_opcua.item import NS_PER_MS
from edgeflow_opcua.publish import attempt
from edgeflow_opcua.server import Server
from edgeflow_opcua.settings import Device
from edgeflow_opcua.structure import pieces
from edgeflow_opcua.value import status_name
from edgeflow_opcua.wire import CHUNK

log = structlog.get_logger(__name__)

_SET_UP_S, _LEAVING_S = 10.0, 1.0
_WAITING_RESPONSES = 16
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

    def request(self, handle: int) -> ua.MonitoredItemCreateRequest:
        """How."""


class _Subscription:
    """How long one subscription may say nothing, and when it was last heard (loop time)."""

    __slots__ = ("heard_at", "items", "silence_s")

    def __init__(self, silence_s: float, heard_at: float) -> None:
        self.silence_s, self.heard_at, self.items = silence_s, heard_at, 0


class Subscriptions:
    """As few as hold everything, with a thousand items each at most; `arrived` holds what they publish.

    `arrived` is bounded: the publish requests wait for room, and the server keeps the values meanwhile.
    """

    def __init__(self, server: Server, device: Device, beat_s: float) -> None:
        self._server, self._wire, self._device, self._beat_s = server, server.wire, device, beat_s
        self.arrived: asyncio.Queue[Published] = asyncio.Queue(_WAITING_RESPONSES)
        self._own: dict[int, _Subscription] = {}
        self._full = ""
        self._now = asyncio.get_running_loop().time

    async def add(self, items: Mapping[int, Watched], alive: Callable[[], Awaitable[None]]) -> dict[int, str]:
        """Subscribes; gives the handles of those that the server refuses, with the name of its status.

        `alive` is called between the requests. Raises LinkDown.
        """
        refused: dict[int, str] = {}
        waiting = list(items.items())
        while waiting:
            try:
                subscription, room = await self._room()
            except Rejected as error:
                return refused | {handle: str(error) for handle, _ in waiting}
            some, waiting = waiting[:room], waiting[room:]
            self._own[subscription].items += len(some)
            refused |= await self._create(subscription, some)
            await alive()
        self.fresh()
        return refused

    def fresh(self) -> None:
        """Counts silence from now on: nobody listened while we were busy."""
        for subscription in self._own.values():
            subscription.heard_at = self._now()

    def silent(self, patience_s: float) -> bool:
        """Whether one of them has published nothing, not even that it lives, for longer than it may."""
        return any(self._now() > one.heard_at + one.silence_s + patience_s for one in self._own.values())

    def ids(self) -> list[int]:
        """Those that are there."""
        return list(self._own)

    async def end(self) -> None:
        """The session may go on for others; where the connection is lost there is nobody to tell."""
        own = self.ids()
        self._own.clear()
        while not self.arrived.empty():  # somebody may be waiting for room
            self.arrived.get_nowait()
        with suppress(LinkDown):
            await self._server.publisher.unsubscribe(own, self._now() + _LEAVING_S)

    async def _room(self) -> tuple[int, int]:
        """A subscription and how many items it still takes; a server with few subscriptions has fuller ones."""
        for subscription, known in self._own.items():
            if known.items < CHUNK:
                return subscription, CHUNK - known.items
        if not self._full:
            try:
                return await self._subscribe(), CHUNK
            except Rejected as error:
                self._full = str(error)
        if not self._own:
            raise Rejected(self._full)
        return min(self._own, key=lambda one: self._own[one].items), CHUNK

    async def _subscribe(self) -> int:
        publishing_ms = self._device.publishing_interval / NS_PER_MS
        keep_alive = max(1, round(self._beat_s * 1000 / publishing_ms))
        wanted = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=ua.Double(publishing_ms),
            RequestedLifetimeCount=ua.UInt32(max(3 * keep_alive, round(self._wire.session_s * 1000 / publishing_ms))),
            RequestedMaxKeepAliveCount=ua.UInt32(keep_alive),
        )
        granted = await self._server.publisher.subscribe(wanted, self._arrive, self._now() + _SET_UP_S)
        silence_s = 2 * granted.RevisedPublishingInterval / 1000 * granted.RevisedMaxKeepAliveCount
        self._own[granted.SubscriptionId] = _Subscription(silence_s, self._now())
        return int(granted.SubscriptionId)

    async def _arrive(self, published: Published) -> None:
        subscription = self._own.get(published.subscription)
        if subscription is not None:
            subscription.heard_at = self._now()
            if published.news or published.gap:
                await self.arrived.put(published)

    async def _create(self, subscription: int, some: Sequence[tuple[int, Watched]]) -> dict[int, str]:
        refused = await self._ask(subscription, some, lambda handle, item: item.request(handle))
        plain = [(handle, item) for handle, item in some if refused.get(handle) in _FILTERS and _has_deadband(item)]
        if plain:
            reason = refused[plain[0][0]]
            log.warning("the server has no such deadband; it sends every change", nodes=len(plain), answer=reason)
            for handle, _ in plain:
                del refused[handle]
            refused |= await self._ask(subscription, plain, _without_filter)
        return refused

    async def _ask(
        self,
        subscription: int,
        some: Sequence[tuple[int, Watched]],
        request: Callable[[int, Watched], ua.MonitoredItemCreateRequest],
    ) -> dict[int, str]:
        refused: dict[int, str] = {}
        services = self._wire.services
        for part in pieces(some, self._wire.item_chunk):
            wanted = ua.CreateMonitoredItemsParameters(ua.IntegerId(subscription), ua.TimestampsToReturn.Both)
            wanted.ItemsToCreate = [request(handle, item) for handle, item in part]
            try:
                results = await attempt(
                    self._wire,
                    self._now() + _SET_UP_S,
                    lambda wanted=wanted: services.create_monitored_items(wanted),  # type: ignore[misc] # mypy cannot infer a default
                )
            except Rejected as error:
                refused |= {handle: str(error) for handle, _ in part}
                continue
            for (handle, _), result in zip(part, results, strict=True):
                if not result.StatusCode.is_good():
                    refused[handle] = status_name(result.StatusCode.value)
        return refused


def _has_deadband(item: Watched) -> bool:
    return bool(getattr(item, "deadband", None))


def _without_filter(handle: int, item: Watched) -> ua.MonitoredItemCreateRequest:
    request = item.request(handle)
    request.RequestedParameters.Filter = None
    return request
