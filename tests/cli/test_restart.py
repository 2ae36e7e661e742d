"""What happens where the agent cannot start: what it says, and how soon it is tried again."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from edgeflow.cli import process
from tests.cli.shop import COMMAND, edgeflow, environment


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(process.time, "sleep", slept.append)
    return slept


def test_each_failed_start_is_followed_by_a_longer_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    for _ in range(8):
        process.pause_before_restart(0.5)
    assert pauses == [0, 1, 3, 7, 15, 30, 30, 30]


def test_one_that_had_lived_is_tried_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    process.pause_before_restart(0.5)
    process.pause_before_restart(0.5)
    process.pause_before_restart(3600)
    assert pauses[-1] == 0


def test_a_count_that_is_no_number_or_cannot_be_kept_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "missing"))
    process.pause_before_restart(0.5)
    (tmp_path / "failed-starts").write_text("many")
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    process.pause_before_restart(0.5)
    assert pauses == [0, 0]


def test_without_systemd_nobody_waits(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    process.pause_before_restart(0.5)
    assert pauses == []


def test_a_taken_port_is_told_with_the_setting_that_chooses_another(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        config = tmp_path / "gateway.yaml"
        config.write_text(f"gateway: {{name: line1}}\nhttp: {{port: {port}}}\n")
        done = edgeflow("run", config, "--state", tmp_path / "state")
        assert done.returncode == 1
        assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
        assert "`http: {port: ...}`" in done.stderr
        done = edgeflow("central", "run", "--port", port, "--state", tmp_path / "central")
        assert done.returncode == 1
        assert "--port" in done.stderr


def test_a_port_that_is_never_ours_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    """In a user namespace of its own the process has no right to the port, whoever runs the test."""
    config = tmp_path / "gateway.yaml"
    config.write_text("gateway: {name: line1}\nhttp: {port: 80}\n")
    command = [*COMMAND, "run", str(config), "--state", str(tmp_path / "state")]
    unprivileged = ["unshare", "--user", "--net", "--", "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
    done = subprocess.run(
        [*unprivileged, *command], env=environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 78, done.stderr
    assert f"{config}:2:8 http.port: cannot listen on 127.0.0.1:80: this user may not use this port" in done.stderr
