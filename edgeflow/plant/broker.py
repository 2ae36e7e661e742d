"""An MQTT broker for demonstrations and tests: mosquitto where it is installed, otherwise amqtt in this process."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Literal

from edgeflow.errors import EdgeFlowError
from edgeflow.plant import child
from edgeflow.plant.port import free_port

Kind = Literal["auto", "mosquitto", "embedded"]
_READY_S, _LOOK_S = 10.0, 0.05
_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


def mosquitto_path() -> str | None:
    """Where mosquitto is installed; distributions put it where only root looks."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}")


def chosen(kind: Kind) -> Literal["mosquitto", "embedded"]:
    """Which one it is here."""
    if kind == "auto":
        return "mosquitto" if mosquitto_path() else "embedded"
    return kind


@asynccontextmanager
async def broker(port: int, kind: Kind = "auto") -> AsyncIterator[int]:
    """Runs a broker on the loopback while the block lasts; gives its port.

    That is `port`, or another free one when it is taken or 0. Raises EdgeFlowError where there is
    no broker to run, or when mosquitto does not start.
    """
    port = free_port(port)
    if chosen(kind) == "mosquitto":
        path = mosquitto_path()
        if not path:
            raise EdgeFlowError("mosquitto is not installed; install it or use the embedded broker")
        async with _mosquitto(path, port):
            yield port
    else:
        async with _embedded(port):
            yield port


@asynccontextmanager
async def _mosquitto(path: str, port: int) -> AsyncIterator[None]:
    # Read from a pipe: a file would stay behind when the plant is killed.
    conf = (
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        f"log_type error\nuser {getpass.getuser()}\n"
    )
    process = await child.spawn(path, "-c", "/dev/stdin", text=conf)
    try:
        await _listening(process, port)
        yield
    finally:
        await child.end(process)


async def _listening(process: Process, port: int) -> None:
    for _ in range(round(_READY_S / _LOOK_S)):
        if process.returncode is not None:
            break
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(_LOOK_S)
            continue
        writer.close()
        await writer.wait_closed()
        return
    raise EdgeFlowError(f"mosquitto does not start on port {port}; try it by hand: mosquitto -p {port}")


@asynccontextmanager
async def _embedded(port: int) -> AsyncIterator[None]:
    if not find_spec("amqtt"):
        raise EdgeFlowError(
            "there is no MQTT broker here; install mosquitto (apt-get install mosquitto), or the Python package "
            "amqtt as requirements.txt of EdgeFlow lists it"
        )
    embedded = import_module("amqtt.broker").Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await embedded.start()
    try:
        yield
    finally:
        await embedded.shutdown()
