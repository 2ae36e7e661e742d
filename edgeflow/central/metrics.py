"""The central server's counts, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgeflow import __version__
from edgeflow.central.archive import ArchiveStats
from edgeflow.central.fleet import Fleet
from edgeflow.central.storage import StorageStats
from edgeflow.store.database import Database
from edgeflow.units import NS_PER_S
from edgeflow.web.live import LiveStats
from edgeflow.web.server import ServerStats


class Counts(Collector):
    """Reads the counts at every scrape; nothing is kept twice."""

    def __init__(
        self,
        fleet: Fleet,
        archive: ArchiveStats,
        live: LiveStats,
        database: Database,
        server: ServerStats,
        storage: StorageStats,
    ) -> None:
        self._fleet, self._archive, self._live, self._database = fleet, archive, live, database
        self._server, self._storage = server, storage

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("edgeflow_central_info", "The version that runs.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        archive = self._archive
        for name, about, value in (
            ("batches", "Batches of results taken.", archive.batches),
            ("records", "Results taken.", archive.records),
            ("records_known", "Results that came again and were passed over.", archive.known),
            ("records_lost", "Results that gateways had to drop.", archive.lost),
            ("batch_gaps", "Batches refused since they did not follow what is known.", archive.gaps),
            ("records_dropped", "Results dropped since they were old, or too many.", self._storage.dropped_records),
            ("connections_refused", "Connections for which there was no place.", self._server.refused),
            ("connections_displaced", "Idle connections that gave way to others.", self._server.displaced),
            ("disk_written_bytes", "Bytes written to the database.", self._database.written_bytes),
        ):
            yield CounterMetricFamily(f"edgeflow_central_{name}", about, value)
        yield GaugeMetricFamily("edgeflow_central_connections", "Open connections.", self._server.open)
        yield GaugeMetricFamily("edgeflow_central_connections_most", "How many may be open.", self._server.most)
        yield GaugeMetricFamily("edgeflow_central_stored_bytes", "What the database holds.", self._storage.bytes)
        yield GaugeMetricFamily("edgeflow_central_viewers", "Open live pages.", self._live.viewers)
        connected = GaugeMetricFamily(
            "edgeflow_central_gateway_connected", "1 while the gateway holds its socket open.", labels=["gateway"]
        )
        seen = GaugeMetricFamily(
            "edgeflow_central_gateway_last_seen_timestamp_seconds", "When it was last heard of.", labels=["gateway"]
        )
        for gateway in self._fleet.all():
            connected.add_metric([gateway.id], bool(gateway.sockets))
            seen.add_metric([gateway.id], gateway.seen_ns / NS_PER_S)
        yield connected
        yield seen


def exposition(counts: Counts) -> Callable[[], bytes]:
    """A function that gives the text of one scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(counts)
    return lambda: generate_latest(registry)
