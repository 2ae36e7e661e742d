"""The energy meter that feeds the press: power from the motion, everything electrical consistent with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sin, sqrt

from edgeflow.plant.history import Draw, Energy
from edgeflow.plant.machine import Motion
from edgeflow.plant.script import ABORTED, OFF
from edgeflow.units import NS_PER_S

_SHARES = (0.340, 0.335, 0.325)
_READY_W, _DRIVES_OFF_W = 1500.0, 400.0
_TURNING_W, _STROKES_W, _RIPPLE_W = 4000.0, 7000.0, 2500.0
_TAN_PHI_RUNNING, _TAN_PHI_READY = 0.59, 1.20
_KVARH_PER_KWH_START = 0.62


@dataclass(frozen=True, slots=True)
class Reading:
    """What the meter measures in one instant; the three-tuples are the phases L1, L2, L3.

    P total is the sum of the phases, S² = P² + Q² and PF = P / S hold for each phase and the total,
    I = S / U for each phase. Powers in W, var and VA, energies in kWh and kvarh, distortion in %.
    """

    voltage_v: tuple[float, float, float]
    current_a: tuple[float, float, float]
    active_w: tuple[float, float, float]
    apparent_va: tuple[float, float, float]
    reactive_var: tuple[float, float, float]
    power_factor: float
    total_active_w: float
    total_apparent_va: float
    total_reactive_var: float
    frequency_hz: float
    import_kwh: float
    import_kvarh: float
    phase_import_kwh: tuple[float, float, float]
    distortion_pct: tuple[float, float, float]


class Meter:
    """Follows the motion of the press. The register starts at `start_kwh`; `energy` knows what was really drawn."""

    def __init__(self, start_ns: int, start_kwh: float) -> None:
        self.energy = Energy([Draw(start_ns)])
        self.start_kwh, self.start_kvarh = start_kwh, start_kwh * _KVARH_PER_KWH_START

    def follow(self, at_ns: int, motion: Motion) -> None:
        """From `at_ns` on the press draws what its motion needs; held and off it is cut from the mains."""
        if motion.period_ns:
            # A stroke costs the same energy however slowly the press runs.
            mean_w = _TURNING_W + _STROKES_W * motion.ideal_ns / motion.period_ns
            self.energy.change(
                at_ns,
                mean_w,
                ripple_w=_RIPPLE_W,
                phase=motion.phase,
                period_ns=motion.period_ns,
                tan_phi=_TAN_PHI_RUNNING,
            )
        elif motion.state == OFF or motion.reason == "hold":
            self.energy.change(at_ns, 0.0)
        else:
            watts = _DRIVES_OFF_W if motion.state == ABORTED else _READY_W
            self.energy.change(at_ns, watts, tan_phi=_TAN_PHI_READY)

    def reset(self, at_ns: int) -> None:
        """Sets the energy registers to zero, as if the meter had been replaced."""
        self.start_kwh, self.start_kvarh = -self.energy.kwh(at_ns), -self.energy.kvarh(at_ns)

    def register_kwh(self, at_ns: int) -> float:
        """What the import register says, before it is rounded to float32."""
        return self.start_kwh + self.energy.kwh(at_ns)

    def read(self, at_ns: int) -> Reading:
        """Everything at one instant; voltage, frequency and distortion wander slowly with the time."""
        law = self.energy.law(at_ns)
        watts, tan_phi = law.watts(at_ns), law.tan_phi
        stretch = sqrt(1 + tan_phi * tan_phi)
        active = _phases(watts)
        apparent = _phases(watts * stretch)
        voltage = _triple(
            lambda k: 231.0 + 0.6 * k - 0.12 * watts / 1000 + _wave(at_ns, 97, k) + 0.4 * _wave(at_ns, 13)
        )
        total_kwh = self.register_kwh(at_ns)
        return Reading(
            voltage_v=voltage,
            current_a=_triple(lambda k: apparent[k] / voltage[k]),
            active_w=active,
            apparent_va=apparent,
            reactive_var=_phases(watts * tan_phi),
            power_factor=1 / stretch,
            total_active_w=watts,
            total_apparent_va=watts * stretch,
            total_reactive_var=watts * tan_phi,
            frequency_hz=50 + 0.02 * _wave(at_ns, 61),
            import_kwh=total_kwh,
            import_kvarh=self.start_kvarh + self.energy.kvarh(at_ns),
            phase_import_kwh=_phases(total_kwh),
            distortion_pct=_triple(lambda k: 2.1 + 0.2 * k + 0.3 * _wave(at_ns, 41, k)),
        )


def _phases(total: float) -> tuple[float, float, float]:
    return total * _SHARES[0], total * _SHARES[1], total * _SHARES[2]


def _triple(of: Callable[[int], float]) -> tuple[float, float, float]:
    return of(0), of(1), of(2)


def _wave(at_ns: int, period_s: int, phase: int = 0) -> float:
    return sin(2 * pi * (at_ns % (period_s * NS_PER_S) / (period_s * NS_PER_S) + phase / 3))
