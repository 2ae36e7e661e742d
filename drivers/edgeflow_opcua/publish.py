"""The publish requests of one session: who subscribed gets what the server publishes, and no loss is left unsaid."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from edgeflow.errors import LinkDown, Rejected
from edgeflow_opcua.binary import Datum, Malformed, Published, publish_response, read_response, republish_response
from edgeflow_opcua.value import status_name
from edgeflow_opcua.wire import Wire

_MOST_IN_FLIGHT = 10
_REPUBLISH_S = 5.0
_AGAIN_S = 1.0
_ROUND = 2**32 - 1  # sequence numbers go from 1 to this, and then from 1 again
_MOST_MISSING = 100
_SESSION_GONE = frozenset(
    {
        "BadSessionIdInvalid",
        "BadSessionClosed",
        "BadSessionNotActivated",
        "BadSecureChannelIdInvalid",
        "BadSecureChannelClosed",
        "BadSecureChannelTokenUnknown",
        "BadConnectionClosed",
        "BadCommunicationError",
        "BadServerHalted",
        "BadShutdown",
    }
)

Take = Callable[[Published], Awaitable[None]]


async def attempt(wire: Wire, deadline: float, request: Callable[[], Awaitable[Any]]) -> Any:
    """A request that the server may refuse as a whole without harm: Rejected with the status' name; else LinkDown."""

    async def guarded() -> Any:
        try:
            return await request()
        except UaStatusCodeError as error:
            if (name := status_name(error.code)) in _SESSION_GONE:
                raise
            return _Refused(name)

    answer = await wire.ask(deadline, guarded)
    if isinstance(answer, _Refused):
        raise Rejected(answer.name)
    return answer


async def read_values(wire: Wire, request: ua.ReadParameters, deadline: float) -> list[Datum]:
    """One Read service, without the library's decoding; as many data as nodes."""
    await wire.renew(deadline)
    data = await wire.ask(deadline, _raw, wire, ua.ReadRequest(Parameters=request))
    try:
        result, values = read_response(data)
    except (Malformed, RecursionError) as error:
        raise wire.down(f"its answer to a Read cannot be understood: {error}") from error
    if len(values) != len(request.NodesToRead):
        asked, name = len(request.NodesToRead), status_name(result)
        raise wire.down(f"{asked} values were asked for and {len(values)} came ({name})")
    return values


async def _raw(wire: Wire, request: Any, timeout_s: float | None = None) -> bytes:
    data = await wire.services._send_request(request, timeout_s)
    return bytes(data)


@dataclass(frozen=True, slots=True)
class _Refused:
    name: str


class Publisher:
    """Keeps publish requests at the server as long as somebody subscribes, and hands on what comes.

    Its requests are never cancelled: what they bring may be for somebody else. They end with the connection, or
    when the server has no subscription any more.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._takers: dict[int, Take] = {}
        self._next: dict[int, int] = {}
        self._acknowledge: list[ua.SubscriptionAcknowledgement] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._order = asyncio.Lock()

    async def subscribe(
        self, wanted: ua.CreateSubscriptionParameters, take: Take, deadline: float
    ) -> ua.CreateSubscriptionResult:
        """Makes a subscription; raises Rejected where the server refuses, and LinkDown."""
        services = self._wire.services
        request = ua.CreateSubscriptionRequest(Parameters=wanted)

        async def create() -> Any:
            data = await services._send_request(request)
            response: Any = struct_from_binary(ua.CreateSubscriptionResponse, data)
            response.ResponseHeader.ServiceResult.check()
            return response.Parameters

        granted: ua.CreateSubscriptionResult = await attempt(self._wire, deadline, create)
        self._takers[granted.SubscriptionId] = take
        self._next[granted.SubscriptionId] = 1
        self._publish()
        return granted

    async def unsubscribe(self, subscriptions: list[int], deadline: float) -> None:
        """Ends subscriptions; raises LinkDown."""
        for subscription in subscriptions:
            self._takers.pop(subscription, None)
            self._next.pop(subscription, None)
        if subscriptions and not self._wire.lost:
            await self._wire.ask(deadline, self._wire.services.delete_subscriptions, subscriptions)

    def _publish(self) -> None:
        """One for each subscription, and one more that is there while the others are on their way."""
        for _ in range(min(_MOST_IN_FLIGHT, len(self._takers) + 1) - len(self._tasks)):
            task = asyncio.get_running_loop().create_task(self._run(), name="opcua: publish")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        while self._takers and not self._wire.lost:
            acknowledge, self._acknowledge = self._acknowledge, []
            request = ua.PublishRequest()
            request.Parameters.SubscriptionAcknowledgements = acknowledge
            try:
                data = await _raw(self._wire, request, 0)
                result, published = publish_response(data)
            except UaStatusCodeError as error:
                if not await self._refused(status_name(error.code)):
                    return
            except (Malformed, RecursionError) as error:
                self._wire.down(f"what it publishes cannot be understood: {error}")
            except (UaError, OSError):  # the connection: the heartbeat says so
                return
            else:
                if result >> 31 and not await self._refused(status_name(result)):
                    return
                await self._hand_on(published)

    async def _refused(self, name: str) -> bool:
        """Whether to go on asking."""
        if name == "BadNoSubscription" or name in _SESSION_GONE:
            return False
        if name == "BadTooManyPublishRequests":
            return len(self._tasks) == 1
        if name != "BadTimeout":
            await asyncio.sleep(_AGAIN_S)
        return True

    async def _hand_on(self, published: Published) -> None:
        """In the order of the sequence numbers; what is missing is asked for again, and what is gone is told."""
        subscription = published.subscription
        async with self._order:
            expected = self._next.get(subscription)
            if expected is None:
                return
            # A keep-alive has the number of the message that comes next (OPC 10000-4 clause 5.13.1.1), or one
            # that says nothing: of the last message, or none.
            missing = (published.sequence - expected) % _ROUND
            if missing < _ROUND // 2:
                for sequence in range(expected, expected + missing) if missing < _MOST_MISSING else ():
                    published.gap |= not await self._republish(subscription, (sequence - 1) % _ROUND + 1)
                published.gap |= missing >= _MOST_MISSING
                self._next[subscription] = published.sequence
            if published.news:
                self._next[subscription] = published.sequence % _ROUND + 1
                self._acknowledge.append(ua.SubscriptionAcknowledgement(subscription, published.sequence))
            if (take := self._takers.get(subscription)) is not None:
                await take(published)

    async def _republish(self, subscription: int, sequence: int) -> bool:
        """Has a message sent again and handed on; False where it is gone."""
        request = ua.RepublishRequest()
        request.Parameters.SubscriptionId, request.Parameters.RetransmitSequenceNumber = subscription, sequence
        published = Published(subscription)
        deadline = asyncio.get_running_loop().time() + _REPUBLISH_S
        try:
            republish_response(await attempt(self._wire, deadline, lambda: _raw(self._wire, request)), published)
        except (Rejected, LinkDown, Malformed, RecursionError):
            return False
        if published.sequence != sequence:  # some answer with an empty message
            return False
        self._acknowledge.append(ua.SubscriptionAcknowledgement(subscription, sequence))
        if (take := self._takers.get(subscription)) is not None:
            await take(published)
        return True
