"""What a server has to offer, level by level, ready to be written into a configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator

from asyncua import ua
from asyncua.ua.object_ids import ObjectIds

from edgeflow.driver import Found
from edgeflow.errors import Rejected
from edgeflow_opcua.value import decode, value_type
from edgeflow_opcua.wire import Wire, read_request

_OBJECTS = f"i={ObjectIds.ObjectsFolder}"
_HIERARCHICAL = ua.NodeId(ua.Int32(ObjectIds.HierarchicalReferences))
_CLASSES = ua.NodeClass.Object | ua.NodeClass.Variable


async def browse(wire: Wire, path: str, deadline: float) -> AsyncIterator[Found]:
    """The objects and variables below a node; raises Rejected where the server does not have it."""
    try:
        node = wire.node_id(path or _OBJECTS)
    except ValueError as error:
        raise Rejected(str(error)) from None
    question = ua.BrowseParameters(
        RequestedMaxReferencesPerNode=ua.UInt32(wire.read_chunk),
        NodesToBrowse=[
            ua.BrowseDescription(
                node, ua.BrowseDirection.Forward, _HIERARCHICAL, True, _CLASSES, ua.BrowseResultMask.All
            )
        ],
    )
    (result,) = await wire.ask(deadline, wire.services.browse, question)
    while True:
        if not result.StatusCode.is_good():
            raise Rejected(f"{path or 'Objects'}: the server answered {result.StatusCode.name}")
        for found in await _described(wire, result.References or [], deadline):
            yield found
        if not result.ContinuationPoint:
            return
        more = ua.BrowseNextParameters(False, [result.ContinuationPoint])
        (result,) = await wire.ask(deadline, wire.services.browse_next, more)


async def _described(wire: Wire, references: list[ua.ReferenceDescription], deadline: float) -> list[Found]:
    variables = [found for found in references if found.NodeClass is ua.NodeClass.Variable]
    ids = [ua.NodeId(found.NodeId.Identifier, found.NodeId.NamespaceIndex) for found in variables]
    data = await wire.read(read_request(ids), deadline) if ids else []
    held = {id(found): value for found, value in zip(variables, data, strict=True)}
    return [_found(wire, reference, held.get(id(reference))) for reference in references]


def _found(wire: Wire, reference: ua.ReferenceDescription, data: ua.DataValue | None) -> Found:
    path = _written(wire, reference.NodeId)
    title = reference.DisplayName.Text or reference.BrowseName.Name or path
    if data is None:
        return Found(path, title, None, has_children=True)
    kind = None if data.Value is None or data.Value.is_array else value_type(data.Value.VariantType)
    if kind is None:
        return Found(path, title, None)
    return Found(path, title, {"node": path, "type": kind}, kind, value=decode(data, kind)[0])


def _written(wire: Wire, node: ua.NodeId) -> str:
    """With the namespace's URI, which holds when the server numbers its namespaces anew."""
    plain = ua.NodeId(node.Identifier, node.NamespaceIndex).to_string()
    index = node.NamespaceIndex
    if index == 0 or index >= len(wire.namespaces):
        return plain
    return f"nsu={wire.namespaces[index]};{plain.partition(';')[2]}"
