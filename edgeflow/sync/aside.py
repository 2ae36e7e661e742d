"""Results that the central server refuses: kept beside the queue, one readable file each, until a person decides."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeflow.store.documents import replace_file

log = structlog.get_logger(__name__)

MOST_KEPT = 1000
MOST_BYTES = 16 << 20
_NAME = re.compile(r"[0-9a-f]{16}-\d{1,16}")


class Refusal(BaseModel):
    """A result that the central server refuses, with its words."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    name: str = Field(description="Its name here: epoch and number in the queue.")
    at: str = Field(description="When it was refused, RFC 3339 in UTC.")
    status: int = Field(description="The HTTP status of the refusal.")
    reason: str = Field(description="Why, in the words of the central server.")
    record: dict[str, Any] = Field(description="The result.")


@dataclass(frozen=True, slots=True)
class _Kept:
    name: str
    bytes: int


class Aside:
    """The refused results in a folder, at most 1,000 of them and 16 MB; beyond that the oldest go.

    Calls wait for the disk: from the event loop use a thread.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._kept = [_Kept(path.stem, path.stat().st_size) for path in _files(folder)]
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, epoch: str, seq: int, at: str, status: int, reason: str, record: bytes) -> None:
        """Keeps one; on the disk when this returns. Raises OSError."""
        name = f"{epoch}-{seq}"
        head = orjson.dumps({"name": name, "at": at, "status": status, "reason": reason})
        content = head[:-1] + b',"record":' + record + b"}"
        with self._lock:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._file(name), content)
            self._kept = [*(each for each in self._kept if each.name != name), _Kept(name, len(content))]
            while len(self._kept) > MOST_KEPT or sum(each.bytes for each in self._kept) > MOST_BYTES:
                oldest = self._kept.pop(0)
                self._file(oldest.name).unlink(missing_ok=True)
                self.dropped += 1
                log.error("too many results were refused; the oldest is lost", name=oldest.name)

    def page(self, after: str, limit: int, most_bytes: int) -> tuple[list[Refusal], str | None]:
        """The next ones after a name, oldest first, and after which to go on; None at the end."""
        with self._lock:
            names = [each.name for each in self._kept]
        start = names.index(after) + 1 if after in names else 0
        found: list[Refusal] = []
        for i, name in enumerate(names[start:], start):
            content = self._read(name)
            most_bytes -= len(content)
            if found and (len(found) >= limit or most_bytes < 0):
                return found, names[i - 1]
            try:
                found.append(Refusal.model_validate(orjson.loads(content)))
            except (ValidationError, orjson.JSONDecodeError):
                log.warning("a refused result cannot be read", file=str(self._file(name)))
        return found, None

    def records(self, names: list[str] | None) -> dict[str, bytes]:
        """The results as they were queued, by name; all of them where no names are given."""
        with self._lock:
            wanted = [each.name for each in self._kept if names is None or each.name in names]
        found: dict[str, bytes] = {}
        for name in wanted:
            _, _, record = self._read(name).partition(b',"record":')
            if record.endswith(b"}"):
                found[name] = record[:-1]
        return found

    def forget(self, names: list[str]) -> None:
        """Removes these, for good."""
        with self._lock:
            for name in names:
                self._file(name).unlink(missing_ok=True)
            self._kept = [each for each in self._kept if each.name not in names]

    def _read(self, name: str) -> bytes:
        try:
            return self._file(name).read_bytes()
        except OSError:
            return b""

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def _files(folder: Path) -> list[Path]:
    """The files of earlier lives, the oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.glob("*.json") if _NAME.fullmatch(path.stem)]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)
