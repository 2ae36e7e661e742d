"""Devices fail: it is told, shown and booked, the others keep their pace, and data is soon back."""

from __future__ import annotations

import pytest

from tests.system.conftest import MakeLine
from tests.system.trials import Figures, balance, device_fails


@pytest.mark.parametrize("device", ["press", "filler"])
def test_a_device_that_hangs_and_restarts_is_unknown_until_it_is_back(make_line: MakeLine, device: str) -> None:
    line, figures = make_line(speed=2.0), Figures()
    for fault in ("hang", "restart"):
        device_fails(line, device, fault, 4, figures)
    balance(line, figures)
