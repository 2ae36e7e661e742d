from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import BAD
from edgeflow.outputs.arbitration import Decision
from edgeflow.testing.loop import in_virtual_time
from edgeflow.testing.session import Wire

LIGHT = """
links: {l: {driver: fake}}
devices:
  io1:
    link: l
    every: 500 ms
    on_connect:
      - {address: 90, value: 30}
      - {address: 91, value: 1}
    tags:
      red: {address: 0, type: boolean, writable: true}
      amber: {address: 1, type: boolean, writable: true}
      green: {address: 2, type: boolean, writable: true}
      blue: {address: 3, type: boolean, writable: true}
outputs:
  lamp:
    elements: {red: io1/red, amber: io1/amber, green: io1/green, blue: io1/blue}
    on_exit: unknown
"""
TIER = """
links: {l: {driver: fake}}
devices:
  lamp: {link: l, tags: {tier: {address: 5, type: integer, writable: true}}}
outputs:
  light: {elements: {red: {tag: lamp/tier, off: 256, on: 257, flash: 258}}}
"""
VALUE = """
links: {l: {driver: fake}}
devices:
  oven: {link: l, tags: {setpoint: {address: 7, type: integer, scale: 0.1, range: [0, 250], writable: true}}}
outputs:
  setpoint: {tag: oven/setpoint, on_exit: 20}
"""
OFF = {0: False, 1: False, 2: False, 3: False, 90: 0, 91: 0}


class Stuck(dict[int, Any]):
    """The output behind address 0 no longer switches."""

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, False if key == 0 else value)


def writes_of_lamp(wire: Wire) -> list[Any]:
    return [r for r in wire.requests("write") if r.points[0] < 90]


@in_virtual_time
async def test_a_device_is_programmed_in_order_before_any_output_is_written(rig: Any) -> None:
    wire = Wire(OFF)
    plant = rig(LIGHT, [wire.driver()])
    plant.show("lamp", red="on", amber="off", green="off", blue="off")
    async with plant.run():
        await asyncio.sleep(0.3)
        assert wire.written()[:2] == [(90, 30), (91, 1)]
        assert wire.written()[2:6] == [(0, True), (1, False), (2, False), (3, False)]
        wire.drop()
        await asyncio.sleep(1)
        wire.heal()
        wire.log.clear()
        await asyncio.sleep(3)
        assert wire.written()[:3] == [(90, 30), (91, 1), (0, True)], "and so after every reconnect"


@in_virtual_time
async def test_where_programming_is_refused_no_output_is_written_and_the_device_says_why(rig: Any) -> None:
    wire = Wire(OFF)
    wire.refused = {91: "illegal address"}
    plant = rig(LIGHT, [wire.driver()])
    plant.show("lamp", red="on")
    async with plant.run():
        await asyncio.sleep(5)
        assert writes_of_lamp(wire) == []
        assert plant.device("io1").reason == "on_connect, entry 2: illegal address"
        assert plant.output("lamp").shown == "unknown"
        wire.refused = {}
        await asyncio.sleep(6)
        assert wire.values[0] is True


@in_virtual_time
async def test_elements_of_one_device_are_written_together_and_only_what_has_changed(rig: Any) -> None:
    wire = Wire(OFF)
    plant = rig(LIGHT.replace("on_exit: unknown", "refresh: 1 h"), [wire.driver()])
    async with plant.run():
        plant.show("lamp", red="off", amber="off", green="on", blue="off")
        await asyncio.sleep(1)
        plant.show("lamp", red="on", amber="off", green="off", blue="off")
        plant.show("lamp", red="on", amber="off", green="off", blue="off")
        await asyncio.sleep(1)
    first, second = writes_of_lamp(wire)
    assert (first.points, first.values) == ((0, 1, 2, 3), (False, False, True, False))
    assert (second.points, second.values) == ((0, 2), (True, False))


@in_virtual_time
async def test_a_decision_is_written_before_the_reads_that_wait(rig: Any) -> None:
    wire = Wire(OFF)
    wire.delay_s = 0.1
    text = LIGHT + "\n"
    more = "".join(
        f"  d{i}: {{link: l, unit: {i + 2}, every: 100 ms, tags: {{a: {{address: 0}}}}}}\n" for i in range(6)
    )
    plant = rig(text.replace("outputs:", more + "outputs:"), [wire.driver()])
    async with plant.run():
        await asyncio.sleep(5.05)
        wire.log.clear()
        plant.show("lamp", red="on")
        asked_s = plant.loop.time()
        await asyncio.sleep(1)
    assert writes_of_lamp(wire)[0].at_s - asked_s <= 0.1, "only the one request in flight goes before it"


@in_virtual_time
async def test_a_flood_of_writes_leaves_turns_for_reads(rig: Any) -> None:
    wire = Wire(OFF)
    wire.delay_s = 0.05
    plant = rig(VALUE, [wire.driver()])
    wire.values[7] = 0

    async def flood() -> None:
        while True:
            await plant.devices.write("oven/setpoint", 10, plant.loop.time() + 100)

    async with plant.run():
        await asyncio.sleep(0.5)
        async with asyncio.TaskGroup() as group:
            writers = [group.create_task(flood()) for _ in range(10)]
            await asyncio.sleep(20)
            for writer in writers:
                writer.cancel()
    assert plant.device("oven").stats.polls >= 19
    assert len(wire.requests("write")) > 300


@in_virtual_time
async def test_outputs_are_refreshed_before_a_watchdog_fires(rig: Any) -> None:
    wire = Wire(OFF)
    plant = rig(LIGHT, [wire.driver()])
    plant.show("lamp", red="on", amber="off", green="off", blue="off")
    async with plant.run():
        await asyncio.sleep(60)
    times = [r.at_s for r in writes_of_lamp(wire)]
    assert 55 <= len(times) <= 61
    assert max(b - a for a, b in itertools.pairwise(times)) < 1.1


@in_virtual_time
async def test_without_a_living_engine_nothing_is_asked_so_that_the_watchdog_fires(rig: Any) -> None:
    wire = Wire(OFF)
    plant = rig(LIGHT, [wire.driver()])
    async with plant.run(engine=False):
        plant.show("lamp", red="flash", amber="off", green="off", blue="off")
        await asyncio.sleep(60)
        assert wire.log[-1].at_s < 5.1, "reading would feed many a watchdog too"
        plant.devices.beat()
        await asyncio.sleep(0.1)
        assert writes_of_lamp(wire)[-1].at_s >= 60


@in_virtual_time
async def test_flashing_keeps_the_phase_of_the_utc_second(rig: Any) -> None:
    wire = Wire(OFF)
    plant = rig(LIGHT, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(0.7)
        plant.show("lamp", red="off", amber="flash_fast", green="off", blue="flash")
        await asyncio.sleep(20)
    edges: dict[int, list[tuple[float, bool]]] = {1: [], 3: []}
    for request in writes_of_lamp(wire):
        for point, value in zip(request.points, request.values, strict=True):
            if point in edges and (not edges[point] or edges[point][-1][1] != value):
                edges[point].append((request.at_s, value))
    assert len(edges[3]) == pytest.approx(40, abs=1)
    assert len(edges[1]) == pytest.approx(80, abs=1)
    for at_s, on in edges[3][1:]:  # the clock of the loop began at a full UTC second
        assert at_s % 1 == pytest.approx(0.0 if on else 0.5, abs=0.005)
    assert plant.output("lamp").shown == "ok"


@in_virtual_time
async def test_a_device_that_flashes_by_itself_is_left_to_it(rig: Any) -> None:
    wire = Wire({5: 256})
    plant = rig(TIER, [wire.driver()])
    async with plant.run():
        plant.show("light", red="flash_fast")
        await asyncio.sleep(10)
    assert {value for _, value in wire.written()} == {258}


@in_virtual_time
async def test_what_is_read_back_differently_is_failed_with_the_reason(rig: Any) -> None:
    wire = Wire(OFF)
    plant = rig(LIGHT, [wire.driver()])
    async with plant.run():
        plant.show("lamp", red="on", amber="off", green="off", blue="off")
        await asyncio.sleep(0.3)
        assert (plant.output("lamp").shown, plant.output("lamp").reason) == ("ok", "")
        wire.values = Stuck({**wire.values, 0: False})
        await asyncio.sleep(3)
        assert plant.output("lamp").shown == "failed"
        assert plant.output("lamp").reason == "sent True, but io1/red holds False"
        wire.values = dict(wire.values)
        await asyncio.sleep(3)
        assert plant.output("lamp").shown == "ok"


@in_virtual_time
@pytest.mark.parametrize("strange", [[1], {"a": 1}, True, 1, None, float("nan"), 10**400, b"on", "green"])
async def test_what_is_no_level_is_failed_and_breaks_nothing(rig: Any, strange: Any) -> None:
    wire = Wire({5: 0})
    plant = rig(TIER, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(1)
        plant.devices.apply([Decision("light", {"red": strange}, {"red": "flow/write"})])
        await asyncio.sleep(1)
        plant.devices.apply([Decision("light", {"red": "on"}, {"red": "flow/write"})])
        await asyncio.sleep(1)
    assert wire.values[5] == 257


@in_virtual_time
async def test_a_refused_element_does_not_keep_the_others_from_being_written(rig: Any) -> None:
    wire = Wire(OFF)
    wire.refused = {1: "illegal address"}
    plant = rig(LIGHT, [wire.driver()])
    async with plant.run():
        plant.show("lamp", red="on", amber="on", green="off", blue="on")
        await asyncio.sleep(0.5)
        assert (wire.values[0], wire.values[3]) == (True, True)
        assert (plant.output("lamp").shown, plant.output("lamp").reason) == ("failed", "illegal address")
        wire.refused = {}
        await asyncio.sleep(2)
        assert plant.output("lamp").shown == "ok"


@in_virtual_time
async def test_a_lost_device_shows_nobody_knows_what(rig: Any) -> None:
    wire = Wire(OFF)
    plant = rig(LIGHT, [wire.driver()])
    async with plant.run():
        plant.show("lamp", red="on")
        await asyncio.sleep(1)
        wire.drop("cable pulled")
        await asyncio.sleep(2)
        assert (plant.output("lamp").shown, plant.output("lamp").reason) == ("unknown", "cable pulled")


@in_virtual_time
async def test_leaving_writes_the_exit_pattern_and_nothing_after_it(rig: Any) -> None:
    wire = Wire(OFF)
    plant = rig(LIGHT, [wire.driver()])
    async with plant.run():
        plant.show("lamp", red="flash", amber="off", green="on", blue="off")
        await asyncio.sleep(1.2)
        await plant.devices.exit_pattern(plant.loop.time() + 2)
        left_s = plant.loop.time()
        # Nobody will be there to toggle: flashing blue stays on.
        assert [wire.values[i] for i in range(4)] == [False, False, False, True]
        plant.show("lamp", red="on", green="on")
        await asyncio.sleep(10)
    assert writes_of_lamp(wire)[-1].at_s <= left_s
    assert left_s < 1.5


@in_virtual_time
async def test_leaving_ends_by_its_deadline_where_a_device_hangs(rig: Any) -> None:
    wire = Wire(OFF)
    plant = rig(LIGHT, [wire.driver()])
    async with plant.run():
        plant.show("lamp", red="on")
        await asyncio.sleep(1.2)
        wire.hang()
        begin_s = plant.loop.time()
        await plant.devices.exit_pattern(begin_s + 0.5)
        assert plant.loop.time() - begin_s <= 0.5


@in_virtual_time
async def test_the_exit_pattern_waits_for_a_request_that_a_silent_neighbour_keeps_on_the_line(rig: Any) -> None:
    wire = Wire({0: False, 2: 1})
    wire.silent = {2}
    text = """
links: {l: {driver: fake}}
devices:
  io1: {link: l, unit: 1, tags: {green: {address: 0, type: boolean, writable: true}}}
  dead: {link: l, unit: 2, timeout: 5 s, tags: {a: {address: 2}}}
outputs: {lamp: {elements: {green: io1/green}}}
"""
    plant = rig(text, [wire.driver(serial=True)])
    async with plant.run():
        await asyncio.sleep(0.5)
        plant.devices.apply([Decision("lamp", {"green": "on"}, {"green": "flow/lamp"})])
        await asyncio.sleep(20)
        asked = len(wire.requests("read", 2))
        while len(wire.requests("read", 2)) == asked:  # noqa: ASYNC110 - the wire has no event
            await asyncio.sleep(0.01)
        assert wire.values[0]
        await plant.devices.exit_pattern(plant.loop.time() + 2 + plant.devices.exit_s)
    assert not wire.values[0], "nobody leaves it green"


@in_virtual_time
async def test_a_number_is_written_scaled_and_stays_when_nobody_wants_it(rig: Any) -> None:
    wire = Wire({7: 200})
    plant = rig(VALUE, [wire.driver()])
    async with plant.run():
        plant.devices.apply([])
        await asyncio.sleep(2)
        assert wire.written() == []
        plant.show("setpoint", value=180)
        await asyncio.sleep(30)
        assert wire.written() == [(7, 1800)], "written once, not refreshed"
        assert plant.output("setpoint").shown == "ok"
        plant.devices.apply([Decision("setpoint", {"value": "off"}, {"value": "nobody"})])
        await asyncio.sleep(2)
        assert wire.written() == [(7, 1800)]
        plant.show("setpoint", value=251)
        await asyncio.sleep(2)
        assert wire.written() == [(7, 1800)]
        assert plant.output("setpoint").reason == "251 cannot be written to oven/setpoint: it is outside 0 to 250"
        await plant.devices.exit_pattern(plant.loop.time() + 1)
        assert wire.values[7] == 200


@in_virtual_time
async def test_writing_past_the_arbitration_is_refused_where_an_output_drives_the_tag(rig: Any) -> None:
    wire = Wire(OFF)
    plant = rig(LIGHT, [wire.driver()])
    async with plant.run():
        await asyncio.sleep(1)
        with pytest.raises(Rejected, match="driven by the output lamp"):
            await plant.devices.write("io1/red", True, plant.loop.time() + 1)
        with pytest.raises(Rejected, match="no tag 'io1/rde'"):
            await plant.devices.write("io1/rde", True, plant.loop.time() + 1)
        wire.drop("cable pulled")
        await asyncio.sleep(1)
        with pytest.raises(LinkDown, match="l: cable pulled"):
            await plant.devices.read("io1/red", plant.loop.time() + 1)
    assert plant.latest("io1/red").quality == BAD


@in_virtual_time
async def test_a_device_that_is_only_written_is_good_when_a_write_was_answered(rig: Any) -> None:
    wire = Wire(OFF)
    text = LIGHT.replace("writable: true", "writable: true, read: false")
    plant = rig(text, [wire.driver()])
    async with plant.run():
        plant.show("lamp", red="on")
        await asyncio.sleep(2)
        assert plant.device("io1").state == "good"
        assert plant.devices.status().links[0].state == "good"
        assert wire.requests("read") == []
        assert plant.output("lamp").shown == "ok"


@in_virtual_time
async def test_a_reconnect_lights_nothing_while_the_engine_is_not_alive(rig: Any) -> None:
    wire = Wire(OFF)
    plant = rig(LIGHT, [wire.driver()])
    async with plant.run(engine=False):
        plant.show("lamp", red="on")
        await asyncio.sleep(1)
        wire.drop()
        await asyncio.sleep(10)
        wire.heal()
        wire.log.clear()
        await asyncio.sleep(10)
    assert wire.requests("open")
    assert writes_of_lamp(wire) == []
