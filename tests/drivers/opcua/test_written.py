"""What becomes of a write, as EdgeFlow tells it: the shell reads back, as long as `verify` says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edgeflow.clock import SystemClock
from edgeflow.devices.config import read_links_and_devices
from edgeflow.devices.devices import Devices, Held
from edgeflow.document import Document
from edgeflow.driver import Home
from edgeflow.errors import ConfigError
from tests.drivers.opcua.pushed import PRESS

TAGS: dict[str, dict[str, Any]] = {
    "double": {"node": f"{PRESS}Double"},
    "stubborn": {"node": f"{PRESS}Stubborn", "verify": "200 ms"},
    "stuck": {"node": f"{PRESS}Stubborn"},
    "table": {"node": f"{PRESS}Table", "type": "text"},
    "moment": {"node": f"{PRESS}DateTime", "epoch": "s"},
    "select": {"object": f"{PRESS}Press", "method": f"{PRESS}Press.Select", "type": "integer"},
}


async def written(press: Any, tag: str, *values: Any, device: dict[str, Any] | None = None) -> list[Held]:
    """What is held after each value."""
    data = {
        "links": {"l": {"driver": "opcua", "url": press.url, "security": "none"}},
        "devices": {
            "d": {"link": "l", "tags": {name: one | {"writable": True} for name, one in TAGS.items()}, **(device or {})}
        },
    }
    plant = read_links_and_devices(Document("gateway.yaml", data, {}))
    devices = Devices(plant, {}, lambda _: None, SystemClock(), lambda _: Home())
    loop, found = asyncio.get_running_loop(), []
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(devices.run())
        try:
            for value in values:
                await devices.write(f"d/{tag}", value, loop.time() + 10)
                found.append(await devices.confirm(f"d/{tag}", value, loop.time() + 10))
        finally:
            running.cancel()
    return found


@pytest.mark.parametrize(
    ("tag", "value", "then"),
    [("double", 2.5, 2.5), ("table", "[10, 20,  30]", "[10,20,30]"), ("moment", 1_800_000_000.5, 1_800_000_000.5),
     ("select", 7, 7)],
)  # fmt: skip
async def test_what_was_written_is_read_back(press: Any, tag: str, value: Any, then: Any) -> None:
    assert await written(press, tag, value) == [Held(then)]


@pytest.mark.parametrize("device", [{}, {"verify": "5 s"}], ids=["plain", "the tag's own time counts"])
async def test_a_server_that_takes_a_value_and_holds_another_is_told(press: Any, device: dict[str, Any]) -> None:
    press.tell("stubborn", "Stubborn", value=1.0)
    begun = asyncio.get_running_loop().time()
    (held,) = await written(press, "stubborn", 2.0, device=device)
    assert held == Held(1.0, "sent 2.0, the device holds 1.0")
    assert asyncio.get_running_loop().time() - begun < 4.0


@pytest.mark.parametrize(("device", "shortest", "longest"), [({}, 1.5, 9.0), ({"verify": "200 ms"}, 0.0, 1.5)])
async def test_it_is_waited_for_as_long_as_the_device_says(
    press: Any, device: dict[str, Any], shortest: float, longest: float
) -> None:
    press.tell("stubborn", "Stubborn", value=1.0)
    begun = asyncio.get_running_loop().time()
    (held,) = await written(press, "stuck", 2.0, device=device)
    assert held == Held(1.0, "sent 2.0, the device holds 1.0")
    assert shortest < asyncio.get_running_loop().time() - begun < longest


def test_a_read_back_that_is_only_switched_on_says_what_to_write() -> None:
    with pytest.raises(ConfigError, match="read back anyway where it can be; write how long"):
        read_links_and_devices(
            Document(
                "gateway.yaml",
                {
                    "links": {"l": {"driver": "opcua", "url": "opc.tcp://127.0.0.1"}},
                    "devices": {"d": {"link": "l", "tags": {"a": {"node": "i=2258", "verify": True}}}},
                },
                {},
            )
        )
