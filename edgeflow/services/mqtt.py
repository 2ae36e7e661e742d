"""Publishes to an MQTT broker."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import socket
import threading
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import aiomqtt
import orjson
import structlog

from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import Call, Value
from edgeflow.services.settings import MqttSettings
from edgeflow.units import NS_PER_S

log = structlog.get_logger()

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 4.0
_LEAVING_S = 1.0
_KEEPALIVE_S = 10

# What the library has to say of a lost connection is in our own words in the log. Where somebody has
# chosen a level for this logger, theirs counts.
_library_log = logging.getLogger("edgeflow.services.mqtt.library")
if _library_log.level == logging.NOTSET:
    _library_log.setLevel(logging.CRITICAL + 1)


def payload(value: Value) -> bytes | str:
    """A value as an MQTT payload: text and bytes as they are, everything else as JSON."""
    if isinstance(value, str | bytes):
        return value
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        raise Rejected(f"this value cannot be sent as JSON: {error}") from None


class MqttService:
    """One connection to the broker, kept up. A publish that is not acknowledged in time ends the connection.

    `fast` calls fail at once where there is no connection; all others are tried until the broker has them.
    """

    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings
        self._line: _Line | None = None
        self._open = asyncio.Event()
        self.workers = settings.in_flight

    async def run(self) -> None:
        """Connects, and connects again, until cancelled."""
        where = f"{self._settings.host}:{self._settings.port}"
        pause_s, lost = _FIRST_PAUSE_S, False
        while True:
            line = _Line(self._settings)
            try:
                await line.open()
                if lost:
                    log.info("publishing again", broker=where)
                pause_s, lost = _FIRST_PAUSE_S, False
                self._line = line
                self._open.set()
                await line.watch()
            except LinkDown as error:
                if not lost:
                    log.warning("cannot publish", broker=where, reason=str(error))
                lost = True
            finally:
                self._open.clear()
                self._line = None
                await line.close()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def carry_out(self, call: Call) -> Value:
        """Publishes; raises LinkDown for a fast call without a connection, Rejected for what cannot be sent."""
        request = call.request
        topic, content = request["topic"], payload(request.get("payload"))
        while True:
            line = self._line
            if line is None:
                if call.fast:
                    raise LinkDown("there is no connection to the broker")
                await self._open.wait()
                continue
            try:
                await line.publish(topic, content, request.get("qos", 0), retain=request.get("retain", False))
            except LinkDown:
                if call.fast:
                    raise
                await asyncio.sleep(0)
            except ValueError as error:  # the library's word for a topic or a size that MQTT does not allow
                raise Rejected(f"this cannot be published on {topic!r}: {error}") from None
            else:
                return None


class _Line:
    """One connection; a client of aiomqtt is not used twice. As soon as it is lost, nobody waits for it any more."""

    def __init__(self, settings: MqttSettings) -> None:
        self._timeout_s = settings.timeout / NS_PER_S
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._blocked = False
        self._waiting: set[asyncio.Timeout] = set()
        self._lost = ""
        self._client = client = aiomqtt.Client(
            settings.host,
            settings.port,
            # gateways share host names (and brokers): one with the id of another would throw it out
            identifier=settings.client_id or f"edgeflow-{socket.gethostname()}-{secrets.token_hex(4)}",
            timeout=self._timeout_s,
            keepalive=_KEEPALIVE_S,
            max_inflight_messages=settings.in_flight,
            logger=_library_log,
        )
        client.pending_calls_threshold = settings.in_flight
        client._client.connect_timeout = self._timeout_s
        client._client.on_socket_register_write = self._register_write
        client._client.on_socket_unregister_write = self._unregister_write

    async def open(self) -> None:
        """Connects; raises LinkDown."""
        # The library replaces this future when it is done by the end of `__aenter__`, and with it the
        # news that the connection is lost already.
        disconnected = self._client._disconnected
        try:
            await self._patiently(self._client.__aenter__(), 2 * self._timeout_s)
        finally:
            lost_already = _heard(disconnected)
        if lost_already:
            raise self._down("the connection was lost at once")

    async def watch(self) -> None:
        """Waits until the connection is lost; always raises LinkDown."""
        await self._patiently(anext(self._client.messages), None)
        raise self._down("the broker sent something that nobody had asked for")

    async def publish(self, topic: str, content: bytes | str, qos: int, *, retain: bool) -> None:
        """Publishes and waits for what the quality of service has for a receipt; raises LinkDown."""
        if self._lost:
            raise LinkDown(self._lost)
        publishing = self._client.publish(topic, content, qos, retain, timeout=math.inf)
        await self._patiently(publishing, self._timeout_s)

    async def close(self) -> None:
        """Says goodbye where the broker still listens, and closes the socket in any case."""
        lost = self._lost
        self._down("the connection was closed")
        try:
            if not lost:
                with suppress(aiomqtt.MqttError, OSError, TimeoutError):
                    async with asyncio.timeout(_LEAVING_S):
                        await self._client.__aexit__(None, None, None)
        finally:
            self._drop()
        _heard(self._client._disconnected)

    async def _patiently(self, work: Awaitable[Any], seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds) as patience:
                self._waiting.add(patience)
                try:
                    await work
                finally:
                    self._waiting.discard(patience)
        except TimeoutError:
            raise self._down("the broker does not answer in time") from None
        except (aiomqtt.MqttError, OSError) as error:
            raise self._down(_reason(error)) from None

    def _down(self, why: str) -> LinkDown:
        """The connection is lost, and whoever waits for it learns so now."""
        if not self._lost:
            self._lost = why
            for patience in self._waiting:
                if not patience.expired():
                    patience.reschedule(self._loop.time())
        return LinkDown(self._lost)

    def _register_write(self, _paho: Any, _userdata: Any, _sock: Any) -> None:
        """In place of the library's own, which wakes the loop by a system call and waits for the socket each time.

        It also registers a number that may be another's socket by then.
        """
        if threading.get_ident() == self._thread:
            self._loop.call_soon(self._write)
        else:  # the library connects in a thread
            self._loop.call_soon_threadsafe(self._write)

    def _write(self) -> None:
        """Writes what waits; only what the socket does not take at once waits for it."""
        paho = self._client._client
        try:
            paho.loop_write()
        except OSError as error:
            self._down(str(error))
        sock = paho.socket()
        if isinstance(sock, socket.socket) and sock.fileno() >= 0 and paho.want_write() and not self._blocked:
            self._blocked = True
            self._loop.add_writer(sock, self._write)

    def _unregister_write(self, _paho: Any, _userdata: Any, sock: Any) -> None:
        if self._blocked:
            self._blocked = False
            self._loop.remove_writer(sock)

    def _drop(self) -> None:
        """Ends the TCP connection now; the library sees it and puts its reader and its task away."""
        paho = self._client._client
        while isinstance(line := paho.socket(), socket.socket):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            paho.loop_read()


def _heard(disconnected: asyncio.Future[None]) -> bool:
    """Whether a client is disconnected. Asks for the reason, too: asyncio complains of one nobody asked for."""
    if disconnected.done() and not disconnected.cancelled():
        disconnected.exception()
    return disconnected.done()


def _reason(error: Exception) -> str:
    """Why there is no connection, in words for a person."""
    if isinstance(error, aiomqtt.exceptions.MqttConnectError):
        return f"the broker refuses the connection: {error.rc}"
    if isinstance(error, aiomqtt.MqttCodeError) or error.__cause__ is not None:
        return "the connection was lost"
    return str(error)
