"""One watch: subscriptions, their notifications as columns, and the heartbeat that proves the server lives."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds

from edgeflow.driver import Column, Push
from edgeflow.errors import LinkDown
from edgeflow.model import BAD, Scalar, ValueType
from edgeflow.units import NS_PER_S
from edgeflow_opcua.settings import Device
from edgeflow_opcua.value import Fault, decode, source_ns, status_name
from edgeflow_opcua.wire import CHUNK, Wire, read_request

_NS_PER_MS = NS_PER_S // 1000
_SET_UP_S = 10.0
_LEAVING_S = 1.0
_TRY_REFUSED_AGAIN_S = 30.0
_WAITING_RESPONSES = 16
_SESSION_SHARE = 3  # a heartbeat at least this often within the session time-out
_LIFE = ua.NodeId(ua.Int32(ObjectIds.Server_ServerStatus_CurrentTime))
_STATE = ua.NodeId(ua.Int32(ObjectIds.Server_ServerStatus_State))


class Watch:
    """Pushes the points of one device.

    The library says "connected" to a server that hangs or was restarted, and delivers nothing. So the
    server is asked for its time, and each subscription must publish something, a keep-alive at least.
    """

    def __init__(
        self,
        wire: Wire,
        device: Device,
        kinds: Sequence[ValueType],
        nodes: Mapping[int, ua.NodeId],
        unknown: Mapping[int, Fault],
        push: Push,
    ) -> None:
        self._wire, self._device, self._kinds, self._nodes, self._push = wire, device, kinds, nodes, push
        self._unknown = unknown
        self._arrived: asyncio.Queue[ua.PublishResult] = asyncio.Queue(_WAITING_RESPONSES)
        self._subscriptions: dict[int, _Subscription] = {}
        self._refused: dict[int, ua.NodeId] = {}
        self._server_time: datetime | None = None
        self._beat_s = min(device.heartbeat / NS_PER_S, wire.session_s / _SESSION_SHARE)
        self._patience_s = 2 * self._beat_s
        self._now = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Until cancelled, or LinkDown."""
        try:
            self._push_faults(self._unknown)
            await self._subscribe(self._nodes)
            await self._deliver()
        finally:
            await self._unsubscribe()

    async def _deliver(self) -> None:
        beat_at = self._now()
        retry_at = beat_at + _TRY_REFUSED_AGAIN_S
        while True:
            if self._now() >= beat_at:
                beat_at = self._now() + self._beat_s
                await self._beat()
            if self._refused and self._now() >= retry_at:
                retry_at = self._now() + _TRY_REFUSED_AGAIN_S
                await self._subscribe(self._refused)
            try:
                async with asyncio.timeout_at(beat_at):
                    response = await self._arrived.get()
            except TimeoutError:
                continue
            self._take(response)

    # --- what proves life ----------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Asks for time and state; says "alive" only where the server runs and its clock has advanced."""
        time, state = await self._wire.read(read_request([_LIFE, _STATE]), self._now() + self._patience_s)
        for subscription in self._subscriptions.values():
            if self._now() > subscription.heard_at + subscription.silence_s + self._patience_s:
                raise self._wire.down("it answers, but its subscription has gone silent")
        moment, number = _plain(time), _plain(state)
        advanced = isinstance(moment, datetime) and (self._server_time is None or moment > self._server_time)
        if advanced:
            self._server_time = moment
        if advanced and number in (None, ua.ServerState.Running):
            self._push(Column((), source_ns(time), points=()))

    # --- subscriptions -------------------------------------------------------------------------------

    async def _subscribe(self, nodes: Mapping[int, ua.NodeId]) -> None:
        """A subscription per 1000 nodes; what the server refuses is BAD and tried again later."""
        indices = list(nodes)
        refused: dict[int, Fault] = {}
        for start in range(0, len(indices), CHUNK):
            refused |= await self._add({index: nodes[index] for index in indices[start : start + CHUNK]})
        for subscription in self._subscriptions.values():
            subscription.heard_at = self._now()  # nobody listened while the others were made
        self._refused = {index: nodes[index] for index in refused}
        self._push_faults(refused)

    async def _add(self, nodes: Mapping[int, ua.NodeId]) -> dict[int, Fault]:
        services, publishing_ms = self._wire.services, self._device.publishing_interval / _NS_PER_MS
        keep_alive = max(1, round(self._beat_s * 1000 / publishing_ms))
        wanted = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=ua.Double(publishing_ms),
            RequestedLifetimeCount=ua.UInt32(max(3 * keep_alive, round(self._wire.session_s * 1000 / publishing_ms))),
            RequestedMaxKeepAliveCount=ua.UInt32(keep_alive),
        )
        granted = await self._wire.ask(self._set_up_by(), services.create_subscription, wanted, self._arrive)
        silence_s = 2 * granted.RevisedPublishingInterval / 1000 * granted.RevisedMaxKeepAliveCount
        self._subscriptions[granted.SubscriptionId] = _Subscription(silence_s, self._now())
        indices, step = list(nodes), self._wire.item_chunk
        refused: dict[int, Fault] = {}
        for start in range(0, len(indices), step):
            some = indices[start : start + step]
            request = ua.CreateMonitoredItemsParameters(granted.SubscriptionId, ua.TimestampsToReturn.Both)
            request.ItemsToCreate = [self._item(index, nodes[index], publishing_ms) for index in some]
            results = await self._wire.ask(self._set_up_by(), services.create_monitored_items, request)
            for index, result in zip(some, results, strict=True):
                if not result.StatusCode.is_good():
                    refused[index] = (BAD, status_name(result.StatusCode.value))
        if len(refused) == len(nodes):
            del self._subscriptions[granted.SubscriptionId]
            await self._wire.ask(self._set_up_by(), services.delete_subscriptions, [granted.SubscriptionId])
        return refused

    def _set_up_by(self) -> float:
        return self._now() + _SET_UP_S

    def _item(self, index: int, node: ua.NodeId, publishing_ms: float) -> ua.MonitoredItemCreateRequest:
        sampling = self._device.sampling_interval
        settings = ua.MonitoringParameters(
            ClientHandle=ua.IntegerId(index),
            SamplingInterval=ua.Duration(publishing_ms if sampling is None else sampling / _NS_PER_MS),
            QueueSize=ua.Counter(1),  # the newest value counts, as with a poll
        )
        return ua.MonitoredItemCreateRequest(
            ua.ReadValueId(node, AttributeIds.Value), ua.MonitoringMode.Reporting, settings
        )

    async def _unsubscribe(self) -> None:
        """The session may go on for others; where the connection is lost there is nobody to tell."""
        ids = list(self._subscriptions)
        self._subscriptions.clear()
        while not self._arrived.empty():  # the publishing task may be waiting for room
            self._arrived.get_nowait()
        if ids and not self._wire.lost:
            with suppress(LinkDown):
                await self._wire.ask(self._now() + _LEAVING_S, self._wire.services.delete_subscriptions, ids)

    # --- what arrives --------------------------------------------------------------------------------

    async def _arrive(self, response: ua.PublishResult) -> None:
        """Called by the library's publishing task, which waits here when we are behind; the server then merges."""
        subscription = self._subscriptions.get(response.SubscriptionId)
        if subscription is not None:
            subscription.heard_at = self._now()
            await self._arrived.put(response)

    def _take(self, response: ua.PublishResult) -> None:
        groups: dict[int, _Group] = {}
        for notification in response.NotificationMessage.NotificationData or ():
            if isinstance(notification, ua.DataChangeNotification):
                self._sort(notification.MonitoredItems, groups)
            elif isinstance(notification, ua.StatusChangeNotification):
                raise self._wire.down(f"it ended the subscription ({status_name(notification.Status.value)})")
        for key in sorted(groups):
            self._push(groups[key].column())

    def _sort(self, items: Sequence[Any], groups: dict[int, _Group]) -> None:
        """By source time, to the millisecond: servers stamp the values of one scan microseconds apart."""
        kinds = self._kinds
        for item in items:
            index, data = item.ClientHandle, item.Value
            if index >= len(kinds):
                continue
            at = source_ns(data)
            group = groups.get(at // _NS_PER_MS)
            if group is None:
                group = groups[at // _NS_PER_MS] = _Group()
            group.add(index, at, *decode(data, kinds[index]))

    def _push_faults(self, faults: Mapping[int, Fault]) -> None:
        if faults:
            self._push(Column([None] * len(faults), 0, dict(enumerate(faults.values())), tuple(faults)))


class _Subscription:
    """How long one subscription may say nothing, and when it was last heard (loop time)."""

    __slots__ = ("heard_at", "silence_s")

    def __init__(self, silence_s: float, heard_at: float) -> None:
        self.silence_s, self.heard_at = silence_s, heard_at


class _Group:
    """Values of one publish response with the same source time."""

    __slots__ = ("at", "faults", "points", "values")

    def __init__(self) -> None:
        self.at = 0
        self.points: list[int] = []
        self.values: list[Scalar] = []
        self.faults: dict[int, Fault] = {}

    def add(self, index: int, at: int, value: Scalar, fault: Fault | None) -> None:
        if fault:
            self.faults[len(self.values)] = fault
        self.at = max(self.at, at)
        self.points.append(index)
        self.values.append(value)

    def column(self) -> Column:
        return Column(self.values, self.at, self.faults or None, tuple(self.points))


def _plain(data: ua.DataValue) -> Any:
    """A good value as it is, else None."""
    good = data.StatusCode is None or data.StatusCode.is_good()
    return data.Value.Value if good and data.Value is not None else None
