"""A line to disturb: plant, central server and agent as processes of the real command line, on free ports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from edgeflow.flow.library import shipped
from edgeflow.plant.port import free_port

Json = dict[str, Any]
T = TypeVar("T")

COMMAND = (sys.executable, "-m", "edgeflow.cli.main")
PORTS = ("truth", "press", "meter", "io", "filler", "mqtt", "central", "agent")
START_S = 40.0
SETTLE_S = 60.0


class Answer(Exception):
    """An HTTP answer other than success."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


def ask(url: str, body: Any = None, *, token: str = "", method: str | None = None, timeout_s: float = 10) -> Any:
    """GET, or POST of JSON where there is a body; the answer as data (text where it is no JSON). Raises Answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None
    if body is not None:
        data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            text = response.read().decode()
            kind = response.headers.get_content_type()
    except urllib.error.HTTPError as error:
        raise Answer(error.code, error.read().decode()) from None
    return json.loads(text) if kind.endswith("json") and text else text


def until(what: str, look: Callable[[], T | None], within_s: float = SETTLE_S, every_s: float = 0.05) -> T:
    """Looks until there is something, and gives it back; fails after `within_s` and says what was waited for."""
    end = time.monotonic() + within_s
    while True:
        with contextlib.suppress(OSError):
            found = look()
            if found:
                return found
        assert time.monotonic() < end, f"not within {within_s:g} s: {what}"
        time.sleep(every_s)


def instant(text: str) -> float:
    """An RFC 3339 time as seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


class Part:
    """One process, started with the same arguments again and again; its log grows."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name, self.log = name, log
        self._arguments, self._environment = tuple(arguments), environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Starts it and returns the moment (s since 1970)."""
        assert self.process is None or self.process.poll() is not None, f"{self.name} runs already"
        with self.log.open("ab") as log:
            begun = time.time()
            self.process = subprocess.Popen(
                [*COMMAND, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )
        return begun

    def signal(self, number: int) -> float:
        """Sends a signal and waits for the end; returns the moment of the signal."""
        assert self.process is not None
        sent = time.time()
        self.process.send_signal(number)
        self.process.wait(30)
        return sent

    def kill(self) -> float:
        """`kill -9`."""
        return self.signal(signal.SIGKILL)

    def stop(self) -> float:
        """SIGTERM, and a clean end."""
        sent = self.signal(signal.SIGTERM)
        assert self.process is not None
        assert self.process.returncode == 0, f"{self.name} ended with {self.process.returncode}: {self.tail()}"
        return sent

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Line:
    """The demo's configuration on ports of its own; everything under one folder.

    `edit` may change the text of the configuration before the agent reads it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        speed: float = 1.0,
        held: bool = False,
        seed: int = 1,
        edit: Callable[[str], str] = lambda text: text,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = {name: free_port() for name in PORTS}
        self.config = folder / "gateway.yaml"
        self.config.write_text(edit((shipped("config") / "demo.yaml").read_text("utf-8")), "utf-8")
        port = self.port
        plant = [f"--{name}-port={port[name]}" for name in ("truth", "press", "meter", "io", "filler", "mqtt")]
        if held:
            plant.append("--held")
        self.plant = self._part("plant", ["sim", "plant", *plant, f"--speed={speed}", f"--seed={seed}"])
        self.central = self._part(
            "central", ["central", "run", f"--state={folder}/central", f"--port={port['central']}"]
        )
        self.environment = {
            "EDGEFLOW__HTTP__PORT": str(port["agent"]),
            "EDGEFLOW__DEPLOY__TRIAL": "6 s",
            "EDGEFLOW__LINKS__PRESS__PORT": str(port["press"]),
            "EDGEFLOW__LINKS__METER__PORT": str(port["meter"]),
            "EDGEFLOW__LINKS__IO1__PORT": str(port["io"]),
            "EDGEFLOW__LINKS__FILLER__URL": f"'opc.tcp://127.0.0.1:{port['filler']}'",
            "EDGEFLOW__LINKS__BROKER__PORT": str(port["mqtt"]),
            "EDGEFLOW__SERVICES__MQTT__PORT": str(port["mqtt"]),
            "EDGEFLOW__CENTRAL__URL": self.url("central"),
        }
        self.agent = self._part("agent", ["run", str(self.config), f"--state={folder}/agent"], self.environment)

    def _part(self, name: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Part:
        return Part(name, arguments, self.folder / f"{name}.log", environment or {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in (self.agent, self.central, self.plant):
            if part.alive:
                part.kill() if part is not self.plant else part.signal(signal.SIGTERM)
        if error is not None:
            error.add_note(
                "\n".join(f"--- {p.name}\n{p.tail()}" for p in (self.agent, self.central, self.plant) if p.log.exists())
            )

    # starting

    def start(self) -> Self:
        """Everything, the agent enrolled and every device connected."""
        self.plant.start()
        until("the plant answers", self.truth, START_S)
        self.start_central()
        self.enrol()
        self.agent.start()
        self.ready()
        return self

    def start_central(self) -> float:
        """Starts the central server and waits until it answers; returns the moment it was started."""
        begun = self.central.start()
        self._up(self.central, "/healthz", "central")
        return begun

    def enrol(self) -> None:
        """Puts a one-time token where the agent looks for it."""
        made = ask(self.url("central") + "/api/v1/tokens", {"gateway": "demo"}, token=self.token("central"))
        (self.folder / "central.token").write_text(made["token"] + "\n", "ascii")

    def ready(self, within_s: float = START_S) -> None:
        """Waits until the agent does its job: all devices connected, the central server reached."""
        self._up(self.agent, "/readyz", "agent", within_s)
        until("the agent reaches the central server", lambda: self.status()["central"]["connected"], within_s)

    def _up(self, part: Part, path: str, name: str, within_s: float = START_S) -> None:
        def answers() -> bool:
            assert part.alive, f"{part.name} has ended:\n{part.tail()}"
            with contextlib.suppress(Answer):
                ask(self.url(name) + path, timeout_s=2)
                return True
            return False

        until(f"{part.name} answers {path}", answers, within_s)

    # asking

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port[name]}"

    def token(self, name: str) -> str:
        return (self.folder / name / "admin.token").read_text("ascii").strip()

    def status(self) -> Json:
        found: Json = ask(self.url("agent") + "/api/v1/status")
        return found

    def device(self, name: str) -> Json:
        return next(device for device in self.status()["devices"] if device["name"] == name)

    def flow(self, name: str) -> Json:
        return next(flow for flow in self.status()["flows"] if flow["name"] == name)

    def tags(self, device: str) -> dict[str, tuple[Any, str, str]]:
        """(value, quality, reason) per tag."""
        table = ask(self.url("agent") + f"/api/v1/tags?device={device}")
        rows = zip(table["names"], table["values"], table["qualities"], table["reasons"], strict=True)
        return {name: (value, quality, reason) for name, value, quality, reason in rows}

    def live(self, stream: str, key: str) -> Json | None:
        """The agent's newest result whose key begins so."""
        results = ask(self.url("agent") + "/api/v1/results")["results"]
        found = [r for r in results if r["stream"] == stream and r["key"].startswith(key)]
        return max(found, key=lambda r: r["version"], default=None)

    def truth(self, begin: str = "", end: str = "") -> Json:
        query = "&".join(f"{name}={value}" for name, value in (("from", begin), ("to", end)) if value)
        found: Json = ask(self.url("truth") + "/truth" + (f"?{query}" if query else ""))
        return found

    def lamp(self, begin: str, end: str = "") -> Json:
        """What the stack light showed."""
        found: Json = ask(self.url("truth") + f"/truth/lamp?from={begin}" + (f"&to={end}" if end else ""))
        return found

    def produce(self, running: bool) -> Json:
        """Lets the machines go, or holds them; the truth at that moment."""
        found: Json = ask(self.url("truth") + "/control", {"running": running})
        return found

    def fault(self, device: str, fault: str, seconds: float = 600) -> None:
        ask(self.url("truth") + "/faults", {"device": device, "fault": fault, "seconds": seconds}, timeout_s=40)

    def results(self, stream: str) -> list[Json]:
        """The newest version of every result of a stream at the central server."""
        found, after = [], 0
        while True:
            page = ask(self.url("central") + f"/api/v1/results?gateway=demo&stream={stream}&after={after}&limit=1000")
            found += [entry["record"] for entry in page["results"]]
            if page["next"] is None:
                return found
            after = page["next"]

    def records(self) -> list[Json]:
        """Every record of the gateway at the central server, as it came: {epoch, seq, record}."""
        found, after = [], "0-0"
        while after:
            page = ask(self.url("central") + f"/api/v1/records?gateway=demo&after={after}&limit=1000")
            found += page["records"]
            after = page["next"]
        return found

    def edgeflow(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs the command line."""
        return subprocess.run(
            [*COMMAND, *arguments], capture_output=True, text=True, timeout=timeout_s, cwd=self.folder, check=False
        )

    def push(self, path: Path, instance: str) -> subprocess.CompletedProcess[str]:
        return self.edgeflow(
            "flow", "push", str(path), "--gateway=demo", f"--instance={instance}",
            f"--central={self.url('central')}", f"--token-file={self.folder}/central/admin.token",
        )  # fmt: skip


def flow_copy(name: str, folder: Path, change: Callable[[str], str]) -> Path:
    """A shipped flow, changed, in a folder of its own."""
    path = folder / f"{name.replace('/', '-')}-{len(list(folder.glob('*')))}" / "flow.yaml"
    path.parent.mkdir(parents=True)
    text = (shipped("flows") / name / "flow.yaml").read_text("utf-8")
    changed = change(text)
    assert changed != text, "the change does nothing"
    path.write_text(changed, "utf-8")
    return path
