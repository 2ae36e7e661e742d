"""What the drivers keep, as files in the state folder: one folder per driver, readable by its owner only."""

from __future__ import annotations

import asyncio
import re
import threading
from pathlib import Path

import structlog

from edgeflow.driver import Home
from edgeflow.store.documents import replace_file

log = structlog.get_logger(__name__)

USUAL_STATE = Path("/var/lib/edgeflow")
MOST_BYTES, MOST_NAMES = 2 << 20, 1_000
"""How large one thing in a home may be, and how many there may be."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")


class FolderHome(Home):
    """A home whose things are files, so that a person can look, copy one in, or take one away.

    What is put is in force at once and on the disk after `flush`, which waits for the disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        state = folder.absolute().parent.parent
        self.option = f" --state {state}" if state != USUAL_STATE else ""
        self._unsaved: dict[str, bytes | None] = {}
        self._lock = threading.Lock()
        self._count: int | None = None
        self._said = ""
        self.changed = asyncio.Event()

    def get(self, name: str) -> bytes | None:
        if name in self._unsaved:
            return self._unsaved[name]
        try:
            return self._path(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._say(f"{name} cannot be read: {error.strerror}")
            return None

    def put(self, name: str, content: bytes | None) -> None:
        self._path(name)
        if content is not None and not self._has_room(name, content):
            return
        if content != self.get(name):
            if content is None and self._count is not None:
                self._count -= 1
            with self._lock:
                self._unsaved[name] = content
            self.changed.set()

    def _has_room(self, name: str, content: bytes) -> bool:
        """Whether it may be kept; what a device or a peer makes of a driver's memory has a bound."""
        if len(content) > MOST_BYTES:
            self._say(f"{name} has {len(content)} bytes; at most {MOST_BYTES} are kept")
            return False
        if self._count is None:
            self._count = len(self.names())
        known = self.get(name) is not None
        if not known and self._count >= MOST_NAMES:
            self._say(f"{name} is one too many; at most {MOST_NAMES} things are kept")
            return False
        self._count += not known
        return True

    def _say(self, reason: str) -> None:
        if reason != self._said:
            log.error("what a driver learned is not kept", folder=str(self._folder), reason=reason)
        self._said = reason

    def names(self, prefix: str = "") -> list[str]:
        files = (path for path in self._folder.rglob("[!.]*") if path.is_file())
        names = {str(path.relative_to(self._folder)) for path in files}
        names = {name for name in names if name not in self._unsaved}
        names |= {name for name, content in self._unsaved.items() if content is not None}
        return sorted(name for name in names if name.startswith(prefix))

    def flush(self) -> None:
        """Writes what is not on the disk yet; raises OSError and then keeps it for the next time."""
        for name, content in list(self._unsaved.items()):
            path = self._path(name)
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                replace_file(path, content)
            with self._lock:
                if self._unsaved.get(name) is content:
                    del self._unsaved[name]

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of a file in a driver's home")
        return self._folder / name


class Homes:
    """The homes of all drivers, below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._homes: dict[str, FolderHome] = {}

    def of(self, driver: str) -> FolderHome:
        """The home of one driver, the same for all who ask."""
        if driver not in self._homes:
            self._homes[driver] = FolderHome(self._folder / driver)
        return self._homes[driver]

    async def run(self) -> None:
        """Saves what the drivers put, for ever and once more at the end; a disk that refuses is asked again."""
        try:
            async with asyncio.TaskGroup() as group:
                for home in self._homes.values():
                    group.create_task(self._save(home))
        finally:
            self.flush()

    def flush(self) -> None:
        """Saves what is left; says so where the disk refuses."""
        for name, home in self._homes.items():
            try:
                home.flush()
            except OSError as error:
                log.error("what a driver learned is lost", driver=name, reason=str(error))

    async def _save(self, home: FolderHome) -> None:
        said = ""
        while True:
            await home.changed.wait()
            home.changed.clear()
            try:
                await asyncio.to_thread(home.flush)
                said = ""
            except OSError as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("what a driver learned cannot be saved; trying again", reason=said)
                home.changed.set()
            await asyncio.sleep(5.0)  # things that change often cost few writes
