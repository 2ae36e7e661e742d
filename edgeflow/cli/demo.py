"""`edgeflow demo`: the whole product on one machine, each part a process of its own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from edgeflow.cli import api
from edgeflow.errors import EdgeFlowError
from edgeflow.flow.library import shipped
from edgeflow.plant.broker import Kind, chosen
from edgeflow.plant.port import free_port

START_S = 60.0
STOP_S = 10.0
WANTED = {
    "agent": 8080, "central": 8090, "truth": 8070, "press": 5020, "meter": 5021, "io": 5022, "filler": 4840,
    "mqtt": 1883,
}  # fmt: skip

_BROKERS = {"mosquitto": "mosquitto", "embedded": "amqtt, as mosquitto is not installed"}


@dataclass(slots=True)
class Part:
    """One process of the demo."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


class Demo:
    """Starts plant, central server and agent in order, and ends them in the reverse order."""

    def __init__(self, folder: Path, speed: float, ports: Mapping[str, int], broker: Kind = "auto") -> None:
        """`ports`: those that must be these; the others are as in `WANTED` where they are free."""
        self._folder, self._speed = folder.resolve(), speed
        self._wanted, self._broker = dict(ports), chosen(broker)
        self._console = Console(highlight=False)
        self._parts: list[Part] = []
        self._ports: dict[str, int] = {}
        self._stopping = self._told = False

    def run(self) -> None:
        """Runs until Ctrl-C or SIGTERM, or until a part ends; leaves no process behind."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EdgeFlowError(
                f"{self._folder} cannot be made ({error.strerror}); name another one with --folder"
            ) from None
        self._ports = self._choose_ports()
        try:
            self._start_all()
            if not self._stopping:
                self._tell()
            while not self._stopping:
                self._look()
                time.sleep(0.25)
        finally:
            self._end_all()

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _choose_ports(self) -> dict[str, int]:
        ports: dict[str, int] = {}
        for name, usual in WANTED.items():
            wanted = self._wanted.get(name, usual)
            ports[name] = port = _free(wanted, {*ports.values(), *self._wanted.values()} - {self._wanted.get(name)})
            if port != wanted and name in self._wanted:
                raise EdgeFlowError(f"port {wanted} is taken; give another with --{name}-port")
            if port != wanted:
                self._console.print(f"  port {wanted} is taken: {name} uses {port}")
        return ports

    def _start_all(self) -> None:
        ports, folder = self._ports, self._folder
        plant = [f"--{name}-port={ports[name]}" for name in ("truth", "press", "meter", "io", "filler", "mqtt")]
        plant.append(f"--broker={self._broker}")
        self._start(
            "plant", ["sim", "plant", *plant, f"--speed={self._speed}"], f"http://127.0.0.1:{ports['truth']}/truth"
        )
        central = f"http://127.0.0.1:{ports['central']}"
        self._start(
            "central",
            ["central", "run", f"--state={folder / 'central'}", f"--port={ports['central']}"],
            f"{central}/healthz",
        )
        if self._stopping:
            return
        self._configure(central)
        self._start(
            "agent",
            ["run", str(folder / "gateway.yaml"), f"--state={folder / 'agent'}"],
            f"http://127.0.0.1:{ports['agent']}/readyz",
            {
                "EDGEFLOW__HTTP__PORT": ports["agent"],
                "EDGEFLOW__LINKS__PRESS__PORT": ports["press"],
                "EDGEFLOW__LINKS__METER__PORT": ports["meter"],
                "EDGEFLOW__LINKS__IO1__PORT": ports["io"],
                "EDGEFLOW__LINKS__FILLER__URL": f"'opc.tcp://127.0.0.1:{ports['filler']}'",
                "EDGEFLOW__LINKS__BROKER__PORT": ports["mqtt"],
                "EDGEFLOW__SERVICES__MQTT__PORT": ports["mqtt"],
                "EDGEFLOW__CENTRAL__URL": central,
            },
        )

    def _configure(self, central: str) -> None:
        """The demo's configuration beside its state, and a token with which its gateway enrols."""
        shutil.copyfile(shipped("config") / "demo.yaml", self._folder / "gateway.yaml")
        if not (self._folder / "agent" / "central.json").exists():
            admin = api.token_in(self._folder / "central")
            made = api.post(central, "/api/v1/tokens", {"gateway": "demo"}, admin)
            path = self._folder / "central.token"
            path.touch(mode=0o600)
            path.write_text(made["token"] + "\n", "ascii")

    def _start(
        self, name: str, arguments: Sequence[str], url: str, environment: dict[str, object] | None = None
    ) -> None:
        """Starts a part and waits until it answers."""
        if self._stopping:
            return
        self._console.print(f"  {name:<8} starting ...", end="\r")
        path = self._folder / f"{name}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "edgeflow.cli.main", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **{key: str(value) for key, value in (environment or {}).items()}},
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one thread here
            )
        self._parts.append(Part(name, process, path))
        deadline = time.monotonic() + START_S
        while not self._stopping and not _answers(url):
            self._look()
            if time.monotonic() > deadline:
                raise EdgeFlowError(f"{name} does not answer at {url}; see {path}")
            time.sleep(0.1)
        self._console.print(f"  {name:<8} running       ")

    def _look(self) -> None:
        for part in self._parts:
            if part.process.poll() is None or self._stopping:
                continue
            if part.name == "central" and self._told:
                self._console.print("  central has ended; the agent goes on and keeps its results")
                self._parts.remove(part)
                return
            tail = "\n".join(part.log.read_text("utf-8", "replace").splitlines()[-5:])
            raise EdgeFlowError(f"{part.name} has ended ({part.process.returncode}); its log {part.log} says:\n{tail}")

    def _tell(self) -> None:
        self._told = True
        ports = self._ports
        rows = [
            ("local pages", f"http://127.0.0.1:{ports['agent']}/"),
            ("central server", f"http://127.0.0.1:{ports['central']}/"),
            ("truth of the plant", f"http://127.0.0.1:{ports['truth']}/truth"),
            ("metrics", f"http://127.0.0.1:{ports['agent']}/metrics"),
            ("press, meter, I/O", f"Modbus TCP 127.0.0.1:{ports['press']}, {ports['meter']}, {ports['io']}"),
            ("filler", f"opc.tcp://127.0.0.1:{ports['filler']}"),
            ("oven", f"mqtt://127.0.0.1:{ports['mqtt']}/plant/oven/state ({_BROKERS[self._broker]})"),
            ("admin tokens", f"{self._folder}/agent/admin.token, {self._folder}/central/admin.token"),
            ("logs", f"{self._folder}/*.log"),
            ("processes", ", ".join(f"{part.name} {part.process.pid}" for part in self._parts)),
        ]
        self._console.print()
        for name, address in rows:
            self._console.print(f"  {name:<19} {address}", soft_wrap=True)
        self._console.print("\n  Try: `kill` the central server and see the agent go on.\n  Ctrl-C ends everything.\n")

    def _end_all(self) -> None:
        """SIGTERM in reverse order, so that the agent leaves its exit pattern; SIGKILL for what does not end."""
        for part in reversed(self._parts):
            if part.process.poll() is None:
                part.process.terminate()
            try:
                part.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._console.print(f"  {part.name} does not end; killed")
                part.process.kill()
                part.process.wait()
            self._console.print(f"  {part.name:<8} ended")


def _free(wanted: int, taken: set[int]) -> int:
    """The port itself where nobody listens on it, else another."""
    return free_port(0 if wanted in taken else wanted)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - loopback
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _die_with_parent() -> None:
    """Asks Linux to end this child when the demo dies without saying so."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
