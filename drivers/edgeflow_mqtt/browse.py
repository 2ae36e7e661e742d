"""Looking around: the topics that are heard, with what stands in their messages, and the Sparkplug namespace."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from edgeflow.clock import SystemClock
from edgeflow.driver import Finding, Found, Home, Note, Progress, Row, Tool
from edgeflow.errors import Rejected
from edgeflow.model import Scalar, Strict, ValueType
from edgeflow.mqtt.connection import Connection, connect
from edgeflow.mqtt.learned import Learned
from edgeflow.units import NS_PER_S, UNITS, Duration, duration_text
from edgeflow_mqtt.host import NAMESPACE, rebirth
from edgeflow_mqtt.moment import time_ns
from edgeflow_mqtt.path import Documents, Select, Step, Steps, Unreadable, shown_path
from edgeflow_mqtt.payload import Spelling, parse, text_of, to_scalar
from edgeflow_mqtt.point import TimeForm, check_filter
from edgeflow_mqtt.protobuf import Broken
from edgeflow_mqtt.settings import Link
from edgeflow_mqtt.sparkplug import decode, scalar, value_type

_MOST_TOPICS, _MOST_LEAVES, _LONGEST_LIST, _DEEPEST = 2000, 200, 8, 8
_LARGEST = 64 * 1024
_STEP_S = 0.25
_QUIET_S = 1.0
_SUBSCRIBING_S = 5.0
_TIMES = ("ts", "time", "timestamp", "datetime", "date", "t", "at")
_NAMES = ("id", "name", "tag", "key", "sensor", "n")
_WITH_UNIT = re.compile(r"([+-]?\d[\d.]*(?:,(?:\d{1,2}|\d{4,}))?)\s*([^\d\s.,+:-][^\d\s]{0,9})?")
_FORMS: tuple[TimeForm, ...] = ("s", "ms", "us", "ns")


@dataclass(slots=True)
class _Topic:
    """What was heard on one topic; the payload is the latest."""

    payload: bytes
    messages: int = 0
    retained: bool = False


@dataclass(slots=True)
class _Birth:
    """The metrics that a birth names: name, type, unit and value."""

    metrics: list[tuple[str, ValueType, str | None, Scalar]]


@dataclass(slots=True)
class Heard:
    """What came while we listened; bounded, whatever the broker sends."""

    topics: dict[str, _Topic] = field(default_factory=dict)
    nodes: dict[tuple[str, str], dict[str, _Birth | None]] = field(default_factory=dict)
    missed: int = 0
    last_s: float = 0.0

    def take(self, topic: str, payload: bytes, retained: bool) -> None:
        self.last_s = asyncio.get_running_loop().time()
        if topic.startswith(f"{NAMESPACE}/"):
            self._sparkplug(topic.split("/"), payload)
            return
        if topic not in self.topics and len(self.topics) >= _MOST_TOPICS:
            self.missed += 1
            return
        known = self.topics.setdefault(topic, _Topic(b""))
        known.payload, known.retained = payload[:_LARGEST], retained
        known.messages += 1

    def _sparkplug(self, levels: list[str], payload: bytes) -> None:
        if len(levels) not in (4, 5) or levels[2][1:] not in ("BIRTH", "DATA"):
            return
        device = levels[4] if len(levels) == 5 else ""
        if len(self.nodes) >= _MOST_TOPICS:
            return
        known = self.nodes.setdefault((levels[1], levels[3]), {})
        if levels[2][1:] == "BIRTH" and len(known) < _MOST_TOPICS:
            known[device] = _birth(payload)
        else:
            known.setdefault(device, None)


# --- listening ----------------------------------------------------------------------------------------


@asynccontextmanager
async def listening(
    link: Link, learned: Learned, topic: str, deadline: float
) -> AsyncIterator[tuple[Connection, Heard]]:
    """A connection of its own that hears what is published; raises LinkDown, Rejected where it may not."""
    heard = Heard()
    connection = await connect(link, f"edgeflow{secrets.token_hex(6)}", deadline, take=heard.take, learned=learned)
    try:
        if refused := await connection.subscribe([topic], _SUBSCRIBING_S, qos=0):
            raise Rejected(f"the broker does not let us listen to {topic}: {refused[topic]}; or name a topic below it")
        yield connection, heard
    finally:
        await connection.close()


async def browse(link: Link, learned: Learned, path: str, deadline: float) -> AsyncIterator[Found]:
    """What is heard below a topic, or an edge node of Sparkplug says, until shortly before the deadline.

    `spBv1.0/GROUP/NODE` asks that node for a birth.
    """
    now_s = asyncio.get_running_loop().time
    end_s = deadline - min(1.0, 0.2 * (deadline - now_s()))
    _, group, node, device = (*path.split("/", 3), "", "", "")[:4]
    if path == NAMESPACE or path.startswith(f"{NAMESPACE}/"):
        if group and node:
            async for found in _node(link, learned, group, node, device, end_s):
                yield found
            return
        path = f"{NAMESPACE}/{group}" if group else NAMESPACE
    async with listening(link, learned, f"{path}/#" if path else "#", deadline) as (connection, heard):
        while now_s() < end_s:
            await connection.beat(min(_STEP_S, max(0.0, end_s - now_s())))
    for name in sorted(heard.topics):
        for found in _values(name, heard.topics[name].payload):
            yield found
    for group, node in sorted(heard.nodes):
        yield Found(f"{NAMESPACE}/{group}/{node}", f"Sparkplug {group}/{node}", None, has_children=True)


async def _node(link: Link, learned: Learned, group: str, node: str, device: str, end_s: float) -> AsyncIterator[Found]:
    """The metrics of an edge node or one of its devices, once it has been born for us."""
    now_s = asyncio.get_running_loop().time
    async with listening(link, learned, f"{NAMESPACE}/{group}/+/{node}/#", end_s) as (connection, heard):
        rebirth(connection.send, group, node, SystemClock().now_ns())
        while now_s() < end_s:
            await connection.beat(min(_STEP_S, max(0.0, end_s - now_s())))
            births = heard.nodes.get((group, node), {})
            if births.get(device) is not None and now_s() - heard.last_s > _QUIET_S:
                break
    births = heard.nodes.get((group, node), {})
    above = "/".join(filter(None, (NAMESPACE, group, node, device)))
    birth = births.get(device)
    for name, kind, unit, value in birth.metrics if birth else ():
        point = {"metric": name} | ({} if kind == "number" else {"type": kind})
        yield Found(f"{above}/{name}", name, point, kind, unit, value)
    for other in sorted(births) if not device else ():
        if other:
            yield Found(f"{above}/{other}", other, None, has_children=True)


def _birth(payload: bytes) -> _Birth | None:
    try:
        found = decode(payload)
    except Broken:
        return None
    metrics: list[tuple[str, ValueType, str | None, Scalar]] = []
    for metric in found.metrics:
        if metric.name is None:
            continue
        kind = value_type(metric.datatype)
        try:
            value = scalar(metric.stored, metric.datatype, kind)
        except ValueError:
            value = None
        metrics.append((metric.name, kind, metric.unit if metric.unit in UNITS else None, value))
    return _Birth(metrics)


# --- what stands in a message -------------------------------------------------------------------------


def _values(topic: str, payload: bytes) -> Iterator[Found]:
    """The values of one message as points that are ready to be written."""
    try:
        document = parse(payload)
    except ValueError:
        document = None
    if isinstance(document, Documents):
        document = document[-1]
    if isinstance(document, dict | list):
        time = _time(document)
        for path, value in _leaves(document, (), 0, [_MOST_LEAVES]):
            name = shown_path(path)
            if time.get("time") == name:
                continue
            kind, fitting, spelling = _guess(value)
            point = {"topic": topic, "path": name} | _typed(kind) | spelling | time
            yield Found(f"{topic}/{name}", name, point, kind, None, fitting)
        return
    kind, fitting, spelling = _plain(payload)
    point = {"topic": topic} | _typed(kind) | spelling
    yield Found(topic, topic.rsplit("/", 1)[-1] or topic, point, kind, None, fitting)


def _typed(kind: ValueType) -> dict[str, Any]:
    return {} if kind == "number" else {"type": kind}


def _plain(payload: bytes) -> tuple[ValueType, Scalar, dict[str, Any]]:
    try:
        text = text_of(payload)
    except ValueError:
        return "bytes", payload[:32], {}
    return _guess(text) if text.isprintable() else ("bytes", payload[:32], {})


def _guess(value: Any) -> tuple[ValueType, Scalar, dict[str, Any]]:
    """The type that suits a value, and how it is written. A whole number may come with a fraction the next time."""
    kinds: tuple[ValueType, ...] = ("number", "boolean") if isinstance(value, str) else ("boolean", "number")
    for kind in kinds:
        if kind == "boolean" and isinstance(value, int) and not isinstance(value, bool):
            continue
        for spelling in _spellings(value) if kind == "number" else ({},):
            try:
                given = Spelling("decimal" in spelling, {unit: 1 for unit in (spelling.get("suffix"),) if unit})
                return kind, to_scalar(value, kind, given), spelling
            except ValueError:
                pass
    return "text", value if isinstance(value, str) else None, {}


def _spellings(value: Any) -> Iterator[dict[str, Any]]:
    """How a number in a text may be written; what may be another number is left to the person."""
    yield {}
    match = _WITH_UNIT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is not None:
        suffix = {"suffix": match[2]} if match[2] else {}
        yield suffix if "," not in match[1] else {"decimal": "comma"} | suffix


def _leaves(place: Any, path: Steps, depth: int, left: list[int]) -> Iterator[tuple[Steps, Any]]:
    items: list[tuple[Step, Any]] = []
    if isinstance(place, str) and place[:1] in ("{", "[") and depth:
        with suppress(ValueError):
            place = parse(place.encode(errors="surrogatepass"))
    if isinstance(place, dict):
        items = list(place.items())
    elif isinstance(place, list):
        items = _named(place) or list(enumerate(place[:_LONGEST_LIST]))
    for key, value in items:
        if isinstance(value, dict | list) or (isinstance(value, str) and value[:1] in ("{", "[")):
            if depth < _DEEPEST:
                yield from _leaves(value, (*path, key), depth + 1, left)
        elif value is not None and not isinstance(value, Unreadable) and left[0] > 0:
            left[0] -= 1
            yield (*path, key), value
    if isinstance(place, str) and left[0] > 0:
        left[0] -= 1
        yield path, place


def _named(elements: list[Any]) -> list[tuple[Step, Any]]:
    """The elements of a list by what they are called, where each has a name of its own."""
    for key in _NAMES:
        names = [element.get(key) if isinstance(element, dict) else None for element in elements]
        if names and all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names):
            return [
                (Select((key,), str(name)), {one: value for one, value in element.items() if one != key})
                for name, element in zip(names, elements, strict=True)
            ]
    return []


def _time(document: Any) -> dict[str, str]:
    """Where the message's own time seems to stand, and in which form."""
    for key in document if isinstance(document, dict) else ():
        if key.lower() not in _TIMES:
            continue
        for form in ("rfc3339",) if isinstance(document[key], str) else _FORMS:
            try:
                time_ns(document[key], form)
            except ValueError:
                continue
            return {"time": shown_path((key,))} | ({} if form == "rfc3339" else {"time_form": form})
    return {}


def _tag_name(title: str, topic: str, taken: set[str]) -> str:
    """A name for the tag: what it is called, with as much of the topic before it as makes it differ."""
    words = [re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-") or "value" for word in (*topic.split("/"), title)]
    name = words.pop()
    while name in taken:
        name = f"{words.pop()}-{name}" if words else f"{name}-2"
    taken.add(name)
    return name


# --- the tool -----------------------------------------------------------------------------------------


class Listening(Strict):
    """What to listen to, and how long."""

    topic: Annotated[str, AfterValidator(check_filter)] = Field(default="#", description="Topic filter to listen to.")
    seconds: Duration = Field(
        default=10 * NS_PER_S, alias="for", description="How long to listen: longer than the slowest device is silent."
    )


async def _listen(link: Link, home: Home, options: Listening) -> AsyncIterator[Finding]:
    now_s = asyncio.get_running_loop().time
    total_s = max(1.0, options.seconds / NS_PER_S)
    async with listening(link, Learned(link, home), options.topic, now_s() + 10.0) as (connection, heard):
        begin_s = now_s()
        while (done_s := now_s() - begin_s) < total_s:
            yield Progress(int(done_s), int(total_s), f"{len(heard.topics) + len(heard.nodes)} topics heard")
            await connection.beat(min(1.0, total_s - done_s))
    taken: set[str] = set()
    for name, topic in sorted(heard.topics.items()):
        for found in _values(name, topic.payload):
            cells = {
                "tag": _tag_name(found.title, name, taken),
                "topic": name,
                "path": (found.point or {}).get("path", ""),
                "type": found.type or "",
                "value": found.value,
                "messages": topic.messages,
                "kept": "retained" if topic.retained else "",
            }
            yield Row(cells, found.point)
    length = duration_text(round(total_s * NS_PER_S))
    topics = "1 topic" if len(heard.topics) == 1 else f"{len(heard.topics)} topics"
    yield Note(f"{topics} in {length}. A device that was silent so long is not among them.")
    for group, node in sorted(heard.nodes):
        yield Note(f"Sparkplug: edge node {node} of group {group}; its metrics: browse {NAMESPACE}/{group}/{node}")
    if heard.missed:
        yield Note(f"There are more than {_MOST_TOPICS} topics; name a narrower topic filter.")


LISTEN: Tool[Link, Listening] = Tool("listen", "Hear which topics there are, and what is in them.", Listening, _listen)
