"""OPC UA: subscriptions, reads, writes, methods, events, alarms, history and browsing, on asyncua."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

from edgeflow.driver import Driver, Home, Tool
from edgeflow_opcua.settings import Device, Link, Point, writable


def _session() -> ModuleType:
    from edgeflow_opcua import session  # noqa: PLC0415 - asyncua takes a quarter of a second

    return session


@asynccontextmanager
async def _open(link: Link, deadline: float, home: Home) -> AsyncIterator[Any]:
    session = await asyncio.to_thread(_session)
    async with session.open_session(link, deadline, home) as opened:
        yield opened


def _tools() -> Sequence[Tool[Any, Any]]:
    from edgeflow_opcua.tools import TOOLS  # noqa: PLC0415 - as above

    return TOOLS


DRIVER = Driver(
    name="opcua",
    about="OPC UA servers: values are pushed by subscriptions; a heartbeat proves that the server really lives.",
    link=Link,
    device=Device,
    point=Point,
    open=_open,
    value_type=lambda point: point.type,
    serial=False,
    pushes=True,
    writable=writable,
    tools=_tools,
)
