"""The agent: everything a gateway does, put together in one place and run in one task group."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from edgeflow import __version__
from edgeflow.agent.api import build
from edgeflow.agent.commission import Commission
from edgeflow.agent.conductor import Conductor
from edgeflow.agent.config import Config
from edgeflow.agent.deployments import Deployments
from edgeflow.agent.tasks import insistence, kept_up
from edgeflow.agent.view import View
from edgeflow.clock import SystemClock, utc_text
from edgeflow.devices.devices import Devices
from edgeflow.engine.engine import Engine
from edgeflow.model import Call, Record
from edgeflow.notify import notify
from edgeflow.services.http import HttpService
from edgeflow.services.services import Service, Services
from edgeflow.store.documents import Documents
from edgeflow.store.homes import Homes
from edgeflow.store.store import Store
from edgeflow.sync.protocol import About, DesiredFlow, FlowReport
from edgeflow.web.columns import TagColumns
from edgeflow.web.guard import Guard, admin_token
from edgeflow.web.live import Hub
from edgeflow.web.server import serve

if TYPE_CHECKING:
    from edgeflow.agent.measures import AgentMeasures
    from edgeflow.sync.uplink import Uplink

log = structlog.get_logger()

EXIT_S = 2.0
"""How long the outputs' exit patterns may take, once their links are free."""
EXIT_WAIT_S = 8.0
"""How long a request to a silent device may keep them waiting; systemd gives us 20 s for all."""
MOST_TIMERS = 20_000
"""So many timers fire before something else has its turn: a tenth of a second."""
STUBBORN_S = 3.0
"""After so long whatever still runs is cancelled again."""


class Agent:
    """One gateway. Built from a checked configuration; `run` owns every task."""

    def __init__(self, config: Config, state: Path) -> None:
        self._config, self._state = config, state
        self._clock = SystemClock()
        self._reported: list[FlowReport] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set: outputs show their exit patterns, everything is committed, nothing is left."""
        config, clock = self._config, self._clock
        started_ns = clock.now_ns()
        token = admin_token(self._state)
        documents = Documents(self._state / "documents.json")
        store = await Store.open(self._state / "edgeflow.db", config.root.store)
        try:
            await self._run(stop, store, documents, token, started_ns)
        finally:
            await store.close()

    async def _run(self, stop: asyncio.Event, store: Store, documents: Documents, token: str, started_ns: int) -> None:
        config, clock, gateway = self._config, self._clock, self._config.root.gateway
        engine = Engine(
            {name: binding.plan for name, binding in config.outputs.items()},
            place=gateway.place,
            on_fault=_say_fault,
            most_timers=MOST_TIMERS,
            policy=config.policy,
            version=store.version,
        )
        columns = TagColumns(config.plant.tags.values())
        uplink: Uplink | None = None

        def live(record: Record) -> None:
            if uplink is not None:
                uplink.live(record)

        def submit(call: Call) -> None:
            services.submit(call)

        conductor = Conductor(
            engine,
            clock,
            store,
            note=columns.take,
            submit=submit,
            live=live,
            alive=lambda: notify("WATCHDOG=1"),
        )
        services = Services(self._services(), conductor.answer, clock)
        homes = Homes(self._state / "drivers")
        devices = Devices(config.plant, config.outputs, conductor.block, clock, homes.of)
        conductor.outputs = devices
        deployments = Deployments(config, engine, store, documents, clock)
        if config.root.central is not None:
            from edgeflow.sync.uplink import Uplink  # noqa: PLC0415 - a gateway of its own starts without it

            uplink = Uplink(
                config.root.central,
                state=self._state,
                base=Path(config.source.file).parent,
                store=store,
                documents=documents,
                clock=clock,
                apply=lambda wishes: self._apply(deployments, documents, wishes),
                about=About(name=gateway.name, place=gateway.place, software=__version__, started=utc_text(started_ns)),
            )
        measures: AgentMeasures | None = None

        def render() -> bytes:
            nonlocal measures
            if measures is None:
                from edgeflow.agent.measures import AgentMeasures  # noqa: PLC0415 - for the first who scrapes

                measures = AgentMeasures(
                    engine, conductor, devices, services, store, uplink, started_ns, clock, served.stats
                )
            return measures.render()

        view = View(
            config,
            engine,
            conductor,
            devices,
            deployments,
            store,
            uplink,
            columns,
            clock,
            started_ns,
            render,
        )
        hub = Hub(clock)
        app, feed = build(
            view,
            hub,
            Guard(config.root.http.hosts, token=token),
            more=Commission(config.plant, devices, homes.of, Path(config.source.file).parent, clock).routes(),
        )
        async with serve(app, config.root.http.host, config.root.http.port) as served:
            await deployments.start()
            await conductor.resume()
            conductor.effects()
            log.info("agent started", gateway=gateway.name, version=__version__, pages=served.url)
            ended = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                commits = group.create_task(conductor.run(ended), name="commits")
                parts = [
                    group.create_task(devices.run(), name="devices"),
                    group.create_task(kept_up("services", services.run), name="services"),
                    group.create_task(kept_up("homes of the drivers", homes.run), name="homes"),
                    group.create_task(kept_up("live feed", feed.run), name="live feed"),
                    group.create_task(kept_up("trials", deployments.finish_trials), name="trials"),
                ]
                if uplink is not None:
                    parts.append(group.create_task(kept_up("uplink", uplink.run), name="uplink"))
                    report = partial(self._report, deployments, uplink)
                    parts.append(group.create_task(kept_up("reports", report), name="reports"))
                notify("READY=1")
                await stop.wait()
                notify("STOPPING=1")
                log.info("stopping")
                await devices.exit_pattern(_soon(EXIT_S + min(devices.exit_s, EXIT_WAIT_S)))
                for part in parts:
                    part.cancel()
                with insistence(STUBBORN_S, spare=commits):
                    await asyncio.wait(parts)
                ended.set()  # nothing comes in any more: the last commit has everything
        log.info("stopped")

    def _services(self) -> dict[str, Service]:
        found: dict[str, Service] = {"http": HttpService()}
        if self._config.root.services.mqtt is not None:
            from edgeflow.services.mqtt import MqttService  # noqa: PLC0415 - 3 MB that not every gateway needs

            found["mqtt"] = MqttService(self._config.root.services.mqtt)
        return found

    async def _apply(
        self, deployments: Deployments, documents: Documents, wishes: Sequence[DesiredFlow]
    ) -> Sequence[FlowReport]:
        for wish in wishes:
            flow = await asyncio.to_thread(documents.flow, wish.version)
            if flow is not None:
                await deployments.apply(wish.instance, flow, wish.parameters)
        return deployments.reports()

    async def _report(self, deployments: Deployments, uplink: Uplink) -> None:
        """Tells the central server how the flows do, whenever that changes."""
        while True:
            reports = deployments.reports()
            if reports != self._reported:
                self._reported = reports
                uplink.report(reports)
            await asyncio.sleep(1.0)


def _soon(seconds: float) -> float:
    """In so many seconds, by the time of the loop."""
    return asyncio.get_running_loop().time() + seconds


def _say_fault(instance: str, reason: str) -> None:
    log.error("a flow was stopped; its outputs are safe, the other flows go on", flow=instance, reason=reason)
