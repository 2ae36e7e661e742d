"""The payload that sets a value, in the form that the device expects."""

from __future__ import annotations

from typing import Any

import orjson

from edgeflow.errors import Rejected
from edgeflow.model import Scalar, ValueType
from edgeflow_mqtt.path import steps, word_of
from edgeflow_mqtt.payload import called, shown, to_scalar
from edgeflow_mqtt.point import VALUE, WIDTHS, Point


def to_set(point: Point, value: Scalar) -> bytes:
    """The payload that sets a point; raises Rejected where the value is not of the point's type."""
    if point.type in WIDTHS or point.bytes is not None or point.encoding is not None:
        raise Rejected(f"{point.set}: binary payloads are only read; write a tag of its own for what is set")
    try:
        fitting = typed(value, point.value_type)
    except ValueError as error:
        raise Rejected(f"{point.set}: {error}") from None
    if point.words:
        word = point.words.get(word_of(fitting))
        if word is None:
            raise Rejected(f"{point.set}: there is no word for {shown(fitting)} among {', '.join(point.words)}")
        fitting = word
    if point.set_path is not None:
        document: Any = fitting
        for key in reversed(steps(point.set_path)):
            document = {key: document}
        return orjson.dumps(document)
    if isinstance(point.payload, str):
        return point.payload.replace(VALUE, _text(fitting)).encode()
    if point.payload is not None:
        return orjson.dumps(_filled(point.payload, fitting))
    if isinstance(fitting, bytes):
        return fitting
    return _text(fitting).encode()


def typed(value: Scalar, kind: ValueType) -> Scalar:
    """A value to write, which must be of the type already; ValueError says that it is not."""
    if kind == "bytes" and isinstance(value, bytes):
        return value
    if isinstance(value, str) != (kind == "text") or isinstance(value, bool) != (kind == "boolean"):
        raise ValueError(f"{shown(value)} is not {called(kind)}")
    return to_scalar(value, kind)


def _text(value: Scalar) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _filled(template: Any, value: Scalar) -> Any:
    """A JSON template with the value in its places; where it is a whole text it keeps its type."""
    if isinstance(template, dict):
        return {key: _filled(item, value) for key, item in template.items()}
    if isinstance(template, list):
        return [_filled(item, value) for item in template]
    if template == VALUE:
        return value
    return template.replace(VALUE, _text(value)) if isinstance(template, str) else template
