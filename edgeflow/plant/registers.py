"""The Modbus units of the plant: what every register says at one instant, and what a write does."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Literal, Protocol

from edgeflow.errors import Rejected
from edgeflow.plant.factory import Factory
from edgeflow.plant.light import ELEMENTS
from edgeflow.units import NS_PER_S

Table = Literal["coils", "discrete", "holding", "inputs"]
PRODUCTION_MODE = 1


class Unit(Protocol):
    """One Modbus unit. The ranges are the addresses that exist; an empty one means that the table does not."""

    coils: range
    discrete: range
    holding: range
    inputs: range

    def request(self, function: int) -> None:
        """A request has arrived; what is read and written next belongs to this instant."""

    def read(self, table: Table) -> list[int]:
        """Every value of a table, as it is at that instant."""

    def write(self, table: Table, address: int, values: Sequence[int]) -> None:
        """Takes values; raises Rejected where it does not."""

    def power(self, on: bool) -> None:
        """Switches the device off or on."""

    def reset_counters(self) -> None:
        """Sets its counters to zero; raises Rejected where it has none."""


def uint32_words(value: int) -> list[int]:
    """Two registers, the high word first."""
    return [value >> 16 & 0xFFFF, value & 0xFFFF]


def float32_words(value: float) -> list[int]:
    """Two registers, big endian, the high word first."""
    return list(struct.unpack(">HH", struct.pack(">f", value)))


class PressUnit:
    """The press's controller: 13 holding registers, and two call buttons as coils."""

    coils, discrete, holding, inputs = range(2), range(2), range(13), range(0)

    def __init__(self, factory: Factory) -> None:
        self._factory = factory

    def request(self, function: int) -> None:  # noqa: ARG002 - part of the protocol
        self._factory.now()

    def read(self, table: Table) -> list[int]:
        press, buttons = self._factory.press, self._factory.buttons
        if table != "holding":
            return [buttons & 1, buttons >> 1 & 1]
        return [
            press.state,
            PRODUCTION_MODE,
            press.good_counter & 0xFFFF,
            press.fault,
            *uint32_words(press.good_counter),
            *uint32_words(press.reject_counter),
            *float32_words(press.last_cycle_ns / NS_PER_S),
            *float32_words(press.ideal_ns / NS_PER_S),
            buttons,
        ]

    def write(self, table: Table, address: int, values: Sequence[int]) -> None:
        if table != "coils":
            raise Rejected("the registers of the press can only be read")
        for i, value in enumerate(values, address):
            self._factory.buttons = self._factory.buttons & ~(1 << i) | bool(value) << i

    def power(self, on: bool) -> None:
        self._factory.power_press(on)

    def reset_counters(self) -> None:
        self._factory.now()
        self._factory.press.reset_counters()


class MeterUnit:
    """An Eastron SDM630: input registers, float32 with the high word first, as its maker's protocol lists them."""

    coils, discrete, holding, inputs = range(0), range(0), range(0), range(0x0166)

    def __init__(self, factory: Factory) -> None:
        self._factory = factory

    def request(self, function: int) -> None:  # noqa: ARG002 - part of the protocol
        self._factory.now()

    def read(self, table: Table) -> list[int]:  # noqa: ARG002 - it has only one
        values = self.values()
        words = [0] * len(self.inputs)
        for address, value in values.items():
            words[address : address + 2] = float32_words(value)
        return words

    def values(self) -> dict[int, float]:
        """Every quantity by its address, at this instant; V, A, W, VA, var, Hz, kWh, kvarh, %."""
        seen = self._factory.meter.read(self._factory.press.at_ns)
        factor = seen.power_factor
        values = {
            0x0034: seen.total_active_w,
            0x0038: seen.total_apparent_va,
            0x003C: seen.total_reactive_var,
            0x003E: factor,
            0x0046: seen.frequency_hz,
            0x0048: seen.import_kwh,
            0x004C: seen.import_kvarh,
            0x00F8: sum(seen.distortion_pct) / 3,
            0x0156: seen.import_kwh,
            0x0158: seen.import_kvarh,
        }
        rows = {
            0x0000: seen.voltage_v,
            0x0006: seen.current_a,
            0x000C: seen.active_w,
            0x0012: seen.apparent_va,
            0x0018: seen.reactive_var,
            0x001E: (factor, factor, factor),
            0x00EA: seen.distortion_pct,
            0x015A: seen.phase_import_kwh,
        }
        for first, phases in rows.items():
            values.update({first + 2 * i: value for i, value in enumerate(phases)})
        return values

    def write(self, table: Table, address: int, values: Sequence[int]) -> None:  # noqa: ARG002 - read only
        raise Rejected("the meter has nothing to write")

    def power(self, on: bool) -> None:
        """Its registers survive; the energy it carries meanwhile is counted, for it feeds itself from the mains."""

    def reset_counters(self) -> None:
        self._factory.meter.reset(self._factory.now())


class IoUnit:
    """The remote I/O module: five coils (the lamps), read back as discrete inputs, and the watchdog registers."""

    coils, discrete, holding, inputs = range(len(ELEMENTS)), range(len(ELEMENTS)), range(0x1000, 0x100B), range(0)

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._at_ns = factory.start_ns

    def request(self, function: int) -> None:
        self._at_ns = self._factory.now()
        self._factory.io.watchdog.request(self._at_ns, function)

    def read(self, table: Table) -> list[int]:
        io = self._factory.io
        if table == "holding":
            return [io.watchdog.read(address) for address in self.holding]
        return [io.light.bits >> i & 1 for i in range(len(ELEMENTS))]

    def write(self, table: Table, address: int, values: Sequence[int]) -> None:
        io = self._factory.io
        if table == "coils":
            io.write(self._at_ns, address, [bool(value) for value in values])
            return
        for register, value in enumerate(values, address):
            io.watchdog.write(self._at_ns, register, value)

    def power(self, on: bool) -> None:
        self._factory.io.power(self._factory.now(), on)

    def reset_counters(self) -> None:
        raise Rejected("the I/O module has no counter")
