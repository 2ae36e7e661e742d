"""The command line as a person uses it, a simulated plant and an agent as processes of their own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from edgeflow.cli.main import main
from edgeflow.plant.port import free_port

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "edgeflow.cli.main"]


_STATE = tempfile.TemporaryDirectory(prefix="edgeflow-state-")  # not the one of this machine


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EDGEFLOW")}
    return {**kept, "COLUMNS": "120", "EDGEFLOW_STATE": _STATE.name, **more}


def edgeflow(*arguments: str | Path | int, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=cwd,
        env=environment(**more),
    )


@dataclass(frozen=True)
class Done:
    """What a command left when it was run in this process: quicker, where nothing but words matters."""

    returncode: int
    stdout: str
    stderr: str


def here(*arguments: str | Path | int, cwd: Path | None = None) -> Done:
    """The same command in this process."""
    out, err = io.StringIO(), io.StringIO()
    before, kept, at = sys.argv, dict(os.environ), Path.cwd()
    sys.argv = ["edgeflow", *map(str, arguments)]
    os.environ.clear()
    os.environ.update(environment())
    os.chdir(cwd or at)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
        os.environ.clear()
        os.environ.update(kept)
        os.chdir(at)
    return Done(code, out.getvalue(), err.getvalue())


class Running:
    """A process of ours; its log is a file of JSON lines."""

    def __init__(self, folder: Path, *arguments: str | Path, **more: str) -> None:
        self.log = folder / f"{arguments[0]}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, *map(str, arguments)], stdout=log, stderr=log, env=environment(**more)
            )

    def said(self, event: str) -> dict[str, Any]:
        """Waits for an event in the log."""
        end = time.monotonic() + 40
        while True:
            for line in self.log.read_text().splitlines():
                entry = json.loads(line) if line.startswith("{") else {}
                if entry.get("event") == event:
                    return dict(entry)
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait(20)


class Plant(Running):
    """`edgeflow sim plant` on free ports."""

    def __init__(self, folder: Path) -> None:
        ports = [f"--{name}-port={free_port()}" for name in ("truth", "press", "meter", "io", "filler", "mqtt")]
        super().__init__(folder, "sim", "plant", *ports, "--seed=1")
        at = self.said("plant is running")
        self.port = {
            name: int(at[name].split(":")[2].split("/")[0]) for name in ("press", "meter", "io1", "filler", "oven")
        }
        self.opcua = f"opc.tcp://127.0.0.1:{self.port['filler']}"
        self.mqtt = f"mqtt://127.0.0.1:{self.port['oven']}"


class Agent(Running):
    """`edgeflow run` of a configuration text; `state` is where its token is."""

    def __init__(self, folder: Path, text: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.config, self.state = folder / "gateway.yaml", folder / "state"
        self.config.write_text(f"gateway: {{name: line1}}\nhttp: {{port: {port}}}\n{text}")
        super().__init__(folder, "run", self.config, "--state", self.state)
        self.said("agent started")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.loads(answer.read())

    def until(self, path: str, fits: Any) -> Any:
        """Asks until the answer is as it must become."""
        end = time.monotonic() + 30
        while True:
            found = self.get(path)
            if fits(found):
                return found
            assert time.monotonic() < end, found
            time.sleep(0.05)
