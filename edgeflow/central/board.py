"""The live picture of the central server's page: gateways, their live values, their newest results."""

from __future__ import annotations

from edgeflow.central.archive import Received
from edgeflow.central.fleet import Gateway
from edgeflow.central.views import GatewaySummary, Result, Storage
from edgeflow.clock import utc_text
from edgeflow.store.wire import WireRecord
from edgeflow.web.live import Hub

_MOST_RESULTS = 300
_LARGEST_LIVE_BYTES = 64 << 10
"""A gateway may have thousands of live values, and all of them are kept in memory."""


class Board:
    """Puts values into the hub: `gateway/ID` is a GatewaySummary,
    `live/ID/STREAM/KEY` and `result/ID/STREAM/KEY` a record.

    Only the newest results are kept; older ones leave the page, not the archive.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._results: dict[str, int] = {}

    def gateway(self, gateway: Gateway) -> None:
        """Shows how a gateway stands."""
        self.hub.publish(f"gateway/{gateway.id}", summary(gateway).model_dump_json(by_alias=True).encode())

    def live(self, gateway: Gateway, record: WireRecord) -> None:
        """Shows a live value."""
        value = _json(record)
        if len(value) <= _LARGEST_LIVE_BYTES and gateway.see(record, value):
            self.hub.publish(f"live/{gateway.id}/{record.stream}/{record.key}", value)

    def result(self, gateway: str, record: WireRecord) -> None:
        """Shows a result, in place of its lower versions."""
        key = f"result/{gateway}/{record.stream}/{record.key}"
        if self._results.get(key, 0) > record.version:
            return
        self._results.pop(key, None)
        self._results[key] = record.version
        self.hub.publish(key, _json(record))
        if len(self._results) > _MOST_RESULTS:
            oldest = next(iter(self._results))
            del self._results[oldest]
            self.hub.publish(oldest, None)

    def storage(self, storage: Storage) -> None:
        """Shows what is kept, and for how long."""
        self.hub.publish("storage", storage.model_dump_json().encode())

    def fill(self, gateways: list[Gateway], newest_first: list[Result]) -> None:
        """Shows what is known at the start."""
        for gateway in gateways:
            self.gateway(gateway)
        for result in reversed(newest_first[:_MOST_RESULTS]):
            self.result(result.gateway, result.record)


def summary(gateway: Gateway) -> GatewaySummary:
    """A gateway at a glance."""
    return GatewaySummary(
        gateway=gateway.id,
        about=gateway.reported.about,
        connected=bool(gateway.sockets),
        enrolled=utc_text(gateway.enrolled_ns),
        last_seen=utc_text(gateway.seen_ns),
        revision=gateway.revision,
        reported_revision=gateway.reported.revision,
        flows=gateway.reported.flows,
        records=gateway.records,
        lost=gateway.lost,
    )


def count(gateway: Gateway, received: Received) -> None:
    """Takes over what the archive knows of a gateway."""
    gateway.records, gateway.lost = received.records, received.lost


def _json(record: WireRecord) -> bytes:
    return record.model_dump_json(by_alias=True).encode()
