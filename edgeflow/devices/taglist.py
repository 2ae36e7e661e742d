"""Reads lists of tags (CSV): EMQX Neuron's and Kepware's columns, and plain register lists."""

from __future__ import annotations

import json
import re
from collections import Counter as Count
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError, create_model

from edgeflow.devices import address
from edgeflow.devices.address import NotTaken
from edgeflow.devices.config import TagOptions, is_path, read_links_and_devices
from edgeflow.devices.table import Row, read_table
from edgeflow.devices.tool import tag_name
from edgeflow.document import At, Document, explain, parse, scalar
from edgeflow.driver import Driver
from edgeflow.errors import ConfigError, Problem
from edgeflow.model import Strict
from edgeflow.units import NS_PER_S, UNITS

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


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list that makes sense by itself: its name as the list has it, and the tag."""

    line: int
    name: str
    tag: dict[str, Any]


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
    columns, rows = read_table(path)
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
    found: dict[str, tuple[dict[str, Any], list[Entry]]] = {}
    for line, row in rows:
        name = row.get("name") or row.get("tag name") or ""
        if not name:
            taken.left.append(Left(line, "?", "it has no name"))
            continue
        try:
            say = partial(_leave, taken, line, name)
            _whole(row, form)
            where, own_keys, tag = each(row, driver.name, say)
            if digits and form is None:
                tag = address.by_digit(tag)
            _unit(tag, say)
            _checked(model, tag)
        except NotTaken as error:
            taken.left.append(Left(line, name, str(error)))
            continue
        where, of_row = where or device, {**own_keys, **keys}
        device_keys, entries = found.setdefault(where, (of_row, []))
        if device_keys == of_row:
            entries.append(Entry(line, name, tag))
        else:
            other = ", ".join(f"{key} {value}" for key, value in of_row.items() if device_keys.get(key) != value)
            taken.left.append(Left(line, name, f"it has {other}, unlike the first of {where}; give it another group"))
    for where, (device_keys, entries) in found.items():
        if entries := _fitting(driver, device_keys, entries, taken):
            taken.devices[where] = Draft(device_keys, _named(entries, taken))
    for draft in taken.devices.values():
        _share_rate(draft)
    taken.left.sort(key=lambda left: left.line)
    _notes(taken, driver.name, keys)
    return taken


def _leave(taken: Taken, line: int, name: str, reason: str) -> None:
    taken.left.append(Left(line, name, reason))


def _whole(row: Row, form: Form | None) -> None:
    """Raises NotTaken where a line ends before what every line of its form has."""
    if form and (cut := sorted(_SIGNS[form] - row.keys())):
        raise NotTaken(f"the line is too short: it ends before {' and '.join(map(repr, cut))}")


def _form(columns: Sequence[str]) -> Form | None:
    return next((form for form, signs in _SIGNS.items() if signs <= set(columns)), None)


Say = Callable[[str], None]
Each = tuple[str, dict[str, Any], dict[str, Any]]
"""The device (empty: the list does not say), its keys, and the tag."""


def _neuron(row: Row, driver: str, _say: Say) -> Each:
    words = set(re.findall(r"[a-z]+", row["attribute"].lower()))
    if "static" in words:
        raise NotTaken("a static tag has no address; write its value where it is needed")
    if not words or not words <= {"read", "write", "subscribe"}:
        raise NotTaken(f"its attribute is {row['attribute']!r}; known are Read, Write and Subscribe")
    keys, tag = address.from_neuron(driver, row["address"], row["type"])
    _may(tag, reads=words != {"write"}, writes="write" in words)
    _number(tag, "scale", row.get("decimal", ""), {0.0, 1.0})
    _number(tag, "offset", row.get("bias", ""), {0.0})
    _about(tag, row.get("description", ""))
    if rate := _float(row.get("interval", "")):
        tag["every"] = duration(round(rate * 1e6))
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
        tag["every"] = duration(round(rate * 1e6))
    return "", keys, tag


def _known(
    path: Path, columns: Sequence[str], rows: list[tuple[int, Row]], model: type[BaseModel], taken: Taken
) -> list[tuple[int, Row]]:
    """The rows of a plain list by our words, without the columns that mean nothing here, which are told.

    Raises ConfigError where no column is the name.
    """
    words = {column: _plain_word(column) for column in columns}
    for column, word in words.items():
        if _is_own(column, word, [row[column] for _, row in rows if row.get(column)], model):
            words[column] = _as_key(column)
            if word not in words.values():
                told = f"it is taken for the setting of that name, not for `{word}`; where it is that, call it `{word}`"
                taken.left.append(Left(1, f"column {column!r}", told))
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
            if (scale := _factor(cell)) != 1:
                tag[word] = scale
        elif word == "offset":
            tag[word] = _float(cell)
        elif word == "writable":
            _may(tag, reads=True, writes=bool(re.search(r"w|yes|true|1", cell.lower())))
        elif word == "type":
            tag[word] = address.plain_type(driver, cell)
        elif word in ("about", "unit"):
            tag[word] = cell
        else:
            tag[word] = cell_value(cell)
    return _kept(row["device"]) if row.get("device") else "", {}, tag


def cell_value(text: str) -> Any:
    """What a cell of a plain list says: a scalar as in a configuration, or a list, mapping or quoted text."""
    if text[:1] not in ("[", "{", '"'):
        return scalar(text)
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return parse(text).data
    except ConfigError:
        return text


def _kept(name: str) -> str:
    """A name that is one already as it is, another one in our spelling."""
    return name if is_path(name) and "/" not in name else tag_name(name)


def _plain_word(column: str) -> str:
    return _WORDS.get(column.strip().lower(), _as_key(column))


def _as_key(column: str) -> str:
    return re.sub(r"[ -]", "_", column.strip().lower())


def _is_own(column: str, word: str, cells: Sequence[str], model: type[BaseModel]) -> bool:
    """Whether a column that people call so is a setting of the driver with that name, as its cells tell."""
    own = _as_key(column)
    setting = next((each for name, each in model.model_fields.items() if own == (each.alias or name)), None)
    if setting is None or own == word or not cells:
        return False
    form: Any = Annotated[setting.annotation, *setting.metadata]
    fits: TypeAdapter[Any] = TypeAdapter(form)
    try:
        for cell in cells:
            fits.validate_python(cell_value(cell), strict=True)
    except ValidationError:
        return False
    return True


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
    if match[1] and match[1][-1] in "/÷":
        return short(1 / value)
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


def short(value: float) -> float | int:
    """The number with as few digits as it needs: 0.1 instead of 0.09999999999999999."""
    near = float(f"{value:.12g}")
    return int(near) if near.is_integer() and abs(near) < 1e15 else near


def duration(ns: int) -> str:
    """A duration as a configuration takes it, exactly, in the largest unit of which it is a whole number."""
    units = (("h", 3600 * NS_PER_S), ("min", 60 * NS_PER_S), ("s", NS_PER_S), ("ms", 1_000_000), ("ns", 1))
    return next(f"{ns // size} {unit}" for unit, size in units if ns % size == 0 and (ns or unit == "s"))


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


class _AnyLink(Strict):
    """The link, of which a list says nothing."""


def _fitting(driver: Driver[Any, Any, Any], keys: Mapping[str, Any], entries: list[Entry], taken: Taken) -> list[Entry]:
    """The entries that a configuration of this device can have; the others are left, with what it would say."""
    while entries:
        refused: dict[int, list[str]] = {}
        for problem in _problems(driver, keys, entries):
            key = problem.path.removeprefix("devices.device").removeprefix(f".tags.line-{problem.line}").lstrip(".")
            refused.setdefault(problem.line, []).append(f"{key}: {problem.message}" if key else problem.message)
        if not refused:
            break
        for entry in entries:
            if reasons := refused.get(entry.line, refused.get(0)):
                taken.left.append(Left(entry.line, entry.name, "; ".join(reasons)))
        entries = [entry for entry in entries if entry.line not in refused and 0 not in refused]
    return entries


def _problems(driver: Driver[Any, Any, Any], keys: Mapping[str, Any], entries: Iterable[Entry]) -> Sequence[Problem]:
    """What a configuration with this device says against it; the line is that of the list, 0 for the device itself."""
    at: At = ("devices", "device")
    tags = {f"line-{entry.line}": entry.tag for entry in entries}
    marks: dict[At, tuple[int, int]] = {at: (0, 0), (*at, "tags"): (0, 0)}
    marks |= {(*at, "tags", f"line-{entry.line}"): (entry.line, 1) for entry in entries}
    links = {"link": {"driver": driver.name}}
    data = {"links": links, "devices": {"device": {"link": "link", **keys, "tags": tags}}}
    try:
        read_links_and_devices(Document("", data, marks), lambda _: replace(driver, link=_AnyLink))
    except ConfigError as error:
        return error.problems
    return ()


def _named(entries: Sequence[Entry], taken: Taken) -> Tags:
    """The tags by name: the last word of it, with as many before it as all of that name need to be told apart."""
    trails = [[each.name] if is_path(each.name) else re.split(r"[./]", each.name) for each in entries]
    words = [trail if len(trail) == 1 and is_path(trail[0]) else [*map(_kept, trail)] for trail in trails]
    lengths = [1] * len(words)
    while True:
        names = ["-".join(each[-length:]) for each, length in zip(words, lengths, strict=True)]
        count = Count(names)
        alike = [i for i, name in enumerate(names) if count[name] > 1 and lengths[i] < len(words[i])]
        if not alike:
            break
        for i in alike:
            lengths[i] += 1
    tags: Tags = {}
    shortened: list[tuple[Entry, str]] = []
    for i, entry in enumerate(entries):
        name, number = names[i], 1
        while name in tags or (number > 1 and name in count):
            number += 1
            name = f"{names[i]}-{number}"
        tags[name] = entry.tag
        if number > 1:
            reason = f"it is named `{name}`, because there is another {names[i]!r} before it"
            _leave(taken, entry.line, entry.name, reason)
        elif lengths[i] > 1:
            _leave(taken, entry.line, entry.name, f"it is named `{name}`, because there are several {words[i][-1]!r}")
        elif len(words[i]) > 1:
            shortened.append((entry, name))
    if shortened:
        entry, name = shortened[0]
        more = f"; {len(shortened)} names are shortened like this" if len(shortened) > 1 else ""
        _leave(taken, entry.line, entry.name, f"it is named `{name}`, which is unique here{more}")
    return tags


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
