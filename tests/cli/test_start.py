"""The moments between the first line of the log and the first page: asked early, stopped early."""

from __future__ import annotations

import json
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.cli.shop import Running, free_port

STOPPED_AFTER_S = (0.0, 0.03, 0.1, 0.2, 0.35)


class Starting(Running):
    """An agent of which nothing is known but that it has started to read machines."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        config = folder / "gateway.yaml"
        config.write_text(
            f"gateway: {{name: line1}}\nhttp: {{port: {self.port}}}\n"
            f"services: {{mqtt: {{host: 127.0.0.1, port: {free_port()}}}}}\n"
        )
        super().__init__(folder, "run", config, "--state", folder / "state")
        self.said("agent started")


def test_who_asks_before_the_pages_are_loaded_is_answered(tmp_path: Path) -> None:
    with Starting(tmp_path) as agent, socket.create_connection(("127.0.0.1", agent.port), 10) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % agent.port)
        client.settimeout(20)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 200 "), answer


@pytest.mark.parametrize("after_s", STOPPED_AFTER_S)
def test_an_agent_that_is_stopped_while_it_loads_ends_well(tmp_path: Path, after_s: float) -> None:
    with Starting(tmp_path) as agent:
        time.sleep(after_s)
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(20) == 0
        said = [json.loads(line) for line in agent.log.read_text().splitlines()]
        assert said[-1]["event"] == "stopped"
        assert not [line for line in said if line["level"] == "error"]
