"""Every driver says how good it is, in a form that this test can hold against the repository."""

from __future__ import annotations

import ast
import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest

from edgeflow import driver
from edgeflow.cli import reference
from edgeflow.devices.config import read_links_and_devices
from edgeflow.devices.template import Library
from edgeflow.document import Document, load, parse
from tests.repo.tree import ROOT, modules

DRIVERS = [name for name in driver.names() if (ROOT / f"drivers/edgeflow_{name}").is_dir()]
_DIFFERS = re.compile(r"\.\.\.|\d+")
_STATUS = re.compile(r"(?:Bad|Uncertain)[A-Z]\w+")
"""What OPC UA itself calls it."""
RULES: dict[str, str] = load(ROOT / "docs/drivers.yaml").data


def answers(name: str) -> dict[str, Any]:
    found: dict[str, Any] = load(ROOT / f"drivers/edgeflow_{name}/quality.yaml").data
    return found


def test_every_driver_of_the_repository_is_installed() -> None:
    folders = {path.parent.name for path in (ROOT / "drivers").glob("*/__init__.py")}
    assert folders == {f"edgeflow_{name}" for name in DRIVERS}


@pytest.mark.parametrize("name", DRIVERS)
def test_a_driver_answers_every_rule_of_the_scale_and_no_other(name: str) -> None:
    found = answers(name)
    assert list(found) == list(RULES)
    for rule, answer in found.items():
        assert len(answer) == 1, f"{rule}: one of done, todo, exempt"
        ((kind, text),) = answer.items()
        assert kind in ("done", "todo", "exempt"), rule
        assert isinstance(text, str), rule
        assert text.strip(), f"{rule}: without a reason"


@pytest.mark.parametrize("name", DRIVERS)
def test_what_a_driver_calls_done_is_shown_by_something_that_is_there(name: str) -> None:
    missing = [
        f"{rule}: {place}"
        for rule, answer in answers(name).items()
        for place in answer.get("done", "").split(",")
        if place and not _shows(place.strip())
    ]
    assert not missing


def _shows(place: str) -> bool:
    """Whether `file` or `file::test` exists; a test file must hold at least one test."""
    file, _, test = place.partition("::")
    path = ROOT / file
    if not path.is_file():
        return False
    if path.suffix != ".py" or not path.name.startswith("test_"):
        return not test
    names = _tests(path)
    return test in names if test else bool(names)


def _tests(path: Path) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, functions) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("name", DRIVERS)
def test_every_example_of_a_readme_can_be_written_like_that(name: str) -> None:
    """What it leaves out of a configuration is filled in."""
    readme = (ROOT / f"drivers/edgeflow_{name}/README.md").read_text("utf-8")
    for block in re.finditer(r"^```yaml\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE):
        document = parse(block[1], f"line {readme.count(chr(10), 0, block.start()) + 1} of the README of {name}")
        read_links_and_devices(_completed(document, name))


def _completed(example: Document, name: str) -> Document:
    """Links and devices, where the example has only some of it."""
    link = {"modbus": {"host": "10.0.0.5"}, "opcua": {"url": "opc.tcp://10.0.0.7"}, "mqtt": {"host": "10.0.0.2"}}
    devices = example.data.get("devices", {})
    if "tags" in example.data:
        devices = {"example": {"link": "example", "tags": example.data["tags"]}}
    links = {device["link"]: {"driver": name, **link.get(name, {})} for device in devices.values()}
    return Document(example.file, {"links": links | example.data.get("links", {}), "devices": devices}, example.marks)


@pytest.mark.parametrize("name", DRIVERS)
def test_what_a_readme_quotes_as_a_message_is_one(name: str) -> None:
    """In the table "When it does not work"; `...` and numbers stand for what differs from case to case."""
    readme = (ROOT / f"drivers/edgeflow_{name}/README.md").read_text("utf-8")
    section = readme.partition("## When it does not work\n")[2].partition("\n## ")[0]
    said = "\n".join(_said(name))
    unknown = [
        quote
        for row in re.findall(r"^\| ([^|]*`[^|]*) \|", section, re.MULTILINE)
        for quote in re.findall(r"`([^`]+)`", row)
        if not _STATUS.fullmatch(quote) and not all(part.strip(" ,;:?") in said for part in _DIFFERS.split(quote))
    ]
    assert section
    assert not unknown


def _said(name: str) -> list[str]:
    """What the driver and what stands around it can say: pieces of text, and the words of the system."""
    own = (f"drivers/edgeflow_{name}/", "edgeflow/")
    trees = [tree for file, tree in modules().items() if file.startswith(own)]
    texts = [node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [text for text in texts if isinstance(text, str)] + [os.strerror(number) for number in errno.errorcode]


@pytest.mark.parametrize("name", DRIVERS)
def test_the_generated_parts_of_a_readme_are_fresh(name: str) -> None:
    library = Library()
    templates = [(each, library.find(name, each).template.title) for each in library.names(name)]
    found = reference.parts(driver.find(name), templates, RULES, answers(name))
    readme = (ROOT / f"drivers/edgeflow_{name}/README.md").read_text("utf-8")
    assert "<!-- settings -->" in readme
    assert "<!-- quality -->" in readme
    assert ("<!-- templates -->" in readme) == bool(templates)
    assert ("<!-- tools -->" in readme) == bool(driver.find(name).tools())
    assert reference.refreshed(readme, found) == readme, "run scripts/reference"
