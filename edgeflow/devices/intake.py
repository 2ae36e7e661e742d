"""What a device brings becomes blocks; how the device is doing follows from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from edgeflow.clock import Clock
from edgeflow.devices.flapping import Flapping
from edgeflow.devices.plan import DevicePlan
from edgeflow.devices.scale import Faults, Scaled, compile_column
from edgeflow.driver import Column
from edgeflow.model import BAD, GOOD, UNCERTAIN, Block, Sample, Scalar
from edgeflow.units import NS_PER_S, duration_text

log = structlog.get_logger(__name__)

State = Literal["connecting", "good", "degraded", "bad"]
KNOWN_PARTS = 256
_AHEAD_NS = 5 * NS_PER_S
_NO_VALUE = (BAD, "no value yet")


@dataclass(slots=True)
class DeviceStats:
    """What happened at a device since the start.

    `late`: polls left out because their time had passed. `dropped`: pushes lost because they came faster
    than they were taken. `clock_ahead`: answers whose time stamp lay in the future.
    """

    polls: int = 0
    failed: int = 0
    late: int = 0
    pushes: int = 0
    dropped: int = 0
    values: int = 0
    clock_ahead: int = 0


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """A device as the pages show it; times are UTC ns, 0 where it has not happened."""

    name: str
    link: str
    driver: str
    about: str
    state: State
    reason: str
    since_ns: int
    last_good_ns: int
    every_ns: int
    tags: int
    stats: DeviceStats


@dataclass(frozen=True, slots=True)
class _Part:
    """Some points of a device in the order of a column; all its blocks share the one tuple `tags`."""

    indices: tuple[int, ...]
    tags: tuple[str, ...]
    scaled: Callable[[Column], Scaled]


class Intake:
    """Scales the columns of one device, stamps them, hands them to `deliver`, and judges the device by them.

    `proved` is called when an answer shows, after any trouble, that the device and its link are there.
    """

    def __init__(
        self, plan: DevicePlan, clock: Clock, deliver: Callable[[Block], None], proved: Callable[[], None]
    ) -> None:
        self.plan, self.stats = plan, DeviceStats()
        self.state: State = "connecting"
        self.reason = "not yet connected"
        self.gap = False
        self._clock, self._deliver, self._proved = clock, deliver, proved
        self._since_ns, self._last_good_ns = clock.now_ns(), 0
        self.tags = tuple(tag for tag in plan.tags if tag.read)
        self._whole = self._part(range(len(self.tags)))
        self._parts: dict[tuple[int, ...], _Part] = {}
        self.raw: dict[str, Scalar] | None = None  # the newest before scaling, kept while somebody looks
        self._calm = False  # good, and nothing to judge: nearly always
        self._told = False  # whether the tags have been told that the device is lost
        self._back_ns = 0  # when it came back last
        self._logged = False
        self._flapping = Flapping()
        self._pushes = plan.driver.pushes
        self._values: list[Scalar] = []
        self._faults: Faults = {}
        self._forget()

    def status(self) -> DeviceStatus:
        plan = self.plan
        return DeviceStatus(
            plan.name,
            plan.link,
            plan.driver.name,
            plan.about,
            self.state,
            self.reason,
            self._since_ns,
            self._last_good_ns,
            plan.every_ns,
            len(plan.tags),
            self.stats,
        )

    def sample(self, index: int) -> Sample:
        """The latest that was pushed for one tag."""
        quality, reason = self._faults.get(index, (GOOD, ""))
        now_ns = self._clock.now_ns()
        return Sample(self.tags[index].tag.name, self._values[index], quality, now_ns, now_ns, reason)

    def begin(self) -> None:
        """A new session: what was known before it no longer counts."""
        self._calm = False
        self._forget()

    def take(self, column: Column, read_ns: int) -> None:
        """Hands on what a read or a push brought. A push without points says that earlier values still hold."""
        if column.points is None:
            part = self._whole
        elif column.points:
            part = self._subset(column.points)
        else:
            self._repeat(column, read_ns)
            return
        if self.raw is not None:
            self.raw.update(zip(part.tags, column.values, strict=False))
        try:
            values, faults = part.scaled(column)
        except ValueError as error:
            self.trouble(str(error))
            return
        if column.late:  # history fills a gap and says nothing of what holds now
            self._deliver(Block(self.plan.name, part.tags, values, column.source_ns, read_ns, faults, late=True))
            return
        self.stats.values += len(values)
        if self.gap:
            self.gap = False
            faults = dict.fromkeys(range(len(values)), (UNCERTAIN, "values before it were lost")) | (faults or {})
        if faults or self._faults or self._pushes:
            self._keep(part, values, faults or {})
        self._hand_on(part, values, faults, column.source_ns, read_ns)

    def quiet(self, indices: tuple[int, ...], reason: str) -> None:
        """Some tags are BAD, the others go on."""
        now_ns, part = self._clock.now_ns(), self._subset(indices)
        values: list[Scalar] = [None] * len(indices)
        faults: Faults = dict.fromkeys(range(len(indices)), (BAD, reason))
        self._keep(part, values, faults)
        self._hand_on(part, values, faults, now_ns, now_ns)

    def trouble(self, reason: str, *, say: bool = True) -> None:
        """All tags are BAD, told once until a value has come again. `say` False: somebody else has logged it."""
        self._calm = False
        if say and self.state != "bad":
            if said := self._flapping.lost(self._clock.now_ns()):
                log.warning(f"device {said}", device=self.plan.name, reason=reason)
            self._logged = not self._flapping.quiet
        self._become("bad", reason)
        if self._told or not self.tags:
            return
        self._told = True
        now_ns, count = self._clock.now_ns(), len(self.tags)
        faults: Faults = dict.fromkeys(range(count), (BAD, reason))
        if not self._pushes:
            self._faults = dict(faults)
        self._deliver(Block(self.plan.name, self._whole.tags, [None] * count, now_ns, now_ns, faults))

    def wrote(self) -> None:
        """A write was answered; for a device that is only written that is all there is to judge by."""
        if not self.tags and not self._calm:
            self._last_good_ns = self._clock.now_ns()
            self._good()

    def _hand_on(self, part: _Part, values: list[Scalar], faults: Faults | None, source_ns: int, read_ns: int) -> None:
        if faults is None and self._calm:
            self._last_good_ns = read_ns
        else:
            self._judge(part, faults or {}, read_ns)
        if source_ns == 0:
            source_ns = read_ns
        elif source_ns > read_ns + _AHEAD_NS:  # a wrong clock must not carry our time into the future
            self.stats.clock_ahead += 1
            source_ns = read_ns
        elif source_ns < self._back_ns:  # what was told as not known does not become known afterwards
            source_ns = read_ns
        self._deliver(Block(self.plan.name, part.tags, values, source_ns, read_ns, faults))

    def _judge(self, part: _Part, faults: Faults, read_ns: int) -> None:
        tags, known = self._whole.tags, self._faults  # a column may be a part of the device: it is judged by all
        if sum(quality == BAD for quality, _ in faults.values()) < len(part.tags):
            self._last_good_ns = read_ns
            if self._told:
                self._told, self._back_ns = False, read_ns
        if not known:
            self._good()
            return
        self._calm = False
        self._proved()
        first = min(known)
        reason = f"{tags[first]}: {known[first][1]}"
        if sum(quality == BAD for quality, _ in known.values()) == len(tags):
            self._become("bad", f"no good value; {reason}" if len(tags) > 1 else reason)
        else:
            self._become("degraded", f"{len(known)} of {len(tags)} values are not good; {reason}")

    def _good(self) -> None:
        self._proved()
        self._calm = True
        if self._logged:
            self._logged = False
            after = duration_text(self._clock.now_ns() - self._since_ns)
            log.info("device back", device=self.plan.name, after=after)
        self._become("good", "")

    def _become(self, state: State, reason: str) -> None:
        if state != self.state:
            self.state, self._since_ns = state, self._clock.now_ns()
        self.reason = reason

    # --- what is known so far -----------------------------------------------------------------------

    def _forget(self) -> None:
        self._values = [None] * len(self.tags)
        self._faults = dict.fromkeys(range(len(self.tags)), _NO_VALUE)

    def _keep(self, part: _Part, values: Sequence[Scalar], faults: Faults) -> None:
        if self._pushes:
            for at, i in enumerate(part.indices):
                self._values[i] = values[at]
        known = self._faults
        if known:
            for i in part.indices:
                known.pop(i, None)
        for at, fault in faults.items():
            known[part.indices[at]] = fault

    def _repeat(self, column: Column, read_ns: int) -> None:
        if sum(fault is _NO_VALUE for fault in self._faults.values()) < len(self.tags):
            faults = dict(self._faults) or None
            self._hand_on(self._whole, list(self._values), faults, column.source_ns, read_ns)

    def _subset(self, indices: tuple[int, ...]) -> _Part:
        part = self._parts.get(indices)
        if part is None:
            if len(self._parts) >= KNOWN_PARTS:
                self._parts.clear()
            part = self._parts[indices] = self._part(indices)
        return part

    def _part(self, indices: Sequence[int]) -> _Part:
        tags = [self.tags[i] for i in indices]
        return _Part(tuple(indices), tuple(tag.tag.name for tag in tags), compile_column(tags))
