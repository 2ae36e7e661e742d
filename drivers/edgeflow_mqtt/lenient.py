"""JSON as devices really write it: what cannot be read is marked in its place, and the rest is read.

For what a strict reader has refused: `nan`, `1e400`, `+5`, half a character, a comma too many, single quotes, keys
without quotes, nesting without end, several documents in one payload, something behind the end.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from edgeflow_mqtt.path import Documents, Unreadable

_LARGEST = 256 * 1024
"""Read in Python, more characters than this would hold up everything else."""
_MOST_TOKENS = 40_000
_DEEPEST = 64
_MOST_DOCUMENTS = 10_000
_TOKEN = re.compile(
    r"""[\s\x00\x1e]*(?:([{}\[\],:])|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|([^\s\x00\x1e{}\[\],:"']+))""", re.DOTALL
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_NOT_FINITE = frozenset(("nan", "inf", "infinity", "1.#inf", "1.#qnan", "1.#ind"))
_WORDS = {"true": True, "false": False, "null": None, "none": None, "undefined": None}
_HALF = re.compile("[\ud800-\udfff]")
_SINGLE = re.compile(r"\\'|\"")


class NotJson(ValueError):
    """This is no JSON, not even of that kind."""


def read(text: str) -> Any:
    """A document; raises NotJson. What stands in it and cannot be read is Unreadable."""
    if len(text) > _LARGEST:
        raise NotJson
    reader = _Reader(text)
    documents = Documents([reader.document()])
    while len(documents) < _MOST_DOCUMENTS:
        try:
            documents.append(reader.document())
        except NotJson:  # the end, or what an earlier, longer message has left behind it
            break
    return documents if len(documents) > 1 else documents[0]


class _Reader:
    """Reads one document after the other; `_closed`: the mark at which a garbled value ended."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._left, self._closed = text, 0, _MOST_TOKENS, ""

    def document(self) -> Any:
        mark = self._next()
        if mark not in ("{", "["):
            raise NotJson
        return self._value(mark, 0)

    def _next(self) -> str:
        match = _TOKEN.match(self._text, self._at)
        self._left -= 1
        if match is None or self._left < 0:
            raise NotJson
        self._at = match.end()
        return str(match[match.lastindex or 0])

    def _value(self, mark: str, depth: int) -> Any:
        if mark not in ("{", "["):
            return _string(mark) if mark[0] in "\"'" else _bare(mark)
        if depth >= _DEEPEST:
            self._skip()
            return Unreadable("is nested too deeply")
        return self._object(depth) if mark == "{" else self._list(depth)

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while (mark := self._next()) != "}":
            if mark == ",":
                continue
            if mark in ("{", "[", "]", ":") or self._next() != ":":
                raise NotJson
            key = _key(mark)
            value = self._next()
            if value in (",", "}"):
                found[key] = Unreadable("has no value")
                if value == "}":
                    break
            else:
                found[key] = self._value(value, depth + 1)
                if (end := self._next()) == "}":
                    break
                if end != ",":
                    found[key] = Unreadable(f"is not one value: {self._garbled(end)!r} follows")
                    if self._closed == "}":
                        break
        return found

    def _list(self, depth: int) -> list[Any]:
        found: list[Any] = []
        while (mark := self._next()) != "]":
            if mark == ",":
                found.append(Unreadable("has no value"))
                continue
            if mark in ("}", ":"):
                raise NotJson
            found.append(self._value(mark, depth + 1))
            if (end := self._next()) == "]":
                break
            if end != ",":
                found[-1] = Unreadable(f"is not one value: {self._garbled(end)!r} follows")
                if self._closed == "]":
                    break
        return found

    def _garbled(self, token: str) -> str:
        """Passes over what follows a value up to the next comma or end; returns its beginning."""
        first = token
        while token not in (",", "}", "]"):
            if token in ("{", "["):
                raise NotJson
            token = self._next()
        self._closed = token
        return first[:20]

    def _skip(self) -> None:
        depth = 1
        while depth:
            token = self._next()
            depth += (token in ("{", "[")) - (token in ("}", "]"))


def _key(token: str) -> str:
    if token[0] not in "\"'":
        return token
    text = _string(token)
    return text if isinstance(text, str) else token[1:-1]


def _string(token: str) -> str | Unreadable:
    if token[0] == "'":
        token = '"' + _SINGLE.sub(lambda found: "'" if found[0] == r"\'" else r"\"", token[1:-1]) + '"'
    try:
        text = str(json.loads(token, strict=False))
    except ValueError:
        return Unreadable(f"is no text: {token[:40]}")
    if _HALF.search(text):
        return Unreadable("is a text with a character that is none")
    return text


def _bare(token: str) -> Any:
    word = token.lower()
    if word in _WORDS:
        return _WORDS[word]
    if word.lstrip("+-") in _NOT_FINITE:
        return Unreadable(f"is {token}, which is not a finite number")
    if not _NUMBER.fullmatch(token):
        return Unreadable(f"is {token[:40]!r}, which is no JSON value")
    if len(token) <= 20 and token.lstrip("+-").isdigit():
        return int(token)
    number = float(token)
    if not math.isfinite(number):
        return Unreadable(f"is {token[:40]}, which is not a finite number")
    return number
