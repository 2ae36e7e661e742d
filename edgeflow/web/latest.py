"""The newest result per stream and key, bounded: what pages show without asking the store."""

from __future__ import annotations

from collections.abc import Iterator

from edgeflow.model import Record


class Latest:
    """Keeps the newest record per (stream, key) and, per stream, only the `most` that came last."""

    def __init__(self, most: int = 200) -> None:
        self._most = most
        self._streams: dict[str, dict[str, Record]] = {}

    def take(self, record: Record) -> None:
        """Notes a record; an older version of what is known is not taken."""
        stream = self._streams.setdefault(record.stream, {})
        known = stream.get(record.key)
        if known is not None and record.version < known.version:
            return
        stream.pop(record.key, None)
        stream[record.key] = record
        if len(stream) > self._most:
            del stream[next(iter(stream))]

    def __iter__(self) -> Iterator[Record]:
        for stream in self._streams.values():
            yield from stream.values()

    def __len__(self) -> int:
        return sum(map(len, self._streams.values()))
