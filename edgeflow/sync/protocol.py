"""What gateway and central server say to each other; both sides use these models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edgeflow.store.wire import WireRecord

PROTOCOL = 1
LARGEST_BATCH = 1000
MOST_LOST = 10**9
"""More than any queue holds: 1,000 results a second for eleven days."""
DEEPEST_PARAMETERS = 20
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

GatewayName = Annotated[str, Field(pattern=NAME_PATTERN)]


class Said(BaseModel):
    """The base of every message: what a newer side adds is passed over, values do not change."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


class Lost(Said):
    """Stands in a batch for records that the gateway no longer has: dropped by a full queue, or unknown to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lost: int = Field(ge=1, lt=2**53, description="How many numbers it stands for.")


class Batch(Said):
    """Records with consecutive numbers, `seq` being that of the first."""

    protocol: int = Field(description="Version of this protocol; 1.")
    epoch: str = Field(pattern=r"^[0-9a-f]{16}$", description="Random 64-bit number of the outbox, hexadecimal.")
    seq: int = Field(ge=1, lt=2**53, description="Number of the first record; counts from 1 in an epoch.")
    records: list[WireRecord | Lost] = Field(
        min_length=1, max_length=2 * LARGEST_BATCH, description="The records in order; `lost` stands for missing ones."
    )

    @model_validator(mode="after")
    def _countable(self) -> Batch:
        lost = sum(item.lost for item in self.records if isinstance(item, Lost))
        if self.seq + lost + len(self.records) > 2**53:
            raise ValueError("its numbers go beyond 2^53")
        if lost > MOST_LOST:
            raise ValueError(f"no queue loses {lost} results between two batches; at most {MOST_LOST} can be told")
        return self


def batch_json(epoch: str, seq: int, rows: Iterable[tuple[int, bytes]]) -> bytes:
    """A batch from records that are JSON already; numbers missing from `seq` on become `lost`."""
    items: list[bytes] = []
    following = seq
    for number, record in rows:
        if number > following:
            items.append(b'{"lost":%d}' % (number - following))
        items.append(record)
        following = number + 1
    head = f'{{"protocol":{PROTOCOL},"epoch":"{epoch}","seq":{seq},"records":['.encode()
    return head + b",".join(items) + b"]}"


class Acknowledged(Said):
    """Everything up to a number is committed at the central server."""

    acknowledged: int = Field(description="The highest number of this epoch that is committed, with all before it.")
    revision: int = Field(description="Revision of the wished flow versions.")


class Gap(Said):
    """The refusal (409) of a batch that does not follow what is known."""

    title: str = Field(description="The kind of problem.")
    status: int = Field(description="The HTTP status, 409.")
    detail: str = Field(description="What happened and what to do next.")
    problems: list[str] = Field(default_factory=list, description="Empty.")
    expected: int = Field(ge=1, description="The number the next batch of this epoch must begin with.")


class About(Said):
    """What a gateway says of itself."""

    name: str = Field("", max_length=200, description="Its configured name.")
    place: str = Field("", max_length=500, description="Its place in the plant.")
    software: str = Field("", max_length=100, description="Version of EdgeFlow it runs.")
    started: str | None = Field(None, max_length=40, description="When its agent began, RFC 3339 in UTC.")


class Enrolment(Said):
    """A gateway's first words: a one-time token and the key it will use from now on."""

    protocol: int = Field(description="Version of this protocol; 1.")
    token: str = Field(min_length=1, max_length=200, description="The one-time token a person was given.")
    key: str = Field(min_length=32, max_length=200, description="The gateway's own secret, made by itself.")
    about: About = Field(default_factory=About, description="What the gateway says of itself.")


class Enrolled(Said):
    """The gateway is known from now on."""

    gateway: GatewayName = Field(description="The gateway's id in every address.")


class DesiredFlow(Said):
    """The version of a flow that an instance shall run."""

    instance: str = Field(min_length=1, max_length=200, description="Name of the flow's instance on the gateway.")
    flow: str = Field(min_length=1, max_length=200, description="Name of the flow.")
    version: str = Field(pattern=r"^[0-9a-f]{64}$", description="Version: SHA-256 of the canonical document.")
    parameters: dict[str, Any] | None = Field(
        None, description="Parameters of the instance; null keeps those the gateway has."
    )


class Desired(Said):
    """What a gateway shall run. An instance that is not listed stays as it is."""

    revision: int = Field(ge=0, description="Grows with every change of the wishes for this gateway.")
    flows: list[DesiredFlow] = Field(description="The wishes, one per instance.")


FlowState = Literal["running", "quarantined", "stopped", "unknown"]
Fate = Literal["", "trial", "accepted", "refused", "rolled_back"]


class FlowReport(Said):
    """How an instance of a flow does: the version that is active, the one that is wanted, and the fate of that one."""

    instance: str = Field(description="Name of the flow's instance.")
    flow: str = Field("", description="Name of the flow.")
    state: FlowState = Field(
        description="How the active version does. `running`; `quarantined`: stopped after a fault, its outputs are "
        "safe; `stopped`: none is active; `unknown`: this gateway has no such instance."
    )
    reason: str = Field("", description="Why it does not run, in words for a person; empty where it does.")
    active: str = Field("", description="Version that is active; empty where none is.")
    wanted: str = Field("", description="Version that was wished for last; empty where none was.")
    fate: Fate = Field(
        "",
        description="What became of the wanted version. `trial`: it is being tried; `accepted`: it is the active one; "
        "`refused`: it was not let in; `rolled_back`: it was tried and taken back. Empty where none is wanted.",
    )
    fate_reason: str = Field("", description="Why it was refused or rolled back, in words for a person.")
    trial_until: str = Field(
        "",
        description="When the trial ends if nothing goes wrong, RFC 3339 in UTC; empty without one, and for the first "
        "seconds of it, in which most failures show.",
    )


class Reported(Said):
    """What a gateway runs: every instance, and the revision of the wishes it has dealt with."""

    revision: int = Field(ge=0, description="Revision of the wishes that were dealt with; 0 for none.")
    about: About = Field(default_factory=About, description="What the gateway says of itself.")
    flows: list[FlowReport] = Field(max_length=2000, description="Every instance on the gateway.")


class Announced(Said):
    """Down the socket: the revision of the wishes."""

    type: Literal["desired"] = Field("desired", description="The kind of message.")
    revision: int = Field(description="Revision of the wished flow versions.")


class Live(Said):
    """Up the socket: the newest of every (stream, key) that changed; may be lost, is never stored."""

    type: Literal["live"] = Field("live", description="The kind of message.")
    records: list[WireRecord] = Field(max_length=LARGEST_BATCH, description="The newest values.")


class FlowPush(Said):
    """A flow document for an instance on a gateway."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    document: str = Field(max_length=1_000_000, description="The flow document as YAML text.")
    file: str = Field("flow.yaml", max_length=500, description="Name of the file, for messages.")
    parameters: dict[str, Any] | None = Field(
        None, description="Parameters of the instance; null keeps those the gateway has."
    )

    @field_validator("parameters")
    @classmethod
    def _flat(cls, given: dict[str, Any] | None) -> dict[str, Any] | None:
        if given is not None and _nested(given) > DEEPEST_PARAMETERS:
            raise ValueError(f"parameters are nested more than {DEEPEST_PARAMETERS} deep; write them flatter")
        return given


def _nested(value: Any) -> int:
    """How deep lists and objects stand inside one another; given up beyond what is allowed."""
    level, depth = [value], 0
    while level and depth <= DEEPEST_PARAMETERS:
        level = [part for each in level for part in (each.values() if isinstance(each, dict) else each)]
        level = [part for part in level if isinstance(part, dict | list)]
        depth += 1
    return depth


class Pushed(Said):
    """The wish was kept and announced."""

    revision: int = Field(description="Revision of the wishes that holds it.")
    version: str = Field(description="Version of the flow document.")
    flow: str = Field(description="Name of the flow.")
    instances: list[str] = Field(description="The instances it is meant for.")
    changed: bool = Field(description="Whether anything differs from the wish before.")


class Withdrawn(Said):
    """Wishes were taken back; what runs on the gateway goes on."""

    revision: int = Field(description="Revision of the wishes without them.")
    instances: list[str] = Field(description="The instances that nothing is wished for any more.")


class FlowProgress(Said):
    """One instance: what is wished and what the gateway reports."""

    desired: DesiredFlow | None = Field(description="The wish; null where there is none.")
    reported: FlowReport | None = Field(description="The gateway's report; null where there is none.")


class Progress(Said):
    """How far a wish has come."""

    gateway: str = Field(description="The gateway's id.")
    connected: bool = Field(description="Whether the gateway has its socket open.")
    last_seen: str | None = Field(description="When the gateway was last heard of.")
    revision: int = Field(description="Revision of the wishes.")
    reported_revision: int = Field(description="Revision the gateway has dealt with.")
    settled: bool = Field(description="Whether the gateway has dealt with it: refused it, or runs it, be it on trial.")
    flows: list[FlowProgress] = Field(description="The instances asked for.")
