"""A session with one OPC UA server: bulk reads, watches, writes, browsing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds

from edgeflow.driver import Column, Found, Home, Push, Reader
from edgeflow.errors import Rejected
from edgeflow.model import BAD, Quality, Scalar
from edgeflow_opcua.browse import browse
from edgeflow_opcua.settings import Device, Link, Point
from edgeflow_opcua.value import decode, encode, source_ns, status_name, time_ns, variant_type
from edgeflow_opcua.watch import Watch
from edgeflow_opcua.wire import Wire, read_request


@asynccontextmanager
async def open_session(link: Link, deadline: float, home: Home) -> AsyncIterator[OpcUaSession]:
    """Connects by the deadline; raises LinkDown. Leaving closes within about a second, hung server or not."""
    wire = Wire(link.url)
    try:
        await wire.connect(deadline)
        yield OpcUaSession(wire)
    finally:
        await wire.close()


class OpcUaSession:
    """An open connection; several devices may use it at the same time."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._types: dict[str, ua.VariantType | None] = {}

    async def prepare(self, device: Device, points: Sequence[Point], deadline: float) -> Reader:  # noqa: ARG002 - contract
        """Plans Read services of as many nodes as the server takes, 1000 at most."""
        wire, kinds = self._wire, [point.type for point in points]
        nodes, unknown = resolved(wire, points)
        known = list(nodes)
        step = wire.read_chunk
        requests = [
            read_request([nodes[index] for index in known[start : start + step]])
            for start in range(0, len(known), step)
        ]

        async def read(deadline: float) -> Column:
            data = [value for request in requests for value in await wire.read(request, deadline)]
            values: list[Scalar] = [None] * len(kinds)
            faults = dict(unknown)
            server_ns = newest_ns = 0
            for index, value in zip(known, data, strict=True):
                values[index], fault = decode(value, kinds[index])
                if fault:
                    faults[index] = fault
                server_ns = max(server_ns, time_ns(value.ServerTimestamp))
                newest_ns = max(newest_ns, source_ns(value))
            # A read tells what holds now, so the time at which the server says so counts before the
            # time at which the youngest value last changed.
            return Column(values, server_ns or newest_ns, faults or None)

        return read

    async def watch(self, device: Device, points: Sequence[Point], push: Push) -> None:
        """Subscribes and pushes until cancelled; raises LinkDown when the server stops proving that it lives."""
        nodes, unknown = resolved(self._wire, points)
        await Watch(self._wire, device, [point.type for point in points], nodes, unknown, push).run()

    async def write(self, device: Device, points: Sequence[Point], values: Sequence[Scalar], deadline: float) -> None:  # noqa: ARG002 - contract
        """Writes in order, each value in its node's own type; nothing is sent where one of them does not fit."""
        wire = self._wire
        nodes, unknown = resolved(wire, points)
        for _, reason in unknown.values():
            raise Rejected(reason)
        await self._learn_types([(point.node, nodes[index]) for index, point in enumerate(points)], deadline)
        items = [
            ua.WriteValue(nodes[index], AttributeIds.Value, None, self._encoded(point.node, value))
            for index, (point, value) in enumerate(zip(points, values, strict=True))
        ]
        for start in range(0, len(items), wire.write_chunk):
            request = ua.WriteParameters(items[start : start + wire.write_chunk])
            for point, status in zip(
                points[start:], await wire.ask(deadline, wire.services.write, request), strict=False
            ):
                if not status.is_good():
                    raise Rejected(f"{point.node}: the server answered {status_name(status.value)}")

    async def browse(self, path: str, deadline: float) -> AsyncIterator[Found]:
        """What there is below a node (`path` of a Found); "" is the Objects folder."""
        async for found in browse(self._wire, path, deadline):
            yield found

    async def _learn_types(self, nodes: Sequence[tuple[str, ua.NodeId]], deadline: float) -> None:
        new = [(name, node) for name, node in dict(nodes).items() if name not in self._types]
        step = max(1, self._wire.read_chunk // 2)
        for start in range(0, len(new), step):
            some = new[start : start + step]
            request = read_request([node for _, node in some], AttributeIds.Value, AttributeIds.DataType)
            data = await self._wire.read(request, deadline)
            for (name, _), value, data_type in zip(some, data[::2], data[1::2], strict=True):
                status = data_type.StatusCode
                if status is not None and not status.is_good():
                    raise Rejected(f"{name}: the server answered {status_name(status.value)}")
                self._types[name] = variant_type(value, data_type)

    def _encoded(self, name: str, value: Scalar) -> ua.DataValue:
        kind = self._types[name]
        if kind is None:
            raise Rejected(f"{name} is an array or a structure; only single values can be written")
        try:
            return encode(value, kind)
        except Rejected as refusal:
            raise Rejected(f"{name}: {refusal}") from None


def resolved(wire: Wire, points: Sequence[Point]) -> tuple[dict[int, ua.NodeId], dict[int, tuple[Quality, str]]]:
    """The node of every point by its index, and a fault for those in a namespace the server does not have."""
    nodes: dict[int, ua.NodeId] = {}
    unknown: dict[int, tuple[Quality, str]] = {}
    for index, point in enumerate(points):
        try:
            nodes[index] = wire.node_id(point.node)
        except ValueError as error:
            unknown[index] = (BAD, str(error))
    return nodes, unknown
