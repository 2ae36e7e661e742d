"""Quantities are read with their units, and only like converts to like."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from edgeflow.units import Duration, Rate, converter, duration_text, quantity, same_dimension


@pytest.mark.parametrize(
    ("text", "ns"),
    [("500 ms", 500_000_000), ("2s", 2_000_000_000), ("15 min", 900_000_000_000), ("1.5 h", 5_400_000_000_000),
     ("35 d", 35 * 86_400 * 10**9), ("0 s", 0)],
)  # fmt: skip
def test_durations_are_nanoseconds(text: str, ns: int) -> None:
    assert TypeAdapter(Duration).validate_python(text) == ns


@pytest.mark.parametrize("text", [5, "5", "-1 s", "3 kWh", "", True, "1 s 2"])
def test_what_is_not_a_duration_is_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Duration).validate_python(text)


def test_a_number_without_unit_is_told_how_to_be_written() -> None:
    with pytest.raises(ValidationError, match="write a duration with its unit, for example `5 s` or `500 ms`"):
        TypeAdapter(Duration).validate_python(5)


def test_a_decimal_comma_is_told_to_be_a_point() -> None:
    with pytest.raises(ValidationError, match=r"write a point, not a comma: `0\.5 s`"):
        TypeAdapter(Duration).validate_python("0,5 s")


def test_rates_are_per_second() -> None:
    assert TypeAdapter(Rate).validate_python("90 /min") == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [(1.0, "kWh", "MJ", 3.6), (100.0, "°C", "°F", 212.0), (0.0, "K", "°C", -273.15), (2.0, "bar", "kPa", 200.0),
     (36.0, "km/h", "m/s", 10.0), (5.0, "%", "1", 0.05)],
)  # fmt: skip
def test_conversions_agree_with_their_definitions(value: float, source: str, target: str, expected: float) -> None:
    factor, offset = converter(source, target)
    assert value * factor + offset == pytest.approx(expected)


def test_unlike_units_do_not_convert() -> None:
    assert not same_dimension("kWh", "kW")
    with pytest.raises(ValueError, match="kWh cannot be converted to kW"):
        converter("kWh", "kW")


def test_an_offset_unit_as_a_quantity_is_in_the_base_unit() -> None:
    assert quantity("20 °C", "temperature") == pytest.approx(293.15)


@pytest.mark.parametrize(
    ("ns", "text"),
    [(250_000_000, "250 ms"), (2_500_000_000, "2.5 s"), (65 * 10**9, "1 min 5 s"), (3600 * 10**9, "1 h"),
     (22_200 * 10**9, "6 h 10 min"), (90_061 * 10**9, "1 d 1 h"), (86_430 * 10**9, "1 d")],
)  # fmt: skip
def test_durations_are_told_in_at_most_two_parts(ns: int, text: str) -> None:
    assert duration_text(ns) == text
