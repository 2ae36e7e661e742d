"""Recorded cases of templates: a real server holds what was recorded of a device, and its tags are compared.

A case is a file beside the template, `<model>.case.yaml`:

    case: a machine draws 12 kW
    about: how the numbers were worked out
    device: {with: {nominal_voltage: 230}}      # keys of the device, beside its template
    registers:                                  # by table and address on the wire; words as 0x.... or decimal
      input: {0x0000: 0x4366 0x3333, 0x0046: 0x4248 0x0000}
    expect:                                     # every tag that is read, with its unit, at the printed precision
      voltage_l1: 230.20 V
      frequency: 50.0 Hz
    wrong:                                      # what the self-checks must say when the device is set up wrongly
      - {device: {word_order: little}, says: word order}

All goes through the real devices part and over a real socket. Then the template is checked against the same server
(`edgeflow.devices.check`) and nothing may be wrong with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeflow import document
from edgeflow.clock import SystemClock
from edgeflow.devices.check import WRONG, Options, check
from edgeflow.devices.config import read_links_and_devices
from edgeflow.devices.devices import Devices
from edgeflow.devices.plan import Plant
from edgeflow.devices.template import CASE, FOLDER, Library, read
from edgeflow.document import Document
from edgeflow.driver import Finding, Home, Note, Row
from edgeflow.errors import ConfigError, LinkDown, Rejected
from edgeflow.model import BAD, Block, Sample, Scalar, Value
from edgeflow.testing.compare import CaseResult, equals
from edgeflow.testing.ends import ENDS, End
from edgeflow.testing.recording import Case, Write

DEVICE = "device"
_PATIENCE_S = 10.0
_SETTLED = ("fits", "read")


def run_case(path: Path) -> CaseResult:
    """Runs one recorded case."""
    return asyncio.run(tried(path))


async def tried(path: Path) -> CaseResult:
    """Runs one recorded case in the loop that is there."""
    title = ""
    try:
        source = document.load(path)
        case = source.model(Case)
        title = case.case
        sheet = read(path.with_name(path.name.removesuffix(CASE) + ".yaml"))
        make = ENDS.get(sheet.template.driver)
        if make is None:
            message = f"there is no server for cases of the driver {sheet.template.driver}; there are {', '.join(ENDS)}"
            return CaseResult(path, title, (message,))
        async with make(case) as end:
            run = _Run(path, sheet.template.template, sheet.template.driver, case, end)
            return CaseResult(path, title, tuple(await run.problems()))
    except ConfigError as error:
        return CaseResult(path, title or "cannot be read", tuple(map(str, error.problems)))
    except (LinkDown, Rejected) as error:
        return CaseResult(path, title, (str(error),))


class _Run:
    """One case at work."""

    def __init__(self, path: Path, template: str, driver: str, case: Case, end: End) -> None:
        self.case, self.end, self.driver, self.template = case, end, driver, template
        depth = template.count("/") + 1
        self.beside = path.parents[depth].joinpath("case.yaml")  # its folder `templates` is the one of this template
        self.latest: dict[str, Sample] = {}

    async def problems(self) -> list[str]:
        plant = self._plant({})
        found = [*await self._live(plant), *await self._checked(plant)]
        for wrong in self.case.wrong:
            found += await self._complains(wrong.device, wrong.says)
        return found

    def _plant(self, more: Mapping[str, Any]) -> Plant:
        device = {"link": "end", "every": "50 ms", "template": self.template, **self.case.device, **more}
        data = {"links": {"end": self.end.link}, "devices": {DEVICE: device}}
        return read_links_and_devices(Document(str(self.beside), data, {}))

    async def _live(self, plant: Plant) -> list[str]:
        devices = Devices(plant, {}, self._take, SystemClock(), lambda _: Home())
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(devices.run())
            wanted = {name for name, plan in plant.plans.items() if plan.read}
            await _until(lambda: self._known(wanted))
            found = self._compare(plant)
            await _until(lambda: not self.end.missing(self.case.connected, None))
            if wrong := self.end.missing(self.case.connected, None):
                found.append(f"once it is connected: {wrong}")
            for write in self.case.writes:
                found += await self._written(devices, write)
            running.cancel()
        return found

    def _take(self, block: Block) -> None:
        for sample in block.samples():
            before = self.latest.get(sample.tag)
            if before is None or sample.quality != BAD or before.quality == BAD:
                self.latest[sample.tag] = sample

    def _known(self, wanted: set[str]) -> bool:
        bad = {f"{DEVICE}/{tag}" for tag, value in self.case.expect.items() if isinstance(value, dict)}
        return all(name in self.latest and (self.latest[name].quality != BAD or name in bad) for name in wanted)

    def _compare(self, plant: Plant) -> list[str]:
        found: list[str] = []
        for name, plan in plant.plans.items():
            tag = name.partition("/")[2]
            if not plan.read:
                continue
            sample = self.latest.get(name)
            if sample is None:
                found.append(f"{tag}: nothing came")
            elif tag not in self.case.expect:
                found.append(f"{tag}: is not expected, and is {_shown(sample, plan.tag.unit)}")
            elif not _as_expected(self.case.expect[tag], sample, plan.tag.unit):
                found.append(f"{tag}: expected {self.case.expect[tag]}, got {_shown(sample, plan.tag.unit)}")
        names = {name.partition("/")[2] for name in plant.plans}
        return found + [f"{tag}: there is no such tag" for tag in self.case.expect if tag not in names]

    async def _written(self, devices: Devices, write: Write) -> list[str]:
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        try:
            await devices.write(f"{DEVICE}/{write.tag}", write.value, deadline)
        except (LinkDown, Rejected) as error:
            return [f"writing {write.value!r} to {write.tag}: {error}"]
        await _until(lambda: not self.end.missing(write.holds, write.sent))
        wrong = self.end.missing(write.holds, write.sent)
        return [f"after writing {write.value!r} to {write.tag}: {wrong}"] if wrong else []

    async def _findings(self, plant: Plant) -> list[Finding]:
        link, device = plant.links["end"], plant.devices[DEVICE]
        options = Options.model_validate({"reads": 2, "every": "20 ms", "others": False})
        library = Library([self.beside.parent / FOLDER])
        return [finding async for finding in check(link, device, library, Home(), options)]

    async def _checked(self, plant: Plant) -> list[str]:
        """What the self-check has to say although all is as it should be."""
        return [
            f"check: {cells['result']!r}: {next(iter(cells.values()))!r}: {cells['says']!r}"
            for cells in _cells(await self._findings(plant))
            if cells["result"] not in _SETTLED and not self._foreseen(cells)
        ]

    def _foreseen(self, cells: Mapping[str, Scalar]) -> bool:
        bad = isinstance(self.case.expect.get(str(cells.get("tag"))), dict)
        return bad or any(part in str(cells["says"]) for part in self.case.look)

    async def _complains(self, device: Mapping[str, Any], says: str) -> list[str]:
        findings = await self._findings(self._plant(device))
        told = [str(cells["says"]) for cells in _cells(findings) if cells["result"] in WRONG]
        if not told:
            return [f"with {dict(device)} the check must say {says!r}, but nothing is wrong"]
        told += [finding.text for finding in findings if isinstance(finding, Note)]
        if any(says in text or says in text.replace("_", " ") for text in told):
            return []
        heard = "; ".join(told[:3])
        return [f"with {dict(device)} the check must say {says!r}; it said: {heard}"]


def _cells(findings: list[Finding]) -> list[Mapping[str, Scalar]]:
    return [finding.cells for finding in findings if isinstance(finding, Row)]


async def _until(done: Callable[[], bool]) -> None:
    """Waits for it, but not for ever: what is missing then is told by the comparison."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE_S
    while not done() and loop.time() < deadline:  # noqa: ASYNC110 - nothing tells when
        await asyncio.sleep(0.01)


def _shown(sample: Sample, unit: str | None) -> str:
    if sample.quality == BAD:
        return f"nothing: {sample.reason}"
    return f"{sample.value!r} {unit}" if unit else repr(sample.value)


def _as_expected(expected: Value, sample: Sample, unit: str | None) -> bool:
    if isinstance(expected, dict):
        return sample.quality == BAD and str(expected.get("bad", "")) in sample.reason
    if sample.quality == BAD:
        return False
    if isinstance(sample.value, bool | str | bytes):
        return bool(expected == sample.value)
    number, _, given = str(expected).partition(" ")
    if (unit or "") != given:
        return False
    return equals(number if "/" in number else f"~{number}", sample.value)
