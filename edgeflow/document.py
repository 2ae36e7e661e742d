"""Reads YAML documents into models, so that every error says file:line:column and what to write instead."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edgeflow.errors import ConfigError, Problem
from edgeflow.explain import LIMITS, NAME, explain, shown, suggestion

__all__ = [
    "LIMITS", "MOST_PROBLEMS", "NAME", "At", "Document", "bounded", "canonical", "dotted", "explain", "load", "parse",
    "scalar", "shown", "suggestion", "version",
]  # fmt: skip

M = TypeVar("M", bound=BaseModel)
At = tuple[str | int, ...]
"""A place in a document: keys and indices from the root."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]{1,4000}$")  # Python refuses to print longer ones
_BASED = re.compile(r"0(?:x[0-9a-fA-F]{1,3000}|o[0-7]{1,4000})$")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_DEEPEST = 40
_LARGEST = 16_000_000
_MOST_PLACES = 500_000
_MOST_BY_ALIAS = 20_000
MOST_PROBLEMS = 100
"""So many problems are told at once; nobody reads more."""
_WORDS: dict[str, Any] = {"": None, "~": None, "true": True, "false": False, ".nan": math.nan}
_WORDS |= {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf}
for _word in ("null", "true", "false"):
    for _form in (_word, _word.capitalize(), _word.upper()):
        _WORDS[_form] = {"null": None, "true": True, "false": False}[_word]


def dotted(at: Sequence[str | int]) -> str:
    """A place as people write it: the items of a list are counted from 1."""
    return ".".join(str(step + 1) if isinstance(step, int) else step for step in at)


def bounded(problems: Sequence[Problem]) -> list[Problem]:
    """The problems in their order, each once, and no more of them than anybody reads."""
    told = sorted(set(problems))
    if len(told) <= MOST_PROBLEMS:
        return told
    rest = len(told) - MOST_PROBLEMS
    return [*told[:MOST_PROBLEMS], Problem(told[-1].file, 0, 0, "", f"... and {rest} more problems")]


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data together with the place (line, column) of every key and item.

    `faults`: what is wrong with the writing itself, where it was read all the same.
    """

    file: str
    data: Any
    marks: dict[At, tuple[int, int]]
    faults: tuple[Problem, ...] = field(default=(), kw_only=True)

    def knows(self, place: At) -> bool:
        """Whether something is written at a place."""
        return place in self.marks

    def problem(self, at: Sequence[str | int], message: str) -> Problem:
        """A problem at the nearest place the document knows above `at`."""
        place = tuple(at)
        while place and place not in self.marks:
            place = place[:-1]
        line, column = self.marks.get(place, (1, 1) if self.marks else (0, 0))
        return Problem(self.file, line, column, dotted(at), message)

    def model(self, model: type[M], at: At = ()) -> M:
        """The document, or the part of it at `at`, as a model; raises ConfigError with every problem found."""
        faults = () if at else self.faults
        try:
            found = self._validated(model, self._part(at), at)
        except ValidationError as error:
            raise ConfigError([*faults, *self.problems(error, model, at)]) from None
        if faults:
            raise ConfigError(faults)
        return found

    def partial(self, model: type[M], instead: Mapping[str, Any] | None = None) -> tuple[M | None, list[Problem]]:
        """The document as a model as far as it is right, with every problem found: what is wrong is left out.

        `instead` stands in for top-level keys that the model cannot do without. None where nothing is left.
        """
        try:
            return self._validated(model, self.data, ()), list(self.faults)
        except ValidationError as error:
            problems = [*self.faults, *self.problems(error, model)]
            right = _without(self.data, error, model)
        try:
            return (self._validated(model, {**(instead or {}), **right}, ()) if right is not None else None), problems
        except ValidationError:
            return None, problems

    def _part(self, at: At) -> Any:
        part = self.data
        for step in at:
            part = part[step]
        return part

    def _validated(self, model: type[M], part: Any, at: At) -> M:
        beside = {"folder": Path(self.file).parent}
        return model.model_validate({} if part is None and not at else part, context=beside)

    def problems(self, error: ValidationError, model: type[BaseModel] | None = None, at: At = ()) -> list[Problem]:
        """A validation error of this document (or its part at `at`) as problems with places."""
        details = error.errors(include_url=False)
        told: dict[At, list[ErrorDetails]] = {}
        for detail in details:
            told.setdefault(self._real(at, detail), []).append(detail)
        found: list[Problem] = []
        for place, several in told.items():
            unsure = several[0]["type"] == "too_short" or len(place) - len(at) < len(several[0]["loc"])
            if unsure and any(len(other) > len(place) and other[: len(place)] == place for other in told):
                continue  # only the items that are right were counted, or another form of it was meant
            if len(found) == MOST_PROBLEMS:
                break
            found.append(self.problem(place, _either([explain(detail, model) for detail in several])))
        return found

    def _real(self, at: At, detail: ErrorDetails) -> At:
        """The place of a validation error, without what is not in the document (the forms something may have)."""
        part, place = self._part(at), list(at)
        for step in detail["loc"]:
            if step in part if isinstance(part, dict) else isinstance(part, list) and step in range(len(part)):
                part = part[step]
            elif detail["type"] != "missing" or step != detail["loc"][-1]:
                continue
            place.append(step)
        return tuple(place)


def _either(messages: list[str]) -> str:
    """What to write where something may have several forms."""
    messages = list(dict.fromkeys(messages))
    words = [match[1] for message in messages if (match := re.search(r" is not one of (.*?)(?:;|$)", message))]
    others = [message for message in messages if " is not one of " not in message]
    if len(messages) == 1 or not others:
        return messages[0]
    return "; or ".join([*others[:3], *(f"write {word}" for word in words)])


def _without(data: Any, error: ValidationError, model: type[BaseModel]) -> dict[str, Any] | None:
    """The top level of a document without the entries that an error is about."""
    if not isinstance(data, dict):
        return None if data is not None else {}
    right = dict(data)
    for detail in error.errors(include_url=False):
        first, *rest = (*detail["loc"], None)
        info = next((f for name, f in model.model_fields.items() if first in (name, f.alias)), None)
        inside = right.get(str(first))
        if rest[0] is not None and isinstance(inside, dict) and info and get_origin(info.annotation) is dict:
            right[str(first)] = {key: value for key, value in inside.items() if key != rest[0]}
        else:
            right.pop(str(first), None)
    return right


# --- reading ------------------------------------------------------------------------------------------


def load(path: Path, *, lenient: bool = False) -> Document:
    """Reads one YAML file; raises ConfigError where it cannot be read or is not YAML. `lenient`: as `parse`."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, 0, "", f"cannot be read: {error.strerror}")]) from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        wide = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
        before = raw[: error.start] if not wide else b""
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        message = (
            f"cannot be read: it is not UTF-8 text{' but UTF-16' if wide else ''}; save it anew with the encoding UTF-8"
        )
        raise ConfigError([Problem(str(path), line, column, "", message)]) from None
    return parse(text, str(path), lenient=lenient)


def parse(text: str, file: str = "<text>", *, lenient: bool = False, most_places: int = _MOST_PLACES) -> Document:
    """Reads YAML text with the scalars of YAML 1.2 core; a key written twice is an error.

    Raises ConfigError with everything that is wrong with the writing. `lenient`: what can be read all the same is
    read, and such things are the document's `faults`, so that what else is wrong can be told together with them.
    `most_places`: so many keys and items it may have.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > _LARGEST:
        raise ConfigError([Problem(file, 0, 0, "", f"is larger than {_LARGEST // 1_000_000} MB")])
    if strange := _UNPRINTABLE.search(text):
        line, column = _place_of(text, strange.start())
        message = f"the character U+{ord(strange[0]):04X} cannot be seen and has no meaning here; delete it"
        raise ConfigError([Problem(file, line, column, "", message)])
    reading = _Reading(file, most_places)
    try:
        data = reading.document(yaml.parse(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise ConfigError([*reading.problems, _not_yaml(error, text, file)]) from None
    if reading.problems and not lenient:
        raise ConfigError(reading.problems)
    return Document(file, data, reading.marks, faults=tuple(reading.problems))


def _place_of(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    return before.count("\n") + 1, index - before.rfind("\n")


def _not_yaml(error: yaml.YAMLError, text: str, file: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    what = getattr(error, "problem", None) or str(error)
    lines = text.split("\n")  # YAML knows more line breaks than this one
    at_tab = line <= len(lines) and lines[line - 1][column - 1 : column] == "\t"
    return Problem(file, line, column, "", f"is not valid YAML: {what}; {_yaml_hint(what, at_tab=at_tab)}")


def _yaml_hint(what: str, *, at_tab: bool) -> str:
    if at_tab:
        return "indent with spaces, not tabs"
    if "mapping values" in what:
        return "put text that contains `: ` in quotes, or indent this line like its neighbours"
    return "check the indentation and the brackets and quotes before this place"


class _Reading:
    """Builds data from the events of a parser, and notes the place of everything."""

    def __init__(self, file: str, most_places: int) -> None:
        self.file, self.most_places = file, most_places
        self.marks: dict[At, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self.anchors: dict[str, tuple[At, Any]] = {}
        self.open: set[str] = set()
        self.by_alias = 0
        self.events: Iterator[Any] = iter(())

    def document(self, events: Iterator[Any]) -> Any:
        self.events, data = events, None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
            elif isinstance(event, yaml.NodeEvent):
                if documents > 1:
                    raise ConfigError([self._fault(event, (), "a second document begins here; write one per file")])
                data = self._value(event, (), 0)
        return data

    def _fault(self, event: Any, at: At, message: str) -> Problem:
        mark = event.start_mark
        return Problem(self.file, mark.line + 1, mark.column + 1, dotted(at), message)

    def _wrong(self, event: Any, at: At, message: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(self._fault(event, at, message))

    def _value(self, event: Any, at: At, depth: int) -> Any:
        mark = event.start_mark
        self.marks.setdefault(at, (mark.line + 1, mark.column + 1))
        if len(self.marks) > self.most_places:
            raise ConfigError([self._fault(event, (), "is too large")])
        if depth > _DEEPEST:
            raise ConfigError([self._fault(event, (), "is nested too deeply")])
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, at)
        if event.tag is not None:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            self._wrong(event, at, f"the tag `{tag[:60]}` has no meaning here; write the value alone, text in quotes")
        if event.anchor is not None:
            self.open.add(event.anchor)
        if isinstance(event, yaml.ScalarEvent):
            value: Any = scalar(event.value) if not event.style else event.value  # plain: '' in C, None otherwise
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(at, depth)
        else:
            value = self._mapping(at, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = (at, value)
            self.open.discard(event.anchor)
        return value

    def _sequence(self, at: At, depth: int) -> list[Any]:
        items: list[Any] = []
        for event in self.events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._value(event, (*at, len(items)), depth + 1))
        return items

    def _mapping(self, at: At, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = event.value if isinstance(event, yaml.ScalarEvent) else None
            if key is None:
                self._wrong(event, at, "a key must be plain text")
                self._aside(event, at, depth)
                self._aside(next(self.events), at, depth)
            elif key == "<<" and not event.style:
                self._wrong(event, at, "`<<` does not put the keys of another mapping here; write them out")
                self._aside(next(self.events), at, depth)
            elif key in result:
                self._wrong(event, at, f"the key {key!r} is written twice; remove one")
                self._aside(next(self.events), (*at, key), depth)
            else:
                if event.tag is not None:
                    self._wrong(event, at, "a key must be plain text, without a tag")
                self.marks[*at, key] = (event.start_mark.line + 1, event.start_mark.column + 1)
                result[key] = self._value(next(self.events), (*at, key), depth + 1)
        return result

    def _aside(self, event: Any, at: At, depth: int) -> None:
        """Reads what cannot be taken over, for what is wrong in it."""
        marks, self.marks = self.marks, {}
        self._value(event, at, depth + 1)
        self.marks = marks

    def _alias(self, event: Any, at: At) -> Any:
        """What the anchor stands for, with its places; aliases of aliases can stand for more than memory holds."""
        if event.anchor in self.open:
            raise ConfigError([self._fault(event, at, f"is nested too deeply: `*{event.anchor}` stands for itself")])
        if event.anchor not in self.anchors:
            message = f"`*{event.anchor}` stands for nothing: there is no `&{event.anchor}` before it"
            self._wrong(event, at, message)
            return None
        anchor, value = self.anchors[event.anchor]
        return self._copied(event, anchor, at, value)

    def _copied(self, event: Any, anchor: At, at: At, value: Any) -> Any:
        self.by_alias += 1
        if self.by_alias > _MOST_BY_ALIAS or len(at) > _DEEPEST:
            message = f"is too large: its aliases stand for more than {_MOST_BY_ALIAS} values; write them out"
            raise ConfigError([self._fault(event, (), message)])
        if anchor in self.marks:
            self.marks.setdefault(at, self.marks[anchor])
        if isinstance(value, dict):
            return {key: self._copied(event, (*anchor, key), (*at, key), item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._copied(event, (*anchor, i), (*at, i), item) for i, item in enumerate(value)]
        return value


def scalar(text: str) -> Any:
    """A plain scalar by the core schema of YAML 1.2: `22:00` and `off` are text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text)
    if _BASED.match(text):
        return int(text, 0)
    return float(text) if _FLOAT.match(text) else text


def canonical(data: Any) -> bytes:
    """The one form of a document for hashing: JSON with sorted keys and no white space."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def version(data: Any) -> str:
    """The version of a document: SHA-256 of its canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(data)).hexdigest()
