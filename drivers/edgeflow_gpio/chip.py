"""libgpiod, and all that is known of it here; the rest of the driver sees lines that are on or off."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgeflow.errors import LinkDown
from edgeflow_gpio.settings import Level, Point

if TYPE_CHECKING:
    import gpiod

_US_PER_NS = 1 / 1000


@dataclass(frozen=True, slots=True)
class Change:
    """An edge as the kernel saw it: the new state, and when (UTC, ns)."""

    on: bool
    at_ns: int


class Line(Protocol):
    """A line that this process holds. `fd` becomes readable when it has changed. All calls may raise OSError."""

    fd: int

    def get(self) -> bool: ...
    def set(self, on: bool) -> None: ...
    def changes(self) -> list[Change]: ...
    def release(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Listed:
    """A line as the chip lists it; `user` is who holds it, empty for nobody."""

    number: int
    name: str
    user: str


class Chip(Protocol):
    """An open chip."""

    name: str

    def hold(self, point: Point) -> Line:
        """Takes a line over; raises LookupError where there is none, OSError where it is taken."""

    def lines(self) -> list[Listed]: ...
    def close(self) -> None: ...


def open_chip(name: str) -> Chip:
    """Opens a chip by name, path or label; raises LinkDown that says what to do."""
    try:
        import gpiod  # noqa: PLC0415 - only a gateway with pins has it
    except ImportError:
        raise LinkDown("the Python package gpiod is missing; requirements.txt of EdgeFlow lists it") from None
    found = []
    for path in _paths(name):
        try:
            chip = gpiod.Chip(str(path))
        except FileNotFoundError:
            continue
        except PermissionError:
            raise LinkDown(f"{path} may not be used; put the user that runs the agent into the group gpio") from None
        except OSError as error:
            raise LinkDown(f"{path} is no GPIO chip: {(error.strerror or str(error)).lower()}") from None
        label = chip.get_info().label
        if name in (str(path), path.name, label):
            return _Chip(chip, path.name)
        found.append(f"{path.name} ({label})")
        chip.close()
    none = "this machine has none"
    if "INVOCATION_ID" in os.environ:  # of systemd, whose unit hides them unless it is told otherwise
        none += ", or the systemd unit hides them: install the drop-in gpio.conf (docs/packaging.md)"
    there = f"there are {', '.join(found)}" if found else none
    raise LinkDown(f"there is no GPIO chip {name!r}; {there}")


def _paths(name: str) -> Iterator[Path]:
    if "/" in name:
        yield Path(name)
    else:
        yield from sorted(Path("/dev").glob("gpiochip*"))


class _Chip:
    def __init__(self, chip: gpiod.Chip, name: str) -> None:
        self._chip, self.name = chip, name

    def hold(self, point: Point) -> Line:
        try:
            number = self._chip.line_offset_from_id(point.line)
        except (OSError, ValueError):
            raise LookupError(f"{self.name} has no line {point.line!r}") from None
        return _Line(self._chip, number, point)

    def lines(self) -> list[Listed]:
        found = (self._chip.get_line_info(number) for number in range(self._chip.get_info().num_lines))
        return [
            Listed(info.offset, info.name or "", (info.consumer or "in use") if info.used else "") for info in found
        ]

    def close(self) -> None:
        self._chip.close()


class _Line:
    def __init__(self, chip: gpiod.Chip, number: int, point: Point) -> None:
        from gpiod import LineSettings, line  # noqa: PLC0415 - as above

        bias = {
            "as-is": line.Bias.AS_IS,
            "none": line.Bias.DISABLED,
            "up": line.Bias.PULL_UP,
            "down": line.Bias.PULL_DOWN,
        }
        if point.direction == "in":
            settings = LineSettings(
                direction=line.Direction.INPUT,
                edge_detection=line.Edge.BOTH,
                bias=bias[point.bias],
                active_low=point.active_low,
                debounce_period=timedelta(microseconds=point.debounce * _US_PER_NS),
                event_clock=line.Clock.REALTIME,
            )
        else:
            settings = LineSettings(
                direction=line.Direction.OUTPUT,
                bias=bias[point.bias],
                active_low=point.active_low,
                output_value=self._value(is_on(point.start)),
            )
        self._number = number
        self._request = chip.request_lines({number: settings}, consumer="edgeflow")
        self.fd = self._request.fd

    @staticmethod
    def _value(on: bool) -> gpiod.line.Value:
        from gpiod.line import Value  # noqa: PLC0415 - as above

        return Value.ACTIVE if on else Value.INACTIVE

    def get(self) -> bool:
        return self._request.get_value(self._number) == self._value(on=True)

    def set(self, on: bool) -> None:
        self._request.set_value(self._number, self._value(on))

    def changes(self) -> list[Change]:
        from gpiod import EdgeEvent  # noqa: PLC0415 - as above

        rising = EdgeEvent.Type.RISING_EDGE
        return [Change(event.event_type is rising, event.timestamp_ns) for event in self._request.read_edge_events()]

    def release(self) -> None:
        self._request.release()


def is_on(level: Level) -> bool:
    """Whether a level that a person wrote is on."""
    return level == "on"
