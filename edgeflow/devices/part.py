"""Parts of a configuration, and links that stand in none: what a command or a page works on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from edgeflow.devices.config import read_links_and_devices
from edgeflow.devices.plan import LinkPlan, Plant
from edgeflow.document import Document, suggestion
from edgeflow.errors import Rejected

GIVEN = "given"
"""The name of a link, and of a device behind it, that stand in no configuration."""


def part(source: Document, *, links: Iterable[str] = (), devices: Iterable[str] = ()) -> Plant:
    """Some links and devices of a configuration, whatever is wrong with the rest of it.

    Raises Rejected where one is not there, and ConfigError with what is wrong with those.
    """
    there_links, there_devices = _section(source, "links"), _section(source, "devices")
    some_devices = {name: _named(source, there_devices, "device", name) for name in devices}
    behind = {str(device.get("link")) for device in some_devices.values() if isinstance(device, dict)}
    some_links = {name: _named(source, there_links, "link", name) for name in links}
    some_links |= {name: there_links[name] for name in sorted(behind) if name in there_links}
    return read_links_and_devices(replace(source, data={"links": some_links, "devices": some_devices}))


def _section(source: Document, key: str) -> Mapping[str, Any]:
    found = source.data.get(key) if isinstance(source.data, dict) else None
    return found if isinstance(found, dict) else {}


def _named(source: Document, there: Mapping[str, Any], what: str, name: str) -> Any:
    if name not in there:
        raise Rejected(f"{source.file} has no {what} {name!r}{suggestion(name, there)}")
    return there[name]


def given_link(driver: str, settings: Mapping[str, Any]) -> LinkPlan:
    """A link that stands in no configuration; raises ConfigError."""
    return given(driver, settings, None).links[GIVEN]


def given(driver: str, link: Mapping[str, Any], device: Mapping[str, Any] | None) -> Plant:
    """A link, and a device behind it where one is given, that stand in no configuration; raises ConfigError."""
    data: dict[str, Any] = {"links": {GIVEN: {**link, "driver": driver}}}
    if device is not None:
        data["devices"] = {GIVEN: {**device, "link": GIVEN}}
    return read_links_and_devices(Document("", data, {}))
