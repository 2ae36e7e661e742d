"""The parts of a driver's README that follow from its models and its quality file."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from edgeflow import driver as drivers
from edgeflow.cli.options import fields_of
from edgeflow.devices.template import Library
from edgeflow.document import load
from edgeflow.driver import Driver

_PART = "<!-- {name} -->\n{text}\n<!-- end -->"
_ANY_PART = re.compile(r"<!-- (settings|tools|templates|quality) -->\n.*?<!-- end -->", re.DOTALL)
_ANSWERS = {"done": "done", "todo": "to do", "exempt": "does not apply"}


def refreshed(readme: str, parts: Mapping[str, str]) -> str:
    """A README with its generated parts (between `<!-- name -->` and `<!-- end -->`) brought up to date."""
    return _ANY_PART.sub(lambda match: _PART.format(name=match[1], text=parts[match[1]]), readme)


def parts(
    driver: Driver[Any, Any, Any],
    templates: Iterable[tuple[str, str]],
    rules: Mapping[str, str],
    answers: Mapping[str, Mapping[str, str]],
) -> dict[str, str]:
    """The generated parts of one driver's README. `templates` are (name, title); `rules` the quality scale."""
    models = (("link", driver.link), ("device", driver.device), ("tag", driver.point))
    settings = [f"Of a {title}:\n\n{settings_table(model)}" for title, model in models if model.model_fields]
    tools = [f"| `edgeflow {driver.name} {tool.name}` | {_cell(tool.about)} |" for tool in driver.tools()]
    listed = [f"| `{name}` | {_cell(title)} |" for name, title in templates]
    quality = [_answer(rule, meaning, answers[rule]) for rule, meaning in rules.items()]
    return {
        "settings": "\n\n".join(settings),
        "tools": _table(("command", "what it does"), tools),
        "templates": _table(("template", "device"), listed),
        "quality": _table(("", "rule", "shown by, or why not"), quality),
    }


def write(path: Path, found: Mapping[str, str]) -> bool:
    """Brings a README up to date; returns whether it was not."""
    before = path.read_text("utf-8")
    after = refreshed(before, found)
    if after != before:
        path.write_text(after, "utf-8")
    return after != before


def settings_table(model: type[BaseModel]) -> str:
    """The settings of a model as a table."""
    rows = []
    for each in fields_of(model):
        default = "required" if each.required else f"`{each.default}`" if each.default else ""
        rows.append(f"| `{each.key}` | {_cell(each.kind)} | {default} | {_cell(each.about)} |")
    return _table(("setting", "what is written", "default", "meaning"), rows)


def _answer(rule: str, meaning: str, answer: Mapping[str, str]) -> str:
    ((kind, text),) = answer.items()
    shown = ", ".join(_evidence(part.strip()) for part in text.split(",")) if kind == "done" else _cell(text)
    return f"| {_ANSWERS[kind]} | **{rule}**: {_cell(meaning)} | {shown} |"


def _evidence(place: str) -> str:
    """A test as the sentence that its name is, any other file by its name; with the way there."""
    file, _, test = place.partition("::")
    return f"[{test.removeprefix('test_').replace('_', ' ') or Path(file).name}](../../{file})"


def _table(head: tuple[str, ...], rows: Iterable[str]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *rows])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(root: Path, names: Iterable[str]) -> None:
    """Brings the READMEs of the drivers in a checkout up to date, and says which were not."""
    rules, library = load(root / "docs/drivers.yaml").data, Library()
    for name in names or drivers.names():
        folder = root / f"drivers/edgeflow_{name}"
        if not folder.is_dir():
            continue  # a stranger's
        templates = [(each, library.find(name, each).template.title) for each in library.names(name)]
        found = parts(drivers.find(name), templates, rules, load(folder / "quality.yaml").data)
        if write(folder / "README.md", found):
            print(f"{folder.relative_to(root)}/README.md is new", file=sys.stderr)


if __name__ == "__main__":
    main(Path.cwd(), sys.argv[1:])
