"""What physics says of values: what fits, what does not, and the likely mistake in words."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from pydantic import ValidationError

from edgeflow.devices.physics import Judgement, Live, Measured, adapter, totals, unlikely


def live(**values: Any) -> Live:
    """Tags by name: a number, (number, unit), or (numbers, unit)."""
    found: dict[str, Measured] = {}
    for name, given in values.items():
        number, unit = given if isinstance(given, tuple) else (given, None)
        numbers = number if isinstance(number, list) else [number]
        found[name] = Measured(numbers, unit, numbers[-1])
    return found


def judged(check: dict[str, Any], **values: Any) -> list[Judgement]:
    (read,) = adapter().validate_python([check])
    return read.judge(live(**values))


def only(check: dict[str, Any], **values: Any) -> tuple[str, str]:
    (judgement,) = judged(check, **values)
    return judgement.verdict, judgement.text


FREQUENCY = {"kind": "between", "tags": ["f"], "low": 40, "high": 70}
NEAR = {"kind": "near", "tags": ["u"], "nominal": 230}
SUM = {"kind": "sum", "total": "p", "parts": ["a", "b", "c"]}
TRIANGLE = {"kind": "triangle", "apparent": "s", "active": "p", "reactive": "q"}
PRODUCT = {"kind": "product", "product": "p", "of": ["u", "i", "k"]}
SIGNS = {"kind": "signs", "tags": ["a", "b", "c"]}
MONOTONE = {"kind": "monotone", "tags": ["e"]}


def swapped(value: float) -> float:
    """What a float32 says when its two registers are read the other way round."""
    a, b = struct.unpack(">HH", struct.pack(">f", value))
    return float(struct.unpack(">f", struct.pack(">HH", b, a))[0])


@pytest.mark.parametrize("f", [40, 49.98, 60.02, 70])
def test_a_frequency_of_a_mains_fits(f: float) -> None:
    assert only(FREQUENCY, f=(f, "Hz"))[0] == "fits"


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (500, "f is 500 Hz, not between 40 and 70; it is likely 10 times too large: look at its scale"),
        (0.05, "it is likely 1000 times too small: look at its scale"),
        (-50, "its sign is the other way round"),
        (swapped(50.02), "the word order is likely swapped (`word_order`)"),
        (5000 << 16, "the word order is likely swapped"),
        (3.7, "the address, the type or the word order is likely another one"),
    ],
)
def test_a_frequency_that_does_not_fit_is_told_with_the_likely_mistake(f: float, says: str) -> None:
    check = FREQUENCY if f != 5000 << 16 else {"kind": "between", "tags": ["f"], "low": 4000, "high": 7000}
    verdict, text = only(check, f=(f, "Hz"))
    assert verdict == "does not fit"
    assert says in text


@pytest.mark.parametrize("u", [184.1, 230, 275.9])
def test_a_voltage_within_a_fifth_of_nominal_fits(u: float) -> None:
    assert only(NEAR, u=(u, "V"))[0] == "fits"


@pytest.mark.parametrize(
    ("u", "says"),
    [
        (2301, "10 times too large"),
        (0.23, "1000 times too small"),
        (400, "between two"),
        (132.8, "to neutral"),
        (swapped(230.2), "word order"),
    ],
)
def test_a_voltage_that_does_not_fit_is_told_with_the_likely_mistake(u: float, says: str) -> None:
    verdict, text = only(NEAR, u=(u, "V"))
    assert verdict == "does not fit"
    assert says in text


def test_a_phase_without_voltage_is_worth_a_look() -> None:
    assert only(NEAR, u=(0, "V")) == ("look", "u is 0: nothing is connected there, or a fuse has blown")


def test_a_total_is_the_sum_of_its_parts_whatever_their_units() -> None:
    assert only(SUM, p=(5.5232, "kW"), a=(1840, "W"), b=(2217.6, "W"), c=(1465.6, "W"))[0] == "fits"


@pytest.mark.parametrize(
    ("p", "a", "says"),
    [
        (-5.5232, 1.84, "the sign of p is the other way round"),
        (5.5232, -1.84, "the sign of a is the other way round"),
        (5523.2, 1.84, "p is likely 1000 times too large"),
        (276.16, 1.84, "the ratio of the current transformers, about 50, in one of them only?"),
        (9.0, 1.84, "likely a part is of another address, or a phase is not measured"),
    ],
)
def test_a_total_that_is_not_its_sum_is_told_with_the_likely_mistake(p: float, a: float, says: str) -> None:
    verdict, text = only(SUM, p=(p, "kW"), a=(a, "kW"), b=(2.2176, "kW"), c=(1.4656, "kW"))
    assert verdict == "does not fit"
    assert says in text


def test_apparent_power_is_made_of_active_and_reactive_power() -> None:
    assert only(TRIANGLE, s=(6904, "VA"), p=(5523.2, "W"), q=(4142.4, "var"))[0] == "fits"
    verdict, text = only(TRIANGLE, s=(6904, "VA"), p=(5523.2, "W"), q=(4.1424, "var"))
    assert (verdict, "q is likely 1000 times too small" in text) == ("does not fit", True)
    verdict, text = only(TRIANGLE, s=(10000, "VA"), p=(5523.2, "W"), q=(4142.4, "var"))
    assert (verdict, "harmonics" in text) == ("does not fit", True)


def test_power_is_voltage_times_current_times_power_factor_but_for_its_sign() -> None:
    assert only(PRODUCT, p=(-1.84, "kW"), u=(230, "V"), i=(10, "A"), k=0.8)[0] == "fits"


@pytest.mark.parametrize(
    ("p", "u", "i", "says"),
    [
        (1.84, 230, 0.01, "1000 times too large"),
        (1.84, 398.4, 10, "between two phases"),
        (92.0, 230, 10, "the ratio of the current transformers, about 50"),
        (1.5, 230, 10, "not of the same phase"),
        (0, 230, 10, "of another address"),
    ],
)
def test_a_product_that_does_not_fit_is_told_with_the_likely_mistake(p: float, u: float, i: float, says: str) -> None:
    verdict, text = only(PRODUCT, p=(p, "kW"), u=(u, "V"), i=(i, "A"), k=0.8)
    assert verdict == "does not fit"
    assert says in text


@pytest.mark.parametrize(
    ("check", "values"),
    [
        (SUM, {"p": 0.0, "a": 0.0, "b": 0.001, "c": 0.0}),
        (TRIANGLE, {"s": 3.0, "p": 1.0, "q": 2.0}),
        (PRODUCT, {"p": 0.0, "u": 230.0, "i": 0.0, "k": 1.0}),
    ],
)
def test_without_load_nothing_is_judged(check: dict[str, Any], values: dict[str, float]) -> None:
    verdict, text = only(check, **values)
    assert (verdict, "check again under load" in text) == ("not judged", True)


def test_a_phase_with_another_sign_is_worth_a_look() -> None:
    verdict, text = only(SIGNS, a=(1.8, "kW"), b=(-2.2, "kW"), c=(1.4, "kW"))
    assert (verdict, text.startswith("b has another sign than the others (-2.2 kW)")) == ("look", True)
    assert only(SIGNS, a=(1.8, "kW"), b=(2.2, "kW"), c=(-0.01, "kW"))[0] == "fits"
    assert only(SIGNS, a=(-1.8, "kW"), b=(-2.2, "kW"), c=(-1.4, "kW"))[0] == "look"


def test_a_counter_does_not_go_back() -> None:
    assert only(MONOTONE, e=([5.0, 5.0, 5.5], "kWh")) == ("fits", "e counted 0.5 kWh and did not go back")
    assert only(MONOTONE, e=([5.0, 5.5, 5.4], "kWh"))[0] == "does not fit"
    assert only(MONOTONE, e=([-5.0, -5.0], "kWh"))[0] == "does not fit"
    assert judged(MONOTONE, e=([5.0], "kWh")) == []


@pytest.mark.parametrize("check", [FREQUENCY, NEAR, SUM, TRIANGLE, PRODUCT, SIGNS, MONOTONE])
def test_what_a_device_does_not_have_is_not_judged(check: dict[str, Any]) -> None:
    assert judged(check, other=1.0) == []


@pytest.mark.parametrize(
    ("raw", "verdict"),
    [
        (swapped(12000.0), "does not fit"),
        (swapped(54321.5), "look"),
        (swapped(12.4), "look"),
        (swapped(232.1), "look"),
        (1e35, "does not fit"),
        (3e-7, None),
        (0.0, None),
        (0.5, None),
        (4e9, None),
    ],
)
def test_a_number_too_small_or_large_to_be_measured_is_likely_swapped(raw: float, verdict: str | None) -> None:
    told = unlikely(raw)
    assert (told and told[0]) == verdict


def test_a_tolerance_is_written_as_a_share() -> None:
    assert only({**NEAR, "within": "1 %"}, u=(234, "V"))[0] == "does not fit"
    with pytest.raises(ValidationError):
        adapter().validate_python([{**NEAR, "within": "1 V"}])


# --- totals and their phases ---

UNITS_OF = {
    "power": "kW",
    "reactive_power": "kvar",
    "energy": "kWh",
    "export_energy": "kWh",
    "reactive_energy": "kvarh",
}


@pytest.mark.parametrize(("name", "unit"), UNITS_OF.items())
def test_a_total_is_compared_with_its_phases_by_their_names(name: str, unit: str) -> None:
    (check,) = totals({name: unit, **{f"{name}_{phase}": unit for phase in ("l1", "l2", "l3")}}, ())
    assert (check.total, check.parts) == (name, (f"{name}_l1", f"{name}_l2", f"{name}_l3"))
    assert totals({name: unit, f"{name}_l1": unit, f"{name}_l2": unit}, ()) == (), "not without the third"
    assert totals({name: unit, **{f"{name}_{phase}": unit for phase in ("l1", "l2", "l3")}}, [check]) == ()


@pytest.mark.parametrize(
    ("name", "unit"), [("voltage", "V"), ("current", "A"), ("apparent_power", "kVA"), ("thd", "%")]
)
def test_what_does_not_add_up_over_the_phases_is_not_compared(name: str, unit: str) -> None:
    assert totals({name: unit, **{f"{name}_{phase}": unit for phase in ("l1", "l2", "l3")}}, ()) == ()


def summed(name: str, total: float, *parts: float, unit: str = "kWh", **others: Any) -> tuple[str, str]:
    names = [f"{name}_{phase}" for phase in ("l1", "l2", "l3")]
    values = {name: (total, unit), **{each: (part, unit) for each, part in zip(names, parts, strict=True)}, **others}
    return only({"kind": "sum", "total": name, "parts": names}, **values)


@pytest.mark.parametrize(
    ("total", "parts", "verdict", "says"),
    [
        (7777.7, (2590.1, 3121.5, 2066.1), "fits", ""),
        (7778, (2590, 3121, 2066), "fits", ""),
        (123.4, (2590.1, 3121.5, 2066.1), "does not fit", "look at energy: it may be a partial counter"),
        (7000.0, (2590.1, 3121.5, 2066.1), "does not fit", "look at energy: it may be a partial counter"),
        (9000.0, (2590.1, 3121.5, 2066.1), "does not fit", "look at energy: it may count both directions"),
        (777.77, (2590.1, 3121.5, 2066.1), "does not fit", "energy is likely 10 times too small"),
        (7777.7, (2590.1, 31215.0, 2066.1), "does not fit", "energy_l2 alone is more than energy: look at energy_l2"),
        (0.4, (0.1, 0.2, 0.3), "not judged", "hardly any load"),
    ],
)
def test_a_counter_that_is_not_the_sum_of_its_phases_is_named(
    total: float, parts: tuple[float, float, float], verdict: str, says: str
) -> None:
    judgement, text = summed("energy", total, *parts)
    assert (judgement, says in text) == (verdict, True), text


def test_a_total_at_the_address_of_a_phase_is_named() -> None:
    assert "look at energy: it reads as energy_l2 alone does" in summed("energy", 3121.5, 2590.1, 3121.5, 2066.1)[1]
    assert "look at power: it reads as power_l1 alone does" in summed("power", 1.84, 1.84, 2.2176, 1.4656, unit="kW")[1]
    assert summed("power", 1.84, 1.84, 0.0, 0.0, unit="kW")[0] == "fits", "one phase draws all"


def test_a_meter_that_nets_its_phases_is_worth_a_look() -> None:
    verdict, text = summed("energy", 5000, 2590.1, 3121.5, 2066.1, export_energy=(900, "kWh"))
    assert (verdict, "nets its phases" in text) == ("look", True)
    verdict, text = summed("energy", 100, 2590.1, 3121.5, 2066.1, export_energy=(900, "kWh"))
    assert verdict == "does not fit", "no netting makes a total less than one of its phases"


@pytest.mark.parametrize(
    ("total", "parts", "says"),
    [
        (4.0, (1.84, 2.2176, 1.4656), "look at power: voltage and current of every phase fit its part"),
        (5.5232, (1.84, 0.3, 1.4656), "look at power_l2: voltage and current of that phase do not make that much"),
        (5.5232, (1.84, 2.2176, 4.5), "look at power_l3"),
        (5.5232, (18.4, 2.2176, 1.4656), "power_l1 is likely 10 times too large"),
    ],
)
def test_a_power_that_is_not_the_sum_of_its_phases_is_named_by_their_voltage_and_current(
    total: float, parts: tuple[float, float, float], says: str
) -> None:
    phases = {
        f"{what}_l{i}": value
        for i, (u, a) in enumerate(((230, 10), (231, 12), (229, 8)), 1)
        for what, value in (("voltage", (u, "V")), ("current", (a, "A")), ("power_factor", 0.8))
    }
    verdict, text = summed("power", total, *parts, unit="kW", **phases)
    assert (verdict, says in text) == ("does not fit", True), text
