"""The types that registers can hold: how many each takes, and which whole numbers fit."""

from __future__ import annotations

from typing import Literal

Type = Literal[
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
    "float16", "float32", "float64", "bcd16", "bcd32", "acc32", "acc64", "string", "bytes",
]  # fmt: skip

REGISTERS: dict[Type, int] = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 1, "uint16": 1, "float16": 1, "bcd16": 1,
    "int32": 2, "uint32": 2, "float32": 2, "bcd32": 2, "acc32": 2,
    "int64": 4, "uint64": 4, "float64": 4, "acc64": 4,
}  # fmt: skip


def whole(kind: Type) -> bool:
    """Whether it is a type of whole numbers."""
    return kind.startswith(("int", "uint", "bcd", "acc"))


def limits(kind: Type, field: tuple[int, int] | None = None) -> tuple[int, int]:
    """The lowest and the highest whole number that a type, or some bits of it, can hold as it lies in its registers."""
    if field is not None:
        return 0, (1 << field[1]) - 1
    bits = int(kind.lstrip("abcdefghijklmnopqrstuvwxyz"))
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if kind.startswith("int") else (0, (1 << bits) - 1)
