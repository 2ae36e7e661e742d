"""Payloads that are no JSON and still have parts: `a=1;b=2`, a line of a table, InfluxDB's line protocol."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from edgeflow_mqtt.path import Documents
from edgeflow_mqtt.payload import LARGEST, parse, shown, text_of

Format = Literal["json", "pairs", "csv", "line_protocol"]

_KEY = r"[^\s=:;&,\"]+"
_PAIR = re.compile(
    rf"({_KEY})\s*[=:]\s*(?:\"([^\"]*)\"|(.*?))(?=\s*(?:[;&\n\r\t]|,?\s*{_KEY}\s*[=:](?!//)|$))", re.DOTALL
)
_MOST_LINES = 10_000
_LARGEST_TEXT = 256 * 1024
_ESCAPED = re.compile(r"\\([ ,=\"\\])")
_PART = re.compile(r'((?:[^ ,=\\"]|\\.)+)=("(?:[^"\\]|\\.)*"|(?:[^ ,\\]|\\.)*),?')


def _pairs(text: str) -> dict[str, Any]:
    found = {match[1]: match[3].strip() if match[2] is None else match[2] for match in _PAIR.finditer(text)}
    if not found:
        raise ValueError
    return found


def _row(text: str) -> list[str]:
    line = text.strip().splitlines()[-1]
    separator = next((one for one in (";", "\t") if one in line), ",")
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]


def _line_protocol(text: str) -> Any:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    documents = Documents(_line(line.strip()) for line in lines[:_MOST_LINES])
    return documents if len(documents) > 1 else documents[0]


def _line(line: str) -> dict[str, Any]:
    """`measurement,tag=x field=1,other="text" 1795154400000000000`, the time in ns where it stands there."""
    head = re.match(r"(?:[^ \\]|\\.)+", line)
    if head is None:
        raise ValueError
    measurement, _, tags = re.sub(r"\\,", "\0", head[0]).partition(",")
    at, fields = head.end() + 1, dict[str, Any]()
    while match := _PART.match(line, at):
        fields[_plain(match[1])] = _field(match[2])
        at = match.end()
        if line[at - 1 : at] != ",":
            break
    if not fields:
        raise ValueError
    found: dict[str, Any] = {
        "measurement": _plain(measurement.replace("\0", ",")),
        "tags": {_plain(tag[1]): _plain(tag[2]) for tag in _PART.finditer(tags.replace("\0", r"\,"))},
        "fields": fields,
    }
    if when := line[at:].strip():
        found["time"] = when
    return found


def _field(text: str) -> Any:
    if text.startswith('"'):
        return _plain(text[1:-1])
    if text.lower() in ("t", "true", "f", "false"):
        return text[0] in "tT"
    return text[:-1] if text[-1:] in ("i", "u") else text


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


_OF_TEXT: Mapping[str, Callable[[str], Any]] = {"pairs": _pairs, "csv": _row, "line_protocol": _line_protocol}


def document_of(payload: bytes, form: Format) -> Any:
    """The parts of a payload; ValueError says that it is not written so."""
    if form == "json":
        return parse(payload)
    if len(payload) > min(_LARGEST_TEXT, LARGEST):
        raise ValueError(f"the payload of {len(payload)} bytes is too large")
    text = text_of(payload)
    try:
        return _OF_TEXT[form](text)
    except (ValueError, IndexError, csv.Error, StopIteration):
        raise ValueError(f"the payload {shown(payload)} is not written as `format: {form}`") from None
