"""Publishes to an MQTT broker."""

from __future__ import annotations

import asyncio
import socket

import aiomqtt
import orjson
import structlog

from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import Call, Value
from edgeflow.services.settings import MqttSettings
from edgeflow.units import NS_PER_S

log = structlog.get_logger()


def payload(value: Value) -> bytes | str:
    """A value as an MQTT payload: text and bytes as they are, everything else as JSON."""
    if isinstance(value, str | bytes):
        return value
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        raise Rejected(f"this value cannot be sent as JSON: {error}") from None


class MqttService:
    """One connection to the broker, kept up; a client of aiomqtt is single-use, so each attempt is a new one."""

    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings
        self._client: aiomqtt.Client | None = None
        self._open = asyncio.Event()
        self.workers = settings.in_flight

    async def run(self) -> None:
        """Connects, and connects again, until cancelled."""
        settings, wait_s, lost_since = self._settings, 0.5, False
        where = f"{settings.host}:{settings.port}"
        while True:
            client = aiomqtt.Client(
                settings.host,
                settings.port,
                identifier=settings.client_id or f"edgeflow-{socket.gethostname()}-publish",
                timeout=settings.timeout / NS_PER_S,
                keepalive=10,
                max_inflight_messages=settings.in_flight,
            )
            try:
                async with client:
                    self._client = client
                    self._open.set()
                    if lost_since:
                        log.info("publishing again", broker=where)
                    lost_since, wait_s = False, 0.5
                    await self._until_broken(client)
            except aiomqtt.MqttError as error:
                if not lost_since:
                    log.warning("cannot publish", broker=where, reason=str(error))
                lost_since = True
            finally:
                self._open.clear()
                self._client = None
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, 5.0)

    async def _until_broken(self, client: aiomqtt.Client) -> None:
        """Notices a lost connection even when nothing is published: the message iterator ends with it."""
        async for _ in client.messages:
            pass

    async def carry_out(self, call: Call) -> Value:
        request = call.request
        if call.fast and not self._open.is_set():
            raise LinkDown("there is no connection to the broker")
        while True:
            await self._open.wait()
            client = self._client
            assert client is not None
            try:
                await client.publish(
                    request["topic"],
                    payload(request.get("payload")),
                    qos=request.get("qos", 0),
                    retain=request.get("retain", False),
                )
            except aiomqtt.MqttError as error:
                if call.fast:
                    raise LinkDown(str(error)) from None
                await asyncio.sleep(0.5)
            else:
                return None
