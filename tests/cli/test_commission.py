"""Connecting machines from the command line, as an electrician does it: real commands on a simulated plant."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer

from edgeflow import document
from edgeflow import driver as drivers
from edgeflow.cli.tool import commands_of
from edgeflow.plant.port import free_port
from edgeflow.testing.registers import Registers
from tests.cli.shop import COMMAND, Agent, Plant, edgeflow, environment, here
from tests.devices.units import Units

ON_CONNECT = "    on_connect: [{{coil: 1, value: true}}]\n"
CONFIG = """\
links:
  press: {{driver: modbus, host: 127.0.0.1, port: {press}}}
  meter: {{driver: modbus, host: 127.0.0.1, port: {meter}}}
  filler: {{driver: opcua, url: "opc.tcp://127.0.0.1:{filler}", security: none}}
devices:
  press:
    link: press
    every: 200 ms
    on_connect: [{{coil: 1, value: true}}]
    tags:
      state: {{register: 0}}
      ideal: {{register: 10, type: float32, unit: s, scale: 10}}
      nothing: {{register: 500}}
  meter: {{link: meter, template: eastron/sdm630, every: 200 ms}}
"""


@pytest.fixture
def config(plant: Plant, tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG.format(**plant.port))
    return path


def lines_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


# --- what every command keeps -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb",
    ["browse", "watch", "device check", "template list", "template show", "template new", "driver list", "driver show",
     "tags import", "tags export", "modbus scan", "modbus identify", "modbus guess"],
)  # fmt: skip
def test_every_verb_helps_with_an_example_or_needs_none(verb: str) -> None:
    done = here(*verb.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    told = " ".join(done.stdout.split())
    assert "--json" in told or verb.startswith(("tags", "template new"))
    assert f"edgeflow {verb} " in told.replace(f"edgeflow {verb} [OPTIONS]", "") or verb.endswith(
        (" list", " show", " new")
    )


@pytest.mark.parametrize("name", drivers.names())
def test_the_tools_of_every_driver_have_options_that_go_together(name: str) -> None:
    """Those of the tool, those of the link, and those that every such command has."""
    tools = {tool.name for tool in drivers.find(name).tools()}
    assert set(typer.main.get_command(commands_of(name)).commands) == tools
    if not tools:
        assert "has no tools" in here(name).stderr


def test_no_driver_is_loaded_for_what_needs_none() -> None:
    program = (
        "import sys; sys.argv = ['edgeflow', '--help']\n"
        "from edgeflow.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.modules if name.startswith(('edgeflow_', 'asyncua', 'aiomqtt', 'aiohttp'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "modbus" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("modbus", "scan", "--host", "127.0.0.1", "--port", "five"), "--port: 'five' is not a whole number"),
        (("modbus", "scan", "--host", "127.0.0.1", "--units", "0-300"), "--units: 300 is not a unit number"),
        (("modbus", "scan", "--hots", "127.0.0.1"), "--hots"),
        (("modbus", "guess"), "ADDRESS"),
        (("modbus", "guess", "4"), "say which link"),
        (("modbus", "guess", "4", "--unit", "1", "--port", "502"), "needs a device, for example `--host 10.0.0.5`"),
        (("modbus", "frobnicate"), "frobnicate"),
        (("modbus",), "scan"),
        (("browse", "ftp://x"), "opc.tcp://host:4840"),
        (("browse", "opc.tcp://127.0.0.1:1", "--secruity", "none"), "Possible options: --security"),
        (("device", "check"), "name a device"),
        (("device", "check", "--template", "eastron/sdm631", "--host", "x"), "eastron/sdm630"),
        (("tags", "import", "x.csv", "--device", "units=7"), "did you mean 'unit'"),
        (("tags", "export", "--form", "excel"), "neuron"),
        (("template", "new", "Press"), "maker/model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_a_wrong_use_is_told_in_words_and_exits_with_2(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("name,register\na,1\n")
    done = here(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done
    assert words in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_bad_link_of_the_configuration_exits_with_78_and_only_that_link_counts(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "links:\n  a: {driver: modbus, prot: 1, host: x}\n  b: {driver: modbus, host: 127.0.0.1, port: 1}\n"
    )
    done = here("modbus", "identify", "--link", "a", "--config", path)
    assert (done.returncode, done.stderr) == (
        78,
        f"{path}:2:23 links.a.prot: unknown key 'prot'; did you mean 'port'?\n",
    )
    done = here("modbus", "identify", "--link", "b", "--config", path)
    assert (done.returncode, done.stderr.startswith("127.0.0.1:1 cannot be reached")) == (1, True)
    done = here("modbus", "identify", "--link", "c", "--config", path)
    assert (done.returncode, done.stderr) == (1, f"{path} has no link 'c'; known are a, b\n")


# --- Modbus -------------------------------------------------------------------------------------------


def test_a_scan_finds_the_units_and_the_addresses_that_can_be_read(plant: Plant) -> None:
    done = edgeflow(
        "modbus", "scan", "--host", "127.0.0.1", "--port", plant.port["press"], "--units", "1-3", "--timeout", "200 ms",
        "--ranges", "--addresses", "0-40", "--json",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line["cells"] for line in lines_of(done) if line["kind"] == "row"]
    assert [row["unit"] for row in rows if "vendor" in row] == [1]
    assert {"unit": 1, "table": "holding register", "first": 0, "last": 12, "count": 13} in rows
    assert lines_of(done)[-1]["text"].startswith("Unit 1 answers. Next: ")


def test_a_guess_ends_with_the_point_to_write(plant: Plant, tmp_path: Path) -> None:
    """The frequency of the meter is between 49 and 51 Hz; it is a float32 in input registers 70 and 71."""
    done = edgeflow(
        "modbus", "guess", "0x46", "--table", "input", "--expect", "50", "--host", "127.0.0.1", "--port",
        plant.port["meter"],
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    row = next(line for line in done.stdout.splitlines() if line.startswith("float32"))
    assert row.endswith("<-- ABCD")
    assert 49 < float(row.split()[1]) < 51
    block = document.parse(done.stdout[done.stdout.index("tags:") :]).data
    assert block == {"tags": {"value": {"input": 70, "type": "float32"}}}


def test_what_a_unit_refuses_is_told_in_words(plant: Plant) -> None:
    done = edgeflow("modbus", "guess", "30071", "--host", "127.0.0.1", "--port", plant.port["meter"])
    assert (done.returncode, done.stdout) == (1, "")
    assert "unit 1 refused to read" in done.stderr
    assert "30071 --table input --first-address 40001" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_of_a_list_that_counts_from_40001_is_taken_as_it_stands(plant: Plant) -> None:
    done = edgeflow(
        "modbus", "guess", "40011", "--first-address", "40001", "--host", "127.0.0.1", "--port", plant.port["press"],
    )  # fmt: skip
    assert done.returncode == 0
    assert "holding registers 40011 to 40012" in done.stdout, "four registers would go beyond the last one"
    assert "{register: 40011, type: float32}" in done.stdout


def test_a_link_of_the_configuration_can_be_named(config: Path) -> None:
    done = edgeflow("modbus", "identify", "--link", "press", "--config", config)
    assert done.returncode == 0
    assert "Unit 1" in done.stdout


def test_a_scan_that_is_interrupted_says_what_it_has_found_until_then() -> None:
    """The first unit answers, the others do not: each of them costs the time-out."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        asked = subprocess.Popen(
            [
                *COMMAND,
                "modbus",
                "scan",
                "--host",
                "127.0.0.1",
                "--port",
                str(server.getsockname()[1]),
                "--timeout",
                "1 s",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        connection, _ = server.accept()
        with connection:
            while True:
                request = connection.recv(12)
                if request[6] == 1 and request[7] == 3:
                    connection.sendall(request[:5] + bytes((5, 1, 3, 2, 0, 7)))
                elif request[6] == 1:
                    connection.sendall(request[:5] + bytes((3, 1, request[7] | 0x80, 1)))
                else:
                    break
            asked.send_signal(signal.SIGINT)
            told, errors = asked.communicate(timeout=30)
    assert asked.returncode == 130
    assert told.splitlines()[1].split()[0] == "1"
    assert errors == "Ended before its time; what is above was found until then.\n"


def test_progress_is_one_line_on_a_terminal_and_nothing_in_a_pipe(plant: Plant) -> None:
    """On a pipe it would be garbage in what is kept."""
    command = [
        "modbus",
        "scan",
        "--host",
        "127.0.0.1",
        "--port",
        str(plant.port["press"]),
        "--units",
        "1-2",
        "--timeout",
        "200 ms",
    ]
    assert edgeflow(*command).stderr == ""
    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, *command], stdout=subprocess.PIPE, stderr=slave, check=True, env=environment(TERM="xterm")
        )
        os.set_blocking(master, False)
        seen = os.read(master, 65536).decode()
    finally:
        os.close(master)
        os.close(slave)
    assert "1 of 2" in seen
    assert seen.endswith("\r\x1b[K"), "nothing of it stays"
    assert b"Unit 1 answers." in done.stdout


# --- looking around -----------------------------------------------------------------------------------


def test_what_an_opcua_server_has_is_written_ready_to_be_pasted(plant: Plant, tmp_path: Path) -> None:
    tree = edgeflow("browse", plant.opcua, "--security", "none", "--json", "--depth", "2")
    assert (tree.returncode, tree.stderr) == (0, "")
    good = next(line for line in lines_of(tree) if line["kind"] == "row" and line["cells"]["title"] == "Good")
    assert good["point"] == {"node": "nsu=urn:edgeflow:plant:filler;s=Filler.Good", "type": "integer"}
    done = edgeflow("browse", plant.opcua, "nsu=urn:edgeflow:plant:filler;s=Filler", "--security", "none", "--write")
    assert done.returncode == 0
    block = done.stdout[done.stdout.index("tags:") :]
    assert "good:" in block
    text = "gateway: {name: line1}\n" + CONFIG.format(**plant.port) + "  filler:\n    link: filler\n    "
    (tmp_path / "gateway.yaml").write_text(text + block.replace("\n", "\n    "))
    assert edgeflow("validate", tmp_path / "gateway.yaml").returncode == 0


def test_what_every_server_has_is_not_looked_into_unless_it_is_asked_for(plant: Plant) -> None:
    tree = edgeflow("browse", plant.opcua, "--security", "none", "--json", "--depth", "3")
    paths = [line["cells"]["path"] for line in lines_of(tree) if line["kind"] == "row"]
    assert "i=2253" in paths, "the server itself is there"
    assert "i=2256" not in paths, "but not its state and the hundreds beside it"
    tree = edgeflow("browse", plant.opcua, "i=2253", "--security", "none", "--json")
    assert "i=2256" in [line["cells"]["path"] for line in lines_of(tree) if line["kind"] == "row"]


def test_a_mapping_is_given_on_the_command_line_as_it_is_written(tmp_path: Path) -> None:
    listen = ("mqtt", "listen", "--host", "127.0.0.1", "--port", "1", "--user", "a")
    done = here(*listen, "--password", "{file: no.secret}", "--tls", "{ca: no.pem}", cwd=tmp_path)
    assert done.returncode == 1
    assert "no.secret" in done.stderr or "no.pem" in done.stderr, done.stderr
    done = here(*listen, "--password", "secret", cwd=tmp_path)
    assert (done.returncode, "{file: name.secret}" in done.stderr) == (2, True)


def test_a_server_without_encryption_is_told_with_the_option_that_accepts_it(plant: Plant) -> None:
    done = edgeflow("browse", plant.opcua)
    assert done.returncode == 1
    assert "`--security none`" in done.stderr


def test_the_topics_that_are_heard_are_listed(plant: Plant) -> None:
    done = edgeflow("browse", plant.mqtt, "--timeout", "3 s", "--write")
    assert done.returncode == 0, done.stderr
    assert "plant/oven/state" in done.stdout
    assert "temperature:" in done.stdout[done.stdout.index("tags:") :]


# --- reading and watching -----------------------------------------------------------------------------


async def test_a_tag_is_written_without_an_agent_and_read_back(tmp_path: Path) -> None:
    config = tmp_path / "write.yaml"
    async with Registers({"holding": {12: 0}}).served() as port:
        config.write_text(
            f"links: {{press: {{driver: modbus, host: 127.0.0.1, port: {port}}}}}\n"
            "devices: {press: {link: press, tags: {\n"
            "  speed: {register: 12, writable: true}, ready: {register: 12, bit: 0}}}}\n"
            f"http: {{port: {free_port()}}}\n",
            "utf-8",
        )

        async def write(tag: str) -> subprocess.CompletedProcess[str]:
            return await asyncio.to_thread(edgeflow, "write", tag, "7", "--config", config)

        done = await write("press/speed")
        told = "press/speed: 7 was sent and acknowledged\npress/speed = 7\n"
        assert (done.returncode, done.stdout, done.stderr) == (0, told, "")
        done = await write("press/ready")
        assert (done.returncode, "is not writable" in done.stderr) == (1, True), done
        done = await write("press/sped")
        assert "did you mean 'press/speed'?" in done.stderr


def test_a_tag_is_read_without_an_agent_and_nothing_is_written(plant: Plant, config: Path) -> None:
    done = edgeflow("read", "press/ideal", "--config", config, "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert (found["value"], found["raw"], found["quality"], found["unit"]) == (20.0, 2.0, "good", "s")
    assert edgeflow("read", "press/nothing", "--config", config).returncode == 1
    call = edgeflow("modbus", "scan", "--host", "127.0.0.1", "--port", plant.port["press"], "--units", "1", "--json")
    assert call.returncode == 0
    button = edgeflow("modbus", "guess", "12", "--host", "127.0.0.1", "--port", plant.port["press"])
    assert ": 0000" in button.stdout, "on_connect would have pressed a button"


def test_one_picture_shows_scaled_and_raw_and_what_cannot_be_read(config: Path) -> None:
    done = edgeflow("watch", "press", "meter/frequency", "--once", "--config", config, "--agent", "http://127.0.0.1:1")
    assert done.returncode == 1, "an address that is given must answer"
    done = edgeflow("watch", "press", "meter/frequency", "--once", "--config", config)
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines()[1:]}
    assert rows["press/ideal"][1:5] == ["20", "s", "2", "good"]
    assert "bad" in rows["press/nothing"]
    assert list(rows) == ["press/state", "press/ideal", "press/nothing", "meter/frequency"]
    assert done.returncode == 1, "one of them is BAD"


def test_on_a_pipe_every_change_is_a_line(config: Path) -> None:
    asked = subprocess.Popen(
        [*COMMAND, "watch", "meter/frequency", "--config", str(config), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert asked.stdout
    lines: list[dict[str, Any]] = []
    while sum(line["quality"] == "good" for line in lines) < 3:
        assert len(lines) < 20, lines
        lines.append(json.loads(asked.stdout.readline()))
    asked.send_signal(signal.SIGINT)
    _, errors = asked.communicate(timeout=20)
    assert asked.returncode == 0
    assert errors == "No agent answers: the links are opened here.\n"
    values = [line["value"] for line in lines if line["quality"] == "good"]
    assert len(set(values)) == len(values) == 3


def test_the_live_table_fits_a_narrow_terminal(config: Path) -> None:
    master, slave = pty.openpty()
    asked = subprocess.Popen(
        [*COMMAND, "watch", "press", "--config", str(config)],
        stdout=slave, stderr=subprocess.DEVNULL, env=environment(TERM="xterm", COLUMNS="40", LINES="20", NO_COLOR="1"),
    )  # fmt: skip
    seen, end = "", time.monotonic() + 30
    while "press/ideal" not in seen or "\x1b[" not in seen or " 20 " not in seen:
        seen += os.read(master, 65536).decode()
        assert time.monotonic() < end, seen
    asked.send_signal(signal.SIGINT)
    assert asked.wait(20) == 0
    os.close(master)
    os.close(slave)
    picture = seen.split("\x1b[J")[-1]
    assert all(len(line.rstrip("\r")) < 40 for line in picture.split("\n"))
    assert "TAG" in picture
    assert "RAW" not in picture, "there is no room for it"


# --- checks -------------------------------------------------------------------------------------------


def test_a_device_that_fits_its_template_passes_and_another_does_not(plant: Plant, config: Path) -> None:
    done = edgeflow("device", "check", "meter", "--config", config, "--reads", "2", "--every", "200 ms")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].endswith("It fits eastron/sdm630.")
    done = edgeflow(
        "device", "check", "--template", "eastron/sdm630", "--host", "127.0.0.1", "--port", plant.port["press"],
        "--reads", "1", "--unit", "1", "--with", "nominal_voltage=230",
    )  # fmt: skip
    assert done.returncode == 1
    assert "not readable" in done.stdout


def test_a_device_that_does_not_answer_is_told_in_words() -> None:
    done = edgeflow("device", "check", "--template", "eastron/sdm630", "--host", "127.0.0.1", "--port", free_port())
    assert (done.returncode, "refused" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


# --- what there is ------------------------------------------------------------------------------------


def test_drivers_and_templates_are_a_reference() -> None:
    drivers = json.loads(here("driver", "list", "--json").stdout)
    assert {"modbus", "opcua", "mqtt"} <= {driver["driver"] for driver in drivers}
    told = here("driver", "show", "modbus").stdout
    assert "  host: text   [optional]" in told
    assert "  every: duration   [default 1 s]" in told
    assert "edgeflow modbus scan" in told
    assert set(json.loads(here("driver", "show", "mqtt", "--json").stdout)) == {
        "name", "about", "link", "device", "point", "tools"
    }  # fmt: skip
    assert here("driver", "show", "modbsu").stderr == "no driver 'modbsu' is installed; did you mean 'modbus'?\n"
    templates = {row["template"] for row in json.loads(here("template", "list", "--json").stdout)}
    assert "eastron/sdm630" in templates
    shown = here("template", "show", "eastron/sdm630").stdout
    assert "nominal_voltage: number in V   [default 230]" in shown


def test_a_new_template_is_valid_as_it_is_made(tmp_path: Path) -> None:
    assert here("template", "new", "acme/press-200", cwd=tmp_path).returncode == 0
    assert "acme/press-200" in here("template", "list", cwd=tmp_path).stdout
    assert here("template", "show", "acme/press-200", cwd=tmp_path).returncode == 0
    text = "gateway: {name: x}\nlinks: {plc: {driver: modbus, host: 127.0.0.1}}\n"
    (tmp_path / "gateway.yaml").write_text(text + "devices: {press: {link: plc, template: acme/press-200}}\n")
    done = here("validate", "gateway.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    again = here("template", "new", "acme/press-200", cwd=tmp_path)
    assert (again.returncode, "is there already" in again.stderr) == (1, True)


def test_a_new_template_begins_with_the_tags_of_a_register_list(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("name;register;type;unit;scale\nSpeed;10;int16;1/min;0,1\nState;2;uint16;;\n")
    assert here("template", "new", "acme/oven", "--from", "list.csv", cwd=tmp_path).returncode == 0
    found = document.load(tmp_path / "templates" / "acme" / "oven.yaml").data
    assert found["tags"] == {
        "speed": {"register": 10, "type": "int16", "unit": "1/min", "scale": 0.1},
        "state": {"register": 2, "type": "uint16"},
    }


# --- beside a running agent ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def agent(plant: Plant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with Agent(tmp_path_factory.mktemp("agent"), CONFIG.replace(ON_CONNECT, "").format(**plant.port)) as agent:
        agent.until("/api/v1/tags/press/state", lambda tag: tag["quality"] == "good")
        yield agent


def test_watching_asks_the_agent_and_shows_its_raw_values(agent: Agent) -> None:
    agent.until("/api/v1/raw/press", lambda raw: len(raw["names"]) == 3)
    done = edgeflow("watch", "press/ideal", "--once", "--json", "--config", agent.config)
    (line,) = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert (line["value"], line["raw"], line["quality"]) == (20.0, 2.0, "good")
    unknown = edgeflow("watch", "presss", "--once", "--agent", agent.url)
    assert (unknown.returncode, unknown.stderr) == (
        1,
        "there is no device and no tag 'presss'; did you mean 'press'?\n",
    )


def test_another_gateways_agent_at_the_same_address_is_not_asked(agent: Agent, tmp_path: Path) -> None:
    other = tmp_path / "gateway.yaml"
    other.write_text(agent.config.read_text().replace("name: line1", "name: line2"))
    done = edgeflow("watch", "press/ideal", "--once", "--config", other)
    assert done.returncode == 0
    assert done.stderr.startswith(f"The agent at {agent.url} is that of line1, not of line2.\n")


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Agent, str]]:
    """An agent that has a serial line with three units, and the line."""
    folder = tmp_path_factory.mktemp("serial")
    near, far = folder / "near", folder / "far"
    cable = subprocess.Popen(["socat", f"pty,rawer,link={near}", f"pty,rawer,link={far}"])
    try:
        end = time.monotonic() + 10
        while not (near.exists() and far.exists()):
            assert time.monotonic() < end
            time.sleep(0.02)
        with Units(3) as units:
            units.serve_line(str(far))
            text = (
                f"links: {{bus: {{driver: modbus, serial: {near}}}}}\n"
                "devices: {meter: {link: bus, unit: 2, every: 200 ms, tags: {a: {register: 4}}}}\n"
            )
            with Agent(folder, text) as agent:
                agent.until("/api/v1/tags/meter/a", lambda tag: tag["quality"] == "good")
                yield agent, str(near)
    finally:
        cable.terminate()
        cable.wait(10)


def test_a_line_that_the_agent_has_is_not_taken_from_it_unasked(serial: tuple[Agent, str]) -> None:
    agent, _ = serial
    done = edgeflow(
        "modbus", "scan", "--link", "bus", "--config", agent.config, "--state", agent.state, "--units", "1-5"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"bus is in use by the agent at {agent.url}, which is asked to do it." in done.stderr
    assert "meter is not read" in done.stderr
    assert "--take" in done.stderr
    assert agent.get("/api/v1/tags/meter/a")["quality"] == "good"


def test_a_line_is_lent_for_a_scan_and_read_again_afterwards(serial: tuple[Agent, str]) -> None:
    agent, _ = serial
    done = edgeflow(
        "modbus", "scan", "--link", "bus", "--config", agent.config, "--state", agent.state, "--units", "1-5", "--take", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line["cells"]["unit"] for line in lines_of(done) if line["kind"] == "row"] == [1, 2, 3]
    assert agent.get("/api/v1/status")["devices"][0]["name"] == "meter"
    agent.until("/api/v1/tags/meter/a", lambda tag: tag["quality"] == "good")


def test_reading_and_checking_go_through_the_agent_that_has_the_line(serial: tuple[Agent, str]) -> None:
    agent, _ = serial
    agent.until("/api/v1/tags/meter/a", lambda tag: tag["quality"] == "good")
    done = edgeflow("read", "meter/a", "--config", agent.config)
    assert done.returncode == 0
    assert "in use by the agent" in done.stderr
    done = edgeflow(
        "device",
        "check",
        "meter",
        "--config",
        agent.config,
        "--state",
        agent.state,
        "--reads",
        "2",
        "--every",
        "100 ms",
    )
    assert (done.returncode, "1 of 1 tags were read" in done.stdout) == (0, True)


def test_a_line_by_its_name_says_who_has_it(serial: tuple[Agent, str]) -> None:
    """It is locked: two masters on one line would garble each other."""
    _, line = serial
    done = edgeflow("modbus", "identify", "--serial", line, "--units", "2")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert line in done.stderr
