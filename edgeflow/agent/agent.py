"""The agent: everything a gateway does, put together in one place and run in one task group."""

from __future__ import annotations

import asyncio
import gc
import secrets
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from edgeflow import __version__
from edgeflow.agent.conductor import Conductor
from edgeflow.agent.config import Config
from edgeflow.agent.core import Core
from edgeflow.agent.deployments import Deployments
from edgeflow.agent.tasks import supervised
from edgeflow.clock import SystemClock
from edgeflow.devices.devices import Devices
from edgeflow.engine.engine import VERSION_NS, Engine
from edgeflow.errors import ConfigError
from edgeflow.model import Call, Record
from edgeflow.notify import notify
from edgeflow.services.reach import Reach
from edgeflow.services.services import Service, Services
from edgeflow.store.documents import Documents
from edgeflow.store.homes import Homes
from edgeflow.store.store import Store
from edgeflow.web.columns import TagColumns
from edgeflow.web.listen import Listening, listen
from edgeflow.web.token import admin_token

if TYPE_CHECKING:
    from edgeflow.agent.front import Front
    from edgeflow.services.settings import MqttSettings

log = structlog.get_logger()

EXIT_S = 2.0
"""How long the outputs' exit patterns may take, once their links are free."""
EXIT_WAIT_S = 8.0
"""How long a request to a silent device may keep them waiting; systemd gives us 20 s for all."""
MOST_TIMERS = 20_000
"""So many timers fire before something else has its turn: a tenth of a second."""
STUBBORN_S = 3.0
"""So long the parts have to end; then the last commit is made without them."""


class Agent:
    """One gateway. Built from a checked configuration; `run` owns every task."""

    def __init__(self, config: Config, state: Path) -> None:
        self._config, self._state = config, state

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set: outputs show their exit patterns, everything is committed, nothing is left."""
        _private(self._state)
        token = _token(self._state)
        documents = Documents(self._state / "documents.json")
        store = await Store.open(self._state / "edgeflow.db", self._config.root.store)
        try:
            await self._run(stop, store, documents, token)
        finally:
            await store.close()

    async def _run(self, stop: asyncio.Event, store: Store, documents: Documents, token: str) -> None:
        config, gateway = self._config, self._config.root.gateway
        clock = SystemClock(store.version * VERSION_NS)  # the newest result of an earlier life was made then
        started_ns = clock.now_ns()
        engine = Engine(
            {name: binding.plan for name, binding in config.outputs.items()},
            place=gateway.place,
            on_fault=_say_fault,
            most_timers=MOST_TIMERS,
            policy=config.policy,
            version=store.version,
            limited=True,
        )
        columns = TagColumns(config.plant.tags.values())
        front: Front | None = None

        def live(record: Record) -> None:
            if front is not None:
                front.live(record)

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
        services = Services(self._services(), conductor.answer, clock, reach=config.reach)
        homes = Homes(self._state / "drivers")
        devices = Devices(config.plant, config.outputs, conductor.block, clock, homes.of)
        conductor.outputs = devices
        deployments = Deployments(config, conductor, store, documents, clock)
        core = Core(
            config=config,
            state=self._state,
            clock=clock,
            started_ns=started_ns,
            token=token,
            engine=engine,
            conductor=conductor,
            devices=devices,
            services=services,
            deployments=deployments,
            columns=columns,
            store=store,
            documents=documents,
            homes=homes,
        )

        async def serve() -> None:
            """Machines come first: loading this takes a while, also in another thread."""
            nonlocal front
            await services.loaded.wait()
            front = (await asyncio.to_thread(_front))(core, listening)
            gc.freeze()  # nothing of it becomes garbage
            await front.run()

        with closing(_listen(config)) as listening:
            await deployments.start()
            await conductor.resume()
            conductor.effects()
            log.info("agent started", gateway=gateway.name, version=__version__, pages=listening.url())
            ended = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(conductor.run(ended), name="commits")
                parts = [
                    group.create_task(devices.run(), name="devices"),
                    group.create_task(supervised("services", services.run), name="services"),
                    group.create_task(supervised("homes of the drivers", homes.run), name="homes"),
                    group.create_task(supervised("deployments", deployments.watch), name="deployments"),
                    group.create_task(serve(), name="front"),
                ]
                notify("READY=1")
                await stop.wait()
                notify("STOPPING=1")
                log.info("stopping")
                await devices.exit_pattern(_soon(EXIT_S + min(devices.exit_s, EXIT_WAIT_S)))
                for part in parts:
                    part.cancel()
                _, stubborn = await asyncio.wait(parts, timeout=STUBBORN_S)
                if stubborn:
                    log.error("parts of the agent do not end", parts=sorted(part.get_name() for part in stubborn))
                ended.set()  # nothing comes in any more: the last commit has everything
        log.info("stopped")

    def _services(self) -> dict[str, Callable[[], Service]]:
        """How each service is loaded."""
        settings = self._config.root.services.mqtt
        http = partial(_http, self._config.reach)
        return {"mqtt": partial(_mqtt, settings), "http": http} if settings is not None else {"http": http}


def _listen(config: Config) -> Listening:
    """Claims the address of the pages; raises ConfigError where this user may never have it."""
    http, refused = config.root.http, partial(config.source.problem, ("http", "port"))
    return listen(http.host, http.port, "`http: {port: ...}` in the configuration", refused)


def _private(state: Path) -> None:
    """The state folder is for its owner alone; where it cannot be made, the store says so."""
    with suppress(OSError):
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.chmod(0o700)


def _token(state: Path) -> str:
    """The token of the pages. Where none can be kept there is one that nobody knows: machines come first."""
    try:
        return admin_token(state)
    except ConfigError as error:
        log.error("nothing can be changed over HTTP", reason=str(error))
        return secrets.token_urlsafe(32)


def _front() -> type[Front]:
    from edgeflow.agent.front import Front  # noqa: PLC0415 - loaded when the machines are read already

    return Front


def _http(reach: Reach) -> Service:
    from edgeflow.services.http import HttpService  # noqa: PLC0415 - as above

    return HttpService(reach)


def _mqtt(settings: MqttSettings) -> Service:
    from edgeflow.services.mqtt import MqttService  # noqa: PLC0415 - as above, and not every gateway needs it

    return MqttService(settings)


def _soon(seconds: float) -> float:
    """In so many seconds, by the time of the loop."""
    return asyncio.get_running_loop().time() + seconds


def _say_fault(instance: str, reason: str) -> None:
    log.error("a flow was stopped; its outputs are safe, the other flows go on", flow=instance, reason=reason)
