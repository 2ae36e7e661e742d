"""Reads YAML documents into models, so that every error says file:line:column and what to write instead."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edgeflow.errors import ConfigError, Problem

M = TypeVar("M", bound=BaseModel)
_LISTED = 24
At = tuple[str | int, ...]
"""A place in a document: keys and indices from the root."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]{1,4000}$")  # Python refuses to print longer ones
_BASED = re.compile(r"0(?:x[0-9a-fA-F]{1,3000}|o[0-7]{1,4000})$")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")
_DEEPEST = 40
_MOST_PLACES = 500_000
MOST_PROBLEMS = 100
"""So many problems of one document are told; nobody reads more at once."""
_MOST_NAMES = 1000
_WORDS: dict[str, Any] = {"": None, "~": None, "true": True, "false": False, ".nan": math.nan}
_WORDS |= {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf}
for _word in ("null", "true", "false"):
    for _form in (_word, _word.capitalize(), _word.upper()):
        _WORDS[_form] = {"null": None, "true": True, "false": False}[_word]


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data together with the place (line, column) of every key and item."""

    file: str
    data: Any
    marks: dict[At, tuple[int, int]]

    def knows(self, place: At) -> bool:
        """Whether something is written at a place."""
        return place in self.marks

    def problem(self, at: Sequence[str | int], message: str) -> Problem:
        """A problem at the nearest place the document knows above `at`."""
        place = tuple(at)
        while place and place not in self.marks:
            place = place[:-1]
        line, column = self.marks.get(place, (1, 1) if self.marks else (0, 0))
        return Problem(self.file, line, column, ".".join(map(str, at)), message)

    def model(self, model: type[M], at: At = ()) -> M:
        """The document, or the part of it at `at`, as a model; raises ConfigError with every problem found."""
        part = self.data
        for step in at:
            part = part[step]
        try:
            beside = {"folder": Path(self.file).parent}
            return model.model_validate({} if part is None and not at else part, context=beside)
        except ValidationError as error:
            raise ConfigError(self.problems(error, model, at)) from None

    def problems(self, error: ValidationError, model: type[BaseModel] | None = None, at: At = ()) -> list[Problem]:
        """A validation error of this document (or its part at `at`) as problems with places."""
        found: list[Problem] = []
        details = error.errors(include_url=False)[:MOST_PROBLEMS]
        for detail in details:
            if detail["type"] == "too_short" and any(_inside(other["loc"], detail["loc"]) for other in details):
                continue  # pydantic counts only the items that are right
            loc = self._real(at, detail["loc"])
            found.append(self.problem(loc, explain(detail, model)))
        return found

    def _real(self, at: At, loc: tuple[int | str, ...]) -> At:
        """Drops what pydantic puts into a location that is not in the document (union members)."""
        place = list(at)
        for i, step in enumerate(loc):
            last = i == len(loc) - 1
            if self.knows((*place, step)) or (last and not isinstance(step, int) and step.isidentifier()):
                place.append(step)
        return tuple(place)


def _inside(loc: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(loc) > len(outer) and loc[: len(outer)] == outer


NAME = r"^[a-z0-9][a-z0-9_-]*$"
LIMITS = {
    "less_than_equal": "large; write at most {le}",
    "less_than": "large; write less than {lt}",
    "greater_than_equal": "small; write at least {ge}",
    "greater_than": "small; write more than {gt}",
}


_SECRET = re.compile(r"pass(word|phrase|wd)?|token|secret|credential|\bpin\b|(api|private)_?key", re.IGNORECASE)
_USER_IN_URL = re.compile(r"//[^/\s'\"]*@")


def secret(text: str) -> bool:
    """Whether a name, or a text with names, speaks of something that must not be repeated in a message."""
    return _SECRET.search(text) is not None


class _Hidden:
    """Stands in a message for what is not repeated."""

    def __repr__(self) -> str:
        return "what is written here"


def _repeatable(detail: ErrorDetails) -> Any:
    """What was given, unless it stands where a secret stands."""
    given = detail.get("input")
    hides = given is not None and detail["type"] != "extra_forbidden"
    return _Hidden() if hides and any(isinstance(step, str) and secret(step) for step in detail["loc"]) else given


def explain(detail: ErrorDetails, model: type[BaseModel] | None = None) -> str:
    """One validation error in words for a person: what is wrong and what to write instead."""
    kind, given, context = detail["type"], _repeatable(detail), detail.get("ctx", {})
    if kind == "extra_forbidden":
        name = str(detail["loc"][-1])
        if given is None and name.isdigit():
            return f"unknown key {name!r}; a number has a decimal point: 0.1, not 0,1"
        if given is None and " " in name.strip():
            return f"unknown key {name!r}; put text with a comma in quotes"
        names = _names_at(model, detail["loc"][:-1])
        return f"unknown key {name!r}{suggestion(name, names)}"
    if kind == "missing":
        return "is required"
    if kind == "value_error":
        return str(context.get("error", detail["msg"]))
    if kind in ("literal_error", "enum"):
        return f"{shown(given)} is not one of {context.get('expected', '')}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return f"write `{context.get('discriminator', '')}` as one of {context.get('expected_tags', '')}".replace(
            "''", "'"
        )
    wanted = {
        "int": "a whole number",
        "float": "a number",
        "string": "text (put it in quotes)",
        "bool": "true or false",
        "dict": "a mapping (key: value)",
        "model": "a mapping (key: value)",
        "list": "a list",
        "tuple": "a list",
    }
    stem = kind.partition("_")[0]
    if kind.endswith(("_type", "_parsing")) and stem == "float" and _with_comma(given):
        return f"{shown(given)} is not {wanted[stem]}; write {str(given).replace(',', '.')}, with a point"
    if kind.endswith(("_type", "_parsing", "_from_float")) and stem in wanted:
        return f"{shown(given)} is not {wanted[stem]}; write {wanted[stem]}"
    if kind in LIMITS and set(context) & {"le", "ge", "lt", "gt"}:
        return f"{shown(given)} is too {LIMITS[kind].format(**context)}"
    if kind == "string_pattern_mismatch" and context.get("pattern") == NAME:
        return f"{shown(given)} is not a name; write lower-case letters, digits, `_` and `-`, for example `line_1`"
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, not {shown(given)}"


def _with_comma(given: Any) -> bool:
    return isinstance(given, str) and re.fullmatch(r"[-+]?\d+,\d+", given) is not None


def _names_at(model: type[BaseModel] | None, loc: tuple[int | str, ...]) -> list[str]:
    """The field names of the model that a location leads to, as far as annotations tell."""
    for step in loc:
        if model is None:
            return []
        field = model.model_fields.get(str(step)) or next(
            (f for f in model.model_fields.values() if f.alias == step), None
        )
        if field is None:
            continue
        model = _model_in(field.annotation) or model
    if model is None:
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where something known is close, else the list of what is known."""
    names = sorted(known)[:_MOST_NAMES]  # looking for a close one among very many would take minutes
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    more = ", ..." if len(names) > _LISTED else ""
    return f"; known are {', '.join(names[:_LISTED])}{more}" if names else ""


def shown(value: Any) -> str:
    """A value of a document in a message, cut where it is long."""
    text = _USER_IN_URL.sub("//...@", repr(value))
    return text if len(text) <= 60 else text[:57] + "..."


def load(path: Path) -> Document:
    """Reads one YAML file; raises ConfigError where it cannot be read or is not YAML."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (
            error.strerror
            if isinstance(error, OSError)
            else "it is not UTF-8 text; save it anew with the encoding UTF-8"
        )
        raise ConfigError([Problem(str(path), 0, 0, "", f"cannot be read: {reason}")]) from None
    return parse(text, str(path))


def parse(text: str, file: str = "<text>") -> Document:
    """Reads YAML text with the scalars of YAML 1.2 core; a key written twice is an error."""
    try:
        _check_depth(text, file)
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = getattr(error, "problem", None) or str(error)
        lines = text.split("\n")  # YAML knows more line breaks than this one
        at_tab = line <= len(lines) and lines[line - 1][column - 1 : column] == "\t"
        hint = _yaml_hint(what, at_tab=at_tab)
        raise ConfigError([Problem(file, line, column, "", f"is not valid YAML: {what}; {hint}")]) from None
    marks: dict[At, tuple[int, int]] = {}
    problems: list[Problem] = []
    data = None if root is None else _build(root, (), marks, problems, file, 0)
    if problems:
        raise ConfigError(problems)
    return Document(file, data, marks)


def _check_depth(text: str, file: str) -> None:
    """Refuses what is nested too deeply before it is composed: that would use up the stack of the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                mark = event.start_mark
                line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
                raise ConfigError([Problem(file, line, column, "", "is nested too deeply")])
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _yaml_hint(what: str, *, at_tab: bool) -> str:
    if at_tab:
        return "indent with spaces, not tabs"
    if "mapping values" in what:
        return "put text that contains `: ` in quotes, or indent this line like its neighbours"
    return "check the indentation and the brackets and quotes before this place"


def _build(
    node: yaml.Node, at: At, marks: dict[At, tuple[int, int]], problems: list[Problem], file: str, depth: int
) -> Any:
    mark = node.start_mark
    marks.setdefault(at, (mark.line + 1, mark.column + 1))
    if len(marks) > _MOST_PLACES:  # a few aliases of aliases can stand for more than any memory holds
        raise ConfigError([Problem(file, mark.line + 1, mark.column + 1, "", "is too large (aliases of aliases?)")])
    if depth > _DEEPEST:
        problems.append(Problem(file, mark.line + 1, mark.column + 1, "", "is nested too deeply (an alias of itself?)"))
        return None
    if isinstance(node, yaml.ScalarNode):
        plain = not node.style  # the C parser says '' where the other says None
        return scalar(node.value) if plain else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*at, i), marks, problems, file, depth + 1) for i, item in enumerate(node.value)]
    result: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        line, column = key_node.start_mark.line + 1, key_node.start_mark.column + 1
        path = ".".join(map(str, at))
        if key is None:
            problems.append(Problem(file, line, column, path, "a key must be plain text"))
        elif key in result:
            problems.append(Problem(file, line, column, path, f"the key {key!r} is written twice; remove one"))
        else:
            marks[(*at, key)] = (line, column)
            result[key] = _build(value_node, (*at, key), marks, problems, file, depth + 1)
    return result


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
