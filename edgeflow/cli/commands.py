"""The verbs of the command line."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import structlog
import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from edgeflow import __version__
from edgeflow import driver as drivers
from edgeflow.cli import api, commission
from edgeflow.cli.process import Loop, beating, serve, set_up_logs, state_dir
from edgeflow.document import scalar
from edgeflow.errors import EXIT_FAILURE, ConfigError, Problem

app = typer.Typer(
    name="edgeflow",
    help="Edge gateway agent for industrial devices: OEE, Andon and energy on the spot, with or without the network.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
sim = typer.Typer(help="Simulated machines to try things with.", no_args_is_help=True)
flow = typer.Typer(help="Flows on the gateways of a central server.", no_args_is_help=True)
central = typer.Typer(help="The central server: run it, or make a token for a gateway.", no_args_is_help=True)
app.add_typer(sim, name="sim")
app.add_typer(flow, name="flow")
app.add_typer(central, name="central")

DEFAULT_CONFIG = Path("/etc/edgeflow/gateway.yaml")
ConfigPath = Annotated[Path, typer.Argument(help="The gateway's configuration file.")]
StateOption = Annotated[
    str | None, typer.Option("--state", help="Folder for state; default $EDGEFLOW_STATE or /var/lib/edgeflow.")
]
Url = Annotated[
    str | None, typer.Option("--agent", help="The agent's address; default as in /etc/edgeflow/gateway.yaml.")
]
DemoPort = Annotated[
    int | None,
    typer.Option(min=1, max=65535, metavar="PORT", help="This port; default: the usual, or one that is free."),
]
LoopOption = Annotated[Loop, typer.Option(help="Event loop.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Nothing but the options that go before a verb."""


@app.command("run")
def run_command(
    config: Annotated[Path, typer.Argument(help="The gateway's configuration file.")] = DEFAULT_CONFIG,
    state: StateOption = None,
    loop: LoopOption = "uvloop",
    debug: Annotated[bool, typer.Option("--debug", help="Log more.")] = False,
) -> None:
    """Run the gateway agent until SIGTERM or Ctrl-C."""
    from edgeflow.cli.run import run

    run(config, state, loop, debug=debug)


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


@app.command()
def man() -> None:
    """Print the manual as a page for man: `edgeflow man | man -l -`."""
    from edgeflow.cli.manual import man_page

    print(man_page(program(drivers.names())), end="")


@app.command()
def validate(config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Check a configuration and every flow in it, without touching a device. Exit 78 when something is wrong."""
    from edgeflow.agent import config as agent_config
    from edgeflow.node import installed

    found = agent_config.load(config, installed())
    plant = found.plant
    parts = {"link": plant.links, "device": plant.devices, "tag": plant.tags}
    parts |= {"output": found.root.outputs, "flow": found.flows}
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{config} is valid: {', '.join(_count(len(each), name) for name, each in parts.items())}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@app.command("schema")
def schema_command(
    name: Annotated[Literal["gateway", "flow"], typer.Argument(help="Which document: gateway (gateway.yaml) or flow.")],
) -> None:
    """Print the JSON Schema of a document, for editors; with the parts of all installed drivers and kinds of nodes."""
    from edgeflow.cli.schema import text

    print(text(name), end="")


@app.command("test")
def golden(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Flow or template folders, or case files; default: the shipped flows and templates."),
    ] = None,
) -> None:
    """Run the cases of flows and templates: recorded input in, expected results compared."""
    from edgeflow.devices.template import shipped_folders
    from edgeflow.flow.library import shipped
    from edgeflow.testing.golden import run_cases

    results = run_cases(paths or [shipped("flows"), *shipped_folders()])
    for result in results:
        print(result)
    failed = sum(not result.ok for result in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    if not results:
        print("no cases found: a case is a YAML file in the `cases` folder of a flow, or beside a template")
    if failed or not results:
        raise typer.Exit(EXIT_FAILURE)


@app.command()
def read(
    tag: Annotated[str, typer.Argument(help="The tag, for example press1/good.")],
    url: Url = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Open the link of this configuration, without an agent.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything known of it as JSON.")] = False,
) -> None:
    """Print a tag's newest value as the agent has it; with --config read it from the device, without an agent."""
    address = _address(tag)
    if config is not None:
        from edgeflow.cli.watch import read_here

        found, of = read_here(tag, config), ""
    else:
        agent, of = _agent(url)
        found = api.get(agent, address)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        unit = f" {found['unit']}" if found.get("unit") else ""
        reason = f": {found['reason']}" if found.get("reason") else ""
        value = "no value" if found["value"] is None else f"{_shown(found['value'])}{unit}"
        print(f"{tag} = {value}  ({found['quality']}{reason}, {found['time'] or 'never read'}{of})")
    if found["quality"] == "bad":
        raise typer.Exit(EXIT_FAILURE)


@app.command(context_settings={"ignore_unknown_options": True})  # -5 is a value
def write(
    tag: Annotated[str, typer.Argument(help="The tag, for example io1/red.")],
    value: Annotated[str, typer.Argument(help="The value: on, off, yes, no, true, false, 12.5, text ...")],
    lease: Annotated[str, typer.Option(help="How long it holds against the flows, at most `24 h`.")] = "10 min",
    reason: Annotated[str, typer.Option(help="Why; it is kept with the write.")] = "from the command line",
    url: Url = None,
    state: StateOption = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Open the link of this configuration, unless its agent has it in use."),
    ] = None,
) -> None:
    """Write a tag as the operator, with the token in the agent's state folder.

    A tag of an output in the configuration holds the value until the lease ends, also over a reconnect of the device;
    then the flows have the output again. Any other tag is written once and never again, so that it may be a pulse;
    the lease only keeps the flows from writing it. It fails where it cannot be sent within 5 s. With --config and no
    agent it is written once by this command, and what the device holds then is read back.
    """
    address = _address(tag)
    if config is not None:
        from edgeflow.cli.direct import write_here

        url = write_here(tag, lambda kind: _typed(value, kind), config)
        if url is None:
            return
    token = api.token_in(state_dir(state))
    agent, of = _agent(url)
    body = {"value": _typed(value, api.get(agent, address)["type"]), "lease": lease, "reason": reason}
    done = api.post(agent, address, body, token)
    if done["note"]:
        print(f"{tag}: {done['note']}")
    else:
        print(f"{tag} = {_shown(done['value'])}, until {done['until'] or 'written over'}{of}")
    if done["note"] and done["holds"] is not None:
        raise typer.Exit(EXIT_FAILURE)


def _agent(url: str | None) -> tuple[str, str]:
    """The address that was given, or that of the agent of this machine, and whose it is where nobody has said so."""
    from edgeflow.cli.source import agent_url, gateway_at, installed_source, must_be_ours

    if url is not None:
        return url, ""
    source = installed_source()
    where = agent_url(source)
    if source is not None:
        must_be_ours(where, source)
        return where, ""
    return where, f", at {gateway_at(where)}"


def _typed(text: str, kind: str) -> Any:
    """What the words of the command line mean to a tag of this type; what means nothing is left to be refused."""
    if kind == "text":
        return text
    if kind == "boolean" and text.lower() in _SWITCH:
        return _SWITCH[text.lower()]
    value = scalar(text)
    return text if value is None or (isinstance(value, float) and not math.isfinite(value)) else value


_SWITCH = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}


def _shown(value: Any) -> str:
    from edgeflow.cli.findings import shown

    return str(value).lower() if isinstance(value, bool) else shown(value) if isinstance(value, float) else str(value)


def _address(tag: str) -> str:
    """Where the agent keeps a tag; a usage error where it cannot be one."""
    device, slash, name = tag.partition("/")
    if not (device and slash and name):
        raise typer.BadParameter(f"{tag!r} is not a tag; write device/name, for example press1/good")
    return f"/api/v1/tags/{quote(device)}/{quote(name, safe='')}"


@sim.command("plant")
def sim_plant(
    truth_port: Annotated[int, typer.Option(help="HTTP port of the truth.")] = 8070,
    press_port: Annotated[int, typer.Option(help="Modbus TCP port of the press.")] = 5020,
    meter_port: Annotated[int, typer.Option(help="Modbus TCP port of the energy meter.")] = 5021,
    io_port: Annotated[int, typer.Option(help="Modbus TCP port of the I/O module with the stack light.")] = 5022,
    filler_port: Annotated[int, typer.Option(help="OPC UA port of the filler.")] = 4840,
    mqtt_port: Annotated[int, typer.Option(help="Port of the broker to run or to use.")] = 1883,
    broker: Annotated[str, typer.Option(help="auto, mosquitto, embedded, or none to use yours.")] = "auto",
    other_ports: Annotated[bool, typer.Option(help="Take another free port where one is taken.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same day.")] = 1,
    speed: Annotated[float, typer.Option(help="How many times faster than in life everything goes.")] = 1.0,
    held: Annotated[bool, typer.Option(help="Hold the machines until POST /control lets them run.")] = False,
) -> None:
    """Run a simulated plant: press, filler, meter, oven and stack light over real protocols, with the truth beside."""
    given = dict(locals())  # a copy: what is imported below is none of it
    from edgeflow.plant.plant import Settings, run

    set_up_logs()
    asyncio.run(run(Settings.model_validate(given)))


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo keeps its state and logs.")] = Path(".demo"),
    speed: Annotated[float, typer.Option(help="How many times faster than in life everything goes.")] = 1.0,
    broker: Annotated[
        Literal["auto", "mosquitto", "embedded"],
        typer.Option(help="The MQTT broker: mosquitto where it is installed, else the embedded one."),
    ] = "auto",
    agent_port: DemoPort = None,
    central_port: DemoPort = None,
    truth_port: DemoPort = None,
    press_port: DemoPort = None,
    meter_port: DemoPort = None,
    io_port: DemoPort = None,
    filler_port: DemoPort = None,
    mqtt_port: DemoPort = None,
) -> None:
    """Run everything on this machine: simulated plant, agent and central server. Ctrl-C ends it."""
    given = {name.removesuffix("_port"): port for name, port in locals().items() if name.endswith("_port") and port}
    from edgeflow.cli.demo import Demo

    Demo(folder, speed, given, broker).run()


@central.command("run")
def central_run(
    state: StateOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on; loopback until you open it.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8090,
    name: Annotated[list[str] | None, typer.Option(help="A name under which people and gateways open it.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="Certificate chain (PEM): then only HTTPS.")] = None,
    key: Annotated[Path | None, typer.Option(help="Private key (PEM) of the certificate.")] = None,
    connections: Annotated[int, typer.Option(help="Most connections at one time; a gateway holds up to three.")] = 5000,
    keep: Annotated[str, typer.Option(help="How long results are kept.")] = "400 d",
    keep_mb: Annotated[int, typer.Option(help="How many megabytes of them; then the oldest are dropped.")] = 50_000,
    loop: LoopOption = "uvloop",
) -> None:
    """Run the central server."""
    from edgeflow.central.server import started

    settings = _central_settings(
        state=state_dir(state),
        host=host,
        port=port,
        hosts=tuple(name or ()),
        certificate=certificate,
        key=key,
        connections=connections,
        keep=keep,
        keep_mb=keep_mb,
    )
    set_up_logs()

    async def main(stop: asyncio.Event) -> None:
        async with started(settings) as served:
            log = structlog.get_logger()
            log.info("central server listens", url=served.url, admin_token=str(settings.state / "admin.token"))
            async with beating():
                await stop.wait()
            log.info("stopping")

    serve(main, loop)


@central.command("token")
def central_token(
    gateway: Annotated[str, typer.Argument(help="The gateway's name.")], state: StateOption = None
) -> None:
    """Make a one-time token with which a gateway enrols, and print it."""
    from edgeflow.central.server import token_for

    made = asyncio.run(token_for(_central_settings(state=state_dir(state)), gateway))
    print(made.token)
    print(f"for the gateway {made.gateway}, once, until {made.expires}", file=sys.stderr)


def _central_settings(**given: Any) -> Any:
    from edgeflow.central.settings import Settings

    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise ConfigError(
            Problem("edgeflow central", 0, 0, str(d["loc"][0]) if d["loc"] else "", d["msg"]) for d in error.errors()
        ) from None


@flow.command("push")
def flow_push(
    path: Annotated[Path, typer.Argument(help="A flow's folder, or its flow.yaml.")],
    gateway: Annotated[str, typer.Option(help="The gateway's name at the central server.")],
    instance: Annotated[str | None, typer.Option(help="One instance; default: all that run this flow.")] = None,
    server: Annotated[str, typer.Option("--central", help="The central server's address.")] = "http://127.0.0.1:8090",
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the central server's admin token; default admin.token in $EDGEFLOW_STATE."),
    ] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the gateway's report.")] = 10.0,
    ca: Annotated[Path | None, typer.Option(help="Certificate (PEM) that signed the server's.")] = None,
) -> None:
    """Push a flow to a gateway and wait for what becomes of it there."""
    from edgeflow.sync.push import push

    outcome = asyncio.run(push(server, _admin_token(token_file), gateway, path, instance=instance, wait_s=wait, ca=ca))
    for line in outcome.lines():
        print(line)
    if not outcome.ok:
        raise typer.Exit(EXIT_FAILURE)


@flow.command("withdraw")
def flow_withdraw(
    target: Annotated[str, typer.Argument(help="The instance, or a flow's name for all its instances.")],
    gateway: Annotated[str, typer.Option(help="The gateway's name at the central server.")],
    server: Annotated[str, typer.Option("--central", help="The central server's address.")] = "http://127.0.0.1:8090",
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the central server's admin token; default admin.token in $EDGEFLOW_STATE."),
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificate (PEM) that signed the server's.")] = None,
) -> None:
    """Take back the wish for a flow version, as after a push that was refused. What runs on the gateway goes on."""
    from edgeflow.sync.push import withdraw

    done = asyncio.run(withdraw(server, _admin_token(token_file), gateway, target, ca=ca))
    print(f"nothing is wished of {gateway} any more for {', '.join(done.instances)} (revision {done.revision})")


def _admin_token(file: Path | None) -> str:
    folder, name = (file.parent, file.name) if file else (state_dir(None), None)
    return api.token_in(folder, name, given="the token file (--token-file)")


commission.add_to(app)  # behind the others in what --help lists


def program(loaded: Collection[str] = ()) -> TyperGroup:
    """The whole command line; the drivers that are `loaded` with their tools, of the others only the name."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for name in drivers.names():
        if name in loaded:
            from edgeflow.cli.tool import commands_of

            tools = commands_of(name)
        else:
            tools = typer.Typer()
            tools.command(help=f"Tools of the driver {name} (`edgeflow {name} --help` says more).")(lambda: None)
        group.add_command(typer.main.get_command(tools), name)
    return group
