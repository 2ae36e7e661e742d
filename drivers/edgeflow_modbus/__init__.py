"""Modbus over TCP, UDP, TLS and serial lines: PLCs, meters, remote I/O, and gateways to serial buses."""

from collections.abc import Sequence
from typing import Any

from edgeflow.driver import Driver, Tool
from edgeflow_modbus.codec import unfit
from edgeflow_modbus.config import Device, Link, Point, value_type, writable
from edgeflow_modbus.session import open_link


def _tools() -> Sequence[Tool[Any, Any]]:
    from edgeflow_modbus.tools import TOOLS  # noqa: PLC0415 - for whoever runs one

    return TOOLS


DRIVER = Driver(
    name="modbus",
    about="Modbus over networks and serial lines: reads registers and coils in the fewest requests, and writes them.",
    link=Link,
    device=Device,
    point=Point,
    open=open_link,
    value_type=value_type,
    writable=writable,
    unfit=unfit,
    exclusive=lambda link: link.serial is not None,
    tools=_tools,
)
