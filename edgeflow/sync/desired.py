"""The flow versions a gateway shall run: fetched, checked against their hash, applied and reported."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence

import structlog

from edgeflow.errors import Rejected
from edgeflow.store.documents import Documents
from edgeflow.sync.client import CentralClient, Refused
from edgeflow.sync.protocol import About, Desired, DesiredFlow, FlowReport, Reported

log = structlog.get_logger(__name__)

Apply = Callable[[Sequence[DesiredFlow]], Awaitable[Sequence[FlowReport]]]
"""Takes over wishes whose documents are in the document file already, and reports every flow of the gateway.

Called again after each restart and whenever a wish changes: what runs already is left alone, and so
is every instance that is not listed.
"""


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
        """Waits for another revision and takes it over. Raises LinkDown or Refused, and then begins again."""
        await self._due.wait()
        desired = Desired.model_validate_json(await client.ask("GET", f"{root}/desired"))
        refused: dict[str, FlowReport] = {}
        ready: list[DesiredFlow] = []
        for wish in desired.flows:
            try:
                await self._have(client, wish.version)
            except Rejected as error:
                if isinstance(error, Refused) and error.status != 404:
                    raise
                log.error("a flow version was refused", instance=wish.instance, reason=str(error))
                refused[wish.instance] = FlowReport(
                    instance=wish.instance,
                    flow=wish.flow,
                    state="unknown",
                    wanted=wish.version,
                    fate="refused",
                    fate_reason=str(error),
                )
            else:
                ready.append(wish)
        self._refused = refused
        flows = await self._apply(ready)
        self._applied = desired.revision
        if self._announced <= desired.revision:
            self._due.clear()
        self.report(flows)

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

    def _merged(self) -> list[FlowReport]:
        """The gateway's own report, with what never reached it because its document was refused here."""
        flows = {flow.instance: flow for flow in self._flows}
        for instance, refusal in self._refused.items():
            known = flows.get(instance)
            fate = {"wanted": refusal.wanted, "fate": refusal.fate, "fate_reason": refusal.fate_reason}
            flows[instance] = known.model_copy(update=fate) if known else refusal
        return list(flows.values())

    async def _have(self, client: CentralClient, version: str) -> None:
        """Makes sure that a version is in the document file; raises Rejected where it is not what its hash says."""
        if await asyncio.to_thread(self._documents.flow, version) is not None:
            return
        content = await client.ask("GET", f"/api/v1/flows/{version}")
        if hashlib.sha256(content).hexdigest() != version:
            raise Rejected(f"the document that came for version {version[:12]} is not the one of that hash")
        try:
            kept = await asyncio.to_thread(self._documents.add_flow, json.loads(content))
        except (ValueError, AttributeError) as error:
            raise Rejected(f"the document of version {version[:12]} cannot be read: {error}") from error
        if kept != version:
            raise Rejected(f"the document of version {version[:12]} is not in its canonical form")
