"""A session with one broker: watches that share one client, and publishing with acknowledgement."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, ParamSpec, TypeVar

import aiomqtt
from aiomqtt import Message, MqttError
from paho.mqtt.reasoncodes import ReasonCode

from edgeflow.driver import Home, Push
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import Scalar
from edgeflow.units import NS_PER_S
from edgeflow_mqtt.feed import Feed, under
from edgeflow_mqtt.payload import to_set
from edgeflow_mqtt.settings import Device, Link, Point

A = ParamSpec("A")
T = TypeVar("T")

_VERSIONS = {"3.1.1": aiomqtt.ProtocolVersion.V311, "5": aiomqtt.ProtocolVersion.V5}
_QOS = 1
_SUBSCRIBING_S = 10.0
_LEAVING_S = 1.0
_FILTERS_PER_PACKET = 100

# What the library has to say of a lost connection is in our LinkDown. Where somebody has chosen a
# level for this logger, theirs counts.
_library_log = logging.getLogger("edgeflow_mqtt.library")
if _library_log.level == logging.NOTSET:
    _library_log.setLevel(logging.CRITICAL + 1)


@asynccontextmanager
async def open_session(link: Link, deadline: float, home: Home) -> AsyncIterator[MqttSession]:
    """Connects by the deadline; raises LinkDown. Leaving closes within about a second, hung broker or not."""
    feeds: list[Feed] = []
    remaining_s = max(0.1, deadline - asyncio.get_running_loop().time())
    client = aiomqtt.Client(
        link.host,
        link.port,
        identifier=link.client_id or f"edgeflow{secrets.token_hex(6)}",
        protocol=_VERSIONS[link.version],
        keepalive=math.ceil(link.keepalive / NS_PER_S),
        timeout=remaining_s,
        queue_type=_straight_to(feeds),
        logger=_library_log,
    )
    client.pending_calls_threshold = 1000
    session = MqttSession(link, client, feeds)
    await session.connect(deadline, remaining_s)
    try:
        yield session
    finally:
        await session.close()


class MqttSession:
    """An open connection; several devices may watch and write through it at the same time."""

    def __init__(self, link: Link, client: aiomqtt.Client, feeds: list[Feed]) -> None:
        self._client, self._feeds = client, feeds
        self._where = f"{link.host}:{link.port}"
        self._beat_s = link.keepalive / NS_PER_S / 2
        self._lost = ""
        self._watched: list[tuple[Device, tuple[Point, ...]]] = []

    async def watch(self, device: Device, points: Sequence[Point], push: Push) -> None:
        """Pushes what arrives until cancelled; raises LinkDown when the broker is gone or no longer answers.

        Never pushes an empty column: that the broker lives says nothing about the device.
        """
        asked = (device, tuple(points))
        if asked in self._watched:
            # Asked again because the device was silent. What the broker kept would be no sign of life.
            device = device.model_copy(update={"retained": "ignore"})
        else:
            self._watched.append(asked)
        feed = Feed(device, points, push)
        self._feeds.append(feed)
        try:
            await self._subscribe(feed)
            while True:
                await self._wait(self._beat_s)
                await self._ping()
        finally:
            self._feeds.remove(feed)
            await self._unsubscribe(feed)

    async def write(self, device: Device, points: Sequence[Point], values: Sequence[Scalar], deadline: float) -> None:
        """Publishes in order with QoS 1 and waits for each acknowledgement; nothing is sent where one does not fit.

        After LinkDown it is not known whether the last one arrived.
        """
        messages: list[tuple[str, bytes]] = []
        for point, value in zip(points, values, strict=True):
            if point.set is None:
                raise Rejected(f"{point.topic} has no `set` topic, so it cannot be written")
            messages.append((under(device.base, point.set), to_set(point, value)))
        for topic, payload in messages:
            await self._ask(deadline, self._client.publish, topic, payload, _QOS, timeout=math.inf)

    # --- the connection ------------------------------------------------------------------------------

    async def connect(self, deadline: float, remaining_s: float) -> None:
        """Connects once; a client is never used again."""
        paho = self._client._client
        paho.connect_timeout = remaining_s
        # The library connects in a thread that nothing can stop. Where it is late, its socket is
        # closed as soon as it is there.
        disconnected = self._client._disconnected  # replaced by the library when it is connected
        entering = asyncio.ensure_future(self._client.__aenter__())
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(entering)
            if disconnected.done():
                self._drop()
                raise self._down("the connection was lost at once")
        except TimeoutError:
            raise self._down("no answer in time; is it busy, hung or unplugged?") from None
        except aiomqtt.exceptions.MqttConnectError as error:
            raise self._down(f"it refuses the connection: {error.rc}") from error
        except (MqttError, OSError) as error:
            raise self._down(f"cannot connect: {error}") from error
        finally:
            if not entering.done():
                entering.add_done_callback(self._drop_late)
            elif entering.cancelled() or entering.exception():
                self._drop()
            if disconnected.done() and not disconnected.cancelled():
                disconnected.exception()  # asyncio complains of one that nobody has asked for

    async def close(self) -> None:
        """Says goodbye where the broker still listens, and closes the socket in any case."""
        try:
            if not self._lost:
                with suppress(MqttError, TimeoutError):
                    async with asyncio.timeout(_LEAVING_S):
                        await self._client.__aexit__(None, None, None)
        finally:
            self._down("the connection was closed")
            self._drop()
        # The library keeps the reason of a disconnect until somebody asks for it, or complains.
        with suppress(MqttError, TimeoutError):
            async with asyncio.timeout(_LEAVING_S):
                await anext(self._client.messages)

    def _drop_late(self, entering: asyncio.Future[Any]) -> None:
        if not entering.cancelled():
            entering.exception()
        self._drop()

    def _drop(self) -> None:
        """Ends the TCP connection now; the library sees it and puts its reader and its task away."""
        paho = self._client._client
        while isinstance(line := paho.socket(), socket.socket):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            paho.loop_read()

    def _down(self, why: str) -> LinkDown:
        self._lost = self._lost or f"MQTT broker {self._where}: {why}"
        return LinkDown(self._lost)

    async def _ask(self, deadline: float, request: Callable[A, Awaitable[T]], *args: A.args, **kwargs: A.kwargs) -> T:
        """Makes one request; raises LinkDown where it is not acknowledged by the deadline."""
        if self._lost:
            raise LinkDown(self._lost)
        try:
            async with asyncio.timeout_at(deadline):
                return await request(*args, **kwargs)
        except TimeoutError:
            raise self._down("no answer in time; is it busy, hung or unplugged?") from None
        except MqttError as error:
            raise self._down(f"the connection is lost: {error}") from error

    async def _wait(self, seconds: float) -> None:
        """Lets time pass; raises LinkDown as soon as the socket says that the broker is gone."""
        try:
            async with asyncio.timeout(seconds):
                async for _ in self._client.messages:
                    pass  # nothing comes here: messages go straight to the feeds
        except TimeoutError:
            return
        except MqttError as error:
            cause = error.__cause__
            if cause is not None and not isinstance(cause, MqttError | OSError):
                raise cause from None  # a fault of ours on the way of a message
            raise self._down("the connection was closed") from error

    async def _ping(self) -> None:
        """Proves that the broker still works on what we send.

        It must acknowledge an UNSUBSCRIBE even of what was never subscribed to (MQTT 3.1.1, 3.10.4);
        that needs no permission and leaves no trace, unlike a message to ourselves.
        """
        never = f"edgeflow/alive/{self._client.identifier}"
        await self._ask(self._soon(self._beat_s), self._client.unsubscribe, never, timeout=math.inf)

    # --- subscriptions -------------------------------------------------------------------------------

    async def _subscribe(self, feed: Feed) -> None:
        filters = list(feed.filters)
        for start in range(0, len(filters), _FILTERS_PER_PACKET):
            some = filters[start : start + _FILTERS_PER_PACKET]
            topics = [(topic, _QOS) for topic in some]
            deadline = self._soon(_SUBSCRIBING_S)
            codes = await self._ask(deadline, self._client.subscribe, topics, timeout=math.inf)
            for topic, code in zip(some, codes, strict=True):
                if isinstance(code, ReasonCode) and code.is_failure:
                    feed.refuse(topic, f"the broker refuses the subscription to {topic}: {code}")

    async def _unsubscribe(self, feed: Feed) -> None:
        """The client may go on for others; where the connection is lost there is nobody to tell."""
        wanted = {topic for other in self._feeds for topic in other.filters}
        rest = [topic for topic in feed.filters if topic not in wanted]
        if not rest or self._lost:
            return
        with suppress(LinkDown):
            await self._ask(self._soon(_LEAVING_S), self._client.unsubscribe, rest, timeout=math.inf)

    def _soon(self, seconds: float) -> float:
        return asyncio.get_running_loop().time() + seconds


def _straight_to(feeds: list[Feed]) -> type[asyncio.Queue[Message]]:
    """A queue that keeps nothing: each message goes to the feeds at once, without a task or a bound to overflow."""

    class Straight(asyncio.Queue[Message]):
        def put_nowait(self, item: Message) -> None:
            payload = item.payload if isinstance(item.payload, bytes) else bytes(item.payload)
            for feed in tuple(feeds):
                feed.take(item.topic.value, payload, retained=item.retain)

    return Straight
