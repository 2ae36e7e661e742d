"""The systemd units start what is there, and keep it in a small room."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgeflow.errors import EXIT_CONFIG
from tests.packaging.conftest import ROOT

UNITS = sorted((ROOT / "systemd").glob("*.service"))
ANALYZE = shutil.which("systemd-analyze") or ""

pytestmark = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)


def settings(unit: Path) -> dict[str, str]:
    """The last value of every key under [Service]."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign] # keys of systemd have capitals
    parser.read(unit)
    return dict(parser["Service"])


def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    assert ANALYZE, "systemd-analyze is missing: make system"
    program = tmp_path / "edgeflow"
    program.write_text("#!/bin/sh\n", "ascii")
    program.chmod(0o755)
    (tmp_path / unit.name).write_text(
        unit.read_text("utf-8").replace("/opt/edgeflow/bin/edgeflow", str(program)), "utf-8"
    )
    done = subprocess.run([ANALYZE, "verify", tmp_path / unit.name], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_is_exposed_little(unit: Path) -> None:
    command = [ANALYZE, "security", "--offline=true", "--threshold=20", unit]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert float(re.findall(r"exposure level.*: ([\d.]+)", done.stdout)[0]) <= 2.0


def test_a_bad_configuration_is_not_tried_again_and_everything_else_is(unit: Path) -> None:
    service = settings(unit)
    assert service["Type"] == "notify"
    assert service["Restart"] == "on-failure"
    assert str(EXIT_CONFIG) in service["RestartPreventExitStatus"].split()
    assert int(service["WatchdogSec"]) >= 10
    assert "StartLimitIntervalSec=0" in unit.read_text("utf-8").splitlines()


def test_state_lies_where_systemd_makes_it(unit: Path) -> None:
    service = settings(unit)
    assert f"EDGEFLOW_STATE=%S/{service['StateDirectory']}" in service["Environment"].split()
    assert service["User"] == service["StateDirectory"]
    users = (ROOT / "systemd/sysusers.conf").read_text("utf-8")
    assert re.search(rf"^u {service['User']} ", users, re.MULTILINE)
