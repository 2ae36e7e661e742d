"""Lists of tags in Kepware's columns."""

from __future__ import annotations

import re

from edgeflow.devices.address import (
    VALUE_TYPES,
    is_long,
    keys_of,
    numbered,
    of_modbus,
    only_modbus,
    orders,
    string_length,
    type_of,
    with_type,
)
from edgeflow.devices.dialect import (
    Dialect,
    Keys,
    Line,
    NotTaken,
    TagDraft,
    Written,
    name_in_device,
    number,
    short,
    without_column,
)
from edgeflow.devices.plan import DevicePlan, TagPlan
from edgeflow.devices.table import Row
from edgeflow.units import NS_PER_S

WORD_ORDER = (
    "Kepware keeps it at the device, not in this list: where `First word low` is on there, "
    "say `--device word_order=little`"
)
_TYPES = {
    "BOOLEAN": "bool", "CHAR": "int8", "BYTE": "uint8", "SHORT": "int16", "WORD": "uint16", "LONG": "int32",
    "DWORD": "uint32", "LLONG": "int64", "QWORD": "uint64", "FLOAT": "float32", "DOUBLE": "float64", "BCD": "bcd16",
    "LBCD": "bcd32", "STRING": "string",
}  # fmt: skip


def _read(row: Row, driver: str) -> Line:
    scaling = row.get("scaling", "").lower()
    if scaling not in ("", "none", "linear"):
        raise NotTaken(f"its scaling is {row['scaling']!r}; only linear scaling is possible here")
    keys, point = _from_address(driver, row["address"], row["data type"])
    tag = TagDraft(point)
    access = row.get("client access", "").upper()
    tag.access(reads=access != "WO", writes=access in ("R/W", "RW", "WO"))
    if scaling == "linear":
        _scale(tag, row)
    tag.say("unit", row.get("eng units", ""))
    tag.say("about", row.get("description", ""))
    tag.pace(row.get("scan rate", ""))
    return Line("", keys, tag)


def _scale(tag: TagDraft, row: Row) -> None:
    low, high, to_low, to_high = (
        _needed(row, column) for column in ("raw low", "raw high", "scaled low", "scaled high")
    )
    if low == high or to_low == to_high:
        raise NotTaken("its scaling maps a range of no width")
    scale, sign = (to_high - to_low) / (high - low), -1 if _yes(row.get("negate value", "")) else 1
    found = {"scale": short(sign * scale), "offset": short(sign * (to_low - low * scale))}
    tag.keys |= {key: value for key, value in found.items() if (key, value) not in (("scale", 1), ("offset", 0))}
    if _yes(row.get("clamp low", "")) or _yes(row.get("clamp high", "")):
        tag.remarks.append("it is taken without clamping; `range: [lowest, highest]` makes what lies outside BAD")


def _needed(row: Row, column: str) -> float:
    value = number(row.get(column, ""))
    if value is None:
        raise NotTaken(f"it is scaled, but has no {column!r}")
    return value


def _yes(text: str) -> bool:
    return text.lower() in ("1", "true", "yes")


def _write(device: DevicePlan, tag: TagPlan) -> Written:
    where, kind, unsaid = _to_address(device, tag)
    row = {
        "Tag Name": name_in_device(tag),
        "Address": where,
        "Data Type": kind,
        "Respect Data Type": 1,
        "Client Access": "WO" if not tag.read else "R/W" if tag.tag.writable else "RO",
        "Scan Rate": (tag.every_ns or device.every_ns) * 1000 // NS_PER_S,
        "Eng Units": tag.tag.unit or "",
        "Description": tag.tag.about,
    }
    if tag.scale != 1 or tag.offset:
        scaled = {"Raw Low": 0, "Raw High": 1000, "Scaled Low": short(tag.offset)}
        top = short(1000 * tag.scale + tag.offset)
        row |= {"Scaling": "Linear", **scaled, "Scaled High": top, "Scaled Data Type": "Double"}
        row |= {"Clamp Low": 0, "Clamp High": 0, "Negate Value": 0}
    return Written(row, (*unsaid, *_orders_of_the_point(device, tag), *without_column(tag, "range")))


def _orders_of_the_point(device: DevicePlan, tag: TagPlan) -> list[str]:
    """The orders that a point has and its device has not; Kepware knows only those of the device."""
    keys = keys_of(tag.point)
    matters = {"word_order": is_long(keys), "byte_order": keys.get("type") != "string"}
    return [
        key for key, does in matters.items() if does and keys.get(key) not in (None, getattr(device.config, key, None))
    ]


KEPWARE = Dialect(
    form="kepware",
    signs=frozenset(("tag name", "address", "data type")),
    columns=(
        "Tag Name", "Address", "Data Type", "Respect Data Type", "Client Access", "Scan Rate", "Scaling", "Raw Low",
        "Raw High", "Scaled Low", "Scaled High", "Scaled Data Type", "Clamp Low", "Clamp High", "Eng Units",
        "Description", "Negate Value",
    ),
    says=frozenset(("first_address",)),
    elsewhere="set it at the device in Kepware",
    read=_read,
    write=_write,
)  # fmt: skip
"""Its columns are those of the CSV export of KEPServerEX: its handbook, Tag Management, CSV Import and Export."""


def _from_address(driver: str, address: str, kind: str) -> tuple[Keys, Keys]:
    """The keys of the device and of the point; raises NotTaken.

    Source: the handbook of Kepware's Modbus Ethernet driver, Modbus Addressing: the digit of the table, then four
    or five digits, then `.bit`, or `.length` with H or L for text; leading zeros may be left out.
    """
    own = type_of(kind, _TYPES) if kind else ""
    if driver == "opcua":
        return {}, {"node": address, "type": VALUE_TYPES.get(own, "integer")}
    only_modbus(driver)
    match = re.fullmatch(r"([0134])(\d{1,5})(?:\.(\d{1,3})([HL]?))?", address)
    if match is None:
        if "[" in address:
            raise NotTaken(f"its address {address!r} is an array; give each element a tag of its own")
        raise NotTaken(f"its address {address!r} is not like `400001`, `400001.3` or `400001.20H`")
    digit, count, rest, letter = match.groups()
    point = numbered(f"{digit}{int(count):05d}")
    point |= with_type(point, own or "uint16", int(rest) if rest else None, letter or "H")
    return {"first_address": 1}, point


def _to_address(device: DevicePlan, tag: TagPlan) -> tuple[str, str, list[str]]:
    """Kepware's address and type, and the keys that it has no way to say; raises NotTaken."""
    keys = keys_of(tag.point)
    if device.driver.name == "opcua":
        names = {"boolean": "Boolean", "integer": "LLong", "text": "String", "number": "Double"}
        return keys.pop("node"), names.get(keys.pop("type", "number"), "Default"), list(keys)
    _, digit, at, keys = of_modbus(device, keys)
    kind = keys.pop("type")
    _, octets = orders(device, keys)
    name = next((name for name, own in _TYPES.items() if own == kind), None)
    if name is None:
        raise NotTaken(f"Kepware has no type {kind}")
    where = f"{digit}{at + 1:05d}"
    if "bit" in keys:
        where += f".{keys.pop('bit'):02d}"
    elif kind == "string":
        where += string_length(keys, octets)
    spelling = {"LLONG": "LLong", "QWORD": "QWord", "DWORD": "DWord", "BCD": "BCD", "LBCD": "LBCD"}
    return where, spelling.get(name, name.capitalize()), list(keys)
