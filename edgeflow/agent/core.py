"""What a gateway's work is done with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeflow.agent.conductor import Conductor
from edgeflow.agent.config import Config
from edgeflow.agent.deployments import Deployments
from edgeflow.clock import SystemClock
from edgeflow.devices.devices import Devices
from edgeflow.engine.engine import Engine
from edgeflow.services.services import Services
from edgeflow.store.documents import Documents
from edgeflow.store.homes import Homes
from edgeflow.store.store import Store
from edgeflow.web.columns import TagColumns


@dataclass(frozen=True, slots=True)
class Core:
    """The parts that read machines, run flows and keep results. They do without whoever looks at them."""

    config: Config
    state: Path
    clock: SystemClock
    started_ns: int
    token: str
    engine: Engine
    conductor: Conductor
    devices: Devices
    services: Services
    deployments: Deployments
    columns: TagColumns
    store: Store
    documents: Documents
    homes: Homes
