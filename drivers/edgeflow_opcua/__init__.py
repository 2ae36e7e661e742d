"""OPC UA: subscriptions, reads, writes, methods, events, alarms, history and browsing, on asyncua."""

from __future__ import annotations

from edgeflow.driver import Driver
from edgeflow_opcua.session import open_session
from edgeflow_opcua.settings import Device, Link, Point, writable
from edgeflow_opcua.tools import TOOLS

DRIVER = Driver(
    name="opcua",
    about="OPC UA servers: values are pushed by subscriptions; a heartbeat proves that the server really lives.",
    link=Link,
    device=Device,
    point=Point,
    open=open_session,
    value_type=lambda point: point.type,
    serial=False,
    pushes=True,
    writable=writable,
    tools=TOOLS,
)
