from __future__ import annotations

import struct
from typing import Protocol

import pytest

from edgeflow.plant.factory import Factory
from edgeflow.plant.registers import MeterUnit

FLOAT32 = 1e-6  # relative error of a few float32 roundings


class Clock(Protocol):
    def go(self, seconds: float) -> int: ...


def measured(factory: Factory) -> dict[int, float]:
    """The registers decoded as an electrician's tool would: float32, high word first."""
    unit = MeterUnit(factory)
    unit.request(4)
    words = unit.read("inputs")
    return {a: struct.unpack(">f", struct.pack(">HH", words[a], words[a + 1]))[0] for a in range(0, len(words), 2)}


@pytest.mark.parametrize("seconds", [0.4, 31.7, 70.0, 333.3, 1000.0, 5000.5])
def test_the_measured_values_obey_the_laws_of_power(factory: Factory, clock: Clock, seconds: float) -> None:
    clock.go(seconds)
    m = measured(factory)
    volts, amps = [m[0x00], m[0x02], m[0x04]], [m[0x06], m[0x08], m[0x0A]]
    active, apparent, reactive = ([m[first + 2 * i] for i in range(3)] for first in (0x0C, 0x12, 0x18))
    assert all(225 < u < 235 for u in volts)
    assert 49.9 < m[0x46] < 50.1
    for p, q, s, u, i, pf in zip(active, reactive, apparent, volts, amps, [m[0x1E], m[0x20], m[0x22]], strict=True):
        assert s * s == pytest.approx(p * p + q * q, rel=FLOAT32)
        assert u * i == pytest.approx(s, rel=FLOAT32)
        assert p == pytest.approx(s * pf, rel=FLOAT32)
    assert m[0x34] == pytest.approx(sum(active), rel=FLOAT32)
    assert m[0x3C] == pytest.approx(sum(reactive), rel=FLOAT32)
    assert m[0x38] ** 2 == pytest.approx(m[0x34] ** 2 + m[0x3C] ** 2, rel=FLOAT32)
    assert m[0x3E] == pytest.approx(m[0x34] / m[0x38], rel=FLOAT32)
    assert m[0x48] == m[0x156] == pytest.approx(sum(m[a] for a in (0x15A, 0x15C, 0x15E)), rel=FLOAT32)


def test_running_draws_about_eleven_kilowatts_and_standing_ready_one_and_a_half(factory: Factory, clock: Clock) -> None:
    begin = clock.go(0)
    middle = begin + 60 * 10**9  # the script begins with 60 s of running, then (seed 1) waits for parts
    clock.go(75)
    factory.now()
    energy = factory.meter.energy
    assert (energy.kwh(middle) - energy.kwh(begin)) * 60 == pytest.approx(11.0, abs=0.3)
    assert factory.press.reason == "starved"
    assert measured(factory)[0x34] == 1500.0


def test_the_import_register_is_the_integral_of_the_power(factory: Factory, clock: Clock) -> None:
    joules, first = 0.0, measured(factory)[0x48]
    for _ in range(30_000):
        clock.go(0.005)
        joules += measured_watts(factory) * 0.01
        clock.go(0.005)
    # float32 at 12,345 kWh steps by 2**-10 kWh
    assert measured(factory)[0x48] - first == pytest.approx(joules / 3.6e6, abs=2**-10)
    assert first == pytest.approx(12_345.6, abs=2**-10)


def measured_watts(factory: Factory) -> float:
    now_ns = factory.now()
    return factory.meter.energy.law(now_ns).watts(now_ns)


def test_a_held_press_has_no_current_and_its_energy_stands_still(factory: Factory, clock: Clock) -> None:
    clock.go(20)
    factory.hold(True)
    before = factory.meter.register_kwh(factory.now())
    clock.go(3600)
    values = measured(factory)
    assert (values[0x34], values[0x06], values[0x38]) == (0.0, 0.0, 0.0)
    assert factory.meter.register_kwh(factory.now()) == before
    assert 225 < values[0x00] < 235


def test_a_replaced_meter_begins_at_zero_while_the_truth_goes_on(factory: Factory, clock: Clock) -> None:
    clock.go(1800)
    used = factory.meter.energy.kwh(factory.now())
    MeterUnit(factory).reset_counters()
    assert measured(factory)[0x48] == 0.0
    clock.go(1800)
    now_ns = factory.now()
    assert factory.meter.register_kwh(now_ns) == pytest.approx(factory.meter.energy.kwh(now_ns) - used)
