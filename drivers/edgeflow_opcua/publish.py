"""The publish requests of one session: who subscribed gets what the server publishes, and no loss is left unsaid."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from asyncua import ua

from edgeflow.errors import LinkDown, Rejected
from edgeflow_opcua import service
from edgeflow_opcua.binary import Malformed, Published, notification_message, publish_response
from edgeflow_opcua.library import Fault, answered
from edgeflow_opcua.value import status_name
from edgeflow_opcua.wire import SESSION_GONE, Wire

_MOST_IN_FLIGHT, _SPARE = 10, 3
_REPUBLISH_S = 5.0
_AGAIN_S = 1.0
_ROUND = 2**32 - 1  # sequence numbers go from 1 to this, and then from 1 again
_MOST_MISSING = 100

Take = Callable[[Published], None]


class Publisher:
    """Keeps publish requests at the server as long as somebody subscribes, and hands on what comes.

    Its requests are never cancelled: what they bring may be for somebody else. They end with the connection, or
    when the server has no subscription any more.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.timed: dict[int, bool] = {}
        self._takers: dict[int, Take] = {}
        self._next: dict[int, int] = {}
        self._acknowledge: list[ua.SubscriptionAcknowledgement] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._order = asyncio.Lock()

    async def subscribe(
        self, wanted: ua.CreateSubscriptionParameters, take: Take, deadline: float
    ) -> ua.CreateSubscriptionResult:
        """Makes a subscription; raises Refused where the server refuses, and LinkDown."""
        request = ua.CreateSubscriptionRequest(Parameters=wanted)
        answer = await self._wire.ask(deadline, request, ua.CreateSubscriptionResponse)
        granted: ua.CreateSubscriptionResult = answer.Parameters
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
            await service.delete_subscriptions(self._wire, subscriptions, deadline)

    def _publish(self) -> None:
        """One for each subscription, and some that are there while the others are on their way."""
        for _ in range(min(_MOST_IN_FLIGHT, len(self._takers) + _SPARE) - len(self._tasks)):
            task = asyncio.get_running_loop().create_task(self._run(), name="opcua: publish")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        while self._takers and not self._wire.lost:
            acknowledge, self._acknowledge = self._acknowledge, []
            request = ua.PublishRequest()
            request.Parameters.SubscriptionAcknowledgements = acknowledge
            try:
                published = publish_response(answered(await self._wire.waiting(request)), self.timed)
            except Fault as fault:
                if not await self._refused(status_name(fault.code)):
                    return
            except (Malformed, RecursionError) as error:
                self._wire.down(f"what it publishes cannot be understood: {error}")
            except LinkDown:  # the heartbeat says so
                return
            else:
                await self._hand_on(published)

    async def _refused(self, name: str) -> bool:
        """Whether to go on asking."""
        if name == "BadNoSubscription" or name in SESSION_GONE:
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
                take(published)

    async def _republish(self, subscription: int, sequence: int) -> bool:
        """Has a message sent again and handed on; False where it is gone."""
        request: Any = ua.RepublishRequest()
        request.Parameters.SubscriptionId, request.Parameters.RetransmitSequenceNumber = subscription, sequence
        published = Published(subscription)
        try:
            source = await self._wire.send(asyncio.get_running_loop().time() + _REPUBLISH_S, request)
            notification_message(source, published, self.timed)
        except (Rejected, LinkDown, Malformed, RecursionError):
            return False
        if published.sequence != sequence:  # some answer with an empty message
            return False
        self._acknowledge.append(ua.SubscriptionAcknowledgement(subscription, sequence))
        if (take := self._takers.get(subscription)) is not None:
            take(published)
        return True
