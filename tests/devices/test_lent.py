"""A link that is lent has no session, its devices say why, and it comes back by itself."""

from __future__ import annotations

import asyncio

import pytest

from edgeflow.devices.devices import LOOKED_AT_S
from edgeflow.errors import LinkDown, Rejected
from edgeflow.testing.loop import in_virtual_time
from edgeflow.testing.session import Wire
from tests.devices.conftest import Rig

CONFIG = """
links: {plc: {driver: fake}}
devices: {d: {link: plc, every: 100 ms, tags: {x: {address: 1, scale: 0.5}}}}
"""


@pytest.fixture
def wire() -> Wire:
    return Wire({1: 8})


def rig_of(wire: Wire) -> Rig:
    return Rig(CONFIG, [wire.driver()])


@in_virtual_time
async def test_a_lent_link_is_closed_and_opened_again_afterwards(wire: Wire) -> None:
    rig = rig_of(wire)
    async with rig.run():
        await asyncio.sleep(1)
        async with rig.devices.lent("plc", "a scan"):
            assert [request.kind for request in wire.log][-1] == "close"
            count = len(wire.log)
            await asyncio.sleep(60)
            assert len(wire.log) == count, "nobody asks meanwhile"
            (device,) = rig.devices.status().devices
            assert (device.state, device.reason) == ("bad", "a scan")
            with pytest.raises(LinkDown, match="a scan"):
                rig.devices.connection("plc")
        await asyncio.sleep(2)
        (device,) = rig.devices.status().devices
        assert device.state == "good"
    assert wire.cancelled == 0, "no request was cut off"


@in_virtual_time
async def test_a_link_that_is_being_opened_or_is_lost_can_be_lent_too(wire: Wire) -> None:
    wire.drop("cable pulled")
    rig = rig_of(wire)
    async with rig.run():
        await asyncio.sleep(5)
        async with rig.devices.lent("plc", "a scan"):
            wire.heal()
            count = len(wire.log)
            await asyncio.sleep(60)
            assert len(wire.log) == count
        await asyncio.sleep(10)
        assert rig.devices.status().devices[0].state == "good"


@in_virtual_time
async def test_a_link_is_lent_to_one_at_a_time(wire: Wire) -> None:
    rig = rig_of(wire)
    async with rig.run():
        await asyncio.sleep(1)
        async with rig.devices.lent("plc", "a scan"):
            with pytest.raises(Rejected, match="a scan"):
                async with rig.devices.lent("plc", "another"):
                    pass
    with pytest.raises(Rejected, match="did you mean 'plc'"):
        rig.devices.lent("pcl", "a scan")


@in_virtual_time
async def test_raw_values_are_kept_only_while_somebody_looks(wire: Wire) -> None:
    rig = rig_of(wire)
    async with rig.run():
        await asyncio.sleep(1)
        assert rig.devices.raw("d") == {}
        await asyncio.sleep(1)
        assert rig.devices.raw("d") == {"d/x": 8}
        assert rig.samples("d/x")[-1][1].value == 4
        await asyncio.sleep(LOOKED_AT_S + 2)
        assert rig.devices.raw("d") == {}, "they were forgotten"
        with pytest.raises(Rejected, match="there is no device 'e'"):
            rig.devices.raw("e")
