"""Small, slow, readable documents: flow versions, each a file named by its hash, and what else people may look at."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import structlog
from tinydb import TinyDB, where
from tinydb.storages import Storage

from edgeflow.document import canonical
from edgeflow.model import Value
from edgeflow.store.aside import set_aside

log = structlog.get_logger(__name__)

_VERSION = re.compile(r"[0-9a-f]{64}")


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replaces a file so that a power cut leaves the old or the new one, whole."""
    draft = path.with_name(f".{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class AtomicStorage(Storage):
    """TinyDB's data in one JSON file that is always whole; the copy before it is kept as `*.previous`.

    Where neither can be read both are set aside, and there are none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._previous = path.with_name(f"{path.name}.previous")

    def read(self) -> dict[str, dict[str, Any]] | None:
        if not self._path.exists() and not self._previous.exists():
            return None
        data = _parsed(self._path)
        if data is not None:
            return data
        data = _parsed(self._previous)
        if data is None:
            for path in (self._path, self._previous):
                if path.exists():
                    set_aside(path)
            return None
        log.error("documents unreadable, the previous copy is used", file=str(self._path))
        replace_file(self._path, self._previous.read_bytes())
        return data

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        if _parsed(self._path) is not None:
            replace_file(self._previous, self._path.read_bytes())
        replace_file(self._path, json.dumps(data, ensure_ascii=False, indent=1, sort_keys=True).encode())


def _parsed(path: Path) -> dict[str, dict[str, Any]] | None:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and all(map(_is_table, data.values())) else None


def _is_table(table: Any) -> bool:
    return isinstance(table, dict) and all(key.isdecimal() and isinstance(e, dict) for key, e in table.items())


class Documents:
    """Small documents in one file, and beside it a folder with a file per flow version, named by its hash.

    Its calls wait for the disk: from the event loop use a thread.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._flows = path.with_name("flows")
        self._tiny = TinyDB(path=path, storage=AtomicStorage)
        self._small = self._tiny.table("documents", cache_size=0)

    def add_flow(self, document: Mapping[str, Any]) -> str:
        """Keeps a flow document and returns its version, the hash of its content."""
        content = canonical(document)
        found = hashlib.sha256(content).hexdigest()
        with self._lock:
            if self._read(found) is None:
                self._flows.mkdir(mode=0o700, parents=True, exist_ok=True)
                replace_file(self._file(found), content)
        return found

    def flow(self, wanted: str) -> dict[str, Any] | None:
        """The flow document of a version; None where it is not here, or no longer what it was."""
        with self._lock:
            content = self._read(wanted)
        document = None if content is None else json.loads(content)
        return document if isinstance(document, dict) else None

    def versions(self) -> list[str]:
        """The versions that are here, the newest last."""
        with self._lock:
            return self._versions()

    def prune(self, needed: Collection[str], most: int) -> None:
        """Forgets all versions but those that are needed and the newest of the others, `most` of them."""
        with self._lock:
            others = [version for version in self._versions() if version not in needed]
            for version in others[: max(0, len(others) - most)]:
                self._file(version).unlink(missing_ok=True)

    def _versions(self) -> list[str]:
        files = [(path.stat().st_mtime_ns, path.stem) for path in self._flows.glob("*.json")]
        return [version for _, version in sorted(files) if _VERSION.fullmatch(version)]

    def _file(self, version: str) -> Path:
        return self._flows / f"{version}.json"

    def _read(self, version: str) -> bytes | None:
        try:
            content = self._file(version).read_bytes() if _VERSION.fullmatch(version) else b""
        except (FileNotFoundError, NotADirectoryError):
            return None
        return content if hashlib.sha256(content).hexdigest() == version else None

    def put(self, kind: str, name: str, content: Value) -> None:
        """Keeps a small document under a name, in place of the one before; None forgets it."""
        with self._lock:
            match = (where("kind") == kind) & (where("name") == name)
            if content is None:
                self._small.remove(match)
            else:
                self._small.upsert({"kind": kind, "name": name, "content": content}, match)

    def get(self, kind: str, name: str) -> Value:
        """A small document, or None."""
        with self._lock:
            entry = self._small.get((where("kind") == kind) & (where("name") == name))
        return entry.get("content") if isinstance(entry, Mapping) else None
