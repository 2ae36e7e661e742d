"""Addresses as EMQX Neuron and Kepware write them, and as our points do; only text, no driver is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from edgeflow.devices.plan import DevicePlan, TagPlan
from edgeflow.document import suggestion
from edgeflow.errors import EdgeFlowError

TABLES: Mapping[str, str] = {"coil": "0", "discrete": "1", "input": "3", "register": "4"}
"""Tables of Modbus and the digit with which their addresses begin where they are numbered like 40001."""
KEPWARE_ORDER = (
    "Kepware keeps it at the device, not in this list: where `First word low` is on there, "
    "say `--device word_order=little`"
)
_BY_DIGIT = {digit: table for table, digit in TABLES.items()}
_ADDRESSES = 65536

Keys = dict[str, Any]


class NotTaken(EdgeFlowError):
    """Something cannot be said in the other form; the message says why."""


_NEURON_TYPES = {
    "BIT": "bool", "BOOL": "bool", "INT8": "int8", "UINT8": "uint8", "INT16": "int16", "UINT16": "uint16",
    "WORD": "uint16", "INT32": "int32", "UINT32": "uint32", "DWORD": "uint32", "INT64": "int64", "UINT64": "uint64",
    "LWORD": "uint64", "FLOAT": "float32", "DOUBLE": "float64", "STRING": "string", "BYTES": "bytes",
}  # fmt: skip
_KEPWARE_TYPES = {
    "BOOLEAN": "bool", "CHAR": "int8", "BYTE": "uint8", "SHORT": "int16", "WORD": "uint16", "LONG": "int32",
    "DWORD": "uint32", "LLONG": "int64", "QWORD": "uint64", "FLOAT": "float32", "DOUBLE": "float64", "BCD": "bcd16",
    "LBCD": "bcd32", "STRING": "string",
}  # fmt: skip
_LONG = ("int32", "uint32", "float32", "int64", "uint64", "float64", "bcd32", "acc32", "acc64")
_VALUE_TYPES = {
    "bool": "boolean", "string": "text", "bytes": "bytes", "float32": "number", "float64": "number", "float16": "number"
}  # fmt: skip
_PLAIN_TYPES = {
    "float": "float32", "real": "float32", "single": "float32", "f32": "float32", "double": "float64",
    "lreal": "float64", "f64": "float64", "int": "int16", "short": "int16", "s16": "int16", "i16": "int16",
    "sint16": "int16", "word": "uint16", "u16": "uint16", "uint": "uint16", "ushort": "uint16", "unsigned": "uint16",
    "signed": "int16", "dint": "int32", "long": "int32", "s32": "int32", "i32": "int32", "sint32": "int32",
    "dword": "uint32", "udint": "uint32", "u32": "uint32", "ulong": "uint32", "lint": "int64", "s64": "int64",
    "i64": "int64", "ulint": "uint64", "qword": "uint64", "lword": "uint64", "u64": "uint64", "bit": "bool",
    "boolean": "bool", "byte": "uint8", "bcd": "bcd16", "char": "string", "text": "string",
}  # fmt: skip
_ENDS = {"#LL": ("big", "big"), "#LB": ("big", "little"), "#BL": ("little", "big"), "#BB": ("little", "little")}
"""Neuron's marks for 32 bits as (word order, byte order): #LL is 1234, #LB 2143, #BL 3412, #BB 4321."""
_STRINGS: Mapping[str, Keys] = {"H": {}, "L": {"byte_order": "little"}, "D": {"byte": "low"}, "E": {"byte": "high"}}
"""Neuron's ways to pack text; H and L are Kepware's too."""


def is_long(tag: Mapping[str, Any]) -> bool:
    """Whether the value of a tag takes several registers, so that their order matters."""
    return tag.get("type") in _LONG


def plain_type(driver: str, text: str) -> str:
    """A type as register lists name it, in our spelling."""
    if driver != "modbus":
        return text.lower()
    folded = re.sub(r"[ _-]", "", text.lower())
    return _PLAIN_TYPES.get(folded, folded)


def by_digit(tag: Mapping[str, Any]) -> Keys:
    """The tag of a list whose numbers begin with the table, whatever its column is called; raises NotTaken."""
    column = next((key for key in ("address", *TABLES) if key in tag), None)
    if column is None:
        return dict(tag)
    number = tag[column]
    digits = 6 if isinstance(number, int) and number > 99_999 else 5
    table = _BY_DIGIT.get(f"{number:0{digits}d}"[0]) if isinstance(number, int) and number > 0 else None
    if table is None:
        raise NotTaken(f"there is no address {number!r}; in this list they are like 40001, 30001, 10001 and 00001")
    return {table if key == column else key: value for key, value in tag.items()}


# --- Neuron -------------------------------------------------------------------------------------------


def from_neuron(driver: str, address: str, kind: str) -> tuple[Keys, Keys]:
    """The keys of the device and of the point; raises NotTaken.

    Source: Neuron's handbook, Modbus TCP, Address format: `SLAVE!ADDRESS[.BIT][#ENDIAN][.LEN[H][L][D][E]]`;
    OPC UA: `NS!NODEID`.
    """
    own = _type(kind, _NEURON_TYPES)
    if driver == "opcua":
        return {}, _neuron_node(address, own)
    _only_modbus(driver)
    match = re.fullmatch(r"(\d+)!(\d{5,6})(?:\.(\d+)([HLDE]?))?(#[BL]{1,2})?(?:\.(\d+)([HLDE]?))?", address)
    if match is None:
        raise NotTaken(f"its address {address!r} is not like `1!400001`, `1!400001.3`, `1!400001#BL` or `1!400001.10H`")
    unit, number, first, first_letter, order, second, second_letter = match.groups()
    point = _numbered(number)
    rest, letter = (first or second, first_letter or second_letter)
    point |= _with_type(point, own, int(rest) if rest else None, letter or "L")
    if order and own in _LONG:
        words, octets = _ends(order)
        point |= {key: "little" for key, value in (("word_order", words), ("byte_order", octets)) if value == "little"}
    elif order == "#B":
        point["byte_order"] = "little"
    return {"unit": int(unit), "first_address": 1}, point


def _ends(order: str) -> tuple[str, str]:
    if order not in _ENDS:
        raise NotTaken(f"its byte order {order} does not fit its type; known are {', '.join(_ENDS)}")
    return _ENDS[order]


def _neuron_node(address: str, own: str) -> Keys:
    match = re.fullmatch(r"(\d+)!(.+)", address)
    if match is None:
        raise NotTaken(f"its address {address!r} is not like `2!Device1.Tag1`")
    identifier = match[2]
    guid = re.fullmatch(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", identifier)
    letter = "i" if identifier.isdigit() else "g" if guid else "s"
    return {"node": f"ns={match[1]};{letter}={identifier}", "type": _VALUE_TYPES.get(own, "integer")}


def to_neuron(device: DevicePlan, tag: TagPlan) -> tuple[str, str, list[str]]:
    """Neuron's address and type, and the keys that it has no way to say; raises NotTaken."""
    keys = keys_of(tag.point)
    if device.driver.name == "opcua":
        return _node_to_neuron(keys)
    unit, digit, number, keys = _of_modbus(device, keys)
    kind = keys.pop("type")
    words, octets = _orders(device, keys)
    name = next((name for name, own in _NEURON_TYPES.items() if own == kind), None)
    if name is None:
        raise NotTaken(f"Neuron has no type {kind}")
    where = f"{unit}!{digit}{number + 1:05d}"
    if "bit" in keys:
        where += f".{keys.pop('bit')}"
    elif kind == "string":
        where += _string(keys, octets)
    elif kind == "bytes":
        where += f".{2 * keys.pop('length')}"
    elif kind in _LONG and (words, octets) != ("big", "big"):
        where += next(mark for mark, ends in _ENDS.items() if ends == (words, octets))
    elif kind not in _LONG and kind != "bool" and octets == "little":
        where += "#B"
    return where, name, list(keys)


def _node_to_neuron(keys: Keys) -> tuple[str, str, list[str]]:
    match = re.fullmatch(r"(?:ns=(\d+);)?[isg]=(.+)", keys.pop("node", "") or "", re.DOTALL)
    if match is None:
        raise NotTaken("Neuron needs the namespace as a number; this node has its name")
    names = {"boolean": "BOOL", "integer": "INT64", "text": "STRING", "number": "DOUBLE"}
    kind = keys.pop("type", "number")
    if kind not in names:
        raise NotTaken(f"Neuron has no type {kind} for this")
    return f"{match[1] or 0}!{match[2]}", names[kind], list(keys)


# --- Kepware ------------------------------------------------------------------------------------------


def from_kepware(driver: str, address: str, kind: str) -> tuple[Keys, Keys]:
    """The keys of the device and of the point; raises NotTaken.

    Source: the handbook of Kepware's Modbus Ethernet driver, Modbus Addressing: the digit of the table, then four
    or five digits, then `.bit`, or `.length` with H or L for text; leading zeros may be left out.
    """
    own = _type(kind, _KEPWARE_TYPES) if kind else ""
    if driver == "opcua":
        return {}, {"node": address, "type": _VALUE_TYPES.get(own, "integer")}
    _only_modbus(driver)
    match = re.fullmatch(r"([0134])(\d{1,5})(?:\.(\d{1,3})([HL]?))?", address)
    if match is None:
        if "[" in address:
            raise NotTaken(f"its address {address!r} is an array; give each element a tag of its own")
        raise NotTaken(f"its address {address!r} is not like `400001`, `400001.3` or `400001.20H`")
    digit, number, rest, letter = match.groups()
    point = _numbered(f"{digit}{int(number):05d}")
    point |= _with_type(point, own or "uint16", int(rest) if rest else None, letter or "H")
    return {"first_address": 1}, point


def to_kepware(device: DevicePlan, tag: TagPlan) -> tuple[str, str, list[str]]:
    """Kepware's address and type, and the keys that it has no way to say; raises NotTaken."""
    keys = keys_of(tag.point)
    if device.driver.name == "opcua":
        names = {"boolean": "Boolean", "integer": "LLong", "text": "String", "number": "Double"}
        return keys.pop("node"), names.get(keys.pop("type", "number"), "Default"), list(keys)
    _, digit, number, keys = _of_modbus(device, keys)
    kind = keys.pop("type")
    _, octets = _orders(device, keys)
    name = next((name for name, own in _KEPWARE_TYPES.items() if own == kind), None)
    if name is None:
        raise NotTaken(f"Kepware has no type {kind}")
    where = f"{digit}{number + 1:05d}"
    if "bit" in keys:
        where += f".{keys.pop('bit'):02d}"
    elif kind == "string":
        where += _string(keys, octets)
    short = {"LLONG": "LLong", "QWORD": "QWord", "DWORD": "DWord", "BCD": "BCD", "LBCD": "LBCD"}
    return where, short.get(name, name.capitalize()), list(keys)


# --- both ---------------------------------------------------------------------------------------------


def keys_of(point: BaseModel) -> Keys:
    """What a person would write of a point: the keys that are not at their default."""
    written = point.model_dump(mode="json", by_alias=True, exclude_none=True)
    defaults = {
        field.alias or name: field.get_default(call_default_factory=True)
        for name, field in type(point).model_fields.items()
        if not field.is_required()
    }
    return {key: value for key, value in written.items() if value not in (defaults.get(key), [], {})}


def _type(kind: str, known: Mapping[str, str]) -> str:
    if kind.upper() not in known:
        raise NotTaken(f"its type {kind!r} is not possible here{suggestion(kind.upper(), known)}")
    return known[kind.upper()]


def _only_modbus(driver: str) -> None:
    if driver != "modbus":
        raise NotTaken(f"addresses of this form can be read for modbus and opcua, not for {driver}")


def _numbered(number: str) -> Keys:
    """A number like 40001 or 400001 as a table and what is counted from 1 in it."""
    digit, count = number[0], int(number[1:])
    if digit not in _BY_DIGIT or not 1 <= count <= _ADDRESSES:
        raise NotTaken(f"there is no address {number}; they begin with 0, 1, 3 or 4 and count from 1")
    return {_BY_DIGIT[digit]: count}


def _with_type(point: Keys, own: str, number: int | None, letter: str) -> Keys:
    """What the type and the number behind the point add: a bit, or the length of text in bytes."""
    bits = "coil" in point or "discrete" in point
    if own in ("string", "bytes"):
        if not number or bits:
            raise NotTaken("text needs its length in bytes behind a register, like `400001.20H`")
        if own == "bytes":
            return {"type": own, "length": (number + 1) // 2}
        one = letter in "DE"
        return {"type": own, "length": number if one else (number + 1) // 2, **_STRINGS[letter]}
    if bits:
        if own not in ("bool", "uint16"):
            raise NotTaken(f"a coil or discrete input holds one bit, not {own}")
        return {}
    if number is not None:
        if number > 15:
            raise NotTaken(f"a register has the bits 0 to 15, not {number}")
        return {"bit": number}
    return {} if own == "uint16" else {"type": own}


def _of_modbus(device: DevicePlan, keys: Keys) -> tuple[int, str, int, Keys]:
    """The unit, the table's digit, the address counted from 0, and the other keys with the type filled in."""
    _only_modbus(device.driver.name)
    table = next((table for table in TABLES if table in keys), None)
    if table is None:
        raise NotTaken("it has no register, input, coil or discrete")
    number = keys.pop(table) - _first(int(getattr(device.config, "first_address", 0)), TABLES[table])
    keys.setdefault("type", "bool" if "bit" in keys or table in ("coil", "discrete") else "uint16")
    return int(getattr(device.config, "unit", 1)), TABLES[table], number, keys


def _first(first_address: int, digit: str) -> int:
    """The number of a table's first address where that of the holding registers is `first_address`."""
    if first_address < 40_000:
        return first_address
    step = 10_000 if first_address < 100_000 else 100_000
    return first_address - (4 - int(digit)) * step


def _orders(device: DevicePlan, keys: Keys) -> tuple[str, str]:
    return (
        keys.pop("word_order", None) or str(getattr(device.config, "word_order", "big")),
        keys.pop("byte_order", None) or str(getattr(device.config, "byte_order", "big")),
    )


def _string(keys: Keys, octets: str) -> str:
    length, byte = keys.pop("length"), keys.pop("byte", None)
    if byte:
        return f".{length}{'D' if byte == 'low' else 'E'}"
    return f".{2 * length}{'L' if octets == 'little' else 'H'}"
