"""Small, slow, readable documents: flow versions by content hash and what else a person may look into."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from tinydb import TinyDB, where
from tinydb.storages import Storage

from edgeflow.document import version
from edgeflow.model import Value
from edgeflow.store.database import StoreError

log = structlog.get_logger(__name__)


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

    Raises StoreError where neither copy can be read.
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
            raise StoreError(
                f"{self._path} and its previous copy cannot be read; move both away to start with none, "
                "the central server sends the flows again"
            )
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
    """The gateway's document file. Its calls wait for the disk: from the event loop use a thread."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._tiny = TinyDB(path=path, storage=AtomicStorage)
        self._flows = self._tiny.table("flows", cache_size=0)
        self._small = self._tiny.table("documents", cache_size=0)

    def add_flow(self, document: Mapping[str, Any], origin: str = "") -> str:
        """Keeps a flow document for ever and returns its version, the hash of its content."""
        found = version(document)
        with self._lock:
            if not self._flows.contains(where("version") == found):
                entry = {"version": found, "flow": document.get("flow", ""), "origin": origin, "document": document}
                self._flows.insert(entry)
        return found

    def flow(self, wanted: str) -> dict[str, Any] | None:
        """The flow document of a version; None where it is not here, or no longer what it was."""
        with self._lock:
            entry = self._flows.get(where("version") == wanted)
        if not isinstance(entry, Mapping):
            return None
        document = entry.get("document")
        return document if isinstance(document, dict) and version(document) == wanted else None

    def versions(self, flow: str) -> list[str]:
        """The versions of a flow, in the order they came."""
        with self._lock:
            return [entry.get("version", "") for entry in self._flows.search(where("flow") == flow)]

    def put(self, kind: str, name: str, content: Value) -> None:
        """Keeps a small document under a name, in place of the one before."""
        with self._lock:
            match = (where("kind") == kind) & (where("name") == name)
            self._small.upsert({"kind": kind, "name": name, "content": content}, match)

    def get(self, kind: str, name: str) -> Value:
        """A small document, or None."""
        with self._lock:
            entry = self._small.get((where("kind") == kind) & (where("name") == name))
        return entry.get("content") if isinstance(entry, Mapping) else None
