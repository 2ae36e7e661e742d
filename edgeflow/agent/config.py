"""The gateway's configuration: one YAML file, environment overrides, secrets by reference."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from edgeflow import document, driver
from edgeflow.agent.policy import read_policy
from edgeflow.devices.binding import bind_outputs, guard_problems, implicit_outputs
from edgeflow.devices.config import read_plant
from edgeflow.devices.plan import LinkPlan, OutputBinding, Plant
from edgeflow.document import At, Document, bounded, dotted, shown, suggestion
from edgeflow.driver import Driver
from edgeflow.errors import ConfigError, Problem
from edgeflow.flow.compile import Plan, compile_flow
from edgeflow.flow.library import find_flow
from edgeflow.model import Strict, Value
from edgeflow.node import Kinds, Site
from edgeflow.outputs.policy import EVERYTHING, Policy
from edgeflow.production.calendar import CalendarSettings, TimeZone, three_shifts
from edgeflow.services.reach import Reach
from edgeflow.services.settings import ServiceSettings
from edgeflow.store.settings import StoreSettings
from edgeflow.sync.settings import CentralSettings
from edgeflow.units import NS_PER_S, Duration

T = TypeVar("T")

PREFIX = "EDGEFLOW__"
_BIND_SERVICE = 1 << 10
"""CAP_NET_BIND_SERVICE, capabilities(7)."""


class GatewaySettings(Strict):
    """Who this gateway is."""

    name: str = Field(pattern=document.NAME, description="The gateway's name, unique at the central server.")
    place: str = Field(default="", description="Where it stands, for example `acme/plant1/hall2/line1` (ISA-95).")
    time_zone: TimeZone = Field(default="UTC", description="IANA time zone of the shop floor, e.g. Europe/Berlin.")


class HttpSettings(Strict):
    """The local pages, API and metrics."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; loopback until a person opens it.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    hosts: tuple[str, ...] = Field(default=(), description="Names under which people open the pages from elsewhere.")


def _instance_name(name: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", name):
        raise ValueError(f"{name!r} cannot name a flow; use letters, digits, `_`, `.` and `-`")
    return name


InstanceName = Annotated[str, AfterValidator(_instance_name)]
"""No `/`: the owner of a request is `instance/node`."""


class FlowEntry(Strict):
    """One running instance of a flow."""

    flow: str = Field(description="The flow's name, for example `oee/press`.")
    given: dict[str, Value] = Field(default_factory=dict, alias="with", description="Its parameters.")


class DeploySettings(Strict):
    """How a new version of a flow is let in."""

    trial: Duration = Field(
        default=120 * NS_PER_S,
        ge=NS_PER_S,
        description="How long a new version is watched before it counts as good; where it fails within that time the "
        "last good version comes back with its states.",
    )


class Root(Strict):
    """The whole file. The sections that depend on drivers are read by their own part."""

    gateway: GatewaySettings = Field(description="Who this gateway is.")
    http: HttpSettings = Field(default=HttpSettings(), description="The local pages, API and metrics.")
    links: dict[str, Any] = Field(default_factory=dict, description="Connections: sockets, serial lines, clients.")
    devices: dict[str, Any] = Field(default_factory=dict, description="Machines behind the links, with their tags.")
    outputs: dict[str, Any] = Field(default_factory=dict, description="What flows may drive, under arbitration.")
    output_policy: str | None = Field(
        default=None,
        description="File beside this one that says which flow may drive which output; all may where there is none.",
    )
    patterns: dict[str, Any] = Field(default_factory=dict, description="Named patterns of lamps: the site's colours.")
    calendars: dict[str, CalendarSettings] = Field(default_factory=dict, description="Shift calendars by name.")
    flows: dict[InstanceName, FlowEntry] = Field(default_factory=dict, description="Flow instances by name.")
    deploy: DeploySettings = Field(default=DeploySettings(), description="How new versions of flows are let in.")
    flow_path: tuple[str, ...] = Field(default=(), description="Folders with flows, before those that are shipped.")
    services: ServiceSettings = Field(default=ServiceSettings(), description="MQTT publish and the like.")
    central: CentralSettings | None = Field(default=None, description="The central server; none: a gateway of its own.")
    store: StoreSettings = Field(default=StoreSettings(), description="What is kept on disk, and how much of it.")


@dataclass(frozen=True, slots=True)
class Config:
    """A checked configuration, ready to be run."""

    source: Document
    root: Root
    plant: Plant
    outputs: Mapping[str, OutputBinding]
    site: Site
    flows: Mapping[str, Plan]
    kinds: Kinds
    flow_dirs: tuple[Path, ...]
    policy: Policy = EVERYTHING
    reach: Reach = field(default_factory=Reach)
    warnings: tuple[Problem, ...] = ()

    def compile(self, instance: str, flow: Document, given: Mapping[str, Value]) -> Plan:
        """Compiles a version of a flow for one instance of this gateway; raises ConfigError."""
        at: At = ("flows", instance, "with")
        plan = compile_flow(flow, given, self.site, self.kinds, instance=instance, given_in=(self.source, at))
        problems = [
            flow.problem(("nodes", node.name), reason)
            for node in plan.nodes
            for output in sorted(node.drives)
            if (reason := self.policy.refuses(output, instance))
        ]
        problems += [
            flow.problem(("nodes", node.name, setting), reason)
            for node in plan.nodes
            for service, target, setting in node.reaches
            if (reason := self.reach.refuses(service, target, instance))
        ]
        if problems:
            raise ConfigError(problems)
        return plan


def _claimed(source: Document, root: Root, plant: Plant) -> list[Problem]:
    """What the service for publishing claims for itself and a link has too: they would throw each other out."""
    publisher = root.services.mqtt
    if publisher is None or not publisher.client_id:
        return []
    return [
        source.problem(
            ("services", "mqtt", "client_id"), f"the link {link.name} has the same `client_id`; each needs its own"
        )
        for link in plant.links.values()
        if link.driver.claim(link.config) == publisher.claim
    ]


def load(
    path: Path,
    kinds: Kinds,
    environment: Mapping[str, str] = os.environ,
    *,
    drivers: Mapping[str, Driver[Any, Any, Any]] | None = None,
) -> Config:
    """Reads and checks everything, down to the wires of the flows; raises ConfigError with all problems.

    What is wrong in one place does not keep the rest from being checked. `drivers` instead of those that are installed.
    """
    find, names = (driver.find, driver.names) if drivers is None else (drivers.__getitem__, lambda: list(drivers))
    source = overridden(document.load(path, lenient=True), environment)
    root, problems = source.partial(Root, {"gateway": {"name": "gateway"}})
    if root is None:
        raise ConfigError(bounded(problems))

    def collect(read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except ConfigError as error:
            problems.extend(error.problems)
            return otherwise

    plant, wrong = read_plant(source, find, names)
    problems += wrong
    problems += _claimed(source, root, plant)
    doubtful = {(*each.path.split("."), "", "")[1] for each in source.faults}
    unread = (_written(source, "devices") - plant.devices.keys()) | doubtful
    outputs, wrong, warnings = bind_outputs(source, plant.tags, unread)
    problems += wrong
    problems += guard_problems(source, plant, outputs)
    unread |= _written(source, "outputs") - outputs.keys()
    outputs = {**outputs, **implicit_outputs(plant.tags, outputs)}
    policy = EVERYTHING
    if not unread and root.output_policy is not None:
        policy_path = path.parent / root.output_policy
        policy = collect(lambda: read_policy(policy_path, outputs, root.flows), EVERYTHING)
    reserved, refused = _reserved(source, root.http)
    if reserved:
        (problems if refused else warnings).append(reserved)
    zone = root.gateway.time_zone
    calendars = {name: settings.calendar(zone) for name, settings in root.calendars.items()}
    calendars.setdefault("plant", three_shifts(zone))
    site = Site(
        gateway=root.gateway.name,
        place=root.gateway.place,
        time_zone=zone,
        tags=plant.tags,
        outputs={name: binding.plan for name, binding in outputs.items()},
        calendars=calendars,
        counters={name: plan.counter.scaled(plan.scale) for name, plan in plant.plans.items() if plan.counter},
        maps={name: plan.map for name, plan in plant.plans.items() if plan.map},
        unread=frozenset(unread | (_written(source, "calendars") - root.calendars.keys())),
    )
    dirs = tuple(path.parent / folder for folder in root.flow_path)
    reach = Reach(policy, commands=_commands(plant), hosts=list(filter(None, map(_host, plant.links.values()))))
    config = Config(source, root, plant, outputs, site, {}, kinds, dirs, policy, reach)
    flows: dict[str, Plan] = {}
    for instance, entry in root.flows.items():
        found = find_flow(entry.flow, dirs)
        if isinstance(found, list):
            message = f"there is no flow {entry.flow!r}{suggestion(entry.flow, found)}"
            problems.append(source.problem(("flows", instance, "flow"), message))
        else:
            flow_path, before = found, len(problems)
            plan = collect(lambda: config.compile(instance, document.load(flow_path, lenient=True), entry.given), None)  # noqa: B023 - called at once
            if not any(flow_path.is_relative_to(folder) for folder in dirs):
                problems[before:] = [_of_shipped(source, instance, entry.flow, each) for each in problems[before:]]
            if plan:
                flows[instance] = plan
                warnings += plan.warnings
    if problems:
        raise ConfigError(bounded(problems))
    warnings += _of_no_use(source, plant)
    return replace(
        config,
        flows=flows,
        warnings=tuple(bounded(warnings)),
        source=_only(source, "flows", "http"),
        root=root.model_copy(update={"links": {}, "devices": {}}),  # the plant has them; here they only cost memory
    )


def _commands(plant: Plant) -> dict[str, str]:
    """What else sets a tag, beside the tag itself: SERVICE:ADDRESS -> the tag."""
    return {
        command: tag.tag.name
        for device in plant.devices.values()
        for tag in device.tags
        for command in device.driver.commands(device.config, tag.point)
    }


def _host(link: LinkPlan) -> str | None:
    """The machine behind a link, where it is one in a network."""
    url = getattr(link.config, "url", None)
    return urlsplit(str(url)).hostname if url else getattr(link.config, "host", None)


def _written(source: Document, section: str) -> set[str]:
    """The names that are written in a section, right or wrong."""
    entries = source.data.get(section) if isinstance(source.data, dict) else None
    return set(entries) if isinstance(entries, dict) else set()


def _of_no_use(source: Document, plant: Plant) -> Iterator[Problem]:
    """What is written and used by nothing."""
    linked = {device.link for device in plant.devices.values()}
    for name in plant.links.keys() - linked:
        yield source.problem(("links", name), f"no device is behind it; remove it, or write `link: {name}` at a device")


def _reserved(source: Document, http: HttpSettings) -> tuple[Problem | None, bool]:
    """What to say of a port that not everybody may open, and whether this process itself may not."""
    try:
        lowest = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text("utf-8"))
        granted = int(Path("/proc/self/status").read_text("utf-8").partition("CapEff:")[2].split(None, 1)[0], 16)
    except (OSError, ValueError, IndexError):
        return None, False  # not Linux
    if not 0 < http.port < lowest:
        return None, False
    if granted & _BIND_SERVICE:
        message = f"you may use this port, the agent's service may not; choose one from {lowest} on, for example 8080"
        return source.problem(("http", "port"), message), False
    where = f"cannot listen on {http.host}:{http.port}"
    message = f"{where}: this user may not use this port; choose one from {lowest} on, for example 8080"
    return source.problem(("http", "port"), message), True


def _of_shipped(source: Document, instance: str, flow: str, problem: Problem) -> Problem:
    """A problem in a flow that we ship, told where it is used: that is the place where it can be put right."""
    if problem.file == source.file:
        return problem
    return source.problem(("flows", instance), f"{flow} does not fit what is here: {problem.message}")


def _only(source: Document, *sections: str) -> Document:
    """The part of a document that later messages may point to."""
    data = {section: source.data.get(section) for section in sections}
    return replace(
        source, data=data, marks={at: mark for at, mark in source.marks.items() if not at or at[0] in sections}
    )


@dataclass(frozen=True, slots=True)
class Overridden(Document):
    """A document of which the environment has replaced parts; problems in those name the variable."""

    variables: Mapping[At, str]

    def problem(self, at: Sequence[str | int], message: str) -> Problem:
        place = tuple(at)
        for length in range(len(place), 0, -1):
            if name := self.variables.get(place[:length]):
                return Problem(f"environment {name}", 0, 0, dotted(at), message)
        return Document.problem(self, at, message)


def overridden(source: Document, environment: Mapping[str, str]) -> Document:
    """Puts `EDGEFLOW__SECTION__KEY=value` in place of what the file says; the value is read as YAML.

    A key is named in capitals, with `_` for what a variable's name cannot hold (`line1/lamp`: LINE1_LAMP).
    Raises ConfigError where a variable leads to no place.
    """
    data = copy.deepcopy(source.data) if source.data is not None else {}
    variables: dict[At, str] = {}
    marks = dict(source.marks)
    problems: list[Problem] = []
    for name, text in sorted(environment.items()):
        if not name.startswith(PREFIX):
            continue
        try:
            value = document.parse(text, f"environment {name}")
        except ConfigError:
            given = shown(text, name)
            problems.append(Problem(f"environment {name}", 0, 0, "", f"{given} is not a value; put text in quotes"))
            continue
        path = _place(data, name.removeprefix(PREFIX).split("__"), value.data)
        if path is None:
            problems.append(Problem(f"environment {name}", 0, 0, "", "does not lead to a setting of the configuration"))
        else:
            variables |= {path: name, **{path[:i]: name for i in range(1, len(path)) if path[:i] not in marks}}
            marks |= dict.fromkeys((path[:i] for i in range(1, len(path) + 1)), (1, 1))
            marks |= {(*path, *below): mark for below, mark in value.marks.items()}
    if problems:
        raise ConfigError(problems)
    return Overridden(source.file, data, marks, variables, faults=source.faults) if variables else source


def _place(data: Any, words: Sequence[str], value: Any) -> At | None:
    """Puts a value where the words of a variable's name lead, and returns the path; None where they lead nowhere."""
    target, path = data, []
    for i, word in enumerate(words):
        if not isinstance(target, dict) or not word:
            return None
        key = next((known for known in target if _folded(known) == _folded(word)), word.lower())
        path.append(key)
        if i == len(words) - 1:
            target[key] = value
        else:
            if target.get(key) is None:
                target[key] = {}
            target = target[key]
    return tuple(path)


def _folded(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", key.lower())
