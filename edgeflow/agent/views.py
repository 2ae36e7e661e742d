"""What the agent shows over HTTP: the models behind the JSON API, its OpenAPI document and the pages."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from edgeflow.model import Response, Strict
from edgeflow.sync.protocol import Fate, FlowState
from edgeflow.units import Duration

Time = str
"""RFC 3339 in UTC."""

QualityWord = Literal["good", "uncertain", "bad"]


class Gateway(Response):
    """The agent itself."""

    name: str = Field(description="The gateway's name.")
    place: str = Field("", description="Where it stands in the plant's hierarchy, as `site/area/line`.")
    version: str = Field(description="The version of EdgeFlow.")
    started: Time = Field(description="When this process began.")
    uptime_s: float = Field(description="Seconds since it began.")
    now: Time = Field(description="The agent's own time when this was written.")
    time_zone: str = Field("UTC", description="The IANA zone of the plant; times are shown in it.")
    clock: Literal["synchronised", "unsynchronised", "unknown"] = Field(
        "unknown", description="Whether the operating system says that the clock is right."
    )
    andon_controls: bool = Field(True, description="Whether calls can be raised and acknowledged on the pages.")


class Device(Response):
    """One machine behind a link."""

    name: str = Field(description="The device's name.")
    link: str = Field(description="The link it is behind.")
    driver: str = Field(description="The protocol spoken.")
    address: str = Field("", description="Where it is, as a person would write it: `10.0.0.5:502 unit 1`.")
    state: Literal["good", "degraded", "bad", "connecting"] = Field(
        description="`good`: all answers; `degraded`: some points do not; `bad`: no data; `connecting`: not yet."
    )
    reason: str = Field("", description="Why it is not good, in plain words, with what to do next.")
    since: Time | None = Field(None, description="Since when it is in this state.")
    last_good: Time | None = Field(None, description="When it last gave data; null where it never did.")
    age_s: float | None = Field(None, description="Seconds since it last gave data.")
    every_s: float | None = Field(None, description="How often it is read; null where it pushes by itself.")
    polls: int = Field(0, description="Reads (or pushes) since the start.")
    failed: int = Field(0, description="Reads that failed.")
    late: int = Field(0, description="Reads skipped because the one before had not ended.")
    tags: int = Field(0, description="How many tags it has.")
    bad_tags: int = Field(0, description="How many of them are not good now.")


class Flow(Response):
    """One flow as it runs here."""

    name: str = Field(description="The name of this instance.")
    flow: str = Field(description="The flow document it runs.")
    title: str = Field("", description="The document's title.")
    state: FlowState = Field(
        description="How the active version does. `quarantined`: stopped after a fault, its outputs are safe; "
        "`stopped`: none is active; `unknown`: this gateway has no such instance."
    )
    reason: str = Field("", description="Why it does not run, in plain words; empty where it does.")
    active: str = Field(description="The version that is active: the hash of its content; empty where none is.")
    wanted: str = Field("", description="The version that was wished for last; empty where none was.")
    fate: Fate = Field(
        "",
        description="What became of the wanted version: `trial`, `accepted`, `refused` (not let in) or `rolled_back` "
        "(tried and taken back).",
    )
    fate_reason: str = Field("", description="Why it was refused or rolled back, in plain words.")
    trial_until: Time | None = Field(None, description="When its trial ends if nothing goes wrong.")
    ticks: int = Field(0, description="Ticks since the start.")
    skipped: int = Field(0, description="Inputs left out because the flow took more than its share of computing time.")
    dropped: int = Field(0, description="Records dropped because it made more than a flow may in a minute.")
    last_tick: Time | None = Field(None, description="The time of its last tick.")
    us_per_tick: float | None = Field(None, description="Mean computing time of a tick in microseconds.")


class Element(Response):
    """One element of an output, as a lamp's red."""

    level: bool | int | float | str | None = Field(
        description="What it shall show: `off`, `on`, `flash`, `flash_fast` for a lamp, else the value."
    )
    winner: str = Field("nobody", description="Whose request this level comes from.")


class HeldRequest(Response):
    """One request that an output has."""

    owner: str = Field(description="Who made it.")
    pattern: dict[str, Any] = Field(description="The level per element that it wants.")
    priority: int = Field(description="The highest wins.")
    since: Time = Field(description="When it was made.")
    until: Time | None = Field(None, description="When its lease ends.")
    refused: str = Field("", description="Why the output policy does not allow it; then `when_stale` is shown.")


class Output(Response):
    """One output under arbitration."""

    name: str = Field(description="The output's name.")
    elements: dict[str, Element] = Field(description="Its elements, from the base upwards.")
    shown: Literal["ok", "unknown", "failed"] = Field(
        description="`ok`: the device shows it; `unknown`: not confirmed; `failed`: the device refused or is lost."
    )
    reason: str = Field("", description="Why it is not ok, in plain words.")
    requests: list[HeldRequest] = Field(default_factory=list, description="All requests, the strongest first.")


class Outbox(Response):
    """The queue of results for the central server."""

    records: int = Field(description="Results waiting.")
    bytes: int = Field(0, description="Their size.")
    oldest: Time | None = Field(None, description="The time of the oldest one.")
    capacity_left_s: float | None = Field(
        None, description="How long the gateway can go on without the central server at the present rate."
    )
    dropped: int = Field(0, description="Results lost because the queue was full.")
    refused: int = Field(
        0, description="Results that the central server refuses; `/api/v1/outbox/refused` shows them and why."
    )
    trouble: str = Field("", description="Why nothing can be saved now, in plain words; empty where it can.")


class Central(Response):
    """The connection to the central server."""

    url: str | None = Field(None, description="Its address; null where none is configured.")
    connected: bool = Field(False, description="Whether it answers now.")
    enrolled: bool = Field(False, description="Whether this gateway is enrolled there.")
    last_ack: Time | None = Field(None, description="When it last confirmed results.")
    last_error: str = Field("", description="What went wrong last, in plain words.")
    unwell: dict[str, str] = Field(
        default_factory=dict,
        description="The parts of the exchange that fail now (`results`, `wishes`, `reports`, `live`, `enrolment`) and "
        "why; each fails and recovers by itself.",
    )


class Status(Response):
    """Everything that the status page shows but tags and results."""

    gateway: Gateway = Field(description="The agent itself.")
    devices: list[Device] = Field(description="The devices.")
    flows: list[Flow] = Field(description="The flows.")
    outputs: list[Output] = Field(description="The outputs.")
    outbox: Outbox = Field(description="The queue of results.")
    central: Central = Field(description="The connection to the central server.")


class Flows(Response):
    """The flows of this gateway."""

    flows: list[Flow] = Field(description="The flows.")


class Outputs(Response):
    """The outputs of this gateway."""

    outputs: list[Output] = Field(description="The outputs.")


class Result(Response):
    """The newest result of one stream and key."""

    stream: str = Field(description="The kind of result: `oee`, `stop`, `energy`, `andon`, ...")
    key: str = Field(description="What it speaks of; a higher version of the same key restates it.")
    version: int = Field(description="Counts restatements.")
    flow: str = Field("", description="The flow that made it.")
    at: Time = Field(description="The source time it was made at.")
    begin: Time | None = Field(None, description="The begin of its period.")
    end: Time | None = Field(None, description="The end of its period.")
    status: Literal["live", "provisional", "final"] = Field(description="How final it is.")
    quality: QualityWord = Field(description="How far it can be trusted.")
    coverage: float | None = Field(None, description="The known share of its period, 0 to 1.")
    data: dict[str, Any] = Field(description="The result itself.")


class Results(Response):
    """The newest results."""

    results: list[Result] = Field(description="One per stream and key.")


class TagTable(Response):
    """Tags as columns of equal length."""

    names: list[str] = Field(description="`device/name`.")
    types: list[str] = Field(description="boolean, integer, number, text or bytes.")
    units: list[str | None] = Field(description="The unit of measure.")
    writable: list[bool] = Field(description="Whether it can be written.")
    about: list[str] = Field(description="What it is.")
    values: list[bool | int | float | str | None] = Field(
        description="The newest value; integers of 2^53 and more are text, bytes are hexadecimal."
    )
    qualities: list[QualityWord] = Field(description="How far it can be trusted.")
    times: list[Time | None] = Field(description="The source's time; null where it was never read.")
    reasons: list[str] = Field(description="Why it is not good, in plain words.")


class TagQuery(Strict):
    """Which tags."""

    device: str | None = Field(None, description="Only the tags of this device.")


class TagNow(Response):
    """One tag."""

    name: str = Field(description="`device/name`.")
    type: str = Field(description="boolean, integer, number, text or bytes.")
    unit: str | None = Field(None, description="The unit of measure.")
    writable: bool = Field(description="Whether it can be written.")
    value: bool | int | float | str | None = Field(description="The newest value.")
    quality: QualityWord = Field(description="How far it can be trusted.")
    time: Time | None = Field(None, description="The source's time; null where it was never read.")
    reason: str = Field("", description="Why it is not good, in plain words.")


_LEASE = r"^([1-9][0-9]{0,3} (ms|s)|([1-9][0-9]{0,2}|1[0-3][0-9]{2}|14[0-3][0-9]|1440) min|([1-9]|1[0-9]|2[0-4]) h)$"
"""Up to 24 h; shown to those who make requests from the description of the API."""


class WriteWish(Strict):
    """A manual write: a request of operator priority that ends by itself."""

    value: bool | int | float | str = Field(description="What to write, in the tag's unit.")
    lease: Duration = Field(
        default="10 min",
        validate_default=True,
        json_schema_extra={"pattern": _LEASE},
        description="How long it holds against the flows, as `10 min`; at most `24 h`. An element of an output is "
        "restored after a reconnect until then; any other tag is written once.",
    )
    reason: str = Field(min_length=1, max_length=200, description="Why; it is kept with the write.")

    @field_validator("value", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        if not isinstance(value, bool | int | float | str):
            raise ValueError("write true or false, a number or a text")
        return value


class Written(Response):
    """A manual write that was done."""

    tag: str = Field(description="The tag.")
    value: bool | int | float | str | None = Field(description="What was sent; the device has acknowledged it.")
    holds: bool | int | float | str | None = Field(None, description="What the device holds now, where that is known.")
    note: str = Field("", description="In what it differs from what was sent, or why it is not known; else empty.")
    at: Time = Field(description="When the device had it.")
    until: Time | None = Field(None, description="When the request ends by itself.")


class Press(Strict):
    """A call or acknowledge button pressed on a page."""

    by: str = Field("", max_length=80, description="Who presses it.")
    note: str = Field("", max_length=200, description="What the person adds.")


class Health(Response):
    """Whether the agent lives, or is ready."""

    ok: bool = Field(description="Whether it is.")
    problems: list[str] = Field(default_factory=list, description="What is missing, in plain words.")


# --- commissioning ------------------------------------------------------------------------------------


class ToolAbout(Response):
    """Something that can be done with a link while a machine is connected."""

    name: str = Field(description="Its name, as the command line has it too.")
    about: str = Field(description="What it does.")
    changes: bool = Field(False, description="Whether it may change something in the device.")
    options: dict[str, Any] = Field(default_factory=dict, description="JSON schema of its options.")


class LinkAbout(Response):
    """One connection of the gateway."""

    name: str = Field(description="The link's name.")
    driver: str = Field(description="The protocol spoken.")
    address: str = Field("", description="Where it leads.")
    state: Literal["good", "bad", "connecting"] = Field(description="How it is.")
    reason: str = Field("", description="Why it is not good, in plain words.")
    exclusive: bool = Field(False, description="Whether nobody else can open it while the agent has it.")
    devices: list[str] = Field(default_factory=list, description="The devices behind it.")
    tools: list[str] = Field(default_factory=list, description="The tools of its driver.")


class Links(Response):
    """The connections of the gateway."""

    links: list[LinkAbout] = Field(description="The links.")


class Drivers(Response):
    """The protocols that this gateway can speak."""

    drivers: list[str] = Field(description="Their names; ask for one to learn more.")


class DriverAbout(Response):
    """One protocol: what can be written for it, and what can be done with it."""

    name: str = Field(description="Its name.")
    about: str = Field(description="What it is.")
    link: dict[str, Any] = Field(description="JSON schema of a connection.")
    device: dict[str, Any] = Field(description="JSON schema of what is behind it.")
    point: dict[str, Any] = Field(description="JSON schema of one address.")
    tools: list[ToolAbout] = Field(default_factory=list, description="What can be done with a link.")


class TemplateAbout(Response):
    """One kind of device."""

    template: str = Field(description="Its name, `maker/model`.")
    driver: str = Field(description="The protocol spoken.")
    title: str = Field("", description="What it is.")
    fits: list[str] = Field(default_factory=list, description="The maker's models that it is for.")
    problem: str = Field("", description="Why its file cannot be used; empty where it can.")


class Templates(Response):
    """The kinds of devices that are known."""

    templates: list[TemplateAbout] = Field(description="Those of the site and those that are shipped.")


class TemplateQuery(Strict):
    """Which templates."""

    driver: str | None = Field(None, description="Only those of this driver; else of the drivers that are in use.")


class RawTags(Response):
    """The newest values of a device before scaling; they are kept while somebody asks."""

    device: str = Field(description="The device's name.")
    now: Time = Field(description="The agent's own time when this was written.")
    names: list[str] = Field(description="`device/name`.")
    raw: list[bool | int | float | str | None] = Field(description="What the device gave; bytes are hexadecimal.")


class ToolWish(Strict):
    """A tool to be run."""

    link: str | dict[str, Any] = Field(
        description="The link's name, or the settings of one that stands in no configuration."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="What the tool is told.")
    take: bool = Field(
        False,
        description="Whether the agent may give up a link that nobody else can open while it has it. The devices "
        "behind it are not read and not written meanwhile.",
    )


class BrowseWish(Strict):
    """A look at what there is behind a link."""

    link: str | dict[str, Any] = Field(
        description="The link's name, or the settings of one that stands in no configuration, with its `driver`."
    )
    path: str = Field("", description="Below what; empty for the root.")
    depth: int = Field(1, ge=1, le=20, description="How many levels.")
    timeout: Duration = Field(
        default="5 s", validate_default=True, description="How long one level may take; MQTT listens for so long."
    )


class CheckWish(Strict):
    """A device to be tried."""

    device: str = Field(description="The device's name.")
    reads: int = Field(5, ge=1, le=100, description="How many times every tag is read.")
    every: Duration = Field(
        default="1 s", validate_default=True, description="How long to wait from one reading to the next."
    )


class FindingLine(Response):
    """One line of what is found: a row, a sentence, how far it is, or how it ended. Each line is a JSON object."""

    kind: Literal["row", "note", "progress", "end", "error"] = Field(
        description="`row`, `note` and `progress` come as they are found; `end` or `error` is the last line."
    )
    cells: dict[str, Any] | None = Field(None, description="Of a row: its cells by column.")
    point: dict[str, Any] | None = Field(None, description="Of a row: keys that are ready for a configuration.")
    text: str = Field("", description="Of a note or an error: a sentence for a person.")
    done: int = Field(0, description="Of progress: how much is done.")
    total: int = Field(0, description="Of progress: of how much; 0 where nobody knows.")
    about: str = Field("", description="Of progress: what is done just now.")
