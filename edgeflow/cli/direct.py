"""`edgeflow write --config`: one value to a device, without an agent."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from edgeflow.cli.source import AgentLinks, read_source
from edgeflow.clock import SystemClock
from edgeflow.devices.devices import Devices
from edgeflow.devices.part import part
from edgeflow.document import suggestion
from edgeflow.driver import Home
from edgeflow.errors import EdgeFlowError, Rejected, Unconfirmed
from edgeflow.model import Scalar

_PATIENCE_S = 5.0


def write_here(tag: str, typed: Callable[[str], Any], config: Path) -> str | None:
    """Writes one tag on its own link, as the configuration says, and tells what became of it.

    `typed` makes the value for a type. Gives the address of the agent where that has the link in use: then it must be
    asked, since it says who may write. Raises EdgeFlowError.
    """
    source = read_source(config)
    plant = part(source, devices=[tag.partition("/")[0]])
    if tag not in plant.tags:
        raise Rejected(f"there is no tag {tag!r}{suggestion(tag, plant.tags)}")
    device = plant.devices[tag.partition("/")[0]]
    agent = AgentLinks(source, None, None)
    if agent.has(device.link):
        print(f"{device.link} is in use by the agent at {agent.url}, which is asked.", file=sys.stderr)
        return agent.url
    value: Scalar = typed(plant.tags[tag].type)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    homes: dict[str, Home] = {}
    devices = Devices(plant, {}, lambda block: None, SystemClock(), lambda name: homes.setdefault(name, Home()))
    asyncio.run(_written(devices, tag, value))
    return None


async def _written(devices: Devices, tag: str, value: Scalar) -> None:
    loop = asyncio.get_running_loop()
    failed: EdgeFlowError | None = None
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(devices.run())
        try:
            with suppress(Unconfirmed):  # what the device holds is told below
                await devices.write(tag, value, loop.time() + _PATIENCE_S)
            print(f"{tag}: {value!r} was sent and acknowledged")
            await _looked_at(devices, tag, value)
        except EdgeFlowError as error:  # not in a group of errors: it is told as it is
            failed = error
        running.cancel()
    if failed is not None:
        raise failed


async def _looked_at(devices: Devices, tag: str, value: Scalar) -> None:
    """Tells what the device holds; raises EdgeFlowError where that is something else."""
    held = await devices.confirm(tag, value, asyncio.get_running_loop().time() + _PATIENCE_S)
    if held.note and held.value is not None:
        raise EdgeFlowError(f"{tag}: {held.note}")
    print(f"{tag}: {held.note}" if held.note else f"{tag} = {held.value!r}")
