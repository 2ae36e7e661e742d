"""What every long-running process of ours does first: logs, event loop, signals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import structlog

from edgeflow.clock import SystemClock, utc_text
from edgeflow.notify import notify

Loop = Literal["uvloop", "asyncio"]


def set_up_logs(*, debug: bool = False) -> None:
    """Console on a terminal, JSON elsewhere; one time stamp, ours."""
    clock = SystemClock()

    def stamp(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {"time": utc_text(clock.now_ns()), **event}

    terminal = sys.stderr.isatty()
    console, json = structlog.dev.ConsoleRenderer(timestamp_key="time"), structlog.processors.JSONRenderer()
    render: Any = console if terminal else json
    shared: list[Any] = [structlog.stdlib.add_log_level, stamp]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if debug else logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=render, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if debug else logging.WARNING, force=True)


def state_dir(given: str | None) -> Path:
    """Where state lives: the option, `$EDGEFLOW_STATE`, or /var/lib/edgeflow."""
    return Path(given or os.environ.get("EDGEFLOW_STATE") or "/var/lib/edgeflow")


def serve(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]], loop: Loop = "uvloop") -> None:
    """Runs `main` until it returns; SIGTERM and SIGINT set the event it is given."""

    async def until_told() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await main(stop)

    with asyncio.Runner(loop_factory=_factory(loop)) as runner:
        runner.run(until_told())


@asynccontextmanager
async def beating() -> AsyncIterator[None]:
    """Tells systemd that the process is ready, feeds its watchdog from the event loop, and says when it stops."""

    async def beat() -> None:
        while True:
            notify("WATCHDOG=1")
            await asyncio.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        notify("READY=1")
        task = group.create_task(beat())
        try:
            yield
        finally:
            notify("STOPPING=1")
            task.cancel()


def _factory(loop: Loop) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if loop == "uvloop":
        try:
            import uvloop  # noqa: PLC0415 - not there on every platform
        except ImportError:
            return None
        return uvloop.new_event_loop
    return None
