"""`edgeflow driver` and `edgeflow template`: what there is, as a reference made from the models and the files."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from edgeflow import driver as drivers
from edgeflow.cli.check import driver_with
from edgeflow.cli.extra import driver_of
from edgeflow.cli.findings import Table
from edgeflow.cli.options import Field, fields_of
from edgeflow.devices.config import DeviceOptions, LinkOptions, TagOptions
from edgeflow.devices.paste import one_line
from edgeflow.devices.template import FOLDER, Library
from edgeflow.driver import Driver
from edgeflow.errors import ConfigError


def list_drivers(*, as_json: bool) -> None:
    """The installed drivers; one that cannot be loaded says why."""
    rows = []
    for entry in sorted(entry_points(group=drivers.GROUP), key=lambda entry: entry.name):
        try:
            about = drivers.find(entry.name).about
        except ImportError as error:
            about = f"cannot be loaded: {error}"
        rows.append({"driver": entry.name, "about": about})
    _print_rows(rows, as_json=as_json)


def show_driver(name: str, *, as_json: bool) -> None:
    """Everything that can be written for a driver."""
    driver = driver_of(name)
    if as_json:
        print(json.dumps(_schemas(driver), ensure_ascii=False, indent=2))
        return
    print(f"{driver.name}: {driver.about}\n")
    _section("A link, under `links`", (driver.link, LinkOptions))
    _section("A device, under `devices`", (driver.device, DeviceOptions))
    _section("A tag, under `tags` of its device", (driver.point, TagOptions))
    if driver.tools():
        print("Tools")
        for tool in driver.tools():
            print(f"  edgeflow {driver.name} {tool.name}")
            about = tool.about.strip().partition("\n\n")[0]
            print(textwrap.fill(" ".join(about.split()), _width(), initial_indent="      ", subsequent_indent="      "))


def _schemas(driver: Driver[Any, Any, Any]) -> dict[str, Any]:
    return {
        "name": driver.name,
        "about": driver.about,
        "link": driver.link.model_json_schema(),
        "device": driver.device.model_json_schema(),
        "point": driver.point.model_json_schema(),
        "tools": [
            {"name": tool.name, "about": tool.about, "options": tool.options.model_json_schema()}
            for tool in driver.tools()
        ],
    }


def _section(title: str, models: Iterable[type[BaseModel]]) -> None:
    print(title)
    for model in models:
        for field in fields_of(model):
            _field(field)
    print()


def _field(field: Field) -> None:
    more = "required" if field.required else f"default {field.default}" if field.default else "optional"
    print(f"  {field.key}: {field.kind}   [{more}]")
    print(textwrap.fill(field.about, _width(), initial_indent="      ", subsequent_indent="      "))


def _width() -> int:
    return max(40, min(100, shutil.get_terminal_size().columns - 1))


# --- templates ----------------------------------------------------------------------------------------


def list_templates(of: str | None, folder: Path, *, as_json: bool) -> None:
    """The templates of the site and those that are shipped; one whose file is wrong says so."""
    library, rows = Library([folder / FOLDER]), []
    for driver in [driver_of(of).name] if of else drivers.names():
        for name, title, problem in _titles(library, driver):
            rows.append({"template": name, "driver": driver, "title": problem or title})
    _print_rows(rows, as_json=as_json)
    if not rows and not as_json:
        print("No templates; `edgeflow template new maker/model` makes one.")


def _titles(library: Library, driver: str) -> Iterable[tuple[str, str, str]]:
    try:
        names = library.names(driver)
    except ImportError:
        return
    for name in names:
        try:
            yield name, library.find(driver, name).template.title, ""
        except KeyError:
            continue  # of the site, for another driver
        except ConfigError as error:
            yield name, "", f"cannot be used: {error.problems[0]}"


def show_template(name: str, folder: Path, *, as_json: bool) -> None:
    """A template in words."""
    driver = driver_with(name, folder)
    sheet = Library([folder / FOLDER]).find(driver, name)
    template = sheet.template
    if as_json:
        print(json.dumps(sheet.document.data, ensure_ascii=False, indent=2))
        return
    print(f"{template.template}: {template.title}")
    print(f"driver {template.driver}; from {template.source}")
    _list("Fits", template.fits)
    _list("First", template.first)
    if template.parameters:
        print("\nParameters, under `with`")
        for key, parameter in template.parameters.items():
            default = "required" if parameter.default is None else f"default {parameter.default}"
            unit = f" in {parameter.unit}" if parameter.unit else ""
            print(f"  {key}: {parameter.type}{unit}   [{default}]\n      {parameter.description}")
    print("\nTags")
    width = max(map(len, template.tags))
    for key, tag in template.tags.items():
        about = f"   {tag['about']}" if tag.get("about") else ""
        rest = {each: value for each, value in tag.items() if each != "about"}
        print(f"  {key:<{width}}  {one_line(rest)}{about}")
    _list("Where public maps disagree", (f"{each.about} Here: {each.here}" for each in template.contradictions))
    _list("Notes", template.notes)
    print(f"\nTry it: edgeflow device check --template {name} (and where the device is)")


def _list(title: str, lines: Iterable[str]) -> None:
    some = list(lines)
    if some:
        print(f"\n{title}")
    for line in some:
        print(textwrap.fill(line, _width(), initial_indent="  - ", subsequent_indent="    "))


def _print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    table = Table()
    table.expect(rows)
    for row in rows:
        table.add(row)
