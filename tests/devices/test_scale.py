from __future__ import annotations

import math

import pytest

from edgeflow.devices.plan import TagPlan
from edgeflow.devices.scale import compile_column, raw_of, value_of
from edgeflow.driver import Column
from edgeflow.errors import Rejected
from edgeflow.model import BAD, UNCERTAIN, Tag
from edgeflow.testing.session import FakePoint


def tag(name: str = "t", kind: str = "number", raw: str | None = None, **more: object) -> TagPlan:
    return TagPlan(Tag(f"d/{name}", kind), FakePoint(address=0), raw or kind, **more)  # type: ignore[arg-type]


def test_a_tenth_is_the_decimal_that_people_expect() -> None:
    scaled = compile_column([tag(raw="integer", scale=0.1)] * 3)
    # 123 * 0.1 is 12.3 only by luck; 3 * 0.1 is 0.30000000000000004
    assert scaled(Column([3, 123, -7])) == ([0.3, 12.3, -0.7], None)


def test_factors_and_offsets_differ_per_tag() -> None:
    plans = [tag(scale=2.5), tag(offset=-40.0), tag(kind="boolean"), tag(scale=1.8, offset=32.0)]
    assert compile_column(plans)(Column([4.0, 65.0, True, 100.0])) == ([10.0, 25.0, True, 212.0], None)


def test_whole_numbers_stay_whole_under_a_whole_scale() -> None:
    values, faults = compile_column([tag(kind="integer", scale=10.0, offset=5.0), tag(kind="integer")])(
        Column([7, 2**60 + 1])
    )
    assert (values, faults) == ([75, 2**60 + 1], None)
    assert all(type(value) is int for value in values)


def test_what_lies_outside_its_range_is_bad_and_says_so() -> None:
    values, faults = compile_column([tag(low=0.0, high=100.0), tag()])(Column([100.5, 7.0]))
    assert values == [None, 7.0]
    assert faults == {0: (BAD, "100.5 is outside 0 to 100")}


def test_the_bounds_of_a_range_belong_to_it() -> None:
    assert compile_column([tag(low=0.0, high=100.0)] * 2)(Column([0.0, 100.0])) == ([0.0, 100.0], None)


@pytest.mark.parametrize("strange", [math.nan, math.inf, -math.inf])
def test_not_a_number_is_bad(strange: float) -> None:
    values, faults = compile_column([tag(), tag()])(Column([1.5, strange]))
    assert values == [1.5, None]
    assert faults is not None
    assert faults[1][0] == BAD


@pytest.mark.parametrize("strange", [None, "12", b"12", True])
@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_a_value_of_the_wrong_type_is_bad(strange: object, scale: float) -> None:
    column = Column([1.0, strange])  # type: ignore[list-item]
    plans = [tag(scale=scale), tag(scale=scale), tag(kind="text")]
    column = Column([1.0, strange, "x"])  # type: ignore[list-item]
    values, faults = compile_column(plans)(column)
    assert values == [1.0 * scale, None, "x"]
    assert faults is not None
    assert list(faults) == [1]


def test_very_large_numbers_are_numbers() -> None:
    assert compile_column([tag(), tag()])(Column([1.5e308, 1.5e308])) == ([1.5e308, 1.5e308], None)


def test_a_bad_value_of_the_driver_stays_bad_and_an_uncertain_one_is_scaled() -> None:
    faults = {0: (BAD, "illegal address"), 1: (UNCERTAIN, "substituted")}
    values, found = compile_column([tag(scale=2.0)] * 3)(Column([None, 4, 5], faults=faults))
    assert values == [None, 8.0, 10.0]
    assert found == faults


def test_a_column_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="1 values for 2 points"):
        compile_column([tag(), tag()])(Column([1.0]))


def test_a_column_is_never_handed_on_itself() -> None:
    given = [1.0, 2.0]
    values, _ = compile_column([tag(), tag()])(Column(given))
    assert values == given
    assert values is not given


def test_writing_undoes_the_scaling() -> None:
    setpoint = tag(raw="integer", scale=0.1, offset=-40.0, low=0.0, high=250.0)
    assert raw_of(setpoint, 180.0) == 2200
    assert value_of(setpoint, 2200) == (180.0, "")


@pytest.mark.parametrize(
    ("plan", "value", "why"),
    [
        (tag(low=0.0, high=250.0), 251, "outside 0 to 250"),
        (tag(kind="integer"), 1.5, "whole numbers"),
        (tag(kind="boolean"), 1, "type boolean"),
        (tag(), True, "type number"),
        (tag(), "12", "type number"),
        (tag(), math.nan, "type number"),
        (tag(kind="text"), 12, "type text"),
    ],
)
def test_what_a_tag_cannot_hold_is_not_written(plan: TagPlan, value: object, why: str) -> None:
    with pytest.raises(Rejected, match=why):
        raw_of(plan, value)  # type: ignore[arg-type]


def test_a_number_that_the_scale_makes_infinite_is_bad() -> None:
    values, faults = compile_column([tag(scale=1000.0), tag()])(Column([1e307, 7.0]))
    assert values == [None, 7.0]
    assert faults is not None
    assert faults[0][0] == BAD


@pytest.mark.parametrize("plan", [tag(), tag(scale=0.1), tag(scale=3.5), tag(low=0.0, high=1.0), tag(kind="integer")])
def test_a_whole_number_beyond_every_float_is_bad_and_breaks_nothing(plan: TagPlan) -> None:
    values, faults = compile_column([plan, tag()])(Column([10**5000, 7.0]))
    assert values == [None, 7.0]
    assert faults is not None
    assert "too large" in faults[0][1]
