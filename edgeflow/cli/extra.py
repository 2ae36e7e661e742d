"""Settings of a link, a device or a template that stand on the command line and in no configuration."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import Parameter
from typing import Any, NoReturn

import typer
from pydantic import BaseModel

from edgeflow import driver as drivers
from edgeflow.cli.options import as_options, option, options_of, settings, signed, words
from edgeflow.devices.config import LinkOptions
from edgeflow.devices.part import GIVEN, given, given_link
from edgeflow.devices.plan import LinkPlan, Plant
from edgeflow.document import scalar, suggestion
from edgeflow.driver import Driver
from edgeflow.errors import EXIT_USAGE, ConfigError, EdgeFlowError, LinkDown, Rejected


def wrong(verb: str, message: str) -> NoReturn:
    """Ends with what is wrong with what was typed."""
    print(f"usage: edgeflow {verb} --help says more\nedgeflow {verb}: {message}", file=sys.stderr)
    sys.exit(EXIT_USAGE)


def driver_of(name: str) -> Driver[Any, Any, Any]:
    """An installed driver; raises EdgeFlowError that says which there are, or what it lacks."""
    if name not in drivers.names():
        raise EdgeFlowError(f"no driver {name!r} is installed{suggestion(name, drivers.names())}")
    try:
        return drivers.find(name)
    except ImportError as error:
        raise EdgeFlowError(f"the driver {name} cannot be loaded: {error}; install what it needs") from None


def extra_settings(verb: str, driver: str, extra: Sequence[str]) -> dict[str, Any]:
    """The settings of a link from options; a usage error where one is unknown."""
    link, _, _ = _parsed(verb, driver_of(driver), extra, device=False)
    return link


def device_settings(
    verb: str, driver: str, extra: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The settings of a link, of a device, and the parameters of a template, from options."""
    return _parsed(verb, driver_of(driver), extra, device=True)


def _parsed(
    verb: str, driver: Driver[Any, Any, Any], extra: Sequence[str], *, device: bool
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    link_keys = {field.alias or name for name, field in driver.link.model_fields.items()}
    parameters = options_of(driver.link, "the link") + options_of(LinkOptions, "the link", without=("driver",))
    if device:
        parameters += options_of(driver.device, "the device", without=link_keys)
        parameters.append(option("with", list[str] | None, None, "A parameter of the template.", "the device"))
    given = _read(verb, parameters, extra)
    models: tuple[type[BaseModel], ...] = (driver.link, LinkOptions)
    link = {key: value for model in models for key, value in settings(model, given).items() if key != "driver"}
    own = (
        {key: value for key, value in settings(driver.device, given).items() if key not in link_keys} if device else {}
    )
    return link, own, pairs(verb, "--with", given.get("with_") or [])


def _read(verb: str, parameters: Sequence[Parameter], extra: Sequence[str]) -> dict[str, Any]:
    """What the options say; ends with a usage error where one is unknown."""
    found: dict[str, Any] = {}
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(add_help_option=False)(signed(found.update, parameters))
    try:
        app(list(extra), prog_name=f"edgeflow {verb}")
    except SystemExit as end:
        if end.code:
            raise
    return found


@contextmanager
def told_as_options(link: str) -> Iterator[None]:
    """What a driver says of keys in a configuration is said of options where the link stands in none."""
    try:
        yield
    except (LinkDown, Rejected) as error:
        if link != GIVEN:
            raise
        kind = LinkDown if isinstance(error, LinkDown) else Rejected
        raise kind(as_options(str(error))) from None


def pairs(verb: str, option: str, texts: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` of an option that may be repeated."""
    found: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            wrong(verb, f"{option}: {text!r} is not like NAME=VALUE")
        found[key.strip().replace("-", "_")] = scalar(value.strip())
    return found


def named_link(verb: str, driver: str, own: Mapping[str, Any]) -> LinkPlan:
    """A link of these settings; a usage error that names the options where they do not fit."""
    try:
        return given_link(driver, own)
    except ConfigError as error:
        _told(verb, error)


def named_device(verb: str, driver: str, link: Mapping[str, Any], device: Mapping[str, Any]) -> Plant:
    """A link and a device of these settings; a usage error that names the options where they do not fit."""
    try:
        return given(driver, link, device)
    except ConfigError as error:
        _told(verb, error)


def _told(verb: str, error: ConfigError) -> NoReturn:
    told = []
    for problem in error.problems:
        if problem.file:
            raise error
        key = ".".join(problem.path.split(".")[2:])
        option = f"--{key.replace('_', '-')}".replace("--with.", "--with ") if key else ""
        told.append(words(replace(problem, path=option)))
    wrong(verb, "; ".join(told))
