"""`edgeflow demo`: starts everything, steps aside where ports are taken, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from edgeflow.cli.demo import WANTED
from edgeflow.plant.port import free_port
from tests.system.line import COMMAND, ask, until

ROWS = {
    "agent": r"local pages +(http://\S+)",
    "central": r"central server +(http://\S+)",
    "truth": r"truth of the plant +(http://\S+)",
}


class Demo:
    """A demo as a person runs it, in a session of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self._said = folder, folder / "said.txt"
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [*COMMAND, "demo", *options], cwd=folder, stdout=said, stderr=said, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self._said.read_text("utf-8", "replace")

    def running(self) -> dict[str, str]:
        """Waits until it says that it runs; the addresses it printed."""

        def told() -> bool:
            assert self.process.poll() is None, self.said
            return "Ctrl-C ends everything" in self.said

        until("the demo runs", told, 90, 0.2)
        found = {}
        for name, row in ROWS.items():
            match = re.search(row, self.said)
            assert match, self.said
            found[name] = match[1]
        return found

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: int) -> float:
        """Sends a signal to the demo alone; returns how long it took to end."""
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(60)
        return time.monotonic() - begun


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[Demo]:
    running = Demo(folder, *options)
    family: list[psutil.Process] = []
    try:
        yield running
    finally:
        if running.process.poll() is None:
            family = running.family()
            running.process.kill()
            running.process.wait()
        for process in family:
            if process.is_running():
                process.kill()
        psutil.wait_procs(family, 10)


def test_the_demo_steps_aside_for_taken_ports_and_ends_without_a_trace(tmp_path: Path) -> None:
    taken = [port for port in WANTED.values() if _free(port)]
    with ExitStack() as stack:
        for port in taken:
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen()
        started = stack.enter_context(demo(tmp_path))
        at = started.running()
        for name, port in WANTED.items():
            assert re.search(rf"port {port} is taken: {name} uses \d+", started.said), started.said
        assert ask(at["truth"])["machines"]["press"]["state_name"]
        for server in ("agent", "central"):
            assert "<html" in ask(at[server]).lower()
        status = until("everything is connected", lambda: _connected(at["agent"]))
        assert {device["name"] for device in status["devices"]} == {"press", "meter", "io1", "filler", "oven"}
        family = started.family()
        assert len(family) >= 4, "plant, filler, broker, central server and agent are processes"
        started.end(signal.SIGINT)
        assert started.process.returncode == 0, started.said
        assert [process for process in family if process.is_running()] == []


def test_the_demo_runs_where_it_is_told_to_and_says_which_broker_it_has(tmp_path: Path) -> None:
    ports = {name: free_port() for name in WANTED}
    with demo(tmp_path, "--broker", "embedded", *(f"--{name}-port={port}" for name, port in ports.items())) as started:
        at = started.running()
        assert "amqtt" in started.said
        assert {name: int(url.rsplit(":")[2].partition("/")[0]) for name, url in at.items()} == {
            name: ports[name] for name in at
        }
        until("all five devices are good", lambda: _connected(at["agent"]), 15)


def test_a_port_that_was_asked_for_and_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with demo(tmp_path, f"--central-port={port}") as started:
            assert started.process.wait(30) == 1
            assert f"port {port} is taken; give another with --central-port" in started.said


def test_the_demo_killed_outright_takes_its_parts_with_it(tmp_path: Path) -> None:
    with demo(tmp_path) as started:
        started.running()
        family = started.family()
        assert family
        started.end(signal.SIGKILL)
        until("no part is left", lambda: not any(process.is_running() for process in family), 20)


def test_the_demo_goes_on_without_its_central_server(tmp_path: Path) -> None:
    with demo(tmp_path) as started:
        at = started.running()
        pid = re.search(r"central (\d+)", started.said)
        assert pid, started.said
        os.kill(int(pid[1]), signal.SIGTERM)
        until("it says so", lambda: "central has ended" in started.said, 20)
        until("the agent has noticed", lambda: not ask(f"{at['agent']}api/v1/status")["central"]["connected"], 20)
        assert started.process.poll() is None
        started.end(signal.SIGINT)
        assert started.process.returncode == 0, started.said


def test_without_mosquitto_the_embedded_broker_does(tmp_path: Path) -> None:
    nothing = tmp_path / "bin"
    nothing.mkdir()
    # What hides mosquitto from a search of the usual places is a root of our own without it.
    script = (
        "import edgeflow.plant.broker as broker, edgeflow.cli.main as main, sys; broker._SYSTEM_PATH = ''; main.main()"
    )
    assert shutil.which("mosquitto", path=str(nothing)) is None
    log = tmp_path / "plant.log"
    ports = [f"--{name}-port=0" for name in ("truth", "press", "meter", "io", "filler", "mqtt")]
    with log.open("wb") as said:
        plant = subprocess.Popen(
            [sys.executable, "-c", script, "sim", "plant", *ports], stdout=said, stderr=said,
            env={**os.environ, "PATH": str(nothing)},
        )  # fmt: skip
    try:
        addresses = until("the plant runs", lambda: _addresses(log), 40)
        host, _, rest = addresses["oven"].removeprefix("mqtt://").partition(":")
        with socket.create_connection((host, int(rest.partition("/")[0])), 5) as client:
            client.sendall(bytes.fromhex("100c 0004 4d515454 04 02 003c 0000"))
            assert client.recv(4) == bytes.fromhex("20020000")
        assert not [
            child for child in psutil.Process(plant.pid).children(recursive=True) if "mosquitto" in child.name()
        ]
    finally:
        plant.send_signal(signal.SIGTERM)
        assert plant.wait(20) == 0, log.read_text()


def _addresses(log: Path) -> dict[str, str] | None:
    lines = [line for line in log.read_text("utf-8").splitlines() if "plant is running" in line]
    return json.loads(lines[0]) if lines else None


def _connected(url: str) -> dict[str, list[dict[str, str]]] | None:
    status = ask(url.rstrip("/") + "/api/v1/status")
    return status if all(device["state"] == "good" for device in status["devices"]) else None


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture(autouse=True)
def _no_state_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEFLOW_STATE", raising=False)
