"""What the devices part is built from: links, devices, tags and outputs, checked and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from edgeflow.driver import Driver
from edgeflow.model import Scalar, Tag, Value, ValueType
from edgeflow.outputs.arbitration import OutputPlan
from edgeflow.production.counter import CounterSettings
from edgeflow.production.states import StateModel


@dataclass(frozen=True, slots=True)
class TagPlan:
    """A tag and how it is had: value = raw * `scale` + `offset`; outside `low`..`high` it is BAD.

    `raw` is the type that the driver yields and takes. `silence_ns`: a pushed tag that is not heard for so
    long is BAD; None for as long as its device, 0 for never. `every_ns`: how often it is read, None for as
    often as its device. `map` and `counter` do not change the value: they are for the nodes that read it.
    `counter` is as it was written, in counts of the device. `reads_as`: the tag that tells what was written.
    """

    tag: Tag
    point: BaseModel
    raw: ValueType
    scale: float = 1.0
    offset: float = 0.0
    low: float | None = None
    high: float | None = None
    silence_ns: int | None = None
    map: StateModel | None = None
    counter: CounterSettings | None = None
    read: bool = True
    every_ns: int | None = None
    reads_as: str = ""


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """One physical connection. `open_ns`: how long opening it may take."""

    name: str
    driver: Driver[Any, Any, Any]
    config: BaseModel
    open_ns: int


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One device behind a link.

    Polled `every_ns`, or watched where the driver pushes; each request has `timeout_ns`. Without a good
    value for `silence_ns` its tags are BAD; None means that silence says nothing. `on_connect`: points
    and values written in this order after each connect, before any output is. `watchdog_ns`: after so
    long without a request it turns its outputs off by itself; None where it does not. `template` and
    `given`: what it was made from and with which parameters; "" where from nothing.
    """

    name: str
    link: str
    driver: Driver[Any, Any, Any]
    config: BaseModel
    tags: tuple[TagPlan, ...]
    every_ns: int
    timeout_ns: int
    silence_ns: int | None
    on_connect: tuple[tuple[BaseModel, Scalar], ...] = ()
    about: str = ""
    watchdog_ns: int | None = None
    template: str = ""
    given: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plant:
    """Everything the gateway is connected to, by name."""

    links: Mapping[str, LinkPlan]
    devices: Mapping[str, DevicePlan]
    tags: Mapping[str, Tag]
    plans: Mapping[str, TagPlan]


@dataclass(frozen=True, slots=True)
class Element:
    """One element of an output: the tag behind it and what to write for each level.

    `levels` None: the level itself is the value to write. `read_back`: the tag that tells what it really
    shows; None where that is not asked.
    """

    tag: str
    levels: Mapping[str, Scalar] | None
    read_back: str | None


@dataclass(frozen=True, slots=True)
class OutputBinding:
    """An output and how it is wired; its values are written again every `refresh_ns`, None for never.

    `unguarded`: devices that are known to have no watchdog, and accepted. `implicit`: no output of the
    configuration but a writable tag by itself; what a person writes there is carried out once.
    """

    plan: OutputPlan
    elements: Mapping[str, Element]
    refresh_ns: int | None = None
    unguarded: tuple[str, ...] = ()
    implicit: bool = False
