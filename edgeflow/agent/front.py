"""What faces people and the central server: pages, API, measurements, uplink. Loaded after the machines are read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgeflow import __version__
from edgeflow.agent.api import build
from edgeflow.agent.commission import Commission
from edgeflow.agent.refused import RefusedApi
from edgeflow.agent.tasks import supervised
from edgeflow.agent.view import View
from edgeflow.clock import utc_text
from edgeflow.model import Record
from edgeflow.sync.desired import Wish
from edgeflow.sync.protocol import About, FlowReport
from edgeflow.sync.uplink import Uplink
from edgeflow.web.guard import Guard
from edgeflow.web.listen import Listening
from edgeflow.web.live import Hub
from edgeflow.web.server import ServerStats, serve_on

if TYPE_CHECKING:
    from edgeflow.agent.core import Core
    from edgeflow.agent.measures import AgentMeasures


class Front:
    """Serves on `listening` what the core shows, and reports to the central server where there is one."""

    def __init__(self, core: Core, listening: Listening) -> None:
        self._core, self._listening = core, listening
        self._uplink = self._made_uplink()
        self._measures: AgentMeasures | None = None
        self._stats = ServerStats()
        self._reported: Sequence[FlowReport] = ()

    def live(self, record: Record) -> None:
        """A live result: it goes to the central server, or nowhere."""
        if self._uplink is not None:
            self._uplink.live(record)

    async def run(self) -> None:
        """Serves and reports until cancelled."""
        core, root, uplink = self._core, self._core.config.root, self._uplink
        view = View(core, uplink, self._metrics)
        base = Path(core.config.source.file).parent
        app, feed = build(
            view,
            Hub(core.clock),
            Guard(root.http.hosts, token=core.token),
            more=[
                *Commission(core.config.plant, core.devices, core.homes.of, base, core.clock).routes(),
                *(RefusedApi(uplink).routes() if uplink is not None else ()),
            ],
        )
        async with serve_on(app, self._listening) as served, asyncio.TaskGroup() as group:
            self._stats = served.stats
            group.create_task(supervised("live feed", feed.run), name="live feed")
            if uplink is not None:
                group.create_task(supervised("uplink", uplink.run), name="uplink")
                group.create_task(supervised("reports", partial(self._report, uplink)), name="reports")

    def _metrics(self) -> bytes:
        if self._measures is None:
            from edgeflow.agent.measures import AgentMeasures  # noqa: PLC0415 - for the first who scrapes

            self._measures = AgentMeasures(self._core, self._uplink, self._stats)
        return self._measures.render()

    def _made_uplink(self) -> Uplink | None:
        core, root = self._core, self._core.config.root
        if root.central is None:
            return None
        gateway = root.gateway
        return Uplink(
            root.central,
            state=core.state,
            store=core.store,
            documents=core.documents,
            clock=core.clock,
            apply=self._apply,
            about=About(
                name=gateway.name, place=gateway.place, software=__version__, started=utc_text(core.started_ns)
            ),
        )

    async def _apply(self, wishes: Sequence[Wish], wished: frozenset[str]) -> Sequence[FlowReport]:
        deployments = self._core.deployments
        for wish in wishes:
            await deployments.apply(wish.instance, wish.document, wish.parameters)
        await deployments.withdraw(wished)
        return deployments.reports()

    async def _report(self, uplink: Uplink) -> None:
        """Tells the central server how the flows do, whenever that changes."""
        while True:
            reports = self._core.deployments.reports()
            if reports != self._reported:
                self._reported = reports
                uplink.report(reports)
            await asyncio.sleep(1.0)
