"""Lists of tags in EMQX Neuron's columns."""

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
    short,
    without_column,
)
from edgeflow.devices.plan import DevicePlan, TagPlan
from edgeflow.devices.table import Row
from edgeflow.devices.tool import tag_name
from edgeflow.units import NS_PER_S

_TYPES = {
    "BIT": "bool", "BOOL": "bool", "INT8": "int8", "UINT8": "uint8", "INT16": "int16", "UINT16": "uint16",
    "WORD": "uint16", "INT32": "int32", "UINT32": "uint32", "DWORD": "uint32", "INT64": "int64", "UINT64": "uint64",
    "LWORD": "uint64", "FLOAT": "float32", "DOUBLE": "float64", "STRING": "string", "BYTES": "bytes",
}  # fmt: skip
_ENDS = {"#LL": ("big", "big"), "#LB": ("big", "little"), "#BL": ("little", "big"), "#BB": ("little", "little")}
"""Neuron's marks for 32 bits as (word order, byte order): #LL is 1234, #LB 2143, #BL 3412, #BB 4321."""


def _read(row: Row, driver: str) -> Line:
    words = set(re.findall(r"[a-z]+", row["attribute"].lower()))
    if "static" in words:
        raise NotTaken("a static tag has no address; write its value where it is needed")
    if not words or not words <= {"read", "write", "subscribe"}:
        raise NotTaken(f"its attribute is {row['attribute']!r}; known are Read, Write and Subscribe")
    keys, point = _from_address(driver, row["address"], row["type"])
    tag = TagDraft(point)
    tag.access(reads=words != {"write"}, writes="write" in words)
    tag.number("scale", row.get("decimal", ""), 0.0, 1.0)
    tag.number("offset", row.get("bias", ""), 0.0)
    tag.say("about", row.get("description", ""))
    tag.pace(row.get("interval", ""))
    group = tag_name(row.get("group", "")) if row.get("group") else ""
    unit = keys.get("unit")
    name = f"{group}-{unit}" if group and unit not in (None, 1) and not group.endswith(f"-{unit}") else group
    return Line(name, keys, tag)


def _write(device: DevicePlan, tag: TagPlan) -> Written:
    where, kind, unsaid = _to_address(device, tag)
    attributes = [word for word, has in (("Read", tag.read), ("Write", tag.tag.writable)) if has]
    row = {
        "group": device.name,
        "interval": (tag.every_ns or device.every_ns) * 1000 // NS_PER_S,
        "name": name_in_device(tag),
        "address": where,
        "attribute": " ".join(attributes),
        "type": kind,
        "description": tag.tag.about,
        "decimal": short(tag.scale) if tag.scale != 1 else "",
        "bias": short(tag.offset) if tag.offset else "",
    }
    return Written(row, (*unsaid, *without_column(tag, "range", "unit")))


NEURON = Dialect(
    form="neuron",
    signs=frozenset(("name", "address", "attribute", "type")),
    columns=(
        "group", "interval", "name", "address", "attribute", "type", "description", "decimal", "precision", "bias"
    ),
    says=frozenset(("unit", "first_address", "word_order", "byte_order")),
    elsewhere="set it at the node in Neuron",
    read=_read,
    write=_write,
)  # fmt: skip
"""Its columns are those of the batch import: Neuron's handbook, chapter Batch Data Tag Configuration."""


def _from_address(driver: str, address: str, kind: str) -> tuple[Keys, Keys]:
    """The keys of the device and of the point; raises NotTaken.

    Source: Neuron's handbook, Modbus TCP, Address format: `SLAVE!ADDRESS[.BIT][#ENDIAN][.LEN[H][L][D][E]]`;
    OPC UA: `NS!NODEID`.
    """
    own = type_of(kind, _TYPES)
    if driver == "opcua":
        return {}, _node(address, own)
    only_modbus(driver)
    match = re.fullmatch(r"(\d+)!(\d{5,6})(?:\.(\d+)([HLDE]?))?(#[BL]{1,2})?(?:\.(\d+)([HLDE]?))?", address)
    if match is None:
        raise NotTaken(f"its address {address!r} is not like `1!400001`, `1!400001.3`, `1!400001#BL` or `1!400001.10H`")
    unit, number, first, first_letter, order, second, second_letter = match.groups()
    point = numbered(number)
    rest, letter = (first or second, first_letter or second_letter)
    point |= with_type(point, own, int(rest) if rest else None, letter or "L")
    if order and is_long({"type": own}):
        words, octets = _ends(order)
        point |= {key: "little" for key, value in (("word_order", words), ("byte_order", octets)) if value == "little"}
    elif order == "#B":
        point["byte_order"] = "little"
    return {"unit": int(unit), "first_address": 1}, point


def _ends(order: str) -> tuple[str, str]:
    if order not in _ENDS:
        raise NotTaken(f"its byte order {order} does not fit its type; known are {', '.join(_ENDS)}")
    return _ENDS[order]


def _node(address: str, own: str) -> Keys:
    match = re.fullmatch(r"(\d+)!(.+)", address)
    if match is None:
        raise NotTaken(f"its address {address!r} is not like `2!Device1.Tag1`")
    identifier = match[2]
    guid = re.fullmatch(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", identifier)
    letter = "i" if identifier.isdigit() else "g" if guid else "s"
    return {"node": f"ns={match[1]};{letter}={identifier}", "type": VALUE_TYPES.get(own, "integer")}


def _to_address(device: DevicePlan, tag: TagPlan) -> tuple[str, str, list[str]]:
    """Neuron's address and type, and the keys that it has no way to say; raises NotTaken."""
    keys = keys_of(tag.point)
    if device.driver.name == "opcua":
        return _to_node(keys)
    unit, digit, number, keys = of_modbus(device, keys)
    kind = keys.pop("type")
    words, octets = orders(device, keys)
    name = next((name for name, own in _TYPES.items() if own == kind), None)
    if name is None:
        raise NotTaken(f"Neuron has no type {kind}")
    where = f"{unit}!{digit}{number + 1:05d}"
    if "bit" in keys:
        where += f".{keys.pop('bit')}"
    elif kind == "string":
        where += string_length(keys, octets)
    elif kind == "bytes":
        where += f".{2 * keys.pop('length')}"
    elif is_long({"type": kind}) and (words, octets) != ("big", "big"):
        where += next(mark for mark, ends in _ENDS.items() if ends == (words, octets))
    elif not is_long({"type": kind}) and kind != "bool" and octets == "little":
        where += "#B"
    return where, name, list(keys)


def _to_node(keys: Keys) -> tuple[str, str, list[str]]:
    match = re.fullmatch(r"(?:ns=(\d+);)?[isg]=(.+)", keys.pop("node", "") or "", re.DOTALL)
    if match is None:
        raise NotTaken("Neuron needs the namespace as a number; this node has its name")
    names = {"boolean": "BOOL", "integer": "INT64", "text": "STRING", "number": "DOUBLE"}
    kind = keys.pop("type", "number")
    if kind not in names:
        raise NotTaken(f"Neuron has no type {kind} for this")
    return f"{match[1] or 0}!{match[2]}", names[kind], list(keys)
