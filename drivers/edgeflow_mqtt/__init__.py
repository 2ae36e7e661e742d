"""MQTT: values from topics with plain or JSON payloads, and publishing to set them, on aiomqtt."""

from __future__ import annotations

from edgeflow.driver import Driver
from edgeflow_mqtt.session import open_session
from edgeflow_mqtt.settings import Device, Link, Point

DRIVER = Driver(
    name="mqtt",
    about="MQTT 3.1.1 and 5: values that devices publish, plain or in JSON; writing publishes to a device's set topic.",
    link=Link,
    device=Device,
    point=Point,
    open=open_session,
    value_type=lambda point: point.type,
    serial=False,
    pushes=True,
    writable=lambda point: point.set is not None,
)
