"""Wrong configurations: one line each with the place and what to write instead, exit 78, from both verbs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgeflow.flow.library import shipped
from tests.system.line import COMMAND

FLOW = """flow: trial
nodes:
  power: {kind: tag, tag: meter/power}
  double: {kind: scale, factor: 2}
  average: {kind: average, over: 1 min}
wires:
  - power -> double
  - double -> average
"""


@dataclass(frozen=True)
class Wrong:
    """A change of config/demo.yaml, or of a flow beside it, and what must be said at which place."""

    old: str
    new: str
    at: str
    says: tuple[str, ...]
    flow: Mapping[str, str] = field(default_factory=dict)


WRONG = {
    "unknown key": Wrong("every: 500 ms", "evry: 500 ms", "evry", ("'evry'", "did you mean 'every'")),
    "wrong type": Wrong("port: 5020", "port: many", "port: many", ("'many'", "whole number")),
    "unknown driver": Wrong("{driver: opcua", "{driver: opcuua", "driver: opcuua", ("'opcuua'", "did you mean 'opcua'")),
    "duplicate tag": Wrong("mode:        {register: 1", "state:        {register: 1", "state:  ", ("'state'", "written twice")),
    "bad YAML": Wrong("{machine: press, ideal_cycle: 2 s}}", "{machine: press, ideal_cycle: 2 s}", "", ("YAML",)),
    "tag missing in a flow": Wrong(
        "flows:\n", "flow_path: [flows]\nflows:\n  trial: {flow: trial}\n", "tag: meter/powr",
        ("'meter/powr'", "did you mean 'meter/power'"), {"meter/power": "meter/powr"},
    ),
    "unit mismatch on a wire": Wrong(
        "flows:\n", "flow_path: [flows]\nflows:\n  trial: {flow: trial}\n", "power -> demand.energy",
        ("is in kW", "wire a value in kWh"), {"double: {kind: scale, factor: 2}": "demand: {kind: demand, meter: meter}",
                        "power -> double": "power -> demand.energy", "double -> average": "demand.projected -> average"},
    ),
    "cycle": Wrong(
        "flows:\n", "flow_path: [flows]\nflows:\n  trial: {flow: trial}\n", "average -> double",
        ("cycle", "remove one of these wires"), {"power -> double": "average -> double"},
    ),
}  # fmt: skip


def written(folder: Path, wrong: Wrong) -> tuple[Path, Path]:
    """The configuration, and the file in which the mistake is."""
    text = (shipped("config") / "demo.yaml").read_text("utf-8")
    assert wrong.old in text
    config = folder / "gateway.yaml"
    config.write_text(text.replace(wrong.old, wrong.new, 1), "utf-8")
    if not wrong.flow:
        return config, config
    path = folder / "flows" / "trial" / "flow.yaml"
    path.parent.mkdir(parents=True)
    flow = FLOW
    for old, new in wrong.flow.items():
        assert old in flow
        flow = flow.replace(old, new)
    path.write_text(flow, "utf-8")
    return config, path


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_configuration_is_told_in_one_line_with_its_place(what: str, tmp_path: Path) -> None:
    wrong = WRONG[what]
    config, place = written(tmp_path, wrong)
    for verb in (("validate",), ("run", f"--state={tmp_path}/state")):
        done = subprocess.run(
            [*COMMAND, verb[0], str(config), *verb[1:]], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 78, done.stderr
        (said,) = done.stderr.splitlines()
        match = re.match(rf"{re.escape(str(place))}:(\d+):(\d+) ", said)
        assert match, said
        line = place.read_text("utf-8").splitlines()[int(match[1]) - 1]
        assert line[int(match[2]) - 1 :].startswith(wrong.at), said
        for word in wrong.says:
            assert word in said, said
    assert not (tmp_path / "state").exists(), "nothing is begun with a wrong configuration"
