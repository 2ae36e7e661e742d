"""An OPC UA server in a process of its own, told what to hold by JSON lines on its standard input."""

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime

from asyncua import Node, Server, ua

URI = "urn:edgeflow:plant:filler"
V = ua.VariantType
START = {
    "Filler.Good": (5, V.UInt32, True),
    "Filler.Speed": (61.5, V.Double, True),
    "Filler.State": (6, V.Int32, False),
    "Filler.Name": ("filler", V.String, True),
    "Filler.Running": (True, V.Boolean, True),
    "Filler.Small": (-3, V.Int16, True),
    "Filler.Ratio": (0.5, V.Float, True),
    "Filler.Raw": (b"\x01\x02", V.ByteString, True),
    "Filler.Table": ([1, 2, 3], V.Int32, True),
    "Filler.Empty": (None, V.Double, True),
}


async def command(nodes: dict, order: dict) -> object:
    """`set` a value (with status and time where given), `get` one, `add` a variable, `reset` all."""
    name = order.get("node")
    if order["do"] == "get":
        return await nodes[name].read_value()
    if order["do"] == "set":
        data = ua.DataValue(ua.Variant(order["value"], order_type(nodes, name)))
        data.StatusCode = ua.StatusCode(getattr(ua.StatusCodes, order.get("status", "Good")))
        when = order.get("time")
        data.SourceTimestamp = datetime.fromisoformat(when) if when else datetime.now(UTC)
        await nodes[name].write_value(data)
    if order["do"] == "set_all":
        for index in range(order["count"]):
            await nodes[f"v{index}"].write_value(ua.Variant(order["value"], V.Double))
    if order["do"] == "add":
        await add(nodes, name, order["value"], V.Double, False)
    if order["do"] == "reset":
        for name in [name for name in nodes if name.startswith("v") and name[1:].isdecimal()]:
            await nodes[name].write_value(ua.Variant(float(name[1:]), V.Double))
        for name, (value, kind, _) in START.items():
            if value is not None:
                data = ua.DataValue(ua.Variant(value, kind), SourceTimestamp=datetime.now(UTC))
                await nodes[name].write_value(data)
    return None


def order_type(nodes: dict, name: str) -> ua.VariantType:
    return START[name][1] if name in START else V.Double


async def add(nodes: dict, name: str, value: object, kind: ua.VariantType, writable: bool) -> None:
    held = ua.Variant(None, V.Null) if value is None else ua.Variant(value, kind)
    node, declared = ua.NodeId(name, 2), ua.NodeId(kind.value)
    variable = await nodes[""].add_variable(node, name.rpartition(".")[2], held, datatype=declared)
    if writable:
        await variable.set_writable()
    nodes[name] = variable


def double(parent: Node, number: int) -> ua.AddNodesItem:
    return ua.AddNodesItem(
        ParentNodeId=parent.nodeid,
        ReferenceTypeId=ua.NodeId(ua.ObjectIds.HasComponent),
        RequestedNewNodeId=ua.NodeId(f"v{number}", 2),
        BrowseName=ua.QualifiedName(f"v{number}", 2),
        NodeClass=ua.NodeClass.Variable,
        TypeDefinition=ua.NodeId(ua.ObjectIds.BaseDataVariableType),
        NodeAttributes=ua.VariableAttributes(
            Value=ua.Variant(float(number), V.Double), DataType=ua.NodeId(ua.ObjectIds.Double)
        ),
    )


async def main(port: int, items: int) -> None:
    logging.disable(logging.CRITICAL)
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    index = await server.register_namespace(URI)
    assert index == 2
    nodes = {"": await server.nodes.objects.add_object(ua.NodeId("Filler", index), "Filler")}
    for name, (value, kind, writable) in START.items():
        await add(nodes, name, value, kind, writable)
    for first in range(0, items, 100):  # the library looks at every sibling of a new node
        group = await nodes[""].add_object(ua.NodeId(f"group{first}", index), f"group{first}")
        added = await server.iserver.isession.add_nodes([double(group, first + n) for n in range(100)])
        nodes |= {f"v{first + n}": server.get_node(result.AddedNodeId) for n, result in enumerate(added)}
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with server:
        print("ready", flush=True)
        while line := await reader.readline():
            answer = await command(nodes, json.loads(line))
            print(json.dumps(answer.hex() if isinstance(answer, bytes) else answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
