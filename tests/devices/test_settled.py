"""An output's status tells whether it speaks of what was decided last; and no level can end the writer."""

from __future__ import annotations

import asyncio
from typing import Any

from edgeflow.testing.loop import in_virtual_time
from edgeflow.testing.session import Wire

TEXT = """
links: {l: {driver: fake}}
devices: {d: {link: l, every: 100 ms, tags: {v: {address: 1, writable: true}}}}
outputs: {o: {tag: d/v}}
"""


@in_virtual_time
async def _run(rig: Any) -> None:
    wire = Wire({1: 0.0})
    plant = rig(TEXT, [wire.driver()])
    async with plant.run():
        plant.show("o", value=1.0)
        await asyncio.sleep(1)
        assert (plant.output("o").shown, plant.output("o").settled) == ("ok", True)
        wire.hang()
        plant.show("o", value=2.0)
        assert not plant.output("o").settled, "what is known is of the value before"
        wire.heal()
        await asyncio.sleep(20)
        assert (plant.output("o").settled, wire.values[1]) == (True, 2.0)
        plant.show("o", value=10**400)
        status = plant.output("o")
        assert (status.shown, status.settled) == ("failed", True)
        plant.show("o", value=3.0)
        await asyncio.sleep(1)
        assert (plant.output("o").shown, wire.values[1]) == ("ok", 3.0)


def test_a_status_is_settled_only_when_it_speaks_of_the_newest_level(rig: Any) -> None:
    _run(rig)
