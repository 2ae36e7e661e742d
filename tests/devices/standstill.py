"""Says when the machine itself stood still, so that a measurement of lateness does not count that as ours."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

NS_PER_S = 1_000_000_000

_NAP_S = 0.01
_LATE_S = 0.01
_TOGETHER_NS = NS_PER_S // 4
_MUCH_NS = NS_PER_S // 20


class Standstill:
    """On each processor a process that only sleeps, and notes when it was woken more than 10 ms late.

    Where that comes to more than 50 ms, with no more than a quarter of a second between, the machine stood still: its
    host gave it no time. The witnesses share nothing with who is measured: a loop of ours that is held up by our own
    doing is not noted.
    """

    def __init__(self, folder: Path) -> None:
        self._notes = {processor: folder / f"standstill-{processor}" for processor in os.sched_getaffinity(0)}
        self._witnesses: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for processor, notes in self._notes.items():
            notes.touch()
            self._witnesses.append(subprocess.Popen([sys.executable, "-S", __file__, str(processor), notes]))
        return self

    def __exit__(self, *_: object) -> None:
        for witness in self._witnesses:
            witness.terminate()
            witness.wait(10)

    def times(self, begun_ns: int, ended_ns: int) -> list[tuple[int, int]]:
        """From when to when (UTC, ns) in that time, for whichever processor."""
        assert all(witness.poll() is None for witness in self._witnesses), "a witness has ended"
        lines = [line.split() for notes in self._notes.values() for line in notes.read_text().splitlines()]
        noted = sorted((int(begun), int(ended)) for begun, ended in lines)
        times: list[tuple[int, int, int]] = []
        for begun, ended in noted:
            if times and begun <= times[-1][1] + _TOGETHER_NS:
                first, last, lost = times.pop()
                times.append((first, max(last, ended), lost + ended - begun))
            else:
                times.append((begun, ended, ended - begun))
        return [
            (begun, ended) for begun, ended, lost in times if lost > _MUCH_NS and begun < ended_ns and ended > begun_ns
        ]


def _watch(processor: int, notes: Path) -> None:
    os.sched_setaffinity(0, {processor})
    with notes.open("a", buffering=1) as lines:
        before_ns = time.time_ns()
        while True:
            time.sleep(_NAP_S)
            now_ns = time.time_ns()
            if now_ns - before_ns > (_NAP_S + _LATE_S) * NS_PER_S:
                lines.write(f"{before_ns} {now_ns}\n")
            before_ns = now_ns


if __name__ == "__main__":
    _watch(int(sys.argv[1]), Path(sys.argv[2]))
