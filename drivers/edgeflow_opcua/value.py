"""Values between OPC UA and EdgeFlow: types, quality, time stamps."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncua import ua

from edgeflow.errors import Rejected
from edgeflow.model import BAD, UNCERTAIN, Quality, Scalar, ValueType

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
_FLOAT32_MAX = (2 - 2**-23) * 2.0**127


def status_name(code: int) -> str:
    """The standard's name of a status code, without its information bits."""
    return str(ua.StatusCode(ua.UInt32(code & 0xFFFF0000)).name)


def decode(data: ua.DataValue, kind: ValueType) -> tuple[Scalar, Fault | None]:
    """A value as the server gave it, in the declared type; a fault carries the status name or what does not fit."""
    code = 0 if data.StatusCode is None else int(data.StatusCode.value)
    value = None if data.Value is None else data.Value.Value
    severity = code >> 30
    if severity >= 2:
        return None, (BAD, status_name(code))
    try:
        scalar = to_scalar(value, kind)
    except ValueError as error:
        return None, (BAD, str(error))
    return scalar, (UNCERTAIN, status_name(code)) if severity else None


def to_scalar(value: Any, kind: ValueType) -> Scalar:
    """A decoded OPC UA value in the declared type; ValueError says what it is instead."""
    if kind == "number":
        if isinstance(value, int | float) and not isinstance(value, bool):
            if math.isfinite(value):
                return value
            raise ValueError(f"the server gives {value}, which is no number")
    elif kind == "integer":
        if isinstance(value, int) and not isinstance(value, bool):
            return int(value)
        if isinstance(value, float) and value.is_integer():
            return int(value)
    elif kind == "boolean":
        if isinstance(value, bool):
            return value
    elif kind == "bytes":
        if isinstance(value, bytes):
            return bytes(value)
    elif (text := _text(value)) is not None:
        return text
    raise ValueError(_misfit(value, kind))


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, ua.LocalizedText):
        return value.Text or ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat() if value.tzinfo else f"{value.isoformat()}+00:00"
    return str(value) if type(value).__name__ in ("UUID", "Guid") else None


def _misfit(value: Any, kind: ValueType) -> str:
    if value is None:
        return "the server gives no value"
    if isinstance(value, list | tuple):
        return f"the server gives an array of {len(value)}, not one {kind}"
    text = repr(value)
    return f"the server gives {text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__}), not {kind}"


def time_ns(moment: datetime | None) -> int:
    """UTC nanoseconds of a server's time stamp; 0 where it gives none."""
    if moment is None or moment.year < 1970 or moment.year > 9000:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _UNIX) // _MICROSECOND * 1000


def source_ns(data: ua.DataValue) -> int:
    """The time that a value speaks of: the source's, else the server's, else 0."""
    return time_ns(data.SourceTimestamp) or time_ns(data.ServerTimestamp)


def variant_type(current: ua.DataValue, data_type: ua.DataValue) -> ua.VariantType | None:
    """The type in which a node takes a value: that of the value it holds, else its declared one.

    The held value comes first, because a declared type may be an enumeration or a vendor's subtype.
    None where neither tells, or where the node holds an array.
    """
    held = current.Value
    if held is not None and isinstance(held.VariantType, _V) and held.VariantType is not _V.Null:
        return None if held.is_array else held.VariantType
    node = None if data_type.Value is None else data_type.Value.Value
    if isinstance(node, ua.NodeId) and node.NamespaceIndex == 0 and isinstance(node.Identifier, int):
        return next((kind for kind in _V if kind.value == node.Identifier and kind in _KINDS), None)
    return None


def value_type(kind: ua.VariantType) -> ValueType | None:
    """The declared type that fits a node of this variant type; None for what is no scalar."""
    return _KINDS.get(kind)


def encode(value: Scalar, kind: ua.VariantType) -> ua.DataValue:
    """A value in the node's own type; raises Rejected where that would change it.

    Without time stamps and status, because many servers refuse a write that carries them.
    """
    return ua.DataValue(ua.Variant(_as(value, kind), kind), None)


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
    elif isinstance(value, str) and kind in (_V.String, _V.LocalizedText):
        return value if kind is _V.String else ua.LocalizedText(value)
    raise Rejected(f"{value!r} cannot be written to a node of type {kind.name}")
