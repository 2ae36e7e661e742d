"""What a person writes for Modbus: the link, the unit behind it, and the address of a point."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, NonNegativeInt, model_validator

from edgeflow.model import Strict, ValueType
from edgeflow.units import Duration
from edgeflow_modbus import rules
from edgeflow_modbus.link import Link as Link  # noqa: PLC0414 - all that a person writes is found here
from edgeflow_modbus.pdu import ADDRESSES, Table
from edgeflow_modbus.plan import check_ranges
from edgeflow_modbus.registers import REGISTERS, Type, limits, whole


def _number(key: Any) -> Any:
    """A key of a mapping as a number: keys are text in YAML, and 0x10 is as good as 16."""
    try:
        return int(key, 0) if isinstance(key, str) else key
    except ValueError:
        raise ValueError(f"{key!r} is not a whole number; write the number first: `1: running`") from None


def _several(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _patience(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(
            "what is written is read back anyway where it can be; write how long that may take, for example `3 s`, or "
            "`read: false` where it cannot be read"
        )
    return value


Order = Literal["big", "little"]
Patience = Annotated[Duration, BeforeValidator(_patience)]
Names = Annotated[dict[Annotated[int, BeforeValidator(_number)], str], Field(min_length=1)]
Missing = Annotated[tuple[int | float | str, ...], BeforeValidator(_several)]
Beside = Annotated[int, Field(ge=-32768, le=65535)] | Literal["keep"]
"""What is written into a register beside a value."""
Ranges = tuple[tuple[NonNegativeInt, NonNegativeInt], ...]

_HIGHEST = 400_000 + ADDRESSES
_LEAD = {Table.REGISTER: 4, Table.INPUT: 3, Table.DISCRETE: 1, Table.COIL: 0}


class Device(Strict):
    """One unit behind a link, and how it lays out its values."""

    unit: int = Field(1, ge=0, le=255, description="Unit number (slave address); many TCP devices take 1, 255 or any.")
    first_address: Literal[0, 1, 40000, 40001, 400001] = Field(
        0,
        description="The number of the first holding register in the maker's list: 0, 1, or 40001 (400001) where "
        "numbers begin with the table: 4 holding registers, 3 input registers, 1 discrete inputs, 0 coils.",
    )
    word_order: Order = Field(
        "big", description="Which register of a longer number comes first: `big` the high one, `little` the low one."
    )
    byte_order: Order = Field(
        "big", description="Which byte of a register comes first: `big` is the standard, `little` swaps them."
    )
    max_registers: int = Field(
        125, ge=1, le=125, description="The most registers that the device gives in one answer; the standard says 125."
    )
    max_gap: int | None = Field(
        None,
        ge=0,
        le=124,
        description="Up to this many unused addresses are read along to save a request; 0 for none. "
        "Default: as many as cost less time than another request, which is measured.",
    )
    forbidden: Ranges = Field(
        (),
        description="Addresses, first and last, that are never read but for a tag: not along with others, not to tell "
        "late answers apart: `[[40, 49], [200, 220]]`.",
    )
    groups: Ranges = Field(
        (),
        description="Registers, first and last, that are always read whole and in one request, so that their values "
        "belong together: `[[10, 17]]`.",
    )
    write_function: Literal[6, 16] | None = Field(
        None,
        description="6 where it takes only one register or coil in a request (functions 6 and 5), 16 where it takes "
        "only the functions for several (16 and 15). Default: whichever is shorter, the other where it refuses that.",
    )
    verify: Patience | None = Field(
        None, description="How long it may take until it shows what was written and acknowledged. Default: 2 s."
    )

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        check_ranges(self.groups, self.forbidden, self.max_registers)
        return self

    def first(self, table: Table) -> int:
        """The number that the maker's list gives to the first address of a table, which is 0 on the wire."""
        if self.first_address < 40_000:
            return self.first_address
        step = 10_000 if self.first_address < 100_000 else 100_000
        return self.first_address - (4 - _LEAD[table]) * step


class ScaleBy(Strict):
    """A register that tells what a value is multiplied by: a unit, a prefix, a range."""

    holding: int | None = Field(None, alias="register", ge=0, le=_HIGHEST, description="Holding register.")
    input: int | None = Field(None, ge=0, le=_HIGHEST, description="Input register, in place of a holding register.")
    type: Literal["int16", "uint16", "int32", "uint32", "float32"] = Field("uint16", description="How it is read.")
    values: Annotated[dict[Annotated[int, BeforeValidator(_number)], float], Field(min_length=1)] = Field(
        description="What the value is multiplied by, for each number that the register may hold: `{0: 1, 1: 1000}`."
    )
    absent: float | None = Field(
        None, description="What it is multiplied by where the device says that it has no such register; else BAD."
    )

    @model_validator(mode="after")
    def _has_one_address(self) -> Self:
        if (self.holding is None) == (self.input is None):
            raise ValueError("write either `register` or `input`, for example `register: 30`")
        return self

    @property
    def table(self) -> Table:
        return Table.INPUT if self.holding is None else Table.REGISTER

    @property
    def address(self) -> int:
        return next(each for each in (self.holding, self.input) if each is not None)


class Point(Strict):
    """The address of one value: exactly one of register, input, coil, discrete, sunspec."""

    # pydantic's metaclass has a method `register`, so the field has a name of its own.
    holding: int | None = Field(
        None, alias="register", ge=0, le=_HIGHEST, description="Holding register (functions 3, 6, 16); can be written."
    )
    input: int | None = Field(None, ge=0, le=_HIGHEST, description="Input register (function 4); read only.")
    coil: int | None = Field(None, ge=0, le=_HIGHEST, description="Coil (functions 1, 5, 15); can be written.")
    discrete: int | None = Field(None, ge=0, le=_HIGHEST, description="Discrete input (function 2); read only.")
    sunspec: Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)] | None = Field(
        None,
        description="A value by its SunSpec name, wherever the device has it: `meter/W`, `103/WH`, `mppt/1/DCW`, or a "
        "list of which the first that the device has is taken.",
    )
    type: Type | None = Field(
        None, description="How the register's bits are read; uint16 where not given, bool for coils, inputs and bits."
    )
    bit: int | None = Field(None, ge=0, le=15, description="One bit of a register as a bool; 0 is the lowest.")
    bits: str | None = Field(
        None, description="Some bits as a whole number, for example `4-7`; 0 is the lowest bit of the value."
    )
    byte: Literal["high", "low"] | None = Field(
        None,
        description="Which half of a register holds an int8 or uint8 (`low` where not given), or the one character "
        "that each register of a string holds (two where not given).",
    )
    length: int | None = Field(
        None, ge=1, le=123, description="How many registers a string (two characters each) or bytes take."
    )
    word_order: Order | None = Field(None, description="Which register comes first; as the device's where not given.")
    byte_order: Order | None = Field(None, description="Which byte comes first; as the device's where not given.")
    names: Names | None = Field(
        None, description="Names for numbers: `{0: idle, 1: running}` makes the value a text. Others are BAD."
    )
    other: str | None = Field(None, description="The text for a number that `names` does not name, instead of BAD.")
    fraction: int | None = Field(
        None, ge=1, le=63, description="Fixed point: how many of the lowest bits are behind the binary point."
    )
    factor: int | None = Field(
        None,
        ge=0,
        le=_HIGHEST,
        description="Address of an int16 in the same table: the value is times 10 to its power.",
    )
    scale_by: ScaleBy | None = Field(
        None,
        description="A register that tells the unit: `{register: 30, type: float32, values: {0: 1, 1: 1000}}`.",
    )
    plus: tuple[Annotated[int, Field(ge=0, le=_HIGHEST)], ...] = Field(
        (), description="Addresses in the same table whose values, of the same type, are added: `[805]`."
    )
    missing: Missing = Field(
        (), description="What the register holds where there is no value: `0x8000`, a list, or `default` for its type."
    )
    write_function: Literal[6, 16] | None = Field(None, description="As the device's where not given.")
    write_with: Annotated[dict[Annotated[int, BeforeValidator(_number)], Beside], Field(max_length=122)] = Field(
        default_factory=dict,
        description="Registers that are written in the same request (function 16), each with its raw value or `keep` "
        "for what it holds: `{101: keep, 102: 1}`.",
    )
    verify: Patience | None = Field(
        None, description="How long it may take until what was written is shown; as the device's where not given."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        rules.check(self)
        return self

    @property
    def kind(self) -> Type:
        """The type of registers with its default filled in."""
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
        """The number as written; what the device's list counts from is not yet taken off."""
        return next(a for a in (self.holding, self.input, self.coil, self.discrete) if a is not None)

    @property
    def count(self) -> int:
        """How many addresses it covers, without `plus` and `factor`."""
        return self.length or REGISTERS[self.kind]

    @property
    def sentinels(self) -> frozenset[int | float | str]:
        """The raw values that mean that there is none; 0x8000 and -32768 are the same int16."""
        always = ("default",) if self.kind.startswith("acc") else ()
        return frozenset(self._raw(each) for each in (*self.missing, *always))

    def _raw(self, sentinel: float | str) -> float | str:
        if sentinel != "default" and not self.kind.startswith("int"):
            return sentinel
        if self.kind == "string":
            return ""
        if self.kind.startswith("acc"):
            return 0
        lowest, highest = limits(self.kind, self.field)
        if sentinel == "default":
            return lowest or highest
        assert isinstance(sentinel, int)
        return sentinel - 2 * (highest + 1) if sentinel > highest else sentinel

    @property
    def field(self) -> tuple[int, int] | None:
        """The lowest bit and the number of bits that `bit` or `bits` picks out."""
        if self.bit is not None:
            return self.bit, 1
        if self.bits is None:
            return None
        low, high = (int(end) for end in self.bits.split("-"))
        return low, high - low + 1


class Absent(Point):
    """In place of a point that the device turned out not to have."""

    reason: str = Field("", description="Why it does not have it.")


def value_type(point: Point) -> ValueType:
    """The type that a point yields."""
    if point.names is not None:
        return "text"
    if point.sunspec is not None:
        return rules.sunspec_type(point.sunspec)
    if point.kind == "bool":
        return "boolean"
    if point.kind == "string":
        return "text"
    if point.kind == "bytes":
        return "bytes"
    fixed = point.fraction is None and point.factor is None and point.scale_by is None
    return "integer" if whole(point.kind) and fixed else "number"


def writable(point: Point) -> bool:
    """Whether it can be written; bits only where they lie in one register."""
    if point.holding is None:
        return point.coil is not None
    return not point.plus and point.scale_by is None and (point.bits is None or point.count == 1)
