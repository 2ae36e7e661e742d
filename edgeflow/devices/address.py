"""Addresses of Modbus points in lists of other products: numbered like 40001, with a bit or a length behind them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from edgeflow.devices.dialect import Keys, NotTaken, duration
from edgeflow.devices.plan import DevicePlan
from edgeflow.document import suggestion

TABLES: Mapping[str, str] = {"coil": "0", "discrete": "1", "input": "3", "register": "4"}
"""Tables of Modbus and the digit with which their addresses begin where they are numbered like 40001."""
_BY_DIGIT = {digit: table for table, digit in TABLES.items()}
_ADDRESSES = 65536
_LONG = ("int32", "uint32", "float32", "int64", "uint64", "float64", "bcd32", "acc32", "acc64")
VALUE_TYPES: Mapping[str, str] = {
    "bool": "boolean", "string": "text", "bytes": "bytes", "float32": "number", "float64": "number", "float16": "number"
}  # fmt: skip
"""What OPC UA has in place of a type of registers; `integer` where it is none of these."""
_STRINGS: Mapping[str, Keys] = {"H": {}, "L": {"byte_order": "little"}, "D": {"byte": "low"}, "E": {"byte": "high"}}
"""Neuron's ways to pack text; H and L are Kepware's too."""


def is_long(tag: Mapping[str, Any]) -> bool:
    """Whether the value of a tag takes several registers, so that their order matters."""
    return tag.get("type") in _LONG


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


def keys_of(point: BaseModel) -> Keys:
    """What a person would write of a point: the keys that are not at their default."""
    written = point.model_dump(mode="json", by_alias=True, exclude_none=True)
    defaults = {
        field.alias or name: _as_json(field.get_default(call_default_factory=True))
        for name, field in type(point).model_fields.items()
        if not field.is_required()
    }
    keys = {key: value for key, value in written.items() if value not in (defaults.get(key), [], {})}
    return keys | {key: duration(keys[key]) for key in _durations(type(point)) & keys.keys()}


def _as_json(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default


@cache
def _durations(model: type[BaseModel]) -> frozenset[str]:
    """The keys that are durations, of which the model has only the nanoseconds."""
    properties = model.model_json_schema()["properties"].items()
    return frozenset(key for key, schema in properties if "edgeflow-duration" in str(schema))


def type_of(kind: str, known: Mapping[str, str]) -> str:
    """Another product's type in our spelling; raises NotTaken."""
    if kind.upper() not in known:
        raise NotTaken(f"its type {kind!r} is not possible here{suggestion(kind.upper(), known)}")
    return known[kind.upper()]


def only_modbus(driver: str) -> None:
    """Raises NotTaken for any other driver."""
    if driver != "modbus":
        raise NotTaken(f"addresses of this form can be read for modbus and opcua, not for {driver}")


def numbered(number: str) -> Keys:
    """A number like 40001 or 400001 as a table and what is counted from 1 in it."""
    digit, count = number[0], int(number[1:])
    if digit not in _BY_DIGIT or not 1 <= count <= _ADDRESSES:
        raise NotTaken(f"there is no address {number}; they begin with 0, 1, 3 or 4 and count from 1")
    return {_BY_DIGIT[digit]: count}


def with_type(point: Keys, own: str, number: int | None, letter: str) -> Keys:
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


def of_modbus(device: DevicePlan, keys: Keys) -> tuple[int, str, int, Keys]:
    """The unit, the table's digit, the address counted from 0, and the other keys with the type filled in."""
    only_modbus(device.driver.name)
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


def orders(device: DevicePlan, keys: Keys) -> tuple[str, str]:
    """The order of words and of bytes that a point has, by itself or by its device; taken out of its keys."""
    return (
        keys.pop("word_order", None) or str(getattr(device.config, "word_order", "big")),
        keys.pop("byte_order", None) or str(getattr(device.config, "byte_order", "big")),
    )


def string_length(keys: Keys, octets: str) -> str:
    """The length of a text behind its address, with the letter that says how it is packed."""
    length, byte = keys.pop("length"), keys.pop("byte", None)
    if byte:
        return f".{length}{'D' if byte == 'low' else 'E'}"
    return f".{2 * length}{'L' if octets == 'little' else 'H'}"
