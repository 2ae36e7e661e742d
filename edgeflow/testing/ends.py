"""The other end of the wire for recorded cases: a real server of each protocol that holds what was recorded."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from edgeflow.testing.recording import Case, Message, Variable, Words
from edgeflow.testing.registers import Registers, Table

_STEP = re.compile(r"/(?:nsu=([^;]+);)?([^/]+)")


class End(Protocol):
    """The other end; `link` is how it is reached."""

    link: dict[str, Any]

    def missing(self, holds: Mapping[Table, Words], sent: Message | None) -> str:
        """What it does not hold or was not sent yet; "" where nothing is missing."""


class _Modbus:
    def __init__(self, registers: Registers, port: int) -> None:
        self.registers = registers
        self.link = {"driver": "modbus", "host": "127.0.0.1", "port": port}

    def missing(self, holds: Mapping[Table, Words], sent: Message | None) -> str:  # noqa: ARG002 - it sends nothing
        for table, blocks in holds.items():
            for at, words in blocks.items():
                held = [self.registers.tables[table].get(at + i) for i in range(len(words))]
                if held != words:
                    return f"{table} {at} holds {held}, not {words}"
        return ""


@asynccontextmanager
async def _modbus(case: Case) -> AsyncIterator[End]:
    tables: dict[Table, dict[int, int]] = {
        table: {at + i: word for at, words in blocks.items() for i, word in enumerate(words)}
        for table, blocks in case.registers.items()
    }
    registers = Registers(tables, case.most)
    async with registers.served() as port:
        yield _Modbus(registers, port)


class _Mqtt:
    def __init__(self, port: int) -> None:
        self.link = {"driver": "mqtt", "host": "127.0.0.1", "port": port}
        self.heard: dict[str, str] = {}

    def missing(self, holds: Mapping[Table, Words], sent: Message | None) -> str:  # noqa: ARG002 - it has no registers
        if sent is None or self.heard.get(sent.topic) == sent.payload:
            return ""
        return f"{sent.topic} was sent {self.heard.get(sent.topic)!r}, not {sent.payload!r}"

    async def hear(self, messages: Any) -> None:
        async for message in messages:
            self.heard[str(message.topic)] = message.payload.decode()


@asynccontextmanager
async def _mqtt(case: Case) -> AsyncIterator[End]:
    from aiomqtt import Client  # noqa: PLC0415 - only where a case is of MQTT

    from edgeflow.plant.broker import broker  # noqa: PLC0415 - the same

    async with broker(0) as port, Client("127.0.0.1", port) as client:
        end = _Mqtt(port)
        for message in case.messages:
            await client.publish(message.topic, message.payload, qos=1, retain=message.retain)
        await client.subscribe("#")
        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(end.hear(client.messages))
            yield end
            hearing.cancel()


class _OpcUa:
    def __init__(self, url: str) -> None:
        self.link = {"driver": "opcua", "url": url, "security": "none"}

    def missing(self, holds: Mapping[Table, Words], sent: Message | None) -> str:  # noqa: ARG002 - it is only read
        return ""


@asynccontextmanager
async def _opcua(case: Case) -> AsyncIterator[End]:
    from asyncua import ua  # noqa: PLC0415 - only where a case is of OPC UA
    from asyncua.server.server import Server  # noqa: PLC0415 - the same

    logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # it warns that it is not secured, which is meant
    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/case/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    for variable in case.nodes:
        await _add(server, variable)
    async with server:
        listener: Any = server.bserver
        port = listener._server.sockets[0].getsockname()[1]
        yield _OpcUa(f"opc.tcp://127.0.0.1:{port}/case/")


async def _add(server: Any, variable: Variable) -> None:
    from asyncua import ua  # noqa: PLC0415 - only where a case is of OPC UA

    kind = ua.VariantType[variable.type]
    value: Any = ua.LocalizedText(str(variable.value)) if variable.type == "LocalizedText" else variable.value
    if variable.node is not None:
        uri, _, identifier = variable.node.removeprefix("nsu=").partition(";")
        space = await server.register_namespace(uri)
        node = ua.NodeId.from_string(f"ns={space};{identifier}")
        await server.nodes.objects.add_variable(node, f"{space}:{identifier[2:]}", ua.Variant(value, kind))
        return
    steps = _STEP.findall(variable.path or "")
    at = server.nodes.root
    for i, (uri, name) in enumerate(steps):
        space = await server.register_namespace(uri) if uri else 0
        browse, own = ua.QualifiedName(name, space), ua.NodeId(NamespaceIndex=ua.Int16(max(space, 1)))
        below = [child for child in await at.get_children() if await child.read_browse_name() == browse]
        if i == len(steps) - 1:
            await at.add_variable(own, browse, ua.Variant(value, kind))
        else:
            at = below[0] if below else await at.add_object(own, browse)


ENDS: Mapping[str, Callable[[Case], AbstractAsyncContextManager[End]]] = {
    "modbus": _modbus,
    "mqtt": _mqtt,
    "opcua": _opcua,
}
"""How the other end is made, by driver."""
