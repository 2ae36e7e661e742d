"""Patlite signal towers with a network port: tiers and buzzer by the PNS protocol, read back."""

from edgeflow.driver import Driver
from edgeflow_patlite.session import open_session
from edgeflow_patlite.settings import Device, Link, Point, value_type, writable

DRIVER = Driver(
    name="patlite",
    about="Patlite signal towers over TCP (PNS): tiers and buzzer are written together and read back.",
    link=Link,
    device=Device,
    point=Point,
    open=open_session,
    value_type=value_type,
    writable=writable,
)
