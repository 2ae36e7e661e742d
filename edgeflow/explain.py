"""What is wrong with a value, in words for a person: what it is and what to write instead; secrets are never shown."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

NAME = r"^[a-z0-9][a-z0-9_-]*$"
LIMITS = {
    "less_than_equal": "large; write at most {le}",
    "less_than": "large; write less than {lt}",
    "greater_than_equal": "small; write at least {ge}",
    "greater_than": "small; write more than {gt}",
}
_LISTED = 24
_MOST_NAMES = 1000
_HIDDEN = "***"
_SECRET = re.compile(
    r"pass(?:word|wd|phrase|code)?$|pass(?:word|wd|phrase|code)|pwd|secret|token|credential|authori[sz]|api_?key"
    r"|private_?key|cookie|signature",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"([a-z][a-z0-9+.-]*://)[^/@\s'\"]+@", re.IGNORECASE)
_IN_QUERY = re.compile(r"([?&][^=&\s]*(?:token|key|pass|secret|sig)[^=&\s]*=)[^&\s'\"]+", re.IGNORECASE)
_WANTED: Mapping[str, str] = {
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "complex": "a number",
    "string": "text (put it in quotes)",
    "bytes": "text (put it in quotes)",
    "bool": "true or false",
    "dict": "a mapping (key: value)",
    "mapping": "a mapping (key: value)",
    "model": "a mapping (key: value)",
    "dataclass": "a mapping (key: value)",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen": "a list",
    "iterable": "a list",
    "date": "a day as YYYY-MM-DD, for example 2026-12-24",
    "time": "a time of day as HH:MM, for example 06:00",
    "datetime": "a time such as 2026-12-24T06:00:00Z",
    "timezone": "a time with its zone, such as 2026-12-24T06:00:00Z",
    "url": "an address such as https://central.example",
    "uuid": "an identifier such as 123e4567-e89b-12d3-a456-426614174000",
    "path": "the name of a file",
    "finite": "a number that is not infinite",
    "json": "JSON",
}
_PATTERNS: Mapping[str, str] = {
    NAME: "is not a name; write lower-case letters, digits, `_` and `-`, for example `line_1`",
    r"^https?://": "is not a web address; write one that begins with http:// or https://",
    r"^[^+#]+$": "cannot be published to; write a topic without the wildcards + and #",
    r"^[a-z][a-z0-9_]*$": "is not a name here; write a lower-case letter first, then letters, digits and `_`",
    r"^[a-z][a-z0-9_-]*(/[a-z][a-z0-9_-]*)*$": "is not a name; write lower-case letters, digits, `_` and `-`, "
    "with `/` between its parts, for example `oee/press`",
    r"^[^/@]+$": "is not a name here; leave out `/` and `@`",
}
_TYPES = ("_type", "_parsing", "_from_float", "_parsing_size", "_inexact", "_past", "_future", "_aware", "_naive")


def explain(detail: ErrorDetails, model: type[BaseModel] | None = None) -> str:
    """One validation error in words for a person: what is wrong and what to write instead."""
    message = _explained(detail, model)
    for secret in _secrets(detail.get("input"), hidden=is_secret(detail["loc"])):
        message = message.replace(repr(secret), repr(_HIDDEN))
        if len(secret) > 3 and not secret.isalpha():  # else it may be a word of our own sentence
            message = message.replace(secret, _HIDDEN)
    return without_secrets(message)


def _explained(detail: ErrorDetails, model: type[BaseModel] | None) -> str:
    kind, given, context = detail["type"], detail.get("input"), detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(str(detail["loc"][-1]), given, _names_at(model, detail["loc"][:-1]))
    if kind == "missing":
        return "is required"
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", "does not fit"))
    if kind in ("literal_error", "enum"):
        expected = str(context.get("expected", ""))
        close = difflib.get_close_matches(str(given), re.findall(r"'([^']*)'", expected), n=1, cutoff=0.6)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        return f"{shown(given)} is not one of {expected}{meant}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return f"write `{context.get('discriminator', '')}` as one of {context.get('expected_tags', '')}".replace(
            "''", "'"
        )
    if kind.endswith(("too_short", "too_long")):
        return _length(kind, context)
    wanted = _wanted(kind)
    if wanted is not None:
        return _mistyped(kind, given, wanted)
    return f"{shown(given)} {_bounds(kind, context) or 'does not fit here: ' + _about(model, detail['loc'])}"


def _bounds(kind: str, context: Mapping[str, Any]) -> str:
    """What is wrong with a value of the right type; "" where nothing better can be said than what it is for."""
    if kind in LIMITS and set(context) & {"le", "ge", "lt", "gt"}:
        return f"is too {LIMITS[kind].format(**context)}"
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(str(context.get("pattern")), "")
    return f"is not a multiple of {context.get('multiple_of')}" if kind == "multiple_of" else ""


def _mistyped(kind: str, given: Any, wanted: str) -> str:
    if isinstance(given, str) and re.fullmatch(r"[-+]?\d+,\d+", given) and kind.startswith("float"):
        return f"{shown(given)} is not {wanted}; write {given.replace(',', '.')}, with a point"
    if isinstance(given, str) and kind.startswith(("int", "float")) and re.search(r"(?![0-9])\d", given):
        return f"{shown(given)} is not {wanted}; write it with the digits 0 to 9"
    return f"{shown(given)} is not {wanted}; write {wanted}"


def _wanted(kind: str) -> str | None:
    if kind == "time_delta_type" or kind.startswith("time_delta"):
        return "a duration with its unit, for example 500 ms"
    if not kind.endswith(_TYPES) and kind != "finite_number":
        return None
    return _WANTED.get(kind.partition("_")[0])


def _unknown(name: str, given: Any, names: list[str]) -> str:
    if given is None and name.isdigit():
        return f"unknown key {name!r}; a number has a decimal point: 0.1, not 0,1"
    if given is None and " " in name.strip():
        return f"unknown key {name!r}; put text with a comma in quotes"
    if name.strip() in names or name.replace("\xa0", "") in names:
        return f"unknown key {name!r}; there is an invisible space in it: type it anew"
    return f"unknown key {name!r}{suggestion(name, names)}"


def _length(kind: str, context: Mapping[str, Any]) -> str:
    what = "characters" if kind.startswith(("string", "bytes")) else "items"
    if kind.endswith("short"):
        least = context.get("min_length", 1)
        one = {"characters": "is empty; write something", "items": "write at least one"}
        return one[what] if least == 1 else f"is too short; write at least {least} {what}"
    return f"is too long; write at most {context.get('max_length')} {what}"


def _names_at(model: type[BaseModel] | None, loc: tuple[int | str, ...]) -> list[str]:
    """The field names of the model that a location leads to, as far as annotations tell."""
    found = _model_at(model, loc)
    return [] if found is None else [field.alias or name for name, field in found.model_fields.items()]


def _about(model: type[BaseModel] | None, loc: tuple[int | str, ...]) -> str:
    """The description of the nearest field at a location."""
    about = ""
    for i, step in enumerate(loc):
        inside = _model_at(model, loc[:i])
        field = _field(inside, step) if inside else None
        about = (field.description or about) if field else about
    return about


def _field(model: type[BaseModel], step: int | str) -> FieldInfo | None:
    return model.model_fields.get(str(step)) or next((f for f in model.model_fields.values() if f.alias == step), None)


def _model_at(model: type[BaseModel] | None, loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    for step in loc:
        if model is None:
            return None
        field = _field(model, step)
        if field is not None:
            model = _model_in(field.annotation) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where something known is close, else the list of what is known."""
    names = sorted(known)[:_MOST_NAMES]  # looking for a close one among very many would take minutes
    close = difflib.get_close_matches(name[:200], names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    more = ", ..." if len(names) > _LISTED else ""
    return f"; known are {', '.join(names[:_LISTED])}{more}" if names else ""


# what is not shown


def is_secret(names: Iterable[int | str]) -> bool:
    """Whether a place has the name of a secret somewhere on its way."""
    return any(isinstance(name, str) and _SECRET.search(name) for name in names)


def shown(value: Any, *names: str) -> str:
    """A value of a document in a message, cut where it is long. `names`: what it is called; a secret is not shown."""
    if is_secret(names):
        return repr(_HIDDEN)
    text = repr(without_secrets(value) if isinstance(value, str) else _masked(value))
    return text if len(text) <= 60 else text[:57] + "..."


def without_secrets(text: str) -> str:
    """A text without what addresses hold of users and passwords."""
    return _IN_QUERY.sub(rf"\1{_HIDDEN}", _USERINFO.sub(rf"\1{_HIDDEN}@", text)) if ":" in text else text


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _HIDDEN if is_secret([key]) else _masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value[:_LISTED]]
    return without_secrets(value) if isinstance(value, str) else value


def _secrets(value: Any, *, hidden: bool) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _secrets(item, hidden=hidden or is_secret([key]))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secrets(item, hidden=hidden)
    elif hidden and value not in (None, "") and not isinstance(value, bool):
        yield value if isinstance(value, str) else str(value)
