"""`edgeflow modbus scan` and the like: the tools of the drivers, with options made from the driver's models."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from inspect import Parameter
from pathlib import Path
from typing import Any, NoReturn

import typer

from edgeflow import driver as drivers
from edgeflow.cli.extra import told_as_options, wrong
from edgeflow.cli.findings import Printer, run, run_lines
from edgeflow.cli.options import Grouped, chosen, option, options_of, settings, signed, words
from edgeflow.cli.source import DEFAULT_CONFIG, AgentLinks, DriverHome, links_of, read_source
from edgeflow.devices.config import LinkOptions
from edgeflow.devices.part import given_link, part
from edgeflow.devices.plan import LinkPlan
from edgeflow.devices.tool import tool_of
from edgeflow.document import Document
from edgeflow.driver import Driver, Tool
from edgeflow.errors import ConfigError, EdgeFlowError

AnyTool = Tool[Any, Any]


def tools_of(name: str) -> Driver[Any, Any, Any]:
    """The driver behind a verb; raises EdgeFlowError where it cannot be loaded."""
    try:
        return drivers.find(name)
    except ImportError as error:
        raise EdgeFlowError(f"the driver {name} cannot be loaded: {error}; install what it needs") from None


def commands_of(name: str) -> typer.Typer:
    """`edgeflow DRIVER` with a verb for each of its tools."""
    driver = tools_of(name)
    app = typer.Typer(
        help=driver.about, no_args_is_help=bool(driver.tools()), add_completion=False, rich_markup_mode=None
    )

    @app.callback(invoke_without_command=not driver.tools())
    def tools() -> None:  # so that the name of a tool is typed even where there is only one
        if not driver.tools():
            raise EdgeFlowError(f"the driver {name} has no tools; `edgeflow driver show {name}` says what it knows")

    for tool in driver.tools():
        epilog = _LINK_HELP.format(driver=driver.name, tool=tool.name)
        verb = app.command(tool.name, cls=Grouped, help=_as_written(tool.about), epilog=epilog)
        verb(signed(partial(_run, driver, tool), parameters_of(driver, tool)))
    return app


def _as_written(text: str) -> str:
    """Keeps the lines of what is indented, as examples are."""
    return text.strip().replace("\n\n  ", "\n\n\b\n  ")


def parameters_of(driver: Driver[Any, Any, Any], tool: AnyTool) -> list[Parameter]:
    """The options of one tool: its own, those of the link, and those that every such command has."""
    link = option("link", str | None, None, "A link of the configuration, instead of these options.", _LINK, "NAME")
    return [
        *options_of(tool.options, "what to do", positional=True),
        link,
        *options_of(driver.link, _LINK),
        *options_of(LinkOptions, _LINK, without=("driver",)),
        *_COMMON,
    ]


_LINK, _BESIDE = "the link", "beside"
_LINK_HELP = """\
Name a link of the configuration (--link NAME --config FILE), or say with options where it is. Both together:
the options take the place of what the configuration says.
"""
_COMMON = (
    option("config", Path | None, None, "The configuration; default /etc/edgeflow/gateway.yaml.", _BESIDE, "FILE"),
    option(
        "state", str | None, None, "Folder for state; default $EDGEFLOW_STATE or /var/lib/edgeflow.", _BESIDE, "FOLDER"
    ),
    option("agent", str | None, None, "The agent's address; default as in the configuration.", _BESIDE, "URL"),
    option(
        "take",
        bool,
        False,
        "Where only one can open the link and the agent has it: take it from the agent for so long.",
        _BESIDE,
    ),
    option("json", bool, False, "Print one JSON object a line, for machines.", _BESIDE),
)


def _run(driver: Driver[Any, Any, Any], tool: AnyTool, given: Mapping[str, Any]) -> NoReturn:
    verb = f"{driver.name} {tool.name}"
    try:
        options = chosen(tool.options, given)
        link, source = _link(driver, given)
    except _WrongOptions as error:
        wrong(verb, str(error))
    except ConfigError as error:
        if any(problem.file for problem in error.problems):
            raise
        wrong(verb, "; ".join(map(words, error.problems)))
    printer = Printer(as_json=given["json"])
    code = _through_agent(link, tool, options, given, source, printer)
    sys.exit(_here(link, tool, options, given, printer) if code is None else code)


class _WrongOptions(EdgeFlowError):
    """Options that do not go together."""


def _link(driver: Driver[Any, Any, Any], given: Mapping[str, Any]) -> tuple[LinkPlan, Document | None]:
    """The link that is meant, and the configuration it stands in."""
    own = settings(driver.link, given) | settings(LinkOptions, {**given, "driver": None})
    name = given["link"]
    if name is None:
        if own or _is_complete(driver.name):
            return _named(driver.name, own), None
        name = _only(driver.name, given["config"])
    source = read_source(given["config"])
    plan = part(source, links=[name]).links[name]
    if plan.driver.name != driver.name:
        raise _WrongOptions(f"the link {plan.name} speaks {plan.driver.name}: use `edgeflow {plan.driver.name}`")
    if own:
        data = {key: value for key, value in source.data["links"][plan.name].items() if key != "driver"}
        return _named(driver.name, {**data, **own}), None
    return plan, source


def _is_complete(driver: str) -> bool:
    """Whether a link of this driver needs no setting at all."""
    try:
        given_link(driver, {})
    except ConfigError:
        return False
    return True


def _only(driver: str, config: Path | None) -> str:
    """The one link of this driver in the configuration, where there is just one."""
    wanted = "say which link: --link NAME, or with options where it is (--help lists them)"
    if config is None and not DEFAULT_CONFIG.exists():
        raise _WrongOptions(wanted)
    names = links_of(read_source(config), driver)
    if len(names) != 1:
        raise _WrongOptions(f"{wanted}; the configuration has {', '.join(names) or f'no link for {driver}'}")
    print(f"link {names[0]} of the configuration", file=sys.stderr)
    return names[0]


def _named(driver: str, own: Mapping[str, Any]) -> LinkPlan:
    try:
        return given_link(driver, own)
    except ConfigError as error:
        raise ConfigError(replace(problem, file="", path=_option(problem.path)) for problem in error.problems) from None


def _option(path: str) -> str:
    """`--host` for `links.given.host`."""
    key = ".".join(path.split(".")[2:])
    return f"--{key.replace('_', '-')}" if key else ""


def _here(link: LinkPlan, tool: AnyTool, options: Any, given: Mapping[str, Any], printer: Printer) -> int:
    say = _must_keep if tool.keeps else printer.say
    with DriverHome(given["state"], link.driver.name, say) as home, told_as_options(link.name):
        return run(tool_of(link, tool.name).run(link.config, home, options), printer)


def _must_keep(trouble: str) -> NoReturn:
    raise EdgeFlowError(trouble)


def _through_agent(
    link: LinkPlan, tool: AnyTool, options: Any, given: Mapping[str, Any], source: Document | None, printer: Printer
) -> int | None:
    """Lets the agent do it where it has a link that nobody else can open; None where it does not."""
    if source is None or not link.driver.exclusive(link.config):
        return None
    agent = AgentLinks(source, given["agent"], given["state"])
    if not agent.has(link.name):
        return None
    printer.say(f"{link.name} is in use by the agent at {agent.url}, which is asked to do it.")
    body = {
        "link": link.name,
        "options": options.model_dump(mode="json", by_alias=True, exclude_unset=True),
        "take": given["take"],
    }
    lines: Iterator[Mapping[str, Any]] = agent.stream(f"/api/v1/drivers/{link.driver.name}/tools/{tool.name}", body)
    try:
        return run_lines(lines, printer)
    except EdgeFlowError as error:
        raise EdgeFlowError(str(error).replace("`take`", "`--take`")) from None
