"""The stack light on its remote I/O module: what it showed when, and the module's watchdog that darkens it."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgeflow.errors import Rejected
from edgeflow.units import NS_PER_S

ELEMENTS = ("red", "amber", "green", "blue", "buzzer")
WINDOW_NS = 2 * NS_PER_S

TIME, MASK, TRIGGER, STATUS, RESTART, STOP, ALTERNATIVE = 0x1000, 0x1001, 0x1003, 0x1006, 0x1007, 0x1008, 0x100A
NOT_ACTIVE, RUNNING, EXPIRED = 0, 1, 2
_DEFAULT_TIME = 100  # of 100 ms each
_STOP_WORDS = (0xAA55, 0x55AA)


class Light:
    """Five lamps and what they showed; a level is a bit in the order of `ELEMENTS`."""

    def __init__(self, start_ns: int) -> None:
        self.bits = 0
        self._times, self._bits = array("q", [start_ns]), array("B", [0])

    def show(self, at_ns: int, bits: int) -> None:
        """From `at_ns` on these lamps burn."""
        if bits == self.bits:
            return
        self.bits = bits
        if self._times[-1] == at_ns and len(self._times) > 1:
            self._bits[-1] = bits
        else:
            self._times.append(at_ns)
            self._bits.append(bits)

    def at(self, at_ns: int) -> int:
        """The lamps that burnt at that moment."""
        return self._bits[max(bisect_right(self._times, at_ns) - 1, 0)]

    def changes(self, begin_ns: int, end_ns: int) -> Iterator[tuple[int, int]]:
        """The (moment, bits) at which something changed in [begin, end)."""
        for i in range(bisect_left(self._times, begin_ns), bisect_left(self._times, end_ns)):
            yield self._times[i], self._bits[i]

    def pattern(self, at_ns: int) -> dict[str, str]:
        """What a person sees: `flash` where a lamp changed twice or more in the last 2 s, otherwise `on` or `off`."""
        seen = [self.at(at_ns - WINDOW_NS), *(bits for _, bits in self.changes(at_ns - WINDOW_NS + 1, at_ns + 1))]
        return {name: _pattern(seen, 1 << i) for i, name in enumerate(ELEMENTS)}

    def patterns(self, begin_ns: int, end_ns: int) -> Iterator[tuple[int, int, dict[str, str]]]:
        """The spells (begin, end, pattern) of [begin, end), exact and without gaps."""
        edges = {begin_ns}
        for moment, _ in self.changes(begin_ns - WINDOW_NS, end_ns):
            edges.update(t for t in (moment, moment + WINDOW_NS) if begin_ns < t < end_ns)
        since, shown = begin_ns, self.pattern(begin_ns)
        for moment in sorted(edges):
            pattern = self.pattern(moment)
            if pattern != shown:
                yield since, moment, shown
                since, shown = moment, pattern
        if since < end_ns:
            yield since, end_ns, shown

    def forget(self, before_ns: int) -> None:
        keep = max(bisect_right(self._times, before_ns) - 1, 0)
        del self._times[:keep]
        del self._bits[:keep]


def _pattern(seen: Sequence[int], bit: int) -> str:
    changes = sum((a ^ b) & bit != 0 for a, b in pairwise(seen))
    if changes >= 2:
        return "flash"
    return "on" if seen[-1] & bit else "off"


def levels(bits: int) -> dict[str, bool]:
    """Each lamp by name."""
    return {name: bool(bits >> i & 1) for i, name in enumerate(ELEMENTS)}


@dataclass(slots=True)
class Watchdog:
    """The Modbus watchdog of a WAGO 750 coupler (manual of the ETHERNET TCP/IP couplers, registers 0x1000 to 0x100A).

    Standard: the trigger register, changed, starts it and feeds it; so does every request whose
    function code is in the mask, once it runs. Alternative: every request starts it and feeds it,
    also after it expired. Time and mask cannot be changed while it runs.
    """

    time: int = _DEFAULT_TIME
    mask: int = 0
    trigger: int = 0
    status: int = NOT_ACTIVE
    alternative: int = 0
    deadline_ns: int = 0

    def expired(self, now_ns: int) -> bool:
        """Whether it has just expired, by `deadline_ns`; says so once."""
        if self.status == RUNNING and now_ns >= self.deadline_ns:
            self.status = EXPIRED
            return True
        return False

    def request(self, now_ns: int, function: int) -> None:
        """A Modbus request has arrived."""
        masked = self.status == RUNNING and self.mask >> (function - 1) & 1
        if self.alternative or masked:
            self._feed(now_ns)

    def read(self, address: int) -> int:
        known = {
            TIME: self.time,
            MASK: self.mask,
            TRIGGER: self.trigger,
            STATUS: self.status,
            RESTART: 1,
            ALTERNATIVE: self.alternative,
        }
        return known.get(address, 0)

    def write(self, now_ns: int, address: int, value: int) -> None:
        """Takes one register; raises Rejected for a value or an address that it does not take now."""
        if address in (TIME, MASK):
            self._configure(address, value)
        elif address == TRIGGER:
            if value not in (0, self.trigger):
                self._feed(now_ns)
            self.trigger = value
        elif address == RESTART and value == 1:
            if self.status == EXPIRED:
                self._feed(now_ns)
        elif address == STOP and value in _STOP_WORDS:
            self.status, self.alternative = NOT_ACTIVE, 0
        elif address == ALTERNATIVE and value in (0, 1):
            self.alternative = value
        else:
            raise Rejected(f"register {address:#06x} does not take {value:#06x}")

    def _configure(self, address: int, value: int) -> None:
        if self.status == RUNNING and value != self.read(address):
            raise Rejected("stop the watchdog first (0xAA55 to 0x1008), then change its time or mask")
        if address == TIME:
            self.time = value
        else:
            self.mask = value

    def _feed(self, now_ns: int) -> None:
        if self.time:
            self.status, self.deadline_ns = RUNNING, now_ns + self.time * NS_PER_S // 10


class IoModule:
    """The light and the watchdog that drops it."""

    def __init__(self, start_ns: int) -> None:
        self.light, self.watchdog = Light(start_ns), Watchdog()
        self.powered = True

    def advance(self, to_ns: int) -> None:
        """Darkens the light at the exact moment at which the watchdog expired."""
        if self.watchdog.expired(to_ns):
            self.light.show(self.watchdog.deadline_ns, 0)

    def power(self, at_ns: int, on: bool) -> None:
        """Switched off or on, the outputs are dark and the watchdog has forgotten its settings."""
        self.powered = on
        self.watchdog = Watchdog()
        self.light.show(at_ns, 0)

    def write(self, at_ns: int, first: int, values: Sequence[bool]) -> None:
        """Sets lamps; raises Rejected while the watchdog is expired."""
        if self.watchdog.status == EXPIRED:
            raise Rejected("the watchdog has expired; re-arm it first (1 to 0x1007)")
        bits = self.light.bits
        for i, value in enumerate(values, first):
            bits = bits | 1 << i if value else bits & ~(1 << i)
        self.light.show(at_ns, bits)
