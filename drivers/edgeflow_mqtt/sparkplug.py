"""Sparkplug B payloads: what a message says, metric by metric, and the payload of a command.

Source: Eclipse Sparkplug 3.0.0, chapter 6.4 (fields, data types and how they are stored).
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from edgeflow.model import BAD, GOOD, UNCERTAIN, Quality, Scalar, ValueType
from edgeflow_mqtt.path import Steps, find
from edgeflow_mqtt.payload import LARGEST, called, shown, to_scalar, within
from edgeflow_mqtt.protobuf import Broken, Budget, Field, Fields, read, write

_FIELDS_PER_PAYLOAD = 150_000
_LONGEST_ARRAY = 50_000
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS = 253_402_300_799_999  # the end of the year 9999
_YEAR_2000_MS, _YEAR_2100_MS = 946_684_800_000, 4_102_444_800_000

INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64 = range(1, 9)
FLOAT, DOUBLE, BOOLEAN, STRING, DATETIME, TEXT, UUID, DATASET, BYTES, FILE, TEMPLATE = range(9, 20)
TYPES = {
    1: "Int8", 2: "Int16", 3: "Int32", 4: "Int64", 5: "UInt8", 6: "UInt16", 7: "UInt32", 8: "UInt64", 9: "Float",
    10: "Double", 11: "Boolean", 12: "String", 13: "DateTime", 14: "Text", 15: "UUID", 16: "DataSet", 17: "Bytes",
    18: "File", 19: "Template", 22: "Int8Array", 23: "Int16Array", 24: "Int32Array", 25: "Int64Array",
    26: "UInt8Array", 27: "UInt16Array", 28: "UInt32Array", 29: "UInt64Array", 30: "FloatArray", 31: "DoubleArray",
    32: "BooleanArray", 33: "StringArray", 34: "DateTimeArray",
}  # fmt: skip
_BITS = {INT8: 8, INT16: 16, INT32: 32, INT64: 64, UINT8: 8, UINT16: 16, UINT32: 32, UINT64: 64}
_SIGNED = frozenset((INT8, INT16, INT32, INT64))
_ARRAYS = {22: "b", 23: "h", 24: "i", 25: "q", 26: "B", 27: "H", 28: "I", 29: "Q", 30: "f", 31: "d", 34: "q"}
_BOOLEAN_ARRAY, _STRING_ARRAY = 32, 33
GOOD_CODE, STALE_CODE = 192, 500
_COMPRESSED = "SPBV1.0_COMPRESSED"
_WORDS = (STRING, TEXT, UUID)
_STORED_AS: dict[int, tuple[type, ...]] = {
    **dict.fromkeys((*_BITS, DATETIME), (int,)),
    **dict.fromkeys((FLOAT, DOUBLE), (float,)),
    **dict.fromkeys(_WORDS, (str,)),
    **dict.fromkeys((BYTES, FILE, *range(22, 35)), (bytes,)),
    **dict.fromkeys((DATASET, TEMPLATE), (dict,)),
    BOOLEAN: (bool, int),
}
_LARGEST_FLOAT = 3.4028234663852886e38
_LONG = 11
_PLACES: dict[int, tuple[int, str]] = {
    **dict.fromkeys((INT8, INT16, INT32, UINT8, UINT16), (10, "uint")),
    **dict.fromkeys((INT64, UINT32, UINT64, DATETIME), (_LONG, "uint")),
    FLOAT: (12, "float"), DOUBLE: (13, "double"), BOOLEAN: (14, "bool"),
    **dict.fromkeys(_WORDS, (15, "text")), **dict.fromkeys((BYTES, FILE), (16, "bytes")),
}  # fmt: skip
"""The field of a metric that each data type is stored in, as the reference implementation does."""


# --- the fields, by their numbers in the published schema ---------------------------------------------


def _values(first: int) -> dict[int, Field]:
    kinds = ("uint", "uint", "float", "double", "bool", "text")
    names = ("int", "long", "float", "double", "boolean", "string")
    return {first + i: Field(name, kind) for i, (name, kind) in enumerate(zip(names, kinds, strict=True))}  # type: ignore[arg-type]  # the kinds are right above


def _template() -> Fields:
    return _TEMPLATE


_DATASET_VALUE: Fields = _values(1)
_ROW: Fields = {1: Field("elements", "message", lambda: _DATASET_VALUE, many=True)}
_DATASET: Fields = {
    1: Field("num_of_columns", "uint"),
    2: Field("columns", "text", many=True),
    3: Field("types", "uint", many=True),
    4: Field("rows", "message", lambda: _ROW, many=True),
}
_PROPERTY: Fields = {1: Field("type", "uint"), 2: Field("is_null", "bool"), **_values(3)}
_PROPERTIES: Fields = {
    1: Field("keys", "text", many=True),
    2: Field("values", "message", lambda: _PROPERTY, many=True),
}
_METRIC: Fields = {
    1: Field("name", "text"),
    2: Field("alias", "uint"),
    3: Field("timestamp", "uint"),
    4: Field("datatype", "uint"),
    5: Field("is_historical", "bool"),
    6: Field("is_transient", "bool"),
    7: Field("is_null", "bool"),
    9: Field("properties", "message", lambda: _PROPERTIES),
    **_values(10),
    16: Field("bytes", "bytes"),
    17: Field("dataset", "message", lambda: _DATASET),
    18: Field("template", "message", _template),
}
_PARAMETER: Fields = {1: Field("name", "text"), 2: Field("type", "uint"), **_values(3)}
_TEMPLATE: Fields = {
    1: Field("version", "text"),
    2: Field("metrics", "message", lambda: _METRIC, many=True),
    3: Field("parameters", "message", lambda: _PARAMETER, many=True),
    4: Field("template_ref", "text"),
    5: Field("is_definition", "bool"),
}
_PAYLOAD: Fields = {
    1: Field("timestamp", "uint"),
    2: Field("metrics", "message", lambda: _METRIC, many=True),
    3: Field("seq", "uint"),
    4: Field("uuid", "text"),
    5: Field("body", "bytes"),
}
_STORED = ("int", "long", "float", "double", "boolean", "string", "bytes", "dataset", "template")


# --- reading ------------------------------------------------------------------------------------------


class _TooLong(ValueError):
    """An array with more elements than anybody reads."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a message; `at_ns`: its own UTC time or its message's, 0 for none; `stored`: as on the wire."""

    name: str | None
    alias: int | None
    at_ns: int
    datatype: int
    stored: Any
    unit: str | None = None
    historical: bool = False
    quality: int = GOOD_CODE


@dataclass(frozen=True, slots=True)
class Payload:
    """What a message says; `seq` None where it has none."""

    at_ns: int
    seq: int | None
    metrics: tuple[Metric, ...]


def decode(data: bytes) -> Payload:
    """A payload of Sparkplug B; raises Broken, which says why it is none."""
    if len(data) > LARGEST:
        raise Broken(f"of {len(data)} bytes is too large")
    budget = Budget(_FIELDS_PER_PAYLOAD)
    found = read(data, _PAYLOAD, budget)
    if found.get("uuid") == _COMPRESSED:
        found = read(_inflated(found.get("body", b"")), _PAYLOAD, budget)
    at_ns = _ns(found.get("timestamp"))
    metrics = tuple(_metric(metric, at_ns) for metric in found.get("metrics", ()))
    return Payload(at_ns, found.get("seq"), metrics)


def _inflated(body: bytes) -> bytes:
    """The payload within a compressed one, as the reference implementation has it: zlib or gzip."""
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        inflated = unpacking.decompress(body, LARGEST)
    except zlib.error as error:
        raise Broken(f"cannot be unpacked: {error}") from None
    if not unpacking.eof:
        raise Broken("is too large when it is unpacked, or not whole")
    return inflated


def _metric(found: dict[str, Any], at_ns: int) -> Metric:
    stored = None
    if not found.get("is_null"):
        stored = next((found[key] for key in _STORED if key in found), None)
    properties = found.get("properties", {})
    known: dict[str, dict[str, Any]] = dict(zip(properties.get("keys", ()), properties.get("values", ()), strict=False))
    quality = known.get("Quality", known.get("quality", {}))
    return Metric(
        found.get("name") or None,
        found.get("alias"),
        _ns(found.get("timestamp")) or at_ns,
        found.get("datatype", 0),
        stored,
        known.get("engUnit", {}).get("string"),
        bool(found.get("is_historical")),
        next((quality[key] for key in ("int", "long") if key in quality), GOOD_CODE),
    )


def judged(quality: int) -> tuple[Quality, str]:
    """What the property Quality says (Sparkplug 3.0.0: 0 BAD, 192 GOOD, 500 STALE); others as OPC has them."""
    if GOOD_CODE <= quality < 256:
        return GOOD, ""
    if quality == STALE_CODE:
        return UNCERTAIN, "the device says: stale (Quality 500)"
    return (UNCERTAIN if 64 <= quality < 128 else BAD), f"the device says: Quality {quality}"


def merged(known: Metric, new: Metric) -> Metric:
    """A template of which only the members came that have changed, with those that were known before."""
    if not (isinstance(known.stored, dict) and isinstance(new.stored, dict) and new.datatype == TEMPLATE):
        return new
    before, now = dict[str, Any](known.stored), dict[str, Any](new.stored)
    members = {member.get("name"): member for one in (before, now) for member in one.get("metrics", ())}
    return replace(new, stored=before | now | {"metrics": list(members.values())})


def _ns(ms: int | None) -> int:
    return ms * 1_000_000 if ms is not None and _YEAR_2000_MS <= ms < _YEAR_2100_MS else 0


def value_type(datatype: int) -> ValueType:
    """The type of tag that suits a data type."""
    if datatype in _BITS:
        return "integer"
    if datatype in (FLOAT, DOUBLE):
        return "number"
    if datatype == BOOLEAN:
        return "boolean"
    return "bytes" if datatype in (BYTES, FILE) else "text"


def scalar(stored: Any, datatype: int, kind: ValueType, path: Steps = ()) -> Scalar:
    """A stored value, or what stands at a path in it, in the type of its tag; ValueError says why there is none."""
    if stored is None:
        raise ValueError("the device says: no value (null)")
    if kind == "bytes" and isinstance(stored, bytes) and not path:
        return stored
    try:
        value = plain(stored, datatype)
    except _TooLong:
        raise
    except (TypeError, ValueError, AttributeError, struct.error):
        raise ValueError(f"{shown(stored)} is no {TYPES.get(datatype, f'data type {datatype}')}") from None
    if path:
        return to_scalar(find(value, path, within), kind)
    if kind == "text":
        return _as_text(value, datatype)
    if isinstance(value, dict | list | bytes):
        raise ValueError(
            f"a {TYPES.get(datatype, datatype)} is not {called(kind)}; write `type: text`, or the `path` of a part"
        )
    return to_scalar(value, kind)


def plain(stored: Any, datatype: int) -> Any:
    """A stored value as a number, text, bytes, or JSON-like where it has parts; TypeError where it is not stored so."""
    kinds = _STORED_AS.get(datatype, ())
    if not any(isinstance(stored, kind) for kind in kinds):
        raise TypeError(f"{type(stored).__name__} is not how it is stored")
    if datatype in _BITS:
        return _integer(stored, datatype)
    if datatype == BOOLEAN:
        return bool(stored)
    if datatype == DATASET:
        return _dataset(stored)
    if datatype == TEMPLATE:
        return _template_value(stored)
    if datatype in _ARRAYS:
        code = _ARRAYS[datatype]
        _check_length(len(stored) // struct.calcsize(code))
        return list(struct.unpack(f"<{len(stored) // struct.calcsize(code)}{code}", stored))
    if datatype == _STRING_ARRAY:
        _check_length(stored.count(b"\0"))
        return [part.decode() for part in stored.removesuffix(b"\0").split(b"\0")] if stored else []
    if datatype == _BOOLEAN_ARRAY:
        (count,) = struct.unpack_from("<I", stored)
        _check_length(count)
        if count > 8 * (len(stored) - 4):
            raise ValueError("there are fewer bits than it says")
        return [bool(stored[4 + i // 8] >> (7 - i % 8) & 1) for i in range(count)]
    return stored


def _check_length(count: int) -> None:
    """A bit of a boolean array becomes eight bytes: what is longer would hold up everything else."""
    if count > _LONGEST_ARRAY:
        raise _TooLong(f"an array of {count} elements is too long")


def _integer(stored: Any, datatype: int) -> int:
    bits = _BITS[datatype]
    whole = int(stored) & (1 << bits) - 1
    return whole - (1 << bits) if datatype in _SIGNED and whole >> bits - 1 else whole


def _as_text(value: Any, datatype: int) -> str:
    if isinstance(value, str):
        return value
    if datatype == DATETIME:
        if value > _LATEST_MS:
            raise ValueError(f"{value} ms after 1970 is no time")
        moment = (_UNIX + timedelta(milliseconds=value)).isoformat(timespec="milliseconds")
        return moment.replace("+00:00", "Z")
    if isinstance(value, bytes):
        raise ValueError("bytes are not text; write `type: bytes`")
    return orjson.dumps(value).decode()


def _dataset(found: dict[str, Any]) -> dict[str, Any]:
    types = found.get("types", [])
    columns = found.get("columns", [])
    rows = [
        [
            None if (stored := next(iter(element.values()), None)) is None else _json(plain(stored, datatype), datatype)
            for element, datatype in zip(row.get("elements", ()), types, strict=False)
        ]
        for row in found.get("rows", ())
    ]
    return {"columns": columns, "types": [TYPES.get(one, str(one)) for one in types], "rows": rows}


def _template_value(found: dict[str, Any]) -> dict[str, Any]:
    def one(item: dict[str, Any], datatype: int) -> Any:
        stored = next((item[key] for key in _STORED if key in item), None)
        return None if stored is None or item.get("is_null") else _json(plain(stored, datatype), datatype)

    return {
        "template": found.get("template_ref"),
        "version": found.get("version"),
        "metrics": {
            metric.get("name", str(metric.get("alias"))): one(metric, metric.get("datatype", 0))
            for metric in found.get("metrics", ())
        },
        "parameters": {
            parameter.get("name", ""): one(parameter, parameter.get("type", 0))
            for parameter in found.get("parameters", ())
        },
    }


def _json(value: Any, datatype: int) -> Any:
    if datatype == DATETIME:
        return _as_text(value, datatype)
    if isinstance(value, bytes):
        return value.hex()
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- writing ------------------------------------------------------------------------------------------


def command(name: str, datatype: int, value: Scalar, at_ns: int) -> bytes:
    """The payload that sets one metric; ValueError says why the value does not fit its data type."""
    at_ms = at_ns // 1_000_000
    metric = write(1, "text", name) + write(3, "uint", at_ms) + write(4, "uint", datatype) + _stored(datatype, value)
    return write(1, "uint", at_ms) + write(2, "message", metric)


def _stored(datatype: int, value: Scalar) -> bytes:
    if datatype not in _PLACES or not _fits(datatype, value):
        raise ValueError(f"{shown(value)} is no {TYPES.get(datatype, f'data type {datatype}')}")
    number, kind = _PLACES[datatype]
    if kind == "uint" and isinstance(value, int | float):  # two's complement, of 32 bits for the small ones
        value = int(value) & ((1 << (64 if number == _LONG else 32)) - 1)
    return write(number, kind, value)


def _fits(datatype: int, value: Scalar) -> bool:
    if isinstance(value, bool):
        return datatype == BOOLEAN
    if isinstance(value, str):
        return datatype in _WORDS
    if isinstance(value, bytes):
        return datatype in (BYTES, FILE)
    if value is None or datatype == BOOLEAN or datatype in (*_WORDS, BYTES, FILE):
        return False
    if datatype in (FLOAT, DOUBLE):
        return datatype == DOUBLE or abs(value) <= _LARGEST_FLOAT
    bits, signed = _BITS.get(datatype, 64), datatype in _SIGNED
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return value == int(value) and low <= value <= high
