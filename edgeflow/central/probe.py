"""Whether results can be taken: the database answers, the disk has room, and what was last written was kept."""

from __future__ import annotations

import os

from edgeflow.clock import Clock
from edgeflow.store.database import Database, StoreError
from edgeflow.units import NS_PER_S

_FREE_BYTES = 4 << 20
_AGAIN_NS = 5 * NS_PER_S


class Probe:
    """Looks at most every five seconds: it writes, and the disk shall not wear out by being asked how it is."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._looked_ns = 0
        self._wrong: StoreError | None = None

    async def look(self) -> None:
        """Raises StoreError where results cannot be taken now."""
        now_ns = self._clock.now_ns()
        if not 0 <= now_ns - self._looked_ns < _AGAIN_NS:
            self._looked_ns = now_ns
            self._wrong = await self._found()
        if self._wrong is not None:
            raise self._wrong

    async def _found(self) -> StoreError | None:
        try:
            await self._database.transaction(
                lambda c: c.execute("UPDATE gateway SET seen = seen WHERE id = (SELECT id FROM gateway LIMIT 1)")
            )
            disk = os.statvfs(self._database.path.parent)
        except StoreError as error:
            return error
        except OSError as error:
            return StoreError(f"the folder of the database cannot be looked at: {error.strerror}")
        if disk.f_bavail * disk.f_frsize < _FREE_BYTES:
            return StoreError("the disk is full; make room, nothing that was committed is lost")
        return None
