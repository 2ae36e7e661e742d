"""`edgeflow device check`: does the template fit the machine?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgeflow import driver as drivers
from edgeflow.cli.extra import device_settings, named_device, told_as_options, wrong
from edgeflow.cli.findings import Printer, run, run_lines
from edgeflow.cli.source import AgentLinks, DriverHome, read_source
from edgeflow.devices.check import WRONG, Options
from edgeflow.devices.check import check as tried
from edgeflow.devices.part import GIVEN, part
from edgeflow.devices.plan import Plant
from edgeflow.devices.template import FOLDER, Library
from edgeflow.document import explain
from edgeflow.driver import Finding, Row
from edgeflow.errors import EXIT_FAILURE

VERB = "device check"


class _Judging(Printer):
    """Notes whether a row says that something is to be put right."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(as_json=as_json, points=False)
        self.wrong = False

    def take(self, finding: Finding) -> None:
        if isinstance(finding, Row):
            self.wrong = self.wrong or finding.cells.get("result") in WRONG
        super().take(finding)


def check(
    template: str | None,
    words: Sequence[str],
    *,
    reads: int,
    every: str,
    config: Path | None,
    state: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Prints what fits and what does not; returns the exit code."""
    name, extra = (None, words) if not words or words[0].startswith("-") else (words[0], words[1:])
    if (name is None) == (template is None):
        wrong(VERB, "name a device of the configuration, or a template (--template) and where to try it")
    options = _options(reads, every)
    printer = _Judging(as_json=as_json)
    if template is not None:
        plant, base = _of_template(template, extra), Path()
        device = plant.devices[GIVEN]
    else:
        assert name is not None
        if extra:
            wrong(VERB, f"{extra[0]} goes with --template; {name} has its settings in the configuration")
        source = read_source(config)
        plant, base = part(source, devices=[name]), Path(source.file).parent
        device = plant.devices[name]
        agent = AgentLinks(source, url, state)
        if device.driver.exclusive(plant.links[device.link].config) and agent.has(device.link):
            printer.say(f"{device.link} is in use by the agent at {agent.url}, which is asked to try it.")
            code = run_lines(agent.stream("/api/v1/check", {"device": name, "reads": reads, "every": every}), printer)
            return code or (EXIT_FAILURE if printer.wrong else 0)
    link = plant.links[device.link]
    with DriverHome(state, device.driver.name, printer.say) as home, told_as_options(link.name):
        code = run(tried(link, device, Library([base / FOLDER]), home, options), printer)
    return code or (EXIT_FAILURE if printer.wrong else 0)


def _options(reads: int, every: str) -> Options:
    try:
        return Options.model_validate({"reads": reads, "every": every})
    except ValidationError as error:
        detail = error.errors()[0]
        wrong(VERB, f"--{detail['loc'][0]}: {explain(detail, Options)}")


def _of_template(template: str, extra: Sequence[str]) -> Plant:
    """The device that a template makes of the options."""
    driver = driver_with(template)
    link, device, parameters = device_settings(VERB, driver, extra)
    given: Mapping[str, Any] = {"template": template} | ({"with": parameters} if parameters else {})
    return named_device(VERB, driver, link, {**given, **device})


def driver_with(template: str, folder: Path = Path()) -> str:
    """The driver that a template is for; a usage error where there is none of this name."""
    library = Library([folder / FOLDER])
    message = ""
    for name in drivers.names():
        try:
            return library.find(name, template).template.driver
        except KeyError as error:
            message = message if "did you mean" in message else str(error.args[0])
        except ImportError:
            continue
    return wrong("template", message or f"there is no template {template!r}")
