"""The flow versions a gateway shall run: fetched, checked against their hash, applied and reported."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeflow.document import explain
from edgeflow.errors import Rejected
from edgeflow.store.database import StoreError
from edgeflow.store.documents import Documents
from edgeflow.store.wire import DEEPEST, deeper
from edgeflow.sync.client import CentralClient, Refused, Unreadable
from edgeflow.sync.protocol import About, DesiredFlow, FlowReport, Reported

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """The version that an instance shall run, with its document."""

    instance: str
    flow: str
    version: str
    parameters: Mapping[str, Any] | None
    document: Mapping[str, Any]


Apply = Callable[[Sequence[Wish], frozenset[str]], Awaitable[Sequence[FlowReport]]]
"""Takes over wishes and reports every flow of the gateway; `wished` are all instances that something is wished for.

Called again after each restart and whenever a wish changes: what runs already is left alone, and so
is every instance that is not listed.
"""


class _Answer(BaseModel):
    """The wishes as they came: one that cannot be read must not keep the others."""

    model_config = ConfigDict(extra="ignore")

    revision: int = Field(ge=0, lt=2**53, description="Revision of the wishes.")
    flows: list[Any] = Field(max_length=10_000, description="The wishes.")


class Wishes:
    """Follows the revision that the central server announces, and tells it what became of it."""

    def __init__(self, documents: Documents, apply: Apply, about: About) -> None:
        self._documents = documents
        self._apply = apply
        self._about = about
        self._announced = 0
        self._applied = -1
        self._due = asyncio.Event()
        self._told = asyncio.Event()
        self._flows: Sequence[FlowReport] = ()
        self._refused: dict[str, FlowReport] = {}

    def announce(self, revision: int) -> None:
        """The central server speaks of a revision."""
        self._announced = revision
        if revision != self._applied:
            self._due.set()

    def report(self, flows: Sequence[FlowReport]) -> None:
        """How every flow of the gateway does now."""
        self._flows = tuple(flows)
        self._told.set()

    def tell_again(self) -> None:
        """The central server may have missed the newest report."""
        self._told.set()

    async def follow(self, client: CentralClient, root: str) -> None:
        """Waits for another revision and takes it over.

        Raises LinkDown, Refused or Unreadable, and then begins again. A single wish that cannot be read is refused
        and reported; it keeps no other.
        """
        await self._due.wait()
        desired = _desired(await client.document("GET", f"{root}/desired"))
        self._refused = {}
        ready: list[Wish] = []
        wished: set[str] = set()
        unread: list[str] = []
        for given in desired.flows:
            try:
                wish = _wish(given)
            except Rejected as error:
                unread.append(str(error))
                self._refuse(given, str(error))
                continue
            wished.add(wish.instance)
            try:
                document = await self._document(client, wish.version)
            except Rejected as error:
                if isinstance(error, Refused) and error.status != 404:
                    raise
                self._refuse(given, str(error))
            else:
                ready.append(Wish(wish.instance, wish.flow, wish.version, wish.parameters, document))
        flows = await self._apply(ready, frozenset(wished | self._refused.keys()))
        self._applied = desired.revision
        if self._announced <= desired.revision:
            self._due.clear()
        self.report(flows)
        if unread:
            raise Unreadable(f"a wish of the central server cannot be read: {unread[0]}")

    async def tell(self, client: CentralClient, root: str) -> None:
        """Waits for something new and reports it. Raises LinkDown or Refused, and then begins again."""
        await self._told.wait()
        self._told.clear()
        body = Reported(revision=max(self._applied, 0), about=self._about, flows=self._merged())
        try:
            await client.ask("PUT", f"{root}/reported", body=body)
        except BaseException:
            self._told.set()
            raise

    def _refuse(self, given: Any, reason: str) -> None:
        """Notes a wish that goes no further, where it says at least which instance it is for."""
        log.error("a wish of the central server was refused", reason=reason)
        known = given if isinstance(given, dict) else {}
        instance, flow, version = (str(known.get(key) or "")[:200] for key in ("instance", "flow", "version"))
        if instance:
            self._refused[instance] = FlowReport(
                instance=instance, flow=flow, state="unknown", wanted=version, fate="refused", fate_reason=reason
            )

    def _merged(self) -> list[FlowReport]:
        """The gateway's own report, with what never reached it because its document was refused here."""
        flows = {flow.instance: flow for flow in self._flows}
        for instance, refusal in self._refused.items():
            known = flows.get(instance)
            fate = {"wanted": refusal.wanted, "fate": refusal.fate, "fate_reason": refusal.fate_reason}
            flows[instance] = known.model_copy(update=fate) if known else refusal
        return list(flows.values())

    async def _document(self, client: CentralClient, version: str) -> Mapping[str, Any]:
        """The document of a version, from here or from the central server; Rejected where it is not what its hash says.

        Keeping it is the work of whoever runs it: what cannot be kept or read here is fetched again.
        """
        try:
            kept = await asyncio.to_thread(self._documents.flow, version)
        except (StoreError, OSError, ValueError, RecursionError) as error:
            log.warning("kept flow versions cannot be read; this one is fetched again", reason=str(error))
            kept = None
        if kept is not None:
            return kept
        content = await client.document("GET", f"/api/v1/flows/{version}")
        if hashlib.sha256(content).hexdigest() != version:
            raise Rejected(f"the document that came for version {version[:12]} is not the one of that hash")
        found = None if deeper(content) else _json(content)
        if not isinstance(found, dict):
            raise Rejected(
                f"the document of version {version[:12]} cannot be read: it is no flow, or nested too deeply"
            )
        return found


def _desired(answer: bytes) -> _Answer:
    try:
        return _Answer.model_validate(_json(answer))
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        raise Unreadable(f"the wishes of the central server cannot be read: {explain(detail)}") from None


def _wish(given: Any) -> DesiredFlow:
    if not isinstance(given, dict):
        raise Rejected("it is no object")
    if deeper(json.dumps(given).encode()):
        raise Rejected(f"its parameters are nested more than {DEEPEST} deep")
    try:
        return DesiredFlow.model_validate(given)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        raise Rejected(f"{'.'.join(map(str, detail['loc']))}: {explain(detail)}") from None


def _json(content: bytes) -> Any:
    """Numbers as they were written: an integer beyond 64 bits too, which would change the hash of the version."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
