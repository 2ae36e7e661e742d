"""OPC UA binary: the built-in types and what a server publishes, out of bytes (OPC 10000-6, clause 5.2).

The library decodes a whole response or none of it, so one odd value takes all others with it; and it
spends several times as long on each. Here a structure stays bytes until somebody wants to look into it.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from struct import Struct
from struct import error as StructError  # noqa: N812 - the module gives it no better name
from typing import Any

from asyncua import ua

Timed = Mapping[int, bool]
"""Client handles of what is to have another time than its source's: true is the server's, false none."""
NOT_TIMED: Timed = {}
Datum = tuple[Any, int, int, int]
"""A value, its status code, and its source and server times (UTC ns, 0 where there is none)."""

_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_UNIX_TICKS = 116_444_736_000_000_000  # 1970 in ticks of 100 ns since 1601
_LAST_TICKS = 2_335_000_000_000_000_000  # the year 9000: later means "no time"
_U8, _U16, _U32, _I32, _I64 = Struct("<B"), Struct("<H"), Struct("<I"), Struct("<i"), Struct("<q")
_NUMBERS = {
    1: Struct("<?"), 2: Struct("<b"), 3: Struct("<B"), 4: Struct("<h"), 5: Struct("<H"), 6: Struct("<i"),
    7: Struct("<I"), 8: Struct("<q"), 9: Struct("<Q"), 10: Struct("<f"), 11: Struct("<d"),
}  # fmt: skip
_UNPACK = {kind: (form.unpack_from, form.size) for kind, form in _NUMBERS.items()}
_ARRAY, _DIMENSIONS = 0x80, 0x40
_DATA_CHANGE, _EVENTS, _STATUS_CHANGE = 811, 916, 820
LARGEST = 16 * 1024 * 1024
_MOST_ELEMENTS = 200_000
MOST_DIMENSIONS = 8
"""What goes beyond these is not taken apart: everything else would have to wait for it."""


class Malformed(ValueError):
    """The bytes are not what they should be; nothing after them can be trusted."""


def ticks_ns(ticks: int) -> int:
    """UTC nanoseconds of a DateTime; 0 for the values that mean "no time"."""
    return (ticks - _UNIX_TICKS) * 100 if _UNIX_TICKS < ticks < _LAST_TICKS else 0


class Decoder:
    """Reads values one after the other; raises Malformed where the bytes end too early.

    `left`: how many elements of arrays may still be read one by one.
    """

    __slots__ = ("at", "data", "left")

    def __init__(self, data: bytes, at: int = 0, left: int = _MOST_ELEMENTS) -> None:
        self.data, self.at, self.left = data, at, left

    def _number(self, form: Struct) -> Any:
        at, self.at = self.at, self.at + form.size
        if self.at > len(self.data):
            raise Malformed("the bytes end too early")
        return form.unpack_from(self.data, at)[0]

    def byte(self) -> int:
        return int(self._number(_U8))

    def uint16(self) -> int:
        return int(self._number(_U16))

    def uint32(self) -> int:
        return int(self._number(_U32))

    def int32(self) -> int:
        return int(self._number(_I32))

    def int64(self) -> int:
        return int(self._number(_I64))

    def take(self, length: int) -> bytes:
        at, self.at = self.at, self.at + length
        if length < 0 or self.at > len(self.data):
            raise Malformed("the bytes end too early")
        return self.data[at : self.at]

    def byte_string(self) -> bytes | None:
        length = self.int32()
        return None if length < 0 else self.take(length)

    def string(self) -> str | None:
        raw = self.byte_string()
        return None if raw is None else raw.decode("utf-8", "replace")

    def date_time(self) -> datetime:
        ticks = self.int64()
        return _EPOCH + timedelta(microseconds=min(max(ticks, 0), _LAST_TICKS) // 10)

    def guid(self) -> uuid.UUID:
        return uuid.UUID(bytes_le=self.take(16))

    def node_id(self) -> ua.NodeId:
        """A NodeId or an ExpandedNodeId; of the latter the parts of another server are left out."""
        form = self.byte()
        kind = form & 0x3F
        if kind == 0:
            node = _node(self.byte(), 0)
        elif kind == 1:
            space = self.byte()
            node = _node(self.uint16(), space)
        elif kind == 2:
            space = self.uint16()
            node = _node(self.uint32(), space)
        elif kind in (3, 4, 5):
            space = self.uint16()
            identifier: Any = (self.string, self.guid, self.byte_string)[kind - 3]()
            node = _node("" if identifier is None else identifier, space)
        else:
            raise Malformed(f"no NodeId begins with {form}")
        if form & 0x80:
            self.string()
        if form & 0x40:
            self.uint32()
        return node

    def status_code(self) -> ua.StatusCode:
        return ua.StatusCode(ua.UInt32(self.uint32()))

    def qualified_name(self) -> ua.QualifiedName:
        space = self.uint16()
        return ua.QualifiedName(self.string() or "", space)

    def localized_text(self) -> ua.LocalizedText:
        form = self.byte()
        locale = self.string() if form & 1 else None
        return ua.LocalizedText(self.string() if form & 2 else None, locale)

    def extension(self) -> ua.ExtensionObject:
        """A structure as it came: the id of its encoding, and bytes."""
        kind = self.node_id()
        body: Any = self.byte_string() if self.byte() & 3 else None
        return ua.ExtensionObject(kind, body)

    def diagnostic_info(self) -> None:
        form = self.byte()
        for bit in (0x01, 0x02, 0x04, 0x08):
            if form & bit:
                self.int32()
        if form & 0x10:
            self.string()
        if form & 0x20:
            self.uint32()
        if form & 0x40:
            self.diagnostic_info()

    def many(self, read: Callable[[Decoder], Any]) -> list[Any]:
        """An array: its length (below 0: none), and so many values."""
        return self.some(self.int32(), read)

    def some(self, length: int, read: Callable[[Decoder], Any]) -> list[Any]:
        """So many values, each of a byte at least: a few bytes can claim to be very many."""
        if length <= 0:
            return []
        begin = self.at
        if length > len(self.data) - begin:
            raise Malformed("the bytes end too early")
        self.left -= length
        if self.left < 0:
            raise Malformed(f"arrays of more than {_MOST_ELEMENTS} elements")
        values = [read(self)]
        if self.at == begin:
            raise Malformed("an array of what takes no bytes")
        values += [read(self) for _ in range(length - 1)]
        return values

    def numbers(self, kind: int) -> list[Any]:
        """An array of one of the fixed-size types."""
        form, length = _NUMBERS[kind], max(0, self.int32())
        raw = self.take(length * form.size)
        return list(Struct(f"<{length}{form.format[1:]}").unpack(raw))

    def variant(self) -> Any:
        """The value in a Variant: an array is a list, with more dimensions lists in lists."""
        form = self.byte()
        kind = form & 0x3F
        if not form & _ARRAY:
            return BUILT_IN[kind](self) if kind in BUILT_IN else self.byte_string()
        values = self.numbers(kind) if kind in _NUMBERS else self.many(BUILT_IN.get(kind, Decoder.byte_string))
        return shaped(values, self.numbers(6)) if form & _DIMENSIONS else values

    def data_value(self) -> Datum:
        form = self.byte()
        value = self.variant() if form & 0x01 else None
        code = self.uint32() if form & 0x02 else 0
        source_ns = ticks_ns(self.int64()) if form & 0x04 else 0
        if form & 0x10:
            self.uint16()
        server_ns = ticks_ns(self.int64()) if form & 0x08 else 0
        if form & 0x20:
            self.uint16()
        return value, code, source_ns, server_ns

    def kind(self) -> tuple[int, bool] | None:
        """Reads over a DataValue; the number of the built-in type in it and whether it is an array of them."""
        begin = self.at
        self.data_value()
        form = self.data[begin + 1] if self.data[begin] & 0x01 else 0
        return (form & 0x3F, bool(form & _ARRAY)) if form & 0x3F else None


def _node(identifier: Any, space: Any) -> ua.NodeId:
    return ua.NodeId(identifier, space)


def _fixed(kind: int) -> Callable[[Decoder], Any]:
    form = _NUMBERS[kind]
    return lambda source: source._number(form)


BUILT_IN: dict[int, Callable[[Decoder], Any]] = {
    0: lambda source: None,
    **{kind: _fixed(kind) for kind in _NUMBERS},
    12: Decoder.string, 13: Decoder.date_time, 14: Decoder.guid, 15: Decoder.byte_string, 16: Decoder.string,
    17: Decoder.node_id, 18: Decoder.node_id, 19: Decoder.status_code, 20: Decoder.qualified_name,
    21: Decoder.localized_text, 22: Decoder.extension, 23: lambda source: source.data_value()[0],
    24: Decoder.variant, 25: Decoder.diagnostic_info,
}  # fmt: skip
"""How the built-in types are read, by their number (OPC 10000-6, table 1)."""


def shaped(values: list[Any], dimensions: list[int]) -> list[Any]:
    """A flat array in the shape of its dimensions; as it is where they do not fit it."""
    inner = [size for size in dimensions[1:] if size > 0]
    if not inner or len(dimensions) > MOST_DIMENSIONS or math.prod(dimensions) != len(values):
        return values
    step = math.prod(inner)
    return [shaped(values[start : start + step], dimensions[1:]) for start in range(0, len(values), step)]


# --- responses --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Published:
    """One publish response. `changes`: client handle and datum; `events`: client handle and the selected fields.

    `ended`: the status with which the server has ended the subscription. `news`: it holds something, else it is
    a keep-alive. `gap`: something before it was lost.
    """

    subscription: int
    sequence: int = 0
    changes: list[tuple[int, Any, int, int]] = field(default_factory=list)
    events: list[tuple[int, list[Any]]] = field(default_factory=list)
    ended: int | None = None
    news: bool = False
    gap: bool = False


def head(source: Decoder) -> int:
    """Skips the type and the header of a response; the service's result."""
    if len(source.data) > LARGEST:
        raise Malformed(f"{len(source.data)} bytes at once")
    source.node_id()
    source.int64()
    source.uint32()
    result = source.uint32()
    source.diagnostic_info()
    source.many(Decoder.string)
    source.extension()
    return result


def publish_response(source: Decoder, timed: Timed = NOT_TIMED) -> Published:
    """What was published, after the header."""
    published = Published(source.uint32())
    source.numbers(7)  # what it could send again
    source.byte()
    notification_message(source, published, timed)
    return published


def notification_message(source: Decoder, published: Published, timed: Timed = NOT_TIMED) -> None:
    """Adds what a NotificationMessage holds; kinds that nobody knows are left out, as the standard asks."""
    published.sequence = source.uint32()
    source.int64()
    for part in source.many(Decoder.extension):
        published.news = True
        kind, body = part.TypeId.Identifier, part.Body or b""
        if kind == _DATA_CHANGE:
            (_timed_changes if timed else _data_changes)(body, published.changes, timed)
        elif kind == _EVENTS:
            inner = Decoder(body, left=source.left)
            published.events += inner.many(lambda one: (one.uint32(), one.many(Decoder.variant)))
            source.left = inner.left
        elif kind == _STATUS_CHANGE:
            published.ended = Decoder(body).uint32()


_ITEM = Struct("<IBB")
_PLAIN = 0x0F  # value, status and both times, without picoseconds


def _timed_changes(body: bytes, changes: list[tuple[int, Any, int, int]], timed: Timed) -> None:
    """Where somebody wants another time than that of the source; not every server sends only what is asked for."""
    source = Decoder(body)
    for _ in range(source.int32()):
        handle = source.uint32()
        value, code, source_ns, server_ns = source.data_value()
        by_server = timed.get(handle)
        ns = source_ns or server_ns if by_server is None else server_ns if by_server else 0
        changes.append((handle, value, code, ns))


def _data_changes(body: bytes, changes: list[tuple[int, Any, int, int]], _timed: Timed) -> None:
    """The hot path: what most servers send most of the time is read without a call per part."""
    source = Decoder(body)
    item, numbers, i64, u32 = _ITEM.unpack_from, _UNPACK, _I64.unpack_from, _U32.unpack_from
    last_ticks = last_ns = 0
    count = source.int32()
    for _ in range(count):
        at = source.at
        try:
            handle, form, kind = item(body, at)
            at += 6
            if form & _PLAIN != form or not form & 1 or kind not in numbers:
                raise KeyError  # noqa: TRY301 - the same way as for what ends too early
            read, size = numbers[kind]
            value = read(body, at)[0]
            at += size
            code = ns = 0
            if form & 2:
                code = u32(body, at)[0]
                at += 4
            if form & 4:
                ticks = i64(body, at)[0]
                at += 8
                if ticks != last_ticks:
                    last_ticks, last_ns = ticks, ticks_ns(ticks)
                ns = last_ns
            if form & 8:
                if not ns:
                    ns = ticks_ns(i64(body, at)[0])
                at += 8
        except (KeyError, StructError):
            handle = source.uint32()
            value, code, source_ns, server_ns = source.data_value()
            ns = source_ns or server_ns
        else:
            source.at = at
        changes.append((handle, value, code, ns))
