"""Modbus devices of which one fails: the short forms of `python tests/devices/modbus_campaign.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from statistics import quantiles
from typing import Any

from edgeflow.model import Block
from edgeflow.units import NS_PER_S
from tests.devices.modbus_campaign import FAULTS, JITTER, Campaign, Trial, Watcher, campaign
from tests.devices.units import tick, value

ON_A_LINE = {
    "rtu-over-tcp": ("hang", "garble", "late", "reset", "wrong-unit"),
    "serial": ("half-open", "trickle", "late", "cut", "duplicate"),
}


FOR_TWO_MINUTES = {"tcp": FAULTS, "rtu-over-tcp": ("late",), "serial": ("half-open",)}


async def in_turn(running: Campaign, faults: tuple[str, ...], seconds: float) -> list[Trial]:
    return [await running.trial(fault, 1 + (7 * n) % 20, seconds) for n, fault in enumerate(faults)]


async def failing(variant: str, faults: tuple[str, ...], folder: Path) -> None:
    async with campaign(variant, folder, every_s=0.25, timeout_s=0.2, answer_s=0.001) as running:
        for trial in await in_turn(running, faults, 0.6):
            assert not trial.wrong, f"{variant}, {trial.fault}"
            assert trial.values > 19 * 35, f"{variant}, {trial.fault}: the others were read"


async def failing_for_two_minutes(variant: str, faults: tuple[str, ...], folder: Path) -> None:
    async with campaign(variant, folder, settle_s=3) as running:
        trials = await in_turn(running, faults, 110 / len(faults))
    late_s = [each for trial in trials for each in trial.late]
    assert not [line for trial in trials for line in trial.wrong], variant
    assert len(late_s) > 19 * 100, f"{variant}: the others were read"
    assert quantiles(late_s, n=100)[98] <= JITTER, f"{variant}: the others were read in time"


async def side_by_side(
    trials: Callable[[str, tuple[str, ...], Path], Coroutine[Any, Any, None]],
    faults: Mapping[str, tuple[str, ...]],
    folder: Path,
) -> None:
    """Twenty on connections of their own, on one line behind a converter, and on a serial line, all at once."""
    async with asyncio.TaskGroup() as variants:
        for variant in faults:
            (folder / variant).mkdir()
            variants.create_task(trials(variant, faults[variant], folder / variant))


async def test_whatever_one_device_does_no_value_is_wrong_and_the_others_go_on(tmp_path: Path) -> None:
    await side_by_side(failing, {"tcp": FAULTS, **ON_A_LINE}, tmp_path)


async def test_for_two_minutes_one_device_after_the_other_fails_and_the_others_are_read_in_time(tmp_path: Path) -> None:
    await side_by_side(failing_for_two_minutes, FOR_TWO_MINUTES, tmp_path)


def test_the_campaign_knows_a_wrong_value_when_it_sees_one() -> None:
    """One that is too old, of another unit, of another register, or not yet true."""
    now_ns = 1_800_000_000 * NS_PER_S
    right = value(7, 3, 5, tick(now_ns))
    cases = {
        "right": (right, "r5", now_ns),
        "read a little later": (right, "r5", now_ns + NS_PER_S // 5),
        "of the other table": (right, "i5", now_ns),
        "of the next register": (right, "r6", now_ns),
        "too old": (right, "r5", now_ns + 2 * NS_PER_S),
        "not yet true": (right, "r5", now_ns - NS_PER_S),
    }
    for case, (found, name, read_ns) in cases.items():
        watcher = Watcher(timeout_s=0.5)
        watcher(Block("u07", (f"u07/{name}",), [found], read_ns, read_ns))
        assert bool(watcher.wrong) == (not case.startswith(("right", "read"))), case
