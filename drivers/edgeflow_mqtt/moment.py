"""The time that a device gives: seconds, milliseconds, microseconds or nanoseconds since 1970, or written out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from edgeflow.units import NS_PER_S
from edgeflow_mqtt.point import TimeForm

_UNIX = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PER_S = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": NS_PER_S}
_EARLIEST_NS, _LATEST_NS = 1_577_836_800 * NS_PER_S, 4_102_444_800 * NS_PER_S  # 2020 to 2100
_UTC = re.compile(r"\s*(?:UTC|GMT|z)$")
_SPACE = re.compile(r"\s+(?=[+-]\d\d:?\d\d$)")
_WITH_MICROSECONDS = len("2026-11-20T06:00:00.000000")
_FINEST = re.compile(r"[.,]\d{6}(\d{1,3})")


def time_ns(value: Any, form: TimeForm, zone: ZoneInfo | None = None) -> int:
    """A device's time as UTC nanoseconds; ValueError says how it ought to be written.

    A number, also one in a text, is of the unit in which it lies between 2020 and 2100: those of seconds,
    milliseconds, microseconds and nanoseconds do not overlap. `form`: where a person has written one.
    `zone` is that of times without a UTC offset.
    """
    written_out = form == "rfc3339" or (isinstance(value, str) and value[4:5] == "-" and form == "auto")
    number = None if written_out else _number(value)
    if number is not None:
        units = [form] if form in _PER_S else list(_PER_S)
        for unit in units:
            ns = int(number * (NS_PER_S // _PER_S[unit]))
            if _EARLIEST_NS <= ns < _LATEST_NS:
                return ns
        of = form if form in _PER_S else "s, ms, us or ns since 1970"
        raise ValueError(f"the time {_shown(value)} is not within 2020 and 2100; is it really written as {of}?")
    if not written_out and form in _PER_S:
        raise ValueError(f"the time {_shown(value)} is not a number of {form}")
    ns = _written_out(value, zone)
    if not _EARLIEST_NS <= ns < _LATEST_NS:
        raise ValueError(f"the time {_shown(value)} is not within 2020 and 2100; is the clock of the device set?")
    return ns


def _number(value: Any) -> int | Decimal | None:
    """Exactly, as far as it was written; a float holds no nanoseconds of our time."""
    if type(value) is int:
        return value if abs(value) < 10**20 else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, float):
        value = round(value, 6) if abs(value) < 1e11 else value
    elif isinstance(value, str) and (len(value) > 40 or "_" in value):
        return None
    try:
        number = Decimal(value.strip()) if isinstance(value, str) else Decimal(repr(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) < 10**20 else None


def _written_out(value: Any, zone: ZoneInfo | None) -> int:
    try:
        text = value if value[-1:] == "Z" else _SPACE.sub("", _UTC.sub("+00:00", value.strip()))
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError, AttributeError, KeyError):
        raise ValueError(f"the time {_shown(value)} is not RFC 3339, like 2026-11-20T06:00:00Z") from None
    if moment.tzinfo is None:
        if zone is None:
            raise ValueError(
                f"the time {_shown(value)} has no UTC offset, like the Z in 2026-11-20T06:00:00Z; give `time_zone`"
            )
        first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
        if first.utcoffset() != second.utcoffset():
            raise ValueError(f"the time {_shown(value)} is in the hour of a clock change and could be another")
        moment = first
    finest = _FINEST.search(text) if len(text) > _WITH_MICROSECONDS else None
    return (moment - _UNIX) // _MICROSECOND * 1000 + (int(finest[1].ljust(3, "0")) if finest else 0)


def _shown(value: Any) -> str:
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "..."
