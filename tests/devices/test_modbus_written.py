"""What becomes of a write over Modbus: sent, acknowledged, and what the device holds then, on a real connection."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from edgeflow.clock import SystemClock
from edgeflow.devices.config import read_links_and_devices
from edgeflow.devices.devices import Devices, Held
from edgeflow.document import Document
from edgeflow.driver import Home
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import Block
from edgeflow.testing.registers import Registers

TAGS: dict[str, dict[str, Any]] = {
    "speed": {"register": 0, "writable": True},
    "slow": {"register": 1, "writable": True, "verify": "3 s"},
    "hasty": {"register": 1, "writable": True, "verify": "200 ms"},
    "pulse": {"register": 2, "writable": True},
    "password": {"register": 9, "writable": True, "read": False},
    "start": {"register": 3, "writable": True, "reads_as": "running"},
    "running": {"register": 4},
}


class Drive(Registers):
    """Limits register 0 to 120, shows register 1 after half a second, resets 2, takes 9 without showing it; 3 sets 4."""

    def reply(self, request: bytes) -> bytes:
        if request[0] == 3 and request[2] == 9:
            return bytes((0x83, 2))
        answer = super().reply(request)
        words = self.tables["holding"]
        if request[0] == 6 and answer[0] == 6:
            at, value = request[2], int.from_bytes(request[3:5], "big")
            if at == 1:
                words[1] = 0
                asyncio.get_running_loop().call_later(0.5, words.__setitem__, 1, value)
            words |= {0: min(value, 120)} if at == 0 else {2: 0} if at == 2 else {4: value} if at == 3 else {}
        return answer


async def written(tag: str, value: int, registers: Registers) -> Held:
    async with registers.served() as port:
        data = {
            "links": {"l": {"driver": "modbus", "host": "127.0.0.1", "port": port}},
            "devices": {"d": {"link": "l", "every": "100 ms", "tags": TAGS}},
        }
        plant = read_links_and_devices(Document("gateway.yaml", data, {}))
        taken: list[Block] = []
        devices = Devices(plant, {}, taken.append, SystemClock(), lambda _: Home())
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(devices.run())
            try:
                await devices.write(f"d/{tag}", value, loop.time() + 5)
                return await devices.confirm(f"d/{tag}", value, loop.time() + 5, before=0)
            except (LinkDown, Rejected) as error:
                return Held(None, f"{type(error).__name__}: {error}")
            finally:
                running.cancel()


@pytest.mark.parametrize(
    ("tag", "value", "held", "note"),
    [
        ("speed", 100, 100, ""),
        ("speed", 9999, 120, "sent 9999, the device holds 120"),
        ("slow", 7, 7, ""),
        ("hasty", 7, 0, "not yet"),
        ("pulse", 1, 0, "holds 0"),
        ("password", 1234, None, "sent and acknowledged"),
        ("start", 1, 1, ""),
    ],
)
async def test_what_a_device_makes_of_a_write_is_told(tag: str, value: int, held: Any, note: str) -> None:
    begun = time.monotonic()
    found = await written(tag, value, Drive({"holding": dict.fromkeys(range(10), 0)}))
    assert (found.value, note in found.note, bool(note) == bool(found.note)) == (held, True, True), found
    assert "efused" not in found.note
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("code", [1, 2, 3, 4])
async def test_only_what_the_device_refuses_is_a_refusal(code: int) -> None:
    class Refusing(Drive):
        def reply(self, request: bytes) -> bytes:
            return bytes((request[0] | 0x80, code)) if request[0] in (6, 16) else super().reply(request)

    found = await written("speed", 5, Refusing({"holding": dict.fromkeys(range(10), 0)}))
    assert found.note.startswith("Rejected: d/speed: unit 1 refused to write holding register 0 (function 6)")
