"""PNS, the socket protocol of Patlite's towers: frames and what they mean, by series.

Sources: Patlite's sample programs for LA6-POE and LR5-LAN (control, clear and status commands with their
data); for NH towers the published command frames of the NH series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeflow.errors import Rejected
from edgeflow.model import Scalar
from edgeflow_patlite.settings import Device, Model, Point

ACK, NAK = 0x06, 0x15
UNCHANGED = 9
TIERS, BUZZER, PARTS = 5, 5, 6
_STATUS, _CONTROL = b"G", b"S"
_INPUTS, _MODE = 8, 8  # an LA6 tells its eight inputs and its mode before its lights


@dataclass(frozen=True, slots=True)
class Series:
    """What one series understands: how frames begin, the patterns of a tier, the highest buzzer pattern."""

    title: str
    begin: bytes
    patterns: Mapping[str, int]
    buzzer: int
    inputs: bool = False


_BLINKING = {"off": 0, "on": 1, "flash_slow": 2, "flash": 3, "flash_fast": 4, "single": 5, "double": 6, "triple": 7}
SERIES: dict[Model, Series] = {
    "la6": Series("LA6", b"AB", {"off": 0, "on": 1, "flash": 2}, 3, inputs=True),
    "lr5": Series("LR5", b"AB", _BLINKING, 1),
    "nh": Series("NH", b"XX", {"off": 0, "on": 1, "flash": 2, "flash_fast": 3}, 4),
}


@dataclass(frozen=True, slots=True)
class Status:
    """What a tower says of itself: the pattern of each tier, of the buzzer, and its inputs.

    `smart`: the tower runs a program of its own and obeys nobody.
    """

    parts: tuple[int, ...]
    inputs: tuple[bool, ...] = ()
    smart: bool = False


def status_request(device: Device) -> bytes:
    """Asks for the status."""
    return _frame(device, _STATUS, b"")


def control_request(device: Device, points: Sequence[Point], values: Sequence[Scalar]) -> bytes:
    """One command for all parts that are written; the others stay. Raises Rejected for what does not fit."""
    series = SERIES[device.model]
    data = bytearray([UNCHANGED] * PARTS)
    for point, value in zip(points, values, strict=True):
        if point.input is not None:
            raise Rejected(f"{point.title} is read only")
        if point.tier is not None:
            if value not in series.patterns:
                known = ", ".join(series.patterns)
                raise Rejected(
                    f"{value!r:.40} is no pattern of {point.title}; a tower of series {series.title} knows {known}"
                )
            data[point.tier - 1] = series.patterns[str(value)]
        else:
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= series.buzzer:
                raise Rejected(f"{value!r:.40} is no buzzer pattern; write 0 (off) to {series.buzzer}")
            data[BUZZER] = value
    return _frame(device, _CONTROL, bytes(data))


def status_size(device: Device, begin: bytes) -> int | None:
    """How long the answer to a status request is that begins so; None where more has to come to tell."""
    if begin[0] == NAK:
        return 1
    if not SERIES[device.model].inputs:
        return PARTS
    if len(begin) <= _MODE:
        return None
    return _INPUTS + 1 + (4 if begin[_MODE] else PARTS)


def spare(device: Device) -> int:
    """How many bytes more may follow: in smart mode a status may be filled up to its usual length."""
    return 2 if SERIES[device.model].inputs else 0


def status(device: Device, answer: bytes) -> Status:
    """Takes a status answer apart; raises ValueError where it cannot be one."""
    if not SERIES[device.model].inputs:
        return Status(tuple(answer))
    flags, mode, rest = answer[:_INPUTS], answer[_MODE], answer[_MODE + 1 :]
    if any(flag > 1 for flag in flags) or mode > 1:
        raise ValueError("it answers what no LA6 answers; check `model`")
    return Status(() if mode else tuple(rest), tuple(flag == 1 for flag in flags), smart=mode == 1)


def value(device: Device, point: Point, now: Status) -> Scalar:
    """The value of one point; raises Rejected where the tower does not tell it, or tells what nobody knows."""
    series = SERIES[device.model]
    if point.input is not None:
        if not series.inputs:
            raise Rejected(f"a tower of series {series.title} does not tell its inputs")
        return now.inputs[point.input - 1]
    if now.smart:
        raise Rejected("the tower is in smart mode and obeys no commands; set it to signal light mode in its web page")
    if point.tier is None:
        return now.parts[BUZZER]
    number = now.parts[point.tier - 1]
    for name, known in series.patterns.items():
        if known == number:
            return name
    raise Rejected(f"{point.title} shows pattern {number}, which series {series.title} does not have; check `model`")


def _frame(device: Device, command: bytes, data: bytes) -> bytes:
    return SERIES[device.model].begin + command + b"\0" + len(data).to_bytes(2, "big") + data
