"""The GPIO driver on a board made of pipes; libgpiod itself needs real pins (see the driver's quality table)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgeflow.driver import Column, Driver, Home
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import Scalar
from edgeflow.testing.drivers import Check, Relay, Rig, Subject, checks, poll_by, until
from edgeflow_gpio import DRIVER, Device, Link, Point
from edgeflow_gpio.chip import open_chip
from edgeflow_gpio.session import open_session
from tests.drivers.gpio.board import Board

BUTTON, DOOR = Point(line="GPIO17", bias="up", active_low=True), Point(line="GPIO27")
LAMP, RELAY = Point(line="GPIO22", direction="out"), Point(line=3, direction="out", active_low=True, exit="on")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


QUICK = Device.model_validate({"heartbeat": "20 ms"})


def board() -> Board:
    made = Board("GPIO17", "GPIO27", "GPIO22", "GPIO5")
    made.levels["GPIO17"] = True
    return made


def driver(pins: Board) -> Driver[Any, Any, Any]:
    return replace(DRIVER, open=partial(open_session, chip=lambda name: pins))


def soon(seconds: float = 5) -> float:
    return asyncio.get_running_loop().time() + seconds


@asynccontextmanager
async def connected(pins: Board) -> AsyncIterator[Any]:
    async with driver(pins).open(Link(), soon(), Home()) as session:
        yield session


async def read(session: Any, *points: Point) -> Any:
    return await poll_by(await session.prepare(QUICK, points, soon()), soon())


class Latest:
    def __init__(self) -> None:
        self.columns: list[Column] = []

    def changes(self, index: int) -> list[Scalar]:
        return [c.values[0] for c in self.columns if c.points == (index,)]


@asynccontextmanager
async def watched(session: Any, *points: Point) -> AsyncIterator[Latest]:
    latest = Latest()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(session.watch(QUICK, points, latest.columns.append))
        await until(lambda: latest.columns, "the first column", 5)
        yield latest
        task.cancel()


def subject() -> Subject:
    pins = board()

    @asynccontextmanager
    async def rig() -> AsyncIterator[Rig]:
        pins.levels |= {"GPIO17": True, "GPIO27": True, "GPIO22": False, "GPIO5": False}

        async def change(index: int, value: Scalar) -> None:
            pins.press("GPIO17", not value)

        async def held(index: int) -> Scalar:
            return pins.levels["GPIO22"] if index == 0 else not pins.levels["GPIO5"]

        async with Relay("127.0.0.1", 9) as relay:
            yield Rig(
                link=Link(),
                device=QUICK,
                relay=relay,
                known=((BUTTON, False), (DOOR, True), (LAMP, False)),
                other=True,
                change=change,
                refused=Point(line="GPIO99"),
                writes=((LAMP, True), (RELAY, True)),
                held=held,
                refused_write=(DOOR, True),
            )

    no_wire = "a chip is part of this machine: there is no connection that could hang, drop or answer late"
    exempt = dict.fromkeys(
        (
            "a_closed_port_is_link_down",
            "a_hung_server_ends_the_read_by_its_deadline",
            "a_server_that_hangs_at_the_start_ends_by_the_deadline",
            "a_dropped_server_ends_the_read_at_once",
            "a_dead_session_stays_dead",
            "a_late_answer_never_becomes_a_value",
            "a_dropped_server_ends_the_watch_with_link_down",
            "a_hung_server_ends_the_watch_with_link_down",
            "a_hung_server_ends_the_write_by_its_deadline",
        ),
        no_wire,
    ) | {"values_are_of_the_declared_type": "a line has only two values, so no three known points differ"}
    return Subject(driver(pins), rig, frozenset({"read", "watch", "write", "browse"}), exempt)


SUBJECT = subject()


@pytest.mark.parametrize("check", checks(SUBJECT), ids=lambda check: check.__name__)
async def test_the_driver_keeps_the_contract(check: Check) -> None:
    await check(SUBJECT)


async def test_every_press_of_a_button_is_pushed_however_short_with_the_time_of_the_kernel() -> None:
    pins = board()
    async with connected(pins) as session, watched(session, BUTTON, DOOR) as latest:
        await until(lambda: pins.held, "the lines are held", 5)
        pins.press("GPIO17", False, True, False, True, at_ns=1_700_000_000_123_456_789)
        await until(lambda: len(latest.changes(0)) == 4, "four changes", 5)
        assert latest.changes(0) == [True, False, True, False]
        assert {c.source_ns for c in latest.columns if c.points == (0,)} == {1_700_000_000_123_456_789}
        assert latest.changes(1) == []


async def test_all_lines_are_looked_at_again_at_each_heartbeat() -> None:
    pins = board()
    async with connected(pins) as session, watched(session, DOOR, LAMP) as latest:
        pins.levels["GPIO27"] = True
        await until(lambda: latest.columns[-1].values == [True, False], "the heartbeat sees it", 5)


async def test_an_output_has_its_level_from_the_first_moment_and_another_when_the_agent_lets_go() -> None:
    pins = board()
    async with connected(pins) as session:
        assert (await read(session, LAMP, RELAY)).values == [False, False]
        assert pins.levels["GPIO5"] is True, "off at a relay that switches at 0 V"
        await session.write(QUICK, [LAMP, RELAY], [True, True], soon())
        assert (pins.levels["GPIO22"], pins.levels["GPIO5"]) == (True, False)
    assert (pins.levels["GPIO22"], pins.levels["GPIO5"]) == (False, False), "off, and on at 0 V"
    assert pins.held == {}
    assert pins.closed


async def test_a_line_that_somebody_else_holds_is_bad_alone_and_heals_when_it_is_free() -> None:
    pins = board()
    pins.taken = {"GPIO17"}
    async with connected(pins) as session, watched(session, BUTTON, DOOR) as latest:
        first = latest.columns[0]
        assert first.values == [None, False]
        assert first.faults is not None
        assert "another program may hold it" in first.faults[0][1]
        pins.taken.clear()
        await until(lambda: latest.columns[-1].values == [False, False], "it is had now", 5)
        await until(lambda: "GPIO17" in pins.held, "it is held", 5)
        pins.press("GPIO17", False, True)
        await until(lambda: latest.changes(0) == [True, False], "and heard", 5)


async def test_a_chip_that_is_pulled_out_ends_the_watch_with_link_down() -> None:
    pins = board()
    async with connected(pins) as session:
        watch = asyncio.ensure_future(session.watch(QUICK, [BUTTON], lambda column: None))
        await until(lambda: pins.held, "the line is held", 5)
        pins.gone = True
        with pytest.raises(LinkDown, match="board0 does not answer: no such device"):
            await asyncio.wait_for(watch, 5)
    assert pins.held == {}


@pytest.mark.parametrize(
    ("point", "value", "told"),
    [
        (BUTTON, True, "is an input"),
        (LAMP, 1, "neither true nor false"),
        (Point(line="GPIO99", direction="out"), True, "has no line 'GPIO99'; `edgeflow browse`"),
    ],
)
async def test_what_cannot_be_switched_is_refused_and_nothing_else_is_switched(
    point: Point, value: Scalar, told: str
) -> None:
    pins = board()
    async with connected(pins) as session:
        await read(session, LAMP)
        with pytest.raises(Rejected, match=told):
            await session.write(QUICK, [LAMP, point], [True, value], soon())
    assert ("GPIO22", True) not in pins.log


async def test_one_line_in_two_ways_is_refused() -> None:
    async with connected(board()) as session:
        column = await read(session, DOOR, Point(line="GPIO27", active_low=True))
    assert "written twice" in column.faults[1][1]


async def test_opening_again_and_again_leaves_nothing_behind() -> None:
    pins = board()
    before, files = len(asyncio.all_tasks()), open_files()
    for _ in range(int(os.environ.get("EDGEFLOW_TEST_RECONNECTS", "100"))):
        async with connected(pins) as session, watched(session, BUTTON, LAMP):
            pass
    assert len(asyncio.all_tasks()) == before
    assert open_files() == files
    assert pins.held == {}


async def test_browsing_lists_the_lines_and_who_has_them() -> None:
    pins = board()
    pins.taken = {"GPIO27"}
    async with connected(pins) as session:
        found = [each async for each in session.browse("", soon())]
    assert [each.point for each in found] == [{"line": name} for name in pins.names]
    assert found[1].title == "line 1, used by kernel"


@pytest.mark.parametrize("name", ["gpiochip99", "/dev/gpiochip99", "pinctrl-nowhere"])
def test_a_chip_that_is_not_there_says_which_there_are(name: str) -> None:
    with pytest.raises(LinkDown, match=f"no GPIO chip '{name}'; (this machine has none|there are )"):
        open_chip(name)


def test_what_is_no_chip_is_told() -> None:
    with pytest.raises(LinkDown, match="/dev/null is no GPIO chip"):
        open_chip("/dev/null")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"line": 1, "start": "on"}, "`start` goes with `direction: out`"),
        ({"line": 1, "direction": "out", "debounce": "5 ms"}, "`debounce` goes with `direction: in`"),
        ({"line": 1, "debounce": "2 s"}, "less than or equal"),
        ({}, "required"),
    ],
)
def test_a_point_that_makes_no_sense_says_what_to_write(written: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Point.model_validate(written)
