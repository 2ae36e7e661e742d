"""Modbus over TCP, UDP, TLS and serial lines: PLCs, meters, remote I/O, and gateways to serial buses."""

from edgeflow.driver import Driver
from edgeflow_modbus.codec import unfit
from edgeflow_modbus.config import Device, Link, Point, value_type, writable
from edgeflow_modbus.session import open_link
from edgeflow_modbus.tools import TOOLS

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
    tools=TOOLS,
)
