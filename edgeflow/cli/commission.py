"""The verbs with which a machine is connected: look, watch, check, templates, drivers, lists of tags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

device = typer.Typer(help="Devices: does the template fit the machine?", no_args_is_help=True)
template = typer.Typer(help="Templates: kinds of devices as data.", no_args_is_help=True)
driver = typer.Typer(help="Drivers: the protocols, and what can be written for each.", no_args_is_help=True)
tags = typer.Typer(help="Lists of tags from other products, in and out.", no_args_is_help=True)

Config = Annotated[Path | None, typer.Option("--config", help="The configuration; default /etc/edgeflow/gateway.yaml.")]
State = Annotated[
    str | None, typer.Option("--state", help="Folder for state; default $EDGEFLOW_STATE or /var/lib/edgeflow.")
]
Agent = Annotated[str | None, typer.Option("--agent", help="The agent's address; default as in the configuration.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
DeviceKeys = Annotated[
    list[str] | None,
    typer.Option("--device", metavar="KEY=VALUE", help="A key of the device, for example unit=7; may be repeated."),
]


def add_to(app: typer.Typer) -> None:
    """Adds the verbs."""
    for name, group in (("device", device), ("template", template), ("driver", driver), ("tags", tags)):
        app.add_typer(group, name=name)
    app.command(context_settings={"ignore_unknown_options": True})(browse)
    app.command()(watch)


def browse(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="LINK|URL [PATH]",
            help="A link of the configuration, opc.tcp://..., mqtt://..., or gpio; then below what; default: the root.",
        ),
    ],
    depth: Annotated[int, typer.Option(min=1, max=20, help="How many levels.")] = 1,
    timeout: Annotated[str, typer.Option(help="How long one level may take; MQTT listens for so long.")] = "5 s",
    write: Annotated[bool, typer.Option("--write", help="Print the points at the end, as YAML to paste.")] = False,
    config: Config = None,
    state: State = None,
    url: Agent = None,
    as_json: Json = False,
) -> None:
    """Show what a server has to offer: the tree of OPC UA, the topics of MQTT, with types and values.

    For example `edgeflow browse opc.tcp://10.0.0.9:4840 --depth 3 --write`. What the link needs beside its address
    goes behind it as options, for example `--user maintenance`; `edgeflow driver show opcua` lists them.
    """
    from edgeflow.cli.look import Given, look

    given = Given(depth=depth, timeout=timeout, write=write, config=config, state=state, url=url, as_json=as_json)
    raise typer.Exit(look(words[0], words[1:], given))


def watch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[DEVICE|TAG]...", help="Devices and tags; default: all.")
    ] = None,
    config: Config = None,
    url: Agent = None,
    once: Annotated[bool, typer.Option("--once", help="Print one picture and end.")] = False,
    as_json: Json = False,
) -> None:
    """Watch values as they change: scaled and raw, quality, age. Ctrl-C ends it.

    For example `edgeflow watch press1` or `edgeflow watch meter1/power --config gateway.yaml`. The agent is asked
    where it runs; with --config and no agent the links are opened here. Nothing is written to any device.
    """
    from edgeflow.cli.watch import watch as run

    raise typer.Exit(run(names or [], config, url, once=once, as_json=as_json))


@device.command("check", context_settings={"ignore_unknown_options": True})
def device_check(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[DEVICE]", help="A device of the configuration.")
    ] = None,
    like: Annotated[
        str | None, typer.Option("--template", help="A template to try instead, for example eastron/sdm630.")
    ] = None,
    reads: Annotated[int, typer.Option(min=1, max=100, help="How many times every tag is read.")] = 5,
    every: Annotated[str, typer.Option(help="How long to wait from one reading to the next.")] = "1 s",
    config: Config = None,
    state: State = None,
    url: Agent = None,
    as_json: Json = False,
) -> None:
    """Try a device: is it what its template says, and are its values what physics allows? Exit 1 where not.

    For example `edgeflow device check meter1 --config gateway.yaml`, or before it stands in any configuration:
    `edgeflow device check --template eastron/sdm630 --host 10.0.0.6 --unit 7`. The options of link and device go
    behind; `edgeflow driver show modbus` lists them. `--with NAME=VALUE` gives a parameter of the template.
    """
    from edgeflow.cli.check import check

    raise typer.Exit(
        check(like, words or [], reads=reads, every=every, config=config, state=state, url=url, as_json=as_json)
    )


@template.command("list")
def template_list(
    of: Annotated[str | None, typer.Option("--driver", help="Only those of one driver.")] = None,
    folder: Annotated[
        Path, typer.Option(help="Folder of the configuration, with the site's own in `templates`.")
    ] = Path(),
    as_json: Json = False,
) -> None:
    """List the kinds of devices that are known."""
    from edgeflow.cli.catalogue import list_templates

    list_templates(of, folder, as_json=as_json)


@template.command("show")
def template_show(
    name: Annotated[str, typer.Argument(help="For example eastron/sdm630.")],
    folder: Annotated[
        Path, typer.Option(help="Folder of the configuration, with the site's own in `templates`.")
    ] = Path(),
    as_json: Json = False,
) -> None:
    """Show a template: what it is for, its parameters and tags, where it is known from."""
    from edgeflow.cli.catalogue import show_template

    show_template(name, folder, as_json=as_json)


@template.command("new")
def template_new(
    name: Annotated[str, typer.Argument(help="maker/model, for example acme/press-200.")],
    of: Annotated[str, typer.Option("--driver", help="The protocol.")] = "modbus",
    given: Annotated[Path | None, typer.Option("--from", help="A list of tags (CSV) to begin with.")] = None,
    settings: DeviceKeys = None,
    folder: Annotated[
        Path, typer.Option(help="Folder of the configuration; the file goes below `templates`.")
    ] = Path(),
) -> None:
    """Make a template to fill in, with a comment at everything; from a register list (CSV) where there is one."""
    from edgeflow.cli.skeleton import new_template

    new_template(name, of, given, settings or [], folder)


@driver.command("list")
def driver_list(as_json: Json = False) -> None:
    """List the installed drivers."""
    from edgeflow.cli.catalogue import list_drivers

    list_drivers(as_json=as_json)


@driver.command("show")
def driver_show(
    name: Annotated[str, typer.Argument(help="For example modbus.")],
    as_json: Json = False,
) -> None:
    """Show everything that can be written for a driver: links, devices, tags, and its tools."""
    from edgeflow.cli.catalogue import show_driver

    show_driver(name, as_json=as_json)


@tags.command("import")
def tags_import(
    file: Annotated[Path, typer.Argument(help="The list (CSV).")],
    of: Annotated[str, typer.Option("--driver", help="The protocol.")] = "modbus",
    link: Annotated[str, typer.Option(help="The link's name in the configuration.")] = "plc",
    name: Annotated[str, typer.Option("--name", help="The device's name, where the list names none.")] = "device",
    settings: DeviceKeys = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to; default: printed.")] = None,
) -> None:
    """Make the `devices:` of a configuration from a list of tags, and say what could not be taken over.

    Understands the columns of EMQX Neuron and of Kepware, and plain register lists with the columns name, register
    (or input, coil, discrete), type, unit, scale. For example
    `edgeflow tags import registers.csv --device unit=7 --device first_address=1 -o meter.yaml`.
    """
    from edgeflow.cli.lists import import_tags

    raise typer.Exit(import_tags(file, of, link, name, settings or [], output))


@tags.command("export")
def tags_export(
    names: Annotated[list[str] | None, typer.Argument(metavar="[DEVICE]...", help="Devices; default: all.")] = None,
    form: Annotated[str, typer.Option("--form", help="neuron, kepware or plain.")] = "plain",
    config: Config = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to; default: printed.")] = None,
) -> None:
    """Write the tags of devices as a list (CSV), for EMQX Neuron, Kepware or a spreadsheet.

    For example `edgeflow tags export press1 --form kepware --config gateway.yaml -o press1.csv`. What the form has
    no column for is told.
    """
    from edgeflow.cli.lists import export_tags

    raise typer.Exit(export_tags(names or [], form, config, output))
