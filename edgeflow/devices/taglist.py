"""Reads lists of tags (CSV): EMQX Neuron's and Kepware's columns, and plain register lists."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError, create_model

from edgeflow.devices.address import TABLES, by_digit, is_long
from edgeflow.devices.config import TagOptions, is_path, read_links_and_devices
from edgeflow.devices.dialect import Dialect, Form, Keys, NotTaken, TagDraft, name_in_our_spelling
from edgeflow.devices.kepware import KEPWARE, WORD_ORDER
from edgeflow.devices.neuron import NEURON
from edgeflow.devices.plainlist import PLAIN, our_words
from edgeflow.devices.table import Row, read_table
from edgeflow.document import At, Document, explain
from edgeflow.driver import Driver
from edgeflow.errors import ConfigError, Problem
from edgeflow.model import Strict

DIALECTS: Mapping[Form, Dialect] = {dialect.form: dialect for dialect in (KEPWARE, NEURON, PLAIN)}
Tags = dict[str, Keys]
"""Tags by name."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What a person must know of a list: the line (from 1, 0: the whole list), what it speaks of, and why."""

    line: int
    what: str
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.what}: {self.reason}" if self.line else f"{self.what}: {self.reason}"


@dataclass(slots=True)
class Draft:
    """A device as it would be written: its keys, and its tags by name."""

    keys: Keys
    tags: Tags = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list that makes sense by itself: its name as the list has it, and the tag."""

    line: int
    name: str
    tag: Keys


@dataclass(slots=True)
class Imported:
    """What became of a list: devices by name, and what is to be said."""

    form: Form
    devices: dict[str, Draft] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(len(draft.tags) for draft in self.devices.values())

    def remark(self, line: int, what: str, reason: str) -> None:
        self.remarks.append(Remark(line, what, reason))


def read_list(path: Path, driver: Driver[Any, Any, Any], device: str, keys: Mapping[str, Any]) -> Imported:
    """Reads a list of tags; `device` names the device where the list does not, `keys` are those of every device.

    Raises ConfigError where it cannot be read or its columns are none that we know.
    """
    columns, rows = read_table(path)
    dialect = next((each for each in DIALECTS.values() if each.signs and each.signs <= set(columns)), PLAIN)
    return _Reading(path, driver, device, keys, dialect).imported(columns, rows)


class _Reading:
    """One list at work: line by line, then device by device, then as a whole."""

    def __init__(
        self, path: Path, driver: Driver[Any, Any, Any], device: str, keys: Mapping[str, Any], dialect: Dialect
    ) -> None:
        self._path, self._driver, self._device, self._keys, self._dialect = path, driver, device, keys, dialect
        self._imported = Imported(dialect.form)
        self._tag_model: type[BaseModel] = create_model(f"{driver.name} tag", __base__=(driver.point, TagOptions))
        first = keys.get("first_address")
        self._table_by_digit = dialect is PLAIN and driver.name == "modbus" and first in (40_000, 40_001, 400_001)

    def imported(self, columns: Sequence[str], rows: list[tuple[int, Row]]) -> Imported:
        if self._dialect is PLAIN:
            rows = self._in_our_words(columns, rows)
        found: dict[str, tuple[Keys, list[Entry]]] = {}
        for line, row in rows:
            self._take(line, row, found)
        for name, (device_keys, entries) in found.items():
            if entries := self._fitting(device_keys, entries):
                self._imported.devices[name] = Draft(device_keys, unique_names(entries, self._imported))
        for draft in self._imported.devices.values():
            _share_rate(draft)
        self._imported.remarks.sort(key=lambda remark: remark.line)
        self._remarks_on_all()
        return self._imported

    # --- line by line ---

    def _in_our_words(self, columns: Sequence[str], rows: list[tuple[int, Row]]) -> list[tuple[int, Row]]:
        """The rows of a plain list by our words; raises ConfigError where no column is the name, or which table."""
        words, remarks = our_words(columns, rows, self._tag_model)
        for column, remark in remarks:
            self._imported.remark(1, f"column {column!r}", remark)
        if "name" not in words.values():
            wanted = "`name` with `register`, `type`, `unit`, `scale`; or the columns of Neuron or Kepware"
            self._unreadable(f"the first line must name the columns ({wanted}), not {', '.join(columns)[:80]}")
        named: list[tuple[int, Row]] = [
            (line, {words[each]: row[each] for each in row if words[each]}) for line, row in rows
        ]
        if self._driver.name == "modbus" and not self._table_by_digit and any(row.get("address") for _, row in named):
            self._unreadable(
                "name the column of addresses by its table: `register` (holding), `input`, `coil` or `discrete`; where "
                "the first digit of its numbers is the table, as in 40001, say `--device first_address=40001`"
            )
        return named

    def _unreadable(self, problem: str) -> None:
        raise ConfigError([Problem(str(self._path), 1, 1, "", problem)])

    def _take(self, line: int, row: Row, found: dict[str, tuple[Keys, list[Entry]]]) -> None:
        """Adds the tag of a line to its device in `found`, or leaves it with the reason."""
        imported = self._imported
        name = row.get("name") or row.get("tag name") or ""
        if not name:
            imported.remark(line, "?", "it has no name")
            return
        try:
            device, of_line, tag = self._read(row)
        except NotTaken as error:
            imported.remark(line, name, str(error))
            return
        for remark in tag.remarks:
            imported.remark(line, name, remark)
        device, of_line = device or self._device, {**of_line, **self._keys}
        of_device, entries = found.setdefault(device, (of_line, []))
        if of_device == of_line:
            entries.append(Entry(line, name, tag.keys))
        else:
            other = ", ".join(f"{key} {value}" for key, value in of_line.items() if of_device.get(key) != value)
            imported.remark(line, name, f"it has {other}, unlike the first of {device}; give it another group")

    def _read(self, row: Row) -> tuple[str, Keys, TagDraft]:
        """The device of a line, that device's keys and the tag; raises NotTaken."""
        if cut := sorted(self._dialect.signs - row.keys()):
            raise NotTaken(f"the line is too short: it ends before {' and '.join(map(repr, cut))}")
        line = self._dialect.read(row, self._driver.name)
        if self._table_by_digit:
            line.tag.keys = by_digit(line.tag.keys)
        line.tag.spell_unit()
        try:
            self._tag_model.model_validate(line.tag.keys)
        except ValidationError as error:
            said = [
                f"{'.'.join(map(str, detail['loc']))}: {explain(detail, self._tag_model)}"
                if detail["loc"]
                else explain(detail, self._tag_model)
                for detail in error.errors(include_url=False)
            ]
            raise NotTaken("; ".join(said)) from None
        return line.device, line.of_device, line.tag

    # --- device by device ---

    def _fitting(self, keys: Keys, entries: list[Entry]) -> list[Entry]:
        """The entries that a configuration of this device can have; the others are left, with what it would say."""
        while entries:
            refused: dict[int, list[str]] = {}
            for problem in self._problems(keys, entries):
                key = problem.path.removeprefix("devices.device").removeprefix(f".tags.line-{problem.line}").lstrip(".")
                refused.setdefault(problem.line, []).append(f"{key}: {problem.message}" if key else problem.message)
            if not refused:
                break
            for entry in entries:
                if reasons := refused.get(entry.line, refused.get(0)):
                    self._imported.remark(entry.line, entry.name, "; ".join(reasons))
            entries = [entry for entry in entries if entry.line not in refused and 0 not in refused]
        return entries

    def _problems(self, keys: Keys, entries: Iterable[Entry]) -> Sequence[Problem]:
        """What a configuration with this device says against it; the line is that of the list, 0 for the device."""
        at: At = ("devices", "device")
        lines = {entry.name: f"line-{entry.line}" for entry in entries}
        tags = {f"line-{entry.line}": dict(entry.tag) for entry in entries}
        for tag in tags.values():
            if (other := tag.get("reads_as")) in lines:
                tag["reads_as"] = lines[other]
        marks: dict[At, tuple[int, int]] = {at: (0, 0), (*at, "tags"): (0, 0)}
        marks |= {(*at, "tags", f"line-{entry.line}"): (entry.line, 1) for entry in entries}
        links = {"link": {"driver": self._driver.name}}
        data = {"links": links, "devices": {"device": {"link": "link", **keys, "tags": tags}}}
        try:
            read_links_and_devices(Document("", data, marks), lambda _: replace(self._driver, link=_AnyLink))
        except ConfigError as error:
            return error.problems
        return ()

    # --- the whole list ---

    def _remarks_on_all(self) -> None:
        tags = [tag for draft in self._imported.devices.values() for tag in draft.tags.values()]
        if self._driver.name != "modbus":
            return
        remarks, keys = self._imported.remarks, self._keys
        if self._dialect is KEPWARE and "word_order" not in keys and any(is_long(tag) for tag in tags):
            remarks.insert(0, Remark(0, "word order", WORD_ORDER))
        if self._dialect is KEPWARE and "unit" not in keys:
            remarks.insert(0, Remark(0, "unit", "the list does not name it, so it is 1; else say `--device unit=7`"))
        numbers = [tag[key] for tag in tags for key in TABLES if key in tag]
        if self._dialect is PLAIN and "first_address" not in keys and numbers and min(numbers) >= 30_001:
            reason = "the numbers are as in 40001: if the list counts like that, say `--device first_address=40001`"
            remarks.insert(0, Remark(0, "addresses", reason))


class _AnyLink(Strict):
    """The link, of which a list says nothing."""


def unique_names(entries: Sequence[Entry], imported: Imported) -> Tags:
    """The tags by name: the last word of it, with as many before it as all of that name need to be told apart."""
    trails = [[each.name] if is_path(each.name) else re.split(r"[./]", each.name) for each in entries]
    words = [
        trail if len(trail) == 1 and is_path(trail[0]) else [*map(name_in_our_spelling, trail)] for trail in trails
    ]
    lengths = [1] * len(words)
    while True:
        names = ["-".join(each[-length:]) for each, length in zip(words, lengths, strict=True)]
        count = Counter(names)
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
            imported.remark(entry.line, entry.name, reason)
        elif lengths[i] > 1:
            imported.remark(entry.line, entry.name, f"it is named `{name}`, because there are several {words[i][-1]!r}")
        elif len(words[i]) > 1:
            shortened.append((entry, name))
    if shortened:
        entry, name = shortened[0]
        more = f"; {len(shortened)} names are shortened like this" if len(shortened) > 1 else ""
        imported.remark(entry.line, entry.name, f"it is named `{name}`, which is unique here{more}")
    return tags


def _share_rate(draft: Draft) -> None:
    """The rate that most tags have becomes that of the device."""
    rates = Counter(tag["every"] for tag in draft.tags.values() if "every" in tag)
    if not rates:
        return
    most = rates.most_common(1)[0][0]
    if rates[most] == len(draft.tags):
        draft.keys = {**draft.keys, "every": draft.keys.get("every", most)}
        for tag in draft.tags.values():
            del tag["every"]
