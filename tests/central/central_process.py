"""A central server as a process of its own. Arguments: folder, port. Prints its address once it listens."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from edgeflow.central.server import started
from edgeflow.central.settings import Settings


async def main(settings: Settings) -> None:
    async with started(settings) as served:
        print(f"ready {served.url}", flush=True)
        await asyncio.Event().wait()


asyncio.run(main(Settings(state=Path(sys.argv[1]), port=int(sys.argv[2]))))
