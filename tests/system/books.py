"""Compares the books at the central server with the plant's truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.system.line import Json, Line, instant, until

COLOURS: dict[int, dict[str, str]] = {
    6: {"green": "on"},
    2: {"red": "on"},
    4: {"green": "flash"},
    5: {"amber": "flash"},
    9: {"red": "flash"},
    11: {"amber": "on"},
}
"""What the stack light has to show for each PackTags state (the table of flows/andon/press/README.md)."""
UNKNOWN = {"amber": "flash", "blue": "flash"}
EXIT = {"amber": "on", "blue": "on"}
ELEMENTS = ("red", "amber", "green", "blue", "buzzer")
STEP_KWH = 2.0**-10
"""The step of a float32 between 8192 and 16384: 24 bits of significand (IEEE 754)."""


@dataclass(frozen=True, slots=True)
class Sums:
    """What a line has made and used."""

    good: dict[str, int]
    reject: dict[str, int]
    kwh: float


def whole(pattern: dict[str, str]) -> dict[str, str]:
    """A pattern with every element."""
    return {name: pattern.get(name, "off") for name in ELEMENTS}


def true_sums(truth: Json) -> Sums:
    machines = truth["machines"]
    return Sums(
        {name: made["good"] for name, made in machines.items()},
        {name: made["reject"] for name, made in machines.items()},
        truth["meter"]["kwh"],
    )


def central_sums(line: Line) -> Sums:
    """The sum of the newest versions of all results."""
    good, reject = {"press": 0, "filler": 0}, {"press": 0, "filler": 0}
    for record in line.results("oee"):
        data = record["data"]
        good[data["machine"]] += data["good"]
        reject[data["machine"]] += data["reject"]
    return Sums(good, reject, sum(record["data"]["kwh"] or 0.0 for record in line.results("energy")))


def equal(mine: Sums, truth: Sums) -> bool:
    return mine.good == truth.good and mine.reject == truth.reject and abs(mine.kwh - truth.kwh) <= STEP_KWH


def settled(line: Line, truth: Json, within_s: float = 40) -> Sums:
    """Waits until the central server has what was made; fails with both sides where it never does."""
    wanted, last = true_sums(truth), Sums({}, {}, 0)

    def same() -> Sums | None:
        nonlocal last
        last = central_sums(line)
        return last if equal(last, wanted) else None

    try:
        return until("central has the truth", same, within_s, 0.5)
    except AssertionError:
        raise AssertionError(f"central has {last}, the truth is {wanted}") from None


def check_records(records: Sequence[Json]) -> None:
    """No record missing, none doubled, and no version of a result twice."""
    epochs: dict[str, list[int]] = {}
    versions: dict[tuple[str, str], list[int]] = {}
    for entry in records:
        epochs.setdefault(entry["epoch"], []).append(entry["seq"])
        record = entry["record"]
        versions.setdefault((record["stream"], record["key"]), []).append(record["version"])
    for epoch, seqs in epochs.items():
        assert seqs == list(range(1, len(seqs) + 1)), f"the numbers of {epoch} are not 1 to {len(seqs)}"
    for key, found in versions.items():
        assert found == sorted(set(found)), f"the versions of {key} do not rise: {found}"


def check_time(line: Line) -> None:
    """The buckets of every shift add up to the time from its beginning to the report."""
    for record in line.results("oee"):
        booked, span = sum(record["data"]["buckets"].values()), instant(record["to"]) - instant(record["from"])
        assert abs(booked - span) < 0.001, f"{record['key']}: {booked} s are booked of {span} s"


def lamp_is_right(truth: Json) -> bool:
    """Whether the stack light shows the press's state."""
    state: int = truth["machines"]["press"]["state"]
    pattern: Any = truth["lamp"]["pattern"]
    return bool(pattern == whole(COLOURS[state]))


def lamp_right(line: Line, within_s: float = 10) -> None:
    until("the lamp shows the press's state", lambda: lamp_is_right(line.truth()), within_s, 0.02)
