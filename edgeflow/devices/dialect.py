"""What the forms of tag lists have in common: how a line of one becomes a tag of ours, and a tag of ours a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edgeflow.devices.config import is_path
from edgeflow.devices.plan import DevicePlan, TagPlan
from edgeflow.devices.table import Row
from edgeflow.devices.tool import tag_name
from edgeflow.errors import EdgeFlowError
from edgeflow.units import NS_PER_S, UNITS

Form = Literal["neuron", "kepware", "plain"]
Keys = dict[str, Any]
"""Keys of a device or of a tag with their values, as a configuration has them."""


class NotTaken(EdgeFlowError):
    """Something cannot be said in the other form; the message says why."""


@dataclass(slots=True)
class TagDraft:
    """A tag as it would be written; `remarks` are for the person: what of the line is not in it."""

    keys: Keys = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def access(self, *, reads: bool = True, writes: bool = False) -> None:
        """Who may do what with it; to be read and not written is the default."""
        if writes:
            self.keys["writable"] = True
        if not reads:
            self.keys["read"] = False

    def say(self, key: str, text: str) -> None:
        """A text where there is one."""
        if text:
            self.keys[key] = text

    def number(self, key: str, text: str, *neutral: float) -> None:
        """A number where there is one that changes anything; raises NotTaken where it is none."""
        value = number(text)
        if value is not None and value not in neutral:
            self.keys[key] = short(value)

    def pace(self, milliseconds: str) -> None:
        """How often it is read."""
        if every := number(milliseconds):
            self.keys["every"] = duration(round(every * 1e6))

    def spell_unit(self) -> None:
        """The unit in our spelling; one that is not known is left out, with a remark."""
        given = self.keys.get("unit")
        if given is None or given in UNITS:
            return
        folded = str(given).replace("℃", "°C").replace("℉", "°F").removeprefix("deg ").strip()
        fits = [name for name in UNITS if name == folded] or [name for name in UNITS if name.lower() == folded.lower()]
        if len(fits) == 1:
            self.keys["unit"] = fits[0]
        elif folded.lower() in ("c", "degc", "f", "degf"):
            self.keys["unit"] = f"°{folded[-1].upper()}"
        else:
            del self.keys["unit"]
            self.remarks.append(f"it is taken without its unit {given!r}, which is not known here")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a list as a tag of ours; `device` is "" where the list does not name it."""

    device: str
    of_device: Keys
    tag: TagDraft


@dataclass(frozen=True, slots=True)
class Written:
    """One tag of ours as a line of a list; `unsaid` are the keys for which there is no column."""

    row: Mapping[str, Any]
    unsaid: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Dialect:
    """One form of tag lists.

    `signs`: the columns by which a list is known to have it; every line has them. `columns`: those that are
    written, none where they follow from the tags. `says`: the keys of a device that its lines say; the others
    have to be said `elsewhere`. `read` and `write` raise NotTaken.
    """

    form: Form
    signs: frozenset[str]
    columns: tuple[str, ...]
    says: frozenset[str]
    elsewhere: str
    read: Callable[[Row, str], Line]
    write: Callable[[DevicePlan, TagPlan], Written]


# --- texts of cells -----------------------------------------------------------------------------------


def number(text: str) -> float | None:
    """A number with a decimal point or comma, None for an empty cell; raises NotTaken."""
    try:
        return float(text.replace(",", ".")) if text else None
    except ValueError:
        raise NotTaken(f"{text!r} is not a number") from None


def short(value: float) -> float | int:
    """The number with as few digits as it needs: 0.1 instead of 0.09999999999999999."""
    near = float(f"{value:.12g}")
    return int(near) if near.is_integer() and abs(near) < 1e15 else near


def duration(ns: int) -> str:
    """A duration as a configuration takes it, exactly, in the largest unit of which it is a whole number."""
    units = (("h", 3600 * NS_PER_S), ("min", 60 * NS_PER_S), ("s", NS_PER_S), ("ms", 1_000_000), ("ns", 1))
    return next(f"{ns // size} {unit}" for unit, size in units if ns % size == 0 and (ns or unit == "s"))


def name_in_our_spelling(name: str) -> str:
    """A name that is one of ours already as it is, another one in our spelling."""
    return name if is_path(name) and "/" not in name else tag_name(name)


def name_in_device(tag: TagPlan) -> str:
    """The tag's name without that of its device."""
    return tag.tag.name.partition("/")[2]


def without_column(tag: TagPlan, *possible: str) -> list[str]:
    """What the tag has of the `possible` keys, and of those that no other product knows."""
    has = {
        "range": tag.low is not None,
        "unit": tag.tag.unit is not None,
        "map": tag.map is not None,
        "counter": tag.counter is not None,
        "silence": tag.silence_ns is not None,
        "reads_as": bool(tag.reads_as),
    }
    return [key for key, there in has.items() if there and (key in possible or key not in ("range", "unit"))]
