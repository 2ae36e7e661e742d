"""One connection to an MQTT broker, on paho: opened by a deadline, proved to be alive, closed without a trace.

paho is driven from the event loop by the interface that it has for that; only connecting, which blocks,
is done in a thread.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import structlog
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edgeflow.errors import LinkDown, Rejected
from edgeflow.mqtt import reason
from edgeflow.mqtt.learned import Learned, Version
from edgeflow.mqtt.settings import Broker
from edgeflow.mqtt.wire import LARGEST, Wire
from edgeflow.units import NS_PER_S

log = structlog.get_logger(__name__)

Take = Callable[[str, bytes, bool], None]
"""Takes a message: topic, payload, and whether the broker had kept it (retained)."""

_PROTOCOLS = {"3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}
_LEAVING_S = 1.0
_SHORTEST_S = 0.1
_SUSPICIOUS_S = 60.0
_NEVER = "edgeflow/alive"


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes for us when it loses us."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True


class OtherVersion(LinkDown):
    """The broker refused this version of MQTT, was silent, hung up or spoke nonsense: another may be understood."""


async def connect(
    broker: Broker,
    client_id: str,
    deadline: float,
    *,
    take: Take | None = None,
    will: Will | None = None,
    session_expiry_s: int = 0,
    in_flight: int = 1000,
    learned: Learned | None = None,
) -> Connection:
    """Connects by the deadline (loop time, s) in the version that both sides know; raises LinkDown.

    `session_expiry_s`: how long the broker keeps our session while we are away, 0 for not at all. `learned`:
    what is known of the broker, and what is found out now. Where the settings leave the version open, the
    first has half of the time to be answered: some brokers never answer a version that they do not know.
    """
    learned = learned or Learned(broker)
    versions: list[Version] = ["3.1.1", "5"] if learned.version == "3.1.1" else ["5", "3.1.1"]
    if broker.version != "auto":
        versions = [broker.version]
    wrong: list[OtherVersion] = []
    for version in versions:
        connection = Connection(broker, client_id, version, take, will, session_expiry_s, in_flight, learned)
        try:
            await connection.open(deadline, share=1.0 if version == versions[-1] else 0.5)
        except OtherVersion as error:
            wrong.append(error)
            continue
        if broker.version == "auto" and (wrong or version == "5") and learned.spoke(version):
            log.info(f"the broker speaks MQTT {version}", broker=f"{broker.host}:{broker.port}")
        return connection
    told = next((error for error in reversed(wrong) if reason.NO_ANSWER not in str(error)), wrong[-1])
    raise LinkDown(f"{told} (tried: MQTT {' and '.join(versions)})")


class Connection:
    """An open connection; as soon as it is lost nobody waits for it any more, and it is not used again."""

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        version: Version,
        take: Take | None,
        will: Will | None,
        session_expiry_s: int,
        in_flight: int,
        learned: Learned,
    ) -> None:
        self.version = version
        self.lost = ""
        self.session_present = False
        self._where = f"{broker.host}:{broker.port}"
        self._broker, self._take, self._expiry_s, self._learned = broker, take, session_expiry_s, learned
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._greeted: asyncio.Future[ReasonCode | None] = self._loop.create_future()
        self._receipts: dict[int, asyncio.Future[Any]] = {}
        self._one_subscribes = asyncio.Lock()
        self._bug: Exception | None = None
        self._since_s = 0.0
        self._proving = False
        self._hung_up = False
        self._allowed: Any = None  # what the broker said in MQTT 5 that it takes
        self._in_flight: asyncio.Semaphore | None = None
        self._complaints = reason.Complaints()
        self._paho = paho = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=_PROTOCOLS[version],
            clean_session=None if version == "5" else not session_expiry_s,
            reconnect_on_failure=False,
        )
        paho.max_inflight_messages = in_flight
        paho.enable_logger(self._complaints)
        paho.on_connect, paho.on_disconnect = self._on_connect, self._on_disconnect
        paho.on_subscribe, paho.on_unsubscribe, paho.on_publish = self._on_codes, self._on_codes, self._on_publish
        paho.on_message = self._on_message
        if will is not None:
            paho.will_set(will.topic, will.payload, will.qos, will.retain)
        self._wire = Wire(paho, self._fail, self._passed_over)

    # --- opening and closing ---------------------------------------------------------------------------

    async def open(self, deadline: float, share: float = 1.0) -> None:
        """Connects; raises LinkDown, and OtherVersion where another version may be understood.

        `share`: of the time that is left once there is a connection, what the broker has for its answer.
        """
        remaining_s = max(_SHORTEST_S, deadline - self._loop.time())
        connecting = self._loop.run_in_executor(None, self._connect, remaining_s)
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(connecting)
            if not self._wire.attach():
                raise self._refused(None)  # said where the others are
            self._since_s = self._loop.time()
            either: set[asyncio.Future[Any]] = {self._greeted, self._gone}
            await asyncio.wait(
                either, timeout=share * max(0.0, deadline - self._since_s), return_when=asyncio.FIRST_COMPLETED
            )
            if not self._greeted.done() and not self.lost:
                raise OtherVersion(reason.NO_ANSWER)
            code = self._greeted.result() if self._greeted.done() else None
            if self.lost or code is None or code.is_failure:
                raise self._refused(code)
        except LinkDown as error:
            self._fail(str(error))
            raise type(error)(self._said(str(error))) from None
        except TimeoutError:
            raise self._fail(reason.NO_ANSWER) from None
        except (OSError, ValueError) as error:
            raise self._fail(reason.why(error, self._broker)) from None
        finally:
            # The thread cannot be stopped. Where it is late, its socket is closed as soon as it is there.
            if not connecting.done():
                connecting.add_done_callback(self._too_late)
            elif self.lost or not self._greeted.done():
                self._fail("it was not opened")
                self._wire.drop()

    def _connect(self, seconds: float) -> None:
        """Blocks; in a thread."""
        broker, paho = self._broker, self._paho
        if broker.user is not None:
            password = broker.password.read() if broker.password is not None else None
            if broker.password is not None and password is None:
                raise LinkDown(f"the password is not there: {broker.password}")
            paho.username_pw_set(broker.user, password)
        if broker.tls is not None:
            self._wire.tls = broker.tls.context()
            paho.tls_set_context(self._wire.tls)
            if not broker.tls.check_name:
                paho.tls_insecure_set(True)
        paho.connect_timeout = seconds
        keepalive = math.ceil(broker.keepalive / NS_PER_S)
        if self.version != "5":
            paho.connect(broker.host, broker.port, keepalive)
            return
        properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho says nothing of it
        properties.MaximumPacketSize = LARGEST
        if self._expiry_s:
            properties.SessionExpiryInterval = self._expiry_s
        paho.connect(broker.host, broker.port, keepalive, clean_start=not self._expiry_s, properties=properties)

    def _too_late(self, connecting: asyncio.Future[None]) -> None:
        if not connecting.cancelled():
            connecting.exception()
        self._wire.drop()

    def _refused(self, code: ReasonCode | None) -> LinkDown:
        if code is None:
            return OtherVersion(self._wire.nonsense or self._complaints.behind(reason.hung_up(self._broker)))
        if code.value in reason.OTHER_VERSION:
            return OtherVersion(f"it does not speak MQTT {self.version} ({code}); write `version: auto`")
        return LinkDown(reason.refusal(code))

    async def close(self) -> None:
        """Says goodbye where the broker still listens, and closes the socket in any case."""
        if not self.lost:
            self._paho.disconnect()
            await asyncio.wait({self._gone}, timeout=_LEAVING_S)
        self._fail(reason.CLOSED)
        self._wire.drop()

    # --- using it --------------------------------------------------------------------------------------

    async def beat(self, seconds: float) -> None:
        """Waits so long, and where nothing was heard meanwhile has the broker prove that it lives.

        Raises LinkDown as soon as the connection is lost, or what went wrong in taking a message.
        """
        await asyncio.wait({self._gone}, timeout=seconds)
        if self._bug is not None:
            raise self._bug
        if self.lost:
            raise LinkDown(self.lost)
        if not self._proving and self._loop.time() - self._wire.heard_s >= seconds / 2:
            await self.prove(self._loop.time() + seconds)

    async def prove(self, deadline: float) -> None:
        """Has the broker show that it works on what we send; raises LinkDown where it does not by the deadline.

        It must acknowledge an UNSUBSCRIBE even of what was never subscribed to (MQTT 3.1.1, 3.10.4), after
        what we sent before; that needs no permission and leaves no trace, unlike a message to ourselves.
        """
        self._proving = True
        try:
            await self.unsubscribe([_NEVER], deadline)
        finally:
            self._proving = False

    def send(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """Publishes without waiting for a receipt; nothing happens where the connection is lost."""
        if not self.lost:
            self._paho.publish(topic, payload, qos, retain)

    async def publish(
        self, topic: str, payload: bytes | str, deadline: float, *, qos: int = 1, retain: bool = False
    ) -> bool:
        """Publishes and waits for the receipt (QoS 0: until it is sent); false where the broker says nobody listens.

        Raises LinkDown, Rejected where the broker says no (only MQTT 5 has a word for it), and ValueError
        for a topic or a size that MQTT does not allow.
        """
        if self.lost:
            raise LinkDown(self.lost)
        if no := reason.not_allowed(self._allowed, topic, payload, qos, retain=retain):
            raise Rejected(no)
        async with AsyncExitStack() as turn:
            if self._in_flight is not None and qos:
                await self._turn(self._in_flight, deadline)
                turn.callback(self._in_flight.release)
            info = self._paho.publish(topic, payload, qos, retain)
            code: ReasonCode = await self._receipt(info.rc, info.mid, deadline)
        if code.is_failure:
            raise Rejected(reason.publishing(topic, code))
        return code.value != reason.NOBODY_LISTENS

    async def subscribe(self, filters: Sequence[str], within_s: float, *, qos: int = 1) -> dict[str, str]:
        """Subscribes; returns the filters that the broker refuses, with the reason. Raises LinkDown.

        As many at once as it takes, each time within so many seconds. Where it ends the connection instead
        of an answer, that is learned for the next.
        """
        left_out = self._learned.left_out
        refused = {topic: reason.LEFT_OUT for topic in filters if topic in left_out}
        wanted = [topic for topic in filters if topic not in left_out]
        async with self._one_subscribes:  # so that the one is to blame at which it ends the connection
            while wanted:
                some = self._portion(wanted)
                wanted = wanted[len(some) :]
                if self.lost:
                    raise LinkDown(self.lost)
                asked: list[Any] = [(topic, SubscribeOptions(qos) if self.version == "5" else qos) for topic in some]
                try:
                    receipt = self._paho.subscribe(asked)
                    codes: list[ReasonCode] = await self._receipt(*receipt, self._loop.time() + within_s)
                except LinkDown as error:
                    if self._hung_up:
                        raise LinkDown(f"{error}; {self._learned.ended_at(some)}") from None
                    raise
                self._learned.took(some)
                refused |= {
                    topic: reason.subscribing(code) for topic, code in zip(some, codes, strict=False) if code.is_failure
                }
        return refused

    def _portion(self, wanted: Sequence[str]) -> Sequence[str]:
        """The first of them, as many as the broker takes in one packet, by their number and by their length."""
        some, room = wanted[: self._learned.at_once], getattr(self._allowed, "MaximumPacketSize", LARGEST) - 16
        sizes = accumulate(len(topic.encode()) + 3 for topic in some)
        return some[: max(1, sum(size <= room for size in sizes))]

    async def unsubscribe(self, filters: Sequence[str], deadline: float) -> None:
        """Unsubscribes; raises LinkDown."""
        if self.lost:
            raise LinkDown(self.lost)
        await self._receipt(*self._paho.unsubscribe(list(filters)), deadline)

    async def _receipt(self, rc: MQTTErrorCode, mid: int | None, deadline: float) -> Any:
        if rc != mqtt.MQTT_ERR_SUCCESS or mid is None:
            raise self._fail(self._complaints.behind(reason.CLOSED))
        future = self._receipts[mid] = self._loop.create_future()
        try:
            async with asyncio.timeout_at(deadline):
                answer = await future
        except TimeoutError:
            raise self._fail(reason.NO_ANSWER) from None
        finally:
            self._receipts.pop(mid, None)
        if answer is None:
            raise LinkDown(self.lost)
        return answer

    async def _turn(self, in_flight: asyncio.Semaphore, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await in_flight.acquire()
        except TimeoutError:
            raise self._fail(reason.NO_ANSWER) from None

    def _fail(self, why: str) -> LinkDown:
        """The connection is lost, and whoever waits for it learns so now; the first reason counts."""
        if not self.lost:
            self.lost = self._said(why)
            if not self._gone.done():
                self._gone.set_result(None)
            for future in self._receipts.values():
                if not future.done():
                    future.set_result(None)
        return LinkDown(self.lost)

    def _said(self, why: str) -> str:
        return f"MQTT broker {self._where}: {why}"

    # --- what paho tells -------------------------------------------------------------------------------

    def _on_connect(self, _client: Any, _data: Any, flags: mqtt.ConnectFlags, code: ReasonCode, more: Any) -> None:
        self.session_present = flags.session_present
        self._allowed = more
        if (most := getattr(more, "ReceiveMaximum", 0)) > 0:
            self._in_flight = asyncio.Semaphore(most)
        if not self._greeted.done():
            self._greeted.set_result(code)

    def _on_disconnect(self, _client: Any, _data: Any, flags: mqtt.DisconnectFlags, code: ReasonCode, _: Any) -> None:
        self._hung_up = True
        if flags.is_disconnect_packet_from_server:
            why = reason.goodbye(code)
        elif code.getName() == "Protocol error":
            self._wire.nonsense = why = f"it sends what is not MQTT {self.version}"
        elif code.getName() == "Keep alive timeout":
            self._hung_up, why = False, reason.NO_ANSWER
        else:
            brief = self._greeted.done() and self._loop.time() - self._since_s < _SUSPICIOUS_S
            why = self._complaints.behind(reason.closed(self._broker.client_id if brief else None))
        self._fail(why)

    def _passed_over(self, size: int) -> None:
        log.warning("a message was too large and was left out", broker=self._where, bytes=size, largest=LARGEST)

    def _on_publish(self, _client: Any, _data: Any, mid: int, code: ReasonCode, _more: Any) -> None:
        self._answer(mid, code)

    def _on_codes(self, _client: Any, _data: Any, mid: int, codes: list[ReasonCode], _more: Any) -> None:
        self._answer(mid, codes)

    def _answer(self, mid: int, answer: object) -> None:
        future = self._receipts.get(mid)
        if future is not None and not future.done():
            future.set_result(answer)

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        if self._take is None or self.lost:
            return
        try:
            self._take(topic, bytes(message.payload), message.retain)
        except Exception as error:
            self._bug = error  # of ours, on the way of a message; it is raised where somebody waits
            self._fail(f"a message on {topic} could not be taken")
            raise
