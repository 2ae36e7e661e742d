"""Reading: as many nodes per request as the server takes, each variable once."""

from __future__ import annotations

from collections.abc import Sequence

from asyncua import ua

from edgeflow.driver import Column, Reader, single
from edgeflow.model import BAD, Scalar
from edgeflow_opcua.item import items_of
from edgeflow_opcua.server import Server
from edgeflow_opcua.settings import Device, Point
from edgeflow_opcua.structure import names_of
from edgeflow_opcua.value import Fault

_NO_EVENT = (BAD, "no event of it has come yet")


async def reader(server: Server, device: Device, points: Sequence[Point], deadline: float) -> Reader:
    """Plans once; what cannot be read (events, methods, conditions) is shown as it was last told.

    What a method that is called by itself gives is there from the beginning.
    """
    wire = server.wire
    found = await server.addresses.resolve([point.place for point in points], deadline)
    nodes = {i: node for i, node in enumerate(found) if isinstance(node, ua.NodeId)}
    unknown: dict[int, Fault] = {i: (BAD, reason) for i, reason in enumerate(found) if isinstance(reason, str)}
    told = [i for i, point in enumerate(points) if not point.is_variable]
    variables = {i: node for i, node in nodes.items() if points[i].is_variable}
    texts = [i for i in variables if points[i].type == "text"]
    names = await names_of(wire, [nodes[i] for i in texts], deadline) if texts else []
    items = items_of(device, points, variables, dict(zip(texts, names, strict=True)), server.types)
    wanted = [item.node for item in items]

    for point in points:
        if point.output is not None and point.call != "written" and not server.methods.known(point):
            await server.methods.call(point, deadline)

    async def read(deadline: float) -> Column:
        data = await wire.read(wanted, deadline)
        values: list[Scalar] = [None] * len(points)
        faults = dict(unknown)
        taken = [item.taken(value, code) for item, (value, code, *_) in zip(items, data, strict=True)]
        if server.types.wanted:  # structures that were not met before
            await server.types.learn(deadline)
            taken = [item.taken(value, code) for item, (value, code, *_) in zip(items, data, strict=True)]
        for some in taken:
            for index, value, fault in some:
                values[index] = value
                if fault:
                    faults[index] = fault
        for index in told:
            point = points[index]
            if point.output is not None:
                values[index], fault = await server.methods.shown(point, deadline)
            else:
                values[index], fault = _told(server, point, nodes.get(index))
            if fault:
                faults.setdefault(index, fault)
        # A read tells what holds now, so the time at which the server says so counts before the
        # time at which the youngest value last changed.
        server_ns = max((one[3] for one in data), default=0)
        return Column(values, server_ns or max((one[2] for one in data), default=0), faults or None)

    return single(read)


def _told(server: Server, point: Point, node: ua.NodeId | None) -> tuple[Scalar, Fault | None]:
    if point.condition is None:
        return server.held_of(point), None
    if node is None or not (server.alarms.refreshed or server.alarms.of(node)):
        return None, _NO_EVENT
    try:
        return server.alarms.value(node, point), None
    except ValueError as error:
        return None, (BAD, str(error))
