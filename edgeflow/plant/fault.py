"""Faults on request: which are in force at which device, and that each ends when its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal, Protocol

from edgeflow.clock import Clock
from edgeflow.errors import Rejected
from edgeflow.units import NS_PER_S

Fault = Literal["none", "hang", "drop", "restart", "garble", "reset_counter"]


class Device(Protocol):
    """Something that can be made to fail."""

    faults: frozenset[Fault]

    async def begin(self, fault: Fault) -> None:
        """Brings the fault into force; `reset_counter` has no end."""

    async def end(self, fault: Fault) -> None:
        """Takes it back."""


@dataclass(slots=True)
class _Wish:
    fault: Fault
    seconds: float
    met: asyncio.Future[None]


@dataclass(slots=True)
class _Slot:
    device: Device
    wishes: asyncio.Queue[_Wish] = field(default_factory=lambda: asyncio.Queue(8))
    fault: Fault = "none"
    until_ns: int = 0


class Faults:
    """At most one lasting fault per device; a new one takes the place of the old."""

    def __init__(self, devices: Mapping[str, Device], clock: Clock) -> None:
        self._slots = {name: _Slot(device) for name, device in devices.items()}
        self._clock = clock

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(self._slots)

    def active(self) -> dict[str, tuple[Fault, int]]:
        """The fault and its end (UTC ns) of every device that has one."""
        return {name: (slot.fault, slot.until_ns) for name, slot in self._slots.items() if slot.fault != "none"}

    async def inject(self, name: str, fault: Fault, seconds: float = 0.0) -> None:
        """Returns when the fault is in force; raises Rejected where the device cannot have it."""
        slot = self._slots.get(name)
        if slot is None:
            raise Rejected(f"there is no device {name!r}; write one of {', '.join(self._slots)}")
        if fault not in slot.device.faults | {"none"}:
            known = ", ".join(sorted(slot.device.faults))
            raise Rejected(f"{name} cannot have the fault {fault!r}; write one of {known}, none")
        met: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await slot.wishes.put(_Wish(fault, seconds, met))
        await met

    async def run(self, name: str) -> None:
        """Brings the faults of one device into force and takes them back, for ever."""
        slot = self._slots[name]
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    wish = await slot.wishes.get()
            except TimeoutError:
                await self._change(slot, "none", 0)
                deadline = None
                continue
            if wish.fault == "reset_counter":
                await slot.device.begin("reset_counter")
            else:
                await self._change(slot, wish.fault, wish.seconds)
                deadline = None if wish.fault == "none" else loop.time() + wish.seconds
            if not wish.met.done():
                wish.met.set_result(None)

    async def _change(self, slot: _Slot, fault: Fault, seconds: float) -> None:
        if slot.fault != "none":
            await slot.device.end(slot.fault)
        if fault != "none":
            await slot.device.begin(fault)
        slot.fault, slot.until_ns = fault, self._clock.now_ns() + round(seconds * NS_PER_S)


def garbled(chance: Random, frame: bytes) -> bytes:
    """A Modbus TCP answer gone wrong: another transaction, a length that lies, a cut, or noise."""
    match chance.randrange(5):
        case 0:
            return bytes([frame[0] ^ 0x5A, frame[1] ^ 0xA5]) + frame[2:]
        case 1:
            return frame[:4] + (len(frame) + 20).to_bytes(2, "big") + frame[6:]
        case 2:
            return frame[: max(1, len(frame) // 2)]
        case 3:
            return frame[:7] + bytes(byte ^ 0xFF for byte in frame[7:])
        case _:
            return chance.randbytes(len(frame))
