"""The filler's OPC UA server, a process of its own so that it can really hang: `python -m edgeflow.plant.opcua PORT`.

Reads one JSON object per line from the plant: {"values": {name: [value, source time in UTC ns]}} or
{"listen": bool}, answered with {"listening": bool}. Says {"ready": true} once it listens and {"setpoint": x} when a
client wrote one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from asyncua import ua
from asyncua.common.callback import CallbackType, ServerItemCallback
from asyncua.common.node import Node
from asyncua.server.binary_server_asyncio import BinaryServer
from asyncua.server.server import Server
from asyncua.ua.attribute_ids import AttributeIds

APPLICATION = "urn:edgeflow:plant"  # takes index 1, so that the namespace of the filler is 2
NAMESPACE = "urn:edgeflow:plant:filler"
ENDPOINT = "opc.tcp://127.0.0.1:{port}/edgeflow/plant/"
VARIABLES = {
    "State": ua.VariantType.Int32,
    "Good": ua.VariantType.UInt32,
    "Reject": ua.VariantType.UInt32,
    "Speed": ua.VariantType.Double,
    "Fault": ua.VariantType.Int32,
    "Setpoint": ua.VariantType.Double,
}
SETPOINT = "Setpoint"
_CLOSE_AGAIN_S = 0.02
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def serve(port: int) -> None:
    """Serves until its standard input ends."""
    server = Server()
    await server.init()
    await server.set_application_uri(APPLICATION)
    server.set_server_name("EdgeFlow simulated filler")
    server.set_endpoint(ENDPOINT.format(port=port))
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    nodes = await _build(server)
    lines = _lines()
    # Values first: a client that connects at once must not see zeros.
    await _take(server, nodes, await anext(lines))
    async with server:
        _say({"ready": True})
        _report_setpoint(server, nodes[SETPOINT])
        async for line in lines:
            await _take(server, nodes, line)


async def _build(server: Server) -> dict[str, Node]:
    space = await server.register_namespace(NAMESPACE)
    filler = await server.nodes.objects.add_object(_id(space, "Filler"), ua.QualifiedName("Filler", space))
    nodes = {}
    for name, kind in VARIABLES.items():
        zero = ua.Variant(0.0 if kind is ua.VariantType.Double else 0, kind)
        nodes[name] = await filler.add_variable(
            _id(space, f"Filler.{name}"),
            ua.QualifiedName(name, space),
            zero,
            datatype=ua.NodeId.from_string(f"i={kind.value}"),
        )
    await nodes[SETPOINT].set_writable()
    return nodes


def _id(space: int, name: str) -> ua.NodeId:
    return ua.NodeId.from_string(f"ns={space};s={name}")


async def _take(server: Server, nodes: dict[str, Node], line: dict[str, Any]) -> None:
    for name, (value, at_ns) in line.get("values", {}).items():
        moment = cast("ua.DateTime", _EPOCH + timedelta(microseconds=at_ns // 1000))
        data = ua.DataValue(ua.Variant(value, VARIABLES[name]), SourceTimestamp=moment, ServerTimestamp=moment)
        await server.write_attribute_value(nodes[name].nodeid, data)
    if "listen" in line and server.bserver:
        if line["listen"]:
            await server.bserver.start()
        else:
            await _drop(server, server.bserver)
        _say({"listening": line["listen"]})


async def _drop(server: Server, listener: BinaryServer) -> None:
    """Stops listening and closes every connection, one that is just being accepted too: `stop` would wait for it."""
    async with asyncio.TaskGroup() as tasks:
        stopping = tasks.create_task(listener.stop())
        while not stopping.done():
            for transport in list(server.iserver.asyncio_transports):
                transport.close()
            await asyncio.sleep(_CLOSE_AGAIN_S)


def _report_setpoint(server: Server, node: Node) -> None:
    def written(event: ServerItemCallback, _: object) -> None:
        if not event.is_external:
            return
        for item, status in zip(event.request_params.NodesToWrite, event.response_params, strict=True):
            if item.NodeId == node.nodeid and item.AttributeId == AttributeIds.Value and status.is_good():
                _say({"setpoint": item.Value.Value.Value})

    server.subscribe_server_callback(CallbackType.PostWrite, written)


async def _lines() -> AsyncIterator[dict[str, Any]]:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    logging.basicConfig(level=logging.CRITICAL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asyncio.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
