"""Compares what came out with what a person wrote down, at the precision in which it was printed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from edgeflow.document import shown
from edgeflow.model import Value


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How one case went; `problems` is empty where everything is as expected."""

    path: Path
    case: str
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        line = f"{'ok  ' if self.ok else 'FAIL'} {self.path}: {self.case}"
        return "\n".join([line, *(f"       {problem}" for problem in self.problems)])


def differences(expected: Value, given: Value, place: str) -> list[str]:
    """Where `given` is not as expected, one line each; of a mapping, what is not expected may be anything."""
    if isinstance(expected, Mapping):
        if not isinstance(given, Mapping):
            return [f"{place}: expected {expected}, got {shown(given)}"]
        found: list[str] = []
        for key, value in expected.items():
            where = f"{place}.{key}" if place else str(key)
            found += differences(value, given[key], where) if key in given else [f"{where}: is missing"]
        return found
    if isinstance(expected, list | tuple) and isinstance(given, list | tuple):
        if len(expected) != len(given):
            return [f"{place}: expected {len(expected)} items, got {len(given)}: {shown(given)}"]
        pairs = zip(expected, given, strict=True)
        return [line for i, (a, b) in enumerate(pairs) for line in differences(a, b, f"{place}[{i}]")]
    got = given if isinstance(given, str) else shown(given)
    return [] if equals(expected, given) else [f"{place}: expected {expected}, got {got}"]


_PRINTED = re.compile(r"(~)?\s*(-?\d+(?:\.(\d+))?)(\.\.)?\s*(%)?$")
_RATIO = re.compile(r"(-?\d+)\s*/\s*(\d+)$")


def equals(expected: Value, given: Value) -> bool:
    """Whether one value is as expected.

    Numbers: `373/420` is an exact ratio; `88.81 %` and `~0.888` are rounded to the printed precision;
    `77.7.. %` is cut there; a plain number is exact.
    """
    if isinstance(given, bool) or not isinstance(given, int | float) or isinstance(expected, bool):
        return bool(expected == given) and isinstance(expected, bool) == isinstance(given, bool)
    if not isinstance(expected, str):
        return isinstance(expected, int | float) and math.isclose(expected, given, rel_tol=1e-12, abs_tol=1e-12)
    if ratio := _RATIO.match(expected):
        exact = float(Fraction(int(ratio[1]), int(ratio[2])))
        return math.isclose(exact, given, rel_tol=2.3e-16)
    printed = _PRINTED.match(expected)
    if not printed:
        return False
    actual = Fraction(given) * (100 if printed[5] else 1)
    rest = actual - Fraction(printed[2])
    unit = Fraction(1, 10 ** len(printed[3] or ""))
    return 0 <= rest < unit if printed[4] else abs(rest) <= unit / 2
