"""No module imports, by way of others, itself."""

from __future__ import annotations

import tomllib
from graphlib import CycleError, TopologicalSorter

import grimp

from tests.repo.tree import ROOT


def test_no_import_goes_round_in_a_circle() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["root_packages"]
    graph = grimp.build_graph(*packages, exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 200
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None
