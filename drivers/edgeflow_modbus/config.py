"""What a person writes for Modbus: the link, the unit behind it, and the address of a point."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from edgeflow.model import Strict, ValueType
from edgeflow_modbus.pdu import ADDRESSES, Table

Type = Literal[
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
    "float16", "float32", "float64", "string",
]  # fmt: skip
Order = Literal["big", "little"]

REGISTERS: dict[Type, int] = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 1, "uint16": 1, "float16": 1,
    "int32": 2, "uint32": 2, "float32": 2, "int64": 4, "uint64": 4, "float64": 4,
}  # fmt: skip
_LAST = ADDRESSES - 1


class Link(Strict):
    """A connection to a Modbus TCP server: a PLC, a meter, or a gateway to a serial bus."""

    transport: Literal["tcp"] = Field("tcp", description="How frames travel; `tcp` is Modbus TCP.")
    host: str = Field(min_length=1, description="Address or name of the device, for example 10.0.0.5.")
    port: int = Field(502, ge=1, le=65535, description="TCP port; 502 is the standard one.")


class Device(Strict):
    """One unit behind a link, and how it lays out its values."""

    unit: int = Field(1, ge=0, le=255, description="Unit number (slave address); many TCP devices take 1, 255 or any.")
    first_address: Literal[0, 1] = Field(
        0, description="The number of the first register in the maker's list; 1 where the list counts from 1."
    )
    word_order: Order = Field(
        "big", description="Which register of a longer value comes first: `big` the high one, `little` the low one."
    )
    byte_order: Order = Field(
        "big", description="Which byte of a register comes first: `big` is the standard, `little` swaps them."
    )
    max_registers: int = Field(
        125, ge=1, le=125, description="The most registers that the device gives in one answer; the standard says 125."
    )
    max_gap: int = Field(
        16, ge=0, le=124, description="Up to this many unused addresses are read along to save a request; 0 for none."
    )


class Point(Strict):
    """The address of one value: exactly one of register, input, coil, discrete."""

    # pydantic's metaclass has a method `register`, so the field has a name of its own.
    holding: int | None = Field(
        None, alias="register", ge=0, le=_LAST, description="Holding register (functions 3, 6, 16); can be written."
    )
    input: int | None = Field(None, ge=0, le=_LAST, description="Input register (function 4); read only.")
    coil: int | None = Field(None, ge=0, le=_LAST, description="Coil (functions 1, 5, 15); can be written.")
    discrete: int | None = Field(None, ge=0, le=_LAST, description="Discrete input (function 2); read only.")
    type: Type | None = Field(
        None, description="How the register's bits are read; uint16 where not given, bool for coils, inputs and bits."
    )
    bit: int | None = Field(None, ge=0, le=15, description="One bit of a register as a bool; 0 is the lowest.")
    byte: Literal["high", "low"] | None = Field(
        None, description="Which half of the register holds an int8 or uint8; `low` where not given."
    )
    length: int | None = Field(
        None, ge=1, le=123, description="How many registers a string takes, two characters each."
    )
    word_order: Order | None = Field(None, description="Which register comes first; as the device's where not given.")
    byte_order: Order | None = Field(None, description="Which byte comes first; as the device's where not given.")

    @model_validator(mode="after")
    def _is_one_address(self) -> Self:
        given = [name for name in ("register", *_OTHERS) if getattr(self, _FIELDS[name]) is not None]
        if not given:
            raise ValueError("write one of register, input, coil, discrete, for example `register: 10`")
        if len(given) > 1:
            raise ValueError(f"write only one of {' and '.join(given)}; a point has one address")
        if given[0] in ("coil", "discrete"):
            self._fits_a_bit(given[0])
        else:
            self._fits_registers()
        if self.address + self.count > ADDRESSES:
            raise ValueError(f"{given[0]} {self.address} with type {self.kind} goes beyond the last address, {_LAST}")
        return self

    def _fits_a_bit(self, name: str) -> None:
        if self.type not in (None, "bool"):
            raise ValueError(f"a {name} is a bool; leave out `type: {self.type}`")
        for other in ("bit", "byte", "length", "word_order", "byte_order"):
            if getattr(self, other) is not None:
                raise ValueError(f"a {name} is a single bit; leave out `{other}`")

    def _fits_registers(self) -> None:
        if self.bit is not None and self.type not in (None, "bool"):
            raise ValueError(f"a bit is a bool; leave out `type: {self.type}` or `bit`")
        if self.byte is not None and self.type not in ("int8", "uint8"):
            raise ValueError("`byte` goes with `type: int8` or `type: uint8`")
        if (self.length is not None) != (self.type == "string"):
            raise ValueError("`type: string` and `length` (in registers) go together")

    @property
    def kind(self) -> Type:
        """The type with its default filled in."""
        if self.type is not None:
            return self.type
        bits = self.coil is not None or self.discrete is not None or self.bit is not None
        return "bool" if bits else "uint16"

    @property
    def table(self) -> Table:
        if self.holding is not None:
            return Table.REGISTER
        if self.input is not None:
            return Table.INPUT
        return Table.COIL if self.coil is not None else Table.DISCRETE

    @property
    def address(self) -> int:
        """The address as written; the device's `first_address` is not yet taken off."""
        return next(a for a in (self.holding, self.input, self.coil, self.discrete) if a is not None)

    @property
    def count(self) -> int:
        """How many addresses it covers."""
        return self.length or REGISTERS[self.kind]


_OTHERS = ("input", "coil", "discrete")
_FIELDS = {"register": "holding", "input": "input", "coil": "coil", "discrete": "discrete"}


def value_type(point: Point) -> ValueType:
    """The type that a point yields."""
    if point.kind == "bool":
        return "boolean"
    if point.kind == "string":
        return "text"
    return "number" if point.kind.startswith("float") else "integer"


def writable(point: Point) -> bool:
    return point.holding is not None or point.coil is not None
