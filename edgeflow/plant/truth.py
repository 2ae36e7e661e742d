"""The truth about the factory as JSON-like objects: the present, and any interval of the past."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from edgeflow.plant.factory import Factory
from edgeflow.plant.history import Spell, Spells
from edgeflow.plant.light import levels
from edgeflow.plant.machine import Machine
from edgeflow.plant.registers import IoUnit, MeterUnit, PressUnit
from edgeflow.plant.script import FAULTS, STATES
from edgeflow.units import NS_PER_S

Json = dict[str, Any]


def moment(ns: int) -> str:
    """RFC 3339 in UTC with microseconds, rounded down."""
    seconds, rest = divmod(ns, NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def present(factory: Factory) -> Json:
    """Totals since the start, states, raw counters and lamp, all of one instant."""
    now_ns = factory.now()
    press, filler, meter, oven, io = factory.press, factory.filler, factory.meter, factory.oven, factory.io
    return {
        "at": moment(now_ns),
        "start": moment(factory.start_ns),
        "since": moment(factory.since_ns),
        "running": not factory.held,
        "seed": factory.seed,
        "speed": factory.speed,
        "machines": {
            "press": _machine(press)
            | {"kwh": meter.energy.kwh(now_ns), "registers": PressUnit(factory).read("holding")},
            "filler": _machine(filler) | {"per_minute": filler.per_minute},
        },
        "meter": {
            "kw": meter.energy.law(now_ns).watts(now_ns) / 1000,
            "kwh": meter.energy.kwh(now_ns),
            "register_kwh": meter.register_kwh(now_ns),
            "values": {f"{address:#06x}": value for address, value in sorted(MeterUnit(factory).values().items())},
        },
        "oven": {
            "state": oven.state,
            "temperature": oven.temperature_c,
            "setpoint": oven.setpoint_c,
            "kw": oven.power_kw,
            "kwh": oven.energy.kwh(now_ns),
        },
        "lamp": {
            "levels": levels(io.light.bits),
            "pattern": io.light.pattern(now_ns),
            "watchdog": IoUnit(factory).read("holding")[6],
        },
    }


def interval(factory: Factory, begin_ns: int, end_ns: int) -> Json:
    """What was made and used in [begin, end); parts by their moment, seconds by state and by reason.

    Neighbouring intervals add up to the whole: counts exactly, seconds and kWh to the last bits of a float.
    """
    meter, oven = factory.meter, factory.oven
    press_kwh = meter.energy.kwh(end_ns) - meter.energy.kwh(begin_ns)
    return {
        "from": moment(begin_ns),
        "to": moment(end_ns),
        "machines": {
            "press": _made(factory.press, begin_ns, end_ns) | {"kwh": press_kwh},
            "filler": _made(factory.filler, begin_ns, end_ns),
        },
        "meter": {"kwh": press_kwh},
        "oven": {
            "kwh": oven.energy.kwh(end_ns) - oven.energy.kwh(begin_ns),
            "seconds": _seconds(oven.spells, begin_ns, end_ns, lambda spell: spell.state),
        },
    }


def lamp(factory: Factory, begin_ns: int, end_ns: int) -> Json:
    """What the stack light showed in [begin, end): every change, and the pattern that a person saw."""
    light = factory.io.light
    changes = [(begin_ns, light.at(begin_ns)), *light.changes(begin_ns + 1, end_ns)]
    return {
        "from": moment(begin_ns),
        "to": moment(end_ns),
        "changes": [{"at": moment(at), "levels": levels(bits)} for at, bits in changes],
        "patterns": [
            {"from": moment(since), "to": moment(until), "pattern": pattern}
            for since, until, pattern in light.patterns(begin_ns, end_ns)
        ],
    }


def _machine(machine: Machine) -> Json:
    good, reject = machine.good.count, machine.reject.count
    return {
        "good": good,
        "reject": reject,
        "total": good + reject,
        "state": machine.state,
        "state_name": STATES[machine.state],
        "state_since": moment(machine.spells.last.at_ns),
        "reason": machine.reason,
        "fault": machine.fault,
        "fault_text": FAULTS.get(machine.fault, ""),
        "ideal_cycle_s": machine.ideal_ns / NS_PER_S,
        "last_cycle_s": machine.last_cycle_ns / NS_PER_S,
        "counters": {"good": machine.good_counter, "reject": machine.reject_counter},
    }


def _made(machine: Machine, begin_ns: int, end_ns: int) -> Json:
    good, reject = machine.good.between(begin_ns, end_ns), machine.reject.between(begin_ns, end_ns)
    return {
        "good": good,
        "reject": reject,
        "total": good + reject,
        "seconds": _seconds(machine.spells, begin_ns, end_ns, lambda spell: spell.state),
        "reasons": _seconds(machine.spells, begin_ns, end_ns, lambda spell: spell.reason),
        "spells": [
            {"from": moment(a), "to": moment(b), "state": s.state, "reason": s.reason, "fault": s.fault}
            for s, a, b in machine.spells.between(begin_ns, end_ns)
        ],
    }


def _seconds(spells: Spells, begin_ns: int, end_ns: int, name: Callable[[Spell], str]) -> dict[str, float]:
    sums: dict[str, int] = {}
    for spell, start_ns, stop_ns in spells.between(begin_ns, end_ns):
        sums[name(spell)] = sums.get(name(spell), 0) + stop_ns - start_ns
    return {key: total / NS_PER_S for key, total in sums.items()}
