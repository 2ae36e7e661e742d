"""Register lists as people write them in a spreadsheet: a line for each tag, a column for each setting."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from edgeflow.devices.address import keys_of
from edgeflow.devices.dialect import (
    Dialect,
    Line,
    NotTaken,
    TagDraft,
    Written,
    duration,
    name_in_device,
    name_in_our_spelling,
    number,
    short,
)
from edgeflow.devices.headings import OURS
from edgeflow.devices.plan import DevicePlan, TagPlan
from edgeflow.devices.table import Row
from edgeflow.document import parse, scalar
from edgeflow.errors import ConfigError

_TYPES = {
    "float": "float32", "real": "float32", "single": "float32", "f32": "float32", "double": "float64",
    "lreal": "float64", "f64": "float64", "int": "int16", "short": "int16", "s16": "int16", "i16": "int16",
    "sint16": "int16", "word": "uint16", "u16": "uint16", "uint": "uint16", "ushort": "uint16", "unsigned": "uint16",
    "signed": "int16", "dint": "int32", "long": "int32", "s32": "int32", "i32": "int32", "sint32": "int32",
    "dword": "uint32", "udint": "uint32", "u32": "uint32", "ulong": "uint32", "lint": "int64", "s64": "int64",
    "i64": "int64", "ulint": "uint64", "qword": "uint64", "lword": "uint64", "u64": "uint64", "bit": "bool",
    "boolean": "bool", "byte": "uint8", "bcd": "bcd16", "char": "string", "text": "string",
}  # fmt: skip
_BESIDE = frozenset(("name", "device", "address"))
"""Columns that are no setting of a tag."""


def _read(row: Row, driver: str) -> Line:
    tag = TagDraft()
    for word, cell in row.items():
        if not cell or word in ("name", "device"):
            continue
        if word == "scale":
            if (scale := _factor(cell)) != 1:
                tag.keys[word] = scale
        elif word == "offset":
            tag.keys[word] = number(cell)
        elif word == "writable":
            tag.access(writes=bool(re.search(r"w|yes|true|1", cell.lower())))
        elif word == "type":
            tag.keys[word] = _type(driver, cell)
        elif word in ("about", "unit"):
            tag.keys[word] = cell
        else:
            tag.keys[word] = cell_value(cell)
    return Line(name_in_our_spelling(row["device"]) if row.get("device") else "", {}, tag)


def _type(driver: str, text: str) -> str:
    """A type as register lists name it, in our spelling."""
    if driver != "modbus":
        return text.lower()
    folded = re.sub(r"[ _-]", "", text.lower())
    return _TYPES.get(folded, folded)


def _factor(text: str) -> float | int:
    """`0.1`, `0,1`, `x 0.1` and `/10` all mean that the raw value is multiplied by 0.1."""
    match = re.fullmatch(r"(/|÷|1\s*/|[*x×])?\s*([-+0-9.,eE]+)", text.strip())
    value = number(match[2]) if match else None
    if not match or not value:
        raise NotTaken(f"{text!r} is not a scale; write what the raw value is multiplied by, for example 0.1")
    if match[1] and match[1][-1] in "/÷":
        return short(1 / value)
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


def cell_value(text: str) -> Any:
    """What a cell of a plain list says: a scalar as in a configuration, or a list, mapping or quoted text."""
    if text[:1] not in ("[", "{", '"'):
        return scalar(text)
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return parse(text).data
    except ConfigError:
        return text


def _write(device: DevicePlan, tag: TagPlan) -> Written:
    options: dict[str, Any] = {
        "scale": tag.scale if tag.scale != 1 else None,
        "offset": tag.offset or None,
        "range": None if tag.low is None else [tag.low, tag.high],
        "map": tag.map,
        "counter": tag.counter and tag.counter.written(),
        "writable": True if tag.tag.writable else None,
        "read": None if tag.read else False,
        "reads_as": tag.reads_as.partition("/")[2] or None,
        "every": duration(tag.every_ns) if tag.every_ns else None,
        "silence": None if tag.silence_ns is None else duration(tag.silence_ns) if tag.silence_ns else "never",
    }
    keys = keys_of(tag.point) | {key: value for key, value in options.items() if value is not None}
    row = {"name": name_in_device(tag), "device": device.name} | {
        key: written_cell(value) for key, value in keys.items()
    }
    return Written(row | {key: text for key, text in (("unit", tag.tag.unit), ("about", tag.tag.about)) if text})


def written_cell(value: Any) -> str:
    """A value so that a plain list gives it back: text as it is where it cannot be taken for something else."""
    if isinstance(value, str) and value and value == value.strip() and cell_value(value) == value:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)


PLAIN = Dialect(
    form="plain",
    signs=frozenset(),
    columns=(),
    says=frozenset(),
    elsewhere="give it again with --device",
    read=_read,
    write=_write,
)


# --- what its columns mean ----------------------------------------------------------------------------


def our_words(
    columns: Sequence[str], rows: Sequence[tuple[int, Row]], model: type[BaseModel]
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """What each column is called here, and remarks by column; `model` has the settings of a tag."""
    words = {column: OURS.get(column.strip().lower(), _as_key(column)) for column in columns}
    remarks = []
    for column, word in words.items():
        if _is_setting(column, word, [row[column] for _, row in rows if row.get(column)], model):
            words[column] = _as_key(column)
            if word not in words.values():
                told = f"it is taken for the setting of that name, not for `{word}`; where it is that, call it `{word}`"
                remarks.append((column, told))
    known = {field.alias or name for name, field in model.model_fields.items()} | _BESIDE
    for column, word in words.items():
        if column and word not in known:
            if any(row.get(column) for _, row in rows):
                remarks.append((column, "it is not known, and left out"))
            words[column] = ""
    return words, remarks


def _as_key(column: str) -> str:
    return re.sub(r"[ -]", "_", column.strip().lower())


def _is_setting(column: str, word: str, cells: Sequence[str], model: type[BaseModel]) -> bool:
    """Whether a column that people call so is a setting of the driver with that name, as its cells tell."""
    own = _as_key(column)
    setting = next((each for name, each in model.model_fields.items() if own == (each.alias or name)), None)
    if setting is None or own == word or not cells:
        return False
    form: Any = Annotated[setting.annotation, *setting.metadata]
    fits: TypeAdapter[Any] = TypeAdapter(form)
    try:
        for cell in cells:
            fits.validate_python(cell_value(cell), strict=True)
    except ValidationError:
        return False
    return True
