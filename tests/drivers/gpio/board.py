"""A board without pins: lines whose levels tests set, and whose changes wake the event loop through a pipe."""

from __future__ import annotations

import os

from edgeflow_gpio.chip import Change, Line, Listed, is_on
from edgeflow_gpio.settings import Point


class Board:
    """A chip with named lines. `levels` are what a voltmeter would show; `held` who has taken a line over."""

    name = "board0"

    def __init__(self, *names: str) -> None:
        self.names = names
        self.levels = dict.fromkeys(names, False)
        self.held: dict[str, BoardLine] = {}
        self.taken: set[str] = set()
        self.gone = self.closed = False
        self.log: list[tuple[str, bool]] = []

    def hold(self, point: Point) -> Line:
        if isinstance(point.line, int) and point.line >= len(self.names):
            raise LookupError(f"{self.name} has no line {point.line}")
        name = self.names[point.line] if isinstance(point.line, int) else point.line
        if name not in self.names:
            raise LookupError(f"{self.name} has no line {name!r}")
        self.answer()
        if name in self.taken or name in self.held:
            raise OSError(16, "Device or resource busy")
        self.held[name] = BoardLine(self, name, point)
        return self.held[name]

    def lines(self) -> list[Listed]:
        self.answer()
        return [Listed(i, name, "kernel" if name in self.taken else "") for i, name in enumerate(self.names)]

    def close(self) -> None:
        self.closed = True

    def answer(self) -> None:
        if self.gone:
            raise OSError(19, "No such device")

    def press(self, name: str, *levels: bool, at_ns: int = 0) -> None:
        """Somebody presses a button: the line changes so often, faster than anybody looks."""
        for level in levels:
            self.levels[name] = level
            if line := self.held.get(name):
                line.edges.append(Change(level != line.point.active_low, at_ns))
                os.write(line.wake, b"!")


class BoardLine:
    def __init__(self, board: Board, name: str, point: Point) -> None:
        self.board, self.name, self.point = board, name, point
        self.fd, self.wake = os.pipe()
        self.edges: list[Change] = []
        if point.direction == "out":
            self.set(is_on(point.start))

    def get(self) -> bool:
        self.board.answer()
        return self.board.levels[self.name] != self.point.active_low

    def set(self, on: bool) -> None:
        self.board.answer()
        self.board.levels[self.name] = on != self.point.active_low
        self.board.log.append((self.name, self.board.levels[self.name]))

    def changes(self) -> list[Change]:
        self.board.answer()
        os.read(self.fd, 1000)
        edges, self.edges = self.edges, []
        return edges

    def release(self) -> None:
        os.close(self.fd)
        os.close(self.wake)
        del self.board.held[self.name]
        self.board.answer()
