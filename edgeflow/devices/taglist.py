"""Reads lists of tags (CSV): EMQX Neuron's and Kepware's columns, and plain register lists."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter as Count
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError, create_model

from edgeflow.devices import address
from edgeflow.devices.address import NotTaken
from edgeflow.devices.config import TagOptions
from edgeflow.devices.tool import Names, tag_name
from edgeflow.document import explain, scalar
from edgeflow.driver import Driver
from edgeflow.errors import ConfigError, Problem
from edgeflow.units import UNITS, duration_text

Form = Literal["neuron", "kepware", "plain"]
Tags = dict[str, dict[str, Any]]

_SIGNS: Mapping[Form, frozenset[str]] = {
    "kepware": frozenset(("tag name", "address", "data type")),
    "neuron": frozenset(("name", "address", "attribute", "type")),
}
_WORDS = {
    "tag": "name", "tag name": "name", "parameter": "name", "holding": "register", "holding register": "register",
    "input register": "input", "discrete input": "discrete", "data type": "type", "datatype": "type", "units": "unit",
    "factor": "scale", "multiplier": "scale", "description": "about", "comment": "about", "remark": "about",
    "access": "writable", "rw": "writable", "r/w": "writable", "interval": "every",
    "register address": "address", "modbus address": "address", "adresse": "address", "registeradresse": "address",
    "bezeichnung": "name", "variable": "name", "messwert": "name", "halteregister": "register",
    "eingangsregister": "input", "typ": "type", "datentyp": "type", "format": "type", "einheit": "unit",
    "faktor": "scale", "skalierung": "scale", "beschreibung": "about", "bemerkung": "about", "kommentar": "about",
    "zugriff": "writable",
}  # fmt: skip
"""What people call the columns of a plain list, and what we call them."""
_BESIDE = frozenset(("name", "device", "address"))
_MOST_LINES = 100_000


@dataclass(frozen=True, slots=True)
class Left:
    """Something that was not taken over: the line (from 1, 0: the whole list), what it speaks of, and why."""

    line: int
    what: str
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.what}: {self.reason}" if self.line else f"{self.what}: {self.reason}"


@dataclass(slots=True)
class Draft:
    """A device as it would be written: its keys, and its tags by name."""

    keys: dict[str, Any]
    tags: Tags = field(default_factory=dict)
    names: Names = field(default_factory=Names)


@dataclass(slots=True)
class Taken:
    """What became of a list: devices by name, and what was left."""

    form: Form
    devices: dict[str, Draft] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(len(draft.tags) for draft in self.devices.values())


def read_list(path: Path, driver: Driver[Any, Any, Any], device: str, keys: Mapping[str, Any]) -> Taken:
    """Reads a list of tags; `device` names the device where the list does not, `keys` are those of every device.

    Raises ConfigError where it cannot be read or its columns are none that we know.
    """
    columns, rows = _table(path)
    form = _form(columns)
    taken = Taken(form or "plain")
    each = {"neuron": _neuron, "kepware": _kepware, "plain": _plain}[taken.form]
    model: type[BaseModel] = create_model(f"{driver.name} tag", __base__=(driver.point, TagOptions))
    digits = driver.name == "modbus" and keys.get("first_address") in (40_000, 40_001, 400_001)
    if form is None:
        rows = _known(path, columns, rows, model, taken)
        if driver.name == "modbus" and not digits and any(row.get("address") for _, row in rows):
            problem = (
                "name the column of addresses by its table: `register` (holding), `input`, `coil` or `discrete`; where "
                "the first digit of its numbers is the table, as in 40001, say `--device first_address=40001`"
            )
            raise ConfigError([Problem(str(path), 1, 1, "", problem)])
    for line, row in rows:
        name = row.get("name") or row.get("tag name") or ""
        if not name:
            taken.left.append(Left(line, "?", "it has no name"))
            continue
        try:
            say = partial(_leave, taken, line, name)
            where, own_keys, tag = each(row, driver.name, say)
            if digits and form is None:
                tag = address.by_digit(tag)
            _unit(tag, say)
            _checked(model, tag)
        except NotTaken as error:
            taken.left.append(Left(line, name, str(error)))
            continue
        draft = taken.devices.setdefault(where or device, Draft({**own_keys, **keys}))
        *above, title = re.split(r"[./]", name)
        draft.tags[draft.names.name(title, above)] = tag
    for draft in taken.devices.values():
        _share_rate(draft)
    _notes(taken, driver.name, keys)
    return taken


def _leave(taken: Taken, line: int, name: str, reason: str) -> None:
    taken.left.append(Left(line, name, reason))


def _table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns, and the rows with their line; every cell without white space around it."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, 0, "", f"cannot be read: {error.strerror}")]) from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")  # what spreadsheets on Windows save
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    columns = [cell.strip().lower().replace("eng. units", "eng units") for cell in next(reader, [])]
    rows = []
    for cells in reader:
        row = {column: cell.strip() for column, cell in zip(columns, cells, strict=False)}
        if any(row.values()) and not next(iter(row.values())).startswith("#"):
            rows.append((reader.line_num, row))
        if len(rows) > _MOST_LINES:
            raise ConfigError([Problem(str(path), reader.line_num, 0, "", f"has more than {_MOST_LINES} lines")])
    return columns, rows


def _form(columns: Sequence[str]) -> Form | None:
    return next((form for form, signs in _SIGNS.items() if signs <= set(columns)), None)


Row = Mapping[str, str]
Say = Callable[[str], None]
Each = tuple[str, dict[str, Any], dict[str, Any]]
"""The device (empty: the list does not say), its keys, and the tag."""


def _neuron(row: Row, driver: str, _say: Say) -> Each:
    words = set(re.findall(r"[a-z]+", row["attribute"].lower()))
    if "static" in words:
        raise NotTaken("a static tag has no address; write its value where it is needed")
    if not words <= {"read", "write", "subscribe"}:
        raise NotTaken(f"its attribute is {row['attribute']!r}; known are Read, Write and Subscribe")
    keys, tag = address.from_neuron(driver, row["address"], row["type"])
    _may(tag, reads=words != {"write"}, writes="write" in words)
    _number(tag, "scale", row.get("decimal", ""), {0.0, 1.0})
    _number(tag, "offset", row.get("bias", ""), {0.0})
    _about(tag, row.get("description", ""))
    if rate := _float(row.get("interval", "")):
        tag["every"] = duration_text(round(rate * 1e6))
    group = tag_name(row.get("group", "")) if row.get("group") else ""
    unit = keys.get("unit")
    name = f"{group}-{unit}" if group and unit not in (None, 1) and not group.endswith(f"-{unit}") else group
    return name, keys, tag


def _kepware(row: Row, driver: str, say: Say) -> Each:
    scaling = row.get("scaling", "").lower()
    if scaling not in ("", "none", "linear"):
        raise NotTaken(f"its scaling is {row['scaling']!r}; only linear scaling is possible here")
    keys, tag = address.from_kepware(driver, row["address"], row["data type"])
    access = row.get("client access", "").upper()
    _may(tag, reads=access != "WO", writes=access in ("R/W", "RW", "WO"))
    if scaling == "linear":
        low, high, to_low, to_high = (
            _needed(row, column) for column in ("raw low", "raw high", "scaled low", "scaled high")
        )
        if low == high or to_low == to_high:
            raise NotTaken("its scaling maps a range of no width")
        scale, sign = (to_high - to_low) / (high - low), -1 if _yes(row.get("negate value", "")) else 1
        tag |= {"scale": short(sign * scale), "offset": short(sign * (to_low - low * scale))}
        tag = {key: value for key, value in tag.items() if (key, value) not in (("scale", 1), ("offset", 0))}
        if _yes(row.get("clamp low", "")) or _yes(row.get("clamp high", "")):
            say("it is taken without clamping; `range: [lowest, highest]` makes what lies outside BAD")
    if row.get("eng units"):
        tag["unit"] = row["eng units"]
    _about(tag, row.get("description", ""))
    if rate := _float(row.get("scan rate", "")):
        tag["every"] = duration_text(round(rate * 1e6))
    return "", keys, tag


def _known(
    path: Path, columns: Sequence[str], rows: list[tuple[int, dict[str, str]]], model: type[BaseModel], taken: Taken
) -> list[tuple[int, dict[str, str]]]:
    """The rows of a plain list by our words, without the columns that mean nothing here, which are told.

    Raises ConfigError where no column is the name.
    """
    words = {column: _plain_word(column) for column in columns}
    if "name" not in words.values():
        wanted = "`name` with `register`, `type`, `unit`, `scale`; or the columns of Neuron or Kepware"
        problem = f"the first line must name the columns ({wanted}), not {', '.join(columns)[:80]}"
        raise ConfigError([Problem(str(path), 1, 1, "", problem)])
    known = {field.alias or name for name, field in model.model_fields.items()} | _BESIDE
    for column, word in words.items():
        if column and word not in known and any(row.get(column) for _, row in rows):
            taken.left.append(Left(1, f"column {column!r}", "it is not known, and left out"))
    return [(line, {words[column]: row[column] for column in row if words[column] in known}) for line, row in rows]


def _plain(row: Row, driver: str, _say: Say) -> Each:
    tag: dict[str, Any] = {}
    for word, cell in row.items():
        if not cell or word in ("name", "device"):
            continue
        if word == "scale":
            _number(tag, word, str(_factor(cell)), {1.0})
        elif word == "writable":
            _may(tag, reads=True, writes=bool(re.search(r"w|yes|true|1", cell.lower())))
        elif word == "type":
            tag[word] = address.plain_type(driver, cell)
        elif word in ("about", "unit"):
            tag[word] = cell
        else:
            tag[word] = scalar(cell)
    return tag_name(row["device"]) if row.get("device") else "", {}, tag


def _plain_word(column: str) -> str:
    word = column.strip().lower()
    return _WORDS.get(word, re.sub(r"[ -]", "_", word))


def _may(tag: dict[str, Any], *, reads: bool, writes: bool) -> None:
    if writes:
        tag["writable"] = True
    if not reads:
        tag["read"] = False


def _about(tag: dict[str, Any], text: str) -> None:
    if text:
        tag["about"] = text


def _number(tag: dict[str, Any], key: str, text: str, nothing: set[float]) -> None:
    value = _float(text)
    if value is not None and value not in nothing:
        tag[key] = short(value)


def _float(text: str) -> float | None:
    try:
        return float(text.replace(",", ".")) if text else None
    except ValueError:
        raise NotTaken(f"{text!r} is not a number") from None


def _needed(row: Row, column: str) -> float:
    value = _float(row.get(column, ""))
    if value is None:
        raise NotTaken(f"it is scaled, but has no {column!r}")
    return value


def _factor(text: str) -> float | int:
    """`0.1`, `0,1`, `x 0.1` and `/10` all mean that the raw value is multiplied by 0.1."""
    match = re.fullmatch(r"(/|÷|1\s*/|[*x×])?\s*([-+0-9.,eE]+)", text.strip())
    value = _float(match[2]) if match else None
    if not match or not value:
        raise NotTaken(f"{text!r} is not a scale; write what the raw value is multiplied by, for example 0.1")
    return short(1 / value if match[1] and match[1][-1] in "/÷" else value)


def short(value: float) -> float | int:
    """The number with as few digits as it needs: 0.1 instead of 0.09999999999999999."""
    near = float(f"{value:.12g}")
    return int(near) if near.is_integer() and abs(near) < 1e15 else near


def _yes(text: str) -> bool:
    return text.lower() in ("1", "true", "yes")


def _unit(tag: dict[str, Any], say: Say) -> None:
    """A unit in our spelling; one that we do not know is left out and told."""
    given = tag.get("unit")
    if given is None or given in UNITS:
        return
    folded = str(given).replace("℃", "°C").replace("℉", "°F").removeprefix("deg ").strip()
    fits = [name for name in UNITS if name == folded] or [name for name in UNITS if name.lower() == folded.lower()]
    if len(fits) == 1:
        tag["unit"] = fits[0]
    elif folded.lower() in ("c", "degc", "f", "degf"):
        tag["unit"] = f"°{folded[-1].upper()}"
    else:
        del tag["unit"]
        say(f"it is taken without its unit {given!r}, which is not known here")


def _checked(model: type[BaseModel], tag: Mapping[str, Any]) -> None:
    try:
        model.model_validate(tag)
    except ValidationError as error:
        details = error.errors(include_url=False)
        said = [
            f"{'.'.join(map(str, detail['loc']))}: {explain(detail, model)}"
            if detail["loc"]
            else explain(detail, model)
            for detail in details
        ]
        raise NotTaken("; ".join(said)) from None


def _share_rate(draft: Draft) -> None:
    """The rate that most tags have becomes that of the device."""
    rates = Count(tag["every"] for tag in draft.tags.values() if "every" in tag)
    if not rates:
        return
    most = rates.most_common(1)[0][0]
    if rates[most] == len(draft.tags):
        draft.keys = {**draft.keys, "every": draft.keys.get("every", most)}
        for tag in draft.tags.values():
            del tag["every"]


def _notes(taken: Taken, driver: str, keys: Mapping[str, Any]) -> None:
    """What concerns the whole list."""
    tags = [tag for draft in taken.devices.values() for tag in draft.tags.values()]
    if driver != "modbus":
        return
    if taken.form == "kepware" and "word_order" not in keys and any(address.is_long(tag) for tag in tags):
        taken.left.insert(0, Left(0, "word order", address.KEPWARE_ORDER))
    if taken.form == "kepware" and "unit" not in keys:
        taken.left.insert(0, Left(0, "unit", "the list does not name it, so it is 1; else say `--device unit=7`"))
    numbers = [tag[key] for tag in tags for key in address.TABLES if key in tag]
    if taken.form == "plain" and "first_address" not in keys and numbers and min(numbers) >= 30_001:
        reason = "the numbers are as in 40001: if the list counts like that, say `--device first_address=40001`"
        taken.left.insert(0, Left(0, "addresses", reason))
