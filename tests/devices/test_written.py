"""What is told of a write that was acknowledged: what the device holds, and whether anything tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from edgeflow.devices.devices import Held
from edgeflow.errors import ConfigError
from edgeflow.testing.loop import in_virtual_time
from edgeflow.testing.session import Wire

TEXT = """
links: {l: {driver: fake}}
devices:
  d:
    link: l
    tags:
      set: {address: 1, writable: true}
      coded: {address: 2, type: integer, writable: true, reads_as: is}
      is: {address: 3, scale: 0.1}
      password: {address: 4, type: integer, writable: true, read: false}
"""


class Device(dict[int, Any]):
    """Values of a device that does something of its own with what is written."""

    def __init__(self, taken: Callable[[Any, int, Any], None]) -> None:
        super().__init__({1: 5.0, 2: 0, 3: 0.0, 4: 0})
        self.taken, self.keep = taken, super().__setitem__

    def __setitem__(self, key: int, value: Any) -> None:
        self.taken(self, key, value)


def later(in_s: float) -> Callable[[Any, int, Any], None]:
    return lambda device, key, value: asyncio.get_running_loop().call_later(in_s, device.keep, key, value) and None


def into(other: int, factor: float) -> Callable[[Any, int, Any], None]:
    return lambda device, _key, value: device.keep(other, value * factor)


@pytest.mark.parametrize(
    ("tag", "value", "taken", "held"),
    [
        ("d/set", 7.0, lambda device, key, value: device.keep(key, value), Held(7.0)),
        ("d/set", 99999.0, lambda device, key, _value: device.keep(key, 120.0), Held(120.0, "sent 99999.0, the device holds 120.0")),
        ("d/set", 7.0, later(0.8), Held(7.0)),
        ("d/set", 7.0, later(5.0), Held(5.0, "sent 7.0, not yet: after 2 s the device still holds 5.0")),
        ("d/set", 1.0, lambda device, key, _value: device.keep(key, 0.0), Held(0.0, "sent 1.0, the device holds 0.0")),
        ("d/coded", 7, into(3, 10.0), Held(7.0)),
        ("d/coded", 7, into(3, 20.0), Held(14.0, "sent 7, d/is holds 14.0")),
        ("d/password", 1234, lambda device, key, value: None, Held(None, "sent and acknowledged; nothing reads it back")),
    ],
    ids=["taken", "limited", "late", "too late", "a pulse", "read elsewhere", "read elsewhere, other", "write only"],
)  # fmt: skip
@in_virtual_time
async def test_a_write_says_what_the_device_holds(
    rig: Any, tag: str, value: Any, taken: Callable[[Any, int, Any], None], held: Held
) -> None:
    wire = Wire()
    wire.values = Device(taken)
    plant = rig(TEXT, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(2)
        await plant.devices.write(tag, value, plant.loop.time() + 5)
        assert await plant.devices.confirm(tag, value, plant.loop.time() + 5, before=5.0) == held
        assert wire.written() == [({"d/set": 1, "d/coded": 2, "d/password": 4}[tag], value)], "sent once"


@in_virtual_time
async def test_what_cannot_be_read_back_is_no_refusal(rig: Any) -> None:
    wire = Wire({1: 5.0, 2: 0, 3: 0.0, 4: 0})
    plant = rig(TEXT, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(2)
        await plant.devices.write("d/set", 7.0, plant.loop.time() + 5)
        wire.silent = {1}
        held = await plant.devices.confirm("d/set", 7.0, plant.loop.time() + 5)
        assert held == Held(None, "sent and acknowledged; it cannot be read back: unit 1 does not answer")


@pytest.mark.parametrize("state", [7.0, 6.0])
@in_virtual_time
async def test_a_device_that_pushes_its_state_is_heard_after_a_write(rig: Any, state: float) -> None:
    wire = Wire({1: 5.0, 2: 0, 3: 0.0, 4: 0})
    driver = wire.driver(pushes=True)
    plant = rig(TEXT, [driver])
    async with plant.run():
        await asyncio.sleep(1)
        wire.push({1: 5.0})
        await plant.devices.write("d/set", 7.0, plant.loop.time() + 5)
        wire.values[1] = state
        held = await plant.devices.confirm("d/set", 7.0, plant.loop.time() + 5, before=5.0)
        assert held.value == state


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("reads_as: passwort", "there is no tag 'passwort' in this device; did you mean 'password'?"),
        ("reads_as: password", "password is not read either; name a tag that is"),
    ],
)
async def test_a_tag_that_cannot_tell_is_refused(rig: Any, wrong: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rig(TEXT.replace("reads_as: is", wrong), [Wire().driver()])
    assert [problem.message for problem in caught.value.problems] == [said]


@in_virtual_time
async def test_an_output_is_read_back_where_its_tag_says(rig: Any) -> None:
    text = TEXT + "outputs: {lamp: {elements: {red: {tag: d/coded, off: 0, on: 7}}}}\n"
    wire = Wire()
    wire.values = Device(into(3, 10.0))
    plant = rig(text, [wire.driver()])
    async with plant.run():
        plant.show("lamp", red="on")
        await asyncio.sleep(4)
        assert (plant.output("lamp").shown, plant.output("lamp").reason) == ("ok", "")
