"""A session with one broker: watches that share one connection, and publishing with acknowledgement."""

from __future__ import annotations

import asyncio
import secrets
import zlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Literal

import structlog

from edgeflow.clock import SystemClock
from edgeflow.driver import Found, Home, Push
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import Scalar
from edgeflow.mqtt.connection import Connection, Will, connect
from edgeflow.mqtt.learned import Learned, Version
from edgeflow.units import NS_PER_S
from edgeflow_mqtt.browse import browse
from edgeflow_mqtt.command import to_set
from edgeflow_mqtt.feed import Feed, Message, under
from edgeflow_mqtt.formats import Format
from edgeflow_mqtt.host import NAMESPACE, Node, NodeFeed, command_for, state_payload
from edgeflow_mqtt.point import Point
from edgeflow_mqtt.settings import Device, Link

log = structlog.get_logger(__name__)

_SUBSCRIBING_S = 10.0
_LEAVING_S = 1.0
_AGAIN_S = 1.0
_TOPICS_NOTED = 1000
_QUEUED, _QUEUED_BYTES = 10_000, 16 * 1024 * 1024
_CATCHING_UP_S = 30.0
_PROCESS = secrets.token_hex(2)

Wish = tuple[str, bytes, Literal[0, 1, 2], bool]
"""What is to be published: topic, payload, quality of service, and whether the broker keeps it."""


@asynccontextmanager
async def open_session(link: Link, deadline: float, home: Home) -> AsyncIterator[MqttSession]:
    """Connects by the deadline; raises LinkDown. Leaving closes within about a second, hung broker or not."""
    session = MqttSession(link)
    await session.connect(deadline, home)
    try:
        yield session
    finally:
        await session.close()


class MqttSession:
    """An open connection; several devices may watch and write through it at the same time."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.client_id = ""
        self._beat_s = link.keepalive / NS_PER_S / 2
        self._now_ns, self._now_s = SystemClock().now_ns, asyncio.get_running_loop().time
        self._feeds: list[Feed | NodeFeed] = []
        self._nodes: dict[tuple[str, str], Node] = {}
        self._watched: list[tuple[Device, tuple[Point, ...]]] = []
        self._presence, self._online = _presence(link, self._now_ns())
        self._said_s = float("inf")  # until we are connected
        self._away = _Away(self._now_s() + _CATCHING_UP_S)
        self._unheard: set[str] = set()
        self._connection: Connection
        self._learned: Learned

    async def connect(self, deadline: float, home: Home) -> None:
        """Connects and tells others that we are there; raises LinkDown."""
        link = self._link
        self._learned = Learned(link, home)
        self.client_id = link.client_id or _client_id(home, link)
        self._connection = connection = await connect(
            link,
            self.client_id,
            deadline,
            take=self._take,
            will=self._presence,
            session_expiry_s=link.session_expiry // NS_PER_S,
            learned=self._learned,
        )
        self._said_s = self._now_s()
        if self._presence is not None:
            try:
                await connection.subscribe([self._presence.topic], _SUBSCRIBING_S)
                await connection.publish(self._presence.topic, self._online, deadline, retain=True)
            except BaseException:
                await connection.close()
                raise

    @property
    def version(self) -> Version:
        """The version of MQTT that both sides speak."""
        return self._connection.version

    async def close(self) -> None:
        """Says goodbye where the broker still listens, and closes the socket in any case."""
        if self._presence is not None and not self._connection.lost:  # the broker forgets the will of who says goodbye
            with suppress(LinkDown, Rejected):
                await self._connection.publish(
                    self._presence.topic, self._presence.payload, self._now_s() + _LEAVING_S, retain=True
                )
        await self._connection.close()

    async def watch(self, device: Device, points: Sequence[Point], push: Push) -> None:
        """Pushes what arrives until cancelled; raises LinkDown when the broker is gone or no longer answers.

        Pushes an empty column only for a device of Sparkplug: the broker would have told of its death.
        Elsewhere that the broker lives says nothing about the device.
        """
        feed = self._feed(device, points, push)
        if isinstance(feed, Feed):
            feed.catch_up(self._away.messages(self._now_s()))
        self._feeds.append(feed)
        try:
            left_out = await self._subscribe(feed)
            feed.begin()
            while True:
                await self._connection.beat(self._beat_s)
                feed.beat()
                if left_out and not left_out & self._learned.left_out:  # it has been long enough
                    left_out = await self._subscribe(feed)
        finally:
            self._feeds.remove(feed)
            feed.end()
            self._nodes = {key: node for key, node in self._nodes.items() if node.feeds}
            await self._unsubscribe(feed)

    async def write(self, device: Device, points: Sequence[Point], values: Sequence[Scalar], deadline: float) -> None:
        """Publishes in order and waits for each acknowledgement; nothing is sent where one does not fit.

        After LinkDown it is not known whether the last one arrived.
        """
        wishes = [self._wish(device, point, value) for point, value in zip(points, values, strict=True)]
        for topic, payload, qos, retain in wishes:
            try:
                listens = await self._connection.publish(topic, payload, deadline, qos=qos, retain=retain)
            except ValueError as error:
                raise Rejected(f"this cannot be published on {topic}: {error}") from None
            self._note(topic, listens=listens or retain)
        if any(qos == 0 for _, _, qos, _ in wishes):
            await self._connection.prove(deadline)  # after what was sent before; QoS 0 has no receipt of its own

    def _note(self, topic: str, *, listens: bool) -> None:
        """Says once of a topic that the broker has what was published and nobody is there to get it."""
        if listens:
            self._unheard.discard(topic)
        elif topic not in self._unheard and len(self._unheard) < _TOPICS_NOTED:
            self._unheard.add(topic)
            log.warning(
                "nobody listens to what is written",
                topic=topic,
                check="is it connected, and is that its topic?",
            )

    def browse(self, path: str, deadline: float) -> AsyncIterator[Found]:
        """What is published below a topic, heard until shortly before the deadline."""
        return browse(self._link, self._learned, path, deadline)

    def _wish(self, device: Device, point: Point, value: Scalar) -> Wish:
        sparkplug = device.sparkplug
        if sparkplug is not None and point.metric is not None:
            node = self._nodes.get((sparkplug.group, sparkplug.node))
            if node is None:
                raise Rejected(f"{point.metric} cannot be written before a tag of its device is read")
            return (*command_for(node, sparkplug, point, value, self._now_ns()), 0, False)
        if point.set is None:
            raise Rejected(f"{point.topic or point.metric} has no `set` topic, so it cannot be written")
        return under(device.base, point.set), to_set(point, value), point.qos, point.retain

    # --- messages --------------------------------------------------------------------------------------

    def _take(self, topic: str, payload: bytes, retained: bool) -> None:
        if self._presence is not None and topic == self._presence.topic:
            self._correct(payload)
        if self._nodes and topic.startswith(NAMESPACE) and not retained:
            levels = topic.split("/")
            if len(levels) > 3 and (node := self._nodes.get((levels[1], levels[3]))) is not None:
                node.take(topic, payload)
        messages: dict[Format, Message] = {}  # parsed once for all devices that read it in the same way
        taken = [
            feed.hear(messages.setdefault(feed.format, Message(topic, payload, feed.format)), retained=retained)
            for feed in self._feeds
            if isinstance(feed, Feed)
        ]
        if self._link.session_expiry and not retained and not any(taken):
            self._away.take(topic, payload, self._now_s())  # what was queued for us comes before anybody watches

    def _correct(self, payload: bytes) -> None:
        """The last will of a connection that we have replaced may come after we said that we are there."""
        if payload != self._online and self._presence is not None and self._now_s() - self._said_s >= _AGAIN_S:
            self._said_s = self._now_s()
            self._connection.send(self._presence.topic, self._online, qos=1, retain=True)

    # --- subscriptions ---------------------------------------------------------------------------------

    def _feed(self, device: Device, points: Sequence[Point], push: Push) -> Feed | NodeFeed:
        sparkplug = device.sparkplug
        if sparkplug is not None:
            key = sparkplug.group, sparkplug.node
            if key not in self._nodes:
                self._nodes[key] = Node(*key, self._connection.send, self._now_ns, self._now_s)
            return NodeFeed(self._nodes[key], sparkplug, points, push)
        asked = (device, tuple(points))
        if asked in self._watched:
            # Asked again because the device was silent. What the broker kept would be no sign of life.
            device = device.model_copy(update={"retained": "ignore"})
        else:
            self._watched.append(asked)
        return Feed(device, points, push, self._now_ns)

    async def _subscribe(self, feed: Feed | NodeFeed) -> frozenset[str]:
        """Returns what is not asked for, since the broker would end the connection."""
        left_out = self._learned.left_out & frozenset(feed.filters)
        refused = await self._connection.subscribe(list(feed.filters), _SUBSCRIBING_S)
        for topic, why in refused.items():
            feed.refuse(topic, f"the broker refuses the subscription to {topic}: {why}")
        return left_out

    async def _unsubscribe(self, feed: Feed | NodeFeed) -> None:
        """The client may go on for others; where the connection is lost there is nobody to tell.

        A session that the broker keeps for us keeps its subscriptions.
        """
        wanted = {topic for other in self._feeds for topic in other.filters}
        rest = [topic for topic in feed.filters if topic not in wanted]
        if not rest or self._connection.lost or self._link.session_expiry:
            return
        with suppress(LinkDown):
            await self._connection.unsubscribe(rest, self._now_s() + _LEAVING_S)


class _Away:
    """What came while we were away, for those who begin to watch soon; the oldest goes where it is too much."""

    def __init__(self, until_s: float) -> None:
        self._messages: deque[tuple[str, bytes]] = deque()
        self._until_s, self._bytes = until_s, 0

    def messages(self, now_s: float) -> Sequence[tuple[str, bytes]]:
        """In order; none any more when it is too late."""
        if now_s > self._until_s:
            self._messages.clear()
        return tuple(self._messages)

    def take(self, topic: str, payload: bytes, now_s: float) -> None:
        if now_s > self._until_s:
            return
        self._messages.append((topic, payload))
        self._bytes += len(payload)
        while len(self._messages) > _QUEUED or self._bytes > _QUEUED_BYTES:
            self._bytes -= len(self._messages.popleft()[1])


# --- who we are -----------------------------------------------------------------------------------------


def _presence(link: Link, at_ns: int) -> tuple[Will | None, bytes]:
    """Our last will, and what we say in its place while we are there."""
    if link.will is not None:
        return Will(link.will.topic, link.will.offline.encode()), link.will.online.encode()
    if link.sparkplug_host is not None:
        topic = f"{NAMESPACE}/STATE/{link.sparkplug_host}"
        return Will(topic, state_payload(online=False, at_ns=at_ns)), state_payload(online=True, at_ns=at_ns)
    return None, b""


def _client_id(home: Home, link: Link) -> str:
    """The same at every connection of this link, and another on every gateway.

    Where the broker keeps no session for us, another process of this machine has another one, so that a
    person who looks around does not throw the agent out. At most 23 letters and digits, which every
    broker takes (MQTT 3.1.1, 3.1.3.1).
    """
    own = home.get("client-id")
    if own is None:
        own = secrets.token_hex(3).encode()
        home.put("client-id", own)
    which = repr((home.link, link.host, link.port, link.user, link.session_expiry, link.will, link.sparkplug_host))
    link_id = f"{zlib.crc32(which.encode()):08x}"
    return (
        f"edgeflow{own.decode()}{link_id}" if link.session_expiry else f"edgeflow{own.decode()}{link_id[:4]}{_PROCESS}"
    )
