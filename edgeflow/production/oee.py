"""OEE by named policy: times and counts are summed, then divided; nothing is clamped, nothing guessed.

The policies differ in what counts as run time and as planned time, so no figure goes without its
policy's name. Time in which the machine's state is unknown is neither up nor down: it is left out of
availability and reported as coverage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from edgeflow.production.counter import Number
from edgeflow.production.ledger import BUCKETS, Bucket, Sheet

PolicyName = Literal["vorne", "haldan", "iso22400"]


@dataclass(frozen=True, slots=True)
class Policy:
    """A model of time: which buckets are planned, and which of those are run time."""

    name: PolicyName
    planned: tuple[Bucket, ...]
    run: tuple[Bucket, ...]


_PLANNED: tuple[Bucket, ...] = ("run", "small_stop", "down", "changeover", "unknown")

POLICIES: Mapping[str, Policy] = {
    # oee.com: breaks are no planned time; stops under a threshold are a loss of performance.
    "vorne": Policy("vorne", _PLANNED, ("run", "small_stop")),
    # Breaks are lost time.
    "haldan": Policy("haldan", (*_PLANNED, "break"), ("run", "small_stop")),
    # ISO 22400-2: APT leaves out minor stoppages; PBT is planned busy time.
    "iso22400": Policy("iso22400", _PLANNED, ("run",)),
}


@dataclass(frozen=True, slots=True)
class Account:
    """Times and counts of one shift, or of many added up. `ideal_ns` covers the pieces not made in gaps."""

    buckets: Mapping[Bucket, int] = field(default_factory=lambda: dict.fromkeys(BUCKETS, 0))
    good: Number = 0
    reject: Number = 0
    total: Number = 0
    gap: Number = 0
    ideal_ns: Number = 0
    has_ideal: bool = True

    def __add__(self, other: Account) -> Account:
        return Account(
            {bucket: self.buckets[bucket] + other.buckets[bucket] for bucket in BUCKETS},
            self.good + other.good,
            self.reject + other.reject,
            self.total + other.total,
            self.gap + other.gap,
            self.ideal_ns + other.ideal_ns,
            self.has_ideal and other.has_ideal,
        )

    def time(self, buckets: Iterable[Bucket]) -> int:
        return sum(self.buckets[bucket] for bucket in buckets)


@dataclass(frozen=True, slots=True)
class Kpis:
    """The figures of an account under one policy; None where one is not defined. Times in ns."""

    planned_ns: int
    run_ns: int
    availability: float | None
    performance: float | None
    quality: float | None
    oee: float | None
    coverage: float | None
    flags: tuple[str, ...]


def account(sheet: Sheet, *, has_ideal: bool = True) -> Account:
    """The times and counts of one shift. Of good, reject and total, the one not counted follows from the others."""
    tallies = sheet.tallies
    good, reject, total = (tallies.get(name) for name in ("good", "reject", "total"))
    counted = [total] if total else [tally for tally in (good, reject) if tally]
    whole = sum(tally.count for tally in counted)
    rejected = reject.count if reject else whole - good.count if good and total else 0
    return Account(
        buckets=dict(sheet.buckets),
        good=good.count if good else whole - rejected,
        reject=rejected,
        total=whole,
        gap=sum(tally.gap for tally in counted),
        ideal_ns=sum(tally.ideal_ns for tally in counted),
        has_ideal=has_ideal,
    )


def kpis(policy: Policy, of: Account) -> Kpis:
    """Availability, performance, quality and OEE.

    A = run / known planned time; P = Σ(ideal cycle × pieces) / run; Q = good / total; OEE = A × P × Q.
    Each is one exact division, rounded once.
    """
    planned, run = of.time(policy.planned), of.time(policy.run)
    known = planned - of.buckets["unknown"]
    availability = _ratio(run, known)
    performance = _ratio(of.ideal_ns, run) if of.has_ideal and of.total else None
    quality = _ratio(of.good, of.total)
    oee = None
    if availability is not None and performance is not None and quality is not None:
        oee = availability * performance * quality
    flags = []
    if performance is not None and performance > 1:
        flags.append("performance over 100 %: the ideal cycle is too long, or pieces were counted outside run time")
    if of.good < 0 or of.reject < 0 or max(of.good, of.reject) > of.total:
        flags.append("good and reject do not fit the total")
    if of.gap:
        flags.append("pieces were made while the state was unknown; they are left out of performance")
    if not of.has_ideal:
        flags.append("no ideal cycle: performance is not defined")
    return Kpis(
        planned, run, _float(availability), _float(performance), _float(quality), _float(oee),
        _float(_ratio(known, planned)), tuple(flags),
    )  # fmt: skip


def _ratio(numerator: Number, denominator: Number) -> Fraction | None:
    return Fraction(numerator) / Fraction(denominator) if denominator > 0 else None


def _float(ratio: Fraction | None) -> float | None:
    return None if ratio is None else float(ratio)
