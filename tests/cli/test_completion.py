"""What a shell is told that can be typed."""

from __future__ import annotations

import subprocess

import pytest

from tests.cli.shop import COMMAND, environment, here


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("edgeflow dev", {"device"}),
        ("edgeflow flow ", {"push"}),
        ("edgeflow modbus ", {"scan", "identify", "guess"}),
        ("edgeflow modbus scan --uni", {"--units"}),
        ("edgeflow run --sta", {"--state"}),
    ],
)
def test_a_shell_is_told_verbs_tools_and_options(typed: str, offered: set[str]) -> None:
    asked = {"_EDGEFLOW_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    done = subprocess.run(COMMAND, env={**environment(), **asked}, capture_output=True, text=True, check=False)
    assert offered <= set(done.stdout.split()), done


def test_a_shell_can_be_taught() -> None:
    asked = {**environment(), "_EDGEFLOW_COMPLETE": "source_bash"}
    done = subprocess.run(COMMAND, env=asked, capture_output=True, text=True, check=False)
    assert "complete -o default -F _edgeflow_completion edgeflow" in done.stdout, done
    assert "--install-completion" in here("--help").stdout
