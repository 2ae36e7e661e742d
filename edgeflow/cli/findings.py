"""Prints what a tool finds while it finds it: tables, progress on a terminal, sentences, points to paste."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TextIO

from edgeflow.clock import monotonic_ns
from edgeflow.devices.paste import tags_block
from edgeflow.devices.tool import TAG, Names, data_of, finding_of, until
from edgeflow.driver import Finding, Note, Progress, Row
from edgeflow.errors import EdgeFlowError
from edgeflow.model import Scalar
from edgeflow.units import NS_PER_S, duration_text

EXIT_INTERRUPTED = 130
_INTERRUPTED = "Ended before its time; what is above was found until then."
_CLEAR = "\r\x1b[K"
_WIDEST = 60
_MOST_WAITING = 200


def shown(value: Scalar | Sequence[Any] | Mapping[str, Any]) -> str:
    """A value as a person reads it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        large = 1e6 <= abs(value) < 1e12  # counters: their last digits are those that move
        return f"{value:.2f}".rstrip("0").rstrip(".") if large else f"{value:.7g}"
    return value.hex(" ") if isinstance(value, bytes) else " ".join(str(value).split())


class ProgressLine:
    """One line that says how far it is; on a terminal only, and never in what is kept."""

    def __init__(self, out: TextIO = sys.stderr) -> None:
        self._out, self._on = out, out.isatty() and os.environ.get("TERM") != "dumb"
        self._begun_ns = monotonic_ns()
        self._there = False

    def show(self, progress: Progress) -> None:
        """Says it anew."""
        if not self._on:
            return
        done = f"{progress.done} of {progress.total}" if progress.total else f"{progress.done}"
        left = self._left(progress)
        line = "  ".join(part for part in (done, left, progress.about) if part)
        width = shutil.get_terminal_size().columns
        self._out.write(f"{_CLEAR}{line[: width - 1]}")
        self._out.flush()
        self._there = True

    def clear(self) -> None:
        """Makes place for a line that stays."""
        if self._there:
            self._out.write(_CLEAR)
            self._out.flush()
            self._there = False

    def _left(self, progress: Progress) -> str:
        """The time that is left if it goes on like this."""
        spent_ns = monotonic_ns() - self._begun_ns
        if not progress.total or not progress.done or spent_ns < NS_PER_S:
            return ""
        left_ns = spent_ns * max(0, progress.total - progress.done) // progress.done
        return f"about {duration_text(max(left_ns // NS_PER_S, 1) * NS_PER_S)} left"


class Table:
    """Rows in columns as they come: a column grows with what is put into it."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._columns: tuple[str, ...] = ()
        self._widths: list[int] = []
        self._coming: Sequence[Mapping[str, Scalar]] = ()

    def expect(self, rows: Sequence[Mapping[str, Scalar]]) -> None:
        """Rows that will be added next, so that their columns are wide enough from the first one on."""
        self._coming = rows

    def add(self, cells: Mapping[str, Scalar]) -> None:
        """Prints a row, with a heading where its columns are new."""
        columns, texts = tuple(cells), [shown(value) for value in cells.values()]
        if columns != self._columns:
            if self._columns:
                print(file=self._out)
            self._columns, self._widths = columns, [max(len(name), 4) for name in columns]
            self._make_room(texts)
            self._print(columns)
        self._make_room(texts)
        self._print(texts)

    def _make_room(self, texts: Sequence[str]) -> None:
        for row in self._coming:
            if tuple(row) == self._columns:
                self._widen([shown(value) for value in row.values()])
        self._coming = [row for row in self._coming if tuple(row) != self._columns]
        self._widen(texts)

    def _widen(self, texts: Sequence[str]) -> None:
        self._widths = [max(width, min(len(text), _WIDEST)) for width, text in zip(self._widths, texts, strict=True)]

    def _print(self, texts: Sequence[str]) -> None:
        padded = [text.ljust(width) for text, width in zip(texts, self._widths, strict=True)]
        print("  ".join(padded).rstrip(), file=self._out, flush=True)


class Printer:
    """Takes findings one by one; `finish` prints the points to paste."""

    def __init__(self, *, as_json: bool, points: bool = True) -> None:
        self._json, self._points = as_json, points
        self._table, self._progress = Table(), ProgressLine()
        self._names, self._found = Names(), dict[str, Mapping[str, Any]]()
        self._rows: list[Row] = []

    def take(self, finding: Finding) -> None:
        """Prints it; rows wait until what follows is none, so that their columns are wide enough."""
        if isinstance(finding, Row) and not self._json:
            self._rows.append(finding)
            if len(self._rows) >= _MOST_WAITING:
                self._print_rows()
            return
        self._print_rows()
        if isinstance(finding, Progress):
            self._progress.show(finding)
            return
        self._progress.clear()
        if self._json:
            print(json.dumps(data_of(finding), ensure_ascii=False), flush=True)
        elif isinstance(finding, Note):
            print(finding.text, flush=True)

    def _print_rows(self) -> None:
        if not self._rows:
            return
        self._progress.clear()
        self._table.expect([row.cells for row in self._rows])
        for row in self._rows:
            self._table.add(row.cells)
            if row.point is not None:
                self._found[str(row.cells.get(TAG) or self._names.name("value"))] = row.point
        self._rows.clear()

    def say(self, text: str) -> None:
        """A sentence that belongs to no result."""
        self._print_rows()
        self._progress.clear()
        print(text, file=sys.stderr, flush=True)

    def finish(self) -> None:
        """What is left to print, and the points for a configuration."""
        self._print_rows()
        self._progress.clear()
        if self._points and self._found and not self._json:
            print(f"\n{tags_block(self._found)}", end="", flush=True)


def run(findings: AsyncIterator[Finding], printer: Printer) -> int:
    """Prints findings to their end, or to Ctrl-C; returns the exit code. Errors are raised after what was found."""

    async def all_of_them() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with aclosing(until(findings, stop)) as found:
            async for finding in found:
                printer.take(finding)
        if stop.is_set():
            printer.say(_INTERRUPTED)
            return EXIT_INTERRUPTED
        return 0

    try:
        return asyncio.run(all_of_them())
    finally:
        printer.finish()


def run_lines(lines: Iterator[Mapping[str, Any]], printer: Printer) -> int:
    """The same for the lines that an agent sends."""
    try:
        for line in lines:
            if line["kind"] == "error":
                raise EdgeFlowError(line["text"])
            if line["kind"] == "end":
                return 0
            printer.take(finding_of(line))
        raise EdgeFlowError("the agent has ended in the middle of it; ask again")
    except KeyboardInterrupt:
        printer.say(_INTERRUPTED)
        return EXIT_INTERRUPTED
    finally:
        printer.finish()
