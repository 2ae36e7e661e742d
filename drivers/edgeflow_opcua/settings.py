"""What a person writes about an OPC UA server and its nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from edgeflow.model import LocalFile, Secret, Strict, ValueType
from edgeflow.units import NS_PER_S, Duration

DEFAULT_PORT = 4840
NODE = re.compile(
    r"(?:ns=\d+;|nsu=[^;]+;)?"
    r"(?:i=\d+|s=.+|b=[A-Za-z0-9+/]+=*|g=[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})",
    re.DOTALL,
)
STEP = re.compile(r"/(?:(\d+):|nsu=([^;]+);)?((?:&.|[^/&])+)", re.DOTALL)
"""One step of a path: the namespace by number or URI, and the browse name; `&` before a `/` or `&` of its own."""
_PATH = re.compile(rf"(?:{STEP.pattern})+", re.DOTALL)
_PART = re.compile(r"[^.\[\]]+(?:\[\d+\])*(?:\.[^.\[\]]+(?:\[\d+\])*)*")
_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        known = parts.scheme == "opc.tcp" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise ValueError(f"write the address like `opc.tcp://10.0.0.7:{DEFAULT_PORT}`, not {text!r}")
    if "@" in parts.netloc:
        raise ValueError("leave user name and password out of the address; write them as `user` and `password`")
    return text


def _node(text: str) -> str:
    if not NODE.fullmatch(text):
        raise ValueError(
            f"write a node like `ns=2;s=Filler.Good`, `nsu=urn:maker:machine;s=Filler.Good` or `i=2258`, not {text!r}"
        )
    return text


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError(f"write a path like `/Objects/2:Filler/2:State`, not {text!r}")
    return text


def _place(text: str) -> str:
    return _path(text) if text.startswith("/") else _node(text)


def _part(text: str) -> str:
    if not _PART.fullmatch(text):
        raise ValueError(f"write a field like `Position.X` or `Axes[2].Speed`, not {text!r}")
    return text


def _deadband(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    percent = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if not number and not (percent and float(percent[1]) <= 100):
        raise ValueError(
            f"write a deadband like `0.5` (in the unit of the raw value) or `2 %` (of its EURange), not {value!r}"
        )
    return value


def _not_zero(ns: int) -> int:
    if ns < NS_PER_S // 1000:
        raise ValueError("write at least `1 ms`")
    return ns


def _word(*words: str) -> BeforeValidator:
    """Takes a word of OPC UA however a server's own pages spell it: `Aes128-Sha256-RsaOaep`, `Sign & Encrypt`."""

    def plain(text: str) -> str:
        return re.sub(r"and|[^a-z0-9]", "", text.lower())

    known = {plain(word): word for word in words}
    return BeforeValidator(lambda text: known.get(plain(text), text) if isinstance(text, str) else text)


Url = Annotated[str, AfterValidator(_url)]
Policy = Literal["auto", "none", "Aes256_Sha256_RsaPss", "Basic256Sha256", "Aes128_Sha256_RsaOaep"]
Mode = Literal["Sign", "SignAndEncrypt"]


class Link(Strict):
    """One connection (secure channel and session) to an OPC UA server, or to one of a redundant set."""

    url: Url | None = Field(
        default=None,
        description="Address of the server's endpoint, for example opc.tcp://10.0.0.7:4840; without a port it is 4840.",
    )
    urls: tuple[Url, ...] = Field(
        default=(),
        description="In place of `url` for redundant servers: their addresses, the preferred one first. One at a time "
        "is used; another takes over when it is lost, or when its service level is below 200 and another's is higher.",
    )
    security: Annotated[Policy, _word(*get_args(Policy))] = Field(
        default="auto",
        description="Security policy. `auto` is the strongest that the server offers and never none; `none`, which "
        "everybody on the network can read and change, is used only where it is written.",
    )
    mode: Annotated[Mode, _word(*get_args(Mode))] | None = Field(
        default=None,
        description="Whether what is sent is signed, or signed and encrypted. Default: encrypted; with `security: "
        "auto` also signed only, where the server offers no more.",
    )
    user: str | None = Field(default=None, min_length=1, description="User name; anonymous where there is none.")
    password: Secret | None = Field(
        default=None, description="Where the user's password is found: `{file: filler.password}` or `{env: NAME}`."
    )
    password_in_clear: bool = Field(
        default=False, description="Allows sending the password unencrypted, where the server has it in no other way."
    )
    user_certificate: LocalFile | None = Field(
        default=None, description="File (PEM or DER) with a certificate that the user is known by, in place of `user`."
    )
    user_key: LocalFile | None = Field(
        default=None, description="File (PEM or DER) with the private key of that certificate."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.url is None) == (not self.urls):
            raise ValueError(f"write either `url: opc.tcp://10.0.0.7:{DEFAULT_PORT}` or `urls: [...]` with several")
        if len(set(self.urls)) != len(self.urls):
            raise ValueError("`urls` holds an address twice")
        if self.security == "none" and self.mode is not None:
            raise ValueError(f"`mode: {self.mode}` needs a `security` other than none; leave one of them out")
        if self.password is not None and self.user is None:
            raise ValueError("`password` needs a `user`")
        if self.password_in_clear and self.password is None:
            raise ValueError("`password_in_clear` needs a `password`")
        if (self.user_certificate is None) != (self.user_key is None):
            raise ValueError("`user_certificate` and `user_key` belong together")
        if self.user is not None and self.user_certificate is not None:
            raise ValueError("write either `user` or `user_certificate`")
        return self

    @property
    def where(self) -> str:
        """The preferred server."""
        return self.addresses[0]

    @property
    def addresses(self) -> tuple[str, ...]:
        """The servers, the preferred one first."""
        return self.urls or ((self.url,) if self.url else ())

    @property
    def wanted_mode(self) -> Mode | None:
        """The mode to insist on; None where the server's strongest is taken."""
        return self.mode or (None if self.security == "auto" else "SignAndEncrypt")


def _patience(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(
            "what is written is read back anyway where it can be; write how long that may take, for example `3 s`, or "
            "`read: false` where it cannot be read"
        )
    return value


def _call(value: Any, take: ValidatorFunctionWrapHandler) -> Any:
    try:
        return take(value)
    except ValidationError:
        raise ValueError(
            "write `written` (the outputs of what a tag of this method was called with), `connect`, or how often it is "
            f"called, for example `5 s`, not {value!r}"
        ) from None


Time = Literal["source", "server", "arrival"]
Epoch = Literal["s", "ms", "us", "ns"]
Patience = Annotated[Duration, BeforeValidator(_patience)]
Interval = Annotated[Duration, AfterValidator(_not_zero)]
Queue = Annotated[int, Field(ge=1, le=100_000)]
Deadband = Annotated[float | str, BeforeValidator(_deadband)]
Place = Annotated[str, AfterValidator(_place)]
Call = Annotated[Literal["written", "connect"] | Interval, WrapValidator(_call)]
Plain = bool | int | float | str


class Device(Strict):
    """How the values of one device are had."""

    mode: Literal["subscribe", "poll"] = Field(
        default="subscribe",
        description="`subscribe`: the server pushes what changes; what it does not let us subscribe to is polled. "
        "`poll`: everything is read, every `sampling_interval`.",
    )
    heartbeat: Interval = Field(
        default=NS_PER_S,
        description="How often the server is asked for its time and state. Without an answer for twice as long the "
        "connection is given up. It is never slower than a third of the session time-out the server grants.",
    )
    publishing_interval: Interval = Field(
        default=NS_PER_S // 2,
        description="How often the server sends what has changed; the server may choose a longer one.",
    )
    sampling_interval: Interval | None = Field(
        default=None,
        description="How often the server looks at each value (or how often we read it, where it is polled); as often "
        "as it publishes where not given.",
    )
    queue: Queue = Field(
        default=10,
        description="How many values of each variable the server keeps while they cannot be sent. It looks once per "
        "sampling interval, so there is one at a time unless we are late or it looks more often than it publishes. "
        "A value before which some did not fit is UNCERTAIN; with 1 the newest counts, and nobody is told.",
    )
    deadband: Deadband | None = Field(
        default=None,
        description="Only changes larger than this are sent, for the numbers among the tags: `0.5`, in the unit of the "
        "raw value, or `2 %` of the variable's EURange. A server that cannot do it sends every change.",
    )
    time: Time = Field(
        default="source",
        description="Which time a value has: `source` is that of its source, else the server's; `server` that of the "
        "server, for sources whose time stamps are wrong or never move; `arrival` is ours, where both are wrong.",
    )
    history: bool = Field(
        default=False,
        description="After an outage the values of the gap are read from the server's own history, where it keeps one; "
        "at most one day back. They go to what records, not to what acts.",
    )
    verify: Patience | None = Field(
        default=None, description="How long it may take until it shows what was written and acknowledged. Default: 2 s."
    )


class Point(Strict):
    """One thing of the server: a variable (or a part of one), a method, its events, or a condition (an alarm)."""

    node: Annotated[str, AfterValidator(_node)] | None = Field(
        default=None,
        description="NodeId of the variable: `ns=2;s=Filler.Good`, or `nsu=<namespace URI>;s=Filler.Good`, which also "
        "holds after the server has numbered its namespaces anew.",
        examples=["ns=2;s=Filler.Good", "nsu=urn:edgeflow:plant:filler;s=Filler.Good"],
    )
    path: Annotated[str, AfterValidator(_path)] | None = Field(
        default=None,
        description="The way to the variable by browse names, from the root or, where there is one, from `node`. A "
        "name has the namespace before it, by number (`2:`) or URI (`nsu=<URI>;`); those of the standard have none.",
        examples=["/Objects/2:Filler/2:State", "/Objects/nsu=urn:edgeflow:plant:filler;Filler"],
    )
    type: ValueType = Field(
        default="number",
        description="Type of the value here; what cannot be shown in this type without loss is BAD. `text` shows an "
        "enumeration by its name, a time as ISO 8601, and a whole array or structure as JSON. Events are text, "
        "methods boolean, and the fields of a condition of their own type where it is not given.",
    )
    index: Annotated[int, Field(ge=0)] | tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        default=None,
        description="Which element of an array, counted from 0; `[1, 0]` for one with two dimensions.",
        examples=[3],
    )
    field: Annotated[str, AfterValidator(_part)] | None = Field(
        default=None,
        description="Which part of a structure: `Position.X`, `Axes[2].Speed`. Of a condition: active, acked, "
        "confirmed, severity, message, comment, source or time; active where not given.",
        examples=["Position.X"],
    )
    deadband: Deadband | None = Field(
        default=None, description="As at the device, for this variable. `0` asks for every change."
    )
    sampling_interval: Interval | None = Field(
        default=None, description="As at the device, for this variable. `publishing_interval` stays the device's."
    )
    queue: Queue | None = Field(
        default=None, description="As at the device, for this variable. For events it is 1000 where not given."
    )
    time: Time | None = Field(default=None, description="As at the device, for this variable.")
    history: bool | None = Field(default=None, description="As at the device, for this variable.")
    epoch: Epoch | None = Field(
        default=None,
        description="Of a time: how many of these it is since 1970-01-01 UTC, as a number; with `type: integer` whole "
        "ones. `ns` needs `type: integer`. Without it a time is a text (ISO 8601).",
    )
    verify: Patience | None = Field(
        default=None,
        description="How long it may take until what was written is shown; as the device's where not given.",
    )
    object: Place | None = Field(
        default=None,
        description="With `method`: the object (NodeId or path) whose method it is.",
        examples=["ns=2;s=Filler"],
    )
    method: Place | None = Field(
        default=None,
        description="A method (NodeId or path) that is called by writing the tag: `true` calls one without arguments, "
        "a value is the one argument, and a JSON array in a text the several. The tag shows what was last written.",
        examples=["ns=2;s=Filler.Reset"],
    )
    output: Annotated[int, Field(ge=0)] | str | None = Field(
        default=None,
        description="With `method`: the tag shows what the method gives, this one of its output arguments: by name, or "
        "counted from 0. It is not written; `index` and `field` take a part of it.",
        examples=["weight", 0],
    )
    call: Call = Field(
        default="written",
        description="With `output`, when the method is called: `connect`: once on each connection; `5 s`: so often; "
        "`written`: not for this tag, which shows what came of the last call by writing another tag of the method.",
        examples=["connect", "5 s"],
    )
    arguments: tuple[Plain | tuple[Plain, ...], ...] = Field(
        default=(),
        description="With `call: connect` or an interval: what the method is called with. One call serves all tags of "
        "the device with the same method and arguments; the shortest interval counts.",
        examples=[[1, "A4"]],
    )
    events: Place | None = Field(
        default=None,
        description="A node (NodeId or path) whose events are wanted; `i=2253`, the server itself, has them all. Each "
        "is one JSON text of its `fields` and its EventId; `{}` until one comes.",
        examples=["i=2253"],
    )
    fields: tuple[str, ...] = Field(
        default=("Time", "SourceName", "Severity", "Message"),
        description="Which fields of an event the text holds, by browse name: `ActiveState/Id`, `2:Batch`.",
    )
    severity: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0, description="Only events at least as severe as this, 1 to 1000."
    )
    condition: Place | None = Field(
        default=None,
        description="A condition or alarm, or the source whose conditions are meant (NodeId or path): active where one "
        "of them is, acked where all are. Its `acked`, written `true`, acknowledges it; so does a text written to "
        "`comment`, with that comment; `confirmed` confirms.",
        examples=["ns=2;s=Filler.LevelAlarm"],
    )

    @model_validator(mode="before")
    @classmethod
    def _own_type(cls, data: Any) -> Any:
        """Events, methods and conditions have types of their own."""
        if not isinstance(data, dict) or "type" in data:
            return data
        if "events" in data:
            return data | {"type": "text"}
        if "method" in data:
            return data if "output" in data else data | {"type": "boolean"}
        if "condition" in data:
            return data | {"type": CONDITION_FIELDS.get(str(data.get("field", "active")), "text")}
        return data

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        things = [name for name in ("method", "events", "condition") if getattr(self, name) is not None]
        if self.node is not None or self.path is not None:
            things.insert(0, "node or path")
        if len(things) != 1:
            said = f"not {' and '.join(things)}" if things else "to say what the tag is"
            raise ValueError(f"write one of `node`, `path`, `method`, `events` or `condition`, {said}")
        (thing,) = things
        if (self.object is None) == (thing == "method"):
            raise ValueError("write `object` and `method` together: the object, and its method")
        for name in self.model_fields_set & _BELONGS.keys():
            if thing not in _BELONGS[name]:
                raise ValueError(f"`{name}` belongs to {' or '.join(_BELONGS[name])}, not to {thing}")
        if thing == "condition" and (self.field or "active") not in CONDITION_FIELDS:
            raise ValueError(f"a condition has the fields {', '.join(CONDITION_FIELDS)}; not {self.field!r}")
        if self.output is None and (extra := sorted(self.model_fields_set & _OF_OUTPUTS)) and thing == "method":
            raise ValueError(f"`{extra[0]}` of a method needs an `output`")
        if "arguments" in self.model_fields_set and self.call == "written":
            raise ValueError("`arguments` need `call: connect` or `call: 5 s`; else what is written are the arguments")
        if self.deadband is not None and self.type not in ("number", "integer"):
            raise ValueError("only numbers have a deadband")
        if self.epoch is not None and self.type not in (("integer",) if self.epoch == "ns" else ("number", "integer")):
            raise ValueError(f"`epoch: {self.epoch}` needs `type: integer`{'' if self.epoch == 'ns' else ' or number'}")
        return self

    @property
    def place(self) -> tuple[str | None, str | None]:
        """Where its node is: a NodeId, and a path from there. Of a method: where the method is."""
        other = self.method or self.events or self.condition
        return (self.node, self.path) if other is None else placed(other)

    @property
    def is_variable(self) -> bool:
        """Whether it is a variable, or a part of one; else a method, events or a condition."""
        return self.method is None and self.events is None and self.condition is None

    def __str__(self) -> str:
        where = self.method or self.events or self.condition or f"{self.node or ''}{self.path or ''}"
        index = "" if self.index is None else str([self.index] if isinstance(self.index, int) else list(self.index))
        output = "" if self.output is None else f" output {self.output}"
        return f"{where}{output}{index}{f' {self.field}' if self.field else ''}"


CONDITION_FIELDS: Mapping[str, ValueType] = {
    "active": "boolean", "acked": "boolean", "confirmed": "boolean", "severity": "integer", "message": "text",
    "comment": "text", "source": "text", "time": "text",
}  # fmt: skip
_WRITTEN_FIELDS = ("acked", "confirmed", "comment")
_VARIABLE = ("node or path",)
_OF_OUTPUTS = frozenset({"index", "field", "epoch", "call", "arguments"})
_BELONGS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("deadband", "sampling_interval", "time", "history"), _VARIABLE),
    **dict.fromkeys(("index", "epoch"), (*_VARIABLE, "method")), "field": (*_VARIABLE, "method", "condition"),
    **dict.fromkeys(("output", "call", "arguments"), ("method",)), "verify": (*_VARIABLE, "condition"),
    "queue": (*_VARIABLE, "events"), "fields": ("events",), "severity": ("events",),
}  # fmt: skip


def placed(text: str) -> tuple[str | None, str | None]:
    """A NodeId or a path as a place."""
    return (None, text) if text.startswith("/") else (text, None)


def writable(point: Point) -> bool:
    """Whether a point can be written at all: not events, outputs, parts of structures, all fields of a condition."""
    if point.condition is not None:
        return point.field in _WRITTEN_FIELDS
    return point.events is None and point.field is None and point.output is None
