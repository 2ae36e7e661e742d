"""Child processes that never outlive the plant: `python -m edgeflow.plant.child COMMAND ...`."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # prctl(2)
_END_S = 5.0


def die_with_parent() -> None:
    """Asks the kernel to kill this process when its parent dies, stopped or not (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def spawn(*command: str, text: str | None = None) -> Process:
    """Starts a command in a session of its own, so that Ctrl-C on the terminal reaches only the plant.

    `text` (a few kB at most) is all that the child can read, and it says nothing; without it standard
    input and output are pipes of the plant.
    """
    if text is None:
        return await _start(command, stdin=PIPE, stdout=PIPE, stderr=None)
    source, sink = os.pipe()
    try:
        os.write(sink, text.encode())
        os.close(sink)
        return await _start(command, stdin=source, stdout=DEVNULL, stderr=DEVNULL)
    finally:
        os.close(source)


async def _start(command: Sequence[str], *, stdin: int, stdout: int, stderr: int | None) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "edgeflow.plant.child",
        *command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


async def end(process: Process) -> None:
    """Terminates a child, stopped or not, and waits for it; kills it after 5 s."""
    if process.returncode is None:
        process.terminate()
        process.send_signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
    await process.wait()


def main() -> None:
    die_with_parent()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - the command is the plant's own


if __name__ == "__main__":
    main()
