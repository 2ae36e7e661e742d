"""Turns a flow document into a plan the engine can run, or says everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ValidationError

from edgeflow import document
from edgeflow.document import At, Document, bounded, shown, suggestion
from edgeflow.errors import ConfigError, Problem
from edgeflow.flow.document import FlowDocument, NodeEntry
from edgeflow.flow.wiring import Wiring
from edgeflow.node import Kinds, Node, Port, Site
from edgeflow.parameters import Parameter, fill, parameters_in, without
from edgeflow.production.counter import CounterSettings


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """A node ready to run: `plan` is what its handlers get; `targets` are (index, port) per output port.

    `drives` are the outputs its configuration names, `reaches` what it reaches: (service, target, setting).
    `unproven`: typed inputs of which only the message itself tells whether it fits.
    """

    name: str
    kind: Node[Any, Any, Any]
    plan: Any
    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    targets: Mapping[str, tuple[tuple[int, str], ...]]
    listens: Mapping[str, str]
    drives: frozenset[str]
    reaches: tuple[tuple[str, str, str], ...] = ()
    unproven: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A compiled flow instance. `nodes` are in topological order; `warnings`: what runs, but hardly as it was meant."""

    instance: str
    flow: str
    title: str
    version: str
    parameters: Mapping[str, Any]
    nodes: tuple[PlannedNode, ...]
    document: Any = field(repr=False, default=None)
    warnings: tuple[Problem, ...] = ()

    @cached_property
    def listens(self) -> frozenset[str]:
        """Every tag (or `device/*`) the flow listens to."""
        return frozenset(tag for node in self.nodes for tag in node.listens.values())


def compile_flow(
    source: Document,
    parameters: Mapping[str, Any],
    site: Site,
    kinds: Kinds,
    *,
    instance: str | None = None,
    given_in: tuple[Document, At] | None = None,
) -> Plan:
    """Checks schema, parameters, kinds, ports, types and units on wires, references and cycles.

    `given_in` is where the parameters were written, so that problems with them point there. Raises
    ConfigError with every problem, each with its place in the document; with none where the flow refers to what
    could not be read (`site.unread`), which is told elsewhere.
    """
    flow, problems = source.partial(FlowDocument)
    if flow is None:
        raise ConfigError(bounded(problems))
    work = _Compilation(source, flow, site, kinds, given_in, problems)
    given, defaulted = work.parameters(parameters)
    work.nodes(given, defaulted)
    work.wiring.check()
    nodes = () if work.problems or work.unread else work.planned()
    if work.problems or work.unread:
        raise ConfigError(bounded(work.problems))
    work.remark_idle()
    return Plan(
        instance=instance or flow.flow.replace("/", "-"),
        flow=flow.flow,
        title=flow.title,
        version=document.version(source.data),
        parameters=given,
        nodes=nodes,
        document=source.data,
        warnings=tuple(sorted(set(work.warnings))),
    )


class _Compilation:
    """One pass over one document; collects problems instead of stopping at the first."""

    def __init__(
        self,
        source: Document,
        flow: FlowDocument,
        site: Site,
        kinds: Kinds,
        given_in: tuple[Document, At] | None,
        problems: list[Problem],
    ) -> None:
        self.source, self.flow, self.site, self.kinds, self.given_in = source, flow, site, kinds, given_in
        self.problems = problems
        self.warnings: list[Problem] = []
        self.unread = False
        self.doubtful: set[str] = set()
        self.wiring = Wiring(flow, site, self.wrong)

    def wrong(self, at: At, message: str) -> None:
        self.problems.append(self.source.problem(at, message))

    def warn(self, at: At, message: str) -> None:
        self.warnings.append(self.source.problem(at, message))

    def wrong_given(self, parameter: str, message: str) -> None:
        if self.given_in is None:
            self.wrong(("parameters", parameter), message)
        else:
            document, at = self.given_in
            self.problems.append(document.problem((*at, parameter), message))

    # parameters

    def parameters(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
        """The value of every parameter, and the names of those that have their default."""
        declared = self.flow.parameters
        for name in given:
            if name not in declared:
                message = f"the flow {self.flow.flow} has no parameter {name!r}{suggestion(name, declared)}"
                self.wrong_given(name, message)
        values: dict[str, Any] = {}
        for name, parameter in declared.items():
            value = given.get(name, parameter.default)
            values[name] = value
            if value is None:
                self.wrong_given(name, f"the parameter {name!r} is required: {parameter.description}")
                self.doubtful.add(name)
            elif message := self._unfit(name, parameter, value):
                self.wrong_given(name, message)
                self.doubtful.add(name)
        used = {hole for entry in self.flow.nodes.values() for _, hole in parameters_in(entry.settings, ())}
        for name in declared.keys() - used:
            self.warn(("parameters", name), f"the parameter {name!r} is used by no node; remove it, or use {{{name}}}")
        return values, {name for name in declared if given.get(name) is None}

    def _known(self) -> dict[str, Collection[str]]:
        site = self.site
        return {"tag": site.tags, "device": site.devices, "output": site.outputs, "calendar": site.calendars}

    def _is_unread(self, name: str) -> bool:
        """Whether something is written, but could not be read: what is wrong with it is told there."""
        if name in self.site.unread or name.partition("/")[0] in self.site.unread:
            self.unread = True
            return True
        return False

    def _unfit(self, name: str, parameter: Parameter, value: Any) -> str:
        known = self._known().get(parameter.type)
        if known is not None:
            if value in known or self._is_unread(str(value)):
                return ""
            return f"there is no {parameter.type} {shown(value, name)}{suggestion(str(value), known)}"
        return parameter.unfit(value, name)

    # nodes

    def nodes(self, given: dict[str, Any], defaulted: set[str]) -> None:
        """Makes every node that can be made, in the order of the wires: what is before one says what it gets."""
        for name in self.wiring.order:
            entry = self.flow.nodes[name]
            kind = self.kinds.get(entry.kind)
            if kind is None:
                self.wrong(("nodes", name, "kind"), f"unknown kind {entry.kind!r}{suggestion(entry.kind, self.kinds)}")
                continue
            config = self._config(name, entry, kind, given, defaulted)
            if config is not None:
                self.wiring.made[name] = (kind, config, kind.inputs_of(config), kind.outputs_of(config))
                if self._references(name, config) and kind.lint:
                    for remark in kind.lint(config, self.site):
                        (self.wrong if remark.wrong else self.warn)(("nodes", name, *remark.at), remark.message)

    def _config(
        self, name: str, entry: NodeEntry, kind: Node[Any, Any, Any], given: dict[str, Any], defaulted: set[str]
    ) -> Any:
        used = list(parameters_in(entry.settings, ("nodes", name)))
        for at, hole in used:
            if hole not in given:
                self.wrong(at, f"uses {{{hole}}}, which is not a parameter{suggestion(hole, given)}")
        if any(hole not in given or hole in self.doubtful for _, hole in used):
            return None  # what is wrong with a parameter would be told once more for every node it is put into
        settings = fill(entry.settings, given)
        known = self._known_of_tags(name, kind, entry.settings, settings, given, defaulted)
        try:
            return kind.config.model_validate(settings)
        except ValidationError as error:
            found = self.source.problems(error, kind.config, ("nodes", name))
            note = f" (with what {' and '.join(known)} says of itself)" if known else ""
            self.problems += [replace(problem, message=problem.message + note) for problem in found]
        return None

    def _known_of_tags(
        self,
        name: str,
        kind: Node[Any, Any, Any],
        written: dict[str, Any],
        settings: dict[str, Any],
        given: dict[str, Any],
        defaulted: set[str],
    ) -> list[str]:
        """Puts what tags say of themselves into the settings, where neither node nor instance says it; who said it."""
        known: list[str] = []
        for setting, port in kind.of_tag.items():
            tag = self.wiring.tag_of(name, port)
            told = self._told(kind, setting, tag) if tag else None
            if told is None:
                continue
            said = fill(without(written, defaulted), given)
            known.append(f"the tag {tag}")
            if not setting:
                own = {key: value for key, value in said.items() if key in CounterSettings.model_fields}
                settings.update(_over({}, told, own))
                self._warn_differs(name, (), tag, told, own)
            elif isinstance(told, dict) and isinstance(settings.get(setting, {}), dict):
                own = said.get(setting) or {}
                settings[setting] = _over(settings.get(setting) or {}, told, own)
                self._warn_differs(name, (setting,), tag, told, own)
            elif not isinstance(told, dict):
                settings[setting] = told if said.get(setting) is None else said[setting]
                self._warn_differs(name, (), tag, {setting: told}, said)
        return known

    def _told(self, kind: Node[Any, Any, Any], setting: str, tag: str) -> Any:
        """What a tag says of a setting; None where it says nothing."""
        field_ = kind.config.model_fields.get(setting)
        if not setting or field_ is None or field_.annotation is CounterSettings:
            counter = self.site.counters.get(tag)
            return counter.written() if counter else None
        return self.site.maps.get(tag)

    def _warn_differs(
        self, name: str, at: At, tag: str | None, told: Mapping[str, Any], said: Mapping[str, Any]
    ) -> None:
        for key in ("modulus", "states"):
            own = said.get(key)
            if key in told and own is not None and _plain(own) != _plain(told[key]):
                message = f"the tag {tag} says {told[key]}, and here it is {own}, which counts; write it in one place"
                self.warn(("nodes", name, *at, key), message)

    def _references(self, name: str, config: BaseModel) -> bool:
        """Whether everything is there that a node's configuration refers to."""
        known, sound = self._known(), True
        for kind, key, value in _references(config):
            if value not in known[kind]:
                sound = False
                if not self._is_unread(value):
                    self.wrong(("nodes", name, key), f"there is no {kind} {value!r}{suggestion(value, known[kind])}")
        return sound

    # what comes of it

    def remark_idle(self) -> None:
        for at, message in self.wiring.idle():
            self.warn(at, message)

    def planned(self) -> tuple[PlannedNode, ...]:
        wiring = self.wiring
        index = {name: i for i, name in enumerate(wiring.order)}
        made = []
        for name in wiring.order:
            kind, config, inputs, outputs = wiring.made[name]
            targets = {
                port: tuple((index[target], into) for target, into in wiring.links.get((name, port), ()))
                for port in outputs
            }
            try:
                plan = kind.prepare(config, self.site) if kind.prepare else config
            except ValueError as error:
                self.wrong(("nodes", name), str(error))
                continue
            listens = kind.listens(config) if kind.listens else {}
            drives = frozenset(name for kind_, _, name in _references(config) if kind_ == "output")
            reaches, unproven = tuple(_reaches(config)), wiring.unproven(name)
            made.append(PlannedNode(name, kind, plan, inputs, outputs, targets, listens, drives, reaches, unproven))
        return tuple(made)


def _over(base: Mapping[str, Any], told: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What was said wins over what a tag told, and that over a default."""
    return {**base, **told, **{key: value for key, value in said.items() if value is not None}}


def _plain(value: Any) -> Any:
    """A modulus as a number, however it is written; anything else as it is."""
    try:
        return CounterSettings(modulus=value).modulus
    except ValidationError:
        return value


def _references(config: BaseModel) -> Iterator[tuple[str, str, str]]:
    """The (kind, field, name) of everything a node's configuration refers to."""
    for field_name, info in type(config).model_fields.items():
        extra = info.json_schema_extra
        kind = extra.get("reference") if isinstance(extra, dict) else None
        value = getattr(config, field_name)
        if isinstance(kind, str) and value is not None:
            yield kind, field_name, str(value)


def _reaches(config: BaseModel) -> Iterator[tuple[str, str, str]]:
    """The (service, target, field) of everything that a node's calls reach."""
    for name, info in type(config).model_fields.items():
        extra = info.json_schema_extra
        service = extra.get("reaches") if isinstance(extra, dict) else None
        if isinstance(service, str):
            yield service, str(getattr(config, name)), name
