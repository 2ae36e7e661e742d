"""The wires of a flow: what leads where, what is known of a value on its way, and what leads nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from edgeflow.document import suggestion
from edgeflow.flow.document import FlowDocument, read_wire
from edgeflow.flow.order import cycles_in, topological
from edgeflow.node import Node, Port, Site
from edgeflow.units import converter, same_dimension

MOST_WAYS = 50_000
"""So many ways through all its nodes a flow may have; each costs its share of a microsecond per value."""
_TYPES: Mapping[str, str] = {"boolean": "boolean", "integer": "number", "number": "number", "text": "text"}
"""The type on a wire of each type of tag; bytes can be anything."""

Wrong = Callable[[tuple[str | int, ...], str], None]
Made = tuple[Node[Any, Any, Any], Any, Mapping[str, Port], Mapping[str, Port]]
"""A node of the flow: its kind, its configuration, its inputs and its outputs."""


class Wiring:
    """The wires of one document. Read them first, then add the nodes in `order`, then check."""

    def __init__(self, flow: FlowDocument, site: Site, wrong: Wrong) -> None:
        self.flow, self.site, self.wrong = flow, site, wrong
        self.made: dict[str, Made] = {}
        self.links: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self.fed: dict[tuple[str, str], tuple[str, str, int]] = {}
        self._tags: dict[tuple[str, str], str | None] = {}
        self.cyclic = False
        self.order: tuple[str, ...] = self._read()

    def _read(self) -> tuple[str, ...]:
        for i, text in enumerate(self.flow.wires):
            try:
                source, out, target, into = read_wire(text)
            except ValueError as error:
                self.wrong(("wires", i), str(error))
                continue
            unknown = [name for name in dict.fromkeys((source, target)) if name not in self.flow.nodes]
            for name in unknown:
                self.wrong(("wires", i), f"there is no node {name!r}{suggestion(name, self.flow.nodes)}")
            if unknown:
                continue
            if (target, into) in self.fed:
                first = self.fed[target, into]
                twice = first[:2] == (source, out)
                message = "is written twice; remove one" if twice else "join the two with a `merge` node"
                self.wrong(("wires", i), f"{target}.{into} is fed twice; {message}" if not twice else message)
                continue
            self.fed[target, into] = (source, out, i)
            self.links.setdefault((source, out), []).append((target, into))
        after: dict[str, set[str]] = {name: set() for name in self.flow.nodes}
        for (source, _), targets in self.links.items():
            after[source] |= {target for target, _ in targets}
        for loop in cycles_in(after):
            where = next(
                i for (target, _), (source, _, i) in self.fed.items() if source == loop[-1] and target == loop[0]
            )
            way = " -> ".join([*loop, loop[0]])
            self.wrong(("wires", where), f"closes a cycle: {way}; remove one of these wires")
            self.cyclic = True
            for name in loop:
                after[name] -= set(loop)
        return topological(after)

    # what is known of a value

    def tag_of(self, name: str, port: str) -> str | None:
        """The tag whose very value comes in there; None where it is none, or was changed on the way."""
        if (name, port) not in self.fed or self.cyclic:
            return None
        source, out, _ = self.fed[name, port]
        if (source, out) not in self._tags:
            self._tags[source, out] = self._tag_behind(source, out)
        return self._tags[source, out]

    def _tag_behind(self, name: str, port: str) -> str | None:
        if name not in self.made:
            return None
        kind, config, _, outputs = self.made[name]
        found = outputs.get(port)
        if found is None or not found.same or found.like is None:
            return None
        listened = kind.listens(config) if kind.listens else {}
        return listened.get(found.like) or self.tag_of(name, found.like)

    def resolved(self, name: str, port: str) -> Port:
        """An output port with the type and unit it takes over from its input or its tag."""
        kind, config, _, outputs = self.made[name]
        found = outputs[port]
        if found.like is None:
            return found
        if kind.listens and found.like in (listened := kind.listens(config)):
            tag = self.site.tags.get(listened[found.like])
            return Port(found.about, _port_type(tag.type), tag.unit) if tag else found
        if (name, found.like) in self.fed:
            source, out, _ = self.fed[name, found.like]
            if source in self.made and out in self.made[source][3]:
                from_input = self.resolved(source, out)
                return Port(found.about, from_input.type, from_input.unit)
        return found

    def _wanted(self, name: str, port: str) -> Port:
        """An input port with the type of the output that it is led to."""
        _, config, inputs, _ = self.made[name]
        found = inputs[port]
        output = self.site.outputs.get(getattr(config, found.like)) if found.like else None
        return Port(found.about, _port_type(output.type)) if output and output.type else found

    # checking

    def check(self) -> None:
        """Everything that is wrong with the wires between nodes that could be made."""
        sound = [
            (target, into)
            for (target, into), (source, out, i) in self.fed.items()
            if self._end(i, source, out, 3, "output") & self._end(i, target, into, 2, "input")
        ]
        if self.cyclic:
            return
        for name, port in sound:
            self._fits(name, port)
        self._weigh()

    def _end(self, wire: int, name: str, port: str, side: int, word: str) -> bool:
        if name not in self.made:
            return False
        ports: Mapping[str, Port] = self.made[name][side]  # type: ignore[assignment] # 2 and 3 are ports
        if port not in ports:
            self.wrong(("wires", wire), f"{name} has no {word} {port!r}{suggestion(port, ports)}")
            return False
        return True

    def _fits(self, name: str, port: str) -> None:
        source, out, wire = self.fed[name, port]
        given, wanted = self.resolved(source, out), self._wanted(name, port)
        if reason := wanted.refuses.get(given.type):
            self.wrong(("wires", wire), f"{source}.{out} gives {given.type}, but {name}.{port} {reason}")
        elif "any" not in (given.type, wanted.type) and given.type != wanted.type:
            self.wrong(("wires", wire), f"{source}.{out} gives {given.type}, but {name}.{port} takes {wanted.type}")
        elif given.unit and wanted.unit and given.unit != wanted.unit:
            self.wrong(("wires", wire), _unit_clash(f"{source}.{out}", given.unit, f"{name}.{port}", wanted.unit))

    def unproven(self, name: str) -> dict[str, str]:
        """The typed inputs of a node of which nobody knows yet what will come in: port -> type."""
        found: dict[str, str] = {}
        for port in self.made[name][2]:
            if (name, port) in self.fed:
                source, out, _ = self.fed[name, port]
                wanted = self._wanted(name, port).type
                if wanted != "any" and self.resolved(source, out).type == "any":
                    found[port] = wanted
        return found

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
            for port in self.made[name][3] if name in self.made else ():
                for target, _ in self.links.get((name, port), ()):
                    ways[target] += ways[name]
        return None

    # what is of no use

    def idle(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Nodes that nothing comes to, or whose results go nowhere; each is told once, at the node."""
        reached: set[str] = set()
        for name in self.order:
            kind, config, inputs, outputs = self.made[name]
            listened = kind.listens(config) if kind.listens else {}
            wired = [port for port in inputs if (name, port) in self.fed]
            leads = [port for port in outputs if (name, port) in self.links]
            acts = not outputs or kind.answered is not None or _drives(config)
            open_ = [port for port, each in inputs.items() if each.needed and port not in wired]
            fed = bool(listened) or not inputs or any(each.pressed for each in inputs.values())
            if fed or any(self.fed[name, port][0] in reached for port in wired):
                reached.add(name)
            if not fed and not wired and not leads:
                yield ("nodes", name), f"is wired to nothing; wire something to {_ends(name, inputs)}, or remove it"
            elif not fed and not wired:
                yield ("nodes", name), f"nothing is wired to {_ends(name, inputs)}, so it never does anything"
            elif name not in reached:
                before = sorted({self.fed[name, port][0] for port in wired})
                yield ("nodes", name), f"is never reached: nothing comes to {', '.join(before)} before it"
            elif open_:
                yield ("nodes", name), f"nothing is wired to {_ends(name, open_, 'and')}, which it needs"
            elif not leads and not acts:
                yield (
                    ("nodes", name),
                    f"leads nowhere: nothing takes {_ends(name, outputs)}; wire it, or remove the node",
                )


def _ends(name: str, ports: Iterable[str], word: str = "or") -> str:
    return f" {word} ".join(f"{name}.{port}" for port in ports)


def _drives(config: Any) -> bool:
    for name, info in type(config).model_fields.items():
        extra = info.json_schema_extra
        if isinstance(extra, dict) and extra.get("reference") == "output" and getattr(config, name) is not None:
            return True
    return False


def _port_type(of_tag: str) -> Any:
    return _TYPES.get(of_tag, "any")


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
