"""The process `edgeflow central`: opens the database, serves, closes in order."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import structlog

from edgeflow import __version__
from edgeflow.central.api import Api
from edgeflow.central.archive import Archive
from edgeflow.central.board import Board, count
from edgeflow.central.fleet import Fleet, issue_token
from edgeflow.central.metrics import Counts, exposition
from edgeflow.central.settings import Settings
from edgeflow.central.storage import Keeper
from edgeflow.central.tables import SCHEMA
from edgeflow.central.views import ResultQuery, Token
from edgeflow.clock import SystemClock
from edgeflow.errors import ConfigError, EdgeFlowError, Problem
from edgeflow.store.database import Database
from edgeflow.web.guard import Guard
from edgeflow.web.live import Hub
from edgeflow.web.routes import build_app, built_pages
from edgeflow.web.server import Limits, Served, ServerStats, serve
from edgeflow.web.static import Pages
from edgeflow.web.token import admin_token

log = structlog.get_logger()

_OWN_FILES = 200


@asynccontextmanager
async def started(settings: Settings, clock: SystemClock | None = None) -> AsyncIterator[Served]:
    """A running central server for as long as the block lasts.

    Raises ConfigError where the certificate cannot be used, StoreError where the database cannot,
    EdgeFlowError where the port cannot be taken or another one already serves from this state folder.
    """
    clock = clock or SystemClock()
    token = admin_token(settings.state)
    tls = _tls(settings)
    with _alone(settings.state):
        async with _serving(settings, clock, token, tls) as served:
            yield served


@asynccontextmanager
async def _serving(
    settings: Settings, clock: SystemClock, token: str, tls: ssl.SSLContext | None
) -> AsyncIterator[Served]:
    database = Database(settings.database, SCHEMA, exclusive=False)
    await database.open()
    try:
        fleet, archive, board = Fleet(database, clock), Archive(database, clock), Board(Hub(clock, viewers=200))
        await fleet.load()
        for name, received in (await archive.received()).items():
            count(fleet.get(name), received)
        newest = await archive.results(ResultQuery(newest=True, limit=300))
        board.fill(fleet.all(), newest.results)
        keep_bytes = settings.keep_mb * 1_000_000
        keeper = Keeper(database, clock, keep_ns=settings.keep, keep_bytes=keep_bytes, show=board.storage)
        stats = ServerStats()
        metrics = exposition(Counts(fleet, archive.stats, board.hub.stats, database, stats, keeper.stats))
        api = Api(database, fleet, archive, board, clock, keeper, token_life_ns=settings.token_life, metrics=metrics)
        app = build_app(
            api.routes(),
            title="EdgeFlow central server",
            version=__version__,
            guard=Guard(settings.hosts, token=token, device=fleet.identify),
            pages=Pages(built_pages("central")),
        )
        app.on_shutdown.append(api.close)
        app.on_shutdown.append(board.hub.close)
        limits = Limits(connections=settings.connections)
        refused = partial(Problem, "edgeflow central run", 0, 0, "--port")
        _allow_files(settings.connections)
        listens = serve(
            app, settings.host, settings.port, limits=limits, tls=tls, setting="--port", refused=refused, stats=stats
        )
        async with listens as served, asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(keeper.run(), name="keeper")
            try:
                yield served
            finally:
                keeping.cancel()
    finally:
        await database.close()


def _allow_files(connections: int) -> None:
    """Every connection is an open file to the system, which often lets a process have only 1,024 of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
        if most < wanted:
            log.warning("this user may not open as many files as connections are allowed", files=most)


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Keeps a second server out of the state folder; `edgeflow central token` may come in beside us."""
    lock = os.open(state / "central.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EdgeFlowError(
                f"{state} is in use by another central server; stop that one first, or name another folder with --state"
            ) from None
        yield
    finally:
        os.close(lock)


async def token_for(settings: Settings, gateway: str) -> Token:
    """Makes a one-time enrolment token, beside a running central server or before its first start."""
    database = Database(settings.database, SCHEMA, exclusive=False)
    await database.open()
    try:
        return await issue_token(database, gateway, SystemClock(), settings.token_life)
    finally:
        await database.close()


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.certificate is None or settings.key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        message = f"cannot be used with the key {settings.key}: {error}"
        raise ConfigError([Problem(str(settings.certificate), 0, 0, "certificate", message)]) from None
    return context
