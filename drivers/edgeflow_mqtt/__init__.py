"""MQTT: values from topics and from Sparkplug B, and publishing to set them, on paho."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeflow.driver import Driver, Tool
from edgeflow_mqtt.point import Point
from edgeflow_mqtt.session import open_session
from edgeflow_mqtt.settings import Device, Link, commands, unfit


def _tools() -> Sequence[Tool[Any, Any]]:
    from edgeflow_mqtt.browse import LISTEN  # noqa: PLC0415 - for whoever runs it

    return (LISTEN,)


DRIVER = Driver(
    name="mqtt",
    about="MQTT 3.1.1 and 5, Sparkplug B: what devices publish, plain, in JSON, binary; writing publishes.",
    link=Link,
    device=Device,
    point=Point,
    open=open_session,
    value_type=lambda point: point.value_type,
    serial=False,
    pushes=True,
    writable=lambda point: point.set is not None or (point.metric is not None and point.path is None),
    unfit=unfit,
    commands=commands,
    exclusive=lambda link: bool(link.client_id or link.session_expiry or link.will or link.sparkplug_host),
    claim=lambda link: link.claim,
    tools=_tools,
)
