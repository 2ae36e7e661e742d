"""What a server remembers of the time in which nobody listened (OPC 10000-11, ReadRaw)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import structlog
from asyncua import ua

from edgeflow.driver import Column, Push
from edgeflow.errors import LinkDown
from edgeflow.model import Scalar
from edgeflow.units import NS_PER_S, duration_text
from edgeflow_opcua import service
from edgeflow_opcua.binary import Datum, Decoder, Malformed
from edgeflow_opcua.item import NS_PER_MS, Item
from edgeflow_opcua.limits import TOO_MUCH, Refused, pieces
from edgeflow_opcua.server import Server
from edgeflow_opcua.settings import Device, Point
from edgeflow_opcua.value import Fault, status_name

log = structlog.get_logger(__name__)

_LONGEST_NS = 86_400 * NS_PER_S
_LONGEST_READ_S = 60.0
_AHEAD_NS = 60 * NS_PER_S  # a server's clock may be told in steps, and its sources may go ahead of it
_ASK_S = 10.0
_VALUES, _NODES = 1000, 50
_MOST_VALUES = 200_000
_COLUMNS_IN_A_ROW = 100
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)

Alive = Callable[[], Awaitable[None]]
_Value = tuple[int, Item, Any, int]
_Points = dict[Item, bytes | None]


class History:
    """Fills the gap of the variables that have a history.

    Of each, the time of its last value is kept in the driver's home: when the watch ends, and every minute in case
    it ends without notice.
    """

    def __init__(self, server: Server, name: str) -> None:
        self._server, self._name = server, name
        self._now = asyncio.get_running_loop().time
        self._items: dict[Item, None] = {}
        self._lacking: set[Item] = set()
        try:
            kept = orjson.loads(server.home.get(name) or b"{}")
        except orjson.JSONDecodeError:
            kept = {}
        self._kept: dict[str, int] = kept if isinstance(kept, dict) else {}

    @classmethod
    def of(cls, server: Server, device: Device, points: Sequence[Point]) -> History | None:
        """The history of a device; None where nobody asks for one."""
        names = sorted(str(point) for point in points if (device.history if point.history is None else point.history))
        if not names:
            return None
        digest = hashlib.sha256("\n".join((server.wire.where, *names)).encode()).hexdigest()
        return cls(server, f"history/{digest[:16]}.json")

    def save(self) -> None:
        """Keeps the times of the last values."""
        times = self._kept | {item.node.to_string(): item.last_ns for item in self._items if item.last_ns}
        if times:
            self._server.home.put(self._name, orjson.dumps(times))

    async def fill(self, items: Sequence[Item], push: Push, now_ns: int, alive: Alive) -> None:
        """Pushes what came since the last values, in the order of its times; `now_ns` is the server's own time.

        `alive` is called between the requests. Bounded in time, days and values; what is left out is logged.
        Raises LinkDown.
        """
        end_ns = now_ns + _AHEAD_NS
        for item in items:
            self._items[item] = None
            item.last_ns = item.last_ns or self._kept.get(item.node.to_string(), 0)
        asked = [item for item in items if item.last_ns and item not in self._lacking]
        if not asked:
            return
        gap = duration_text(max(0, now_ns - min(item.last_ns for item in asked)))
        found, lacking = await self._read(asked, end_ns, alive)
        found.sort(key=lambda one: one[0])
        for at, item, *_ in found:
            item.last_ns = max(item.last_ns, at)
        for number, column in enumerate(_columns(found), 1):
            push(column)
            if number % _COLUMNS_IN_A_ROW == 0:
                await asyncio.sleep(0)  # so that what was pushed is taken
                await alive()
        if found:
            log.info("history read", server=self._server.wire.where, gap=gap, values=len(found))
        if lacking:
            self._lacking |= lacking.keys()
            answer = next(iter(lacking.values()))
            log.info("no history of some nodes", server=self._server.wire.where, nodes=len(lacking), answer=answer)

    async def _read(self, asked: Sequence[Item], end_ns: int, alive: Alive) -> tuple[list[_Value], dict[Item, str]]:
        until = self._now() + _LONGEST_READ_S
        pages = _Pages(
            [
                (max(min(item.last_ns for item in some), end_ns - _LONGEST_NS), dict.fromkeys(some))
                for some in pieces(asked, min(_NODES, self._server.wire.limits.of("history")))
            ]
        )
        try:
            while pages.waiting:
                if self._now() > until or len(pages.found) > _MOST_VALUES:
                    log.warning("the gap is too long to be filled as a whole", values=len(pages.found))
                    break
                begin_ns, points = pages.waiting.pop()
                pages.take(begin_ns, points, await self._ask(points, begin_ns, end_ns))
                await alive()
        finally:
            if pages.held:
                with suppress(LinkDown):
                    await self._ask(pages.held, end_ns, end_ns, release=True)
        return pages.found, pages.lacking

    async def _ask(
        self, points: Mapping[Item, bytes | None], begin_ns: int, end_ns: int, *, release: bool = False
    ) -> Sequence[Any]:
        details = ua.ReadRawModifiedDetails(False, _moment(begin_ns), _moment(end_ns), ua.Counter(_VALUES), False)
        nodes = [ua.HistoryReadValueId(item.node, ContinuationPoint=point) for item, point in points.items()]
        question = ua.HistoryReadParameters(details, ua.TimestampsToReturn.Both, release, nodes)
        if not nodes:
            return ()
        try:
            return await service.history(self._server.wire, question, self._now() + _ASK_S)
        except Refused as refusal:
            return [ua.HistoryReadResult(service.code(refusal.name))] * len(points)


class _Pages:
    """What has been read, and what is to be asked for: since when, and of each variable where the server goes on.

    What a server cannot give of many at once, or cannot go on with, is asked for alone. Only the last of `waiting`
    has continuation points; they are `held` by the server until it has given the rest or is told to forget them.
    """

    def __init__(self, waiting: list[tuple[int, _Points]]) -> None:
        self.waiting = waiting
        self.found: list[_Value] = []
        self.lacking: dict[Item, str] = {}
        self.held: _Points = {}
        self._reached: dict[Item, int] = {}

    def take(self, begin_ns: int, points: _Points, results: Sequence[Any]) -> None:
        """One page of each variable."""
        self.held = {}
        for item, result in zip(points, results, strict=False):
            if result.StatusCode.is_good():
                self._page(begin_ns, item, points[item], result)
                continue
            name, reached_ns = status_name(result.StatusCode.value), self._reached.get(item, begin_ns)
            if points[item] and reached_ns > begin_ns:  # the server has forgotten where we were
                self.waiting.append((reached_ns, {item: None}))
            elif name in TOO_MUCH and len(points) > 1:
                self.waiting.append((begin_ns, {item: None}))
            else:
                self.lacking[item] = name
        if self.held:
            self.waiting.append((begin_ns, self.held))

    def _page(self, begin_ns: int, item: Item, point: bytes | None, result: Any) -> None:
        values = [_value(item, datum) for datum in _data(result)]
        # A server begins with the value that holds at the beginning.
        first_ns = item.last_ns if point or begin_ns <= item.last_ns else begin_ns
        self.found += [value for value in values if value[0] > first_ns]
        if values:
            self._reached[item] = values[-1][0]
        if result.ContinuationPoint:
            self.held[item] = result.ContinuationPoint
        elif len(values) >= _VALUES and values[-1][0] > begin_ns:  # cut off without saying so
            self.waiting.append((values[-1][0], {item: None}))


def _data(result: ua.HistoryReadResult) -> list[Datum]:
    """The values of one page (HistoryData, OPC 10000-11, clause 6.6.2); none where they cannot be read."""
    content: Any = result.HistoryData  # declared as the structure; what is read is its bytes
    body = getattr(content, "Body", None)
    try:
        return Decoder(body).many(Decoder.data_value) if body else []
    except (Malformed, RecursionError):
        return []


def _value(item: Item, datum: Datum) -> _Value:
    value, code, source_ns, server_ns = datum
    return source_ns or server_ns, item, value, code


def _moment(ns: int) -> datetime:
    return _UNIX + timedelta(microseconds=ns // 1000)


def _columns(found: Sequence[_Value]) -> list[Column]:
    """A column for the values of the same millisecond; a variable that has two begins another."""
    columns: list[Column] = []
    values, faults, points = list[Scalar](), dict[int, Fault](), list[int]()
    begun = last = 0
    seen: set[Item] = set()

    def close() -> None:
        if points:
            columns.append(Column(list(values), last, dict(faults) or None, tuple(points), late=True))
        for part in (values, faults, points, seen):
            part.clear()

    for at, item, value, code in found:
        if at // NS_PER_MS != begun or item in seen:
            close()
            begun = at // NS_PER_MS
        seen.add(item)
        last = at
        for index, scalar, fault in item.taken(value, code):
            if fault:
                faults[len(values)] = fault
            values.append(scalar)
            points.append(index)
    close()
    return columns
