"""The references of the handbook, from the command line and the models: what can be typed, written and drawn."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from edgeflow import driver as drivers
from edgeflow.agent.config import Root
from edgeflow.cli.commands import program
from edgeflow.cli.manual import markdown
from edgeflow.cli.reference import settings_table
from edgeflow.node import Node, installed


def configuration() -> str:
    """Everything that can be written into a gateway's configuration, but for what the drivers add."""
    lines = [
        "# Configuration",
        "",
        "What `gateway.yaml` can hold. Links, devices and tags also take the settings of their driver, which its page "
        "lists.",
        "",
    ]
    for place, model in _sections(Root, ""):
        about = " ".join((model.__doc__ or "").split())
        lines += [f"## {place or 'gateway.yaml'}", "", about, "", settings_table(model), ""]
    return "\n".join(lines)


def _sections(model: type[BaseModel], place: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """A model and those inside it, each with the place where it is written."""
    yield place, model
    for name, field in model.model_fields.items():
        key = field.alias or name
        for inner, many in _models_in(field.annotation, many=False):
            yield from _sections(inner, f"{place}.{key}".lstrip(".") + (".NAME" if many else ""))


def _models_in(annotation: Any, *, many: bool) -> Iterator[tuple[type[BaseModel], bool]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, many
    origin = getattr(annotation, "__origin__", None)
    for each in get_args(annotation):
        yield from _models_in(each, many=many or origin is dict)


def nodes() -> str:
    """Every kind of node: what it is for, what goes in and out, and its settings."""
    lines = ["# Nodes", "", "What a flow can be made of.", ""]
    for kind, node in sorted(installed().items()):
        lines += [f"## {kind}", "", " ".join(node.about.split()), "", *_ports(node)]
        if node.config.model_fields:
            lines += [settings_table(node.config), ""]
    return "\n".join(lines)


def _ports(node: Node[Any, Any, Any]) -> list[str]:
    rows = []
    for way, ports in (("in", node.inputs), ("out", node.outputs)):
        if callable(ports):
            rows.append(f"| {way} | | as the settings say |")
        else:
            rows += [f"| {way} | `{name}` | {' '.join(port.about.split())} |" for name, port in ports.items()]
    return ["| | port | meaning |", "|---|---|---|", *rows, ""] if rows else []


def main(folder: Path) -> None:
    """Writes the pages into a folder."""
    for name, text in (
        ("commands", markdown(program(drivers.names()))),
        ("configuration", configuration()),
        ("nodes", nodes()),
    ):
        (folder / f"{name}.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
