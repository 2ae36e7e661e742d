"""The command line as a manual: a page for `man`, and a page of the handbook."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from typer.core import TyperCommand, TyperGroup

from edgeflow import __version__


@dataclass(frozen=True, slots=True)
class Verb:
    """One command: how it is called, what it does, and its arguments and options with what each means."""

    call: str
    about: tuple[str, ...]
    options: tuple[tuple[str, str], ...]


def verbs(group: TyperGroup, path: str = "edgeflow") -> Iterator[Verb]:
    """Every command below a group, in the order in which help lists them."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        called = f"{path} {name}"
        if isinstance(command, TyperGroup) and command.commands:
            yield from verbs(command, called)
        else:
            yield _verb(command, called)


def _verb(command: Any, path: str) -> Verb:
    assert isinstance(command, TyperCommand | TyperGroup)
    context = command.make_context(path, [], resilient_parsing=True)
    records = (each.get_help_record(context) for each in command.get_params(context) if each.name != "help")
    options = tuple(record for record in records if record)
    places = " ".join(command.collect_usage_pieces(context))
    text = "\n\n".join(filter(None, (command.help, command.epilog)))
    return Verb(f"{path} {places}", _paragraphs(text), tuple(map(_plain, options)))


def _paragraphs(text: str) -> tuple[str, ...]:
    """Paragraphs without the ends of their lines; an example (its lines are indented) keeps them."""
    found = []
    for part in text.replace("\b\n", "").strip().split("\n\n"):
        lines = part.split("\n")
        example = all(line.startswith("  ") for line in lines)
        found.append("\n".join(f"    {line.strip()}" for line in lines) if example else " ".join(part.split()))
    return tuple(found)


def _plain(record: tuple[str, str]) -> tuple[str, str]:
    return record[0], " ".join(record[1].split())


# --- man ----------------------------------------------------------------------------------------------


def man_page(group: TyperGroup) -> str:
    """The whole command line as one page for `man` (roff)."""
    lines = [
        f'.TH EDGEFLOW 1 "" "EdgeFlow {__version__}"',
        ".SH NAME",
        "edgeflow \\- edge gateway agent for industrial devices",
        ".SH SYNOPSIS",
        ".B edgeflow",
        "COMMAND [OPTIONS] [ARGUMENTS]",
        ".SH DESCRIPTION",
        *_roff(_paragraphs(group.help or "")),
        ".SH COMMANDS",
    ]
    for verb in verbs(group):
        lines += [f".SS {_escaped(verb.call)}", *_roff(verb.about)]
        for option, about in verb.options:
            lines += [".TP", f".B {_escaped(option)}", _escaped(about)]
    lines += [
        ".SH FILES",
        ".TP",
        ".I /etc/edgeflow/gateway.yaml",
        "The configuration.",
        ".TP",
        ".I /var/lib/edgeflow",
        "State; another folder with --state or EDGEFLOW_STATE.",
        ".SH EXIT STATUS",
        "0: well. 1: failure. 2: wrong use. 78: wrong configuration; it is told with file, line and column.",
    ]
    return "\n".join(lines) + "\n"


def _roff(paragraphs: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    for text in paragraphs:
        if text.startswith("    "):
            lines += [".PP", ".nf", ".RS", *(_escaped(line.strip()) for line in text.split("\n")), ".RE", ".fi"]
        else:
            lines += [".PP", _escaped(text)]
    return lines


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in ".'" else text


# --- handbook -----------------------------------------------------------------------------------------


def markdown(group: TyperGroup) -> str:
    """The whole command line as a page of Markdown."""
    lines = ["# Command line", "", *_paragraphs(group.help or ""), ""]
    for verb in verbs(group):
        name = " ".join(word for word in verb.call.split() if word.islower() and "[" not in word)
        lines += [f"## {name}", "", f"    {verb.call}", "", "\n\n".join(verb.about), ""]
        if verb.options:
            lines += ["| option | meaning |", "|---|---|"]
            lines += [f"| `{option.replace('|', chr(92) + '|')}` | {_cell(about)} |" for option, about in verb.options]
            lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
