"""The agent's measurements for Prometheus, read from plain counters when somebody asks.

Labels come only from the configuration; there is no series per tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from edgeflow import __version__
from edgeflow.agent.core import Core
from edgeflow.sync.uplink import Uplink
from edgeflow.units import NS_PER_S
from edgeflow.web.server import ServerStats

_STATES = ("connecting", "good", "degraded", "bad")


class AgentMeasures(Collector):
    """Turns the counters of every part into metric families at scrape time."""

    def __init__(self, core: Core, uplink: Uplink | None, server: ServerStats | None = None) -> None:
        self._core, self._uplink, self._server = core, uplink, server
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._registry.register(self)

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: the families depend on the configuration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        yield _gauge("edgeflow_build_info", "The version that runs.", {(("version", __version__),): 1})
        uptime_s = (self._core.clock.now_ns() - self._core.started_ns) / NS_PER_S
        yield _gauge("edgeflow_uptime_seconds", "Time since the agent began.", {(): uptime_s})
        yield from self._device_families()
        yield from self._flow_families()
        yield from self._output_families()
        yield from self._store_families()
        yield from self._shell_families()

    def _device_families(self) -> Iterator[Metric]:
        status = self._core.devices.status()
        now_ns = self._core.clock.now_ns()
        per = {(("device", d.name), ("driver", d.driver)): d for d in status.devices}
        yield _gauge(
            "edgeflow_device_state",
            "1 for the state a device is in.",
            {(*key, ("state", state)): float(d.state == state) for key, d in per.items() for state in _STATES},
        )
        yield _gauge(
            "edgeflow_device_age_seconds",
            "Time since a device last gave good data; absent until it has.",
            {key: (now_ns - d.last_good_ns) / NS_PER_S for key, d in per.items() if d.last_good_ns},
        )
        for name, about in (
            ("polls", "Reads of a device."),
            ("failed", "Reads of a device that failed."),
            ("late", "Reads left out because their time had passed."),
            ("pushes", "Pushes taken from a device."),
            ("dropped", "Pushes lost because they came too fast."),
            ("values", "Values taken from a device."),
        ):
            yield _counter(f"edgeflow_device_{name}", about, {k: getattr(d.stats, name) for k, d in per.items()})
        links = {(("link", link.name),): link for link in status.links}
        for name, about in (
            ("opened", "Times a link was opened."),
            ("lost", "Times a link was lost."),
            ("requests", "Requests made on a link."),
            ("broken", "Times a driver broke its contract."),
        ):
            yield _counter(f"edgeflow_link_{name}", about, {k: getattr(s.stats, name) for k, s in links.items()})

    def _flow_families(self) -> Iterator[Metric]:
        flows = {(("flow", name),): flow for name, flow in self._core.engine.flows.items()}
        yield _gauge("edgeflow_flow_running", "Whether a flow runs.", {k: float(not f.fault) for k, f in flows.items()})
        yield _counter("edgeflow_flow_ticks", "Ticks of a flow.", {k: f.ticks for k, f in flows.items()})
        yield _counter(
            "edgeflow_flow_busy_seconds", "Computing time of a flow.", {k: f.busy_ns / 1e9 for k, f in flows.items()}
        )
        yield _counter(
            "edgeflow_flow_skipped",
            "Inputs left out because a flow took more than its share.",
            {k: f.skipped for k, f in flows.items()},
        )
        yield _counter(
            "edgeflow_flow_records_dropped",
            "Records dropped because a flow made too many.",
            {k: f.dropped for k, f in flows.items()},
        )
        yield _counter("edgeflow_flow_faults", "Times a flow was quarantined.", {(): self._core.engine.faults})
        yield _counter("edgeflow_blocks", "Blocks that reached the engine.", {(): self._core.engine.blocks})

    def _output_families(self) -> Iterator[Metric]:
        outputs = {(("output", output.name),): output for output in self._core.devices.status().outputs}
        yield _gauge(
            "edgeflow_output_confirmed",
            "Whether an output's device shows what was decided.",
            {key: float(output.shown == "ok") for key, output in outputs.items()},
        )
        writers = {(("device", name),): stats for name, stats in self._core.devices.output_stats().items()}
        for name, about in (
            ("writes", "Writes of outputs to a device."),
            ("rejected", "Writes a device refused."),
            ("mismatched", "Times a device showed something else than was written."),
        ):
            yield _counter(f"edgeflow_output_{name}", about, {k: getattr(s, name) for k, s in writers.items()})

    def _store_families(self) -> Iterator[Metric]:
        outbox, stats = self._core.store.outbox(), self._core.store.stats
        yield _gauge("edgeflow_outbox_records", "Results waiting for the central server.", {(): outbox.count})
        yield _gauge("edgeflow_outbox_bytes", "Size of the waiting results.", {(): outbox.bytes})
        if outbox.left_ns is not None:
            left_s = outbox.left_ns / NS_PER_S
            yield _gauge("edgeflow_outbox_left_seconds", "How long the queue lasts at this pace.", {(): left_s})
        yield _counter("edgeflow_outbox_appended", "Results queued.", {(): stats.appended})
        dropped: dict[_Labels, float] = {(("class", name),): count for name, count in stats.dropped_of.items()}
        yield _counter("edgeflow_outbox_dropped", "Results lost because the queue was full.", dropped)
        store = self._core.store
        yield _gauge(
            "edgeflow_outbox_full", "Whether the queue is full and drops results.", {(): float(bool(store.full))}
        )
        troubled = bool(self._core.conductor.refused or store.damage)
        yield _gauge(
            "edgeflow_store_trouble", "Whether nothing can be saved, or what was is damaged.", {(): float(troubled)}
        )
        yield _counter("edgeflow_store_commits", "Commits.", {(): stats.commits})
        yield _gauge("edgeflow_store_commit_seconds", "Length of the newest commit.", {(): stats.commit_ns / 1e9})
        yield _counter("edgeflow_store_written_bytes", "Written to the disk.", {(): self._core.store.written_bytes})
        conductor = self._core.conductor.stats
        yield _counter("edgeflow_store_failed_commits", "Commits the disk refused.", {(): conductor.failed_commits})
        lost = "Results and calls lost because the disk refused them for too long."
        yield _counter("edgeflow_store_lost", lost, {(): conductor.lost})

    def _shell_families(self) -> Iterator[Metric]:
        conductor = self._core.conductor.stats
        yield _counter("edgeflow_clock_steps", "Times the system's clock was set.", {(): conductor.clock_steps})
        yield _gauge("edgeflow_loop_lag_seconds", "How late the last commit began.", {(): conductor.lag_ns / 1e9})
        services = {(("service", name),): stats for name, stats in self._core.services.stats.items()}
        for name, about in (
            ("done", "Calls of flows carried out."),
            ("failed", "Calls of flows that failed."),
            ("dropped", "Calls of flows dropped because too many waited."),
        ):
            yield _counter(f"edgeflow_service_{name}", about, {k: getattr(s, name) for k, s in services.items()})
        waiting: dict[_Labels, float] = {key: float(stats.waiting) for key, stats in services.items()}
        yield _gauge("edgeflow_service_waiting", "Calls of flows that wait.", waiting)
        if self._uplink is not None:
            uplink = self._uplink.stats
            yield _gauge("edgeflow_central_connected", "Whether central answers.", {(): float(uplink.connected)})
            yield _counter("edgeflow_central_sent", "Results sent to the central server.", {(): uplink.sent})
            refused: dict[_Labels, float] = {(): float(len(self._uplink.aside))}
            yield _gauge("edgeflow_central_refused_results", "Results that the central server refuses.", refused)
            yield _counter("edgeflow_central_retries", "Requests begun again.", {(): uplink.retries})
        if self._server is not None:
            yield _gauge("edgeflow_http_connections", "Open HTTP connections.", {(): self._server.open})
            yield _counter("edgeflow_http_requests", "HTTP requests.", {(): self._server.requests})


_Labels = tuple[tuple[str, str], ...]


def _gauge(name: str, about: str, values: Mapping[_Labels, float]) -> Metric:
    return _filled(GaugeMetricFamily(name, about), values)


def _counter(name: str, about: str, values: Mapping[_Labels, float]) -> Metric:
    return _filled(CounterMetricFamily(name, about), values, "_total")


def _filled(family: Metric, values: Mapping[_Labels, float], suffix: str = "") -> Metric:
    for labels, value in values.items():
        family.add_sample(family.name + suffix, dict(labels), value)
    return family
