"""An OPC UA server of asyncua in the test's own process, with limits that it does not declare."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from asyncua import Server, ua, uamethod
from asyncua.common.utils import ServiceError
from asyncua.server.internal_session import InternalSession

from edgeflow.plant.port import free_port
from edgeflow.testing.relay import until

COUNTED: dict[str, Callable[[Any], int]] = {
    "read": lambda asked: len(asked.NodesToRead),
    "write": lambda asked: len(asked.NodesToWrite),
    "browse": lambda asked: len(asked.NodesToBrowse),
    "translate_browsepaths_to_nodeids": len,
    "create_monitored_items": lambda asked: len(asked.ItemsToCreate),
    "delete_monitored_items": lambda asked: len(asked.MonitoredItemIds),
    "history_read": lambda asked: len(asked.NodesToRead),
}
"""How many nodes a request of each service names."""


class Limited:
    """The server; `asked` holds what each service was asked for, and `slow` how long it takes for each."""

    def __init__(self, port: int) -> None:
        self.url, self.server = f"opc.tcp://127.0.0.1:{port}", Server()
        self.limit, self.status = 10**9, "BadTooManyOperations"
        self.asked: dict[str, list[int]] = {}
        self.slow: dict[str, float] = {}
        self.nodes: list[Any] = []

    async def set_state(self, state: ua.ServerState) -> None:
        node = self.server.get_node(ua.NodeId(ua.ObjectIds.Server_ServerStatus_State))
        await node.write_value(ua.DataValue(ua.Variant(int(state), ua.VariantType.Int32)))

    def answered(self, name: str) -> list[int]:
        """The sizes of the requests that were not refused."""
        return [size for size in self.asked.get(name, []) if size <= self.limit]


@asynccontextmanager
async def limited(monkeypatch: Any, count: int) -> AsyncIterator[Limited]:
    """With `count` variables `v0` to `vN` in namespace 2, each holding its number, and the methods `Slow` and `Add`."""
    own = Limited(free_port())

    def counting(name: str, size: Callable[[Any], int]) -> None:
        plain = getattr(InternalSession, name)

        async def counted(session: Any, asked: Any, *more: Any) -> Any:
            if session.external:
                own.asked.setdefault(name, []).append(size(asked))
                if name in own.slow:
                    await asyncio.sleep(own.slow[name])
                if size(asked) > own.limit:
                    raise ServiceError(getattr(ua.StatusCodes, own.status))
            return await plain(session, asked, *more)

        monkeypatch.setattr(InternalSession, name, counted)

    @uamethod
    async def slow(_: Any, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @uamethod
    async def add(_: Any, one: float, two: float) -> list[Any]:
        return [one + two, one - two]

    server = own.server
    await server.init()
    server.set_endpoint(own.url)
    assert await server.register_namespace("urn:edgeflow:test:limited") == 2
    folder = await server.nodes.objects.add_object(ua.NodeId("Limited", 2), ua.QualifiedName("Limited", 2))
    for number in range(count):
        name = f"v{number}"
        node = await folder.add_variable(ua.NodeId(name, 2), ua.QualifiedName(name, 2), float(number))
        await node.set_writable()
        own.nodes.append(node)
    double = ua.VariantType.Double
    await folder.add_method(ua.NodeId("Slow", 2), ua.QualifiedName("Slow", 2), slow, [double], [double])
    await folder.add_method(ua.NodeId("Add", 2), ua.QualifiedName("Add", 2), add, [double] * 2, [double] * 2)
    for name, size in COUNTED.items():
        counting(name, size)
    async with server:
        yield own
    await until(lambda: not server.iserver.asyncio_transports, "the server's connections end")
