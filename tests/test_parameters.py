"""What people write in place of a value that differs from one use of a document to the next."""

from typing import Any

import pytest

from edgeflow.parameters import Parameter, fill, parameters_in


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{n}", 4),
        ("{n} + 6", 10),
        ("2 * ({n} - 1) / 4", 1.5),
        ("-{n}", -4),
        ("{n} s", "4 s"),
        ("{t}/{n}", "hall/4"),
        ("{{n}}", "{n}"),
        ("{n} / 0", "4 / 0"),
        ("plain", "plain"),
        (["{n}", {"a": "{t}"}], [4, {"a": "hall"}]),
        ("{long-name}", 7),
    ],
)
def test_a_parameter_is_put_in_as_it_is_worked_out_or_written(text: Any, value: Any) -> None:
    assert fill(text, {"n": 4, "t": "hall", "long-name": 7}) == value


@pytest.mark.parametrize(
    ("text", "value"), [("{n}/{n}", "4/4"), ("{n}-{n}", "4-4"), ("{n}e2", "4e2"), ("0.{n}", "0.4")]
)
def test_a_path_or_a_date_of_numbers_is_not_worked_out(text: str, value: str) -> None:
    assert fill(text, {"n": 4}) == value


def test_a_parameter_that_is_not_declared_is_named() -> None:
    with pytest.raises(KeyError, match="limit"):
        fill({"a": ["{limit}"]}, {})


def test_where_parameters_stand_is_told() -> None:
    value = {"a": ["{x}", "1 + {y}"], "b": "{{z}}"}
    assert list(parameters_in(value, ("tags",))) == [(("tags", "a", 0), "x"), (("tags", "a", 1), "y")]


@pytest.mark.parametrize(
    ("type_", "fits", "unfit"),
    [
        ("number", 1.5, True),
        ("integer", 3, 1.5),
        ("text", "hall", 3),
        ("boolean", True, 1),
        ("duration", "5 s", "5"),
        ("rate", "4 /s", "soon"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_to_write(type_: Any, fits: Any, unfit: Any) -> None:
    parameter = Parameter(type=type_, description="a value")
    assert parameter.unfit(fits) == ""
    assert "write" in parameter.unfit(unfit)


def test_only_the_values_that_are_listed_can_be_given() -> None:
    parameter = Parameter(type="text", description="where", one_of=("main", "sub"))
    assert (parameter.unfit("sub"), parameter.unfit("side")) == ("", "write one of main, sub, not 'side'")
