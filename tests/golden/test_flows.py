"""The flows we ship do what their golden cases say."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeflow.node import installed
from edgeflow.testing.golden import find_cases, run_case

FLOWS = Path(__file__).parents[2] / "flows"
CASES = find_cases([FLOWS])


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parts[-4]}/{path.parts[-3]}/{path.stem}")
def test_the_case_comes_out_as_it_is_written(path: Path) -> None:
    result = run_case(path, installed())
    assert result.ok, str(result)


def test_every_shipped_flow_has_a_case_and_a_readme() -> None:
    for flow in FLOWS.rglob("flow.yaml"):
        assert list(flow.parent.glob("cases/*.yaml")), f"{flow} has no golden case"
        assert (flow.parent / "README.md").exists(), f"{flow} has no README"
