"""Pushes a flow document to a gateway by way of the central server, and waits for the gateway's word."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from edgeflow import document
from edgeflow.errors import ConfigError, Problem, Rejected
from edgeflow.sync.client import CentralClient, Refused
from edgeflow.sync.protocol import FlowProgress, FlowPush, Progress, Pushed, Withdrawn

_LONGEST_WAIT_S = 25.0
_PLACES = TypeAdapter(list[Problem])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a push. `progress.settled` false means that the gateway has not answered in time."""

    pushed: Pushed
    progress: Progress

    @property
    def ok(self) -> bool:
        """Whether every instance runs the version."""
        return self.progress.settled and all(_runs(flow) for flow in self.progress.flows)

    def lines(self) -> list[str]:
        """The outcome for a person, one line per instance."""
        if not self.progress.flows or not self.progress.settled:
            return [self._waiting()]
        return [_line(flow) for flow in self.progress.flows]

    def _waiting(self) -> str:
        progress, version = self.progress, self.pushed.version[:12]
        if not progress.connected:
            seen = progress.last_seen or "never"
            return f"{progress.gateway} is not connected (last seen {seen}); it gets {version} when it comes back"
        return f"{progress.gateway} has not reported on {version} yet; look again with the same command"


async def push(
    url: str,
    token: str,
    gateway: str,
    path: Path,
    *,
    instance: str | None = None,
    parameters: dict[str, Any] | None = None,
    wait_s: float = 10.0,
    ca: Path | None = None,
) -> Outcome:
    """Pushes the document at `path` (the file, or its folder) and waits up to `wait_s` for the gateway.

    Without `instance` it is meant for every instance of its flow. Raises ConfigError with the places
    in the document, Rejected where the server refuses, LinkDown where it cannot be reached.
    """
    file, text, flow = _read(path)
    body = FlowPush(document=text, file=str(file), parameters=parameters)
    until = asyncio.get_running_loop().time() + wait_s
    async with CentralClient(url, token=token, ca=ca, file="--central") as client:
        address = f"/api/v1/gateways/{quote(gateway, safe='')}/flows/{quote(instance or flow, safe='')}"
        try:
            pushed = Pushed.model_validate_json(await client.ask("PUT", address, body=body))
        except Refused as refusal:
            raise _explained(refusal) from None
        return Outcome(pushed, await _progress(client, address, until))


async def withdraw(url: str, token: str, gateway: str, target: str, *, ca: Path | None = None) -> Withdrawn:
    """Takes back the wish for an instance, or for all instances of a flow; what runs there goes on.

    Raises Rejected where the server refuses, LinkDown where it cannot be reached.
    """
    async with CentralClient(url, token=token, ca=ca, file="--central") as client:
        address = f"/api/v1/gateways/{quote(gateway, safe='')}/flows/{quote(target, safe='')}"
        try:
            return Withdrawn.model_validate_json(await client.ask("DELETE", address))
        except Refused as refusal:
            raise _explained(refusal) from None


def _read(path: Path) -> tuple[Path, str, str]:
    """The file, its text and the name of its flow."""
    file = path / "flow.yaml" if path.is_dir() else path
    source = document.load(file)
    name = source.data.get("flow") if isinstance(source.data, dict) else None
    if not isinstance(name, str) or not name:
        raise ConfigError([source.problem((), "is not a flow: it has no `flow: name`")])
    return file, file.read_text("utf-8"), name


async def _progress(client: CentralClient, address: str, until: float) -> Progress:
    """Asks until the gateway is done with it or the time is over."""
    while True:
        left_s = max(until - asyncio.get_running_loop().time(), 0.0)
        wait_s = min(left_s, _LONGEST_WAIT_S)
        answer = await client.ask("GET", address, query={"wait": f"{wait_s:.1f}"}, timeout_s=wait_s + 5.0)
        progress = Progress.model_validate_json(answer)
        if progress.settled or left_s <= _LONGEST_WAIT_S:
            return progress


def _explained(refusal: Refused) -> ConfigError | Rejected:
    places = refusal.body.get("places")
    if refusal.status == 422 and isinstance(places, list) and places:
        with suppress(ValidationError):
            return ConfigError(_PLACES.validate_python(places))
    if refusal.status == 401:
        return Rejected("the central server does not take this token; give the file admin.token of its state directory")
    return refusal


def _runs(flow: FlowProgress) -> bool:
    wanted, reported = flow.desired, flow.reported
    return wanted is None or (
        reported is not None
        and (reported.state, reported.active) == ("running", wanted.version)
        and (reported.fate == "accepted" or bool(reported.trial_until))
    )


def _line(flow: FlowProgress) -> str:
    """One instance in the words of the protocol: what is active, what is wanted, what became of that."""
    reported = flow.reported
    if reported is None:
        return "the gateway has not reported"
    active = f"{reported.active[:12]} goes on" if reported.active else "nothing is active"
    if reported.state == "quarantined":
        active = f"{reported.active[:12]} is quarantined: {reported.reason}"
    words = {
        "": active,
        "trial": f"runs {reported.wanted[:12]}, on trial until {reported.trial_until}"
        if reported.trial_until
        else f"tries {reported.wanted[:12]}",
        "accepted": f"runs {reported.active[:12]}" if reported.state == "running" else active,
        "refused": f"refused {reported.wanted[:12]}; {active}: {reported.fate_reason}",
        "rolled_back": f"rolled back from {reported.wanted[:12]}; {active}: {reported.fate_reason}",
    }
    return f"{reported.instance}: {words[reported.fate]}"
