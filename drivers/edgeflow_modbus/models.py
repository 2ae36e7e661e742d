"""The published SunSpec models as data: which value lies where, of which type, with which scale factor.

Source: SunSpec Alliance, Device Information Model Specification, and the model files in `sunspec.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from edgeflow_modbus.registers import REGISTERS, Type

_FILE = Path(__file__).with_name("sunspec.json")
_PATH = re.compile(r"(\w+)(?:\.([1-9]\d?))?/(?:([1-9]\d{0,2})/)?(\w+)")
_HOW = "write model/point, for example `meter/W`, `103/WH`, `mppt/1/DCW` (first string) or `meter.2/W` (second meter)"
_KINDS: Mapping[str, dict[str, Any]] = {
    "int16": {"type": "int16", "missing": ("default",)},
    "uint16": {"type": "uint16", "missing": ("default",)},
    "uint32": {"type": "uint32", "missing": ("default",)},
    "acc32": {"type": "acc32"},
    "enum16": {"type": "uint16", "missing": ("default",)},
    "bitfield32": {"type": "uint32", "missing": ("default",)},
    "sunssf": {"type": "int16", "missing": ("default",)},
    "float32": {"type": "float32"},
    "string": {"type": "string", "missing": ("default",)},
}
"""A SunSpec type as the keys of a point; the values that mean "not implemented" are the defaults of these types."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a model: where it begins, counted from the model's (or the block's) first register, and what it is.

    `keys` are those of a point; `factor`: the name of its scale factor in the model; `unit` as EdgeFlow writes it.
    """

    name: str
    at: int
    keys: Mapping[str, Any]
    unit: str | None
    factor: str | None

    @property
    def count(self) -> int:
        """How many registers it takes."""
        kind: Type = self.keys["type"]
        return self.keys["length"] if kind == "string" else REGISTERS[kind]

    @property
    def integer(self) -> bool:
        return self.factor is None and self.keys["type"] not in ("float32", "string")


@dataclass(frozen=True, slots=True)
class Model:
    """One layout, which several model numbers share.

    `length`: the registers after the two of its head. `block` is repeated after these, `block_length` registers each.
    """

    ids: tuple[int, ...]
    kind: str
    length: int
    values: Mapping[str, Value]
    block: Mapping[str, Value]
    block_length: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A value in words of SunSpec: point `name` of the `nth` model of these `ids`, in its `block` (0: none)."""

    text: str
    ids: tuple[int, ...]
    nth: int
    block: int
    name: str

    def value(self, number: int) -> Value | None:
        """The value in the model of that number; None where it has no such."""
        model = models()[number]
        return (model.block if self.block else model.values).get(_key(self.name))

    @property
    def values(self) -> list[Value]:
        return [value for number in self.ids if (value := self.value(number))]


@cache
def models() -> Mapping[int, Model]:
    """The models that are known, by their number."""
    found: dict[int, Model] = {}
    for data in json.loads(_FILE.read_text("utf-8"))["models"]:
        block = data.get("block", {"points": {}, "length": 0})
        ids = tuple(data["models"])
        model = Model(
            ids, data["kind"], data["length"], _values(data["points"]), _values(block["points"]), block["length"]
        )
        found |= dict.fromkeys(ids, model)
    return found


def _values(points: Mapping[str, list[Any]]) -> dict[str, Value]:
    return {_key(name): _value(name, *point) for name, point in points.items()}


def _value(name: str, at: int, kind: str, unit: str | None = None, factor: str | None = None) -> Value:
    if kind.startswith("string"):
        return Value(name, at, _KINDS["string"] | {"length": int(kind[6:])}, unit, factor)
    return Value(name, at, _KINDS[kind], unit, factor)


def _key(name: str) -> str:
    """Names are found whatever their case; line voltages are `PPVphAB` in some models, `PhVphAB` in others."""
    return name.lower().replace("ppv", "phv") if name.lower().startswith("ppvph") else name.lower()


@cache
def wanted(text: str) -> Wanted:
    """What `meter/W`, `103/W`, `160/1/DCW` or `meter.2/W` means; raises ValueError, saying what to write instead."""
    match = _PATH.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a SunSpec point; {_HOW}")
    which, nth, block, name = match.groups()
    known = models()
    ids = tuple(n for n, model in known.items() if which == (str(n) if which.isdecimal() else model.kind))
    if not ids:
        kinds = sorted({model.kind for model in known.values()})
        raise ValueError(
            f"the SunSpec model {which!r} is not known; known are {', '.join(kinds)} and {', '.join(map(str, known))}. "
            "For another model write the register's address itself"
        )
    found = Wanted(text, ids, int(nth or 1), int(block or 0), name)
    if not found.values:
        raise ValueError(_no_such(found))
    return found


def _no_such(given: Wanted) -> str:
    model = models()[given.ids[0]]
    which = given.text.partition("/")[0]
    inside, outside = (model.block, model.values) if given.block else (model.values, model.block)
    if _key(given.name) in outside:
        repair = f"{which}/{given.name}" if given.block else f"{which}/1/{given.name}"
        return f"{given.name} is {'not ' if given.block else ''}in a repeated block; write `{repair}`"
    if not inside:
        return f"the SunSpec model {which} has no repeated blocks; write `{which}/{given.name}`"
    names = {value.name.lower(): value.name for value in inside.values()}
    close = get_close_matches(given.name.lower(), names, n=1)
    hint = f"did you mean {names[close[0]]!r}?" if close else f"it has {', '.join(names.values())}"
    return f"the SunSpec model {which} has no point {given.name!r}; {hint}"
