"""What reading takes: a part for each request and a part for each byte, measured from the answers."""

from __future__ import annotations

from dataclasses import dataclass

from edgeflow_modbus.pdu import Table

_FADES = 0.97
_FIRM = 8192.0  # bytes², the spread of lengths at which one answer weighs as much as what was assumed before
_OUTLIER = 4.0
_LEAST_REQUEST_S, _LEAST_BYTE_S = 1e-6, 1e-7


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds for a request of whatever size, and for each byte of values in its answer."""

    request_s: float
    byte_s: float


ETHERNET = Cost(4e-3, 125e-6)
"""Where nothing is known yet: sixteen registers read along cost what another request does."""


def serial(baud: int, bits: int = 11) -> Cost:
    """What a serial line allows: MODBUS over Serial Line V1.02, 2.5.1: eight characters of request, five around
    the values of the answer, two pauses of 3.5 characters (1.75 ms above 19200 baud); 10 ms for the device to turn
    round, as is usual. `bits`: of one character on the line.
    """
    character_s = bits / baud
    pause_s = 3.5 * character_s if baud <= 19200 else 1.75e-3
    return Cost(13 * character_s + 2 * pause_s + 10e-3, character_s)


def per_address(table: Table) -> float:
    """The bytes that one address of a table takes in an answer."""
    return 0.125 if table.bits else 2.0


class Measure:
    """A straight line through (bytes, seconds) of the answers, in which older ones fade.

    Where all answers are about as long, the ratio of its two parts is the one assumed before.
    """

    def __init__(self, assumed: Cost) -> None:
        self.assumed, self.cost = assumed, assumed
        self._n = self._x = self._y = self._xx = self._xy = 0.0

    def add(self, size: int, took_s: float) -> None:
        """Takes one answer into account; one that took very long counts only as far as such are usual."""
        took_s = min(took_s, _OUTLIER * (self.cost.request_s + self.cost.byte_s * size))
        self._n = self._n * _FADES + 1
        self._x = self._x * _FADES + size
        self._y = self._y * _FADES + took_s
        self._xx = self._xx * _FADES + size * size
        self._xy = self._xy * _FADES + size * took_s
        self.cost = self._line()

    def _line(self) -> Cost:
        n, mean_x, mean_y = self._n, self._x / self._n, self._y / self._n
        spread, common = self._xx / n - mean_x * mean_x, self._xy / n - mean_x * mean_y
        assumed = self.assumed.byte_s * mean_y / (self.assumed.request_s + self.assumed.byte_s * mean_x)
        byte_s = (common + assumed * _FIRM / n) / (spread + _FIRM / n)
        byte_s = max(_LEAST_BYTE_S, min(byte_s, 0.9 * mean_y / mean_x if mean_x else byte_s))
        return Cost(max(_LEAST_REQUEST_S, mean_y - byte_s * mean_x, 0.1 * mean_y), byte_s)
