"""What is damaged is set aside: kept for a person to look at, out of the way of the work."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import structlog

from edgeflow.clock import SystemClock, utc_text

log = structlog.get_logger(__name__)

MOST_ASIDE = 3
"""So many of one name are kept; the oldest goes."""


def set_aside(path: Path, *companions: str) -> Path:
    """Renames a file to `NAME.damaged-TIME`, its companions (such as `-wal`) with it; returns the new path.

    Raises OSError where it cannot be renamed.
    """
    stamp = utc_text(SystemClock().now_ns()).replace(":", "").replace("-", "")
    target = path.with_name(f"{path.name}.damaged-{stamp}")
    for suffix in ("", *companions):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(target.with_name(target.name + suffix))
    names = {found.name[: len(target.name)] for found in path.parent.glob(f"{path.name}.damaged-*")}
    for old in sorted(names)[:-MOST_ASIDE]:
        for found in path.parent.glob(f"{old}*"):
            found.unlink(missing_ok=True)
    log.error("a damaged file was set aside; what was in it is lost to the work until a person looks", file=str(target))
    return target
