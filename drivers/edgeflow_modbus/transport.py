"""Opens the connections that a link describes, whatever their frames travel on."""

from __future__ import annotations

import asyncio
from functools import partial

from edgeflow.driver import Home
from edgeflow.units import NS_PER_S
from edgeflow_modbus import port, secure, tcp
from edgeflow_modbus.apart import ApartWire
from edgeflow_modbus.bus import BusWire
from edgeflow_modbus.cost import ETHERNET, Cost, serial
from edgeflow_modbus.frame import Ascii, Rtu
from edgeflow_modbus.link import Link
from edgeflow_modbus.udp import UdpWire
from edgeflow_modbus.wire import Wire

_CONVERTER = "check that it is switched on, its unit number, and the bus behind the converter: wires, baud rate, parity"


async def connect(link: Link, deadline: float, home: Home) -> tuple[Wire, Wire]:
    """The wire for reads and the one for writes, which may be the same; by the deadline (loop time).

    Raises LinkDown with the likely cause.
    """
    if link.serial is not None:
        wire: Wire = await _serial(link, link.serial, deadline, home)
        return wire, wire
    assert link.host is not None
    assert link.port is not None
    host, number = link.host, link.port
    if link.transport == "udp":
        wire = await UdpWire.open(host, number, deadline)
        return wire, wire
    if link.transport in ("rtu-over-tcp", "ascii-over-tcp"):
        framing, pause_s = _framing(link), link.pause / NS_PER_S
        bus = partial(BusWire, link.where, framing, home, _CONVERTER, pause_s=pause_s)
        wire = await tcp.connect(bus, host, number, deadline)
        return wire, wire
    tls = None
    if link.transport == "tls":  # reading the files takes some milliseconds
        read = partial(secure.context, link.ca, link.certificate, link.key, check_name=link.check_name)
        tls = await asyncio.to_thread(read)
    first = await tcp.connect(lambda: tcp.TcpWire(link.where), host, number, deadline, tls)
    if link.connections == 1:
        return first, first

    async def second(deadline: float) -> Wire:
        again = partial(tcp.TcpWire, link.where, first.stats, first.roll)
        return await tcp.connect(again, host, number, deadline, tls)

    return first, ApartWire(first, second)


async def _serial(link: Link, path: str, deadline: float, home: Home) -> BusWire:
    setting = _setting(link)
    check = (
        "check that it is switched on, its unit number, the wires (A and B may be swapped, both ends of the bus need "
        f"their resistor), and that it is set to {setting}"
    )
    pause_s = max(setting.silence_s, link.pause / NS_PER_S)
    bus = partial(BusWire, path, _framing(link), home, check, pause_s=pause_s, character_s=setting.character_s)
    return await port.connect(bus, path, setting, deadline)


def _framing(link: Link) -> Rtu | Ascii:
    return Rtu() if link.transport.startswith("rtu") else Ascii()


def _setting(link: Link) -> port.Setting:
    return port.Setting(link.baud, link.data_bits, link.parity, link.stop_bits)


def cost(link: Link) -> Cost:
    """What reading is assumed to cost there until it is measured."""
    if link.serial is None:
        return ETHERNET
    return serial(link.baud, round(_setting(link).character_s * link.baud))
