"""The oven: heats, holds and cools by the first-order law, solved exactly between events."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, exp, log, pi, sin

from edgeflow.plant.history import Draw, Energy, Spell, Spells
from edgeflow.units import NS_PER_S

AMBIENT_C = 22.0
FULL_KW = 24.0
LOSS_KW_PER_K = 0.1
TIME_CONSTANT_S = 240.0
SETPOINT_C = 180.0
HIGHEST_C = 250.0


class Oven:
    """T' = (target - T) / tau, where the target is what the present power would reach in the end.

    `advance` brings it to a moment; everything else speaks of that moment.
    """

    def __init__(self, script: Iterator[tuple[bool, int]], *, start_ns: int, speed: float = 1.0) -> None:
        self._script = script
        self._tau_ns = TIME_CONSTANT_S / speed * NS_PER_S
        self.at_ns = start_ns
        self.setpoint_c = SETPOINT_C
        self._inner_c = AMBIENT_C
        self._on, self._left_ns = next(script)
        self.energy, self.spells = Energy([Draw(start_ns)]), Spells()
        self._settle()

    @property
    def temperature_c(self) -> float:
        """As the sensor shows it, with the small swing of the circulating air."""
        return self._inner_c + 0.3 * sin(2 * pi * (self.at_ns % (7 * NS_PER_S)) / (7 * NS_PER_S))

    @property
    def power_kw(self) -> float:
        return self.energy.draws[-1].mean_w / 1000

    @property
    def state(self) -> str:
        """`heating`, `holding` or `off`."""
        return self.spells.last.state

    def advance(self, to_ns: int) -> None:
        """Lives through everything up to `to_ns`."""
        while self.at_ns < to_ns:
            arrival_ns = self._arrival_ns()
            step = min(to_ns - self.at_ns, self._left_ns, arrival_ns or self._left_ns)
            if not self._steady:
                target_c = AMBIENT_C + self.power_kw / LOSS_KW_PER_K
                self._inner_c = target_c + (self._inner_c - target_c) * exp(-step / self._tau_ns)
            if step == arrival_ns:
                self._inner_c = self.setpoint_c
            self.at_ns += step
            self._left_ns -= step
            if not self._left_ns:
                self._on, self._left_ns = next(self._script)
            if step == arrival_ns or self._spell_changes():
                self._settle()

    def set(self, setpoint_c: float) -> bool:
        """Takes a new setpoint; false where it is outside 0 to 250 °C and was not taken."""
        if not 0 <= setpoint_c <= HIGHEST_C:
            return False
        self.setpoint_c = setpoint_c
        self._settle()
        return True

    def forget(self, before_ns: int) -> None:
        self.energy.forget(before_ns)
        self.spells.forget(before_ns)

    @property
    def _steady(self) -> bool:
        return self._on and self._inner_c == self.setpoint_c

    def _spell_changes(self) -> bool:
        return self._on == (self.state == "off")

    def _settle(self) -> None:
        """Chooses the power that the temperature and the setpoint call for."""
        if not self._on:
            state, kw = "off", 0.0
        elif self._inner_c < self.setpoint_c:
            state, kw = "heating", FULL_KW
        elif self._inner_c > self.setpoint_c:
            state, kw = "holding", 0.0
        else:
            state, kw = "holding", max(self.setpoint_c - AMBIENT_C, 0.0) * LOSS_KW_PER_K
        self.energy.change(self.at_ns, kw * 1000)
        self.spells.begin(Spell(self.at_ns, state, "on" if self._on else "off"))

    def _arrival_ns(self) -> int | None:
        """How long until the setpoint is reached; None where it is there, or will never be."""
        if not self._on or self._steady:
            return None
        target_c = AMBIENT_C + self.power_kw / LOSS_KW_PER_K
        share = (self._inner_c - target_c) / (self.setpoint_c - target_c) if self.setpoint_c != target_c else 0.0
        return max(1, ceil(self._tau_ns * log(share))) if share > 1 else None
