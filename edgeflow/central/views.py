"""What the central server's API answers, beside the protocol with the gateways."""

from __future__ import annotations

from pydantic import BaseModel, Field

from edgeflow.store.wire import WireRecord
from edgeflow.sync.protocol import About, DesiredFlow, FlowReport


class GatewaySummary(BaseModel):
    """One gateway at a glance."""

    gateway: str = Field(description="The gateway's id.")
    about: About = Field(description="What the gateway says of itself.")
    connected: bool = Field(description="Whether it holds its socket open now.")
    enrolled: str = Field(description="When it enrolled.")
    last_seen: str = Field(description="When it was last heard of.")
    revision: int = Field(description="Revision of the wished flow versions.")
    reported_revision: int = Field(description="Revision it has dealt with.")
    flows: list[FlowReport] = Field(description="How each of its flows does, as it reported last.")
    records: int = Field(description="Results received since it enrolled.")
    lost: int = Field(description="Results that the gateway had to drop before they could be sent.")


class GatewayView(GatewaySummary):
    """One gateway in full."""

    desired: list[DesiredFlow] = Field(description="The wished flow versions.")
    live: list[WireRecord] = Field(description="The newest live values.")


class Gateways(BaseModel):
    """The gateways of this central server."""

    gateways: list[GatewaySummary] = Field(description="The gateways by id.")


class Result(BaseModel):
    """The newest version of a result."""

    gateway: str = Field(description="The gateway it came from.")
    change: int = Field(description="Grows with everything that comes in; the place to go on from.")
    record: WireRecord = Field(description="The result.")


class Results(BaseModel):
    """A page of results, in the order they came in (newest first where `newest` was asked for)."""

    results: list[Result] = Field(description="The results.")
    next: int | None = Field(description="Ask with `after` (or `before`) set to this for more; null at the end.")


class ResultQuery(BaseModel):
    """Which results."""

    gateway: str | None = Field(None, description="Only those of one gateway.")
    stream: str | None = Field(None, description="Only those of one stream, for example `oee`.")
    since: str | None = Field(
        None,
        description="Only those that speak of this time (RFC 3339) or later.",
        json_schema_extra={"format": "date-time"},
    )
    after: int | None = Field(
        None, ge=0, lt=2**63, description="Only those that changed after this place, oldest change first."
    )
    before: int | None = Field(
        None, ge=0, lt=2**63, description="Only those that changed before this place, with `newest`."
    )
    newest: bool = Field(False, description="The newest change first.")
    limit: int = Field(100, ge=1, le=1000, description="How many at most.")


class RawRecord(BaseModel):
    """A record as it came, with its number."""

    epoch: str = Field(description="Epoch of the gateway's outbox.")
    seq: int = Field(description="Its number in the epoch.")
    received: str = Field(description="When it was committed here.")
    record: WireRecord = Field(description="The record.")


class RawRecords(BaseModel):
    """A page of records, in the order the gateway numbered them."""

    records: list[RawRecord] = Field(description="The records.")
    next: str | None = Field(description="Ask with `after` set to this for more; null at the end.")


class RecordQuery(BaseModel):
    """Which records."""

    gateway: str = Field(description="The gateway they came from.")
    after: str = Field("0-0", pattern=r"^\d{1,18}-\d{1,18}$", description="Where to go on; `next` of the page before.")
    limit: int = Field(100, ge=1, le=1000, description="How many at most.")


class WaitQuery(BaseModel):
    """How long to wait for the gateway."""

    wait: float = Field(0, ge=0, le=30, description="Seconds to wait until the gateway has dealt with the wishes.")


class TokenWish(BaseModel):
    """For which gateway a one-time token shall be made."""

    gateway: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="The id it will have here.")


class Token(BaseModel):
    """A one-time token; it is shown once and kept only as a hash."""

    token: str = Field(description="The token to put into the gateway's token file.")
    gateway: str = Field(description="The gateway's id.")
    expires: str = Field(description="When it can no longer be used.")


class Storage(BaseModel):
    """What is kept here, and for how long."""

    bytes: int = Field(description="What the database holds now.")
    most_bytes: int = Field(description="What it may hold; beyond that the oldest results go.")
    keep_days: float = Field(description="For how many days results are kept.")
    dropped: int = Field(description="Results dropped by either rule since the start.")


class Health(BaseModel):
    """How the server does."""

    status: str = Field(description="`ok`, or what is wrong.")
    version: str = Field(description="Version of EdgeFlow.")
