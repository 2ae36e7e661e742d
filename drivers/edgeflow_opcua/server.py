"""What the parts of one session share: the connection, and what has been learned of the server behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgeflow.driver import Home
from edgeflow.model import Scalar, ValueType
from edgeflow_opcua.address import Addresses
from edgeflow_opcua.condition import Alarms
from edgeflow_opcua.method import Methods
from edgeflow_opcua.pulse import Pulse
from edgeflow_opcua.settings import Point
from edgeflow_opcua.structure import Types
from edgeflow_opcua.subscription import Subscriptions
from edgeflow_opcua.wire import Wire

Listener = Callable[[Point], None]
_AT_REST: Mapping[ValueType, Scalar] = {"boolean": False, "integer": 0, "number": 0, "text": "", "bytes": b""}


class Server:
    """One server during one session. `listeners` are told of each call of a method."""

    def __init__(self, wire: Wire, home: Home) -> None:
        self.wire, self.home = wire, home
        self.addresses, self.types = Addresses(wire), Types(wire)
        self.subscriptions, self.pulse = Subscriptions(wire), Pulse(wire)
        self.alarms = Alarms(wire)
        self.methods = Methods(wire, self.addresses, self.types)
        self.listeners: set[Listener] = set()
        self._held: dict[Point, Scalar] = {}

    def keep(self, point: Point, value: Scalar) -> None:
        """Keeps the last event, or what a method was called with."""
        self._held[point] = value

    def tell(self, point: Point, value: Scalar) -> None:
        """Keeps what a method was called with, and tells the watches."""
        self.keep(point, value)
        for listener in tuple(self.listeners):
            listener(point)

    def held_of(self, point: Point) -> Scalar:
        """The last event, or what a method was called with; before that, what means nothing."""
        return self._held.get(point, "{}" if point.events else _AT_REST[point.type])
