"""Twenty Modbus devices, one of them in turn failing in every way: `python tests/devices/modbus_campaign.py`.

Every value that arrives is compared with what its register held at that time. At the end of each fault it says
how many there were, how much the polls of the other devices were late (the 99th percentile must be at most a tenth
of the interval; one left out counts as a whole interval), and when the data of the failing one were back (10 s). Polls
while the machine itself stood still, and as long again after it, are not counted but said. It ends with 1 where
something does not hold, also where the machine stood still for more than a fifth of the time (and 2 s).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import structlog

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from edgeflow.clock import SystemClock
from edgeflow.devices.config import read_links_and_devices
from edgeflow.devices.devices import Devices
from edgeflow.document import parse
from edgeflow.driver import Home
from edgeflow.model import Block
from edgeflow.testing.relay import until
from edgeflow.units import NS_PER_S
from tests.devices.standstill import Standstill
from tests.devices.units import Units, other_unit, tick, value

BACK_S = 10.0
JITTER = 0.1
STILL, STILL_S = 0.2, 2.0
VARIANTS = ("tcp", "rtu-over-tcp", "serial")
FAULTS = (
    "hang", "half-open", "trickle", "garble", "late", "reset", "wrong-unit", "cut", "delay", "duplicate", "drop",
)  # fmt: skip
NOT_ON_A_LINE = {"serial": {"reset", "drop"}, "rtu-over-tcp": {"drop"}, "tcp": set[str]()}
_TAGS = ", ".join(
    [
        *(f"r{a}: {{register: {a}}}" for a in range(20)),
        *(f"d{a}: {{register: {a}, type: uint32}}" for a in range(200, 220, 2)),
        *(f"i{a}: {{input: {a}}}" for a in range(5)),
    ]
)


@dataclass
class Trial:
    """What one fault of one device did. Times in s; `late`: by how much the others' polls were off their schedule.

    `latest`: those that were late by more than is allowed, and how long after the fault had begun.
    """

    fault: str
    values: int = 0
    wrong: list[str] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    latest: list[str] = field(default_factory=list)
    missed: int = 0
    still_s: float = 0.0
    bad_s: float = 0.0
    back_s: float = 0.0

    def percentile(self, share: float) -> float:
        return statistics.quantiles(self.late, n=1000)[round(share * 1000) - 1] if len(self.late) > 1 else 0.0


class Watcher:
    """Takes every block, and compares every value."""

    def __init__(self, timeout_s: float) -> None:
        self.values = 0
        self.wrong: list[str] = []
        self.read_at: dict[str, list[int]] = {}
        self.good: dict[str, bool] = {}
        self.fresh_ns: dict[str, dict[str, int]] = {}
        """When each tag of a device was read last and was good (UTC)."""
        self._age_ns = round((timeout_s + 0.02) * NS_PER_S)
        self._doubtful: list[tuple[int, str, object, int]] = []

    async def judge(self) -> None:
        """Judges what is too old at first sight: where this very process was held up, it waited for us all the while."""
        loop, held_up_ns = asyncio.get_running_loop(), 0
        while True:
            before_s = loop.time()
            await asyncio.sleep(0.01)
            now_ns = round((loop.time() - before_s - 0.01) * NS_PER_S)
            for unit, name, found, read_ns in self._doubtful:
                if not self._was_true(unit, name, found, read_ns, self._age_ns + held_up_ns + now_ns):
                    self._tell(unit, name, found, read_ns)
            self._doubtful.clear()
            held_up_ns = now_ns

    def __call__(self, block: Block) -> None:
        faults = block.faults or {}
        self.good[block.device] = not faults
        if not faults:
            self.read_at.setdefault(block.device, []).append(block.read_ns)
        unit = int(block.device[1:])
        for i, (tag, found) in enumerate(zip(block.tags, block.values, strict=True)):
            if i not in faults:
                self.fresh_ns.setdefault(block.device, {})[tag] = block.read_ns
                self._check(unit, tag.partition("/")[2], found, block.read_ns)

    def _check(self, unit: int, name: str, found: object, read_ns: int) -> None:
        """It must be what the register held between then and a time-out before."""
        self.values += 1
        if not self._was_true(unit, name, found, read_ns, self._age_ns):
            if self._was_true(unit, name, found, read_ns, 3 * self._age_ns):
                self._doubtful.append((unit, name, found, read_ns))
            else:
                self._tell(unit, name, found, read_ns)

    @staticmethod
    def _was_true(unit: int, name: str, found: object, read_ns: int, age_ns: int) -> bool:
        function, address = (4 if name[0] == "i" else 3), int(name[1:])
        for at in range(tick(read_ns), tick(read_ns - age_ns) - 1, -1):
            held = value(unit, function, address, at)
            if name[0] == "d":
                held = held << 16 | value(unit, function, address + 1, at)
            if found == held:
                return True
        return False

    def _tell(self, unit: int, name: str, found: object, read_ns: int) -> None:
        self.wrong.append(f"unit {unit} {name}: {found!r} at {read_ns / NS_PER_S:.3f}")


class Campaign:
    """The devices of one variant, read by the real shell."""

    def __init__(
        self, variant: str, units: Units, devices: Devices, watcher: Watcher, every_s: float, still: Standstill
    ) -> None:
        self.variant, self.units, self.devices, self.watcher, self.every_s = variant, units, devices, watcher, every_s
        self.still = still

    async def trial(self, fault: str, unit: int, seconds: float) -> Trial:
        """Lets one unit fail for so long, then waits until its data are back."""
        watcher, name = self.watcher, f"u{unit:02}"
        begun_ns, values, wrong = SystemClock().now_ns(), watcher.values, len(watcher.wrong)
        loop = asyncio.get_running_loop()
        trial, begun = Trial(fault), loop.time()
        self._fail(unit, fault)
        while loop.time() < begun + seconds:
            await asyncio.sleep(0.02)
            if not trial.bad_s and not watcher.good[name]:
                trial.bad_s = loop.time() - begun
        ended_ns = SystemClock().now_ns()
        self._repair(unit)
        repaired = loop.time()
        since_ns = SystemClock().now_ns()
        # All of them: the rest of the poll with which a device comes back would count as late in the next trial.
        await until(lambda: min(watcher.fresh_ns[name].values()) > since_ns, "data are back", BACK_S)
        trial.back_s = loop.time() - repaired
        trial.values, trial.wrong = watcher.values - values, watcher.wrong[wrong:]
        stood_still = self.still.times(begun_ns, ended_ns)
        trial.still_s = sum(end - start for start, end in stood_still) / NS_PER_S
        for other in watcher.read_at:
            if other != name:
                self._punctuality(trial, other, begun_ns, ended_ns, stood_still)
        return trial

    def _punctuality(
        self, trial: Trial, device: str, begun_ns: int, ended_ns: int, stood_still: Sequence[tuple[int, int]]
    ) -> None:
        """How far its reads were from their places on the schedule: once in an interval, at the phase usual for it."""
        every_ns = round(self.every_s * NS_PER_S)

        def excused(since: int, at: int) -> bool:
            return any(since < end + (end - start) and start <= at for start, end in stood_still)

        read_at = [at for at in self.watcher.read_at[device] if at < ended_ns]
        for before, after in pairwise([*read_at, ended_ns]):
            missed = round((after - before) / every_ns) - 1
            if missed > 0 and after > begun_ns and not excused(before, after):
                trial.missed += missed
                trial.late += [self.every_s] * missed
        read_at = [at for at in read_at if begun_ns <= at and not excused(at, at)]
        phases = [at % every_ns for at in read_at]

        def off(phase: int, usual: int) -> int:
            return abs((phase - usual + every_ns // 2) % every_ns - every_ns // 2)

        usual = min(phases[:60], key=lambda each: sum(off(phase, each) for phase in phases), default=0)
        for at, phase in zip(read_at, phases, strict=True):
            late_s = off(phase, usual) / NS_PER_S
            trial.late.append(late_s)
            if late_s > JITTER * self.every_s:
                trial.latest.append(f"{device} by {late_s * 1e3:.0f} ms after {(at - begun_ns) / NS_PER_S:.1f} s")

    def _fail(self, unit: int, fault: str) -> None:
        if self.variant != "tcp":
            self.units.faults[unit] = fault
            return
        relay, timeout_s = self.units.relays[unit], self.units.late_s / 1.5
        faults = {
            "hang": relay.hang,
            "half-open": relay.half_open,
            "trickle": partial(relay.trickle, 0.02),
            "garble": partial(relay.garble, 1.0),  # Modbus TCP has no check sum of its own, so the whole answer
            "late": partial(relay.delay, 1.5 * timeout_s),
            "reset": relay.reset,
            "wrong-unit": partial(relay.alter, other_unit),
            "cut": relay.cut,
            "delay": partial(relay.delay, 0.3 * timeout_s),
            "duplicate": relay.duplicate,
        }

        async def begin() -> None:
            if fault == "drop":
                await relay.drop()
            else:
                faults[fault]()

        if fault:
            self.units.call(begin())

    def _repair(self, unit: int) -> None:
        self.units.faults.pop(unit, None)
        relay = self.units.relays[unit]

        async def end() -> None:
            relay.resume()
            if not relay.open:
                await relay.restore()

        self.units.call(end())


@contextmanager
def _serial_pair(folder: Path) -> Iterator[tuple[str, str]]:
    """Two serial lines that are the ends of one wire."""
    ends = str(folder / "near"), str(folder / "far")
    socat = subprocess.Popen(["socat", *(f"pty,raw,echo=0,link={end}" for end in ends)])
    try:
        by = time.monotonic() + 5
        while not all(Path(end).exists() for end in ends):
            assert time.monotonic() < by, "socat makes no serial lines"
            time.sleep(0.01)
        yield ends
    finally:
        socat.terminate()
        socat.wait(10)


def _configuration(variant: str, units: Units, serial: str, every_s: float, timeout_s: float) -> str:
    links = {
        "tcp": "\n".join(
            f"  l{unit:02}: {{driver: modbus, host: 127.0.0.1, port: {relay.port}}}"
            for unit, relay in units.relays.items()
        ),
        "rtu-over-tcp": f"  line: {{driver: modbus, transport: rtu-over-tcp, host: 127.0.0.1, port: {units.line}}}",
        "serial": f"  line: {{driver: modbus, serial: {serial}, baud: 115200}}",
    }
    rates = f"every: {every_s * 1000:g} ms, timeout: {timeout_s * 1000:g} ms"
    devices = "\n".join(
        f"  u{unit:02}: {{link: {f'l{unit:02}' if variant == 'tcp' else 'line'}, unit: {unit}, {rates}, "
        f"tags: {{{_TAGS}}}}}"
        for unit in range(1, units.count + 1)
    )
    return f"links:\n{links[variant]}\ndevices:\n{devices}\n"


@asynccontextmanager
async def campaign(
    variant: str,
    folder: Path,
    *,
    count: int = 20,
    every_s: float = 1.0,
    timeout_s: float = 0.5,
    answer_s: float = 0.003,
    settle_s: float = 0.0,
) -> AsyncIterator[Campaign]:
    """All devices running and good; `settle_s`: so much longer, until all is measured and on its schedule."""
    with Units(count, answer_s) as units, _serial_pair(folder) as (near, far), Standstill(folder) as still:
        units.late_s = 1.5 * timeout_s
        if variant == "serial":
            units.serve_line(far)
        plant = read_links_and_devices(parse(_configuration(variant, units, near, every_s, timeout_s)))
        watcher, homes = Watcher(timeout_s), dict[str, Home]()
        devices = Devices(plant, {}, watcher, SystemClock(), lambda driver: homes.setdefault(driver, Home()))
        running = asyncio.get_running_loop().create_task(devices.run())
        judging = asyncio.get_running_loop().create_task(watcher.judge())
        try:
            await until(
                lambda: len(watcher.good) == count and all(watcher.good.values()), "all devices are good", 20 + count
            )
            await asyncio.sleep(settle_s)
            yield Campaign(variant, units, devices, watcher, every_s, still)
        finally:
            running.cancel()
            judging.cancel()
            await asyncio.wait({running, judging})


def main() -> int:
    """Runs the chosen variants; 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", help=f"{', '.join(VARIANTS)}; default: all")
    parser.add_argument("--faults", default="", help=f"with commas between them, of {', '.join(FAULTS)}; default: all")
    parser.add_argument("--seconds", type=float, default=600, help="how long each fault lasts (600)")
    parser.add_argument("--units", type=int, default=20, help="how many devices (20)")
    parser.add_argument("--answer", type=float, default=0.003, help="seconds that a device takes to answer (0.003)")
    parser.add_argument(
        "--at-once", type=int, default=6, help="processes side by side, each with devices and a reader of its own (6)"
    )
    given = parser.parse_args()
    unknown = set(given.variants) - set(VARIANTS) or set(filter(None, given.faults.split(","))) - set(FAULTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    lots = _lots(given.variants or VARIANTS, given.faults.split(",") if given.faults else FAULTS, given.at_once)
    minutes = max(len(faults) for _, faults in lots) * (given.seconds + 5) / 60 + 1
    print(f"{given.units} units, every 1 s, each fault for {given.seconds:g} s; this takes {minutes:.0f} min")
    print(
        f"{'link':<14}{'fault':<11}{'values':>8}{'wrong':>7}{'missed':>8}{'late p50':>10}{'p99':>8}{'max':>8}{'BAD in':>9}{'back in':>9}",
        flush=True,
    )
    with ProcessPoolExecutor(given.at_once, mp_context=get_context("spawn")) as processes:
        failed = [each for lot in processes.map(_lot, lots, [given] * len(lots)) for each in lot]
    print(f"failed: {', '.join(failed)}" if failed else "everything holds")
    return bool(failed)


def _lots(variants: Sequence[str], faults: Sequence[str], at_once: int) -> list[tuple[str, list[str]]]:
    """What each process does: one kind of link, and some of its faults."""
    lots = []
    shares = max(1, at_once // len(variants))
    for variant in variants:
        chosen = [fault for fault in FAULTS if fault in faults and fault not in NOT_ON_A_LINE[variant]]
        lots += [(variant, share) for n in range(shares) if (share := chosen[n::shares])]
    return lots


def _lot(lot: tuple[str, list[str]], given: argparse.Namespace) -> list[str]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(*lot, Path(folder), given))


async def _run(variant: str, faults: Sequence[str], folder: Path, given: argparse.Namespace) -> list[str]:
    failed = []
    async with campaign(variant, folder, count=given.units, answer_s=given.answer, settle_s=10) as running:
        for fault in ("", *faults):
            unit = 1 + 7 * FAULTS.index(fault) % given.units if fault else 1
            trial = await running.trial(fault, unit, given.seconds if fault else min(given.seconds, 30))
            p50, p99, most = trial.percentile(0.5), trial.percentile(0.99), max(trial.late)
            good = not trial.wrong and p99 <= JITTER * running.every_s and trial.back_s <= BACK_S
            good = good and trial.still_s <= max(STILL_S, STILL * given.seconds)
            bad = f"{trial.bad_s:.2f} s" if trial.bad_s else "-"
            row = (
                f"{variant:<14}{fault or 'none':<11}{trial.values:>8}{len(trial.wrong):>7}{trial.missed:>8}"
                f"{p50 * 1e3:>7.1f} ms{p99 * 1e3:>5.0f} ms{most * 1e3:>5.0f} ms{bad:>9}{trial.back_s:>7.2f} s"
                f"{f'  machine stood still for {trial.still_s:.2f} s' if trial.still_s else ''}"
                f"{'' if good else '  DOES NOT HOLD'}"
            )
            print("\n    wrong: ".join([row, *trial.wrong[:5]]), flush=True)
            if p99 > JITTER * running.every_s:
                print(f"    late: {', '.join(trial.latest)}", flush=True)
            if not good:
                failed.append(f"{variant} {fault or 'none'}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
