"""A durable publish outlives a kill of the agent while the broker is away."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import aiomqtt

from tests.drivers.mqtt.conftest import Broker

CONFIG = """\
gateway: {{name: line1}}
http: {{port: 0}}
services: {{mqtt: {{host: 127.0.0.1, port: {port}}}}}
flow_path: [flows]
flows: {{f: {{flow: t/f}}}}
"""
FLOW = """\
flow: t/f
nodes:
  once: {kind: constant, value: 7}
  kept: {kind: mqtt_publish, topic: kept, qos: 1, durable: true, envelope: true}
  live: {kind: mqtt_publish, topic: live, qos: 1}
wires: [once -> kept, once -> live]
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "edgeflow.cli.main", "run", folder / "gateway.yaml", "--state", folder / "state"],
            stderr=log,
            env={name: value for name, value in os.environ.items() if not name.startswith("EDGEFLOW")},
        )


def kept(folder: Path) -> int:
    """How many calls are on the disk; read from a copy, since the agent lets nobody at its database."""
    source = folder / "state" / "edgeflow.db"
    for suffix in ("", "-wal"):
        part = source.with_name(source.name + suffix)
        if part.exists():
            (folder / f"copy.db{suffix}").write_bytes(part.read_bytes())
    try:
        with closing(sqlite3.connect(folder / "copy.db")) as connection:
            return int(connection.execute("SELECT count(*) FROM call").fetchone()[0])
    except sqlite3.Error:  # copied in the middle of a write
        return 0


async def test_what_was_committed_is_published_after_a_kill(tmp_path: Path) -> None:
    (tmp_path / "flows/t/f").mkdir(parents=True)
    (tmp_path / "flows/t/f/flow.yaml").write_text(FLOW)
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker")
    (tmp_path / "gateway.yaml").write_text(CONFIG.format(port=broker.port))
    broker.kill()
    first = start(tmp_path)
    second: subprocess.Popen[bytes] | None = None
    try:
        async with asyncio.timeout(30):
            while not kept(tmp_path):
                assert first.poll() is None, (tmp_path / "log").read_text()
                await asyncio.sleep(0.1)
        first.kill()
        first.wait()
        broker.start()
        async with aiomqtt.Client("127.0.0.1", broker.port) as client, asyncio.timeout(30):
            await client.subscribe("#", qos=1)
            second = start(tmp_path)
            heard = []
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                heard.append((str(message.topic), json.loads(message.payload)))
                if [topic for topic, _ in heard].count("kept") == 2:
                    break
        contents = [content for topic, content in heard if topic == "kept"]
        assert [content["value"] for content in contents] == [7, 7]
        assert contents[0]["at"] < contents[1]["at"], "that of the first life, then that of the second"
        async with asyncio.timeout(10):
            while kept(tmp_path):  # noqa: ASYNC110 - the receipt may come after the subscriber has heard it
                await asyncio.sleep(0.1)
        second.terminate()
        assert second.wait(20) == 0
        assert kept(tmp_path) == 0, "what the broker has is not sent again"
    finally:
        for process in (first, second):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        broker.kill()
