"""A session with one OPC UA server: bulk reads, watches, writes, browsing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import groupby

from edgeflow.driver import Found, Home, Push, Reader
from edgeflow.model import Scalar
from edgeflow_opcua.browse import browse
from edgeflow_opcua.read import reader
from edgeflow_opcua.redundancy import connected
from edgeflow_opcua.server import Server
from edgeflow_opcua.settings import Device, Link, Point
from edgeflow_opcua.watch import Watch
from edgeflow_opcua.wire import Wire
from edgeflow_opcua.write import Writer


@asynccontextmanager
async def open_session(link: Link, deadline: float, home: Home) -> AsyncIterator[OpcUaSession]:
    """Connects by the deadline; raises LinkDown. Leaving closes within about a second, hung server or not."""
    async with connected(link, deadline, home) as wire:
        yield OpcUaSession(wire, home)


class OpcUaSession:
    """An open connection; several devices may use it at the same time."""

    def __init__(self, wire: Wire, home: Home) -> None:
        self._wire = wire
        self._server = server = Server(wire, home)
        self._writer = Writer(server)

    async def prepare(self, device: Device, points: Sequence[Point], deadline: float) -> Reader:
        """Plans Read services of as many nodes as the server takes, 1000 at most."""
        return await reader(self._server, device, points, deadline)

    async def watch(self, device: Device, points: Sequence[Point], push: Push) -> None:
        """Subscribes and pushes until cancelled; raises LinkDown when the server stops proving that it lives."""
        await Watch(self._server, device, points, push).run()

    async def write(self, device: Device, points: Sequence[Point], values: Sequence[Scalar], deadline: float) -> None:  # noqa: ARG002 - contract
        """Writes in order: variables that follow one another in one request, methods by calling them.

        Of the variables nothing is sent where one value does not fit. Raises Rejected and LinkDown.
        """
        pairs = list(zip(points, values, strict=True))
        for variable, some in groupby(pairs, lambda pair: pair[0].method is None and pair[0].condition is None):
            those = list(some)
            if variable:
                await self._writer.write([point for point, _ in those], [value for _, value in those], deadline)
                continue
            for point, value in those:
                await self._act(point, value, deadline)

    async def _act(self, point: Point, value: Scalar, deadline: float) -> None:
        if point.condition is not None:
            node = await self._server.addresses.one(point.place, deadline)
            await self._server.alarms.write(point, node, value, deadline)
            return
        await self._server.methods.write(point, value, deadline)
        self._server.tell(point, value)

    async def browse(self, path: str, deadline: float) -> AsyncIterator[Found]:
        """What there is below a node (`path` of a Found); "" is the Objects folder."""
        async for found in browse(self._server, path, deadline):
            yield found
