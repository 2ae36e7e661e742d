"""A real OPC UA server in its own process, so that it can be stopped, killed and started again."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.opcua.servers import Process, node_server

SERVER = Path(__file__).with_name("server.py")
PRESS = Path(__file__).with_name("press.py")
_START_S = 30.0


class Filler:
    """The server process; what it holds is set and asked for on its standard input."""

    def __init__(self, items: int = 0, script: Path = SERVER) -> None:
        self.items, self._script = items, script
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.start()

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}"

    def start(self) -> None:
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, str(self._script), str(self.port), str(self.items)], **pipes)
        if self._line() != "ready":
            self.kill()
            raise AssertionError("the OPC UA server of the test did not start")

    def tell(self, do: str, node: str | None = None, **more: Any) -> Any:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"do": do, "node": node, **more}) + "\n")
        self.process.stdin.flush()
        return json.loads(self._line())

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            with suppress(BrokenPipeError):
                pipe.close()

    def _line(self) -> str:
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], _START_S)
        assert ready, "the OPC UA server of the test says nothing"
        return self.process.stdout.readline().strip()


@pytest.fixture(scope="session")
def _shared() -> Iterator[Filler]:
    filler = Filler()
    yield filler
    filler.kill()


@pytest.fixture
def filler(_shared: Filler) -> Filler:
    """The server that every test may change and none may harm."""
    _shared.tell("reset")
    return _shared


@pytest.fixture
def own_filler() -> Iterator[Filler]:
    """A server of this test's own, to stop and kill."""
    filler = Filler()
    yield filler
    filler.kill()


@pytest.fixture(scope="session")
def _large() -> Iterator[Filler]:
    filler = Filler(items=5000)
    yield filler
    filler.kill()


@pytest.fixture
def large_filler(_large: Filler) -> Filler:
    """A server with 5,000 more variables."""
    _large.tell("reset")
    return _large


@pytest.fixture(scope="session")
def _press() -> Iterator[Filler]:
    press = Filler(script=PRESS)
    yield press
    press.kill()


@pytest.fixture
def press(_press: Filler) -> Filler:
    """A server with structures, enumerations, methods, events, alarms and history."""
    _press.tell("reset")
    return _press


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server made with node-opcua: variables, arrays and history."""
    process = node_server(tmp_path_factory.mktemp("node") / "pki")
    yield process
    process.stop()
