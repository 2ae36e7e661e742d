"""A Sparkplug B host application: what is known of an edge node and its devices, from birth to death.

Source: Eclipse Sparkplug 3.0.0, chapter 5 (operational behaviour) and 6.4 (payloads).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from edgeflow.backoff import Backoff
from edgeflow.driver import Column, Push
from edgeflow.errors import Rejected
from edgeflow.model import BAD, GOOD, UNCERTAIN, Quality, Scalar
from edgeflow_mqtt.command import typed
from edgeflow_mqtt.payload import path_steps
from edgeflow_mqtt.point import Point
from edgeflow_mqtt.protobuf import Broken
from edgeflow_mqtt.settings import Sparkplug
from edgeflow_mqtt.sparkplug import BOOLEAN, Metric, Payload, command, decode, judged, merged, scalar

NAMESPACE = "spBv1.0"
REBIRTH = "Node Control/Rebirth"

_BD_SEQ = "bdSeq"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _CALM = 2.0, 300.0, 10.0
_REBORN_S = 5.0
_OVERTAKEN_S = 1.0
_PROOF_S = 10.0
_MOST_METRICS = 50_000

Send = Callable[[str, bytes], None]
"""Publishes with QoS 0, as Sparkplug has its commands."""


def rebirth(send: Send, group: str, node: str, at_ns: int) -> None:
    """Asks an edge node to say everything anew (Sparkplug 3.0.0, 6.4.28)."""
    send(f"{NAMESPACE}/{group}/NCMD/{node}", command(REBIRTH, BOOLEAN, True, at_ns))


@dataclass(slots=True)
class _Source:
    """The node itself, or one device of it: what its birth said.

    `waits_s`: since when a device waits for its own birth after its node was born once more.
    """

    born: bool = False
    why: str = "no birth has been heard yet"
    waits_s: float | None = None
    metrics: dict[str, Metric] = field(default_factory=dict)
    aliases: dict[int, str] = field(default_factory=dict)

    def die(self, why: str) -> None:
        self.born, self.why, self.waits_s = False, why, None
        self.metrics, self.aliases = {}, {}


class Node:
    """One edge node and its devices, for all feeds that look at it.

    Values count from a birth to a death; a gap in the sequence numbers makes them UNCERTAIN until the
    birth that is then asked for, at growing intervals.
    """

    def __init__(self, group: str, name: str, send: Send, now_ns: Callable[[], int], now_s: Callable[[], float]):
        self.group, self.name = group, name
        self.feeds: list[NodeFeed] = []
        self._send, self._now_ns, self._now_s = send, now_ns, now_s
        self._sources: dict[str | None, _Source] = {None: _Source()}
        self._seq: int | None = None
        self._bd_seq: int | None = None
        self._dead: tuple[int | None, float] | None = None
        self._wants_birth = True
        self._proof_by_s: float | None = None
        self._backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, jitter=0.0)
        self._asked_s, self._pause_s = float("-inf"), 0.0

    def source(self, device: str | None) -> _Source:
        """What is known of the node (None) or one of its devices."""
        return self._sources.setdefault(device, _Source())

    def take(self, topic: str, data: bytes) -> None:
        """Takes a message on spBv1.0/GROUP/KIND/NODE[/DEVICE]."""
        _, _, kind, _, *rest = topic.split("/")
        device = rest[0] if rest else None
        if kind in ("NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDEATH"):
            self._proof_by_s = None  # whoever speaks is there
        act = {
            "NBIRTH": self._node_birth, "DBIRTH": self._device_birth, "NDATA": self._data, "DDATA": self._data,
            "NDEATH": self._node_death, "DDEATH": self._device_death,
        }.get(kind)  # fmt: skip
        if act is None or (kind[0] == "D") != (device is not None) or len(rest) > 1:
            return
        try:
            payload = decode(data)
        except Broken as error:
            self._doubt(f"a {kind} of the edge node cannot be read: it {error}")
            return
        if device is None or device in self._sources:
            act(device, payload)
        else:
            self._in_order(payload)  # nobody looks at this device, but its messages are numbered too

    def beat(self) -> None:
        """Called regularly, while the broker is known to live: asks again for a birth that is wanted.

        At growing intervals, from the shortest again after some calm.
        """
        now_s = self._now_s()
        for device, source in self._sources.items():
            if source.waits_s is not None and now_s - source.waits_s >= _REBORN_S:
                source.die("the edge node is born again, but the device is not")
                self._tell(device, source.why)
        if self._proof_by_s is not None and now_s >= self._proof_by_s:
            self._all_dead("an NDEATH with another bdSeq came, and it has said nothing since")
            self._wants_birth = True
        quiet_s = now_s - self._asked_s
        if self._wants_birth and quiet_s >= self._pause_s:
            if quiet_s > _CALM * self._pause_s:
                self._backoff.reset()
            self._asked_s, self._pause_s = now_s, self._backoff.next()
            rebirth(self._send, self.group, self.name, self._now_ns())

    # --- births and deaths -----------------------------------------------------------------------------

    def _node_birth(self, _device: str | None, payload: Payload) -> None:
        bd_seq = _bd_seq(payload)
        if self._dead is not None and self._dead[0] == bd_seq and self._now_s() - self._dead[1] < _OVERTAKEN_S:
            # A will may overtake the last birth of the one who died; who lives is born again when asked.
            self._dead = None
            self._want_birth()
            return
        once_more = self._seq is not None and bd_seq == self._bd_seq
        self._dead, self._bd_seq, self._seq, self._wants_birth = None, bd_seq, payload.seq or 0, False
        for device, source in self._sources.items():
            if device is None or not source.born:
                continue
            if once_more:  # somebody has asked for it; the births of the devices follow
                source.waits_s = self._now_s()
            else:
                source.die("the edge node is born again, the device is not yet")
                self._tell(device, source.why)
        self._birth(None, payload)

    def _device_birth(self, device: str | None, payload: Payload) -> None:
        if not self._in_order(payload):
            return
        self._birth(device, payload)

    def _birth(self, device: str | None, payload: Payload) -> None:
        source = self.source(device)
        source.born, source.why, source.waits_s = True, "", None
        named = [metric for metric in payload.metrics if metric.name is not None][:_MOST_METRICS]
        source.metrics = {metric.name: metric for metric in named if metric.name is not None}
        source.aliases = _aliases(named)
        for feed in self._of(device):
            feed.birth(source)

    def _node_death(self, _device: str | None, payload: Payload) -> None:
        bd_seq = _bd_seq(payload)
        if self._bd_seq is not None and bd_seq is not None and bd_seq != self._bd_seq:
            # Of an earlier connection, which the broker has given up only now; or its numbers are wrong and it is dead.
            if self._proof_by_s is None:
                self._proof_by_s = self._now_s() + _PROOF_S
                self._want_birth()
            return
        self._dead = bd_seq, self._now_s()
        self._all_dead("NDEATH")

    def _all_dead(self, how: str) -> None:
        self._seq, self._wants_birth, self._proof_by_s = None, False, None  # it comes back by itself
        for device, source in self._sources.items():
            source.die(f"the edge node {self.name} has lost the broker ({how})")
            self._tell(device, source.why)

    def _device_death(self, device: str | None, payload: Payload) -> None:
        self._in_order(payload)
        source = self.source(device)
        source.die(f"the edge node {self.name} has lost the device {device} (DDEATH)")
        self._tell(device, source.why)

    # --- data ------------------------------------------------------------------------------------------

    def _data(self, device: str | None, payload: Payload) -> None:
        if not self._in_order(payload):
            return
        source = self.source(device)
        if not source.born or source.waits_s is not None:
            self._want_birth()
            return
        changed: list[Metric] = []
        other: list[Metric] = []
        nameless = False
        for metric in payload.metrics:
            name = metric.name
            if name is None and metric.alias is not None:
                name = source.aliases.get(metric.alias)
            born = source.metrics.get(name) if name is not None else None
            if name is None or born is None:
                self._want_birth()  # what no birth has named
                nameless = nameless or name is None
                continue
            full = replace(metric, name=name, datatype=metric.datatype or born.datatype, unit=born.unit)
            full = merged(born, full)
            as_born = full.datatype == born.datatype
            (changed if as_born else other).append(full)
            if not metric.historical:
                source.metrics[name] = full
        if other:
            self._want_birth()
        if nameless:  # it may be any of them
            self._doubt(
                "a value came under an alias that no birth has named; the edge node has been asked for a new one"
            )
        for feed in self._of(device):
            feed.data(changed)
            feed.data(other, "its data type is not that of its birth; the edge node has been asked for a new one")

    def _in_order(self, payload: Payload) -> bool:
        """Whether a birth has been heard to which this message belongs; a gap in the numbers is told."""
        if self._seq is None:
            self._want_birth()
            return False
        if payload.seq is not None:
            expected, self._seq = (self._seq + 1) % 256, payload.seq
            if payload.seq != expected:
                self._doubt("a message of the edge node was lost; it has been asked for a new birth")
        return True

    def _doubt(self, why: str) -> None:
        """Something may have changed that we did not hear of."""
        self._want_birth()
        for feed in self.feeds:
            source = self.source(feed.device)
            if source.born:
                feed.doubt(source, why)

    def _want_birth(self) -> None:
        self._wants_birth = True
        self.beat()

    def _of(self, device: str | None) -> Iterable[NodeFeed]:
        return [feed for feed in self.feeds if feed.device == device]

    def _tell(self, device: str | None, why: str) -> None:
        for feed in self._of(device):
            feed.gone(why)


class NodeFeed:
    """One EdgeFlow device's view of an edge node or one of its devices: metrics become columns."""

    def __init__(self, node: Node, device: Sparkplug, points: Sequence[Point], push: Push) -> None:
        self.device = device.device
        self._node, self._push = node, push
        self._points = points
        self._paths = [path_steps(point.path) or () for point in points]
        self._by_metric: dict[str, list[int]] = {}
        for index, point in enumerate(points):
            self._by_metric.setdefault(point.metric or "", []).append(index)
        node.source(device.device)
        node.feeds.append(self)

    @property
    def filters(self) -> Iterable[str]:
        """The topic filter to subscribe to: everything that this node and its devices say."""
        return (f"{NAMESPACE}/{self._node.group}/+/{self._node.name}/#",)

    def refuse(self, _topic: str, reason: str) -> None:
        self.gone(reason)

    def begin(self) -> None:
        """Subscribed: what is known already is told; what is not is asked for."""
        source = self._node.source(self.device)
        if source.born:
            self.birth(source)
        else:
            self._node.beat()

    def beat(self) -> None:
        """The broker lives, and it would have told of a death: what the node said last still holds."""
        if self._node.source(self.device).born:
            self._push(Column((), holds=True))
        self._node.beat()

    def end(self) -> None:
        self._node.feeds.remove(self)

    def birth(self, source: _Source) -> None:
        """Everything anew; what the birth does not name is BAD."""
        self.data([metric for metric in source.metrics.values() if not metric.historical])
        missing = [name for name in self._by_metric if name not in source.metrics]
        for name in missing:
            points = self._by_metric[name]
            reason = f"the birth names no metric {name!r}"
            if close := [known for known in source.metrics if known.lower() == name.lower()]:
                reason += f", but {close[0]!r}"
            self._push(Column([None] * len(points), 0, dict.fromkeys(range(len(points)), (BAD, reason)), tuple(points)))

    def data(self, metrics: Iterable[Metric], doubt: str = "") -> None:
        """Pushes what changed, one column for each time."""
        columns: dict[tuple[int, bool], list[Metric]] = {}
        for metric in metrics:
            if metric.name in self._by_metric:
                columns.setdefault((metric.at_ns, metric.historical), []).append(metric)
        for (at_ns, historical), those in columns.items():
            self._push(self._column(at_ns, those, doubt, late=historical))

    def doubt(self, source: _Source, why: str) -> None:
        """What is known may be out of date."""
        self.data(source.metrics.values(), why)

    def gone(self, why: str) -> None:
        """All is BAD, at once."""
        count = len(self._points)
        self._push(Column([None] * count, 0, dict.fromkeys(range(count), (BAD, why))))

    def _column(self, at_ns: int, metrics: Sequence[Metric], doubt: str, *, late: bool) -> Column:
        points: list[int] = []
        values: list[Scalar] = []
        faults: dict[int, tuple[Quality, str]] = {}
        for metric in metrics:
            for index in self._by_metric[metric.name or ""]:
                value: Scalar = None
                quality, reason = judged(metric.quality)
                try:
                    value = scalar(metric.stored, metric.datatype, self._points[index].value_type, self._paths[index])
                except ValueError as error:
                    quality, reason = BAD, str(error)
                if quality is BAD:
                    value = None
                elif doubt:
                    quality, reason = UNCERTAIN, doubt
                if quality is not GOOD:
                    faults[len(values)] = quality, reason
                points.append(index)
                values.append(value)
        return Column(values, at_ns, faults or None, tuple(points), late)


def command_for(node: Node, device: Sparkplug, point: Point, value: Scalar, at_ns: int) -> tuple[str, bytes]:
    """The topic and the payload that write a metric; raises Rejected where it cannot be written."""
    source, name = node.source(device.device), point.metric or ""
    if not source.born:
        raise Rejected(f"{name} cannot be written: {source.why}")
    metric = source.metrics.get(name)
    if metric is None:
        raise Rejected(f"{name} cannot be written: the birth names no such metric")
    try:
        payload = command(name, metric.datatype, typed(value, point.value_type), at_ns)
    except ValueError as error:
        raise Rejected(f"{name}: {error}") from None
    kind, end = ("DCMD", f"/{device.device}") if device.device else ("NCMD", "")
    return f"{NAMESPACE}/{device.group}/{kind}/{device.node}{end}", payload


def _aliases(named: Iterable[Metric]) -> dict[int, str]:
    """The metrics by their short numbers; a number that two of them have says nothing."""
    found: dict[int, str] = {}
    twice: set[int] = set()
    for metric in named:
        if metric.alias is not None and metric.name and found.setdefault(metric.alias, metric.name) != metric.name:
            twice.add(metric.alias)
    return {alias: name for alias, name in found.items() if alias not in twice}


def _bd_seq(payload: Payload) -> int | None:
    for metric in payload.metrics:
        if metric.name == _BD_SEQ and isinstance(metric.stored, int):
            return metric.stored
    return None


def state_payload(*, online: bool, at_ns: int) -> bytes:
    """What a host application says of itself on spBv1.0/STATE/ID (Sparkplug 3.0.0, 5.14)."""
    return b'{"online":%s,"timestamp":%d}' % (b"true" if online else b"false", at_ns // 1_000_000)
