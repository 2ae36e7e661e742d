"""The lines of one chip: held while the session lasts, every change pushed with the kernel's own time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial

from edgeflow.driver import Column, Found, Home, Push, Reader, single
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import BAD, Quality, Scalar
from edgeflow.units import NS_PER_S
from edgeflow_gpio.chip import Chip, Line, is_on, open_chip
from edgeflow_gpio.settings import Device, Link, Point

Faults = dict[int, tuple[Quality, str]]


@asynccontextmanager
async def open_session(
    link: Link, _deadline: float, _home: Home, chip: Callable[[str], Chip] = open_chip
) -> AsyncIterator[Session]:
    """Opens the chip; on leaving its outputs get their levels for the exit. Raises LinkDown."""
    session = Session(chip(link.chip))
    try:
        yield session
    finally:
        session.close()


class Session:
    """Reads, watches and writes lines; a line is taken over when it is first asked for."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        self._held: dict[int | str, tuple[Point, Line]] = {}

    def close(self) -> None:
        """Lets go of every line; a chip that is gone is no reason to keep the others."""
        for point, line in self._held.values():
            with suppress(OSError):
                if point.direction == "out":
                    line.set(is_on(point.exit))
            with suppress(OSError):
                line.release()
        self._held.clear()
        self._chip.close()

    async def prepare(self, device: Device, points: Sequence[Point], deadline: float) -> Reader:  # noqa: ARG002 - contract
        """The first read takes the lines over; one that cannot be had is a fault of its own."""

        async def read(deadline: float) -> Column:  # noqa: ARG001 - contract; a line answers at once
            return self._now(points)

        return single(read)

    async def watch(self, device: Device, points: Sequence[Point], push: Push) -> None:
        """Pushes all lines, then every change in its order, and all of them again at each heartbeat.

        Raises LinkDown when the chip is gone.
        """
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[None] = loop.create_future()

        def changed(index: int, line: Line) -> None:
            try:
                for change in line.changes():
                    push(Column([change.on], change.at_ns, None, (index,)))
            except OSError as error:
                if not lost.done():
                    lost.set_exception(LinkDown(self._gone(error)))

        unheard = [index for index, point in enumerate(points) if point.direction == "in"]
        with ExitStack() as readers:
            while True:
                push(self._now(points))
                for index in unheard[:]:
                    with suppress(Rejected):  # it was told just now, and is tried again at the next heartbeat
                        line = self._line(points[index])
                        loop.add_reader(line.fd, partial(changed, index, line))
                        readers.callback(loop.remove_reader, line.fd)
                        unheard.remove(index)
                await asyncio.wait({lost}, timeout=device.heartbeat / NS_PER_S)
                if lost.done():
                    lost.result()

    async def write(self, device: Device, points: Sequence[Point], values: Sequence[Scalar], deadline: float) -> None:  # noqa: ARG002 - contract
        """Switches outputs, in order; nothing is switched where one of them cannot be. Raises Rejected, LinkDown."""
        ready: list[tuple[Line, bool]] = []
        for point, value in zip(points, values, strict=True):
            if point.direction != "out":
                raise Rejected(f"line {point.line} is an input; say `direction: out` where it is an output")
            if not isinstance(value, bool):
                raise Rejected(f"{value!r:.40} is neither true nor false; line {point.line} knows only these")
            ready.append((self._line(point), value))
        with self._answering():
            for line, on in ready:
                line.set(on)

    async def browse(self, path: str, deadline: float) -> AsyncIterator[Found]:  # noqa: ARG002 - contract
        """All lines of the chip, with who uses them."""
        with self._answering():
            listed = self._chip.lines()
        for each in listed:
            name: int | str = each.name or each.number
            title = f"line {each.number}" + (f", used by {each.user}" if each.user else "")
            yield Found(str(name), title, {"line": name}, "boolean")

    def _now(self, points: Sequence[Point]) -> Column:
        values: list[Scalar] = []
        faults: Faults = {}
        with self._answering():
            for index, point in enumerate(points):
                try:
                    values.append(self._line(point).get())
                except Rejected as reason:
                    values.append(None)
                    faults[index] = (BAD, str(reason))
        return Column(values, 0, faults or None)

    def _line(self, point: Point) -> Line:
        """The line of a point, taken over now if it was not yet; raises Rejected where it cannot be had."""
        if point.line not in self._held:
            try:
                self._held[point.line] = point, self._chip.hold(point)
            except LookupError as error:
                raise Rejected(f"{error.args[0]}; `edgeflow browse` lists those that it has") from None
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise Rejected(f"line {point.line} cannot be had ({reason}); another program may hold it") from None
        known, line = self._held[point.line]
        if known != point:
            raise Rejected(f"line {point.line} is written twice, in two ways; it can have only one")
        return line

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LinkDown(self._gone(error)) from None

    def _gone(self, error: OSError) -> str:
        return f"{self._chip.name} does not answer: {(error.strerror or str(error)).lower()}"
