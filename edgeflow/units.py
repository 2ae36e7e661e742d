"""Units of measure and quantities as people write them: `500 ms`, `4 /s`, `15 min`, `kWh`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

NS_PER_S = 1_000_000_000
_LONGEST_S = 36_500 * 86_400


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: values times `factor` plus `offset` give the dimension's base unit."""

    name: str
    dimension: str
    factor: float
    offset: float = 0.0


def _units() -> dict[str, Unit]:
    table = {
        "time": {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0},
        "energy": {"Wh": 1.0, "kWh": 1e3, "MWh": 1e6, "J": 1 / 3600, "kJ": 1000 / 3600, "MJ": 1e6 / 3600},
        "reactive energy": {"varh": 1.0, "kvarh": 1e3},
        "apparent energy": {"VAh": 1.0, "kVAh": 1e3},
        "power": {"mW": 1e-3, "W": 1.0, "kW": 1e3, "MW": 1e6},
        "reactive power": {"var": 1.0, "kvar": 1e3},
        "apparent power": {"VA": 1.0, "kVA": 1e3},
        "voltage": {"mV": 1e-3, "V": 1.0, "kV": 1e3},
        "current": {"mA": 1e-3, "A": 1.0, "kA": 1e3},
        "frequency": {"Hz": 1.0, "kHz": 1e3},
        "pressure": {"Pa": 1.0, "mbar": 100.0, "hPa": 100.0, "kPa": 1e3, "bar": 1e5, "MPa": 1e6},
        "length": {"um": 1e-6, "mm": 1e-3, "cm": 1e-2, "m": 1.0, "km": 1e3},
        "speed": {"mm/s": 1e-3, "m/s": 1.0, "m/min": 1 / 60, "km/h": 1 / 3.6},
        "mass": {"mg": 1e-6, "g": 1e-3, "kg": 1.0, "t": 1e3},
        "volume": {"ml": 1e-3, "l": 1.0, "m3": 1e3},
        "flow": {"l/s": 1.0, "l/min": 1 / 60, "l/h": 1 / 3600, "m3/h": 1000 / 3600},
        "ratio": {"1": 1.0, "%": 0.01},
        "angle": {"deg": 1.0},
        "turning": {"rpm": 1.0, "1/min": 1.0},
        "rate": {"/s": 1.0, "/min": 1 / 60, "/h": 1 / 3600},
        "pieces": {"pcs": 1.0},
        "money": {"EUR": 1.0},
        "specific energy": {"Wh/pcs": 1.0, "kWh/pcs": 1e3},
    }
    units = {name: Unit(name, dimension, factor) for dimension, row in table.items() for name, factor in row.items()}
    units["K"] = Unit("K", "temperature", 1.0)
    units["°C"] = Unit("°C", "temperature", 1.0, 273.15)
    units["°F"] = Unit("°F", "temperature", 5 / 9, 459.67 * 5 / 9)
    return units


UNITS = _units()


def same_dimension(a: str, b: str) -> bool:
    """Whether a value in unit `a` can be converted to unit `b`; an unknown unit fits only itself."""
    if a == b:
        return True
    return a in UNITS and b in UNITS and UNITS[a].dimension == UNITS[b].dimension


def converter(source: str, target: str) -> tuple[float, float]:
    """The (factor, offset) that turn a value in `source` into `target`: value * factor + offset.

    Raises ValueError where the two do not measure the same thing.
    """
    if source == target:
        return 1.0, 0.0
    if not same_dimension(source, target):
        raise ValueError(f"{source} cannot be converted to {target}")
    a, b = UNITS[source], UNITS[target]
    return a.factor / b.factor, (a.offset - b.offset) / b.factor


_QUANTITY = re.compile(r"\s*([-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)\s*(\S.*?)?\s*$")


def quantity(text: str, dimension: str) -> float:
    """A quantity in its dimension's base unit, from text like `1.5 kWh`.

    Raises ValueError that says what to write.
    """
    match = _QUANTITY.match(text)
    names = [u.name for u in UNITS.values() if u.dimension == dimension]
    if not match or (match[2] or "").startswith(","):
        if re.match(r"\s*[-+]?[0-9]+,[0-9]", text):
            raise ValueError(f"write a point, not a comma: `{text.strip().replace(',', '.', 1)}`")
        raise ValueError(f"write a number and a unit ({', '.join(names)}), not {text!r}")
    number, name = match.groups()
    unit = UNITS.get(name or "")
    if unit is None or unit.dimension != dimension:
        base = next(name for name in names if UNITS[name].factor == 1)
        raise ValueError(f"write a number and one of the units {', '.join(names)}, for example `{number} {base}`")
    return float(number) * unit.factor + unit.offset


def _duration_ns(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str):
        raise ValueError(f"write a duration with its unit, for example `{value} s` or `500 ms`")
    seconds = quantity(value, "time")
    if seconds < 0:
        raise ValueError("a duration cannot be negative")
    if not seconds <= _LONGEST_S:
        raise ValueError("a duration is at most 36500 d")
    return round(seconds * NS_PER_S)


def _rate_per_s(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str):
        raise ValueError(f"write a rate with its unit, for example `{value} /s` or `90 /min`")
    return quantity(value, "rate")


def _unit_name(value: Any) -> str:
    if isinstance(value, str) and value in UNITS:
        return value
    near = [name for name in UNITS if name.lower() == str(value).lower()]
    if len(near) == 1:
        raise ValueError(f"unknown unit {value!r}; did you mean {near[0]!r}?")
    raise ValueError(f"unknown unit {value!r}; known are {', '.join(UNITS)}")


Duration = Annotated[
    int,
    BeforeValidator(_duration_ns),
    WithJsonSchema(
        {
            "type": "string",
            "format": "edgeflow-duration",
            "pattern": r"^\s*\+?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?\s*(ns|us|ms|s|min|h|d)\s*$",
            "examples": ["500 ms", "2 s", "15 min"],
        }
    ),
]
"""Nanoseconds; written `500 ms`, `2 s`, `15 min`, `8 h`, `35 d`."""

Rate = Annotated[
    float,
    BeforeValidator(_rate_per_s),
    WithJsonSchema({"type": "string", "format": "edgeflow-rate", "examples": ["4 /s", "90 /min"]}),
]
"""Per second; written `4 /s`, `90 /min`."""

UnitName = Annotated[
    str,
    BeforeValidator(_unit_name),
    WithJsonSchema({"type": "string", "format": "edgeflow-unit", "examples": ["kWh", "°C", "bar"]}),
]
"""A unit of the table above."""

Share = Annotated[float, Field(ge=0, le=1)]


def duration_text(ns: int) -> str:
    """A duration as a person writes it: `1 h 5 min`, `2.5 s`, `300 ms`; at most two parts."""
    if ns < NS_PER_S:
        return f"{ns / 1e6:g} ms"
    seconds = ns / NS_PER_S
    if seconds < 60:
        return f"{round(seconds, 1):g} s"
    whole = round(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    shown = [i for i, (n, _) in enumerate(parts) if n][:1]
    first = shown[0]
    return " ".join(f"{n} {name}" for n, name in parts[first : first + 2] if n)
