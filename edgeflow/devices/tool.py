"""What a person does with a link while a machine is connected: runs a tool of its driver, looks around behind it."""

from __future__ import annotations

import asyncio
import math
import re
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

from edgeflow.devices.connection import ended
from edgeflow.devices.plan import LinkPlan
from edgeflow.document import suggestion
from edgeflow.driver import Browses, Finding, Found, Home, Note, Progress, Row, Tool
from edgeflow.errors import Rejected
from edgeflow.model import Scalar
from edgeflow.units import NS_PER_S

MOST_FOUND = 5000
"""So much of a tree is shown; nobody reads more."""
TAG = "tag"
"""The cell of a row that says under which name its point is best written into a configuration."""
GRACE_S = 5.0
"""How long a tool that is told to end may take until it is interrupted."""

_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "°": " "})

Look = Callable[[str], AsyncIterator[Found]]
"""What there is below a path."""


@asynccontextmanager
async def opened(link: LinkPlan, home: Home) -> AsyncIterator[Any]:
    """Opens a link for as long as the block runs; raises LinkDown and Rejected."""
    deadline = asyncio.get_running_loop().time() + link.open_ns / NS_PER_S
    async with link.driver.open(link.config, deadline, home.at(link.name)) as session:
        yield session


def address_of(link: LinkPlan) -> str:
    """Where a link leads, from the words that connections have in common: `10.0.0.5:502`, `/dev/ttyUSB0`."""
    settings = link.config
    for key in ("where", "url"):
        if whole := getattr(settings, key, None):
            return str(whole)
    words = (getattr(settings, key, None) for key in ("host", "port"))
    return ":".join(str(word) for word in words if word is not None)


def tool_of(link: LinkPlan, name: str) -> Tool[Any, Any]:
    """A tool of the link's driver; raises Rejected with those that there are."""
    tools = {tool.name: tool for tool in link.driver.tools()}
    if name not in tools:
        raise Rejected(f"the driver {link.driver.name} has no tool {name!r}{suggestion(name, tools)}")
    return tools[name]


async def until(findings: AsyncIterator[Finding], stop: asyncio.Event) -> AsyncGenerator[Finding, None]:
    """The findings until there are no more or `stop` is set; then the tool ends, its sessions with it.

    It ends where it gives its next finding, so that no request is cut off, or after `GRACE_S`.
    """
    loop = asyncio.get_running_loop()
    waiting = loop.create_task(stop.wait())
    step = loop.create_task(_next(findings))
    try:
        while True:
            await asyncio.wait([step, waiting], return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                await asyncio.wait({step}, timeout=GRACE_S)
                if not step.done():
                    return
            finding = step.result()
            if finding is None:
                return
            yield finding
            if stop.is_set():
                return
            step = loop.create_task(_next(findings))
    finally:
        waiting.cancel()
        await ended({step}, GRACE_S)
        if isinstance(findings, AsyncGenerator):
            await findings.aclose()


async def _next(findings: AsyncIterator[Finding]) -> Finding | None:
    return await anext(findings, None)


# --- looking around -----------------------------------------------------------------------------------


def look_with(session: Any, timeout_s: float) -> Look:
    """Looks through a session of one's own, `timeout_s` for each level; raises Rejected where it cannot."""
    if not isinstance(session, Browses):
        raise Rejected("this driver cannot look around: write the addresses from the maker's list")

    def look(path: str) -> AsyncIterator[Found]:
        return session.browse(path, asyncio.get_running_loop().time() + timeout_s)

    return look


async def browse(look: Look, path: str = "", *, depth: int = 1) -> AsyncGenerator[Finding, None]:
    """What there is below a path, `depth` levels deep, as rows whose points are ready for a configuration."""
    names = Names()
    count = 0
    async with aclosing(_below(look, path, depth, (), {path})) as found_below:
        async for found, trail in found_below:
            count += 1
            if count > MOST_FOUND:
                yield Note(f"There is more than {MOST_FOUND}: look below one of these paths.")
                return
            if count % 100 == 0:
                yield Progress(count, 0, found.title)
            yield _row(found, names.name(found.title, trail) if found.point else "")
    yield Note(_summary(count, path))


async def _below(
    look: Look, path: str, depth: int, trail: tuple[str, ...], seen: set[str]
) -> AsyncGenerator[tuple[Found, tuple[str, ...]], None]:
    """Level by level, a thing before what is below it; `seen` because some servers lead back to where one was."""
    level: list[Found] = []
    async for found in look(path):
        if depth <= 1:
            yield found, trail
        else:
            level.append(found)
    for found in level:
        yield found, trail
        if found.has_children and not found.aside and found.path not in seen:
            seen.add(found.path)
            async with aclosing(_below(look, found.path, depth - 1, (*trail, found.title), seen)) as below:
                async for each in below:
                    yield each


def _row(found: Found, tag: str) -> Row:
    cells: dict[str, Scalar] = {
        TAG: tag,
        "title": found.title,
        "type": found.type or "",
        "value": found.value,
        "unit": found.unit or "",
        "more": "+" if found.has_children else "",
        "path": found.path,
    }
    point = None if found.point is None else dict(found.point) | ({"unit": found.unit} if found.unit else {})
    return Row(cells, point)


def _summary(count: int, path: str) -> str:
    if count == 0:
        return f"Nothing below {path}." if path else "Nothing found."
    return f"{count} found. Where `more` has a +, there is more below: give that path, or a greater depth."


class Names:
    """Names for tags from what a device or a list calls them, each different."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def name(self, title: str, trail: Iterable[str] = ()) -> str:
        """A good name: the title, with what it stands under before it where that is needed to tell two apart."""
        words = [tag_name(title)]
        for above in reversed(tuple(trail)):
            if words[0] not in self._taken:
                break
            words.insert(0, f"{tag_name(above)}-{words[0]}")
        name, number = words[0], 1
        while name in self._taken:
            number += 1
            name = f"{words[0]}-{number}"
        self._taken.add(name)
        return name


def tag_name(text: str) -> str:
    """A text as the name of a tag: `Motor 1.SpeedSetpoint` becomes `motor-1-speed-setpoint`."""
    plain_letters = unicodedata.normalize("NFKD", text.translate(_LETTERS)).encode("ascii", "ignore").decode()
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1-\2", plain_letters)
    return re.sub(r"[^a-z0-9_]+", "-", spaced.lower()).strip("-_") or "tag"


# --- for machines -------------------------------------------------------------------------------------


def data_of(finding: Finding) -> dict[str, Any]:
    """A finding as data that JSON can carry: what the API streams and the command line prints for machines."""
    if isinstance(finding, Progress):
        return {"kind": "progress", "done": finding.done, "total": finding.total, "about": finding.about}
    if isinstance(finding, Note):
        return {"kind": "note", "text": finding.text}
    point = None if finding.point is None else plain(finding.point)
    return {"kind": "row", "cells": plain(finding.cells), "point": point}


def finding_of(data: Mapping[str, Any]) -> Finding:
    """The finding that `data_of` made this of; raises KeyError where it is none."""
    if data["kind"] == "progress":
        return Progress(data["done"], data["total"], data["about"])
    return Note(data["text"]) if data["kind"] == "note" else Row(data["cells"], data["point"])


def plain(value: Any) -> Any:
    """A value without what JSON has no form for: bytes become hexadecimal, NaN and the infinite text."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value.hex() if isinstance(value, bytes) else value
