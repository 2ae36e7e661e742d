"""Modbus devices of which one fails: the short forms of `python tests/devices/modbus_campaign.py`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from edgeflow.model import Block
from edgeflow.units import NS_PER_S
from tests.devices import modbus_campaign
from tests.devices.modbus_campaign import FAULTS, Watcher, campaign
from tests.devices.units import tick, value

ON_A_LINE = {
    "rtu-over-tcp": ("hang", "garble", "late", "reset", "wrong-unit"),
    "serial": ("half-open", "trickle", "late", "cut", "duplicate"),
}


FAULT_S = 1.0
"""Longer than it takes to know that a unit is silent: two time-outs, and one between them for the others."""
FOR_TWO_MINUTES = {
    "tcp": ("--seconds=6",),
    "rtu-over-tcp": ("--faults=late", "--seconds=100"),
    "serial": ("--faults=half-open", "--seconds=100"),
}


async def failing(variant: str, faults: tuple[str, ...], folder: Path) -> None:
    async with campaign(variant, folder, every_s=0.25, timeout_s=0.2, answer_s=0.001) as running:
        for n, fault in enumerate(faults):
            trial = await running.trial(fault, 1 + (7 * n) % 20, FAULT_S)
            assert not trial.wrong, f"{variant}, {fault}"
            assert trial.values > 19 * 35, f"{variant}, {fault}: the others were read"


async def test_whatever_one_device_does_no_value_is_wrong_and_the_others_go_on(tmp_path: Path) -> None:
    """Twenty on connections of their own, on one line behind a converter, and on a serial line, all at once."""
    async with asyncio.TaskGroup() as variants:
        for variant, faults in {"tcp": FAULTS, **ON_A_LINE}.items():
            folder = tmp_path / variant
            folder.mkdir()
            variants.create_task(failing(variant, faults, folder))


@pytest.mark.alone
def test_for_two_minutes_one_device_after_the_other_fails_and_the_others_are_read_in_time() -> None:
    """The campaign itself, as `make faults` runs it, but shorter; its three kinds of links side by side."""
    running = [
        subprocess.Popen(
            [sys.executable, modbus_campaign.__file__, variant, "--at-once=1", *given],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for variant, given in FOR_TWO_MINUTES.items()
    ]
    said = [process.communicate(timeout=400)[0] for process in running]
    print(*said, sep="\n")
    assert [process.returncode for process in running] == [0, 0, 0]


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
