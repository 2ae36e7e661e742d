"""Payloads: finding and converting values, times and qualities."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from edgeflow.model import BAD, GOOD, UNCERTAIN, Quality, Scalar, ValueType
from edgeflow.units import NS_PER_S
from edgeflow_mqtt.point import WIDTHS, Encoding, Kind, TimeForm, steps

LARGEST = 4 * 1024 * 1024
"""A larger payload (bytes) is not looked into."""
_MOST_VALUES = 100_000
"""JSON of more values than this takes so long that everything else would wait for it."""

_TRUE, _FALSE = frozenset({"true", "on", "yes", "1"}), frozenset({"false", "off", "no", "0"})
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TOO_LARGE = 2**64
_YEAR_2000_NS, _YEAR_2100_NS = 946_684_800 * NS_PER_S, 4_102_444_800 * NS_PER_S
_PER_S = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": NS_PER_S}
_CODES = {
    "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
    "float32": "f", "float64": "d",
}  # fmt: skip


class Missing(ValueError):
    """A payload does not hold what a path leads to."""


def find(document: Any, path: tuple[str | int, ...]) -> Any:
    """What stands at a path; raises Missing, which says what is not there."""
    place = document
    for depth, step in enumerate(path):
        fits = isinstance(place, dict) and step in place
        if isinstance(step, int):
            fits = isinstance(place, list) and step < len(place)
        if not fits:
            raise Missing(f"the payload has no `{shown_path(path[: depth + 1])}`")
        place = place[step]
    return place


def parse(payload: bytes) -> Any:
    """A JSON payload; ValueError says that it is none."""
    if len(payload) > LARGEST:
        raise ValueError(f"the payload of {len(payload)} bytes is too large")
    if len(payload) > _MOST_VALUES and sum(map(payload.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise ValueError(f"the payload of {len(payload)} bytes holds more than {_MOST_VALUES} values")
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise ValueError(f"the payload {shown(payload)} is not JSON") from None


def text_of(payload: bytes) -> str:
    """A whole payload as text; ValueError says why it is none."""
    if not payload:
        raise ValueError("the payload is empty")
    if len(payload) > LARGEST:
        raise ValueError(f"the payload of {len(payload)} bytes is too large")
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise ValueError(f"the payload {shown(payload)} is not UTF-8 text") from None


def plain(payload: bytes, kind: ValueType) -> Scalar:
    """A whole payload as a value of the declared type; ValueError says why it is none."""
    return payload if kind == "bytes" else to_scalar(text_of(payload), kind)


def to_scalar(value: Any, kind: ValueType) -> Scalar:
    """A text or a JSON value in the declared type; ValueError says why it does not fit.

    Numbers and booleans are also taken from text, because many devices quote them.
    """
    if kind == "text" and isinstance(value, str):
        return value
    if isinstance(value, str):
        return _from_text(value.strip(), kind)
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


def _from_text(text: str, kind: ValueType) -> Scalar:
    if kind == "boolean":
        word = text.lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
    elif kind in ("number", "integer") and "_" not in text:
        try:
            return to_scalar(int(text), kind)
        except ValueError:
            pass
        try:
            number = float(text)
        except ValueError:
            pass
        else:
            return to_scalar(number, kind)
    raise ValueError(f"{shown(text)} is not {called(kind)}")


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


# --- times and qualities ------------------------------------------------------------------------------


def time_ns(value: Any, form: TimeForm, zone: ZoneInfo | None = None) -> int:
    """A device's time as UTC nanoseconds; ValueError says how it ought to be written.

    `zone` is that of times without a UTC offset.
    """
    if form == "rfc3339":
        ns = _from_rfc3339(value, zone)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"the time {shown(value)} is not a number of {form}")
    else:
        per_s = _PER_S[form]
        ns = 0
        if _YEAR_2000_NS <= value / per_s * NS_PER_S < _YEAR_2100_NS:  # a float holds no nanoseconds of our time
            whole = isinstance(value, int)
            ns = int(value) * (NS_PER_S // per_s) if whole else round(value * 1_000_000 / per_s) * 1000
    if not _YEAR_2000_NS <= ns < _YEAR_2100_NS:
        raise ValueError(f"the time {shown(value)} is not within 2000 and 2100; is it really written as {form}?")
    return ns


def _from_rfc3339(value: Any, zone: ZoneInfo | None) -> int:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"the time {shown(value)} is not RFC 3339, like 2026-11-20T06:00:00Z") from None
    if moment.tzinfo is None:
        if zone is None:
            raise ValueError(
                f"the time {shown(value)} has no UTC offset, like the Z in 2026-11-20T06:00:00Z; give `time_zone`"
            )
        first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
        if first.utcoffset() != second.utcoffset():
            raise ValueError(f"the time {shown(value)} is in the hour of a clock change and could be another")
        moment = first
    return (moment - _UNIX) // _MICROSECOND * 1000


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


def judged(document: Any, path: tuple[str | int, ...], good: Any, uncertain: Any) -> tuple[Quality, str]:
    """The quality that the device itself gives, and why it is not GOOD."""
    try:
        found = find(document, path)
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


def path_steps(path: str | None) -> tuple[str | int, ...] | None:
    """The steps of a path, where there is one."""
    return None if path is None else steps(path)


def shown_path(path: tuple[str | int, ...]) -> str:
    """Steps as a person writes them."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    if isinstance(value, bytes):
        value = value[:200].decode(errors="backslashreplace")
    text = repr(value[:200] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "..."
