"""What every long-running process of ours does first: logs, event loop, signals."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TextIO, cast

import structlog

from edgeflow.clock import SystemClock, utc_text
from edgeflow.notify import notify

Loop = Literal["uvloop", "asyncio"]


_AT_ONCE = 4096
"""So many bytes a pipe takes without waiting once it is writable (PIPE_BUF)."""


class _Lines:
    """Where log lines go. One that cannot be written is lost: neither a full disk nor a broken pipe may end the
    process, and a reader that has stopped reading must not hold it up."""

    def __init__(self, file: TextIO | None) -> None:
        self._file, self._lost = file, 0
        try:
            self._fd = file.fileno() if file is not None else -1
        except (OSError, ValueError):
            self._fd = -1

    def write(self, text: str) -> int:
        if self._fd < 0:
            if self._file is not None:
                with suppress(OSError, ValueError):
                    self._file.write(text)
        else:
            if self._lost and self._written(f"{self._lost} lines were lost: nobody read them\n"):
                self._lost = 0
            self._lost += not self._written(text)
        return len(text)

    def _written(self, text: str) -> bool:
        """Writes what goes without waiting; whether all of it went."""
        left = text.encode(errors="replace")
        with suppress(OSError, ValueError):
            while left and select.select([], [self._fd], [], 0)[1]:
                left = left[os.write(self._fd, left[:_AT_ONCE]) :]
        return not left

    def flush(self) -> None:
        if self._file is not None:
            with suppress(OSError, ValueError):
                self._file.flush()

    def isatty(self) -> bool:
        return self._file is not None and self._file.isatty()


def set_up_logs(*, debug: bool = False) -> None:
    """Console on a terminal, JSON elsewhere; one time stamp, ours."""
    clock = SystemClock()

    def stamp(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {"time": utc_text(clock.now_ns()), **event}

    lines = cast("TextIO", _Lines(sys.stderr))  # there is none where it was closed before the start
    console, json = structlog.dev.ConsoleRenderer(timestamp_key="time"), structlog.processors.JSONRenderer()
    render: Any = console if lines.isatty() else json
    shared: list[Any] = [structlog.stdlib.add_log_level, stamp]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if debug else logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(lines),
    )
    handler = logging.StreamHandler(lines)
    foreign = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.format_exc_info, render]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=foreign, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if debug else logging.WARNING, force=True)


def state_dir(given: str | None) -> Path:
    """Where state lives: the option, `$EDGEFLOW_STATE`, or /var/lib/edgeflow."""
    return Path(given or os.environ.get("EDGEFLOW_STATE") or "/var/lib/edgeflow")


LONGEST_PAUSE_S, STEADY_S = 30.0, 60.0


def pause_before_restart(lived_s: float) -> None:
    """Under systemd, waits longer each time a start has failed: what a restart does not cure must not fill the journal.

    It counts in the unit's RuntimeDirectory, which lasts over its restarts. A process that has lived for a while, or
    that was killed, is begun again at once.
    """
    folder = os.environ.get("RUNTIME_DIRECTORY")
    if not folder:
        return
    path = Path(folder) / "failed-starts"
    try:
        failed = int(path.read_text("ascii")) if lived_s < STEADY_S else 0
    except (OSError, ValueError):
        failed = 0
    with suppress(OSError):
        path.write_text(f"{failed + 1}\n", "ascii")
    time.sleep(min(2.0**failed - 1, LONGEST_PAUSE_S))


def serve(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]], loop: Loop = "uvloop") -> None:
    """Runs `main` until it returns; SIGTERM, SIGINT and a lost terminal set the event it is given."""

    async def until_told() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        for number in (
            signal.SIGUSR1,
            signal.SIGUSR2,
        ):  # would end the process; whoever rotates logs likes to send them
            signal.signal(number, signal.SIG_IGN)
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
