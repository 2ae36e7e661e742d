"""`edgeflow modbus scan` and the like: the tools of the drivers, with options made from the driver's models."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from edgeflow import driver as drivers
from edgeflow.cli.extra import told_as_options
from edgeflow.cli.findings import Printer, run, run_lines
from edgeflow.cli.options import add_options, chosen, fields_of, settings, words
from edgeflow.cli.source import DEFAULT_CONFIG, AgentLinks, DriverHome, links_of, read_source
from edgeflow.devices.config import LinkOptions
from edgeflow.devices.part import given_link, part
from edgeflow.devices.plan import LinkPlan
from edgeflow.devices.tool import tool_of
from edgeflow.document import Document
from edgeflow.driver import Driver, Tool
from edgeflow.errors import EXIT_USAGE, ConfigError, EdgeFlowError

AnyTool = Tool[Any, Any]
_WIDTH = 88


class _Help(argparse.RawDescriptionHelpFormatter):
    """Paragraphs as they are written, options with room beside them."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=_WIDTH)


def tools_of(name: str) -> Driver[Any, Any, Any]:
    """The driver behind a verb; raises EdgeFlowError where it cannot be loaded."""
    try:
        return drivers.find(name)
    except ImportError as error:
        raise EdgeFlowError(f"the driver {name} cannot be loaded: {error}; install what it needs") from None


def parser_of(driver: Driver[Any, Any, Any]) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of `edgeflow DRIVER`, and that of each tool by its name."""
    prog = f"edgeflow {driver.name}"
    parser = argparse.ArgumentParser(prog=prog, description=_paragraphs(driver.about), formatter_class=_Help)
    found: dict[str, argparse.ArgumentParser] = {}
    verbs = parser.add_subparsers(dest="tool", metavar="TOOL", title="tools", required=True)
    for tool in driver.tools():
        about = tool.about.strip()
        verb = verbs.add_parser(
            tool.name,
            usage=f"%(prog)s {_places(tool)}[options]",
            help=" ".join(about.partition("\n\n")[0].split()).replace("%", "%%"),
            description=_paragraphs(about),
            epilog=_paragraphs(_LINK_HELP.format(driver=driver.name, tool=tool.name)),
            formatter_class=_Help,
            allow_abbrev=False,
        )
        add_options(
            verb.add_argument_group("what to do") if tool.options.model_fields else verb, tool.options, positional=True
        )
        link = verb.add_argument_group("the link")
        link.add_argument("--link", metavar="NAME", help="A link of the configuration, instead of the options below.")
        add_options(link, driver.link)
        add_options(link, LinkOptions, without=("driver",))
        add_common(verb)
        found[tool.name] = verb
    return parser, found


def _places(tool: AnyTool) -> str:
    return "".join(f"{field.key.upper()} " for field in fields_of(tool.options) if field.required)


_LINK_HELP = """\
Name a link of the configuration (--link NAME --config FILE), or say with options where it is. Both together:
the options take the place of what the configuration says.
"""


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options that every such command has."""
    group = parser.add_argument_group("beside")
    group.add_argument(
        "--config", type=Path, metavar="FILE", help="The configuration; default /etc/edgeflow/gateway.yaml."
    )
    group.add_argument(
        "--state", metavar="FOLDER", help="Folder for state; default $EDGEFLOW_STATE or /var/lib/edgeflow."
    )
    group.add_argument("--agent", metavar="URL", help="The agent's address; default as in the configuration.")
    group.add_argument(
        "--take",
        action="store_true",
        help="Where only one can open the link and the agent has it: take it from the agent for so long.",
    )
    group.add_argument("--json", action="store_true", help="Print one JSON object a line, for machines.")


def _paragraphs(text: str) -> str:
    """Fills paragraphs; what is indented stays as it is."""
    return "\n\n".join(
        part if part.startswith("  ") else textwrap.fill(" ".join(part.split()), _WIDTH)
        for part in text.strip("\n").split("\n\n")
    )


def main(name: str, arguments: Sequence[str]) -> NoReturn:
    """Runs a tool of a driver and exits."""
    driver = tools_of(name)
    if not driver.tools():
        raise EdgeFlowError(f"the driver {name} has no tools; `edgeflow driver show {name}` says what it knows")
    parser, verbs = parser_of(driver)
    if not arguments:
        parser.print_help()
        sys.exit(EXIT_USAGE)
    given = vars(parser.parse_args(arguments))
    tool = next(tool for tool in driver.tools() if tool.name == given["tool"])
    try:
        options = chosen(tool.options, given)
        link, source = _link(driver, given)
    except _WrongOptions as error:
        verbs[tool.name].error(str(error))
    except ConfigError as error:
        if any(problem.file for problem in error.problems):
            raise
        verbs[tool.name].error("; ".join(map(words, error.problems)))
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
