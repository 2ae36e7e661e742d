"""The gateways: who they are, what they shall run, and what they say they run."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from edgeflow.central.structure import checked
from edgeflow.central.views import Token
from edgeflow.clock import Clock, utc_text
from edgeflow.document import canonical
from edgeflow.errors import Rejected
from edgeflow.store.database import Database
from edgeflow.store.wire import WireRecord
from edgeflow.sync.protocol import (
    NAME_PATTERN,
    About,
    Desired,
    DesiredFlow,
    Enrolment,
    FlowPush,
    Pushed,
    Reported,
    Withdrawn,
)
from edgeflow.web.routes import HttpProblem

_INSTANCE = re.compile(r"[a-z][a-z0-9_-]{0,199}$")
_MOST_LIVE = 2000
_VERSIONS_KEPT = 20
"""So many versions of a flow are kept beside those that are wished for."""
_MOST_LIVE_BYTES = 2 << 20
"""What one gateway may have in memory as live values; what is more is not shown."""


def digest(secret: str) -> str:
    """What is kept of a secret. Ours are 256 random bits, so a plain hash cannot be guessed back."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(slots=True)
class Gateway:
    """A gateway as the server knows it now. Times are UTC ns."""

    id: str
    key_hash: str
    enrolled_ns: int
    seen_ns: int
    revision: int = 0
    reported: Reported = field(default_factory=lambda: Reported(revision=0, about=About(), flows=[]))
    records: int = 0
    lost: int = 0
    sockets: set[web.WebSocketResponse] = field(default_factory=set)
    live: dict[tuple[str, str], bytes] = field(default_factory=dict)
    live_bytes: int = 0
    live_dropped: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def see(self, record: WireRecord, value: bytes) -> bool:
        """Notes a live value; False where there are too many keys, or bytes, already."""
        name = (record.stream, record.key)
        known = self.live.get(name)
        size = self.live_bytes + len(value) - (len(known) if known else 0)
        if size > _MOST_LIVE_BYTES or (known is None and len(self.live) >= _MOST_LIVE):
            self.live_dropped += 1
            return False
        self.live[name], self.live_bytes = value, size
        return True

    def wake(self) -> None:
        """Lets go whoever waits for news of this gateway."""
        self.changed.set()
        self.changed = asyncio.Event()


async def issue_token(database: Database, gateway: str, clock: Clock, life_ns: int) -> Token:
    """Makes a one-time token with which a gateway enrols under this id, new or in place of the one before."""
    if not re.fullmatch(NAME_PATTERN, gateway):
        raise Rejected(f"{gateway!r} cannot be a gateway's name; use letters, digits, `.`, `_` and `-`, at most 64")
    token, now_ns = secrets.token_urlsafe(32), clock.now_ns()
    expires = now_ns + life_ns

    def work(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO enrolment_token (hash, gateway, made, expires) VALUES (?, ?, ?, ?)",
            (digest(token), gateway, now_ns, expires),
        )
        note(connection, now_ns, "admin", "token made", gateway)

    await database.transaction(work)
    return Token(token=token, gateway=gateway, expires=utc_text(expires))


def note(connection: sqlite3.Connection, at_ns: int, who: str, what: str, detail: str) -> None:
    """Adds a line to the audit trail."""
    connection.execute("INSERT INTO audit (at, who, what, detail) VALUES (?, ?, ?, ?)", (at_ns, who, what, detail))


class Fleet:
    """All gateways in memory, every change in the database first."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._gateways: dict[str, Gateway] = {}
        self._by_key: dict[str, str] = {}

    async def load(self) -> None:
        """Reads what is known from before."""
        statement = "SELECT id, key_hash, enrolled, seen, revision, reported FROM gateway"
        for *row, reported in await self._database.query(lambda c: c.execute(statement).fetchall()):
            gateway = Gateway(*row)
            if reported:
                with suppress(ValidationError):  # of another version; the gateway reports anew when it connects
                    gateway.reported = Reported.model_validate_json(reported)
            self._add(gateway)

    def _add(self, gateway: Gateway) -> None:
        self._gateways[gateway.id] = gateway
        self._by_key[gateway.key_hash] = gateway.id

    def all(self) -> list[Gateway]:
        """The gateways by id."""
        return [self._gateways[name] for name in sorted(self._gateways)]

    def get(self, gateway: str) -> Gateway:
        """One gateway; raises HttpProblem 404."""
        found = self._gateways.get(gateway)
        if found is None:
            known = ", ".join(sorted(self._gateways)) or "none yet"
            raise HttpProblem(404, "Unknown gateway", f"There is no gateway {gateway!r}; enrolled are: {known}.")
        return found

    async def identify(self, key: str) -> str | None:
        """The gateway a key belongs to."""
        return self._by_key.get(digest(key))

    async def enrol(self, wish: Enrolment) -> Gateway:
        """Enrols with a one-time token; the same token with the same key again is the same enrolment."""
        token_hash, key_hash, now_ns = digest(wish.token), digest(wish.key), self._clock.now_ns()

        def work(connection: sqlite3.Connection) -> str:
            row = connection.execute(
                "SELECT gateway, expires, used_by FROM enrolment_token WHERE hash = ?", (token_hash,)
            ).fetchone()
            if row is None:
                raise HttpProblem(
                    403, "Unknown token", "This token is not known; make one with `edgeflow central token NAME`."
                )
            gateway, expires, used_by = row
            if used_by is not None:
                current = connection.execute("SELECT key_hash FROM gateway WHERE id = ?", (gateway,)).fetchone()
                if hmac.compare_digest(used_by, key_hash) and current == (key_hash,):
                    return str(gateway)
                raise HttpProblem(
                    403, "Used token", "This token was used already; make another with `edgeflow central token NAME`."
                )
            if expires <= now_ns:
                raise HttpProblem(
                    403, "Old token", "This token has expired; make another with `edgeflow central token NAME`."
                )
            other = connection.execute("SELECT id FROM gateway WHERE key_hash = ?", (key_hash,)).fetchone()
            if other is not None and other != (gateway,):
                detail = (
                    "This key belongs to another gateway already. A state folder was copied, perhaps: remove "
                    "`central.json` and `central.enrolling.json` in that of this gateway, and start it again."
                )
                raise HttpProblem(409, "Another gateway's key", detail)
            connection.execute(
                "UPDATE enrolment_token SET used = ?, used_by = ? WHERE hash = ?", (now_ns, key_hash, token_hash)
            )
            connection.execute(
                "INSERT INTO gateway (id, key_hash, enrolled, seen) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
                "SET key_hash = excluded.key_hash, enrolled = excluded.enrolled, seen = excluded.seen",
                (gateway, key_hash, now_ns, now_ns),
            )
            note(connection, now_ns, gateway, "enrolled", wish.about.model_dump_json())
            return str(gateway)

        name = await self._database.transaction(work)
        known = self._gateways.get(name)
        if known is None:
            known = Gateway(name, key_hash, now_ns, now_ns)
        elif known.key_hash != key_hash:
            self._by_key.pop(known.key_hash, None)
            known.key_hash, known.enrolled_ns = key_hash, now_ns
        if not known.reported.about.name:
            known.reported = known.reported.model_copy(update={"about": wish.about})
        self._add(known)
        return known

    async def desired(self, gateway: str) -> Desired:
        """What a gateway shall run."""

        def work(connection: sqlite3.Connection) -> Desired:
            (revision,) = connection.execute("SELECT revision FROM gateway WHERE id = ?", (gateway,)).fetchone()
            return Desired(revision=revision, flows=_wishes(connection, gateway))

        return await self._database.query(work)

    async def flow(self, version: str) -> bytes | None:
        """The canonical document of a version."""
        statement = "SELECT document FROM flow_version WHERE version = ?"
        row = await self._database.query(lambda c: c.execute(statement, (version,)).fetchone())
        return bytes(row[0]) if row else None

    async def push(self, gateway: Gateway, target: str, push: FlowPush, who: str) -> Pushed:
        """Wishes for a version of a flow; `target` is an instance, or a flow's name for all its instances.

        Raises ConfigError where the document is not one, HttpProblem where no instance is meant.
        """
        source, flow, version = await asyncio.to_thread(checked, push.document, push.file)
        body, now_ns = canonical(source.data), self._clock.now_ns()
        parameters = None if push.parameters is None else _kept(push.parameters)

        def work(connection: sqlite3.Connection) -> Pushed:
            before = _wishes(connection, gateway.id)
            instances = meant(target, flow.flow, before, gateway)
            connection.execute(
                "INSERT OR IGNORE INTO flow_version VALUES (?, ?, ?, ?, ?)",
                (version, flow.flow, body, push.document, now_ns),
            )
            for instance in instances:
                connection.execute(
                    "INSERT INTO desired VALUES (?, ?, ?, ?, ?) ON CONFLICT (gateway, instance) DO UPDATE SET "
                    "flow = excluded.flow, version = excluded.version, "
                    "parameters = coalesce(excluded.parameters, desired.parameters)",
                    (gateway.id, instance, flow.flow, version, None if parameters is None else parameters.decode()),
                )
            _prune(connection, flow.flow)
            changed = _wishes(connection, gateway.id) != before
            if changed:
                connection.execute("UPDATE gateway SET revision = revision + 1 WHERE id = ?", (gateway.id,))
                note(
                    connection, now_ns, who, "flow pushed", f"{gateway.id} {', '.join(instances)} {flow.flow} {version}"
                )
            (revision,) = connection.execute("SELECT revision FROM gateway WHERE id = ?", (gateway.id,)).fetchone()
            return Pushed(revision=revision, version=version, flow=flow.flow, instances=instances, changed=changed)

        pushed = await self._database.transaction(work)
        gateway.revision = pushed.revision
        return pushed

    async def withdraw(self, gateway: Gateway, target: str, who: str) -> Withdrawn:
        """Takes back the wish for an instance, or for every instance of a flow. Raises HttpProblem 404."""
        now_ns = self._clock.now_ns()

        def work(connection: sqlite3.Connection) -> Withdrawn:
            wishes = _wishes(connection, gateway.id)
            instances = [wish.instance for wish in wishes if wish.instance == target]
            instances = instances or [wish.instance for wish in wishes if wish.flow == target]
            if not instances:
                wished = ", ".join(wish.instance for wish in wishes) or "none"
                detail = f"Nothing is wished of {gateway.id} for {target!r}; there are wishes for: {wished}."
                raise HttpProblem(404, "No such wish", detail)
            for instance in instances:
                connection.execute("DELETE FROM desired WHERE gateway = ? AND instance = ?", (gateway.id, instance))
            connection.execute("UPDATE gateway SET revision = revision + 1 WHERE id = ?", (gateway.id,))
            note(connection, now_ns, who, "wish withdrawn", f"{gateway.id} {', '.join(instances)}")
            (revision,) = connection.execute("SELECT revision FROM gateway WHERE id = ?", (gateway.id,)).fetchone()
            return Withdrawn(revision=revision, instances=instances)

        withdrawn = await self._database.transaction(work)
        gateway.revision = withdrawn.revision
        return withdrawn

    async def report(self, gateway: Gateway, reported: Reported) -> None:
        """Keeps what a gateway says of itself."""
        now_ns, text = self._clock.now_ns(), reported.model_dump_json()
        statement = "UPDATE gateway SET reported = ?, reported_at = ?, seen = ? WHERE id = ?"
        await self._database.transaction(lambda c: c.execute(statement, (text, now_ns, now_ns, gateway.id)))
        gateway.reported, gateway.seen_ns = reported, now_ns
        gateway.wake()


def _kept(parameters: Mapping[str, Any]) -> bytes:
    """Parameters as they are kept; refused where they would not come back as they were given."""
    try:
        canonical(parameters)
        return orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError):
        detail = "parameters: hold a number that cannot be kept; write numbers below 2^63, and neither NaN nor infinity"
        raise HttpProblem(422, "The body does not fit", detail) from None


def meant(target: str, flow: str, wishes: Sequence[DesiredFlow], gateway: Gateway) -> list[str]:
    """The instances a push is for: the one of that name, else all of that flow, else a new one."""
    known = {wish.instance: wish.flow for wish in wishes}
    known |= {report.instance: report.flow for report in gateway.reported.flows}
    if target in known:
        return [target]
    running = sorted(instance for instance, name in known.items() if name == target)
    if running:
        return running
    if _INSTANCE.fullmatch(target):
        return [target]
    instances = ", ".join(sorted(known)) or "none"
    raise HttpProblem(
        404,
        "Unknown instance",
        f"{gateway.id} runs no instance of {target!r} (its instances: {instances}); "
        f"give the instance that shall run {flow} by name.",
    )


def _prune(connection: sqlite3.Connection, flow: str) -> None:
    """Forgets the versions of a flow that nobody is to run, but for the newest ones."""
    connection.execute(
        "DELETE FROM flow_version WHERE flow = ? AND version NOT IN (SELECT version FROM desired) AND version NOT IN "
        "(SELECT version FROM flow_version WHERE flow = ? ORDER BY made DESC, version LIMIT ?)",
        (flow, flow, _VERSIONS_KEPT),
    )


def _wishes(connection: sqlite3.Connection, gateway: str) -> list[DesiredFlow]:
    statement = "SELECT instance, flow, version, parameters FROM desired WHERE gateway = ? ORDER BY instance"
    return [
        DesiredFlow(
            instance=instance, flow=flow, version=version, parameters=None if given is None else orjson.loads(given)
        )
        for instance, flow, version, given in connection.execute(statement, (gateway,))
    ]
