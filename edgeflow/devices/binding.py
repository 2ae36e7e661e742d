"""Reads `outputs:` and `patterns:` of a configuration: how outputs are wired, and what they show when nobody knows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, Field, RootModel, model_validator

from edgeflow.andon.patterns import CALL
from edgeflow.devices.config import NAME_HINT, Given, TagName, is_path, section
from edgeflow.devices.plan import DevicePlan, Element, OutputBinding, Plant
from edgeflow.document import At, Document, shown, suggestion
from edgeflow.errors import ConfigError, Problem
from edgeflow.model import Pattern, Scalar, Strict, Tag
from edgeflow.outputs.arbitration import OFF, VALUE, OutputPlan
from edgeflow.production.states import StateModel, States
from edgeflow.units import Duration, duration_text

M = TypeVar("M", bound=BaseModel)
Level = Literal["off", "on", "flash", "flash_fast"]

_S = 1_000_000_000
_OWN: Mapping[str, Pattern] = {"off": {}, "unknown": {"blue": "flash"}}
"""The patterns that a site need not write."""
_PATTERNS = _OWN.keys()
_USUAL = {"red", "amber", "yellow", "orange", "green", "blue", "white", "clear", "buzzer", "horn", "siren"}
"""Elements that stack lights have."""
_SAFE = {"when_stale": "unknown", "when_stopped": "off", "on_exit": "off"}
"""The cases in which no flow can say what to show, and the pattern a light shows by default."""
_KINDS: Mapping[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "text": (str,),
    "bytes": (str,),
}


class ElementOptions(Strict):
    """One element of an output, such as the red tier of a stack light."""

    tag: str = Field(description="The tag that is written.")
    off: Given | None = Field(default=None, description="What to write for off; default false for a boolean tag.")
    on: Given | None = Field(default=None, description="What to write for on; default true for a boolean tag.")
    flash: Given | None = Field(
        default=None, description="What to write where the device flashes by itself; else it is toggled at 1 Hz."
    )
    flash_fast: Given | None = Field(
        default=None, description="What to write where the device flashes fast; else `flash`, or toggled at 2 Hz."
    )
    read_back: str | None = Field(
        default=None, description="The tag that tells what it really shows, where it is not the written one."
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"tag": value} if isinstance(value, str) else value


class OutputOptions(Strict):
    """An output: a stack light or other set of elements, or a number or text."""

    elements: dict[TagName, ElementOptions] | None = Field(
        default=None, description="A light's elements by name: `red: io1/red`."
    )
    tag: str | None = Field(default=None, description="The tag that is written, for a number, a text or a switch.")
    when_stale: Any = Field(
        default=None,
        description="What it shows when its source's data are BAD: a pattern's name, or levels by element. "
        "Default of a light: `unknown`.",
    )
    when_stopped: Any = Field(default=None, description="What it shows when no flow holds it. Default: all off.")
    on_exit: Any = Field(default=None, description="What the agent leaves behind when it ends. Default: all off.")
    refresh: Duration | None = Field(
        default=None,
        description="It is written again this often; less than the device's own watchdog. "
        "Default: 1 s for elements, only on connect for values.",
    )
    unguarded: tuple[str, ...] = Field(
        default=(),
        description="Devices of this light that have no watchdog, by name: when this gateway dies they go on showing "
        "what they showed last, and that is accepted.",
    )
    read_back: bool = Field(default=True, description="Whether what was written is read back, where that is possible.")

    @model_validator(mode="after")
    def _either(self) -> OutputOptions:
        if (self.elements is None) == (self.tag is None):
            raise ValueError("write either `elements` (a light) or `tag` (one value)")
        return self


def read_outputs(document: Document, tags: Mapping[str, Tag]) -> Mapping[str, OutputBinding]:
    """The outputs of a configuration, on the tags that are there. Raises ConfigError with every problem found."""
    outputs, problems, _ = bind_outputs(document, tags)
    if problems:
        raise ConfigError(problems)
    return outputs


def bind_outputs(
    document: Document, tags: Mapping[str, Tag], unread: Collection[str] = ()
) -> tuple[Mapping[str, OutputBinding], list[Problem], list[Problem]]:
    """As `read_outputs`, but what could be read, what is wrong, and what is right but hardly meant.

    `unread`: devices that could not be read; that their tags are missing is told there.
    """
    reading = _Reading(document, tags, unread)
    return reading.outputs(), sorted(reading.problems), sorted(reading.warnings)


def guard_problems(document: Document, plant: Plant, outputs: Mapping[str, OutputBinding]) -> Iterator[Problem]:
    """What is wrong with lights that nobody would turn off when this gateway dies, or that their watchdog turns off."""
    devices = plant.devices
    for name, output in outputs.items():
        at: At = ("outputs", name)
        used = list(dict.fromkeys(element.tag.partition("/")[0] for element in output.elements.values()))
        for device in output.unguarded:
            if device not in used:
                message = f"{device!r} is no device of this output{suggestion(device, used)}"
                yield document.problem((*at, "unguarded"), message)
        for device in (each for each in used if each in devices) if _is_light(output) else ():
            watchdog_ns = devices[device].watchdog_ns
            if watchdog_ns is None and device not in output.unguarded:
                yield document.problem(
                    at,
                    f"{device} has no watchdog, so when this gateway dies the light goes on showing what it showed "
                    f"last; say `watchdog: 3 s` at {device} where it has one, or accept it: `unguarded: [{device}]`",
                )
            elif watchdog_ns and output.refresh_ns and 2 * output.refresh_ns > watchdog_ns:
                yield document.problem(
                    (*at, "refresh"),
                    f"{duration_text(output.refresh_ns)} is too slow for the watchdog of {device}, "
                    f"{duration_text(watchdog_ns)}; write {duration_text(watchdog_ns // 3)} or less",
                )
            elif watchdog_ns and output.refresh_ns:
                for other in _in_the_way(plant, devices[device], watchdog_ns - output.refresh_ns):
                    message = (
                        f"{duration_text(other.timeout_ns)} is too long behind the link of {device}: while "
                        f"{other.name} is silent the light cannot be refreshed, and the watchdog of {device}, "
                        f"{duration_text(watchdog_ns)}, turns it off; write less than "
                        f"{duration_text(watchdog_ns - output.refresh_ns)}"
                    )
                    yield document.problem(("devices", other.name, "timeout"), message)


def _in_the_way(plant: Plant, device: DevicePlan, patience_ns: int) -> Iterator[DevicePlan]:
    """The devices that may keep the link of a device busy for so long; a second connection is for writes alone."""
    if not device.driver.serial or getattr(plant.links[device.link].config, "connections", 1) > 1:
        return
    for other in plant.devices.values():
        if other.link == device.link and other is not device and other.timeout_ns >= patience_ns:
            yield other


def _is_light(output: OutputBinding) -> bool:
    return any(element.levels is not None for element in output.elements.values())


def implicit_outputs(tags: Mapping[str, Tag], outputs: Mapping[str, OutputBinding]) -> Mapping[str, OutputBinding]:
    """A value output, named like its tag, for every writable tag that no configured output drives.

    A switch goes off when the source of who holds it is lost; it may be a light.
    """
    driven = {element.tag for output in outputs.values() for element in output.elements.values()}
    return {
        name: OutputBinding(
            OutputPlan(name, (VALUE,), when_stale={VALUE: False} if tag.type == "boolean" else {}, type=tag.type),
            {VALUE: Element(name, None, name)},
            implicit=True,
        )
        for name, tag in tags.items()
        if tag.writable and name not in driven and name not in outputs
    }


class _Pattern(RootModel[dict[str, Level]]):
    """Levels by element."""


class _Reading:
    def __init__(self, document: Document, tags: Mapping[str, Tag], unread: Collection[str]) -> None:
        self.document, self.tags, self.unread = document, tags, unread
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.used: set[str] = set()
        self.patterns: dict[str, Pattern] = {name: dict(pattern) for name, pattern in _OWN.items()}
        self.driven: dict[str, str] = {}

    def outputs(self) -> Mapping[str, OutputBinding]:
        for name in section(self.document, "patterns", self.problems):
            pattern = self._model(_Pattern, ("patterns", name))
            self.patterns[name] = pattern.root if pattern else {}
        found = {name: self._output(name) for name in section(self.document, "outputs", self.problems)}
        outputs = {name: binding for name, binding in found.items() if binding}
        if None not in found.values():
            self._lint_patterns(outputs)
        return outputs

    def _lint_patterns(self, outputs: Mapping[str, OutputBinding]) -> None:
        """Patterns that no light shows, and elements that no light has: a colour that never comes."""
        known = {name for model in get_args(StateModel) for name in States(model).names()} | CALL.keys() | _PATTERNS
        elements = {element for binding in outputs.values() if _is_light(binding) for element in binding.elements}
        for name in section(self.document, "patterns", []):
            if name not in known and name not in self.used:
                message = f"no light shows it: it is no state, no category and no call{suggestion(name, known)}"
                self._problem(("patterns", name), message)
            for element in self.patterns[name]:
                if element not in elements | _USUAL:  # one set of colours may serve gateways with other lights
                    message = f"no light has an element {element!r}{suggestion(element, elements | _USUAL)}"
                    self._problem(("patterns", name, element), message)
        if not elements and self.patterns.keys() - _PATTERNS:
            self.warnings.append(self.document.problem(("patterns",), "there is no light that could show them"))

    def _problem(self, at: At, message: str) -> None:
        self.problems.append(self.document.problem(at, message))

    def _model(self, model: type[M], at: At) -> M | None:
        try:
            return self.document.model(model, at)
        except ConfigError as error:
            self.problems.extend(error.problems)
            return None

    def _output(self, name: str) -> OutputBinding | None:
        at: At = ("outputs", name)
        if not is_path(name):
            self._problem(at, f"{name!r} is not a name; {NAME_HINT}")
        options = self._model(OutputOptions, at)
        if options is None:
            return None
        if options.elements is None:
            assert options.tag is not None
            tag = self._drive((*at, "tag"), name, options.tag)
            elements = {VALUE: Element(options.tag, None, options.tag if options.read_back else None)}
            safe = {key: self._value((*at, key), getattr(options, key), options.tag) for key in _SAFE}
            plan = replace(_plan(name, elements, safe, {}), type=tag.type if tag else None)
            return OutputBinding(plan, elements, options.refresh)
        elements = {
            key: self._element((*at, "elements", key), name, element, options.read_back)
            for key, element in options.elements.items()
        }
        safe = {
            key: self._pattern((*at, key), getattr(options, key), default, elements) for key, default in _SAFE.items()
        }
        patterns = {key: _only(pattern, elements) for key, pattern in self.patterns.items()}
        plan = _plan(name, elements, safe, patterns)
        return OutputBinding(plan, elements, options.refresh or _S, options.unguarded)

    def _drive(self, at: At, output: str, name: str) -> Tag | None:
        """The tag an output writes; a problem where it is not there, not writable, or already driven."""
        tag = self.tags.get(name)
        if tag is None:
            if not self._unread(name):
                self._problem(at, f"there is no tag {name!r}{suggestion(name, self.tags)}")
            return None
        if not tag.writable:
            self._problem(at, f"{name} is not writable; say `writable: true` at the tag if it may be written")
        other = self.driven.setdefault(name, output)
        if other != output:
            self._problem(at, f"{name} is already driven by the output {other!r}; one tag belongs to one output")
        return tag

    def _element(self, at: At, output: str, options: ElementOptions, read_back: bool) -> Element:
        tag = self._drive(at, output, options.tag)
        levels = {key: value for key in get_args(Level) if (value := getattr(options, key)) is not None}
        if tag is not None:
            if tag.type == "boolean":
                levels = {"off": False, "on": True} | levels
            if not levels.keys() >= {"off", "on"}:
                self._problem(at, f"{tag.name} is not boolean; say what to write: {{tag: {tag.name}, off: 0, on: 1}}")
            for key, value in levels.items():
                self._fits((*at, key), value, tag)
        back = options.read_back
        if back is not None and self._unread(back):
            back = None
        elif back is not None and back not in self.tags:
            self._problem((*at, "read_back"), f"there is no tag {back!r}{suggestion(back, self.tags)}")
        elif back is not None and tag is not None and self.tags[back].device != tag.device:
            self._problem((*at, "read_back"), f"{back} is on another device; write a tag of {tag.device}")
        return Element(options.tag, levels, back or (options.tag if read_back else None))

    def _unread(self, tag: str) -> bool:
        return tag.partition("/")[0] in self.unread

    def _fits(self, at: At, value: Scalar, tag: Tag) -> None:
        kinds = _KINDS[tag.type]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            self._problem(at, f"{shown(value)} does not fit {tag.name}, which is of type {tag.type}")

    def _pattern(self, at: At, given: Any, default: str, elements: Mapping[str, Element]) -> Pattern:
        """What a light shows when nobody knows: never green, since green says that somebody does."""
        if given is None or isinstance(given, str):
            name = given or default
            self.used.add(name)
            if name not in self.patterns:
                self._problem(at, f"there is no pattern {name!r}{suggestion(name, self.patterns)}")
            pattern = self.patterns.get(name, {})
        else:
            found = self._model(_Pattern, at)
            pattern = found.root if found else {}
            for key in pattern.keys() - elements.keys():
                self._problem((*at, key), f"there is no element {key!r}{suggestion(key, elements)}")
        for key, level in pattern.items():
            if key.startswith("green") and level != OFF and key in elements:
                self._problem(at, "must not show green: nobody knows then that all is well; use off, or blue: flash")
        return _only(pattern, elements)

    def _value(self, at: At, given: Any, tag: str) -> Pattern:
        if isinstance(given, dict) and set(given) == {VALUE}:
            given = given[VALUE]
        if given is None:
            return {}
        if isinstance(given, dict | list):
            self._problem(at, f"{shown(given)} is not a value; write the value that {tag} shall have then")
        elif tag in self.tags:
            self._fits(at, given, self.tags[tag])
        return {VALUE: given}


def _plan(
    name: str,
    elements: Mapping[str, Element],
    safe: Mapping[str, Pattern],
    patterns: Mapping[str, Pattern],
) -> OutputPlan:
    stale, stopped, on_exit = (safe[key] for key in _SAFE)
    return OutputPlan(name, tuple(elements), stale, stopped, on_exit, patterns)


def _only(pattern: Pattern, elements: Mapping[str, Element]) -> Pattern:
    return {key: level for key, level in pattern.items() if key in elements}
