"""The manuals that follow from the code: the page for man, and the references of the handbook."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgeflow import driver as drivers
from edgeflow.cli import handbook
from edgeflow.cli.commands import program
from edgeflow.cli.manual import man_page, markdown, verbs
from edgeflow.node import installed
from tests.cli.shop import here


def test_every_verb_is_in_the_manual_with_what_each_of_its_options_means() -> None:
    found = {" ".join(verb.call.split()[:3]): verb for verb in verbs(program(drivers.names()))}
    assert {"edgeflow run [OPTIONS]", "edgeflow modbus scan", "edgeflow flow push"} <= found.keys()
    for call, verb in found.items():
        assert verb.about, call
        assert all(about for _, about in verb.options), call
    assert any(option.startswith("--units") for option, _ in found["edgeflow modbus scan"].options)


def test_the_page_for_man_is_well_formed_and_printed_by_the_command() -> None:
    page = here("man").stdout
    assert page == man_page(program(drivers.names()))
    groff = shutil.which("groff")
    if groff is not None:  # without it only what we print is looked at
        done = subprocess.run(
            [groff, "-man", "-Tutf8", "-ww", "-z"], input=page, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert all(line.startswith(".") or not line.startswith("'") for line in page.splitlines())


def test_an_example_keeps_its_lines() -> None:
    text = markdown(program(["modbus"]))
    assert "\n    edgeflow modbus scan --host 10.0.0.6 --units 1-20\n    edgeflow modbus scan --serial" in text


def test_the_handbook_has_every_kind_and_every_setting(tmp_path: Path) -> None:
    handbook.main(tmp_path)
    nodes = (tmp_path / "nodes.md").read_text()
    assert all(f"## {kind}\n" in nodes for kind in installed())
    configuration = (tmp_path / "configuration.md").read_text()
    for setting in ("gateway.yaml", "http", "central", "store"):
        assert f"## {setting}\n" in configuration


@pytest.mark.parametrize("name", ["commands", "configuration", "nodes"])
def test_no_table_of_the_handbook_is_torn_by_what_stands_in_it(name: str, tmp_path: Path) -> None:
    handbook.main(tmp_path)
    rows = [line for line in (tmp_path / f"{name}.md").read_text().splitlines() if line.startswith("|")]
    assert rows
    assert all(row.endswith("|") for row in rows)
