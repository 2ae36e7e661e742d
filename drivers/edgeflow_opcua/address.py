"""Where a node is: its NodeId, or the way to it by browse names (OPC 10000-4, clause 5.9.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncua import ua
from asyncua.ua.object_ids import ObjectIds

from edgeflow.errors import Rejected
from edgeflow_opcua.service import translate
from edgeflow_opcua.settings import STEP
from edgeflow_opcua.wire import Wire

Place = tuple[str | None, str | None]
"""Where somebody says that a node is: a NodeId (none: the root), and a path from there (none: itself)."""

_ROOT = ua.NodeId(ua.Int32(ObjectIds.RootFolder))
_HIERARCHICAL = ua.NodeId(ua.Int32(ObjectIds.HierarchicalReferences))
_NO: Any = False
_YES: Any = True
_WHOLE = 2**32 - 1  # all of the path was followed


class Addresses:
    """The nodes of one server by the places that were written; what was found holds as long as the session."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._found: dict[Place, ua.NodeId] = {}

    async def resolve(self, places: Sequence[Place], deadline: float) -> list[ua.NodeId | str]:
        """The node of every place, or the reason why there is none; paths are asked for in bulk."""
        found: dict[Place, ua.NodeId | str] = {}
        asked: dict[Place, tuple[ua.NodeId, str]] = {}
        for place in dict.fromkeys(places):
            node, path = place
            if place in self._found:
                found[place] = self._found[place]
                continue
            try:
                start = _ROOT if node is None else self._wire.node_id(node)
                if path is None:
                    found[place] = start
                else:
                    parsed(self._wire, path)
                    asked[place] = (start, path)
            except ValueError as error:
                found[place] = str(error)
        if asked:
            targets = await below(self._wire, list(asked.values()), deadline)
            for place, target in zip(asked, targets, strict=True):
                found[place] = target or await self._explain(*asked[place], place[0], deadline)
                if target:
                    self._found[place] = target
        return [found[place] for place in places]

    async def one(self, place: Place, deadline: float) -> ua.NodeId:
        """One node; raises Rejected with the reason why there is none."""
        (node,) = await self.resolve([place], deadline)
        if isinstance(node, str):
            raise Rejected(node)
        return node

    async def _explain(self, start: ua.NodeId, path: str, node: str | None, deadline: float) -> str:
        """How far a path leads."""
        steps = [match[0] for match in STEP.finditer(path)]
        ways = ["".join(steps[:count]) for count in range(1, len(steps))]
        targets = await below(self._wire, [(start, way) for way in ways], deadline)
        reached = next((way for way, target in zip(ways[::-1], targets[::-1], strict=True) if target), "")
        missing = steps[len([*STEP.finditer(reached)])][1:]
        where = f"{node or ''}{reached}" or "the root"
        hint = (
            "" if ":" in missing or ";" in missing else f"; names of a maker need their namespace, as in `2:{missing}`"
        )
        return f"the server has no {missing!r} below {where}{hint}"


async def below(wire: Wire, ways: Sequence[tuple[ua.NodeId, str]], deadline: float) -> list[ua.NodeId | None]:
    """The node at the end of each path; None where there is none."""
    paths = [ua.BrowsePath(start, ua.RelativePath(parsed(wire, path))) for start, path in ways]
    return [_target(result) for result in await translate(wire, paths, deadline)]


def parsed(wire: Wire, path: str) -> list[ua.RelativePathElement]:
    """The steps of a path; ValueError where it names a namespace that the server does not have."""
    return [
        ua.RelativePathElement(_HIERARCHICAL, _NO, _YES, name)
        for name in (qualified(wire, *match.groups()) for match in STEP.finditer(path))
    ]


def qualified(wire: Wire, index: str | None, uri: str | None, name: str) -> ua.QualifiedName:
    """A browse name; ValueError where its namespace is not there."""
    space = wire.node_id(f"nsu={uri};i=0").NamespaceIndex if uri else int(index or 0)
    return ua.QualifiedName(name.replace("&&", "\0").replace("&", "").replace("\0", "&"), space)


def written(wire: Wire, node: ua.NodeId) -> str:
    """A node as it is written, with the namespace's URI, which holds when the server numbers its namespaces anew."""
    plain = ua.NodeId(node.Identifier, node.NamespaceIndex).to_string()
    index = node.NamespaceIndex
    if index == 0 or index >= len(wire.namespaces):
        return plain
    return f"nsu={wire.namespaces[index]};{plain.partition(';')[2]}"


def _target(result: ua.BrowsePathResult) -> ua.NodeId | None:
    if not result.StatusCode.is_good():
        return None
    for target in result.Targets or ():
        if target.RemainingPathIndex == _WHOLE:
            return ua.NodeId(target.TargetId.Identifier, target.TargetId.NamespaceIndex)
    return None
