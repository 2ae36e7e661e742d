"""`edgeflow watch`: values as they change, scaled and raw, from the agent or from the devices themselves."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import structlog

from edgeflow.cli import api
from edgeflow.cli.findings import Table, shown
from edgeflow.cli.source import DEFAULT_CONFIG, AgentLinks, agent_url, must_be_ours, read_source
from edgeflow.clock import SystemClock, utc_ns, utc_text
from edgeflow.devices.devices import Devices
from edgeflow.devices.part import part
from edgeflow.devices.plan import Plant
from edgeflow.devices.tool import plain
from edgeflow.document import Document, suggestion
from edgeflow.driver import Home
from edgeflow.errors import EXIT_FAILURE, EdgeFlowError, Rejected
from edgeflow.model import Block, Scalar
from edgeflow.units import NS_PER_S, duration_text

EVERY_S = 0.5
FIRST_S = 10.0
"""How long the first picture is waited for."""
_CLOCK = SystemClock()
_NOT_YET = ("not yet connected", "connected, ", "not read yet", "no value yet")
"""How the reason begins where a value may still come."""
_COLOURS = {"bad": "\x1b[31m", "uncertain": "\x1b[33m"}
_ROOM = (("reason", 0), ("age", 60), ("raw", 70), ("quality", 50))
"""Columns that are left out where the terminal has fewer columns than so many; the reason gets what is left."""


@dataclass(frozen=True, slots=True)
class Line:
    """One tag as it is now. `time_ns` is UTC, 0 where it was never read."""

    tag: str
    value: Scalar
    unit: str
    raw: Scalar
    quality: str
    time_ns: int
    reason: str


class Picture(Protocol):
    """Where the lines come from."""

    async def lines(self) -> list[Line]:
        """All tags as they are now."""


def watch(names: Sequence[str], config: Path | None, url: str | None, *, once: bool, as_json: bool) -> int:
    """Shows values until Ctrl-C; returns the exit code. Raises EdgeFlowError where there is nothing to show."""
    source = read_source(config) if config is not None or (url is None and DEFAULT_CONFIG.exists()) else None
    try:
        where = url or agent_url(source)
        if source is not None and url is None:
            must_be_ours(where, source)
        from_agent = FromAgent(where, names)
    except EdgeFlowError:
        if source is None or url is not None:
            raise
    else:
        return asyncio.run(_shown(from_agent, once=once, as_json=as_json))
    print("No agent answers: the links are opened here.", file=sys.stderr)
    return asyncio.run(_watched_here(source, names, once=once, as_json=as_json))


async def _watched_here(source: Document, names: Sequence[str], *, once: bool, as_json: bool) -> int:
    async with from_devices(source, names) as picture:
        return await _shown(picture, once=once, as_json=as_json)


def read_here(tag: str, config: Path) -> dict[str, Any]:
    """One tag from the device itself, or from the agent where that has the link and nobody else can open it."""
    source = read_source(config)
    device = tag.partition("/")[0]
    plant = part(source, devices=[device])
    if tag not in plant.tags:
        raise Rejected(f"there is no tag {tag!r}{suggestion(tag, plant.tags)}")
    link = plant.links[plant.devices[device].link]
    if link.driver.exclusive(link.config):
        agent = AgentLinks(source, None, None)
        if agent.has(link.name):
            print(f"{link.name} is in use by the agent at {agent.url}, which is asked.", file=sys.stderr)
            found: dict[str, Any] = api.get(
                agent.url, f"/api/v1/tags/{quote(device)}/{quote(tag.partition('/')[2], safe='')}"
            )
            return found

    async def once() -> dict[str, Any]:
        async with from_devices(source, [tag]) as picture:
            (line,) = await _settled(picture)
        known = plant.tags[tag]
        data = _data(line)
        return {"name": data.pop("tag"), "type": known.type, "writable": known.writable, **data}

    return asyncio.run(once())


# --- from the agent -----------------------------------------------------------------------------------


class FromAgent:
    """What the agent has; raises EdgeFlowError where it does not answer or does not have these."""

    def __init__(self, url: str, names: Sequence[str]) -> None:
        self._url = url
        table = api.get(url, "/api/v1/tags")
        self._wanted = chosen(table["names"], names)
        self._devices = sorted({tag.partition("/")[0] for tag in self._wanted})

    async def lines(self) -> list[Line]:
        return await asyncio.to_thread(self._lines)

    def _lines(self) -> list[Line]:
        found: dict[str, Line] = {}
        for device in self._devices:
            table = api.get(self._url, f"/api/v1/tags?device={quote(device)}")
            raw = api.get(self._url, f"/api/v1/raw/{quote(device)}")
            raws = dict(zip(raw["names"], raw["raw"], strict=True))
            keys = ("names", "values", "units", "qualities", "times", "reasons")
            for tag, value, unit, quality, time, reason in zip(*(table[key] for key in keys), strict=True):
                at_ns = utc_ns(time) if time else 0
                found[tag] = Line(tag, value, unit or "", raws.get(tag), quality, at_ns, reason)
        return [found[tag] for tag in self._wanted if tag in found]


def chosen(known: Sequence[str], names: Sequence[str]) -> list[str]:
    """The tags that are meant by names of devices and of tags, all where none is named; raises Rejected."""
    found: dict[str, None] = {}
    for name in names:
        fits = [tag for tag in known if tag == name or tag.startswith(f"{name}/")]
        if not fits:
            near = {*known, *(tag.partition("/")[0] for tag in known)}
            raise Rejected(f"there is no device and no tag {name!r}{suggestion(name, near)}")
        found |= dict.fromkeys(fits)
    return list(found) if names else list(known)


# --- from the devices themselves ----------------------------------------------------------------------


@asynccontextmanager
async def from_devices(source: Document, names: Sequence[str]) -> AsyncIterator[FromDevices]:
    """Opens the links of these devices; nothing is written, not even what is due after a connect."""
    section = source.data.get("devices") if isinstance(source.data, dict) else None
    there = list(section) if isinstance(section, dict) else []
    wanted = [name.partition("/")[0] for name in names] or there
    plant = part(source, devices=dict.fromkeys(wanted))
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )  # what fails is shown with the tags
    picture = FromDevices(_read_only(plant), names)
    async with picture.running():
        yield picture


def _read_only(plant: Plant) -> Plant:
    devices = {name: replace(device, on_connect=()) for name, device in plant.devices.items()}
    return Plant(plant.links, devices, plant.tags, plant.plans)


class FromDevices:
    """What the devices themselves say, through the same machinery as the agent's."""

    def __init__(self, plant: Plant, names: Sequence[str]) -> None:
        self._plant = plant
        self._wanted = chosen([tag for tag, plan in plant.plans.items() if plan.read], names)
        self._newest: dict[str, Line] = {}
        homes: dict[str, Home] = {}
        self._devices = Devices(plant, {}, self._take, SystemClock(), lambda name: homes.setdefault(name, Home()))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Reads while the block runs."""
        for device in self._plant.devices:
            self._devices.raw(device)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(self._devices.run())
            try:
                yield
            finally:
                running.cancel()

    def _take(self, block: Block) -> None:
        if block.late:
            return
        raw = self._devices.raw(block.device)
        for sample in block.samples():
            unit = self._plant.tags[sample.tag].unit or ""
            quality = sample.quality.name.lower()
            self._newest[sample.tag] = Line(
                sample.tag, sample.value, unit, raw.get(sample.tag), quality, sample.source_ns, sample.reason
            )

    async def lines(self) -> list[Line]:
        reasons = {status.name: status.reason for status in self._devices.status().devices}
        for device in self._plant.devices:
            self._devices.raw(device)
        return [self._newest.get(tag) or self._unread(tag, reasons) for tag in self._wanted]

    def _unread(self, tag: str, reasons: Mapping[str, str]) -> Line:
        device = tag.partition("/")[0]
        return Line(tag, None, self._plant.tags[tag].unit or "", None, "bad", 0, reasons[device] or "not read yet")


# --- showing ------------------------------------------------------------------------------------------


async def _shown(picture: Picture, *, once: bool, as_json: bool) -> int:
    if once:
        return await _once(picture, as_json=as_json)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    live = not as_json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    show: Callable[[list[Line]], None] = Screen().show if live else Changes(as_json=as_json).show
    while not stop.is_set():
        show(await picture.lines())
        with suppress(TimeoutError):
            async with asyncio.timeout(EVERY_S):
                await stop.wait()
    return 0


async def _once(picture: Picture, *, as_json: bool) -> int:
    lines = await _settled(picture)
    if as_json:
        print(json.dumps([_data(line) for line in lines], ensure_ascii=False, indent=2))
    else:
        hidden = () if any(line.raw is not None for line in lines) else ("raw",)  # an agent keeps it while asked
        rows = [{name: cell for name, cell in _cells(line).items() if name not in hidden} for line in lines]
        table = Table()
        table.expect(rows)
        for row in rows:
            table.add(row)
    return EXIT_FAILURE if any(line.quality == "bad" for line in lines) else 0


async def _settled(picture: Picture) -> list[Line]:
    """The first picture in which every tag was read or is known to be BAD."""
    end_s = asyncio.get_running_loop().time() + FIRST_S
    while True:
        lines = await picture.lines()
        waits = any(not line.time_ns and (not line.reason or line.reason.startswith(_NOT_YET)) for line in lines)
        if not waits or asyncio.get_running_loop().time() >= end_s:
            return lines
        await asyncio.sleep(0.1)


def _cells(line: Line) -> dict[str, Scalar]:
    return {
        "tag": line.tag,
        "value": line.value,
        "unit": line.unit,
        "raw": line.raw,
        "quality": line.quality,
        "age": _age(line),
        "reason": line.reason,
    }


def _data(line: Line) -> dict[str, Any]:
    data: dict[str, Any] = plain(asdict(line))
    del data["time_ns"]
    return data | {"time": utc_text(line.time_ns) if line.time_ns else None}


def _age(line: Line) -> str:
    if not line.time_ns:
        return "never"
    tenths = max(0, _CLOCK.now_ns() - line.time_ns) * 10 // NS_PER_S
    return f"{tenths / 10:.1f} s" if tenths < 100 else duration_text(tenths // 10 * NS_PER_S)


class Changes:
    """For what is no terminal: one line for each value that has changed."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._before: dict[str, tuple[Any, ...]] = {}

    def show(self, lines: Iterable[Line]) -> None:
        """Prints what is new."""
        for line in lines:
            now = (line.value, line.raw, line.quality, line.reason)
            if self._before.get(line.tag) == now:
                continue
            self._before[line.tag] = now
            if self._json:
                print(json.dumps(_data(line), ensure_ascii=False), flush=True)
                continue
            time = utc_text(line.time_ns) if line.time_ns else "never read"
            unit = f" {line.unit}" if line.unit else ""
            raw = f" raw {shown(line.raw)}" if line.raw is not None else ""
            reason = f": {line.reason}" if line.reason else ""
            print(f"{time}  {line.tag} = {_value(line)}{unit}{raw} ({line.quality}{reason})", flush=True)


def _value(line: Line) -> str:
    return "no value" if line.value is None else shown(line.value)


class Screen:
    """A table that stays where it is on a terminal, however narrow."""

    def __init__(self) -> None:
        self._height = 0

    def show(self, lines: Sequence[Line]) -> None:
        """Draws it anew over the one before."""
        size = shutil.get_terminal_size()
        rows = drawn(lines, size.columns, size.lines - 1, colour="NO_COLOR" not in os.environ)
        up = f"\x1b[{self._height}A" if self._height else ""
        sys.stdout.write(f"{up}\r\x1b[J" + "\n".join(rows) + "\n")
        sys.stdout.flush()
        self._height = len(rows)


def drawn(lines: Sequence[Line], width: int, height: int, *, colour: bool) -> list[str]:
    """The lines of the table: none wider than the terminal, and no more than it has."""
    hidden = {name for name, least in _ROOM if width < least}
    columns = [name for name in ("tag", "value", "unit", "raw", "quality", "age", "reason") if name not in hidden]
    cells = [{name: shown(value) for name, value in _cells(line).items()} for line in lines]
    cells = [{**row, "value": row["value"] or "-"} for row in cells]
    widths = {name: max([len(name), *(len(row[name]) for row in cells)]) for name in columns}
    for name, most in (("raw", 20), ("value", 24), ("tag", max(12, width // 2))):
        if name in widths:
            widths[name] = min(widths[name], most)
    rows = [("", {name: name.upper() for name in columns})]
    rows += [(line.quality, row) for line, row in zip(lines, cells, strict=True)]
    if len(rows) > height:
        left = len(rows) - height + 1
        rows = [*rows[: height - 1], ("", {name: f"... and {left} more" if name == "tag" else "" for name in columns})]
    return [_drawn_row(quality, row, columns, widths, width, colour=colour) for quality, row in rows]


def _drawn_row(
    quality: str, row: Mapping[str, str], columns: Sequence[str], widths: Mapping[str, int], width: int, *, colour: bool
) -> str:
    texts = []
    for name in columns:
        text = row[name] if name == "reason" else row[name][: widths[name]]
        right = name in ("value", "raw", "age")
        texts.append(text.rjust(widths[name]) if right else text.ljust(widths[name]))
    line = "  ".join(texts).rstrip()[: width - 1]
    paint = _COLOURS.get(quality, "") if colour else ""
    return f"{paint}{line}\x1b[0m" if paint else line
