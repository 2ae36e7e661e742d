"""`edgeflow run`: the agent as a process."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from pathlib import Path


def _load_lean() -> None:
    """Keeps what we do not use out of memory: 9 MB and 0.1 s of a small gateway's start."""
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type] # structlog would load it for colours
    trusted = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = os.devnull  # aiohttp would load all certificates; whoever needs them does so itself
    try:
        import aiohttp  # noqa: F401, PLC0415 - loaded here for the line above
    finally:
        if trusted is None:
            del os.environ["SSL_CERT_FILE"]
        else:
            os.environ["SSL_CERT_FILE"] = trusted


def run(arguments: list[str]) -> None:
    """Reads the configuration and runs the agent until SIGTERM or SIGINT."""
    gc.disable()  # nothing that is loaded at the start becomes garbage
    _load_lean()
    from edgeflow.agent import config as agent_config  # noqa: PLC0415 - after the line above
    from edgeflow.cli.process import serve, set_up_logs, state_dir  # noqa: PLC0415 - as above
    from edgeflow.node import installed  # noqa: PLC0415 - as above

    parser = argparse.ArgumentParser(prog="edgeflow run", description="Run the gateway agent.")
    parser.add_argument("config", nargs="?", default="/etc/edgeflow/gateway.yaml", type=Path, help="configuration file")
    parser.add_argument("--state", help="folder for state (default: $EDGEFLOW_STATE or /var/lib/edgeflow)")
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop", help="event loop (default: uvloop)")
    parser.add_argument("--debug", action="store_true", help="log more")
    given = parser.parse_args(arguments)
    set_up_logs(debug=given.debug)
    config = agent_config.load(given.config, installed())
    from edgeflow.agent.agent import Agent  # noqa: PLC0415 - a bad configuration is told before the rest is loaded

    gc.freeze()
    gc.enable()

    async def main(stop: asyncio.Event) -> None:
        await Agent(config, state_dir(given.state)).run(stop)

    serve(main, given.loop)
