"""Reads `links:` and `devices:` of a configuration into plans, with every problem at its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, WithJsonSchema, create_model

from edgeflow import driver as drivers
from edgeflow.devices.plan import DevicePlan, LinkPlan, Plant, TagPlan
from edgeflow.document import At, Document, shown, suggestion
from edgeflow.driver import Driver
from edgeflow.errors import ConfigError, Problem
from edgeflow.model import Strict, Tag, Value, ValueType
from edgeflow.production.counter import CounterSettings
from edgeflow.production.states import StateModel
from edgeflow.units import Duration, UnitName, duration_text

AnyDriver = Driver[Any, Any, Any]

_S = 1_000_000_000
_FASTEST_NS = 5_000_000
_SILENCE_NS = 4 * _S  # so that a lost device is BAD within 5 s of its last good value
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_TAG_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)*")
_NUMBERS: tuple[ValueType, ...] = ("integer", "number")
NAME_HINT = "write lower-case letters, digits, `_` and `-`, for example `press_1`"


def is_path(name: str) -> bool:
    """Whether a text is one or more names with `/` between them."""
    return _TAG_NAME.fullmatch(name) is not None


def _path(name: str) -> str:
    if not is_path(name):
        raise ValueError(f"{name!r} is not a name; {NAME_HINT}")
    return name


def _pace(every_ns: int) -> int:
    if every_ns < _FASTEST_NS:
        raise ValueError(f"is too fast; write {duration_text(_FASTEST_NS)} or more")
    return every_ns


def bounds(pair: Any) -> Any:
    """Checks [lowest, highest]; None is no bounds."""
    if pair is None:
        return None
    numbers = isinstance(pair, list | tuple) and all(isinstance(n, int | float) for n in pair)
    if not numbers or len(pair) != 2 or not pair[0] < pair[1]:
        raise ValueError(f"{shown(pair)} is not a range; write [lowest, highest], for example [0, 100]")
    return pair


def _never(value: Any) -> Any:
    return "0 s" if value == "never" else value


def _scalar(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"{shown(value)} is not a value; write a number, a text, true or false")
    return value


def _some(tags: dict[str, Any]) -> dict[str, Any]:
    if not tags:
        raise ValueError("write at least one tag, for example `state: {...}`")
    return tags


def _factor(factor: float) -> float:
    if factor == 0:
        raise ValueError("a scale of 0 would lose the value; write what the raw value is multiplied by")
    return factor


TagName = Annotated[str, AfterValidator(_path)]
"""One or more names with `/` between them."""
Every = Annotated[Duration, AfterValidator(_pace)]
Silence = Annotated[Duration, BeforeValidator(_never)]
"""A duration, or `never`, which is 0."""
Given = Annotated[Any, BeforeValidator(_scalar), WithJsonSchema({"type": ["boolean", "number", "string"]})]
"""A value as a configuration gives it."""


class TagOptions(Strict):
    """What a user may say of any tag, whatever the protocol."""

    unit: UnitName | None = Field(default=None, description="The unit of the value after scaling.")
    scale: Annotated[float, Field(allow_inf_nan=False), AfterValidator(_factor)] = Field(
        default=1.0, description="The raw value is multiplied by this."
    )
    offset: float = Field(default=0.0, allow_inf_nan=False, description="Added after scaling, in the tag's unit.")
    range: Annotated[tuple[float, float] | None, BeforeValidator(bounds)] = Field(
        default=None, description="[lowest, highest] plausible value after scaling; what lies outside is BAD."
    )
    map: StateModel | None = Field(
        default=None,
        description="What the values of a machine's state mean; holds for every node that takes the tag as a state.",
    )
    counter: CounterSettings | None = Field(
        default=None,
        description="What is known of a counter; holds for every node that counts with the tag. `modulus` is in counts "
        "of the device, before `scale`.",
    )
    every: Every | None = Field(default=None, description="How often it is read; default: as its device.")
    silence: Silence | None = Field(
        default=None,
        description="A pushed tag of which its source has said nothing for this long is BAD, whatever its neighbours "
        "do; `never` where it may be silent for ever. Default: the device's silence.",
    )
    writable: bool = Field(default=False, description="Whether outputs and operators may write the tag.")
    read: bool = Field(default=True, description="False where the tag can only be written.")
    reads_as: str | None = Field(
        default=None,
        description="The tag of this device that tells what was written here: it is read back in its place, as where "
        "a command and what became of it are two registers.",
    )
    about: str = Field(default="", description="What the tag means, for people.")


class LinkOptions(Strict):
    """What a user may say of any link, whatever the protocol."""

    driver: str = Field(description="The protocol: the name of an installed driver.")
    open_timeout: Duration = Field(default=3 * _S, description="How long opening the link may take.")


class DeviceOptions(Strict):
    """What a user may say of any device, whatever the protocol."""

    link: str = Field(description="The link it is behind: a name under `links`.")
    template: str | None = Field(
        default=None, description="What it is, `maker/model`: its template gives what is not written here."
    )
    given: dict[str, Value] = Field(default_factory=dict, alias="with", description="The template's parameters.")
    only: tuple[str, ...] | None = Field(
        default=None, description="The tags to take from the template; all where not given."
    )
    every: Every = Field(default=_S, description="How often it is read, or where it pushes: how often it speaks.")
    timeout: Every = Field(default=_S, description="How long one request may take; on a link with outputs: one poll.")
    silence: Silence | None = Field(
        default=None,
        description="Without a good value for this long its tags are BAD; `never` where it may be silent for ever. "
        "Default: 4 s, or more where it is read less often.",
    )
    watchdog: Duration | None = Field(
        default=None,
        description="So long without a request from us, and the device itself turns its outputs off. "
        "State it where that is so; most devices have to be told by `on_connect`.",
    )
    about: str = Field(default="", description="What the device is, for people.")


class _OnConnect(Strict):
    value: Given = Field(description="The raw value to write.")


class Forms:
    """The combined models of one driver: its own fields and ours, so that one pass checks both."""

    def __init__(self, driver: AnyDriver) -> None:
        self.driver = driver
        taken = driver.point.model_fields.keys() & (TagOptions.model_fields.keys() | _OnConnect.model_fields.keys())
        if taken:
            raise ImportError(f"its points use the keys {', '.join(sorted(taken))}, which are EdgeFlow's own")
        self.link = create_model(f"{driver.name} link", __base__=(driver.link, LinkOptions))
        tag = create_model(f"{driver.name} tag", __base__=(driver.point, TagOptions))
        entry = create_model(f"{driver.name} on_connect", __base__=(driver.point, _OnConnect))
        tags: Any = Annotated[dict[TagName, tag], AfterValidator(_some)]
        entries: Any = tuple[entry, ...]
        about = "Points and raw values that are written in this order after each connect, before any output."
        self.device = create_model(
            f"{driver.name} device",
            __base__=(driver.device, DeviceOptions),
            tags=(tags, Field(description="Its tags by name.")),
            on_connect=(entries, Field(default=(), description=about)),
        )


def read_links_and_devices(
    document: Document,
    find: Callable[[str], AnyDriver] = drivers.find,
    installed: Callable[[], Iterable[str]] = drivers.names,
) -> Plant:
    """The links, devices and tags of a configuration; a driver is imported only where a link uses it.

    Raises ConfigError with every problem found.
    """
    plant, problems = read_plant(document, find, installed)
    if problems:
        raise ConfigError(problems)
    return plant


def read_plant(
    document: Document,
    find: Callable[[str], AnyDriver] = drivers.find,
    installed: Callable[[], Iterable[str]] = drivers.names,
) -> tuple[Plant, list[Problem]]:
    """As `read_links_and_devices`, but with what could be read although something else is wrong."""
    reading = _Reading(document, find, installed)
    return reading.plant(), sorted(reading.problems)


def section(document: Document, name: str, problems: list[Problem]) -> Mapping[str, Any]:
    """One top-level mapping of the document; a problem where it is something else."""
    data = document.data.get(name) if isinstance(document.data, dict) else None
    if data is None:
        return {}
    if not isinstance(data, dict):
        problems.append(document.problem((name,), f"{shown(data)} is not a mapping; write entries `name: {{...}}`"))
        return {}
    return data


class _Reading:
    def __init__(
        self, document: Document, find: Callable[[str], AnyDriver], installed: Callable[[], Iterable[str]]
    ) -> None:
        self.document, self.find, self.installed = document, find, installed
        self.problems: list[Problem] = []
        self.forms: dict[str, Forms | None] = {}
        self.library: Any = None

    def plant(self) -> Plant:
        links_data = section(self.document, "links", self.problems)
        links = {name: link for name, data in links_data.items() if (link := self._link(name, data))}
        self._claims(links.values())
        devices = {
            name: device
            for name, data in section(self.document, "devices", self.problems).items()
            if (device := self._device(name, data, links, links_data.keys()))
        }
        plans = {plan.tag.name: plan for device in devices.values() for plan in device.tags}
        return Plant(links, devices, {name: plan.tag for name, plan in plans.items()}, plans)

    def _problem(self, at: At, message: str, document: Document | None = None) -> None:
        self.problems.append((document or self.document).problem(at, message))

    def _model(self, form: type[BaseModel], at: At, document: Document | None = None) -> Any:
        try:
            return (document or self.document).model(form, at)
        except ConfigError as error:
            self.problems.extend(error.problems)
            return None

    def _whole(self, at: At, data: Mapping[str, Any], driver: str) -> Document | None:
        """The document in which all of a device stands: this one, or this one with the device's template."""
        if data.get("template") is None:
            for key in ("with", "only"):
                if key in data:
                    self._problem((*at, key), "is of use only with a `template`")
            return self.document
        from edgeflow.devices.template import FOLDER, Library, merge  # noqa: PLC0415 - only where there is a template

        self.library = self.library or Library([Path(self.document.file).parent / FOLDER])
        try:
            return merge(self.library.find(driver, str(data["template"])), self.document, at)
        except KeyError as error:
            self._problem((*at, "template"), error.args[0])
        except ConfigError as error:
            self.problems.extend(error.problems)
        return None

    def _named(self, at: At, name: str, data: Any, key: str) -> bool:
        """Whether an entry is a mapping with a usable name that has the key which all else hangs on."""
        if not _NAME.fullmatch(name):
            self._problem(at, f"{name!r} is not a name; {NAME_HINT}")
        if not isinstance(data, dict):
            self._problem(at, f"{shown(data)} is not a mapping (key: value); write a mapping (key: value)")
            return False
        if not isinstance(data.get(key), str):
            message = f"{shown(data[key])} is not a name" if key in data else "is required"
            self._problem((*at, key), message)
            return False
        return True

    def _form(self, name: str, at: At) -> Forms | None:
        if name not in self.forms:
            try:
                self.forms[name] = Forms(self.find(name))
            except KeyError:
                self.forms[name] = None
                self._problem(at, f"no driver {name!r} is installed{suggestion(name, self.installed())}")
            except ImportError as error:
                self.forms[name] = None
                self._problem(at, f"the driver {name!r} cannot be loaded: {error}; install what it needs")
        return self.forms[name]

    def _link(self, name: str, data: Any) -> LinkPlan | None:
        at: At = ("links", name)
        if not self._named(at, name, data, "driver"):
            return None
        form = self._form(data["driver"], (*at, "driver"))
        model = form and self._model(form.link, at)
        return LinkPlan(name, form.driver, model, model.open_timeout) if form and model else None

    def _claims(self, links: Iterable[LinkPlan]) -> None:
        """Two links that claim the same throw each other out again and again."""
        first: dict[tuple[str, str, str], str] = {}
        for link in links:
            key, claimed = link.driver.claim(link.config)
            other = first.setdefault((link.driver.name, key, claimed), link.name)
            if key and other != link.name:
                self._problem(("links", link.name, key), f"the link {other} has the same `{key}`; each needs its own")

    def _device(self, name: str, data: Any, links: Mapping[str, LinkPlan], known: Iterable[str]) -> DevicePlan | None:
        at: At = ("devices", name)
        if not self._named(at, name, data, "link"):
            return None
        link = links.get(data["link"])
        if link is None:
            if data["link"] not in known:  # else the link itself has the problem
                self._problem((*at, "link"), f"there is no link {data['link']!r}{suggestion(data['link'], known)}")
            return None
        form = self.forms[link.driver.name]
        document = self._whole(at, data, link.driver.name)
        model = form and document and self._model(form.device, at, document)
        if not document or not model:
            return None
        tags = tuple(self._tag(name, key, tag, link.driver, document) for key, tag in model.tags.items())
        for key, tag in model.tags.items():
            if reason := link.driver.unfit(model, tag):
                self._problem((*at, "tags", key), reason, document)
            if tag.reads_as is not None:
                self._reads_as((*at, "tags", key, "reads_as"), model, tag, document)
        on_connect = []
        for i, entry in enumerate(model.on_connect):
            if reason := link.driver.unfit(model, entry):
                self._problem((*at, "on_connect", i), reason, document)
            if not link.driver.writable(entry):
                message = f"the driver {link.driver.name} cannot write this point"
                self._problem((*at, "on_connect", i), message, document)
            on_connect.append((_own(link.driver.point, entry), entry.value))
        return DevicePlan(
            name,
            link.name,
            link.driver,
            _own(link.driver.device, model),
            tags,
            model.every,
            model.timeout,
            _silence(
                model.silence,
                min((tag.every_ns or model.every for tag in tags if tag.read), default=model.every),
                model.timeout,
            ),
            tuple(on_connect),
            model.about,
            model.watchdog,
            model.template or "",
            model.given,
        )

    def _reads_as(self, at: At, model: Any, tag: Any, document: Document) -> None:
        other = model.tags.get(tag.reads_as)
        if other is None:
            message = f"there is no tag {tag.reads_as!r} in this device{suggestion(tag.reads_as, model.tags)}"
            self._problem(at, message, document)
        elif not other.read:
            self._problem(at, f"{tag.reads_as} is not read either; name a tag that is", document)
        elif not tag.writable:
            self._problem(at, "nothing is written to this tag; say `writable: true`, or leave `reads_as` out", document)

    def _tag(self, device: str, name: str, model: Any, driver: AnyDriver, document: Document) -> TagPlan:
        at: At = ("devices", device, "tags", name)
        raw = driver.value_type(model)
        if raw not in _NUMBERS:
            for key in ("scale", "offset", "range", "unit", "counter"):
                if key in model.model_fields_set:
                    self._problem((*at, key), f"a {raw} tag cannot have `{key}`; only numbers can", document)
        if model.writable and not driver.writable(model):
            message = f"the driver {driver.name} cannot write this point; remove `writable`"
            self._problem((*at, "writable"), message, document)
        if not model.read and not model.writable:
            message = "a tag that is neither read nor writable is of no use; say `writable: true`"
            self._problem((*at, "read"), message, document)
        scaled = raw == "integer" and not (model.scale.is_integer() and model.offset.is_integer())
        tag = Tag(f"{device}/{name}", "number" if scaled else raw, model.unit, model.writable, model.about)
        low, high = model.range or (None, None)
        return TagPlan(
            tag,
            _own(driver.point, model),
            raw,
            model.scale,
            model.offset,
            low,
            high,
            model.silence,
            model.map,
            model.counter,
            model.read,
            model.every,
            (model.reads_as and f"{device}/{model.reads_as}") or "",
        )


_UNTOLD: set[str] = set()


def _own(kind: type[BaseModel], model: BaseModel) -> BaseModel:
    """The driver's part of a combined, checked model; there are thousands: they share what pydantic notes of each."""
    return kind.model_construct(_UNTOLD, **{name: getattr(model, name) for name in kind.model_fields})


def _silence(given: int | None, every_ns: int, timeout_ns: int) -> int | None:
    if given is None:
        return max(_SILENCE_NS, 2 * every_ns + timeout_ns)
    return given or None
