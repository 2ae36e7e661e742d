"""Turns a column of raw values into the values of a block: factor, offset, range, faults; compiled once per column."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from edgeflow.devices.plan import TagPlan
from edgeflow.driver import Column
from edgeflow.errors import Rejected
from edgeflow.model import BAD, Quality, Scalar

Faults = dict[int, tuple[Quality, str]]
Scaled = tuple[list[Scalar], Faults | None]

_KINDS: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int, float),
    "number": (int, float),
    "text": (str,),
    "bytes": (bytes,),
}


def _divisor(factor: float) -> float | None:
    """10 for 0.1: dividing gives the nearest float to the decimal that people expect, multiplying does not."""
    inverse = round(1 / factor)
    return float(inverse) if abs(inverse) > 1 and 1 / inverse == factor else None


def _one(plan: TagPlan) -> Callable[[Any], Any] | None:
    """The conversion of one value; None where the raw value is the value."""
    scale, offset = plan.scale, plan.offset
    if scale == 1 and offset == 0:
        return None
    if plan.tag.type == "integer":
        whole, base = int(scale), int(offset)
        return lambda value: value * whole + base
    divisor = _divisor(scale)
    if divisor is not None:
        return lambda value: value / divisor + offset
    return lambda value: value * scale + offset


def compile_column(plans: Sequence[TagPlan]) -> Callable[[Column], Scaled]:
    """A function from a column in the order of `plans` to the block's values and faults.

    What is not a plausible value of its tag becomes None with a BAD fault: outside its range, not
    finite, or not of the tag's type. Raises ValueError where the column has the wrong length.
    """
    count = len(plans)
    bulk = _bulk(plans)
    ranges = [
        (i, plan.low, plan.high) for i, plan in enumerate(plans) if plan.low is not None and plan.high is not None
    ]

    def scaled(column: Column) -> Scaled:
        values = column.values
        if len(values) != count:
            raise ValueError(f"the driver gave {len(values)} values for {count} points")
        if bulk is None or column.faults:
            return _careful(plans, column)
        try:
            out = bulk(values)
            if not math.isfinite(sum(out)):  # one look at all: finite numbers only, None and text raise
                return _careful(plans, column)
            for i, low, high in ranges:
                if not low <= out[i] <= high:
                    return _careful(plans, column)
        except (TypeError, OverflowError):
            return _careful(plans, column)
        return out, None

    return scaled


def _bulk(plans: Sequence[TagPlan]) -> Callable[[Sequence[Any]], list[Any]] | None:
    """The fast way for a column of numbers and booleans: one pass per run of alike points, no call per value."""
    if not all(plan.raw in ("integer", "number", "boolean") for plan in plans):
        return None
    runs: list[tuple[int, int, Callable[[list[Any]], list[Any]]]] = []
    start = 0
    for _, alike in groupby(plans, lambda plan: (plan.scale, plan.offset, plan.tag.type == "integer")):
        run = list(alike)
        if many := _many(run[0]):
            runs.append((start, start + len(run), many))
        start += len(run)

    def bulk(values: Sequence[Any]) -> list[Any]:
        out = list(values)
        for first, end, many in runs:
            out[first:end] = many(out[first:end])
        return out

    return bulk


def _many(plan: TagPlan) -> Callable[[list[Any]], list[Any]] | None:
    """The conversion of many values alike, to the same result as `_one`; None where there is none."""
    one, divisor = _one(plan), _divisor(plan.scale)
    if one is None:
        return None
    if plan.offset == 0 and plan.tag.type != "integer":
        scale = plan.scale
        if divisor is not None:
            return lambda values: [value / divisor for value in values]
        return lambda values: [value * scale for value in values]
    return lambda values: [one(value) for value in values]


def _careful(plans: Sequence[TagPlan], column: Column) -> Scaled:
    out: list[Scalar] = []
    faults: Faults = dict(column.faults or ())
    for i, (plan, value) in enumerate(zip(plans, column.values, strict=True)):
        fault = faults.get(i)
        if fault is not None and fault[0] == BAD:
            out.append(None)
            continue
        good, reason = value_of(plan, value)
        out.append(good)
        if reason:
            faults[i] = (BAD, reason)
    return out, faults or None


def value_of(plan: TagPlan, raw: Scalar) -> tuple[Scalar, str]:
    """The value of one tag, and why it is BAD: an empty reason where it is not."""
    if raw is None:
        return None, "the device gave no value"
    if not isinstance(raw, _KINDS[plan.raw]) or (isinstance(raw, bool) and plan.raw != "boolean"):
        return None, f"the device gave {raw!r:.40}, which is not of type {plan.raw}"
    if isinstance(raw, float) and not math.isfinite(raw):
        return None, "the device gave not a number (NaN or infinity)"
    one = _one(plan)
    try:
        value: Any = one(raw) if one else raw
        too_large = isinstance(value, int | float) and not math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        too_large = True
    if too_large:
        return None, f"{_shown(raw)} is too large for a scale of {plan.scale:g}"
    if plan.low is not None and plan.high is not None and not plan.low <= value <= plan.high:
        return None, f"{value:g} is outside {plan.low:g} to {plan.high:g}"
    return value, ""


def _shown(raw: Scalar) -> str:
    if isinstance(raw, int) and raw.bit_length() > 1024:  # Python does not even write it
        return f"a number of {raw.bit_length()} bits"
    return f"{raw!r:.40}"


def raw_of(plan: TagPlan, value: Scalar) -> Scalar:
    """What to write so that the tag has this value; raises Rejected where the tag cannot have it."""
    name, kind = plan.tag.name, plan.tag.type
    if kind not in ("integer", "number"):
        if not isinstance(value, _KINDS[kind]):
            raise Rejected(f"{value!r:.40} cannot be written to {name}, which is of type {kind}")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Rejected(f"{value!r:.40} cannot be written to {name}, which is of type {kind}")
    if plan.low is not None and plan.high is not None and not plan.low <= value <= plan.high:
        raise Rejected(f"{value:g} cannot be written to {name}: it is outside {plan.low:g} to {plan.high:g}")
    raw = value
    if plan.scale != 1 or plan.offset != 0:
        divisor = _divisor(plan.scale)
        raw = (value - plan.offset) * divisor if divisor else (value - plan.offset) / plan.scale
    if plan.raw == "integer":
        if kind == "integer" and raw != round(raw):
            raise Rejected(f"{value:g} cannot be written to {name}: it takes whole numbers")
        return round(raw)
    return raw
