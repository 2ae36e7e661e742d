"""A kind of device as data: its points, what they mean, where that is known from, and how to tell that it fits.

A template is a file `templates/<maker>/<model>.yaml`, in a folder beside the configuration or in the package of
its driver. What a person writes at the device wins over it, key by key:

    meter1: {link: bus1, unit: 7, template: eastron/sdm630, with: {nominal_voltage: 120}}

    tags:
      power: {scale: -0.001}             # of this tag one key
      thd_voltage_l1: ~                  # takes the tag away
      cabinet: {input: 0x200, unit: °C}  # one more
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from edgeflow import driver as drivers
from edgeflow import parameters
from edgeflow.document import At, Document, dotted, load, parse, shown, suggestion
from edgeflow.errors import ConfigError, Problem
from edgeflow.model import Strict, Value
from edgeflow.parameters import fill, parameters_in

if TYPE_CHECKING:  # it costs milliseconds that only a device with a template needs
    from importlib.resources.abc import Traversable

FOLDER = "templates"
CASE = ".case.yaml"
"""How the name of a template's recorded case ends."""
OWN = ("link", "template", "with", "only", "tags")
"""Keys of a device that its template cannot give."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)+")


class Parameter(parameters.Parameter):
    """What differs from one such device to the next, and the template cannot know."""

    type: Literal["number", "integer", "text", "boolean"] = Field(default="number", description="Kind of the value.")


class Contradiction(Strict):
    """Something that public maps of the device do not agree on."""

    about: str = Field(description="What they do not agree on, and who says what.")
    source: str = Field(description="Where that was read: the maker's document, or a public source, in words.")
    here: str = Field(description="What this template does, and why.")


class Template(Strict):
    """A kind of device: what a person would otherwise have to write for every one of them."""

    template: str = Field(description="Its name, `maker/model`, which is where its file is.")
    title: str = Field(description="What it is, in one line.")
    fits: tuple[str, ...] = Field(default=(), description="The maker's models that it is for.")
    driver: str = Field(description="The protocol: the name of an installed driver.")
    source: str = Field(
        description="Where its content is known from: the maker's document or a public source, in words."
    )
    first: tuple[str, ...] = Field(default=(), description="What has to be set at the device before it answers.")
    parameters: dict[str, Parameter] = Field(default_factory=dict, description="What can be given by `with`.")
    device: dict[str, Any] = Field(default_factory=dict, description="Keys of the device, as in a configuration.")
    tags: dict[str, dict[str, Any]] = Field(min_length=1, description="Its tags by name, as in a configuration.")
    probe: tuple[dict[str, Any], ...] = Field(
        default=(), description="Points with what they must hold, by which the device is told from others."
    )
    checks: tuple[dict[str, Any], ...] = Field(default=(), description="What physics asks of its values.")
    contradictions: tuple[Contradiction, ...] = Field(default=(), description="Where public maps disagree.")
    notes: tuple[str, ...] = Field(default=(), description="What else is good to know, in plain words.")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A template together with the document it was read from."""

    template: Template
    document: Document

    def filled(self, what: Value, given: Mapping[str, Value]) -> Value:
        """A part of the template with its parameters put in; `given` are those that are not left at their default."""
        return fill(what, {name: given.get(name, each.default) for name, each in self.template.parameters.items()})

    @property
    def complete(self) -> bool:
        """Whether it can be used without giving any parameter."""
        return all(parameter.default is not None for parameter in self.template.parameters.values())


class Library:
    """Finds templates: in the folders of the site first, then in the package of the driver.

    Only what is asked for is read, and once.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        self._folders: tuple[Traversable, ...] = tuple(folders)
        self._known: dict[tuple[str, str], Sheet] = {}

    def find(self, driver: str, name: str) -> Sheet:
        """The template of a driver's device.

        Raises KeyError with a message that says what there is, and ConfigError where its file is wrong.
        """
        if (driver, name) not in self._known:
            self._known[driver, name] = self._read(driver, name)
        return self._known[driver, name]

    def names(self, driver: str) -> list[str]:
        """The names of all templates that a device of this driver can use, and of the site's own for other drivers."""
        return sorted({name for root in self._roots(driver) for name in _names(root)})

    def _roots(self, driver: str) -> list[Traversable]:
        package = shipped(driver)
        return [*self._folders, *([package] if package else [])]

    def _read(self, driver: str, name: str) -> Sheet:
        if not _NAME.fullmatch(name):
            raise KeyError(f"{name!r} is not the name of a template; write `maker/model`, for example `eastron/sdm630`")
        for root in self._roots(driver):
            if (file := root.joinpath(f"{name}.yaml")).is_file():
                sheet = read(file)
                if sheet.template.driver != driver:
                    raise KeyError(f"{name} is for the driver {sheet.template.driver}, and the link's is {driver}")
                return sheet
        for other in drivers.names():
            package = shipped(other) if other != driver else None
            if package and package.joinpath(f"{name}.yaml").is_file():
                raise KeyError(f"{name} is for the driver {other}, and the link's is {driver}")
        raise KeyError(f"there is no template {name!r} for {driver}{suggestion(name, self.names(driver))}")


def shipped(driver: str) -> Traversable | None:
    """The folder of templates in the package of an installed driver, ours or a stranger's; None where it has none."""
    for entry in entry_points(group=drivers.GROUP):
        if entry.name == driver:
            from importlib import resources  # noqa: PLC0415 - not needed where no device has a template

            module = sys.modules.get(entry.module) or import_module(entry.module)
            folder = resources.files(module.__package__ or entry.module).joinpath(FOLDER)
            return folder if folder.is_dir() else None
    return None


def shipped_folders() -> list[Path]:
    """The folders of templates of all installed drivers; a driver that cannot be imported has none."""
    found = []
    for name in drivers.names():
        try:
            folder = shipped(name)
        except ImportError:
            continue
        found += [folder] if isinstance(folder, Path) else []
    return found


def _names(root: Traversable, above: str = "") -> Iterable[str]:
    for each in root.iterdir() if root.is_dir() else ():
        if each.is_dir():
            yield from _names(each, f"{above}{each.name}/")
        elif each.name.endswith(".yaml") and not each.name.endswith(CASE):
            yield above + each.name.removesuffix(".yaml")


def read(file: Traversable) -> Sheet:
    """Reads one template; raises ConfigError with every problem found."""
    document = load(file) if isinstance(file, Path) else parse(file.read_text("utf-8"), str(file))
    template = document.model(Template)
    problems = [
        document.problem(("device", key), f"a template cannot say `{key}` of a device; leave it out")
        for key in OWN
        if key in template.device
    ]
    if not Path(document.file).with_suffix("").as_posix().endswith(f"/{template.template}"):
        message = f"this file must be {FOLDER}/{template.template}.yaml, or be named as where it is"
        problems.append(document.problem(("template",), message))
    for part in ("device", "tags", "probe", "checks"):
        for at, hole in parameters_in(document.data.get(part), (part,)):
            if hole not in template.parameters:
                message = f"{{{hole}}} is not a parameter{suggestion(hole, template.parameters)}"
                problems.append(document.problem(at, message))
    for name, parameter in template.parameters.items():
        if not re.fullmatch(parameters.NAME, name):
            problems.append(document.problem(("parameters", name), "write lower-case letters, digits, `_` and `-`"))
        if parameter.default is not None and (wrong := parameter.unfit(parameter.default)):
            problems.append(document.problem(("parameters", name, "default"), wrong))
    if problems:
        raise ConfigError(sorted(problems))
    return Sheet(template, document)


# --- a device with its template -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Merged(Document):
    """One device of a configuration with its template put in; a problem is told where its fault was written."""

    outer: Document = field(kw_only=True)
    at: At = field(kw_only=True)
    sheet: Sheet = field(kw_only=True)

    def knows(self, place: At) -> bool:
        return self.outer.knows(place) or self._theirs(place) in self.sheet.document.marks

    def problem(self, at: Sequence[str | int], message: str) -> Problem:
        place = tuple(at)
        for end in range(len(place), len(self.at), -1):
            if self.outer.knows(place[:end]):
                break
            theirs = self._theirs(place[:end])
            if theirs in self.sheet.document.marks:
                return self._blamed(theirs, place[end:], message)
        return self.outer.problem(at, message)

    def _blamed(self, theirs: At, rest: At, message: str) -> Problem:
        """The template is wrong, or what was given for a parameter that stands there."""
        raw = self.sheet.document.data
        for step in theirs:
            raw = raw[step]
        problem = self.sheet.document.problem((*theirs, *rest), message)
        for _, hole in parameters_in(raw, theirs):
            given = (*self.at, "with", hole)
            if self.outer.knows(given):
                where = f"{self.sheet.template.template}, {dotted(theirs)}"
                return self.outer.problem(given, f"does not fit there ({where}): {message}")
        return problem

    def _theirs(self, place: At) -> At:
        rest = place[len(self.at) :]
        return rest if rest[:1] == ("tags",) else ("device", *rest)


def merge(sheet: Sheet, outer: Document, at: At) -> Merged:
    """The device at `at` with its template; raises ConfigError with what is wrong with its use of it."""
    data: Any = outer.data
    for step in at:
        data = data[step]
    given = _given(sheet, outer, at, data.get("with") or {})
    template, problems = sheet.template, list[Problem]()
    whole = {**sheet.filled(template.device, given), **data}
    whole.setdefault("about", template.title)
    tags = sheet.filled(template.tags, given)
    if isinstance(only := data.get("only"), list):
        for i, name in enumerate(only):
            if name not in tags:
                message = f"{template.template} has no tag {name!r}{suggestion(str(name), tags)}"
                problems.append(outer.problem((*at, "only", i), message))
        tags = {name: tag for name, tag in tags.items() if name in only}
    own = data.get("tags")
    if isinstance(own, dict):
        for name, tag in own.items():
            if tag is None and name not in template.tags:
                message = f"{template.template} has no tag {name!r} to take away{suggestion(name, template.tags)}"
                problems.append(outer.problem((*at, "tags", name), message))
            tags[name] = _over(tags.get(name), tag)
        own = {name: tag for name, tag in tags.items() if tag is not None}
    whole["tags"] = tags if "tags" not in data else own
    if problems:
        raise ConfigError(problems)
    nested: Any = whole
    for step in reversed(at):
        nested = {step: nested}
    return Merged(outer.file, nested, {}, outer=outer, at=at, sheet=sheet)


def _over(theirs: Value, own: Value) -> Value:
    """A tag with the keys that are written at the device; a key without a value is taken away."""
    if not isinstance(own, dict) or not isinstance(theirs, dict):
        return own
    return {key: value for key, value in {**theirs, **own}.items() if value is not None}


def _given(sheet: Sheet, outer: Document, at: At, given: Value) -> dict[str, Value]:
    declared, problems = sheet.template.parameters, list[Problem]()
    if not isinstance(given, dict):
        raise ConfigError(
            [outer.problem((*at, "with"), f"{shown(given)} is not a mapping; write `with: {{name: value}}`")]
        )
    for name, value in given.items():
        if name not in declared:
            message = f"{sheet.template.template} has no parameter {name!r}{suggestion(name, declared)}"
            problems.append(outer.problem((*at, "with", name), message))
        elif wrong := declared[name].unfit(value):
            problems.append(outer.problem((*at, "with", name), wrong))
    for name, parameter in declared.items():
        if parameter.default is None and name not in given:
            message = f"{sheet.template.template} needs `{name}`: {parameter.description}"
            problems.append(outer.problem((*at, "with", name), message))
    if problems:
        raise ConfigError(problems)
    return given
