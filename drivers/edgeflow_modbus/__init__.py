"""Modbus TCP: PLCs, meters, remote I/O, and gateways to serial buses."""

from edgeflow.driver import Driver
from edgeflow_modbus.config import Device, Link, Point, value_type, writable
from edgeflow_modbus.session import open_link

DRIVER = Driver(
    name="modbus",
    about="Modbus TCP: reads registers and coils in the fewest requests, writes registers and coils.",
    link=Link,
    device=Device,
    point=Point,
    open=open_link,
    value_type=value_type,
    writable=writable,
)
