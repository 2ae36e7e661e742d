"""Payloads: finding and converting values and times, and making the payload that sets a value."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from edgeflow.errors import Rejected
from edgeflow.model import Scalar, ValueType
from edgeflow.units import NS_PER_S
from edgeflow_mqtt.settings import Point, TimeForm, steps

_TRUE, _FALSE = frozenset({"true", "on", "yes", "1"}), frozenset({"false", "off", "no", "0"})
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TOO_LARGE = 2**64
_YEAR_2000_NS, _YEAR_2100_NS = 946_684_800 * NS_PER_S, 4_102_444_800 * NS_PER_S


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
            raise Missing(f"the payload has no `{_shown_path(path[: depth + 1])}`")
        place = place[step]
    return place


def parse(payload: bytes) -> Any:
    """A JSON payload; ValueError says that it is none."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise ValueError(f"the payload {_shown(payload)} is not JSON") from None


def plain(payload: bytes, kind: ValueType) -> Scalar:
    """A whole payload as a value of the declared type; ValueError says why it is none."""
    if kind == "bytes":
        return payload
    if not payload:
        raise ValueError("the payload is empty")
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise ValueError(f"the payload {_shown(payload)} is not UTF-8 text") from None
    return to_scalar(text, kind)


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
        if abs(value) >= _TOO_LARGE and isinstance(value, int):
            raise ValueError(f"{_shown(value)} is larger than 64 bits")
        if kind == "number":
            return value
        if kind == "integer" and value == int(value):
            return int(value)
    raise ValueError(f"{_shown(value)} is not {_called(kind)}")


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
    raise ValueError(f"{_shown(text)} is not {_called(kind)}")


def time_ns(value: Any, form: TimeForm) -> int:
    """A device's time as UTC nanoseconds; ValueError says how it ought to be written."""
    if form == "rfc3339":
        ns = _from_rfc3339(value)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"the time {_shown(value)} is not a number of {form}")
    else:
        per_s = 1 if form == "s" else 1000
        within = _YEAR_2000_NS <= value / per_s * NS_PER_S < _YEAR_2100_NS
        ns = round(value * (1_000_000 // per_s)) * 1000 if within else 0
    if not _YEAR_2000_NS <= ns < _YEAR_2100_NS:
        raise ValueError(f"the time {_shown(value)} is not within 2000 and 2100; is it really written as {form}?")
    return ns


def _from_rfc3339(value: Any) -> int:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"the time {_shown(value)} is not RFC 3339, like 2026-11-20T06:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"the time {_shown(value)} has no UTC offset, like the Z in 2026-11-20T06:00:00Z")
    return (moment - _UNIX) // _MICROSECOND * 1000


def to_set(point: Point, value: Scalar) -> bytes:
    """The payload that sets a point; raises Rejected where the value is not of the point's type."""
    try:
        fitting = value if point.type == "bytes" and isinstance(value, bytes) else _typed(value, point.type)
    except ValueError as error:
        raise Rejected(f"{point.set}: {error}") from None
    if point.set_path is not None:
        document: Any = fitting
        for key in reversed(steps(point.set_path)):
            document = {key: document}
        return orjson.dumps(document)
    if isinstance(fitting, bytes):
        return fitting
    return fitting.encode() if isinstance(fitting, str) else orjson.dumps(fitting)


def _typed(value: Scalar, kind: ValueType) -> Scalar:
    if isinstance(value, str) != (kind == "text") or isinstance(value, bool) != (kind == "boolean"):
        raise ValueError(f"{_shown(value)} is not {_called(kind)}")
    return to_scalar(value, kind)


def _called(kind: ValueType) -> str:
    return {"integer": "a whole number", "number": "a number", "boolean": "true or false"}.get(kind, kind)


def _shown_path(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode(errors="backslashreplace")
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
