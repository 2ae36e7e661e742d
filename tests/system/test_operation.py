"""What people do to a running line: push flows, write tags, answer calls; and what machines ask of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from tests.system.line import Line, ask
from tests.system.trials import Figures, flow_changes, operator


def test_a_changed_flow_runs_soon_and_broken_ones_are_refused(line: Line, tmp_path: Path) -> None:
    flow_changes(line, tmp_path, Figures())


def test_people_read_write_and_answer_calls(line: Line) -> None:
    operator(line, Figures())


@pytest.mark.parametrize("server", ["agent", "central"])
def test_promtool_finds_nothing_wrong_with_the_metrics(line: Line, server: str) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: apt-get install prometheus"
    metrics = ask(line.url(server) + "/metrics")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=metrics, capture_output=True, text=True, timeout=30, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    assert "edgeflow_" in metrics


@pytest.mark.parametrize("server", ["agent", "central"])
def test_the_openapi_document_is_valid(line: Line, server: str) -> None:
    document = ask(line.url(server) + "/api/v1/openapi.json")
    validate(document)
    assert len(document["paths"]) > 5
