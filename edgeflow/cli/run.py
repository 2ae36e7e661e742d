"""`edgeflow run`: the agent as a process."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from pathlib import Path


def run(arguments: list[str]) -> None:
    """Reads the configuration and runs the agent until SIGTERM or SIGINT."""
    gc.disable()  # nothing that is loaded at the start becomes garbage
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type] # structlog would load it for colours
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
