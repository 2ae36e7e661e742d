"""One SQLite file and the one thread that touches it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from edgeflow.clock import monotonic_ns
from edgeflow.errors import EdgeFlowError
from edgeflow.store.aside import set_aside
from edgeflow.units import NS_PER_S

log = structlog.get_logger(__name__)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_CHECKED_WHOLE_BYTES = 32 << 20
_BUSY_S = 5.0
_AGAIN_S = 1.0
"""How often a file that is out of reach is looked for."""


class StoreError(EdgeFlowError):
    """The database cannot be used; the message says what to do."""


class Damaged(StoreError):
    """What is in the file is not what was written to it."""


class Unreachable(StoreError):
    """The file cannot be opened or written to now; it may be so again."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of a kind of database.

    `steps` are SQL scripts (no `;` but between statements): the first makes the tables, each further
    one brings an older file up to date. A file's `user_version` is the number of steps it has seen;
    `mark` (its `application_id`) tells our files from any other SQLite file.
    """

    name: str
    mark: int
    steps: tuple[str, ...]


class Database:
    """A SQLite database in WAL mode with `synchronous=FULL`: what is committed survives a power cut.

    Every call runs on the one thread, in the order it was made. `exclusive` keeps any other process
    out, so that a second agent on the same state fails at once instead of spoiling it. Where the file of
    such a one cannot be opened, or vanishes, the work goes on in memory (in the file that was deleted) with all
    that was read of it; `trouble` says so, and everything is put back as soon as there is a place for it.
    """

    def __init__(self, path: Path, schema: Schema, *, exclusive: bool) -> None:
        self.path = path
        self._schema = schema
        self._exclusive = exclusive
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"store-{schema.name}")
        self._thread_id = 0
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._tried_s = -_AGAIN_S
        self.trouble = ""

    async def open(self) -> None:
        """Opens the file, or makes it. Raises StoreError where it is damaged, in use or newer."""
        try:
            await self._run(self._open)
        except BaseException:
            self._thread.shutdown()
            raise

    async def close(self) -> None:
        """Ends what was begun, folds the log into the file, and closes it."""
        await self._run(self._close)
        self._thread.shutdown()

    async def transaction(self, work: Work[T]) -> T:
        """Runs `work` in one transaction: all of it is on the disk when this returns, or none of it.

        Raises StoreError where the disk is full or the file damaged. What `work` raises undoes the
        transaction and comes through.
        """
        return await self._run(lambda: self._checked(work))

    async def query(self, work: Work[T]) -> T:
        """Runs `work`, which only reads."""
        return await self._run(lambda: work(self._opened()))

    @property
    def written_bytes(self) -> int:
        """What the thread has asked the system to write since the start; 0 where the system does not tell."""
        try:
            lines = Path(f"/proc/self/task/{self._thread_id}/io").read_text("ascii").splitlines()
        except OSError:
            return 0
        return next((int(line[6:]) for line in lines if line.startswith("wchar:")), 0)

    async def _run(self, job: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, job)
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _explained(self, error: sqlite3.Error) -> StoreError:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return StoreError(
                f"{self.path} is in use by another process; stop that one first, "
                "or give this one a state directory of its own"
            )
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return self._damaged(str(error))
        if name.startswith("SQLITE_FULL"):
            return Unreachable(f"{self.path}: the disk is full; make room, nothing that was committed is lost")
        if name.startswith("SQLITE_CANTOPEN"):
            return Unreachable(f"{self.path} cannot be opened; check that the directory exists and may be written to")
        if name.startswith(("SQLITE_READONLY", "SQLITE_PERM")):
            return Unreachable(f"{self.path} may not be written to; check its owner and the mount")
        if name.startswith("SQLITE_IOERR"):
            return Unreachable(f"{self.path}: the disk cannot be read or written ({error})")
        return StoreError(f"{self.path}: {error}")

    def _damaged(self, what: str) -> StoreError:
        return Damaged(
            f"{self.path} is damaged ({what}); move it and its -wal file away to start with an empty one, "
            "and keep them: most of what is in them can be read with `sqlite3 FILE .recover`"
        )

    def _opened(self) -> sqlite3.Connection:
        assert self._connection is not None, "the database is not open"
        return self._connection

    def _open(self) -> None:
        self._thread_id = threading.get_native_id()
        try:
            self._connection = self._opened_file()
        except Unreachable as error:
            if not self._exclusive:
                raise
            self._connection = self._in_memory()
            self._lost(str(error))

    def _opened_file(self, content: sqlite3.Connection | None = None) -> sqlite3.Connection:
        """The file, open and up to date; `content` first goes into it. Raises StoreError."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            reason = f"{self.path} cannot be opened: {error.strerror}; check who owns the directory"
            raise Unreachable(reason) from error
        connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        try:
            if content is not None:
                content.backup(connection)
            self._prepare(connection)
            found = self.path.stat()
        except sqlite3.Error as error:
            connection.close()
            raise self._explained(error) from error
        except BaseException:
            connection.close()
            raise
        self._file = found.st_dev, found.st_ino
        return connection

    def _in_memory(self) -> sqlite3.Connection:
        """A database in memory, with what can be read of the file."""
        connection = sqlite3.connect(":memory:", isolation_level=None)
        with suppress(sqlite3.Error, OSError):
            if self.path.exists():
                file = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
                with closing(file):
                    file.backup(connection)
        try:
            self._migrate(connection)
        except (sqlite3.Error, StoreError):
            connection.close()
            connection = sqlite3.connect(":memory:", isolation_level=None)
            self._migrate(connection)
        return connection

    def _lost(self, reason: str) -> None:
        if not self.trouble:
            log.error("the database is out of reach; what comes is kept in memory until it is back", reason=reason)
        self.trouble, self._file = reason, None

    def _look_for_the_file(self) -> None:
        """Notices a file that has vanished from under us, and puts everything back where that is possible."""
        try:
            found = self.path.stat()
            here = (found.st_dev, found.st_ino) == self._file
        except OSError:
            here = False
        now_s = monotonic_ns() / NS_PER_S
        if here or now_s - self._tried_s < _AGAIN_S:
            return
        if not self.trouble:
            self._lost(f"{self.path} is no longer there; was the folder deleted or unmounted?")
        self._tried_s, before = now_s, self._opened()
        try:
            self._connection = self._opened_file(before)
        except StoreError as error:
            self.trouble = str(error)
            return
        before.close()
        self.trouble = ""
        log.warning("the database is back, with everything that was kept in memory", file=str(self.path))

    def _checked(self, work: Work[T]) -> T:
        if self._exclusive:
            self._look_for_the_file()
        return self._transaction(work)

    async def renew(self) -> None:
        """Sets the file aside, and begins an empty one in its place. Raises StoreError where that cannot be done."""

        def anew() -> None:
            self._close()
            set_aside(self.path, "-wal", "-shm")
            self._open()

        await self._run(anew)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if self._exclusive:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("PRAGMA busy_timeout=0")
        self._version(connection)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA journal_size_limit=4194304")
        connection.execute("PRAGMA foreign_keys=ON")
        if self.path.stat().st_size <= _CHECKED_WHOLE_BYTES:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise self._damaged(" ".join(verdict.split()))
        self._migrate(connection)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Brings the tables up to date; under the write lock, since two processes may open a new file together."""
        connection.execute("BEGIN IMMEDIATE")
        for number, step in enumerate(self._schema.steps, 1):
            if number <= self._version(connection):
                continue
            for statement in step.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={self._schema.mark}")
            connection.execute(f"PRAGMA user_version={number}")
        connection.execute("COMMIT")

    def _version(self, connection: sqlite3.Connection) -> int:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (mark,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        known = len(self._schema.steps)
        if tables and mark != self._schema.mark:
            raise Damaged(
                f"{self.path} is not a {self._schema.name} database of EdgeFlow; give another state directory"
            )
        if version > known:
            raise StoreError(
                f"{self.path} was written by a newer EdgeFlow (schema {version}, this one knows {known}); "
                "install that version again or move the file away"
            )
        return int(version)

    def _transaction(self, work: Work[T]) -> T:
        connection = self._opened()
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
