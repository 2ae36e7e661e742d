"""Paths: where something stands in a document, in one small language for values, times, qualities and conditions.

motor.phases[0].current     keys and places in a list, counted from 0; [-1] is the last
"1.7.0".value               a key with a dot, a bracket or a quote in it stands in quotes
values[id=PLC.Temp].v       the element of a list in which `id` is PLC.Temp; of several the last
samples[*].v                every element is a sample of its own
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

_BARE = re.compile(r'[^.\[\]"]+')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_INDEX = re.compile(r"\[\s*(-?\d+)\s*\]")
_EACH = re.compile(r"\[\s*\*\s*\]")
_NAMED = re.compile(r'\[\s*"((?:[^"\\]|\\.)*)"\s*\]')
_SELECT = re.compile(r'\[((?:[^\[\]="]|\[-?\d+\]|"(?:[^"\\]|\\.)*")+)=\s*(?:"((?:[^"\\]|\\.)*)"|([^\]"]*?))\s*\]')
_NEEDS_QUOTES = re.compile(r'[.\[\]"\\]|^\s|\s$')
_ENDS = re.compile(r'[\]"]|^\s|\s$')
_ESCAPED = re.compile(r"\\(.)")


class Missing(ValueError):
    """A payload does not hold what a path leads to."""


class NoSuchElement(Missing):
    """No element of a list is the one that a path selects: the message is not about it."""


class Unreadable:
    """Something in a payload that cannot be read, in its place; `reason` says what is wrong with it."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Documents(list[Any]):
    """Several documents in one payload, one after the other; where only one is looked at it is the last."""


class Every(Enum):
    """Stands in a path for the place of each element in turn."""

    ELEMENT = "*"


@dataclass(frozen=True, slots=True)
class Select:
    """The element of a list in which something has a value, written as a word."""

    path: tuple[str | int, ...]
    word: str


Step = str | int | Select | Every
Steps = tuple[Step, ...]


def steps(path: str) -> Steps:
    """A path as its steps; ValueError says how to write one."""
    found: list[Step] = []
    at = 0
    while at < len(path) or not found:
        step, end = _step(path, at, first=not found)
        if step is None:
            where = f", wrong at {path[at:]!r}" if 0 < at < len(path) else ""
            raise ValueError(f"write a path like `motor.phases[0].current`, not {path!r}{where}")
        found.append(step)
        at = end
    if found.count(Every.ELEMENT) > 1:
        raise ValueError(f"`[*]` stands once in a path, not as in {path!r}")
    return tuple(found)


def _step(path: str, at: int, *, first: bool) -> tuple[Step | None, int]:
    """The step that begins there, and its end; None where there is none."""
    if path.startswith("[", at):
        if match := _INDEX.match(path, at):
            return int(match[1]), match.end()
        if match := _EACH.match(path, at):
            return Every.ELEMENT, match.end()
        if match := _NAMED.match(path, at):
            return _unquoted(match[1]), match.end()
        if match := _SELECT.match(path, at):
            inner = steps(match[1].strip())
            plain = tuple(step for step in inner if isinstance(step, str | int))
            word = match[3] if match[2] is None else _unquoted(match[2])
            return (Select(plain, word) if len(plain) == len(inner) else None), match.end()
        return None, at
    if not first:
        if not path.startswith(".", at):
            return None, at
        at += 1
    if match := _QUOTED.match(path, at):
        return _unquoted(match[1]), match.end()
    match = _BARE.match(path, at)
    return (match[0], match.end()) if match else (None, at)


def _unquoted(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def shown_path(path: Steps) -> str:
    """Steps as a person writes them, ready to be pasted."""
    return "".join(_shown(step) for step in path).lstrip(".")


def _shown(step: Step) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if isinstance(step, Every):
        return "[*]"
    if isinstance(step, Select):
        return f"[{shown_path(step.path)}={_quoted(step.word, _ENDS)}]"
    return f".{_quoted(step, _NEEDS_QUOTES)}"


def _quoted(text: str, wrong: re.Pattern[str]) -> str:
    if text and not wrong.search(text):
        return text
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'


def find(document: Any, path: Steps, within: Callable[[str], Any] | None = None) -> Any:
    """What stands at a path; raises Missing, which says what is not there, and ValueError for what cannot be read.

    `within` takes a text apart that a path leads into, as a document of its own.
    """
    place = document
    for step in path:
        if type(place) is not dict or step not in place:
            return _find(document, path, within)
        place = place[step]
    return _find(document, path, within) if isinstance(place, Unreadable | Documents) else place


def _find(document: Any, path: Steps, within: Callable[[str], Any] | None) -> Any:
    """The same for whatever is not only keys in keys."""
    place = document
    if isinstance(place, Documents) and not (path and isinstance(path[0], int)):
        place = place[-1]
    for depth, step in enumerate(path):
        if isinstance(place, str) and within is not None and place.lstrip()[:1] in ("{", "[", '"'):
            place = within(place)
        if isinstance(step, str) and isinstance(place, dict) and step in place:  # noqa: SIM114 - they are of two types
            place = place[step]
        elif isinstance(step, int) and isinstance(place, list) and -len(place) <= step < len(place):
            place = place[step]
        elif isinstance(step, Select) and isinstance(place, list):
            place = _selected(place, step, path[: depth + 1])
        elif isinstance(place, Unreadable):
            break
        else:
            raise Missing(f"the payload has no `{shown_path(path[: depth + 1])}`{_but(place, step)}")
    if isinstance(place, Unreadable):
        raise ValueError(f"`{shown_path(path)}` {place.reason}" if path else f"the payload {place.reason}")
    return place


def _selected(elements: list[Any], step: Select, path: Steps) -> Any:
    for element in reversed(elements):
        try:
            if same(find(element, step.path), step.word):
                return element
        except ValueError:
            continue
    raise NoSuchElement(f"the payload has no `{shown_path(path)}`")


def _but(place: Any, step: Step) -> str:
    """What is there instead, where only capitals differ."""
    if not isinstance(place, dict) or not isinstance(step, str):
        return ""
    return next((f", but `{shown_path((key,))}`" for key in place if key.lower() == step.lower()), "")


def same(found: Any, wanted: Any) -> bool:
    """Whether a value of a payload is the one that a person wrote; 7 and `7` are the same."""
    return bool(found == wanted and isinstance(found, bool) == isinstance(wanted, bool)) or word_of(found) == word_of(
        wanted
    )


def word_of(value: Any) -> str:
    """A value as a word: `true`, `7`, `ok`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)
