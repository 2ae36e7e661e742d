"""Payloads: what stands in them, as values of the declared type and as qualities."""

from __future__ import annotations

import base64
import binascii
import codecs
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from edgeflow.model import BAD, GOOD, UNCERTAIN, Quality, Scalar, ValueType
from edgeflow_mqtt import lenient
from edgeflow_mqtt.path import Steps, find, same, shown_path, steps
from edgeflow_mqtt.point import WIDTHS, Encoding, Kind, Point

LARGEST = 4 * 1024 * 1024
"""A larger payload (bytes) is not looked into."""
_MOST_VALUES = 100_000
"""JSON of more values than this takes so long that everything else would wait for it."""

_TRUE, _FALSE = frozenset({"true", "on", "yes", "1"}), frozenset({"false", "off", "no", "0"})
_TOO_LARGE = 2**64
_MARKS = frozenset((codecs.BOM_UTF8[0], *codecs.BOM_UTF16_LE))
_SPACES = "[\u0020\u00a0\u202f'\u2019]"
_EXPONENT = r"([eE][+-]?\d+)?"
_COMMA = re.compile(rf"([+-]?(?:\d{{1,3}}(?:(?:\.|{_SPACES})\d{{3}})+|\d*))(,\d+)?{_EXPONENT}")
_POINT = re.compile(rf"([+-]?(?:\d{{1,3}}(?:{_SPACES}\d{{3}})+|\d{{1,3}}(?:,\d{{3}})+(?=\.)|\d*))(\.\d*)?{_EXPONENT}")
_GROUPS = re.compile(rf"\.|,|{_SPACES}")
_SUFFIX = re.compile(r"([+-]?(?:[\d.,' \u00a0\u202f\u2019]*\d)(?:[eE][+-]?\d+)?)\s*([^\d\s.,+'-].{0,19})", re.DOTALL)
_CODES = {
    "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
    "float32": "f", "float64": "d",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a number is written in a text: with a decimal comma or point, and what stands behind it with its factor."""

    comma: bool = False
    suffixes: Mapping[str, float] = field(default_factory=dict)


_PLAIN = Spelling()


def spelling_of(point: Point) -> Spelling:
    """How a point's numbers are written."""
    plainly = point.decimal == "point" and not point.suffix
    return _PLAIN if plainly else Spelling(point.decimal == "comma", point.suffix)


def parse(payload: bytes) -> Any:
    """A JSON payload; ValueError says that it is none. What cannot be read in it is Unreadable, in its place."""
    if len(payload) > LARGEST:
        raise ValueError(f"the payload of {len(payload)} bytes is too large")
    if len(payload) > _MOST_VALUES and sum(map(payload.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise ValueError(f"the payload of {len(payload)} bytes holds more than {_MOST_VALUES} values")
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        try:
            return lenient.read(_decoded(payload, "surrogateescape"))
        except ValueError:
            raise ValueError(f"the payload {shown(payload)} is not JSON") from None


def within(text: str) -> Any:
    """The JSON in a text of a payload; ValueError says that it is none."""
    return parse(text.encode(errors="surrogatepass"))


def text_of(payload: bytes) -> str:
    """A whole payload as text, without a byte order mark and what ends a text in C; ValueError says why it is none."""
    if not payload:
        raise ValueError("the payload is empty")
    try:
        if payload[0] in _MARKS or b"\0" in payload:
            return _decoded(payload, "strict").rstrip("\0")
        return payload.decode()
    except UnicodeDecodeError:
        raise ValueError(f"the payload {shown(payload)} is not text") from None


def _decoded(payload: bytes, errors: str) -> str:
    """UTF-8, or UTF-16 where the payload begins with its mark or as JSON would."""
    if payload.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return payload.decode("utf-16", errors)
    if payload.startswith(codecs.BOM_UTF8):
        return payload[3:].decode("utf-8", errors)
    if payload[:2] in (b"{\0", b"[\0"):
        return payload.decode("utf-16-le", errors)
    if payload[:2] in (b"\0{", b"\0["):
        return payload.decode("utf-16-be", errors)
    return payload.decode("utf-8", errors)


def plain(payload: bytes, kind: ValueType, spelling: Spelling = _PLAIN) -> Scalar:
    """A whole payload as a value of the declared type; ValueError says why it is none."""
    return payload if kind == "bytes" else to_scalar(text_of(payload), kind, spelling)


def to_scalar(value: Any, kind: ValueType, spelling: Spelling = _PLAIN) -> Scalar:
    """A text or a JSON value in the declared type; ValueError says why it does not fit.

    Numbers and booleans are also taken from text, because many devices quote them.
    """
    if kind == "text" and isinstance(value, str):
        return value
    if isinstance(value, str):
        return _from_text(value.strip(), kind, spelling)
    if kind == "boolean" and (isinstance(value, bool) or value in (0, 1)):
        return bool(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number")
        if abs(value) >= _TOO_LARGE and (isinstance(value, int) or kind == "integer"):
            raise ValueError(f"{shown(value)} is larger than 64 bits")
        if kind == "number":
            return value
        if kind == "integer" and value == int(value):
            return int(value)
    raise ValueError(f"{shown(value)} is not {called(kind)}")


def _from_text(text: str, kind: ValueType, spelling: Spelling) -> Scalar:
    hint = ""
    if kind == "boolean":
        word = text.lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
    elif kind in ("number", "integer") and "_" not in text:
        if spelling is _PLAIN:
            try:
                number: float = float(text) if "." in text else int(text)
            except ValueError:
                pass
            else:
                return to_scalar(number, kind)
        written, factor, hint = _without_suffix(text, spelling)
        digits = (_COMMA if spelling.comma else _POINT).fullmatch(written)
        if digits is not None:
            written = _GROUPS.sub("", digits[1]) + (digits[2] or "").replace(",", ".") + (digits[3] or "")
        elif spelling.comma:
            raise ValueError(f"{shown(text)} is not {called(kind)} with a decimal comma{hint}")
        elif _COMMA.fullmatch(written):
            hint = "; is that a decimal comma? Write `decimal: comma`"
        try:
            number = int(written)
        except ValueError:
            try:
                number = float(written)
            except ValueError:
                raise ValueError(f"{shown(text)} is not {called(kind)}{hint}") from None
        return to_scalar(number if factor == 1 else number * factor, kind)
    raise ValueError(f"{shown(text)} is not {called(kind)}{hint}")


def _without_suffix(text: str, spelling: Spelling) -> tuple[str, float, str]:
    """The number in a text as it is written, the factor of what stands behind it, and what to write where it is new."""
    match = _SUFFIX.fullmatch(text)
    known = " or ".join(f"`{one}`" for one in spelling.suffixes)
    if match is None:
        if len(set(spelling.suffixes.values())) > 1:
            raise ValueError(f"{shown(text)} says nothing of its unit; behind it may stand {known}")
        return text, 1, ""
    written, behind = match[1].strip(), match[2]
    if (factor := spelling.suffixes.get(behind)) is not None:
        return written, factor, ""
    return text, 1, f"; behind it may stand {known}" if known else f"; write `suffix: {shown(behind)[1:-1]}`"


# --- bytes --------------------------------------------------------------------------------------------


def unwrap(text: Any, encoding: Encoding) -> bytes:
    """Bytes that are written as text; ValueError says that they are not."""
    try:
        if encoding == "hex":
            return bytes.fromhex(text.replace(":", " ").replace("-", " "))
        return base64.b64decode(text.replace("-", "+").replace("_", "/").rstrip("=\r\n ") + "==")
    except (AttributeError, ValueError, binascii.Error):
        raise ValueError(f"{shown(text)} is not {encoding}") from None


def from_bytes(payload: bytes, span: tuple[int, int], kind: Kind, *, little: bool, bit: int | None) -> Scalar:
    """The value that some bytes of a binary payload hold; ValueError says why there is none."""
    first, last = span
    if last >= len(payload):
        raise ValueError(f"the payload has {len(payload)} bytes and no byte {last}")
    part = payload[first : last + 1]
    if kind in WIDTHS:
        (value,) = struct.unpack(("<" if little else ">") + _CODES[kind], part)
        return to_scalar(value, "number" if kind.startswith("float") else "integer")
    if kind == "bytes":
        return part
    if kind == "text":
        return text_of(part.rstrip(b"\0") or b" ").rstrip()
    whole = int.from_bytes(part, "little" if little else "big")
    if kind == "boolean":
        return bool(whole >> bit & 1) if bit is not None else whole != 0
    return whole


# --- qualities ---------------------------------------------------------------------------------------


def judged(document: Any, path: Steps, good: Any, uncertain: Any) -> tuple[Quality, str]:
    """The quality that the device itself gives, and why it is not GOOD."""
    try:
        found = find(document, path, within)
    except ValueError as error:
        return BAD, str(error)
    if any(same(found, word) for word in good):
        return GOOD, ""
    quality = UNCERTAIN if any(same(found, word) for word in uncertain) else BAD
    return quality, f"the device says: {shown_path(path)} is {shown(found)}"


# --- for people ---------------------------------------------------------------------------------------


def called(kind: ValueType) -> str:
    """A type in words."""
    return {"integer": "a whole number", "number": "a number", "boolean": "true or false"}.get(kind, kind)


def path_steps(path: str | None) -> Steps | None:
    """The steps of a path, where there is one."""
    return None if path is None else steps(path)


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    if isinstance(value, bytes):
        value = value[:200].decode(errors="backslashreplace")
    text = repr(value[:200] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "..."
