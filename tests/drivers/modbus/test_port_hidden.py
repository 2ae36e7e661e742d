"""A serial line that the systemd unit hides is told from one that is not plugged in."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeflow_modbus.port import hidden


@pytest.mark.parametrize(
    ("by_systemd", "nodes", "expected"),
    [
        (True, ("null", "tty"), True),
        (True, ("null", "tty", "ttyS0"), False),
        (False, ("null", "tty"), False),
    ],
    ids=["a unit without devices", "a unit with devices", "a shell"],
)
def test_devices_are_hidden_only_where_a_unit_runs_us_and_shows_none(
    by_systemd: bool, nodes: tuple[str, ...], expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    if by_systemd:
        monkeypatch.setenv("INVOCATION_ID", "0123456789abcdef0123456789abcdef")
    for node in nodes:
        (tmp_path / node).touch()
    assert hidden(tmp_path) is expected
