"""Devices fail: it is told, shown and booked, the others keep their pace, and data is soon back."""

from __future__ import annotations

from tests.system.conftest import MakeLine
from tests.system.trials import Figures, balance, device_fails


def test_devices_that_hang_and_restart_are_unknown_until_they_are_back(make_line: MakeLine) -> None:
    line, figures = make_line(speed=2.0), Figures()
    for device in ("press", "filler"):
        for fault in ("hang", "restart"):
            device_fails(line, device, fault, 4, figures)
    balance(line, figures)
