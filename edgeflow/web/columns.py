"""Tags as columns of JSON: blocks go in at the pace of the plant, bytes come out at the pace of who looks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import orjson

from edgeflow.clock import utc_text
from edgeflow.model import BAD, GOOD, Block, Quality, Scalar, Tag

CHUNK = 100
EXACT = 1 << 53
NEVER_READ = "not read yet"
_WORDS = tuple(orjson.dumps(quality.name.lower()) for quality in Quality)


@dataclass(slots=True)
class Chunk:
    """Up to `CHUNK` tags of one device. `plan` and `now` are its columns as JSON, without the brackets around."""

    key: str
    device: str
    first: int
    names: Sequence[str]
    plan: dict[str, bytes]
    now: dict[str, bytes] = field(default_factory=dict)
    changed: bool = True


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the values of one tuple of tags go; `run` where that is one unbroken run."""

    tags: Sequence[str]
    places: list[int]
    run: slice | None
    chunks: list[Chunk]


class TagColumns:
    """The newest sample of every tag, rendered only when asked for.

    `take` is called for every block and costs one entry in a dict; `render` brings the bytes up to
    date in steps that never hold the loop for long.
    """

    def __init__(self, tags: Iterable[Tag]) -> None:
        self.tags: dict[str, Tag] = {tag.name: tag for tag in sorted(tags, key=lambda tag: tag.device)}
        names = list(self.tags)
        self._index = {name: i for i, name in enumerate(names)}
        self._values: list[Scalar] = [None] * len(names)
        self._faults: list[tuple[Quality, str] | None] = [(BAD, NEVER_READ)] * len(names)
        self._source_ns = [0] * len(names)
        self._fresh: dict[int, Block] = {}
        self._plans: dict[int, _Plan] = {}
        self.chunks: list[Chunk] = []
        self._chunk_of: list[Chunk] = []
        self._lay_out(names)

    def _lay_out(self, names: list[str]) -> None:
        start = offset = 0
        device = ""
        while start < len(names):
            before, device = device, self.tags[names[start]].device
            offset = offset + CHUNK if device == before else 0
            end = start
            while end < len(names) and end - start < CHUNK and self.tags[names[end]].device == device:
                end += 1
            part = names[start:end]
            tags = [self.tags[name] for name in part]
            plan = {
                "names": _items(part),
                "types": _items([tag.type for tag in tags]),
                "units": _items([tag.unit for tag in tags]),
                "writable": _items([tag.writable for tag in tags]),
                "about": _items([tag.about for tag in tags]),
            }
            chunk = Chunk(f"{device}/{offset}", device, start, part, plan)
            self.chunks.append(chunk)
            self._chunk_of.extend([chunk] * len(part))
            start = end

    def take(self, block: Block) -> None:
        """Notes a block; the newest per tuple of tags is enough, history is not."""
        if block.late or block.holds:  # neither changes a value or its time
            return
        key = id(block.tags)  # the block keeps the tuple alive for as long as the id is used
        self._fresh.pop(key, None)
        self._fresh[key] = block
        if len(self._fresh) > 200:
            self._settle_all()

    def value(self, name: str) -> tuple[Scalar, Quality, str, int]:
        """The newest (value, quality, reason, source time in ns) of one tag; raises KeyError."""
        index = self._index[name]
        self._settle_all()
        quality, reason = self._faults[index] or (GOOD, "")
        return self._values[index], quality, reason, self._source_ns[index]

    def not_good(self) -> dict[str, int]:
        """How many tags of each device are not GOOD."""
        self._settle_all()
        found: dict[str, int] = {}
        for chunk in self.chunks:
            part = self._faults[chunk.first : chunk.first + len(chunk.names)]
            found[chunk.device] = found.get(chunk.device, 0) + len(part) - part.count(None)
        return found

    async def render(self) -> list[Chunk]:
        """Brings every chunk up to date; returns those whose bytes have changed."""
        for count, block in enumerate(self._taken()):
            self._settle(block)
            if count % 16 == 15:
                await asyncio.sleep(0)
        changed = [chunk for chunk in self.chunks if chunk.changed]
        for chunk in changed:
            self._render(chunk)
            await asyncio.sleep(0)
        return changed

    async def joined(self, chunks: Sequence[Chunk]) -> bytes:
        """The columns of several chunks as one JSON object."""
        if not chunks:
            return b"{}"
        columns: list[bytes] = []
        for part in (chunks[0].plan, chunks[0].now):
            for name in part:
                column = b",".join([(chunk.plan if name in chunk.plan else chunk.now)[name] for chunk in chunks])
                columns.append(b'"%b":[%b]' % (name.encode(), column))
                await asyncio.sleep(0)
        return b"{%b}" % b",".join(columns)

    def _taken(self) -> list[Block]:
        blocks, self._fresh = list(self._fresh.values()), {}
        return blocks

    def _settle_all(self) -> None:
        for block in self._taken():
            self._settle(block)

    def _settle(self, block: Block) -> None:
        known = self._plans.get(id(block.tags))
        if known is None or known.tags is not block.tags:
            known = self._plan(block.tags)
        faults = block.faults or {}
        if known.run is not None and len(block.values) == len(
            known.places
        ):  # a whole device in order, as pollers read it: some twenty times as fast
            self._values[known.run] = block.values
            self._source_ns[known.run] = [block.source_ns] * len(block.values)
            self._faults[known.run] = [None] * len(block.values)
            for i, fault in faults.items():
                self._faults[known.places[i]] = fault
        else:
            for i, place in enumerate(known.places):
                if place >= 0:
                    self._values[place] = block.values[i]
                    self._source_ns[place] = block.source_ns
                    self._faults[place] = faults.get(i)
        for chunk in known.chunks:
            chunk.changed = True

    def _plan(self, tags: Sequence[str]) -> _Plan:
        places = [self._index.get(tag, -1) for tag in tags]
        chunks = list({self._chunk_of[place].key: self._chunk_of[place] for place in places if place >= 0}.values())
        if len(self._plans) > 4096:
            self._plans.clear()
        first = places[0] if places else -1
        in_order = first >= 0 and places == list(range(first, first + len(places)))
        run = slice(first, first + len(places)) if in_order else None
        self._plans[id(tags)] = plan = _Plan(tags, places, run, chunks)
        return plan

    def _render(self, chunk: Chunk) -> None:
        part = slice(chunk.first, chunk.first + len(chunk.names))
        faults = self._faults[part]
        times: dict[int, str | None] = {0: None}
        for source_ns in self._source_ns[part]:
            if source_ns not in times:
                times[source_ns] = utc_text(source_ns)
        chunk.now = {
            "values": _items(self._values[part]),
            "qualities": b",".join([_WORDS[fault[0] if fault else GOOD] for fault in faults]),
            "times": _items([times[source_ns] for source_ns in self._source_ns[part]]),
            "reasons": _items([fault[1] if fault else "" for fault in faults]),
        }
        chunk.changed = False


def wire(value: Scalar) -> Scalar:
    """A value as JSON can carry it exactly: large integers as text, bytes in hexadecimal, no half characters."""
    if isinstance(value, int) and not -EXACT < value < EXACT:
        return str(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return value.hex() if isinstance(value, bytes) else value


def _items(column: Sequence[Scalar]) -> bytes:
    try:
        return orjson.dumps(column, option=orjson.OPT_STRICT_INTEGER)[1:-1]
    except TypeError:
        return orjson.dumps([wire(value) for value in column])[1:-1]
