"""The Patlite driver against a tower on a socket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgeflow.clock import SystemClock
from edgeflow.devices.binding import read_outputs
from edgeflow.devices.config import read_links_and_devices
from edgeflow.devices.devices import Devices
from edgeflow.document import parse
from edgeflow.driver import Home
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import BAD, Block, Scalar
from edgeflow.outputs.arbitration import Decision
from edgeflow.testing.drivers import Check, Relay, Rig, Subject, checks, poll_by, until
from edgeflow_patlite import DRIVER, Device, Link, Point, pns
from edgeflow_patlite.pns import control_request, status_request
from edgeflow_patlite.settings import Model
from tests.drivers.patlite.tower import Tower

LA6, LR5, NH = Device(), Device(model="lr5"), Device(model="nh")
TIERS = [Point(tier=tier) for tier in range(1, 6)]
BUZZER = Point(buzzer=True)
CONFIGURATION = """
links: {{tower: {{driver: patlite, host: 127.0.0.1, port: {port}}}}}
devices:
  tower:
    link: tower
    every: 50 ms
    tags:
      red: {{tier: 1, writable: true}}
      green: {{tier: 3, writable: true}}
      buzzer: {{buzzer: true, writable: true}}
outputs:
  lamp:
    elements:
      red: {{tag: tower/red, off: off, on: on, flash: flash}}
      green: {{tag: tower/green, off: off, on: on, flash: flash}}
      buzzer: {{tag: tower/buzzer, off: 0, on: 1}}
"""

FAULTS: dict[str, Callable[[Relay], None]] = {
    "hang": Relay.hang, "delay": lambda relay: relay.delay(0.3), "trickle": lambda relay: relay.trickle(0.01),
    "duplicate": Relay.duplicate, "cut": Relay.cut, "reset": Relay.reset, "half_open": Relay.half_open,
    "garble": lambda relay: relay.garble(0.5), "late": lambda relay: relay.delay(1.5),
}  # fmt: skip


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def towers(device: Device) -> Tower:
    return {
        "la6": Tower(),
        "lr5": Tower(inputs=False, known=7, buzzer=1),
        "nh": Tower(b"XX", inputs=False, known=3, buzzer=4),
    }[device.model]


def soon(seconds: float = 5) -> float:
    return asyncio.get_running_loop().time() + seconds


@asynccontextmanager
async def connected(tower: Tower) -> AsyncIterator[Any]:
    async with tower.listening(), DRIVER.open(Link(host="127.0.0.1", port=tower.port), soon(), Home()) as session:
        yield session


async def read(session: Any, device: Device, *points: Point) -> Any:
    return await poll_by(await session.prepare(device, points, soon()), soon())


@asynccontextmanager
async def rig(device: Device) -> AsyncIterator[Rig]:
    tower = towers(device)
    tower.tiers, tower.buzzer = [1, 2, 0, 1, 0], 1

    async def change(index: int, value: Scalar) -> None:
        tower.tiers[index] = {"off": 0, "on": 1}[str(value)]

    async def held(index: int) -> Scalar:
        return ["off", "on", "flash"][tower.tiers[4]] if index == 0 else tower.buzzer

    async with tower.listening(), Relay("127.0.0.1", tower.port) as relay:
        slow = "flash_slow" if device.model == "lr5" else "flash"
        yield Rig(
            link=Link(host="127.0.0.1", port=relay.port),
            device=device,
            relay=relay,
            known=((TIERS[0], "on"), (TIERS[1], slow), (TIERS[2], "off"), (BUZZER, 1)),
            other="off",
            change=change,
            writes=((TIERS[4], "on"), (BUZZER, 0)),
            held=held,
            refused_write=(TIERS[0], "rainbow"),
            refused=None if device.model == "la6" else Point(input=1),
        )


EXEMPT = {
    "a_refused_point_is_bad_with_a_reason_and_the_others_are_good": "an LA6 tells every point that can be written down"
}
SUBJECTS = [
    Subject(DRIVER, lambda: rig(LA6), frozenset({"read", "write"}), EXEMPT),
    Subject(DRIVER, lambda: rig(LR5), frozenset({"read", "write"})),
    Subject(DRIVER, lambda: rig(NH), frozenset({"read", "write"})),
]


@pytest.mark.parametrize(
    ("subject", "check"),
    [(subject, check) for subject in SUBJECTS for check in checks(subject)],
    ids=lambda part: getattr(part, "__name__", ""),
)
async def test_the_driver_keeps_the_contract(subject: Subject, check: Check) -> None:
    await check(subject)


def test_commands_are_the_bytes_that_the_maker_publishes() -> None:
    assert status_request(NH).hex(" ") == "58 58 47 00 00 00"
    red = control_request(LA6, [*TIERS, BUZZER], ["on", "off", "off", "off", "off", 0])
    assert red.hex(" ") == "41 42 53 00 00 06 01 00 00 00 00 00"
    two = control_request(LA6, [TIERS[1], BUZZER], ["flash", 2])
    assert two.hex(" ") == "41 42 53 00 00 06 09 02 09 09 09 02"
    old = control_request(NH, [TIERS[0]], ["flash_fast"])
    assert old.hex(" ") == "58 58 53 00 00 06 03 09 09 09 09 09"


async def test_all_parts_that_are_written_together_go_in_one_command_and_the_others_stay() -> None:
    tower = Tower()
    tower.tiers = [0, 0, 2, 0, 1]
    async with connected(tower) as session:
        await session.write(LA6, [TIERS[0], TIERS[1], BUZZER], ["on", "flash", 3], soon())
    assert tower.tiers == [1, 2, 2, 0, 1]
    assert tower.buzzer == 3
    assert len(tower.heard) == 1


async def test_an_la6_tells_its_inputs() -> None:
    tower = Tower()
    tower.contacts = [0, 1, 0, 0, 0, 0, 0, 1]
    async with connected(tower) as session:
        column = await read(session, LA6, Point(input=1), Point(input=2), Point(input=8))
    assert column.values == [False, True, True]
    assert column.faults is None


@pytest.mark.parametrize("filled", [False, True])
async def test_a_tower_in_smart_mode_is_told_as_such_and_comes_back(filled: bool) -> None:
    tower = Tower()
    tower.smart, tower.filled = True, filled
    async with connected(tower) as session:
        for _ in range(2):
            column = await read(session, LA6, TIERS[0], Point(input=1))
            assert column.values == [None, False]
            assert column.faults[0][0] == BAD
            assert "smart mode" in column.faults[0][1]
        with pytest.raises(Rejected, match="signal light mode"):
            await session.write(LA6, [TIERS[0]], ["on"], soon())
        tower.smart = False
        assert (await read(session, LA6, TIERS[0])).values == ["off"]


@pytest.mark.parametrize(
    ("device", "point", "value", "told"),
    [
        (LA6, TIERS[0], "flash_fast", "series LA6 knows off, on, flash"),
        (LA6, TIERS[0], True, "no pattern of tier 1"),
        (LR5, BUZZER, 2, "0 .off. to 1"),
        (LA6, BUZZER, True, "no buzzer pattern"),
        (LA6, Point(input=1), True, "read only"),
    ],
)
async def test_what_a_tower_cannot_show_is_refused_before_it_is_sent(
    device: Device, point: Point, value: Scalar, told: str
) -> None:
    tower = towers(device)
    async with connected(tower) as session:
        with pytest.raises(Rejected, match=told):
            await session.write(device, [TIERS[1], point], ["on", value], soon())
    assert tower.heard == []


async def test_another_series_than_the_one_written_is_told() -> None:
    nh = towers(NH)
    async with connected(nh) as session:
        with pytest.raises(Rejected, match="check `model`"):
            await session.write(LR5, [TIERS[0]], ["on"], soon())
        assert "check `model`" in (await read(session, LR5, TIERS[0])).faults[0][1]
    lr5 = towers(LR5)
    lr5.tiers[0] = 7
    async with connected(lr5) as session:
        with pytest.raises(LinkDown, match=r"sent only 6 bytes \(07 00 00 00 00 00\), which is no whole answer"):
            await poll_by(await session.prepare(LA6, [TIERS[0]], soon()), soon(0.2))


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (b"\x00", r"sent only 1 byte \(00\), which is no whole answer; check `model`"),
        (
            b"HTTP/1.1 400 Bad Request",
            r"sent 24 bytes \('HTTP/1.1 400' \.\.\.\) where 13 were expected; is it a tower\?",
        ),
        (b"\x15\x03\x01\x00\x02\x02\x46", r"sent 7 bytes \(15 03 01 00 02 02 46\) where 1 were expected"),
    ],
    ids=["a part", "a web server", "a TLS alert"],
)
async def test_what_came_instead_of_an_answer_is_said(says: bytes, told: str) -> None:
    tower = towers(LA6)
    async with connected(tower) as session:
        tower.says = says
        with pytest.raises(LinkDown, match=told):
            await poll_by(await session.prepare(LA6, [TIERS[0]], soon()), soon(0.2))


async def test_an_answer_that_comes_twice_never_becomes_a_value() -> None:
    tower = towers(LR5)
    tower.tiers = [1, 2, 3, 4, 5]
    async with connected(tower) as session:
        tower.says = b"\x06\x06"
        with pytest.raises(LinkDown, match=r"2 bytes \(06 06\) where 1 were expected"):
            await session.write(LR5, [TIERS[0]], ["on"], soon())
        with pytest.raises(LinkDown, match=r"2 bytes \(06 06\) where 1 were expected"):
            await read(session, LR5, TIERS[0])


async def test_an_answer_that_trickles_is_waited_for_and_one_that_is_cut_is_no_value() -> None:
    tower = towers(LA6)
    tower.tiers, tower.pieces = [1, 0, 2, 0, 0], 1
    async with connected(tower) as session:
        assert (await read(session, LA6, *TIERS)).values == ["on", "off", "flash", "off", "off"]
        tower.cut = True
        with pytest.raises(LinkDown, match="closed the connection"):
            await read(session, LA6, *TIERS)


@given(st.binary(max_size=40), st.sampled_from(list(get_args(Model))))
def test_whatever_a_tower_answers_is_a_value_of_its_series_or_a_fault(answer: bytes, model: Model) -> None:
    device = Device(model=model)
    if not answer or pns.status_size(device, answer) != len(answer) or answer[0] == pns.NAK:
        return
    try:
        now = pns.status(device, answer)
    except ValueError:
        return
    for point in (*TIERS, BUZZER, Point(input=3)):
        try:
            found = pns.value(device, point, now)
        except Rejected:
            continue
        if point.tier is not None:
            assert found in pns.SERIES[model].patterns
            assert answer[-6:][point.tier - 1] == pns.SERIES[model].patterns[str(found)]


async def test_a_light_on_a_tower_flashes_in_the_tower_and_is_read_back() -> None:
    tower = Tower()
    async with tower.listening():
        document = parse(CONFIGURATION.format(port=tower.port))
        plant = read_links_and_devices(document)
        blocks: list[Block] = []
        outputs = read_outputs(document, plant.tags)
        devices = Devices(plant, outputs, blocks.append, SystemClock(), lambda _: Home())
        running = asyncio.ensure_future(devices.run())
        try:
            devices.beat()
            devices.apply([Decision("lamp", {"red": "flash", "green": "off", "buzzer": "on"}, {})])
            await until(lambda: devices.status().outputs[0].shown == "ok", "it is written and read back", 5)
            assert (tower.tiers, tower.buzzer) == ([2, 0, 0, 0, 0], 1)
            await until(lambda: any(b.values[:1] == ["flash"] for b in blocks), "the pages see it", 5)
            frames = [frame for frame in tower.heard if frame[2:3] == b"S"]
            assert len(frames) == 1, "one command, and none for every flash"
            tower.tiers[0] = 0
            devices.apply([Decision("lamp", {"red": "off", "green": "on", "buzzer": "off"}, {})])
            await until(lambda: tower.tiers == [0, 0, 1, 0, 0] and tower.buzzer == 0, "it follows", 5)
        finally:
            running.cancel()
            await asyncio.wait({running})


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_the_network_does_no_pattern_is_wrong_and_the_light_obeys_again(fault: str) -> None:
    """A garbled pattern cannot be told from another of the series: PNS has no check sum."""
    tower = Tower()
    async with tower.listening(), Relay("127.0.0.1", tower.port) as relay:
        document = parse(CONFIGURATION.format(port=relay.port))
        plant = read_links_and_devices(document)
        blocks: list[Block] = []
        devices = Devices(plant, read_outputs(document, plant.tags), blocks.append, SystemClock(), lambda _: Home())

        async def beat() -> None:
            while True:
                devices.beat()
                await asyncio.sleep(0.05)

        def green(level: str) -> None:
            devices.apply([Decision("lamp", {"red": "off", "green": level, "buzzer": "off"}, {})])

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(devices.run()), group.create_task(beat())]
            green("flash")
            await until(lambda: any(b.values[1:2] == ["flash"] for b in blocks), "it flashes", 5)
            FAULTS[fault](relay)
            blocks.clear()
            green("on")
            await asyncio.sleep(1.0)
            told = [b.values[1] for b in blocks if 1 not in (b.faults or {})]
            known = {"on", "flash"} if fault != "garble" else set(pns.SERIES["la6"].patterns)
            assert set(told) <= known
            relay.resume()
            await until(lambda: tower.tiers == [0, 0, 1, 0, 0], "the tower has it", 10)
            await until(lambda: blocks and blocks[-1].values == ["off", "on", 0], "it is read back", 10)
            for task in tasks:
                task.cancel()


async def test_reconnecting_leaves_nothing_behind() -> None:
    tower = Tower()
    async with tower.listening():
        before, files = len(asyncio.all_tasks()), open_files()
        for _ in range(int(os.environ.get("EDGEFLOW_TEST_RECONNECTS", "100"))):
            async with DRIVER.open(Link(host="127.0.0.1", port=tower.port), soon(), Home()) as session:
                assert (await read(session, LA6, TIERS[0])).values == ["off"]
        await until(lambda: len(asyncio.all_tasks()) <= before and open_files() <= files, "all is closed", 5)


async def test_a_flood_is_not_kept() -> None:
    tower = towers(LA6)
    tower.says = b"\x01" * 100_000
    async with connected(tower) as session:
        with pytest.raises(LinkDown, match="bytes"):
            await read(session, LA6, TIERS[0])


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({}, "exactly one of tier, buzzer, input"),
        ({"tier": 1, "buzzer": True}, "exactly one of"),
        ({"tier": 6}, "less than or equal to 5"),
        ({"buzzer": False}, "leave the tag out"),
    ],
)
def test_a_point_that_makes_no_sense_says_what_to_write(written: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Point.model_validate(written)
