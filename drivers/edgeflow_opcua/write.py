"""Writing: each value in its node's own type, and elements of arrays alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds

from edgeflow.errors import Rejected
from edgeflow.model import Scalar
from edgeflow_opcua import service
from edgeflow_opcua.limits import Refused
from edgeflow_opcua.refusal import denied
from edgeflow_opcua.server import Server
from edgeflow_opcua.settings import Point
from edgeflow_opcua.structure import Names, names_of
from edgeflow_opcua.value import as_variant, from_epoch, from_json, status_name
from edgeflow_opcua.wire import Late, read_request

_NOT_ALONE = "the server cannot write single elements of an array; write the whole as JSON, with `type: text`"


class Writer:
    """Writes to the variables of one server. What is learned of a node holds as long as the session."""

    def __init__(self, server: Server) -> None:
        self._server, self._wire = server, server.wire
        self._kinds: dict[ua.NodeId, tuple[int, bool]] = {}
        self._names: dict[ua.NodeId, Names] = {}
        self._alone: dict[ua.NodeId, bool] = {}

    async def write(self, points: Sequence[Point], values: Sequence[Scalar], deadline: float) -> None:
        """In order; nothing is sent where one of them does not fit. Raises Rejected and LinkDown."""
        found = await self._server.addresses.resolve([point.place for point in points], deadline)
        nodes = []
        for node in found:
            if isinstance(node, str):
                raise Rejected(node)
            nodes.append(node)
        await self._learn(points, nodes, deadline)
        items = [self._item(*one) for one in zip(points, nodes, values, strict=True)]
        for point, node in zip(points, nodes, strict=True):
            if point.index is not None:
                await self._check_alone(point, node, deadline)
        try:
            statuses = await service.write(self._wire, items, deadline)
        except Refused as refusal:
            raise Rejected(f"{points[0]}: {denied(refusal.name)}") from None
        except Late as late:
            raise Late(f"{points[0]}: {late}; it may be written all the same") from None
        for point, status in zip(points, statuses, strict=True):
            if status.value >> 30 >= 2:
                raise Rejected(f"{point}: {_refusal(point, status_name(status.value))}")

    async def _learn(self, points: Sequence[Point], nodes: Sequence[ua.NodeId], deadline: float) -> None:
        """The held value comes first, because a declared type may be an enumeration or a maker's own."""
        new = {node: point for point, node in zip(points, nodes, strict=True) if node not in self._kinds}
        declared: dict[ua.NodeId, tuple[ua.NodeId, int]] = {}
        held = await self._wire.held_kinds(list(new), deadline)
        data = await self._wire.read(list(new), deadline, AttributeIds.DataType, AttributeIds.ValueRank)
        for node, kind, (data_type, code, *_), (rank, *_) in zip(new, held, data[::2], data[1::2], strict=True):
            if code >> 30 >= 2:
                raise Rejected(f"{new[node]}: {denied(status_name(code))}")
            if kind is not None:
                self._kinds[node] = kind
            elif isinstance(data_type, ua.NodeId):
                declared[node] = (data_type, rank if isinstance(rank, int) else -1)
        plain = await self._server.types.plain([kind for kind, _ in declared.values()], deadline) if declared else {}
        for node, (data_type, value_rank) in declared.items():
            self._kinds[node] = (plain[data_type], isinstance(value_rank, int) and value_rank >= 1)
        texts = [node for node, point in new.items() if point.type == "text"]
        if texts:
            self._names |= dict(zip(texts, await names_of(self._wire, texts, deadline), strict=True))

    def _item(self, point: Point, node: ua.NodeId, value: Scalar) -> ua.WriteValue:
        kind, many = self._kinds.get(node, (0, False))
        try:
            if value is None:
                raise Rejected("there is no value to write")  # noqa: TRY301 - said with the point, as the others
            if point.epoch is not None:
                value = from_epoch(value, point.epoch)
            if point.index is None:
                content = from_json(value) if many and isinstance(value, str) else self._number(node, value)
                return _value(node, None, as_variant(content, kind, many=many))
            if not many:
                raise Rejected("it is no array, so it has no elements")  # noqa: TRY301 - as above
            indices = (point.index,) if isinstance(point.index, int) else point.index
            element: list[Any] = [self._number(node, value)]
            for _ in indices[1:]:
                element = [element]
            return _value(node, ",".join(map(str, indices)), as_variant(element, kind, many=True))
        except Rejected as refusal:
            raise Rejected(f"{point}: {refusal}") from None

    def _number(self, node: ua.NodeId, value: Scalar) -> Scalar:
        """The number behind a name of an enumeration; every other value as it is."""
        names = self._names.get(node)
        if not names or not isinstance(value, str):
            return value
        for number, name in names.items():
            if name == value:
                return number
        raise Rejected(f"{value!r} is none of its names; it knows {', '.join(names.values())}")

    async def _check_alone(self, point: Point, node: ua.NodeId, deadline: float) -> None:
        """A server that does not know index ranges would put the element in place of the whole array."""
        if node not in self._alone:
            indices = (point.index,) if isinstance(point.index, int) else point.index or ()
            request = read_request([node, node])
            request.NodesToRead[1].IndexRange = ",".join(map(str, indices))
            whole_and_part = [await self._wire.read_once(one, deadline) for one in _each(request)]
            ((whole, code, *_),), ((part, part_code, *_),) = whole_and_part
            if code >> 31:
                raise Rejected(f"{point}: {denied(status_name(code))}")
            if part_code >> 31:
                raise Rejected(f"{point}: {_refusal(point, status_name(part_code))}")
            if _size(whole) == 1 and not any(indices):
                return  # the element is the whole
            self._alone[node] = _size(part) == 1 < _size(whole)
        if not self._alone[node]:
            raise Rejected(f"{point}: {_NOT_ALONE}")


def _each(request: ua.ReadParameters) -> list[ua.ReadParameters]:
    """A request for each, for servers that take one node at a time."""
    return [ua.ReadParameters(0, request.TimestampsToReturn, [one]) for one in request.NodesToRead]


def _value(node: ua.NodeId, index_range: str | None, value: ua.Variant) -> ua.WriteValue:
    return ua.WriteValue(node, ua.IntegerId(AttributeIds.Value), index_range, ua.DataValue(value, None))


def _refusal(point: Point, name: str) -> str:
    single = point.index is not None and name in ("BadWriteNotSupported", "BadIndexRangeInvalid", "BadNotSupported")
    return f"the server answered {name}; {_NOT_ALONE}" if single else denied(name)


def _size(value: object) -> int:
    return sum(_size(one) for one in value) if isinstance(value, list) else 1
