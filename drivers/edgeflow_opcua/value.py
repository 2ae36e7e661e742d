"""Values between OPC UA and EdgeFlow: types, quality, time stamps."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from asyncua import ua

from edgeflow.errors import Rejected
from edgeflow.model import BAD, UNCERTAIN, Quality, Scalar, ValueType
from edgeflow.units import NS_PER_S

Fault = tuple[Quality, str]

_UNIX = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_V = ua.VariantType
_INTEGERS = {
    _V.SByte: (-(2**7), 2**7 - 1), _V.Byte: (0, 2**8 - 1),
    _V.Int16: (-(2**15), 2**15 - 1), _V.UInt16: (0, 2**16 - 1),
    _V.Int32: (-(2**31), 2**31 - 1), _V.UInt32: (0, 2**32 - 1),
    _V.Int64: (-(2**63), 2**63 - 1), _V.UInt64: (0, 2**64 - 1),
}  # fmt: skip
_KINDS: dict[ua.VariantType, ValueType] = {
    **dict.fromkeys(_INTEGERS, "integer"), _V.Boolean: "boolean", _V.Float: "number", _V.Double: "number",
    _V.String: "text", _V.LocalizedText: "text", _V.Guid: "text", _V.DateTime: "text", _V.ByteString: "bytes",
}  # fmt: skip
_OVERFLOW = 0x0480  # the information bits of a data value, and of them "overflow" (OPC 10000-4, clause 7.39.1)
_LAST_NS = 7_000 * 365 * 86_400 * NS_PER_S
_FLOAT32_MAX = (2 - 2**-23) * 2.0**127


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_FROM_TEXT: dict[ua.VariantType, Callable[[str], Any]] = {
    _V.String: str, _V.LocalizedText: ua.LocalizedText, _V.DateTime: _moment, _V.Guid: uuid.UUID,
}  # fmt: skip


def status_name(code: int) -> str:
    """The standard's name of a status code, without its information bits."""
    return str(ua.StatusCode(ua.UInt32(code & 0xFFFF0000)).name)


def judged(code: int) -> Fault | None:
    """What a status code says of a value: None for a good one."""
    severity = code >> 30
    if severity >= 2:
        return BAD, status_name(code)
    if code & _OVERFLOW == _OVERFLOW:
        return UNCERTAIN, "values before it were lost: the server's queue was full"
    return (UNCERTAIN, status_name(code)) if severity else None


def to_scalar(value: Any, kind: ValueType) -> Scalar:
    """A decoded OPC UA value in the declared type; ValueError says what it is instead."""
    shown = _SHOWN[kind](value)
    if shown is None:
        raise ValueError(_misfit(value, kind))
    return shown


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if not math.isfinite(value):
        raise ValueError(f"the server gives {value}, which is no number")
    return value


def _integer(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, ua.StatusCode):
        return int(value.value)
    return int(value) if isinstance(value, float) and value.is_integer() else None


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _bytes(value: Any) -> bytes | None:
    return bytes(value) if isinstance(value, bytes) else None


def _text(value: Any) -> str | None:
    if isinstance(value, dict | list):
        return json_text(value)
    plain = _json(value) if value is not None and not isinstance(value, bool | int | float | bytes) else None
    return plain if isinstance(plain, str) else None


def json_text(value: Any) -> str:
    """A value of dicts, lists and OPC UA values as JSON; times are ISO 8601, bytes hexadecimal."""
    return orjson.dumps(
        value, default=_json, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
    ).decode()


def _json(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, ua.LocalizedText):
        return value.Text or ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat() if value.tzinfo else f"{value.isoformat()}+00:00"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, ua.StatusCode):
        return status_name(int(value.value))
    if isinstance(value, ua.NodeId | ua.QualifiedName):
        return value.to_string()
    return str(value)


_SHOWN: dict[ValueType, Callable[[Any], Scalar]] = {
    "number": _number, "integer": _integer, "boolean": _boolean, "bytes": _bytes, "text": _text,
}  # fmt: skip


def _misfit(value: Any, kind: ValueType) -> str:
    if value is None:
        return "the server gives no value"
    if isinstance(value, list | tuple):
        return (
            f"the server gives an array of {len(value)}, not one {kind}; say `index` for an element, "
            "or `type: text` for all as JSON"
        )
    if isinstance(value, dict):
        some = ", ".join(list(value)[:8])
        return (
            f"the server gives a structure, not one {kind}; say `field`, one of {some}, or `type: text` for all as JSON"
        )
    text = repr(value)
    return f"the server gives {text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__}), not {kind}"


def time_ns(moment: datetime | None) -> int:
    """UTC nanoseconds of a server's time stamp; 0 where it gives none."""
    if moment is None or moment.year < 1970 or moment.year > 9000:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _UNIX) // _MICROSECOND * 1000


EPOCHS = {"s": NS_PER_S, "ms": NS_PER_S // 10**3, "us": NS_PER_S // 10**6, "ns": 1}
"""Nanoseconds in the units in which a time can be told."""


def to_epoch(value: Any, unit: str, kind: ValueType) -> int | float:
    """A time as how many of the unit have passed since 1970; whole ones as an integer. ValueError where it is none."""
    if isinstance(value, datetime) and not (ns := time_ns(value)):
        raise ValueError(f"the server gives no time ({value.isoformat()})")
    if not isinstance(value, datetime):
        raise ValueError(f"the server gives {value!r}, which is no time; leave `epoch` out")
    return ns // EPOCHS[unit] if kind == "integer" else ns / EPOCHS[unit]


def from_epoch(value: Scalar, unit: str) -> str:
    """The time that was written as a number, as ISO 8601; Rejected where it is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        us = value * EPOCHS[unit] // 1000 if isinstance(value, int) else round(value * EPOCHS[unit] / 1000)
        if 0 < us < _LAST_NS // 1000:
            return iso(1000 * us)
    raise Rejected(f"{value!r} is no time in {unit} since 1970")


def value_type(kind: ua.VariantType) -> ValueType | None:
    """The declared type that fits a node of this variant type; None for what is no scalar."""
    return _KINDS.get(kind)


def as_variant(value: Any, kind: int, *, many: bool = False) -> ua.Variant:
    """A value, or the elements of an array, as the built-in type of this number.

    Raises Rejected where that would change it. What is written has no time stamps and no status, because many servers
    refuse a write that carries them.
    """
    if kind in (0, _V.ExtensionObject.value):
        raise Rejected("it is a structure, which cannot be written")
    of = _V(kind) if kind != _V.Variant.value else _own_kind(value)
    if not many:
        return ua.Variant(_as(value, of), of)
    if not isinstance(value, list):
        raise Rejected("it is an array; write a text with a JSON array, or say `index` for one element")
    flat, dimensions = _flat(value)
    shape = [ua.Int32(size) for size in dimensions] if len(dimensions) > 1 else None
    elements = [_as(bytes.fromhex(one) if of is _V.ByteString and isinstance(one, str) else one, of) for one in flat]
    return ua.Variant(elements, of, shape, is_array=True)


def _flat(value: list[Any]) -> tuple[list[Any], list[int]]:
    if not value or not all(isinstance(one, list) for one in value):
        return value, [len(value)]
    inner = [_flat(one) for one in value]
    if any(dimensions != inner[0][1] for _, dimensions in inner):
        raise Rejected("its rows are not of the same length")
    return [one for flat, _ in inner for one in flat], [len(value), *inner[0][1]]


def _own_kind(value: Any) -> ua.VariantType:
    """For a node that takes any type."""
    kinds = {bool: _V.Boolean, int: _V.Int64, float: _V.Double, str: _V.String, bytes: _V.ByteString}
    return kinds.get(type(value), _V.String)


def from_json(text: str) -> Any:
    """What a JSON text holds; None where it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def iso(ns: int) -> str:
    """UTC nanoseconds as ISO 8601."""
    return (_UNIX + timedelta(microseconds=ns // 1000)).isoformat()


def _as(value: Scalar, kind: ua.VariantType) -> Any:
    if kind in _INTEGERS:
        low, high = _INTEGERS[kind]
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
            if low <= value <= high:
                return int(value)
            raise Rejected(f"{value!r} is outside {low} to {high} ({kind.name})")
    elif kind in (_V.Float, _V.Double):
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            if kind is _V.Float and abs(value) > _FLOAT32_MAX:
                raise Rejected(f"{value!r} is too large for Float")
            return float(value)
    elif (kind is _V.Boolean and isinstance(value, bool)) or (kind is _V.ByteString and isinstance(value, bytes)):
        return value
    elif isinstance(value, str) and kind in _FROM_TEXT:
        try:
            return _FROM_TEXT[kind](value)
        except ValueError:
            pass
    raise Rejected(f"{value!r} cannot be written to a node of type {kind.name}")
