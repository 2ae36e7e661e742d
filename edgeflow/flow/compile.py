"""Turns a flow document into a plan the engine can run, or says everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ValidationError

from edgeflow import document
from edgeflow.document import At, Document, explain, suggestion
from edgeflow.errors import ConfigError, Problem
from edgeflow.flow.document import FlowDocument, NodeEntry, read_wire
from edgeflow.flow.order import cycle_in, topological
from edgeflow.node import Kinds, Node, Port, Site
from edgeflow.parameters import Parameter, fill, parameters_in
from edgeflow.units import converter, same_dimension

MOST_WAYS = 50_000
"""So many ways through all its nodes a flow may have; each costs its share of a microsecond per value."""


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """A node ready to run: `plan` is what its handlers get; `targets` are (index, port) per output port.

    `drives` are the outputs its configuration names, `reaches` what it reaches: (service, target, setting).
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


@dataclass(frozen=True)
class Plan:
    """A compiled flow instance. `nodes` are in topological order."""

    instance: str
    flow: str
    title: str
    version: str
    parameters: Mapping[str, Any]
    nodes: tuple[PlannedNode, ...]
    document: Any = field(repr=False, default=None)

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
    ConfigError with every problem, each with its place in the document.
    """
    flow = source.model(FlowDocument)
    work = _Compilation(source, flow, site, kinds, given_in)
    given = work.parameters(parameters)
    if not work.problems:  # what is wrong with a parameter would be told once more for every node it is put into
        work.nodes(given)
        work.wires()
    nodes = () if work.problems else work.planned()
    if work.problems:
        raise ConfigError(sorted(set(work.problems)))
    return Plan(
        instance=instance or flow.flow.replace("/", "-"),
        flow=flow.flow,
        title=flow.title,
        version=document.version(source.data),
        parameters=given,
        nodes=nodes,
        document=source.data,
    )


class _Compilation:
    """One pass over one document; collects problems instead of stopping at the first."""

    def __init__(
        self, source: Document, flow: FlowDocument, site: Site, kinds: Kinds, given_in: tuple[Document, At] | None
    ) -> None:
        self.source, self.flow, self.site, self.kinds, self.given_in = source, flow, site, kinds, given_in
        self.problems: list[Problem] = []
        self.configs: dict[str, tuple[Node[Any, Any, Any], Any]] = {}
        self.ports: dict[str, tuple[Mapping[str, Port], Mapping[str, Port]]] = {}
        self.links: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self.fed: dict[tuple[str, str], tuple[str, str, int]] = {}

    def wrong(self, at: tuple[str | int, ...], message: str) -> None:
        self.problems.append(self.source.problem(at, message))

    def wrong_given(self, parameter: str, message: str) -> None:
        if self.given_in is None:
            self.wrong(("parameters", parameter), message)
        else:
            document, at = self.given_in
            self.problems.append(document.problem((*at, parameter), message))

    # parameters

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
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
            elif message := self._unfit(parameter, value):
                self.wrong_given(name, message)
        return values

    def _known(self) -> dict[str, Collection[str]]:
        site = self.site
        return {"tag": site.tags, "device": site.devices, "output": site.outputs, "calendar": site.calendars}

    def _unfit(self, parameter: Parameter, value: Any) -> str:
        known = self._known().get(parameter.type)
        if known is not None:
            return "" if value in known else f"there is no {parameter.type} {value!r}{suggestion(str(value), known)}"
        return parameter.unfit(value)

    # nodes

    def nodes(self, given: dict[str, Any]) -> None:
        for name, entry in self.flow.nodes.items():
            kind = self.kinds.get(entry.kind)
            if kind is None:
                self.wrong(("nodes", name, "kind"), f"unknown kind {entry.kind!r}{suggestion(entry.kind, self.kinds)}")
                continue
            config = self._config(name, entry, kind, given)
            if config is not None:
                self.configs[name] = (kind, config)
                self.ports[name] = (kind.inputs_of(config), kind.outputs_of(config))
                self._references(name, config)

    def _config(self, name: str, entry: NodeEntry, kind: Node[Any, Any, Any], given: dict[str, Any]) -> Any:
        unknown = [(at, hole) for at, hole in parameters_in(entry.settings, ("nodes", name)) if hole not in given]
        for at, hole in unknown:
            self.wrong(at, f"uses {{{hole}}}, which is not a parameter{suggestion(hole, given)}")
        if unknown:
            return None
        settings = fill(entry.settings, given)
        try:
            return kind.config.model_validate(settings)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                at = ("nodes", name, *detail["loc"])
                place = at if at in self.source.marks else at[:-1] if detail["type"] == "missing" else at
                self.wrong(
                    place, self._missing(detail["loc"]) if detail["type"] == "missing" else explain(detail, kind.config)
                )
        return None

    @staticmethod
    def _missing(loc: tuple[int | str, ...]) -> str:
        return f"the setting {'.'.join(map(str, loc))!r} is required"

    def _references(self, name: str, config: BaseModel) -> None:
        known = self._known()
        for kind, key, value in _references(config):
            if value not in known[kind]:
                self.wrong(("nodes", name, key), f"there is no {kind} {value!r}{suggestion(value, known[kind])}")

    # wires

    def wires(self) -> None:
        for i, text in enumerate(self.flow.wires):
            try:
                source, out, target, into = read_wire(text)
            except ValueError as error:
                self.wrong(("wires", i), str(error))
                continue
            if self._end(i, source, out, 1, "output") and self._end(i, target, into, 0, "input"):
                if (target, into) in self.fed:
                    self.wrong(("wires", i), f"{target}.{into} is fed twice; join the two with a `merge` node")
                self.fed[target, into] = (source, out, i)
                self.links.setdefault((source, out), []).append((target, into))
        after: dict[str, set[str]] = {name: set() for name in self.flow.nodes}
        for (source, _), targets in self.links.items():
            after[source] |= {target for target, _ in targets}
        if loop := cycle_in(after):
            where = next(
                i for (target, _), (source, _, i) in self.fed.items() if source == loop[-1] and target == loop[0]
            )
            self.wrong(("wires", where), f"closes a cycle: {' -> '.join([*loop, loop[0]])}; remove one of these wires")
            return
        self.order = topological(after)
        self._weigh()
        for name in self.order:
            for port in self.ports.get(name, ({}, {}))[0]:
                self._fits(name, port)

    def _weigh(self) -> None:
        """Branches that part and join again double what goes through: twenty such joins make a million of one value."""
        ways = dict.fromkeys(self.order, 0)
        total = 0
        for name in self.order:
            ways[name] = ways[name] or 1
            total += ways[name]
            if total > MOST_WAYS:
                return self.wrong(
                    ("nodes", name),
                    f"up to here branches part and join so often that one value takes more than {MOST_WAYS} ways "
                    "through the flow; join them less often",
                )
            for port in self.ports.get(name, ({}, {}))[1]:
                for target, _ in self.links.get((name, port), ()):
                    ways[target] += ways[name]
        return None

    def _end(self, wire: int, name: str, port: str, side: int, word: str) -> bool:
        if name not in self.flow.nodes:
            self.wrong(("wires", wire), f"there is no node {name!r}{suggestion(name, self.flow.nodes)}")
            return False
        if name not in self.ports:
            return False
        ports = self.ports[name][side]
        if port not in ports:
            self.wrong(("wires", wire), f"{name} has no {word} {port!r}{suggestion(port, ports)}")
            return False
        return True

    def _fits(self, name: str, port: str) -> None:
        if (name, port) not in self.fed:
            return
        source, out, wire = self.fed[name, port]
        given, wanted = self._resolved(source, out), self.ports[name][0][port]
        if "any" not in (given.type, wanted.type) and given.type != wanted.type:
            self.wrong(("wires", wire), f"{source}.{out} gives {given.type}, but {name}.{port} takes {wanted.type}")
        elif given.unit and wanted.unit and given.unit != wanted.unit:
            self.wrong(("wires", wire), _unit_clash(f"{source}.{out}", given.unit, f"{name}.{port}", wanted.unit))

    def _resolved(self, name: str, port: str) -> Port:
        """An output port with the type and unit it takes over from its input or its tag."""
        found = self.ports[name][1][port]
        kind, config = self.configs[name]
        if found.like is None:
            return found
        if kind.listens and found.like in (listened := kind.listens(config)):
            tag = self.site.tags.get(listened[found.like])
            types = {"boolean": "boolean", "integer": "number", "number": "number", "text": "text", "bytes": "any"}
            return Port(found.about, types[tag.type], tag.unit) if tag else found  # type: ignore[arg-type] # keys of PortType
        if (name, found.like) in self.fed:
            source, out, _ = self.fed[name, found.like]
            from_input = self._resolved(source, out)
            return Port(found.about, from_input.type, from_input.unit)
        return found

    def planned(self) -> tuple[PlannedNode, ...]:
        index = {name: i for i, name in enumerate(self.order)}
        made = []
        for name in self.order:
            kind, config = self.configs[name]
            inputs, outputs = self.ports[name]
            targets = {
                port: tuple((index[target], into) for target, into in self.links.get((name, port), ()))
                for port in outputs
            }
            try:
                plan = kind.prepare(config, self.site) if kind.prepare else config
            except ValueError as error:
                self.wrong(("nodes", name), str(error))
                continue
            listens = kind.listens(config) if kind.listens else {}
            drives = frozenset(name for kind_, _, name in _references(config) if kind_ == "output")
            reaches = tuple(_reaches(config))
            made.append(PlannedNode(name, kind, plan, inputs, outputs, targets, listens, drives, reaches))
        return tuple(made)


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


def _unit_clash(source: str, given: str, target: str, wanted: str) -> str:
    if not same_dimension(given, wanted):
        return (
            f"{source} is in {given}, but {target} takes {wanted}: these do not measure the same; "
            f"wire a value in {wanted} there"
        )
    factor, _ = converter(given, wanted)
    return (
        f"{source} is in {given}, but {target} takes {wanted}; put a `convert` node "
        f"{{kind: convert, from: {given}, to: {wanted}}} between them (1 {given} = {factor:g} {wanted})"
    )
