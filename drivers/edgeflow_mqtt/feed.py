"""One device's view of the messages: which points a topic brings, and their values as columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeflow.driver import Column, Push
from edgeflow.model import BAD, UNCERTAIN, Quality, Scalar, ValueType
from edgeflow_mqtt.payload import Missing, find, parse, plain, time_ns, to_scalar
from edgeflow_mqtt.settings import Device, Point, TimeForm, steps

_TOPICS_REMEMBERED = 4096
_RETAINED = "the broker kept this value; the device has not spoken since we listen"

Path = tuple[str | int, ...]
Fault = tuple[Quality, str]


@dataclass(frozen=True, slots=True)
class _Reading:
    """One point's place in a payload."""

    index: int
    path: Path | None
    kind: ValueType


@dataclass(slots=True)
class _Batch:
    """The points that one message brings with the same time; `live` once the device itself has spoken."""

    time: Path | None
    form: TimeForm
    readings: tuple[_Reading, ...]
    live: bool = False


class Feed:
    """Turns messages into columns for one watch; what a message lacks is a fault, never an exception."""

    def __init__(self, device: Device, points: Sequence[Point], push: Push) -> None:
        self._points, self._push, self._retained = points, push, device.retained
        self._keeps = device.missing == "keep"
        self._by_filter: dict[str, list[int]] = {}
        for index, point in enumerate(points):
            if point.topic is not None:
                self._by_filter.setdefault(under(device.base, point.topic), []).append(index)
        self._wild = [(split(topic), topic) for topic in self._by_filter if "+" in topic or "#" in topic]
        self._batches: dict[str, tuple[_Batch, ...]] = {}

    @property
    def filters(self) -> Iterable[str]:
        """The topic filters to subscribe to."""
        return self._by_filter.keys()

    def refuse(self, topic: str, reason: str) -> None:
        """Marks the points of a filter that the broker does not let us subscribe to."""
        points = self._by_filter[topic]
        self._push(Column([None] * len(points), 0, dict.fromkeys(range(len(points)), (BAD, reason)), tuple(points)))

    def take(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Pushes what a message brings: all its points with the same time in one column."""
        if retained and self._retained == "ignore":
            return
        batches = self._batches.get(topic)
        if batches is None:
            batches = self._plan(topic)
        if not batches:
            return
        message = _Message(payload)
        for batch in batches:
            if retained and batch.live:
                continue  # another device's subscription made the broker send what it kept once more
            batch.live = batch.live or not retained
            self._push(self._column(batch, message, uncertain=retained and self._retained == "uncertain"))

    def _column(self, batch: _Batch, message: _Message, *, uncertain: bool) -> Column:
        values: list[Scalar] = []
        doubt = _RETAINED if uncertain else ""
        at = 0
        if batch.time is not None:
            try:
                at = time_ns(find(message.document(), batch.time), batch.form)
            except ValueError as error:
                doubt = str(error)
        points: list[int] = []
        faults: dict[int, Fault] = {}
        for reading in batch.readings:
            fault = (UNCERTAIN, doubt) if doubt else None
            try:
                value = message.value(reading)
            except ValueError as error:
                if self._keeps and isinstance(error, Missing):
                    continue
                value, fault = None, (BAD, str(error))
            if fault:
                faults[len(values)] = fault
            points.append(reading.index)
            values.append(value)
        return Column(values, at, faults or None, tuple(points))

    def _plan(self, topic: str) -> tuple[_Batch, ...]:
        levels = split(topic)
        indices = list(self._by_filter.get(topic, ()))
        for pattern, name in self._wild:
            if matches(pattern, levels):
                indices += self._by_filter[name]
        groups: dict[tuple[str | None, TimeForm], list[int]] = {}
        for index in sorted(indices):
            point = self._points[index]
            groups.setdefault((point.time, point.time_form), []).append(index)
        planned = tuple(self._batch(time, form, group) for (time, form), group in groups.items())
        if len(self._batches) >= _TOPICS_REMEMBERED:
            self._batches.clear()
        self._batches[topic] = planned
        return planned

    def _batch(self, time: str | None, form: TimeForm, indices: Sequence[int]) -> _Batch:
        points = self._points
        readings = tuple(_Reading(i, _steps(points[i].path), points[i].type) for i in indices)
        return _Batch(_steps(time), form, readings)


class _Message:
    """A payload, parsed at most once."""

    __slots__ = ("_document", "_payload", "_reason")

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._document: Any = None
        self._reason: str | None = None

    def document(self) -> Any:
        if self._reason is None:
            try:
                self._document, self._reason = parse(self._payload), ""
            except ValueError as error:
                self._reason = str(error)
        if self._reason:
            raise ValueError(self._reason)
        return self._document

    def value(self, reading: _Reading) -> Scalar:
        if reading.path is None:
            return plain(self._payload, reading.kind)
        return to_scalar(find(self.document(), reading.path), reading.kind)


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


def _steps(path: str | None) -> Path | None:
    return None if path is None else steps(path)
