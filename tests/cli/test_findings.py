"""Values as a person reads them in a table."""

from __future__ import annotations

import pytest

from edgeflow.cli.findings import shown
from edgeflow.model import Scalar


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (230.40000915527344, "230.4"),
        (123474.4921875, "123474.5"),
        (12345678.9, "12345678.9"),
        (-2_500_000.0, "-2500000"),
        (5e13, "5e+13"),
        (2.5e-9, "2.5e-09"),
        (4294967295, "4294967295"),
        (True, "yes"),
        (None, ""),
    ],
)
def test_a_counter_keeps_its_last_digits_and_a_measured_value_has_no_more_than_it_means(
    value: Scalar, text: str
) -> None:
    assert shown(value) == text
