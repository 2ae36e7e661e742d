"""`edgeflow browse`: what there is behind a link."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from edgeflow.cli.extra import extra_settings, named_link, told_as_options, wrong
from edgeflow.cli.findings import Printer, run, run_lines
from edgeflow.cli.source import DEFAULT_CONFIG, AgentLinks, DriverHome, all_links, read_source
from edgeflow.devices.part import part
from edgeflow.devices.plan import LinkPlan
from edgeflow.devices.tool import browse, look_with, opened
from edgeflow.driver import Finding, Home, names
from edgeflow.units import quantity

VERB = "browse"
_ADDRESSES = "opc.tcp://host:4840 or mqtt://host:1883 (for Modbus there is `edgeflow modbus scan`)"


@dataclass(frozen=True, slots=True)
class Given:
    """What was typed beside the address."""

    depth: int
    timeout: str
    write: bool
    config: Path | None
    state: str | None
    url: str | None
    as_json: bool


def look(where: str, words: Sequence[str], given: Given) -> int:
    """Prints what there is; returns the exit code."""
    try:
        timeout_s = quantity(given.timeout, "time")
    except ValueError as error:
        wrong(VERB, f"--timeout: {error}")
    if where.startswith("-"):
        wrong(VERB, f"write the link or the address before {where}")
    path, extra = ("", words) if not words or words[0].startswith("-") else (words[0], words[1:])
    printer = Printer(as_json=given.as_json, points=given.write)
    if "://" in where:
        link = _of_url(where, extra)
    elif _is_driver(where, given.config):
        link = named_link(VERB, where, extra_settings(VERB, where, extra))
    else:
        if given.config is None and not DEFAULT_CONFIG.exists():
            wrong(VERB, f"{where!r} is no address: write {_ADDRESSES}; a link of a configuration needs --config FILE")
        source = read_source(given.config)
        link = part(source, links=[where]).links[where]
        if extra:
            wrong(VERB, f"{extra[0]} goes with an address; the link {where} has its settings in {source.file}")
        agent = AgentLinks(source, given.url, given.state)
        if link.driver.exclusive(link.config) and agent.has(where):
            printer.say(f"{where} is in use by the agent at {agent.url}, which is asked to look.")
            body = {"link": where, "path": path, "depth": given.depth, "timeout": given.timeout}
            return run_lines(agent.stream("/api/v1/browse", body), printer)
    with DriverHome(given.state, link.driver.name, printer.say) as home, told_as_options(link.name):
        return run(_looked(link, home, path, given.depth, timeout_s), printer)


async def _looked(link: LinkPlan, home: Home, path: str, depth: int, timeout_s: float) -> AsyncGenerator[Finding, None]:
    async with (
        opened(link, home) as session,
        aclosing(browse(look_with(session, timeout_s), path, depth=depth)) as found,
    ):
        async for finding in found:
            yield finding


def _is_driver(word: str, config: Path | None) -> bool:
    """Whether it is a driver (as `gpio`, which needs no address) and not a link of that name."""
    if word not in names():
        return False
    return not (config or DEFAULT_CONFIG.exists()) or word not in all_links(read_source(config))


def _of_url(url: str, extra: Sequence[str]) -> LinkPlan:
    """A link from an address as people write it."""
    parts = urlsplit(url)
    own: dict[str, Any]
    if parts.scheme == "opc.tcp":
        name, own = "opcua", {"url": url}
    elif parts.scheme in ("mqtt", "mqtts"):
        name, own = "mqtt", {"host": parts.hostname}
        try:
            own |= {"port": parts.port} if parts.port else {}
        except ValueError as error:
            wrong(VERB, f"{url}: {error}")
        own |= {"user": unquote(parts.username)} if parts.username else {}
        own |= {"tls": {}} if parts.scheme == "mqtts" else {}
    else:
        wrong(VERB, f"{url!r} is no address to look at: write {_ADDRESSES}")
    return named_link(VERB, name, own | extra_settings(VERB, name, extra))
