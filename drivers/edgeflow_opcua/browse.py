"""What a server has to offer, level by level, ready to be written into a configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from typing import Any

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds

from edgeflow.driver import Found
from edgeflow.errors import Rejected
from edgeflow.model import BAD, Scalar, ValueType
from edgeflow_opcua import service
from edgeflow_opcua.address import below, written
from edgeflow_opcua.limits import pieces
from edgeflow_opcua.refusal import denied
from edgeflow_opcua.server import Server
from edgeflow_opcua.settings import placed
from edgeflow_opcua.structure import held
from edgeflow_opcua.value import judged, to_scalar, value_type

_OBJECTS = f"i={ObjectIds.ObjectsFolder}"
_ASIDE = {f"i={each}" for each in (ObjectIds.Server, ObjectIds.Aliases, ObjectIds.Locations, ObjectIds.Quantities)}
"""What every server has below Objects; the machine is beside it."""
_HIERARCHICAL = ua.NodeId(ua.Int32(ObjectIds.HierarchicalReferences))
_COMPONENTS = ua.NodeId(ua.Int32(ObjectIds.HasComponent))
_CLASSES = ua.NodeClass.Object | ua.NodeClass.Variable | ua.NodeClass.Method
_PLAIN_TYPES = (ObjectIds.BaseDataVariableType, ObjectIds.PropertyType)
_SUBSCRIBE_TO_EVENTS = 1
_MOST_PARTS = 1000
_TOGETHER = 100


async def browse(server: Server, path: str, deadline: float) -> AsyncIterator[Found]:
    """The objects, variables, methods and events below a node, and the parts of a variable's value.

    Raises Rejected where the server does not have the node.
    """
    wire = server.wire
    node = await server.addresses.one(placed(path or _OBJECTS), deadline)
    question = _description(node, _HIERARCHICAL, _CLASSES, ua.BrowseResultMask.All)
    (references,) = await service.browse(wire, [question], deadline)
    if isinstance(references, str):
        raise Rejected(f"{path or 'Objects'}: {denied(references)}")
    for some in pieces(references, _TOGETHER):
        for found in await _Level(server, node, some, deadline).found():
            aside = found.path in _ASIDE and not path
            yield replace(found, aside=True) if aside else found
    for found in await _parts(server, node, deadline):
        yield found


class _Level:
    """Some references of one node, and what is asked of all of them together."""

    def __init__(
        self, server: Server, parent: ua.NodeId, references: Sequence[ua.ReferenceDescription], deadline: float
    ) -> None:
        self._server, self._wire, self._parent, self._deadline = server, server.wire, parent, deadline
        self._references = references
        self._nodes = [ua.NodeId(one.NodeId.Identifier, one.NodeId.NamespaceIndex) for one in references]

    async def found(self) -> list[Found]:
        """In the order of the references; after an object the events that it gives."""
        variables = self._of(ua.NodeClass.Variable)
        values = await self._read(variables, AttributeIds.Value)
        shown = dict(zip(variables, await self._shown(values), strict=True))
        kinds = await self._kinds(variables, [shown[at] for at in variables])
        units = await self._units(variables)
        parents = await self._parents(variables)
        notifiers = self._of(ua.NodeClass.Object)
        events = dict(zip(notifiers, await self._read(notifiers, AttributeIds.EventNotifier), strict=True))
        inputs = await self._inputs(self._of(ua.NodeClass.Method))
        found: list[Found] = []
        for at, reference in enumerate(self._references):
            path = written(self._wire, self._nodes[at])
            title = reference.DisplayName.Text or reference.BrowseName.Name or path
            if at in shown:
                found.append(_variable(path, title, kinds[at], shown[at], units.get(at), at in parents))
            elif at in inputs:
                kind = inputs[at]
                point = {"object": written(self._wire, self._parent), "method": path, "type": kind}
                found.append(Found(path, f"{title}()", point, kind))
            else:
                found.append(Found(path, title, None, has_children=True))
                flags = events[at][0] if at in events else None
                if isinstance(flags, int) and flags & _SUBSCRIBE_TO_EVENTS:
                    found.append(Found(path, f"{title} (events)", {"events": path}, "text"))
        return found

    def _of(self, kind: ua.NodeClass) -> list[int]:
        return [at for at, reference in enumerate(self._references) if reference.NodeClass is kind]

    async def _read(self, those: Sequence[int], attribute: AttributeIds) -> list[tuple[Any, int]]:
        if not those:
            return []
        data = await self._wire.read([self._nodes[at] for at in those], self._deadline, attribute)
        return [(value, code) for value, code, *_ in data]

    async def _shown(self, values: Sequence[tuple[Any, int]]) -> list[Any]:
        types = self._server.types
        shown = [_unfolded(self._server, value, code) for value, code in values]
        if types.wanted:
            await types.learn(self._deadline)
            shown = [_unfolded(self._server, value, code) for value, code in values]
        return shown

    async def _kinds(self, those: Sequence[int], shown: Sequence[Any]) -> dict[int, ValueType | None]:
        """By the value; where there is none, by the declared type."""
        kinds = {at: _kind(value) for at, value in zip(those, shown, strict=True)}
        empty = [at for at, value in zip(those, shown, strict=True) if value is None]
        declared = {
            at: kind for at, (kind, _) in zip(empty, await self._read(empty, AttributeIds.DataType), strict=True)
        }
        known = {at: kind for at, kind in declared.items() if isinstance(kind, ua.NodeId)}
        plain = await self._server.types.plain(list(known.values()), self._deadline) if known else {}
        return kinds | {at: _of_number(plain[kind]) for at, kind in known.items()}

    async def _units(self, those: Sequence[int]) -> dict[int, str]:
        """EUInformation of the variables that may have one (OPC 10000-8, clause 5.6.4)."""
        asked = [at for at in those if self._references[at].TypeDefinition.Identifier not in _PLAIN_TYPES]
        targets = await below(self._wire, [(self._nodes[at], "/EngineeringUnits") for at in asked], self._deadline)
        there = [(at, target) for at, target in zip(asked, targets, strict=True) if target is not None]
        if not there:
            return {}
        units = [held(datum) for datum in await self._wire.read([target for _, target in there], self._deadline)]
        named = zip(there, units, strict=True)
        return {
            at: unit.DisplayName.Text
            for (at, _), unit in named
            if isinstance(unit, ua.EUInformation) and unit.DisplayName.Text
        }

    async def _parents(self, those: Sequence[int]) -> set[int]:
        """The variables that have variables of their own; the mere properties are not looked at."""
        asked = [at for at in those if self._references[at].TypeDefinition.Identifier != ObjectIds.PropertyType]
        if not asked:
            return set()
        wanted = [
            _description(self._nodes[at], _COMPONENTS, ua.NodeClass.Variable, ua.BrowseResultMask.None_) for at in asked
        ]
        found = await service.browse(self._wire, wanted, self._deadline, first_only=True)
        return {at for at, one in zip(asked, found, strict=True) if one and not isinstance(one, str)}

    async def _inputs(self, those: Sequence[int]) -> dict[int, ValueType]:
        """What is written to call each method: `true`, its one argument, or a text with all."""
        targets = await below(self._wire, [(self._nodes[at], "/InputArguments") for at in those], self._deadline)
        there = [(at, target) for at, target in zip(those, targets, strict=True) if target is not None]
        data = await self._wire.read([target for _, target in there], self._deadline)
        kinds: dict[int, ValueType] = dict.fromkeys(those, "boolean")
        for (at, _), one in zip(there, data, strict=True):
            arguments = held(one)
            if isinstance(arguments, list) and arguments:
                kinds[at] = "text"
                if len(arguments) == 1 and arguments[0].ValueRank < 1:
                    kind = arguments[0].DataType
                    kinds[at] = _of_number((await self._server.types.plain([kind], self._deadline))[kind]) or "text"
        return kinds


def _description(node: ua.NodeId, reference: ua.NodeId, classes: int, mask: int) -> ua.BrowseDescription:
    return ua.BrowseDescription(node, ua.BrowseDirection.Forward, reference, True, classes, mask)


def _variable(path: str, title: str, kind: ValueType | None, value: Any, unit: str | None, has_children: bool) -> Found:
    whole = isinstance(value, list | dict)
    if kind is None:
        return Found(path, title, None, has_children=has_children)
    shown = _scalar(value, kind)
    return Found(path, title, {"node": path, "type": kind}, kind, unit, shown, has_children or whole)


async def _parts(server: Server, node: ua.NodeId, deadline: float) -> list[Found]:
    """The elements of an array and the fields of a structure."""
    ((value, code, *_),) = await server.wire.read([node], deadline)
    shown = _unfolded(server, value, code)
    if server.types.wanted:
        await server.types.learn(deadline)
        shown = _unfolded(server, value, code)
    if not isinstance(shown, list | dict):
        return []
    path = written(server.wire, node)
    found: list[Found] = []
    for index, field, leaf in _leaves(shown):
        kind = _kind(leaf)
        if kind is not None and len(found) < _MOST_PARTS:
            point: dict[str, Any] = {"node": path, "type": kind}
            if index:
                point["index"] = index[0] if len(index) == 1 else list(index)
            if field:
                point["field"] = field
            title = "".join(f"[{at}]" for at in index) + (f" {field}" if index and field else field)
            found.append(Found(path, title, point, kind, value=_scalar(leaf, kind)))
    return found


def _leaves(value: Any, index: tuple[int, ...] = (), field: str = "") -> Iterable[tuple[tuple[int, ...], str, Any]]:
    """What is no array and no structure any more, with the way to it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, index, f"{field}.{name}" if field else name)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _leaves(inner, index, f"{field}[{at}]") if field else _leaves(inner, (*index, at))
    else:
        yield index, field, value


def _unfolded(server: Server, value: Any, code: int) -> Any:
    fault = judged(code)
    if fault and fault[0] is BAD:
        return None
    try:
        return server.types.unfold(value)
    except ValueError:
        return None


def _kind(value: Any) -> ValueType | None:
    """The type that shows a value without loss."""
    kinds: dict[type, ValueType] = {
        bool: "boolean",
        int: "integer",
        float: "number",
        bytes: "bytes",
        ua.StatusCode: "integer",
    }
    return None if value is None else kinds.get(type(value), "text")


def _of_number(number: int) -> ValueType | None:
    return value_type(ua.VariantType(number)) if 0 < number <= 25 else None


def _scalar(value: Any, kind: ValueType) -> Scalar:
    try:
        return to_scalar(value, kind)
    except ValueError:
        return None
