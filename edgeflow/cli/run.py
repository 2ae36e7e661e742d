"""`edgeflow run`: the agent as a process."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path
from typing import Literal


def run(path: Path, state: str | None, loop: Literal["uvloop", "asyncio"], *, debug: bool = False) -> None:
    """Reads the configuration and runs the agent until SIGTERM or SIGINT."""
    gc.disable()  # nothing that is loaded at the start becomes garbage
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type] # structlog would load it for colours
    from edgeflow.agent import config as agent_config  # noqa: PLC0415 - after the line above
    from edgeflow.cli.process import serve, set_up_logs, state_dir  # noqa: PLC0415 - as above
    from edgeflow.node import installed  # noqa: PLC0415 - as above

    set_up_logs(debug=debug)
    config = agent_config.load(path, installed())
    from edgeflow.agent.agent import Agent  # noqa: PLC0415 - a bad configuration is told before the rest is loaded

    gc.freeze()
    gc.enable()

    async def main(stop: asyncio.Event) -> None:
        await Agent(config, state_dir(state)).run(stop)

    serve(main, loop)
