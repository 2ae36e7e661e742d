"""The pins of the gateway itself: call buttons, lamps and relays on GPIO lines, without a network between."""

from edgeflow.driver import Driver
from edgeflow_gpio.session import open_session
from edgeflow_gpio.settings import Device, Link, Point

DRIVER = Driver(
    name="gpio",
    about="GPIO lines of the gateway (libgpiod): every press is pushed; outputs have levels at start and exit.",
    link=Link,
    device=Device,
    point=Point,
    open=open_session,
    value_type=lambda point: "boolean",
    serial=False,
    pushes=True,
    writable=lambda point: point.direction == "out",
)
