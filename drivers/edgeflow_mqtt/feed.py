"""One device's view of the messages: which points a topic brings, and their values as columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from edgeflow.driver import Column, Push
from edgeflow.model import BAD, GOOD, UNCERTAIN, Quality, Scalar
from edgeflow_mqtt.payload import (
    Missing,
    find,
    from_bytes,
    judged,
    parse,
    path_steps,
    plain,
    same,
    text_of,
    time_ns,
    to_scalar,
    unwrap,
    word_of,
)
from edgeflow_mqtt.point import Point, TimeForm, filter_of, places, steps
from edgeflow_mqtt.settings import Alive, Device

_TOPICS_REMEMBERED = 4096
_RETAINED = "the broker kept this value; the device has not spoken since we listen"
_AWAY = "it came while the gateway was away; nobody knows when"

Path = tuple[str | int, ...]
Fault = tuple[Quality, str]
Where = tuple[tuple[Path, Any], ...]


@dataclass(frozen=True, slots=True)
class _Reading:
    """One point's place in a message; `level`: of the topic; `values`: what the device's words mean."""

    index: int
    point: Point
    path: Path | None
    level: int | None
    values: dict[str, str]
    judged: tuple[Path, tuple[Any, ...], tuple[Any, ...]] | None


@dataclass(slots=True)
class _Batch:
    """The points that one message brings with the same time; `live` once the device itself has spoken."""

    time: Path | None
    form: TimeForm
    where: Where
    readings: tuple[_Reading, ...]
    live: bool = False


class Feed:
    """Turns messages into columns for one watch; what a message lacks is a fault, never an exception."""

    def __init__(
        self, device: Device, points: Sequence[Point], push: Push, now_ns: Callable[[], int] = lambda: 0
    ) -> None:
        self._points, self._push, self._now_ns = points, push, now_ns
        self._device = device
        self._zone = ZoneInfo(device.time_zone) if device.time_zone else None
        self._by_filter: dict[str, list[int]] = {}
        for index, point in enumerate(points):
            if point.topic is not None:
                self._by_filter.setdefault(under(device.base, filter_of(point.topic)), []).append(index)
        self._alive_topic = under(device.base, device.alive.topic) if device.alive else None
        if self._alive_topic is not None:
            self._by_filter.setdefault(self._alive_topic, [])
        self._wild = [(split(topic), topic) for topic in self._by_filter if "+" in topic or "#" in topic]
        self._batches: dict[str, tuple[_Batch, ...]] = {}
        self._offline = False

    @property
    def filters(self) -> Iterable[str]:
        """The topic filters to subscribe to."""
        return self._by_filter.keys()

    def refuse(self, topic: str, reason: str) -> None:
        """Marks the points of a filter that the broker does not let us subscribe to."""
        points = self._by_filter[topic]
        if topic == self._alive_topic:
            points = list(range(len(self._points)))
        self._push(Column([None] * len(points), 0, dict.fromkeys(range(len(points)), (BAD, reason)), tuple(points)))

    def take(self, topic: str, payload: bytes, *, retained: bool) -> bool:
        """As `hear`, for a message that nobody else hears."""
        return self.hear(Message(topic, payload), retained=retained)

    def hear(self, message: Message, *, retained: bool) -> bool:
        """Pushes what a message brings: all its points with the same time in one column. False: it is not ours."""
        topic = message.topic
        batches = self._known(topic)
        if not batches and topic != self._alive_topic:
            return False
        if topic == self._alive_topic and self._device.alive is not None:
            self._presence(message, self._device.alive, retained=retained)
            if self._offline:
                return True
        if retained and (self._device.retained == "ignore" or self._offline):
            return True
        for batch in batches:
            if retained and batch.live:
                continue  # another device's subscription made the broker send what it kept once more
            batch.live = batch.live or not retained
            self._offline = False  # whoever speaks is there
            self._hand_on(self._column(batch, message, retained=retained))
        return True

    def catch_up(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Takes what the broker had queued for us while we were away, in order.

        Of each topic the last is what holds now; those before it are history, where they carry a time.
        """
        last = {topic: i for i, (topic, _) in enumerate(messages)}
        for i, (topic, payload) in enumerate(messages):
            message, newest = Message(topic, payload), last[topic] == i
            if topic == self._alive_topic and newest and self._device.alive is not None:
                self._presence(message, self._device.alive, retained=False)
            for batch in self._known(topic):
                batch.live = True
                column = self._column(batch, message, retained=False, away=True)
                if newest:
                    self._hand_on(column)
                elif column is not None and column.source_ns:
                    column.late = True
                    self._push(column)

    def begin(self) -> None:
        """Subscribed: the broker sends what it kept by itself."""

    def beat(self) -> None:
        """The broker lives; that says nothing about the device."""

    def end(self) -> None:
        """No longer watched."""

    def _hand_on(self, column: Column | None) -> None:
        if column is not None:
            self._push(column)

    def _presence(self, message: Message, alive: Alive, *, retained: bool) -> None:
        try:
            word = word_of(find(message.document(), steps(alive.path)) if alive.path else text_of(message.payload))
        except ValueError:
            return
        if word == alive.offline:
            self._offline = True
            reason = f"the device's last will says {word} on {message.topic}: it has lost the broker"
            count = len(self._points)
            self._push(Column([None] * count, 0, dict.fromkeys(range(count), (BAD, reason))))
        elif word == alive.online:
            self._offline = False
            if not retained:
                self._push(Column((), points=()))  # a sign of life; its values come by themselves

    def _column(self, batch: _Batch, message: Message, *, retained: bool, away: bool = False) -> Column | None:
        if batch.where and not self._counts(batch.where, message):
            return None
        at, doubt = 0, ""
        if batch.time is not None:
            try:
                at = time_ns(find(message.document(), batch.time), batch.form, self._zone)
            except ValueError as error:
                doubt = str(error)
        if retained and not self._fresh(at):
            doubt = _RETAINED
        elif away and not at:
            doubt = _AWAY
        values: list[Scalar] = []
        points: list[int] = []
        faults: dict[int, Fault] = {}
        for reading in batch.readings:
            fault = (UNCERTAIN, doubt) if doubt else None
            try:
                value = message.value(reading)
                if reading.judged is not None:
                    quality, reason = judged(message.document(), *reading.judged)
                    if quality is not GOOD:
                        value, fault = (None if quality is BAD else value), (quality, reason)
            except ValueError as error:
                if isinstance(error, Missing) and self._device.missing == "keep":
                    continue
                value, fault = None, (BAD, str(error))
            if fault:
                faults[len(values)] = fault
            points.append(reading.index)
            values.append(value)
        return Column(values, at, faults or None, tuple(points))

    def _fresh(self, at: int) -> bool:
        """Whether a retained message counts as what holds now."""
        allowed = self._device.retained
        if isinstance(allowed, int):
            return at > 0 and self._now_ns() - at <= allowed
        return allowed == "good"

    def _counts(self, where: Where, message: Message) -> bool:
        try:
            document = message.document()
            return all(same(find(document, path), wanted) for path, wanted in where)
        except ValueError:
            return False

    # --- which points a topic brings -------------------------------------------------------------------

    def _known(self, topic: str) -> tuple[_Batch, ...]:
        batches = self._batches.get(topic)
        return self._plan(topic) if batches is None else batches

    def _plan(self, topic: str) -> tuple[_Batch, ...]:
        levels = split(topic)
        indices = list(self._by_filter.get(topic, ()))
        for pattern, name in self._wild:
            if matches(pattern, levels):
                indices += self._by_filter[name]
        groups: dict[tuple[str | None, TimeForm, Where], list[int]] = {}
        for index in sorted(indices):
            point = self._points[index]
            where = tuple((steps(path), wanted) for path, wanted in point.where.items())
            groups.setdefault((point.time, point.time_form, where), []).append(index)
        planned = tuple(
            _Batch(path_steps(time), form, where, tuple(self._reading(i) for i in group))
            for (time, form, where), group in groups.items()
        )
        if len(self._batches) >= _TOPICS_REMEMBERED:
            self._batches.clear()
        self._batches[topic] = planned
        return planned

    def _reading(self, index: int) -> _Reading:
        point = self._points[index]
        level = None
        if point.pick is not None and point.topic is not None:
            above = len(split(self._device.base)) if self._device.base else 0
            level = above + places(point.topic)[point.pick]
        quality = point.quality
        return _Reading(
            index,
            point,
            path_steps(point.path),
            level,
            {word: value for value, word in point.words.items()},
            (steps(quality.path), quality.good, quality.uncertain) if quality else None,
        )


class Message:
    """A payload, parsed at most once, however many look into it."""

    __slots__ = ("_document", "_reason", "payload", "topic")

    def __init__(self, topic: str, payload: bytes) -> None:
        self.topic, self.payload = topic, payload
        self._document: Any = None
        self._reason: str | None = None

    def document(self) -> Any:
        if self._reason is None:
            try:
                self._document, self._reason = parse(self.payload), ""
            except ValueError as error:
                self._reason = str(error)
        if self._reason:
            raise ValueError(self._reason)
        return self._document

    def value(self, reading: _Reading) -> Scalar:
        """What a point holds by this message; ValueError says why there is none."""
        point, kind = reading.point, reading.point.value_type
        if point.encoding is not None or point.bytes is not None:
            return self._binary(reading)
        if reading.level is not None:
            found: Any = split(self.topic)[reading.level]
        elif reading.path is not None:
            found = find(self.document(), reading.path)
        elif not reading.values:
            return plain(self.payload, kind)
        else:
            found = text_of(self.payload)
        return to_scalar(reading.values.get(word_of(found), found) if reading.values else found, kind)

    def _binary(self, reading: _Reading) -> Scalar:
        point, payload = reading.point, self.payload
        if point.encoding is not None:
            text = text_of(payload) if reading.path is None else find(self.document(), reading.path)
            payload = unwrap(text, point.encoding)
        if point.bytes is None:
            return payload
        little = point.byte_order == "little"
        return from_bytes(payload, point.bytes, point.type, little=little, bit=point.bit)


def under(base: str | None, topic: str) -> str:
    """A topic below the device's base."""
    return f"{base}/{topic}" if base else topic


def split(topic: str) -> list[str]:
    """The levels of a topic or filter."""
    return topic.split("/")


def matches(pattern: Sequence[str], topic: Sequence[str]) -> bool:
    """Whether a topic fits a filter, level by level (MQTT 3.1.1, clause 4.7)."""
    if topic[0].startswith("$") and pattern[0] in ("+", "#"):
        return False
    for level, wanted in enumerate(pattern):
        if wanted == "#":
            return True
        if level >= len(topic) or wanted not in ("+", topic[level]):
            return False
    return len(pattern) == len(topic)
