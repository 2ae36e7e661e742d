"""Conditions and alarms as tags: what is kept of their events, the refresh after a reconnect, and acknowledging.

OPC 10000-9; the numbers are those of the standard's own nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds

from edgeflow.driver import Column
from edgeflow.errors import Rejected
from edgeflow.model import BAD, Scalar
from edgeflow_opcua.event import monitored, number, operand
from edgeflow_opcua.method import call
from edgeflow_opcua.settings import Point
from edgeflow_opcua.value import Fault, iso, time_ns, to_scalar
from edgeflow_opcua.wire import Wire

_QUEUE = 10_000


def _standard(identifier: int) -> ua.NodeId:
    return ua.NodeId(ua.Int32(identifier))


_SERVER = _standard(ObjectIds.Server)
_CONDITION = _standard(ObjectIds.ConditionType)
_ACKNOWLEDGEABLE = _standard(ObjectIds.AcknowledgeableConditionType)
_ALARM = _standard(ObjectIds.AlarmConditionType)
_REFRESH = _standard(ObjectIds.ConditionType_ConditionRefresh)
_ADD_COMMENT = _standard(ObjectIds.ConditionType_AddComment)
_ACKNOWLEDGE = _standard(ObjectIds.AcknowledgeableConditionType_Acknowledge)
_CONFIRM = _standard(ObjectIds.AcknowledgeableConditionType_Confirm)
_DONE_ALREADY = ("BadConditionBranchAlreadyAcked", "BadConditionBranchAlreadyConfirmed")
_SELECT = (
    *(operand(name) for name in ("EventId", "EventType", "SourceNode", "SourceName", "Time", "Message", "Severity")),
    *(operand(name, _CONDITION) for name in ("BranchId", "Retain", "EnabledState/Id", "Comment")),
    *(operand(name, _ACKNOWLEDGEABLE) for name in ("AckedState/Id", "ConfirmedState/Id")),
    operand("ActiveState/Id", _ALARM),
    ua.SimpleAttributeOperand(_CONDITION, [], ua.IntegerId(AttributeIds.NodeId)),
)


@dataclass(frozen=True, slots=True)
class _State:
    """What the last event of a condition, or of a branch of it, said."""

    event_id: bytes
    source: ua.NodeId
    source_name: str
    moment_ns: int
    message: str
    severity: int
    retain: bool
    comment: str
    acked: bool
    confirmed: bool
    active: bool

    @property
    def weight(self) -> tuple[bool, int, int]:
        """What needs attention, the most severe first, and of these the newest."""
        return self.retain, self.severity, self.moment_ns


_Key = tuple[ua.NodeId, ua.NodeId | None]


class Alarms:
    """The conditions of one server, kept from their events."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.known: dict[_Key, _State] = {}
        self.refreshed = False

    def take(self, values: Sequence[Any]) -> tuple[_Key, _State] | None:
        """Keeps what an event says; None where it is of no condition."""
        event_id, _, source, name, moment, message, severity, *rest = values
        branch, retain, enabled, comment, acked, confirmed, active, condition = rest
        if not isinstance(condition, ua.NodeId) or not condition.Identifier:
            return None
        lives = enabled is not False
        state = _State(
            event_id or b"",
            source if isinstance(source, ua.NodeId) else condition,
            str(name or ""),
            time_ns(moment),
            _text(message),
            int(severity or 0),
            bool(retain) and lives,
            _text(comment),
            acked is not False,
            confirmed is not False,
            lives and bool(retain if active is None else active),
        )
        key = (condition, branch if isinstance(branch, ua.NodeId) and branch.Identifier else None)
        self.known[key] = state
        if key[1] is not None and not state.retain:
            del self.known[key]  # a branch that nobody needs any more
        return key, state

    def of(self, node: ua.NodeId) -> list[tuple[_Key, _State]]:
        """What is known of a condition, or of all conditions of a source."""
        return [(key, state) for key, state in self.known.items() if node in (key[0], state.source)]

    def value(self, node: ua.NodeId, point: Point) -> Scalar:
        """What a point shows; ValueError where its type cannot show it."""
        states = [state for _, state in self.of(node)]
        name = point.field or "active"
        shown: Any
        if name == "active":
            shown = any(state.active for (_, branch), state in self.of(node) if branch is None)
        elif name in ("acked", "confirmed"):
            shown = all(getattr(state, name) for state in states)
        else:
            shown = _shown(max(states, key=lambda state: state.weight, default=None), name)
        if point.type == "text" and isinstance(shown, bool):
            return "true" if shown else "false"
        return to_scalar(shown, point.type)

    async def refresh(self, subscription: int, deadline: float) -> None:
        """Has the server send the state of all conditions again; raises Rejected where it cannot."""
        argument = ua.Variant(ua.UInt32(subscription), ua.VariantType.UInt32)
        await call(self._wire, deadline, ua.CallMethodRequest(_CONDITION, _REFRESH, [argument]), "ConditionRefresh")

    async def write(self, point: Point, node: ua.NodeId, value: Scalar, deadline: float) -> None:
        """Acknowledges, confirms or comments; raises Rejected and LinkDown."""
        known = self.of(node)
        if not known and not self.refreshed:
            raise Rejected(f"{point}: no event of it has come yet; without its EventId it cannot be acknowledged")
        comment = value if isinstance(value, str) else ""
        if point.field == "comment":
            if not comment:
                raise Rejected(f"{point}: write a text")
            open_ones = [(key, state) for key, state in known if not state.acked]
            await self._call(point, _ACKNOWLEDGE if open_ones else _ADD_COMMENT, open_ones or known, comment, deadline)
            return
        if value is not True and not comment:
            raise Rejected(f"{point}: it cannot be taken back; write true")
        done = [(key, state) for key, state in known if not getattr(state, str(point.field))]
        await self._call(point, _ACKNOWLEDGE if point.field == "acked" else _CONFIRM, done, comment, deadline)

    async def _call(
        self, point: Point, method: ua.NodeId, those: Sequence[tuple[_Key, _State]], comment: str, deadline: float
    ) -> None:
        for (condition, _), state in those:
            event_id = ua.Variant(state.event_id, ua.VariantType.ByteString)
            text = ua.Variant(ua.LocalizedText(comment), ua.VariantType.LocalizedText)
            try:
                request = ua.CallMethodRequest(condition, method, [event_id, text])
                await call(self._wire, deadline, request, str(point))
            except Rejected as refusal:
                if not str(refusal).endswith(_DONE_ALREADY):
                    raise


class Conditions:
    """The conditions that the points of one device are about; one subscription to all events of the server."""

    node = _SERVER
    times = ua.TimestampsToReturn.Both

    def __init__(self, alarms: Alarms, points: Mapping[int, tuple[Point, ua.NodeId]]) -> None:
        self._alarms, self._points = alarms, points
        self.indices = tuple(points)
        self.refresh_wanted = True
        self.asked_at: float | None = None  # loop time of a refresh that the server has not ended yet
        self._heard: set[_Key] | None = None

    def request(self, handle: int) -> ua.MonitoredItemCreateRequest:
        """All events: not every server can tell those of conditions from the others."""
        return monitored(self.node, handle, _QUEUE, _SELECT, ua.ContentFilter())

    def columns(self, values: Sequence[Any]) -> list[Column]:
        """What an event changes."""
        if len(values) != len(_SELECT):
            return []
        kind = number(values[1])
        if kind == ObjectIds.RefreshStartEventType:
            self._heard = set()
        elif kind == ObjectIds.RefreshEndEventType and self._heard is not None:
            for key in self._alarms.known.keys() - self._heard:  # not active, and needs nobody
                del self._alarms.known[key]
            return [self.settled()]
        elif kind in (ObjectIds.RefreshRequiredEventType, ObjectIds.EventQueueOverflowEventType):
            self.refresh_wanted = True
        elif (taken := self._alarms.take(values)) is not None:
            key, state = taken
            if self._heard is not None:
                self._heard.add(key)
            concerned = tuple(i for i, (_, node) in self._points.items() if node in (key[0], state.source))
            if concerned and self._heard is None:
                return [self._column(concerned, state.moment_ns)]
        return []

    def settled(self) -> Column:
        """The refresh has ended: what is known now is all there is."""
        self._heard, self.asked_at, self._alarms.refreshed = None, None, True
        return self._column(self.indices, 0)

    def _column(self, indices: tuple[int, ...], moment_ns: int) -> Column:
        values, faults = list[Scalar](), dict[int, Fault]()
        for at, index in enumerate(indices):
            point, node = self._points[index]
            try:
                values.append(self._alarms.value(node, point))
            except ValueError as error:
                values.append(None)
                faults[at] = (BAD, str(error))
        return Column(values, moment_ns, faults or None, indices)


def _shown(state: _State | None, name: str) -> str | int:
    """The rest of the fields, of the most severe condition that needs attention."""
    if state is None or not state.retain:
        return 0 if name == "severity" else ""
    if name == "time":
        return iso(state.moment_ns) if state.moment_ns else ""
    of: dict[str, str | int] = {
        "severity": state.severity,
        "message": state.message,
        "comment": state.comment,
        "source": state.source_name,
    }
    return of[name]


def _text(value: Any) -> str:
    return (value.Text or "") if isinstance(value, ua.LocalizedText) else str(value or "")
