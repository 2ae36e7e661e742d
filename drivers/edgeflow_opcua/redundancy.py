"""Redundant servers: one of the set is used, and another takes over where it serves better."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from asyncua import ua
from asyncua.ua.object_ids import ObjectIds

from edgeflow.driver import Home
from edgeflow.errors import LinkDown
from edgeflow_opcua.settings import Link
from edgeflow_opcua.wire import Wire

HEALTHY = 200
"""From this service level on a server is healthy, below it is degraded (OPC 10000-4 6.6.2.4.2)."""

_LOOK_AGAIN_S = 10.0
_LOOK_S = 3.0
_LEVEL = ua.NodeId(ua.Int32(ObjectIds.Server_ServiceLevel))


@asynccontextmanager
async def connected(link: Link, deadline: float, home: Home) -> AsyncIterator[Wire]:
    """The connection to the server of the link, or to that of its servers which serves best; raises LinkDown.

    It begins with the one that was used last and takes the first that is healthy. There is no going back
    to another as long as this one lives and is healthy.
    """
    if len(link.addresses) == 1:
        wire = Wire(link.addresses[0], link, home)
        try:
            await wire.connect(deadline)
            yield wire
        finally:
            await wire.close()
        return
    async with AsyncExitStack() as stack:
        wire = await _best(link, deadline, home, stack)
        wire.chore = _Lookout(wire, link, home).look
        yield wire


async def _best(link: Link, deadline: float, home: Home, stack: AsyncExitStack) -> Wire:
    """Every server has its share of the time; what is not taken is closed."""
    loop = asyncio.get_running_loop()
    addresses, reasons = _in_order(link, home), list[str]()
    best: tuple[int, Wire] | None = None
    for index, url in enumerate(addresses):
        share = loop.time() + (deadline - loop.time()) / (len(addresses) - index)
        wire = Wire(url, link, home)
        stack.push_async_callback(wire.close)
        try:
            await wire.connect(share)
            level = await service_level(wire, share)
        except LinkDown as error:
            reasons.append(str(error))
            await wire.close()
            continue
        if best is None or level > best[0]:
            before, best = best, (level, wire)
        else:
            before = (level, wire)
        if before is not None:
            await before[1].close()
        if level >= HEALTHY:
            break
    if best is None:
        raise LinkDown("; ".join(reasons))
    home.put(_place(link), best[1].url.encode())
    return best[1]


class _Lookout:
    """Gives up a server that is degraded where another of the set is better."""

    def __init__(self, wire: Wire, link: Link, home: Home) -> None:
        self._wire, self._link, self._home = wire, link, home
        self._again_at = 0.0

    async def look(self) -> None:
        loop = asyncio.get_running_loop()
        level = await service_level(self._wire, loop.time() + _LOOK_S)
        if level >= HEALTHY or loop.time() < self._again_at:
            return
        self._again_at = loop.time() + _LOOK_AGAIN_S
        for url in self._link.addresses:
            other = Wire(url, self._link, self._home)
            if other.url == self._wire.url:
                continue
            try:
                await other.connect(loop.time() + _LOOK_S)
                better = await service_level(other, loop.time() + _LOOK_S)
            except LinkDown:
                continue
            finally:
                await other.close()
            if better > level:
                raise self._wire.down(
                    f"its service level fell to {level}; {other.where}, which has {better}, takes over"
                )


async def service_level(wire: Wire, deadline: float) -> int:
    """How well a server serves, 0 to 255; one that does not say so counts as healthy."""
    ((level, *_),) = await wire.read([_LEVEL], deadline)
    return level if isinstance(level, int) else 255


def _in_order(link: Link, home: Home) -> list[str]:
    last = (home.get(_place(link)) or b"").decode(errors="replace")
    return sorted(link.addresses, key=lambda url: Wire(url, link, home).url != last)


def _place(link: Link) -> str:
    """Where it is kept which server of a set was used last."""
    return f"used/{hashlib.sha256(' '.join(link.addresses).encode()).hexdigest()[:16]}"
