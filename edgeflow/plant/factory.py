"""The whole factory, without any protocol: press, filler, meter, oven and stack light on one clock."""

from __future__ import annotations

from random import Random

from edgeflow.clock import Clock
from edgeflow.plant.light import IoModule
from edgeflow.plant.machine import Machine
from edgeflow.plant.meter import Meter
from edgeflow.plant.oven import Oven
from edgeflow.plant.script import machine_script, oven_script
from edgeflow.units import NS_PER_S

PRESS_CYCLE_S, FILLER_CYCLE_S = 2.0, 1.0
_GOOD_START, _REJECT_START = 65_400, 812
_KWH_START = 12_345.6
_KEEP_NS = 3 * 86_400 * NS_PER_S


class Factory:
    """Everything that is produced, consumed and shown. `now` lives up to the clock and must be called first.

    Its time runs in whole microseconds, so that a time written as text is exactly the time it means.
    `speed` above 1 shortens cycles, stops and heating alike; powers stay what they are.
    """

    def __init__(self, clock: Clock, *, seed: int = 1, speed: float = 1.0, held: bool = False) -> None:
        self._clock = clock
        self.seed, self.speed = seed, speed
        start_ns = self.start_ns = self.since_ns = _whole_us(clock.now_ns())
        self.meter = Meter(start_ns, _KWH_START)
        self.press = Machine(
            machine_script(seed, "press", speed),
            Random(f"{seed}/press/parts"),  # noqa: S311 - parts to be repeated, no secret
            start_ns=start_ns,
            ideal_ns=round(PRESS_CYCLE_S * NS_PER_S / speed),
            good_start=_GOOD_START,
            reject_start=_REJECT_START,
            held=held,
            watch=self.meter.follow,
        )
        self.filler = Machine(
            machine_script(seed, "filler", speed),
            Random(f"{seed}/filler/parts"),  # noqa: S311 - parts to be repeated, no secret
            start_ns=start_ns,
            ideal_ns=round(FILLER_CYCLE_S * NS_PER_S / speed),
            good_start=120_000,
            reject_start=340,
            held=held,
        )
        self.oven = Oven(oven_script(seed, speed), start_ns=start_ns, speed=speed)
        self.io = IoModule(start_ns)
        self.buttons = 0

    @property
    def machines(self) -> dict[str, Machine]:
        return {"press": self.press, "filler": self.filler}

    @property
    def held(self) -> bool:
        return self.press.held

    def now(self) -> int:
        """Lives up to the clock's time and returns it (UTC ns): one instant for everything that is asked next."""
        now_ns = max(_whole_us(self._clock.now_ns()), self.press.at_ns)
        self.press.advance(now_ns)
        self.filler.advance(now_ns)
        self.oven.advance(now_ns)
        self.io.advance(now_ns)
        if now_ns - self.since_ns > 2 * _KEEP_NS:
            self._forget(now_ns - _KEEP_NS)
        return now_ns

    def hold(self, held: bool) -> int:
        """Freezes or frees the production of both machines; the press's feed is then without current."""
        now_ns = self.now()
        for machine in self.machines.values():
            machine.hold(held)
        return now_ns

    def power_press(self, on: bool) -> None:
        """Switches the press's controller; its buttons are forgotten."""
        self.now()
        self.buttons = 0
        self.press.power(on)

    def _forget(self, before_ns: int) -> None:
        self.since_ns = before_ns
        for history in (self.press, self.filler, self.oven, self.meter.energy, self.io.light):
            history.forget(before_ns)


def _whole_us(ns: int) -> int:
    return ns - ns % 1000
