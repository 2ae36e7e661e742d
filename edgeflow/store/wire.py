"""The one form of a record outside the process: JSON, in the outbox, on the wire and at the central server.

Calls that are kept have theirs here, too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from edgeflow.clock import utc_text
from edgeflow.model import Call, Record, Value

_EXACT_IN_JSON = 2**53 - 1
DEEPEST = 100
"""More levels than that are cut off: an answer from anywhere may be nested deeper than others can read it."""
_CUT = "nested too deeply"
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


class WireRecord(BaseModel):
    """A result as it travels: times are RFC 3339 in UTC, integers above 2^53 are texts.

    Fields that a newer gateway adds are kept: an older central server must not hold up its queue.
    """

    model_config = ConfigDict(
        extra="allow", frozen=True, populate_by_name=True, ser_json_inf_nan="null", defer_build=True
    )

    stream: str = Field(description="What kind of result it is, such as `oee`.")
    key: str = Field(description="Stable name of the result within its stream.")
    version: int = Field(ge=0, lt=2**53, description="A higher version of the same key restates the result.")
    at: str = Field(description="Source time it speaks of, RFC 3339 in UTC.")
    begin: str | None = Field(None, alias="from", description="Begin of the period it covers.")
    end: str | None = Field(None, alias="to", description="End of the period it covers.")
    place: str = Field("", description="Place in the plant, ISA-95 from the enterprise down.")
    flow: str = Field("", description="Instance of the flow that made it.")
    flow_version: str = Field("", description="Version (SHA-256) of the flow that made it.")
    quality: Literal["good", "uncertain", "bad"] = Field("good", description="How far it can be trusted.")
    coverage: float | None = Field(None, description="Known share of its period, 0 to 1.")
    status: Literal["live", "provisional", "final"] = Field("final", description="Whether it can still change.")
    data: dict[str, Any] = Field(description="The result itself.")


def encode(record: Record) -> bytes:
    """A record as JSON text in UTF-8; what JSON cannot hold exactly is written as text or null."""
    plain = {
        "stream": str(record.stream),
        "key": str(record.key),
        "version": int(record.version),
        "at": utc_text(record.at),
        "from": None if record.begin is None else utc_text(record.begin),
        "to": None if record.end is None else utc_text(record.end),
        "place": record.place,
        "flow": record.flow,
        "flow_version": record.flow_version,
        "quality": record.quality.name.lower(),
        "coverage": record.coverage,
        "status": record.status,
        "data": record.data,
    }
    try:
        content = orjson.dumps(plain, option=orjson.OPT_STRICT_INTEGER)
    except TypeError:
        return orjson.dumps(json_value(plain))
    return orjson.dumps(json_value(plain)) if deeper(content) else content


def deeper(content: bytes) -> bool:
    """Whether JSON is nested deeper than `DEEPEST`; brackets inside of texts do not count."""
    if content.count(b"[") + content.count(b"{") <= DEEPEST:
        return False
    depth = 0
    for bracket in _BRACKETS.findall(content):
        if bracket in b"[{":
            depth += 1
            if depth > DEEPEST:
                return True
        elif bracket in b"]}":
            depth -= 1
    return False


def json_value(value: Value, depth: int = 0) -> Value:
    """A value as JSON can hold it exactly: large integers and bytes (hexadecimal) as text, NaN and infinity as null."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int):
        return int(value) if abs(value) <= _EXACT_IN_JSON else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if depth > DEEPEST:
        return _CUT
    if isinstance(value, Mapping):
        return {json_value(str(name)): json_value(part, depth + 1) for name, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [json_value(part, depth + 1) for part in value]
    return str(value)


_BYTES = "\0bytes"


def call_bytes(call: Call) -> bytes:
    """A call as it is kept on the disk: JSON, bytes as {"\\0bytes": hexadecimal}, the rest like a record's data."""
    return orjson.dumps([call.id, call.flow, call.node, call.service, _kept(call.request), call.at, call.run])


def call_of(content: bytes) -> Call:
    """The call that `call_bytes` has written; such a call is never `fast` and nobody waits for its answer."""
    name, flow, node, service, request, at, run = orjson.loads(content)
    return Call(name, flow, node, service, _read(request), at, run, wants_answer=False)


def _kept(value: Value, depth: int = 0) -> Value:
    if isinstance(value, bytes):
        return {_BYTES: value.hex()}
    if depth > DEEPEST:
        return _CUT
    if isinstance(value, Mapping):
        return {json_value(str(name)): _kept(part, depth + 1) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_kept(part, depth + 1) for part in value]
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    return json_value(value)


def _read(value: Value) -> Value:
    if isinstance(value, dict):
        return bytes.fromhex(value[_BYTES]) if value.keys() == {_BYTES} else {k: _read(v) for k, v in value.items()}
    return [_read(part) for part in value] if isinstance(value, list) else value
