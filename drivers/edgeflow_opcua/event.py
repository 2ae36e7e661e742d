"""Events as tags: each is one JSON text, and none is lost unsaid."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds

from edgeflow.driver import Column
from edgeflow.model import UNCERTAIN
from edgeflow_opcua.settings import Point
from edgeflow_opcua.structure import Types
from edgeflow_opcua.value import json_text, time_ns

LOST = (UNCERTAIN, "events before this one were lost: the server's queue was full")
_QUEUE = 1000
_ALWAYS = ("EventId", "EventType", "Time", "Severity")
_QUALIFIED = re.compile(r"(?:(\d+):)?(.+)", re.DOTALL)
_BASE = ua.NodeId(ua.Int32(ObjectIds.BaseEventType))
_SEVERITY = "Severity"
_REFRESH = (ObjectIds.RefreshStartEventType, ObjectIds.RefreshEndEventType)


def number(node: Any) -> int:
    """The number of a type of the standard; 0 for another."""
    plain = isinstance(node, ua.NodeId) and node.NamespaceIndex == 0 and isinstance(node.Identifier, int)
    return node.Identifier if plain else 0


def operand(path: str, kind: ua.NodeId = _BASE) -> ua.SimpleAttributeOperand:
    """A field of an event by its browse path, `ActiveState/Id` or `2:Batch` (OPC 10000-4, clause 7.7.4.5)."""
    names = [_QUALIFIED.fullmatch(step) for step in path.split("/")]
    steps = [ua.QualifiedName(match[2], int(match[1] or 0)) for match in names if match]
    return ua.SimpleAttributeOperand(kind, steps, ua.IntegerId(AttributeIds.Value))


def monitored(
    node: ua.NodeId, handle: int, queue: int, select: Sequence[ua.SimpleAttributeOperand], where: ua.ContentFilter
) -> ua.MonitoredItemCreateRequest:
    """How a node's events are subscribed to; the oldest are kept when the queue is full, and the server says so."""
    wanted = ua.MonitoringParameters(
        ClientHandle=ua.IntegerId(handle),
        SamplingInterval=ua.Duration(0),
        Filter=ua.EventFilter(list(select), where),
        QueueSize=ua.Counter(queue),
        DiscardOldest=True,
    )
    notifier = ua.ReadValueId(node, AttributeIds.EventNotifier)
    return ua.MonitoredItemCreateRequest(notifier, ua.MonitoringMode.Reporting, wanted)


class Events:
    """The events of one node for one point."""

    times = ua.TimestampsToReturn.Both

    def __init__(self, node: ua.NodeId, index: int, point: Point, types: Types) -> None:
        self.node, self.index, self.indices = node, index, (index,)
        self._fields, self._severity, self._types = point.fields, point.severity, types
        self._queue = point.queue or _QUEUE
        self._replayed_ns = 0  # while a refresh goes on: what is older has been told before

    def request(self, handle: int) -> ua.MonitoredItemCreateRequest:
        """Every event that is severe enough."""
        where = ua.ContentFilter()
        if self._severity:
            least = ua.LiteralOperand(ua.Variant(self._severity, ua.VariantType.UInt16))
            test = ua.ContentFilterElement(ua.FilterOperator.GreaterThanOrEqual, [operand(_SEVERITY), least])
            where.Elements = [test]
        return monitored(self.node, handle, self._queue, [operand(name) for name in (*self._fields, *_ALWAYS)], where)

    def columns(self, values: Sequence[Any]) -> list[Column]:
        """An event as a column; none where it is not severe enough, or belongs to a refresh of conditions."""
        event_id, kind, moment, severity = values[-4:] if len(values) >= len(_ALWAYS) else (None,) * 4
        moment_ns, known = time_ns(moment), number(kind)
        if known in _REFRESH:
            self._replayed_ns = moment_ns if known == ObjectIds.RefreshStartEventType else 0
            return []
        overflow = known == ObjectIds.EventQueueOverflowEventType
        mild = isinstance(severity, int) and severity < self._severity
        if not overflow and (mild or moment_ns < self._replayed_ns):
            return []
        content = {name: self._shown(value) for name, value in zip(self._fields, values, strict=False)}
        content["EventId"] = event_id
        return [Column([json_text(content)], moment_ns, {0: LOST} if overflow else None, (self.index,))]

    def _shown(self, value: Any) -> Any:
        try:
            return self._types.unfold(value)
        except ValueError as error:
            return str(error)
