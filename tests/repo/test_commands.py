"""What the documents tell people to type is there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest
import typer

from edgeflow import driver
from edgeflow.cli.commands import program
from tests.repo.tree import ROOT, files, shown, texts

DOCUMENTS = [name for name in texts() if name.endswith(".md")]
CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`|^ {4}(\S.*)$", re.DOTALL | re.MULTILINE)


def _lines(document: str) -> list[str]:
    """The lines of code of a document."""
    text = texts()[document]
    return [
        line.strip() for match in CODE.finditer(text) for line in "".join(filter(None, match.groups())).splitlines()
    ]


def _typed(program: str) -> list[tuple[str, str]]:
    """The command lines of a program that documents show, with the document."""
    pattern = re.compile(rf"^(?:\$ |sudo )*(?:[A-Z_]+=\S+ )*(?:\S*/)?{program} (.+)$")
    return [(name, match[1]) for name in DOCUMENTS for line in _lines(name) if (match := pattern.match(line))]


def test_every_verb_of_make_that_is_told_of_is_there_and_explained() -> None:
    verbs = set(re.findall(r"^([a-z0-9-]+):.*?##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == verbs
    told = {(name, word) for name, line in _typed("make") for word in re.findall(r"^[a-z0-9-]+", line)}
    assert {"demo", "test"} <= {verb for name, verb in told if name == "README.md"}
    assert not {(name, verb) for name, verb in told if verb not in verbs}


def test_every_verb_of_edgeflow_that_is_told_of_is_there() -> None:
    root = program()
    told = _typed("edgeflow")
    assert told
    for name, line in told:
        command, path = root, "edgeflow"
        for word in shlex.split(line, comments=True):
            verbs = getattr(command, "commands", None)
            if verbs is None or not re.fullmatch(r"[a-z]+", word):
                break
            assert word in verbs, f"{name}: `{path} {word}` is no command"
            command, path = verbs[word], f"{path} {word}"
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        if path.removeprefix("edgeflow ") in driver.names():
            options = _options_of_tool(*shlex.split(line)[:2])
        if path not in ("edgeflow run", "edgeflow browse", "edgeflow device check"):  # take options of drivers too
            unknown = set(re.findall(r"(?<!\S)--[a-z-]+", line)) - options
            assert not unknown, f"{name}: `{path}` has no {unknown}"


def _options_of_tool(name: str, tool: str) -> set[str]:
    tools = program([name]).commands[name].commands
    assert tool in tools, f"the driver {name} has no tool {tool}"
    return {option for parameter in tools[tool].params for option in parameter.opts} | {"--help"}


def test_every_verb_explains_itself() -> None:
    def walk(command: typer.main.TyperCommand, path: str) -> list[str]:
        own = [] if command.help else [path]
        return own + [
            one for name, verb in getattr(command, "commands", {}).items() for one in walk(verb, f"{path} {name}")
        ]

    assert not walk(program(), "edgeflow")


SCRIPTS = [path for path in files() if path.parent.name in ("scripts", ".ci")]


@pytest.mark.parametrize("path", SCRIPTS, ids=shown)
def test_every_script_can_be_run_and_is_well_formed(path: str) -> None:
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", path], check=True)


def test_the_agent_starts_without_the_libraries_of_the_command_line() -> None:
    """A gateway starts in half the time without them."""
    script = (
        "import sys, edgeflow.cli.run; print([m for m in ('typer', 'rich', 'asyncua', 'pymodbus') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd="/")
    assert told.stdout.strip() == "[]"
