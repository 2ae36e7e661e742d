"""Rules of the source that no linter knows."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator

from tests.repo.tree import ROOT, modules, shown

QUARANTINE = {
    "edgeflow/agent/tasks.py": "a part of the shell",
    "edgeflow/devices/connection.py": "a device",
    "edgeflow/devices/link.py": "a device",
    "edgeflow/engine/engine.py": "a flow",
    "edgeflow/services/services.py": "a call of a flow",
    "edgeflow/sync/uplink.py": "a part of the exchange with the central server",
}
"""Where a bug is contained: the only places that may catch everything."""

OWNERS = {
    "drivers/edgeflow_opcua/calls.py": "methods are called until the watch ends, which hears of failures and waits",
    "drivers/edgeflow_opcua/publish.py": "a subscription publishes until it is closed, and is waited for then",
    "drivers/edgeflow_opcua/wire.py": "a connection keeps itself alive, and ends that together with itself",
    "edgeflow/devices/connection.py": "a request in flight is never cancelled; the session ends its tasks in order",
    "edgeflow/devices/link.py": "a session is ended within a bound, however its driver behaves",
    "edgeflow/devices/tool.py": "a tool that is told to end finishes its request; it is waited for within a bound",
}
"""Where a task has an owner other than a TaskGroup, and why."""

CLOCKS = {
    "time": {"time", "time_ns", "localtime", "gmtime", "ctime", "strftime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}


def _attributes(tree: ast.Module) -> Iterator[tuple[str, ast.Attribute]]:
    """`owner.name` wherever it is written, with the last name of its owner."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            owner = owner.func if isinstance(owner, ast.Call) else owner
            yield getattr(owner, "attr", getattr(owner, "id", "")), node


def test_only_the_clock_knows_what_time_it_is() -> None:
    found = [
        f"{name}:{node.lineno} {owner}.{node.attr}"
        for name, tree in modules().items()
        if name != "edgeflow/clock.py"
        for owner, node in _attributes(tree)
        if node.attr in CLOCKS.get(owner, ())
    ]
    found += [
        f"{name}:{node.lineno} from time import {alias.name}"
        for name, tree in modules().items()
        if name != "edgeflow/clock.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "time"
        for alias in node.names
        if alias.name in CLOCKS["time"]
    ]
    assert not found


def test_no_task_is_without_an_owner() -> None:
    """Tasks belong to a TaskGroup, which ends them and hears of their failures."""
    found = {
        name
        for name, tree in modules().items()
        for owner, node in _attributes(tree)
        if (owner in ("asyncio", "loop", "get_running_loop") and node.attr == "create_task")
        or node.attr == "ensure_future"
    }
    assert found <= OWNERS.keys()


def _swallows(handler: ast.ExceptHandler) -> bool:
    """Whether it takes every exception and does not end by raising it again."""
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else set()
    takes_all = handler.type is None or names & {"Exception", "BaseException"}
    return bool(takes_all) and not isinstance(handler.body[-1], ast.Raise)


def test_everything_is_caught_only_where_a_fault_is_contained() -> None:
    found = {
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and _swallows(node)
    }
    assert found <= QUARANTINE.keys()


def test_every_module_says_what_it_is_for() -> None:
    assert not [name for name, tree in modules().items() if not ast.get_docstring(tree)]


def test_modules_are_small_and_named_for_what_they_are() -> None:
    vague = re.compile(r"(^|_)(util|helper|manager|processor|base|common|misc)s?$")
    assert not [name for name in modules() if vague.search(name.rsplit("/", 1)[-1].removesuffix(".py"))]
    assert not [name for name in modules() if len((ROOT / name).read_text("utf-8").splitlines()) > 500]


def test_every_module_has_its_layer() -> None:
    """What is in no layer, import-linter lets import everything."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    placed = {name for layer in layers for name in re.findall(r"edgeflow\.(\w+)", layer)}
    there = {
        path.stem for path in (ROOT / "edgeflow").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert there - {"__init__", "testing"} == placed


def test_drivers_know_nothing_but_their_contract() -> None:
    allowed = {
        f"edgeflow.{name}" for name in ("backoff", "driver", "model", "mqtt", "errors", "units", "clock", "testing")
    }
    found = [
        f"{name}:{node.lineno} {module}"
        for name, tree in modules().items()
        if name.startswith("drivers/")
        for node in ast.walk(tree)
        for module in _imported(node)
        if module.split(".")[0] == "edgeflow" and ".".join(module.split(".")[:2]) not in allowed
    ]
    assert not found


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"edgeflow.{alias.name}" for alias in node.names] if node.module == "edgeflow" else [node.module]
    return []


def test_the_drivers_of_the_tree_are_all_in_the_wheel_and_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    folders = {shown(path) for path in (ROOT / "drivers").iterdir() if (path / "__init__.py").exists()}
    packages = {folder.removeprefix("drivers/") for folder in folders}
    assert packages
    tool = project["tool"]
    assert {"edgeflow", *folders} == set(tool["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert {"edgeflow", *packages} == set(tool["mypy"]["packages"]) == set(tool["importlinter"]["root_packages"])
    points = project["project"]["entry-points"]["edgeflow.drivers"]
    assert {point.split(":")[0] for point in points.values()} == packages
