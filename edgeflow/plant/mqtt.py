"""The oven's MQTT side: publishes its state once a second, takes a setpoint, reconnects."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiomqtt
import structlog

from edgeflow.plant.factory import Factory
from edgeflow.plant.fault import Fault
from edgeflow.plant.oven import SETPOINT_C
from edgeflow.plant.truth import moment

STATE_TOPIC, SET_TOPIC = "plant/oven/state", "plant/oven/set"
_EVERY_S = 1.0
_RETRY_S = 1.0
_PUBLISH_S = 5.0
_GARBAGE = (b'{"ts": "2026-', b"\xff\xfe\x00\x01", b'{"temperature": "warm", "power": null}', b"")

log = structlog.get_logger(__name__)


class OvenDevice:
    """Keeps one connection to the broker while it is allowed to."""

    faults: frozenset[Fault] = frozenset(("hang", "drop", "restart", "garble"))

    def __init__(self, host: str, port: int, factory: Factory) -> None:
        self._host, self._port, self._factory = host, port, factory
        self._allowed = asyncio.Event()
        self._allowed.set()
        self._dropped = asyncio.Event()
        self._silent = self._garbling = False

    async def begin(self, fault: Fault) -> None:
        self._switch(fault, on=True)

    async def end(self, fault: Fault) -> None:
        self._switch(fault, on=False)
        if fault == "restart":
            self._factory.now()
            self._factory.oven.set(SETPOINT_C)

    def _switch(self, fault: Fault, *, on: bool) -> None:
        if fault == "hang":
            self._silent = on
        elif fault == "garble":
            self._garbling = on
        elif on:
            self._allowed.clear()
            self._dropped.set()
        else:
            self._dropped.clear()
            self._allowed.set()

    async def run(self) -> None:
        """Connects, publishes and listens, for ever; says once that the broker is lost and once that it is back."""
        lost = False
        while True:
            await self._allowed.wait()
            try:
                async with aiomqtt.Client(self._host, self._port) as client:
                    if lost:
                        log.info("oven is connected to the broker again", host=self._host, port=self._port)
                    lost = False
                    await self._converse(client)
            except aiomqtt.MqttError as error:
                if not lost:
                    log.warning("oven has lost the broker", host=self._host, port=self._port, error=str(error))
                lost = True
                await asyncio.sleep(_RETRY_S)

    async def _converse(self, client: aiomqtt.Client) -> None:
        """Until the connection is to be dropped; raises MqttError when it is lost."""
        await client.subscribe(SET_TOPIC, qos=1)
        try:
            async with asyncio.TaskGroup() as tasks:
                talkers = [tasks.create_task(self._publish(client)), tasks.create_task(self._listen(client))]
                await self._dropped.wait()
                for talker in talkers:
                    talker.cancel()
        except* aiomqtt.MqttError as errors:
            raise aiomqtt.MqttError(str(errors.exceptions[0])) from None

    async def _publish(self, client: aiomqtt.Client) -> None:
        beat = 0
        while True:
            if not self._silent:
                payload = _GARBAGE[beat % len(_GARBAGE)] if self._garbling else json.dumps(self.state()).encode()
                await client.publish(STATE_TOPIC, payload, qos=1, timeout=_PUBLISH_S)
                own = asyncio.current_task()
                if own is not None and own.cancelling():  # Python 3.11 loses it where the receipt comes at that moment
                    raise asyncio.CancelledError
            beat += 1
            await asyncio.sleep(_EVERY_S)

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            setpoint = _setpoint(message.payload)
            if setpoint is not None and not self._silent:
                self._factory.now()
                self._factory.oven.set(setpoint)

    def state(self) -> dict[str, Any]:
        """What it publishes: °C and kW at one instant."""
        now_ns, oven = self._factory.now(), self._factory.oven
        return {
            "ts": moment(now_ns),
            "temperature": round(oven.temperature_c, 2),
            "setpoint": oven.setpoint_c,
            "power": round(oven.power_kw, 3),
            "state": oven.state,
        }


def _setpoint(payload: object) -> float | None:
    """The number in {"setpoint": x}; None for anything else."""
    if not isinstance(payload, bytes | bytearray | str):
        return None
    try:
        value = json.loads(payload)["setpoint"]
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
