"""One device's view of the messages: which points a topic brings, and their values as columns."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from edgeflow.driver import Column, Push
from edgeflow.model import BAD, GOOD, UNCERTAIN, Quality, Scalar
from edgeflow.units import NS_PER_S, duration_text
from edgeflow_mqtt.formats import Format, document_of
from edgeflow_mqtt.moment import time_ns
from edgeflow_mqtt.path import Every, Missing, NoSuchElement, Steps, find, same, steps, word_of
from edgeflow_mqtt.payload import (
    Spelling,
    from_bytes,
    judged,
    path_steps,
    plain,
    spelling_of,
    text_of,
    to_scalar,
    unwrap,
    within,
)
from edgeflow_mqtt.point import Point, TimeForm, filter_of, places
from edgeflow_mqtt.settings import Alive, Device

log = structlog.get_logger(__name__)

_TOPICS_REMEMBERED = 4096
_RETAINED = "the broker kept this value; the device has not spoken since we listen"
_AWAY = "it came while the gateway was away; nobody knows when"

_AHEAD_NS = 3600 * NS_PER_S
_MOST_SAMPLES, _TIMES_REMEMBERED = 10_000, 4096
_STRANGE_WORDS = 100
_STATES = ("state", "status", "availability", "available", "online", "connected", "alive")
_ONLINE = frozenset(("online", "on", "true", "1", "connected", "available", "alive", "up", "yes"))
_OFFLINE = frozenset(("offline", "off", "false", "0", "disconnected", "unavailable", "dead", "lost", "down", "no"))

Fault = tuple[Quality, str]
Where = tuple[tuple[Steps, Any], ...]


@dataclass(frozen=True, slots=True)
class _Reading:
    """One point's place in a message; `level`: of the topic; `values`: what the device's words mean."""

    index: int
    point: Point
    path: Steps | None
    level: int | None
    values: dict[str, str]
    judged: tuple[Steps, tuple[Any, ...], tuple[Any, ...]] | None
    spelling: Spelling


@dataclass(slots=True)
class _Batch:
    """The points that one message brings with the same time; `live` once the device itself has spoken.

    `several`: where the list is whose elements are samples; `seen`: the times of those that were taken.
    """

    time: Steps | None
    form: TimeForm
    where: Where
    readings: tuple[_Reading, ...]
    several: Steps | None = None
    live: bool = False
    seen: dict[int, None] = field(default_factory=dict)
    newest_ns: int = 0


@dataclass(slots=True)
class _Sample:
    """What one message, or one element of its list, brings: the points that it has, with their values and faults."""

    at_ns: int
    points: list[int]
    values: list[Scalar]
    faults: dict[int, Fault]

    def column(self, *, late: bool = False) -> Column:
        return Column(self.values, self.at_ns, self.faults or None, tuple(self.points), late)

    def only(self, wanted: Container[int]) -> _Sample:
        """The same of some points."""
        places = [at for at, index in enumerate(self.points) if index in wanted]
        faults = {new: self.faults[at] for new, at in enumerate(places) if at in self.faults}
        return _Sample(self.at_ns, [self.points[at] for at in places], [self.values[at] for at in places], faults)


class Feed:
    """Turns messages into columns for one watch; what a message lacks is a fault, never an exception."""

    def __init__(
        self, device: Device, points: Sequence[Point], push: Push, now_ns: Callable[[], int] | None = None
    ) -> None:
        self._points, self._push, self._now_ns = points, push, now_ns
        self._device, self.format = device, device.format
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
        self._strange: set[str] = set()

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
        return self.hear(Message(topic, payload, self._device.format), retained=retained)

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
            self._bring(batch, message, retained=retained)
        return True

    def catch_up(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Takes what the broker had queued for us while we were away, in order.

        Of each topic the last is what holds now; those before it are history, where they carry a time.
        """
        last = {topic: i for i, (topic, _) in enumerate(messages)}
        for i, (topic, payload) in enumerate(messages):
            message, newest = Message(topic, payload, self._device.format), last[topic] == i
            if topic == self._alive_topic and newest and self._device.alive is not None:
                self._presence(message, self._device.alive, retained=False)
            for batch in self._known(topic):
                batch.live = True
                self._bring(batch, message, retained=False, away=True, late=not newest)

    def begin(self) -> None:
        """Subscribed: the broker sends what it kept by itself."""

    def beat(self) -> None:
        """The broker lives; that says nothing about the device."""

    def end(self) -> None:
        """No longer watched."""

    # --- last wills ------------------------------------------------------------------------------------

    def _presence(self, message: Message, alive: Alive, *, retained: bool) -> None:
        word = _word(message, alive)
        if word is None:
            return
        there = _means(word, alive)
        if there is False:
            self._offline = True
            reason = f"the device's last will says {word} on {message.topic}: it has lost the broker"
            count = len(self._points)
            self._push(Column([None] * count, 0, dict.fromkeys(range(count), (BAD, reason))))
        elif there:
            self._offline = False
            if not retained:
                self._push(Column((), points=()))  # a sign of life; its values come by themselves
        elif word not in self._strange and len(self._strange) < _STRANGE_WORDS:
            self._strange.add(word)
            log.warning(
                "`alive` says what is neither `online` nor `offline`; write which it is", topic=message.topic, said=word
            )

    # --- values ----------------------------------------------------------------------------------------

    def _bring(
        self, batch: _Batch, message: Message, *, retained: bool, away: bool = False, late: bool = False
    ) -> None:
        """Pushes what a message holds for these points; `late`: as history, where it has a time."""
        if batch.several is not None:
            self._bring_several(batch, message, retained=retained, away=away, late=late)
            return
        sample = self._sample(batch, message, retained=retained, away=away)
        if sample is not None and (sample.at_ns or not late):
            self._push(sample.column(late=late))

    def _bring_several(self, batch: _Batch, message: Message, *, retained: bool, away: bool, late: bool) -> None:
        """Every element is a sample: of each point the newest is what holds now, and those before it are history.

        A time that was taken already does not count again: some devices send their last samples each time.
        """
        samples = []
        for own in self._own(batch, message):
            sample = self._sample(own, message, retained=retained, away=away)
            if sample is not None and sample.points and (not sample.at_ns or sample.at_ns not in batch.seen):
                samples.append(sample)
        samples.sort(key=lambda sample: sample.at_ns)
        newest: dict[int, int] = {}
        for at, sample in enumerate(samples):
            if not late and sample.at_ns >= (batch.newest_ns if sample.at_ns else 0):
                newest |= dict.fromkeys(sample.points, at)
        for live in (False, True):
            for at, sample in enumerate(samples):
                wanted = {index for index in sample.points if (newest.get(index) == at) is live}
                if wanted and (live or (sample.at_ns and not retained)):
                    self._push(sample.only(wanted).column(late=not live))
        for sample in samples:
            batch.seen[sample.at_ns] = None
            batch.newest_ns = max(batch.newest_ns, sample.at_ns)
        while len(batch.seen) > _TIMES_REMEMBERED:
            batch.seen.pop(next(iter(batch.seen)))

    def _own(self, batch: _Batch, message: Message) -> Iterable[_Batch]:
        """The batch once for each element, with its place in the paths; without a list there is one sample."""
        assert batch.several is not None
        elements = message.elements(batch.several)
        count = min(len(elements), _MOST_SAMPLES) if elements is not None else None
        for i in range(count) if count is not None else (None,):
            readings = tuple(
                replace(
                    one,
                    path=_at(one.path, i),
                    judged=one.judged and (_at(one.judged[0], i) or (), *one.judged[1:]),
                )
                for one in batch.readings
            )
            where = tuple((_at(path, i) or (), wanted) for path, wanted in batch.where)
            yield _Batch(_at(batch.time, i), batch.form, where, readings)

    def _sample(self, batch: _Batch, message: Message, *, retained: bool, away: bool) -> _Sample | None:
        if batch.where and not self._counts(batch.where, message):
            return None
        at, doubt = self._time(batch, message)
        if retained and not self._fresh(at):
            doubt = _RETAINED
        elif away and not at:
            doubt = _AWAY
        points: list[int] = []
        values: list[Scalar] = []
        faults: dict[int, Fault] = {}
        for reading in batch.readings:
            fault: Fault | None = (UNCERTAIN, doubt) if doubt else None
            try:
                value = message.value(reading)
                if reading.judged is not None:
                    quality, reason = judged(message.document(), *reading.judged)
                    if quality is not GOOD:
                        value, fault = (None if quality is BAD else value), (quality, reason)
            except NoSuchElement:
                continue  # the message is about others
            except ValueError as error:
                if isinstance(error, Missing) and self._device.missing == "keep":
                    continue
                value, fault = None, (BAD, str(error))
            if fault:
                faults[len(values)] = fault
            points.append(reading.index)
            values.append(value)
        return _Sample(at, points, values, faults)

    def _time(self, batch: _Batch, message: Message) -> tuple[int, str]:
        """The device's own time, 0 where it gives none; and why it cannot be the one."""
        if batch.time is None:
            return 0, ""
        try:
            at_ns = time_ns(message.find(batch.time), batch.form, self._zone)
        except ValueError as error:
            return 0, str(error)
        ahead_ns = at_ns - self._now_ns() if self._now_ns is not None else 0
        if ahead_ns > _AHEAD_NS:
            return 0, f"the time of the device is {duration_text(ahead_ns)} ahead of ours; is its clock right?"
        return at_ns, ""

    def _fresh(self, at: int) -> bool:
        """Whether a retained message counts as what holds now."""
        allowed = self._device.retained
        if isinstance(allowed, int):
            return at > 0 and self._now_ns is not None and self._now_ns() - at <= allowed
        return allowed == "good"

    def _counts(self, where: Where, message: Message) -> bool:
        try:
            return all(same(message.find(path), wanted) for path, wanted in where)
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
        groups: dict[tuple[str | None, TimeForm, Where, Steps | None], list[int]] = {}
        for index in sorted(indices):
            point = self._points[index]
            where = tuple((steps(path), wanted) for path, wanted in point.where.items())
            groups.setdefault((point.time, point.time_form, where, _several(point)), []).append(index)
        planned = tuple(
            _Batch(path_steps(time), form, where, tuple(self._reading(i) for i in group), several)
            for (time, form, where, several), group in groups.items()
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
            spelling_of(point),
        )


def _several(point: Point) -> Steps | None:
    """Where the list is whose elements are samples of a point."""
    path = path_steps(point.path) or ()
    return path[: path.index(Every.ELEMENT)] if Every.ELEMENT in path else None


def _at(path: Steps | None, place: int | None) -> Steps | None:
    """A path with the place of an element in it; None: there is no list, what stands there is the one element."""
    if path is None or Every.ELEMENT not in path:
        return path
    at = path.index(Every.ELEMENT)
    return (*path[:at], *(() if place is None else (place,)), *path[at + 1 :])


def _word(message: Message, alive: Alive) -> str | None:
    """What a device says of itself; None where it says nothing."""
    try:
        if alive.path is not None:
            return word_of(message.find(steps(alive.path)))
        text = text_of(message.payload).strip()
        if not text.startswith("{"):
            return text.strip('"')
        document = message.document()
        found = next((document[key] for key in _STATES if key in document), None)
    except ValueError:
        return None
    return None if found is None or isinstance(found, dict | list) else word_of(found)


def _means(word: str, alive: Alive) -> bool | None:
    """Whether a word says that the device is there; a person's own words come before the usual ones."""
    said = word.lower()
    if alive.offline is not None and said == alive.offline.lower():
        return False
    if alive.online is not None and said == alive.online.lower():
        return True
    if alive.offline is None and said in _OFFLINE:
        return False
    return True if alive.online is None and said in _ONLINE else None


class Message:
    """A payload, parsed at most once, however many look into it."""

    __slots__ = ("_document", "_form", "_inner", "_reason", "payload", "topic")

    def __init__(self, topic: str, payload: bytes, form: Format = "json") -> None:
        self.topic, self.payload, self._form = topic, payload, form
        self._document: Any = None
        self._reason: str | None = None
        self._inner: dict[str, Any] = {}

    def document(self) -> Any:
        if self._reason is None:
            try:
                self._document, self._reason = document_of(self.payload, self._form), ""
            except ValueError as error:
                self._reason = str(error)
        if self._reason:
            raise ValueError(self._reason)
        return self._document

    def find(self, path: Steps) -> Any:
        """What stands at a path, also within a text that holds JSON; ValueError says why there is nothing."""
        return find(self.document(), path, self._within)

    def elements(self, path: Steps) -> list[Any] | None:
        """The list at a path, also several documents or a list within a text; None where there is none."""
        try:
            found = self.find(path) if path else self.document()
            found = self._within(found) if isinstance(found, str) else found
        except ValueError:
            return None
        return found if isinstance(found, list) else None

    def _within(self, text: str) -> Any:
        if text not in self._inner:
            self._inner[text] = within(text)
        return self._inner[text]

    def value(self, reading: _Reading) -> Scalar:
        """What a point holds by this message; ValueError says why there is none."""
        point, kind = reading.point, reading.point.value_type
        if point.encoding is not None or point.bytes is not None:
            return self._binary(reading)
        if reading.level is not None:
            found: Any = split(self.topic)[reading.level]
        elif reading.path is not None:
            found = self.find(reading.path)
        elif not reading.values:
            return plain(self.payload, kind, reading.spelling)
        else:
            found = text_of(self.payload)
        value = reading.values.get(word_of(found), found) if reading.values else found
        return to_scalar(value, kind, reading.spelling)

    def _binary(self, reading: _Reading) -> Scalar:
        point, payload = reading.point, self.payload
        if point.encoding is not None:
            text = text_of(payload) if reading.path is None else self.find(reading.path)
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
