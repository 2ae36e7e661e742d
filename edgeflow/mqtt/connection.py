"""One connection to an MQTT broker, on paho: opened by a deadline, proved to be alive, closed without a trace.

paho is driven from the event loop by the interface that it has for that; only connecting, which blocks,
is done in a thread.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from paho.mqtt import MQTTException
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edgeflow.errors import LinkDown, Rejected
from edgeflow.mqtt import reason
from edgeflow.mqtt.settings import Broker, Context
from edgeflow.units import NS_PER_S

Version = Literal["3.1.1", "5"]
Take = Callable[[str, bytes, bool], None]
"""Takes a message: topic, payload, and whether the broker had kept it (retained)."""

LARGEST = 16 * 1024 * 1024
"""A broker with MQTT 5 sends no larger packet than this many bytes."""

_PROTOCOLS = {"3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}
_FILTERS_PER_PACKET = 100
_TICK_S = 1.0
_LEAVING_S = 1.0
_SHORTEST_S = 0.1
_NEVER = "edgeflow/alive"
_NOT_MQTT = (OSError, ValueError, LookupError, struct.error, MQTTException)
"""What paho raises where the other side sends what is no MQTT."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes for us when it loses us."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True


class WrongVersion(LinkDown):
    """The broker does not speak this version of MQTT, or hung up instead of an answer, which may mean the same."""


class RefusedVersion(WrongVersion):
    """The broker says that it does not speak this version of MQTT."""


async def connect(
    broker: Broker,
    client_id: str,
    deadline: float,
    *,
    take: Take | None = None,
    will: Will | None = None,
    session_expiry_s: int = 0,
    in_flight: int = 1000,
    first: Version = "5",
) -> Connection:
    """Connects by the deadline (loop time, s) in the version that both sides know; raises LinkDown.

    `first`: the version to begin with where the settings leave it open. `session_expiry_s`: how long the
    broker keeps our session while we are away, 0 for not at all.
    """
    versions: tuple[Version, ...] = (first, "3.1.1" if first == "5" else "5")
    if broker.version != "auto":
        versions = (broker.version,)
    wrong: WrongVersion | None = None
    for version in versions:
        connection = Connection(broker, client_id, version, take, will, session_expiry_s, in_flight)
        try:
            await connection.open(deadline)
        except WrongVersion as error:
            wrong = error
        else:
            connection.certain = isinstance(wrong, RefusedVersion)
            return connection
    assert wrong is not None
    raise LinkDown(str(wrong))


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
    ) -> None:
        self.version = version
        self.certain = False  # whether the broker has refused the other version
        self.lost = ""
        self.session_present = False
        self._where = f"{broker.host}:{broker.port}"
        self._broker, self._take, self._expiry_s = broker, take, session_expiry_s
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._greeted: asyncio.Future[ReasonCode | None] = self._loop.create_future()
        self._receipts: dict[int, asyncio.Future[Any]] = {}
        self._bug: Exception | None = None
        self._heard_s = 0.0
        self._proving = self._blocked = False
        self._fd = -1
        self._tls: Context | None = None
        self._timer: asyncio.TimerHandle | None = None
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

    # --- opening and closing ---------------------------------------------------------------------------

    async def open(self, deadline: float) -> None:
        """Connects; raises LinkDown, and WrongVersion where another version may be understood."""
        remaining_s = max(_SHORTEST_S, deadline - self._loop.time())
        connecting = self._loop.run_in_executor(None, self._connect, remaining_s)
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(connecting)
                self._attach()
                either: set[asyncio.Future[Any]] = {self._greeted, self._gone}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
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
                self._drop()

    def _connect(self, seconds: float) -> None:
        """Blocks; in a thread."""
        broker, paho = self._broker, self._paho
        if broker.user is not None:
            password = broker.password.read() if broker.password is not None else None
            if broker.password is not None and password is None:
                raise LinkDown(f"the password is not there: {broker.password}")
            paho.username_pw_set(broker.user, password)
        if broker.tls is not None:
            self._tls = broker.tls.context()
            paho.tls_set_context(self._tls)
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
        self._drop()

    def _refused(self, code: ReasonCode | None) -> LinkDown:
        if code is None:
            return WrongVersion(self._complaints.behind(reason.hung_up(self._broker)))
        if code.getName() == "Unsupported protocol version":
            return RefusedVersion(f"it does not speak MQTT {self.version}; write `version: auto`")
        return LinkDown(reason.refusal(code))

    async def close(self) -> None:
        """Says goodbye where the broker still listens, and closes the socket in any case."""
        if not self.lost:
            self._paho.disconnect()
            await asyncio.wait({self._gone}, timeout=_LEAVING_S)
        self._fail("the connection was closed")
        self._drop()

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
        if not self._proving and self._loop.time() - self._heard_s >= seconds / 2:
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
    ) -> None:
        """Publishes and waits for the receipt (QoS 0: until it is sent).

        Raises LinkDown, Rejected where the broker says no (only MQTT 5 has a word for it), and ValueError
        for a topic or a size that MQTT does not allow.
        """
        if self.lost:
            raise LinkDown(self.lost)
        info = self._paho.publish(topic, payload, qos, retain)
        code: ReasonCode = await self._receipt(info.rc, info.mid, deadline)
        if code.is_failure:
            raise Rejected(f"the broker refuses what is published on {topic}: {code}")

    async def subscribe(self, filters: Sequence[str], deadline: float, *, qos: int = 1) -> dict[str, str]:
        """Subscribes; returns the filters that the broker refuses, with the reason in its words. Raises LinkDown."""
        refused: dict[str, str] = {}
        for start in range(0, len(filters), _FILTERS_PER_PACKET):
            some = filters[start : start + _FILTERS_PER_PACKET]
            if self.lost:
                raise LinkDown(self.lost)
            wanted: list[Any] = [(topic, SubscribeOptions(qos) if self.version == "5" else qos) for topic in some]
            codes: list[ReasonCode] = await self._receipt(*self._paho.subscribe(wanted), deadline)
            refused |= {topic: str(code) for topic, code in zip(some, codes, strict=False) if code.is_failure}
        return refused

    async def unsubscribe(self, filters: Sequence[str], deadline: float) -> None:
        """Unsubscribes; raises LinkDown."""
        if self.lost:
            raise LinkDown(self.lost)
        await self._receipt(*self._paho.unsubscribe(list(filters)), deadline)

    async def _receipt(self, rc: MQTTErrorCode, mid: int | None, deadline: float) -> Any:
        if rc != mqtt.MQTT_ERR_SUCCESS or mid is None:
            raise self._fail(self._complaints.behind("the connection was closed"))
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

    def _on_connect(self, _client: Any, _data: Any, flags: mqtt.ConnectFlags, code: ReasonCode, _more: Any) -> None:
        self.session_present = flags.session_present
        if not self._greeted.done():
            self._greeted.set_result(code)

    def _on_disconnect(self, _client: Any, _data: Any, flags: mqtt.DisconnectFlags, code: ReasonCode, _: Any) -> None:
        why = self._complaints.behind("the connection was closed")
        if flags.is_disconnect_packet_from_server:
            why = f"it ends the connection: {code}"
            if code.getName() == "Session taken over":
                why = "another client has connected with the same `client_id`; each needs its own"
        self._fail(why)

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

    # --- the socket ------------------------------------------------------------------------------------

    def _attach(self) -> None:
        paho = self._paho
        sock = paho.socket()
        if not isinstance(sock, socket.socket) or sock.fileno() < 0:
            raise self._refused(None)
        # Else a small packet waits for the acknowledgement of the one before, which the other side holds back 40 ms.
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fd = sock.fileno()
        paho.on_socket_close = self._on_close
        paho.on_socket_register_write = self._on_register_write
        paho.on_socket_unregister_write = self._on_unregister_write
        self._loop.add_reader(self._fd, self._read)
        self._heard_s = self._loop.time()
        self._write()
        self._timer = self._loop.call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        """Keepalive: paho pings the broker when it is time."""
        if not self.lost:
            self._paho.loop_misc()
            self._timer = self._loop.call_later(_TICK_S, self._tick)

    def _read(self) -> None:
        self._heard_s = self._loop.time()
        try:
            self._paho.loop_read()
            # what the TLS layer has decrypted already makes no socket readable
            while isinstance(sock := self._paho.socket(), ssl.SSLSocket) and sock.pending():
                self._paho.loop_read()
        except _NOT_MQTT as error:
            self._fail(f"it sends what is not MQTT ({type(error).__name__}: {error})")
            self._drop()

    def _on_register_write(self, _client: Any, _data: Any, _sock: Any) -> None:
        self._loop.call_soon(self._write)

    def _write(self) -> None:
        """Writes what waits; only what the socket does not take at once waits for it."""
        paho = self._paho
        if self._fd < 0:
            return
        try:
            paho.loop_write()
        except OSError as error:
            self._fail(str(error))
        if self._fd >= 0 and paho.socket() is not None and paho.want_write() and not self._blocked:
            self._blocked = True
            self._loop.add_writer(self._fd, self._write)

    def _on_unregister_write(self, _client: Any, _data: Any, _sock: Any) -> None:
        if self._blocked:
            self._blocked = False
            self._loop.remove_writer(self._fd)

    def _on_close(self, _client: Any, _data: Any, _sock: Any) -> None:
        """paho closes the socket, whose number may be another's the next moment."""
        if self._blocked:
            self._blocked = False
            self._loop.remove_writer(self._fd)
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._fd = -1

    def _drop(self) -> None:
        """Ends the TCP connection now."""
        if self._timer is not None:
            self._timer.cancel()
        self._on_close(None, None, None)
        paho = self._paho
        paho.on_socket_close = paho.on_socket_register_write = paho.on_socket_unregister_write = None
        for sock in (paho.socket(), self._tls and self._tls.made):
            if isinstance(sock, socket.socket):
                with suppress(OSError):
                    sock.close()
