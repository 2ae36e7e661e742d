"""What a device brings becomes blocks; how the device is doing follows from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

import structlog

from edgeflow.clock import Clock
from edgeflow.devices.flapping import Flapping
from edgeflow.devices.plan import DevicePlan
from edgeflow.devices.scale import Faults, Scaled, compile_column
from edgeflow.driver import Column
from edgeflow.model import BAD, GOOD, UNCERTAIN, Block, Quality, Sample, Scalar
from edgeflow.units import NS_PER_S, duration_text

log = structlog.get_logger(__name__)

State = Literal["connecting", "good", "degraded", "bad"]
KNOWN_PARTS = 256
_ASTRAY_NS = 5 * NS_PER_S
"""A time stamp so far in the future, or so far before the last one, is of a clock that is wrong or was set."""
_FINE = (GOOD, "")
_NO_VALUE = (BAD, "no value yet")


@dataclass(slots=True)
class DeviceStats:
    """What happened at a device since the start.

    `late`: polls left out because their time had passed. `dropped`: pushes lost because they came faster
    than they were taken. `clock_ahead`: answers whose time stamp lay in the future; `clock_back`: pushes
    whose time stamp was older than the one before.
    """

    polls: int = 0
    failed: int = 0
    late: int = 0
    pushes: int = 0
    dropped: int = 0
    values: int = 0
    clock_ahead: int = 0
    clock_back: int = 0


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

    Of a pushed tag it keeps the value, its times, and when it was heard last: by a value, or by the source's word
    that the value still holds. A tag that is not heard for its cadence is BAD alone. Times of a tag never run
    backwards: a stamp that is a little older than the last counts as the last; one that is much older is of a clock
    that was set, so the time of reading counts.
    """

    def __init__(self, plan: DevicePlan, clock: Clock, deliver: Callable[[Block], None]) -> None:
        self.plan, self.stats = plan, DeviceStats()
        self.state: State = "connecting"
        self.reason = "not yet connected"
        self.gap = False
        self._clock, self._deliver = clock, deliver
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
        self._times: list[tuple[int, int]] = []  # of the value: the source's, and when it was read
        self._heard_s: list[float] = []  # loop time of the last value or "still holds"; 0: never
        self._faults: Faults = {}
        self._quiet: dict[int, tuple[Quality, str] | None] = {}  # silent tags, with what was known of them before
        self._cadences = self._cadences_of(plan) if self._pushes else ()
        self._look_s = 0.0
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
        value = None if quality == BAD else self._values[index]
        return Sample(self.tags[index].tag.name, value, quality, *self._times[index], reason)

    def begin(self) -> None:
        """A new session: what was known before it no longer counts."""
        self._calm = False
        self._forget()
        if self.state == "connecting":
            self.reason = "connected, but nothing has been heard of it yet"

    def waiting(self) -> None:
        """It is listened to and has not spoken yet, as a device may do that speaks once a minute."""
        every = duration_text(self.plan.every_ns)
        if self.state in ("connecting", "bad"):
            self.reason = f"connected, waiting for the first message (expected every {every})"

    def take(self, column: Column, read_ns: int, now_s: float = 0.0) -> None:
        """Hands on what a read brought, or what was pushed at `now_s` (loop time)."""
        if column.holds:
            self._hold(column, read_ns, now_s)
            return
        if column.points is None:
            part = self._whole
        elif column.points:
            part = self._subset(column.points)
        else:
            return  # the source lives; that vouches for no value
        if self.raw is not None:
            self.raw.update(zip(part.tags, column.values, strict=False))
        try:
            values, faults = part.scaled(column)
        except ValueError as error:
            self.trouble(str(error))
            return
        if column.late:  # history fills a gap and says nothing of what holds now
            at_ns = min(column.source_ns, read_ns) if column.source_ns > 0 else read_ns
            self._deliver(Block(self.plan.name, part.tags, values, at_ns, read_ns, faults, late=True))
            return
        self.stats.values += len(values)
        if self.gap:
            self.gap = False
            faults = dict.fromkeys(range(len(values)), (UNCERTAIN, "values before it were lost")) | (faults or {})
        if faults or self._faults:
            self._keep(part, faults or {})
        self._judge(part, faults, read_ns)
        source_ns = self._source_ns(column.source_ns, read_ns) if column.source_ns else read_ns
        if self._pushes:
            source_ns = self._note(part, values, source_ns, read_ns, now_s)
        self._deliver(Block(self.plan.name, part.tags, values, source_ns, read_ns, faults))

    def quiet(self, indices: tuple[int, ...], reason: str) -> None:
        """Some tags are BAD, the others go on."""
        now_ns, part = self._clock.now_ns(), self._subset(indices)
        faults: Faults = dict.fromkeys(range(len(indices)), (BAD, reason))
        self._keep(part, faults)
        self._judge(part, faults, now_ns)
        self._deliver(Block(self.plan.name, part.tags, [None] * len(indices), now_ns, now_ns, faults))

    def check(self, now_s: float) -> None:
        """Looks for tags that have not been heard for their cadence; each is told once."""
        if now_s < self._look_s:
            return
        silent: dict[float, list[int]] = {}
        next_s = inf
        for i, cadence_s in self._cadences:
            heard_s = self._heard_s[i]
            if not heard_s or i in self._quiet or self._faults.get(i, _FINE)[0] == BAD:
                continue
            if now_s - heard_s >= cadence_s:
                silent.setdefault(cadence_s, []).append(i)
            else:
                next_s = min(next_s, heard_s + cadence_s)
        for cadence_s, those in silent.items():
            now_ns = self._clock.now_ns()
            for i in those:
                self._quiet[i] = self._faults.get(i)
                self._times[i] = (now_ns, now_ns)
            self.quiet(tuple(those), f"silent for {duration_text(round(cadence_s * NS_PER_S))}")
        self._look_s = min(next_s, now_s + min((cadence_s for _, cadence_s in self._cadences), default=inf))

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
        self._forget()
        self._faults = dict(faults)
        self._deliver(Block(self.plan.name, self._whole.tags, [None] * count, now_ns, now_ns, faults))

    def wrote(self) -> None:
        """A write was answered; for a device that is only written that is all there is to judge by."""
        if not self.tags and not self._calm:
            self._last_good_ns = self._clock.now_ns()
            self._good()

    def _source_ns(self, source_ns: int, read_ns: int) -> int:
        if source_ns == 0:
            return read_ns
        if source_ns > read_ns + _ASTRAY_NS:  # a wrong clock must not carry our time into the future
            self.stats.clock_ahead += 1
            return read_ns
        return read_ns if source_ns < self._back_ns else source_ns  # what was told as not known stays not known

    def _judge(self, part: _Part, faults: Faults | None, read_ns: int) -> None:
        if faults is None and self._calm:
            self._last_good_ns = read_ns
            return
        faults = faults or {}
        tags, known = self._whole.tags, self._faults  # a column may be a part of the device: it is judged by all
        if sum(quality == BAD for quality, _ in faults.values()) < len(part.tags):
            self._last_good_ns = read_ns
            if self._told:
                self._told, self._back_ns = False, read_ns
        if not known:
            self._good()
            return
        self._calm = False
        first = min(known)
        reason = f"{tags[first]}: {known[first][1]}"
        if sum(quality == BAD for quality, _ in known.values()) == len(tags):
            self._become("bad", f"no good value; {reason}" if len(tags) > 1 else reason)
        else:
            self._become("degraded", f"{len(known)} of {len(tags)} values are not good; {reason}")

    def _good(self) -> None:
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

    # --- what is known so far -------------------------------------------------------------------------

    def _forget(self) -> None:
        count = len(self.tags)
        self._faults = dict.fromkeys(range(count), _NO_VALUE)
        self._quiet.clear()
        self._look_s = 0.0
        if self._pushes:
            now_ns = self._clock.now_ns()
            self._values, self._times, self._heard_s = [None] * count, [(now_ns, now_ns)] * count, [0.0] * count

    def _keep(self, part: _Part, faults: Faults) -> None:
        known = self._faults
        if known:
            for i in part.indices:
                known.pop(i, None)
        for at, fault in faults.items():
            known[part.indices[at]] = fault

    def _note(self, part: _Part, values: Sequence[Scalar], source_ns: int, read_ns: int, now_s: float) -> int:
        """Keeps what was pushed; returns its source time, which does not run backwards."""
        times, heard_s, kept = self._times, self._heard_s, self._values
        last_ns = max([times[i][0] for i in part.indices if heard_s[i]], default=0)
        if source_ns < last_ns:
            self.stats.clock_back += 1
            source_ns = read_ns if last_ns - source_ns > _ASTRAY_NS else last_ns
        when = (source_ns, read_ns)
        for i, value in zip(part.indices, values, strict=True):
            kept[i], times[i], heard_s[i] = value, when, now_s
        if self._quiet:
            for i in part.indices:
                self._quiet.pop(i, None)
        return source_ns

    def _hold(self, column: Column, read_ns: int, now_s: float) -> None:
        """The source vouches for values that it gave: they have been heard, and nothing of their time changes."""
        heard_s = self._heard_s
        asked = range(len(self.tags)) if column.points is None else column.points
        those = tuple(i for i in asked if heard_s[i])
        if not those:
            return
        for i in those:
            heard_s[i] = now_s
        proof_ns = self._source_ns(column.source_ns, read_ns)
        if back := tuple(i for i in those if i in self._quiet):
            for i in back:
                before = self._quiet.pop(i)
                if before is None:
                    del self._faults[i]
                else:
                    self._faults[i] = before
                self._times[i] = (max(proof_ns, self._times[i][0]), read_ns)
            self._tell(back, max(proof_ns, *(self._times[i][0] for i in back)), read_ns, holds=False)
        self._tell(those, max(proof_ns, *(self._times[i][0] for i in those)), read_ns, holds=True)

    def _tell(self, indices: tuple[int, ...], source_ns: int, read_ns: int, *, holds: bool) -> None:
        part = self._whole if len(indices) == len(self.tags) else self._subset(indices)
        known, values = self._faults, self._values
        faults = {at: known[i] for at, i in enumerate(part.indices) if i in known} if known else None
        self._judge(part, faults or None, read_ns)
        given = [
            None if faults and at in faults and faults[at][0] == BAD else values[i] for at, i in enumerate(part.indices)
        ]
        self._deliver(Block(self.plan.name, part.tags, given, source_ns, read_ns, faults or None, holds=holds))

    def _cadences_of(self, plan: DevicePlan) -> tuple[tuple[int, float], ...]:
        """After how long each tag is silent; those that never are do not come in."""
        found = []
        for i, tag in enumerate(self.tags):
            silence_ns = plan.silence_ns if tag.silence_ns is None else tag.silence_ns
            if tag.silence_ns is None and silence_ns and tag.every_ns:
                silence_ns = max(silence_ns, 2 * tag.every_ns + plan.timeout_ns)
            if silence_ns:
                found.append((i, silence_ns / NS_PER_S))
        return tuple(found)

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
