"""One variable of the server, and the points that are made of its value: asked for once, taken apart here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds

from edgeflow.model import BAD, Scalar, ValueType
from edgeflow.units import NS_PER_S
from edgeflow_opcua.settings import Device, Point
from edgeflow_opcua.structure import Names, Types
from edgeflow_opcua.value import Fault, judged, to_epoch, to_scalar

NS_PER_MS = NS_PER_S // 1000
Taken = tuple[int, Scalar, Fault | None]
_STEP = re.compile(r"[^.\[\]]+")
_AS_IT_IS: Mapping[ValueType, frozenset[type]] = {
    "number": frozenset({float, int}), "integer": frozenset({int}), "boolean": frozenset({bool}),
    "text": frozenset({str}), "bytes": frozenset({bytes}),
}  # fmt: skip
_STATUS_VALUE = ua.DataChangeTrigger.StatusValue


@dataclass(frozen=True, slots=True)
class Taker:
    """One point: its index, its type, the way to its part of the value, and the names of its numbers."""

    index: int
    kind: ValueType
    steps: tuple[int | str, ...]
    names: Names
    epoch: str | None = None

    def take(self, value: Any) -> Scalar:
        """Raises ValueError where the value is not what the point says."""
        for step in self.steps:
            value = _part(value, step)
        if self.epoch is not None:
            return to_epoch(value, self.epoch, self.kind)
        if self.names and isinstance(value, int) and not isinstance(value, bool):
            if value not in self.names:
                raise ValueError(f"the server gives {value}, for which it declares no name")
            return self.names[value]
        return to_scalar(value, self.kind)


class Item:
    """A variable. `plain`: the types of which a good value is the value of its one point, as it is."""

    __slots__ = (
        "deadband", "history", "index", "last_ns", "node", "plain", "queue", "sampling_ms", "takers", "times", "types",
    )  # fmt: skip

    def __init__(self, node: ua.NodeId, device: Device, point: Point, types: Types) -> None:
        self.node, self.types = node, types
        self.takers: list[Taker] = []
        self.sampling_ms, self.queue, self.deadband, self.times = settings(device, point)
        self.history = device.history if point.history is None else point.history
        self.last_ns = 0
        self.index = 0
        self.plain: frozenset[type] = frozenset()

    def add(self, taker: Taker) -> None:
        """One more point on this variable."""
        self.takers.append(taker)
        single = len(self.takers) == 1 and not self.history and not (taker.steps or taker.names or taker.epoch)
        self.index, self.plain = taker.index, _AS_IT_IS[taker.kind] if single else frozenset()

    def moment(self, source_ns: int, server_ns: int) -> int:
        """Which of the two times of a value counts; 0: that of its arrival."""
        if self.times is ua.TimestampsToReturn.Both:
            return source_ns or server_ns
        return server_ns if self.times is ua.TimestampsToReturn.Server else 0

    @property
    def indices(self) -> tuple[int, ...]:
        """The points on it."""
        return tuple(taker.index for taker in self.takers)

    def taken(self, value: Any, code: int) -> list[Taken]:
        """What each point gets of a value and its status."""
        fault = judged(code)
        if fault and fault[0] is BAD:
            return [(taker.index, None, fault) for taker in self.takers]
        try:
            value = self.types.unfold(value)
        except ValueError as error:
            return [(taker.index, None, (BAD, str(error))) for taker in self.takers]
        return [_taken(taker, value, fault) for taker in self.takers]

    def request(self, handle: int) -> ua.MonitoredItemCreateRequest:
        """How it is subscribed to."""
        wanted = ua.MonitoringParameters(
            ClientHandle=ua.IntegerId(handle),
            SamplingInterval=ua.Duration(self.sampling_ms),
            QueueSize=ua.Counter(self.queue),
            DiscardOldest=True,
        )
        if self.deadband:
            percent = isinstance(self.deadband, str)
            size = float(self.deadband.rstrip(" %")) if isinstance(self.deadband, str) else self.deadband
            kind = ua.DeadbandType.Percent if percent else ua.DeadbandType.Absolute
            wanted.Filter = ua.DataChangeFilter(_STATUS_VALUE, ua.UInt32(kind), ua.Double(size))
        value = ua.ReadValueId(self.node, AttributeIds.Value)
        return ua.MonitoredItemCreateRequest(value, ua.MonitoringMode.Reporting, wanted)


_TIMES = {
    "source": ua.TimestampsToReturn.Both, "server": ua.TimestampsToReturn.Server,
    "arrival": ua.TimestampsToReturn.Neither,
}  # fmt: skip


def settings(device: Device, point: Point) -> tuple[float, int, float | str | None, ua.TimestampsToReturn]:
    """How a variable is watched: sampling interval (ms), length of the server's queue, deadband, and its time."""
    sampling_ns = point.sampling_interval or device.sampling_interval or device.publishing_interval
    deadband = point.deadband if point.deadband is not None else device.deadband
    number = point.type in ("number", "integer") and point.index is None and point.field is None
    times = _TIMES[point.time or device.time]
    return sampling_ns / NS_PER_MS, point.queue or device.queue, deadband or None if number else None, times


def items_of(
    device: Device,
    points: Mapping[int, Point] | Sequence[Point],
    nodes: Mapping[int, ua.NodeId],
    names: Mapping[int, Names],
    types: Types,
) -> list[Item]:
    """The variables behind the points, each once for those that want it in the same way."""
    found: dict[Any, Item] = {}
    for index, node in nodes.items():
        point = points[index]
        key = (node, *settings(device, point), point.history)
        item = found.get(key)
        if item is None:
            item = found[key] = Item(node, device, point, types)
        item.add(Taker(index, point.type, steps_of(point), names.get(index, {}), point.epoch))
    return list(found.values())


def steps_of(point: Point) -> tuple[int | str, ...]:
    """The way into the value: indices, then the names and indices of the field."""
    index: Sequence[int] = (point.index,) if isinstance(point.index, int) else point.index or ()
    parts = _STEP.findall(point.field) if point.field else ()
    return (*index, *_numbered(point.field or "", parts))


def _numbered(field: str, parts: Sequence[str]) -> list[int | str]:
    found: list[int | str] = []
    at = 0
    for part in parts:
        at = field.index(part, at)
        found.append(int(part) if at and field[at - 1] == "[" else part)
        at += len(part)
    return found


def _part(value: Any, step: int | str) -> Any:
    if isinstance(step, int):
        if not isinstance(value, list):
            raise ValueError(f"the server gives no array here, so there is no element {step}")
        if step >= len(value):
            raise ValueError(
                f"the server's array has {len(value)} elements, so there is no element {step} (they count from 0)"
            )
        return value[step]
    if not isinstance(value, dict):
        raise ValueError(f"the server gives no structure here, so there is no field {step!r}")
    if step not in value:
        raise ValueError(f"the server's structure has no field {step!r}; it has {', '.join(value) or 'none'}")
    return value[step]


def _taken(taker: Taker, value: Any, fault: Fault | None) -> Taken:
    try:
        return taker.index, taker.take(value), fault
    except ValueError as error:
        return taker.index, None, (BAD, str(error))
