"""Publishes to an MQTT broker."""

from __future__ import annotations

import asyncio
import secrets
import socket

import orjson
import structlog

from edgeflow.backoff import Backoff
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import Call, Value
from edgeflow.mqtt.connection import Connection, connect
from edgeflow.mqtt.learned import Learned
from edgeflow.services.settings import MqttSettings
from edgeflow.units import NS_PER_S

log = structlog.get_logger()

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 4.0


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
        self._timeout_s = settings.timeout / NS_PER_S
        # gateways share host names (and brokers): one with the id of another would throw it out
        self._client_id = settings.client_id or f"edgeflow-{socket.gethostname()}-{secrets.token_hex(4)}"
        self._learned = Learned(settings)
        self._connection: Connection | None = None
        self._open = asyncio.Event()
        self.workers = settings.in_flight

    async def run(self) -> None:
        """Connects, and connects again, until cancelled."""
        where = f"{self._settings.host}:{self._settings.port}"
        backoff, lost = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S), False
        while True:
            connection: Connection | None = None
            try:
                connection = await self._connect()
                if lost:
                    log.info("publishing again", broker=where)
                lost = False
                backoff.reset()
                self._connection = connection
                self._open.set()
                while True:
                    await connection.beat(self._settings.keepalive / NS_PER_S / 2)
            except LinkDown as error:
                if not lost:
                    log.warning("cannot publish", broker=where, reason=str(error))
                lost = True
            finally:
                self._open.clear()
                self._connection = None
                if connection is not None:
                    await connection.close()
            await asyncio.sleep(backoff.next())

    async def _connect(self) -> Connection:
        settings, deadline = self._settings, self._soon(2 * self._timeout_s)
        return await connect(settings, self._client_id, deadline, in_flight=settings.in_flight, learned=self._learned)

    def _soon(self, seconds: float) -> float:
        return asyncio.get_running_loop().time() + seconds

    async def carry_out(self, call: Call) -> Value:
        """Publishes; raises LinkDown for a fast call without a connection, Rejected for what cannot be sent."""
        request = call.request
        topic, content = request["topic"], payload(request.get("payload"))
        while True:
            connection = self._connection
            if connection is None:
                if call.fast:
                    raise LinkDown("there is no connection to the broker")
                await self._open.wait()
                continue
            try:
                qos, retain = request.get("qos", 0), request.get("retain", False)
                await connection.publish(topic, content, self._soon(self._timeout_s), qos=qos, retain=retain)
            except LinkDown:
                if call.fast:
                    raise
                await asyncio.sleep(0)
            except ValueError as error:  # the library's word for a topic or a size that MQTT does not allow
                raise Rejected(f"this cannot be published on {topic!r}: {error}") from None
            else:
                return None
