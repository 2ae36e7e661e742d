"""The words the whole product shares: values, quality, samples in blocks, messages and records."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

Scalar = bool | int | float | str | bytes | None
"""What one tag can hold; `None` only together with a BAD quality."""

Value = Any
"""What travels on a wire: a Scalar, or a JSON-like object built of dicts, lists and Scalars."""

ValueType = Literal["boolean", "integer", "number", "text", "bytes"]
"""The declared type of a tag."""


class Quality(IntEnum):
    """How far a value can be trusted. Ordered: the worst of several is their maximum."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


GOOD, UNCERTAIN, BAD = Quality.GOOD, Quality.UNCERTAIN, Quality.BAD


class Strict(BaseModel):
    """The base of every configuration model: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)


def _beside(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    return path if folder is None else (folder / path).absolute()


LocalFile = Annotated[Path, AfterValidator(_beside)]
"""A file of this machine; relative to the configuration that names it."""


class Secret(Strict):
    """Where a secret is found; never the secret itself."""

    file: LocalFile | None = Field(default=None, description="File that holds it, relative to the configuration.")
    env: str | None = Field(default=None, description="Environment variable that holds it.")

    @field_validator("env")
    @classmethod
    def _variable(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(
                "write the name of an environment variable: letters, digits and `_`; not the secret itself"
            )
        return name

    @model_validator(mode="before")
    @classmethod
    def _by_reference(cls, given: Any) -> Any:
        if not isinstance(given, dict | Secret):
            raise ValueError("a secret is not written here: write `{file: name.secret}` or `{env: NAME_OF_A_VARIABLE}`")
        return given

    @model_validator(mode="after")
    def _one(self) -> Secret:
        if (self.file is None) == (self.env is None):
            raise ValueError("write either `{file: name.secret}` or `{env: NAME_OF_A_VARIABLE}`")
        return self

    def read(self, environment: Mapping[str, str] = os.environ) -> str | None:
        """The secret without the end of its line, or None where it is not there (yet)."""
        if self.file is None:
            return environment.get(self.env or "") or None
        try:
            return self.file.read_text("utf-8").rstrip("\r\n") or None
        except (OSError, UnicodeDecodeError):
            return None

    def __str__(self) -> str:
        return f"the file {self.file}" if self.file is not None else f"the environment variable {self.env}"


class Response(BaseModel):
    """The base of what is only answered, never read: built when it is first used, which keeps the start short."""

    model_config = ConfigDict(defer_build=True)


@dataclass(frozen=True, slots=True)
class Tag:
    """A named value of the plant, `device/name`."""

    name: str
    type: ValueType = "number"
    unit: str | None = None
    writable: bool = False
    about: str = ""

    @property
    def device(self) -> str:
        return self.name.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Sample:
    """The latest of one tag, with everything that travels to the end."""

    tag: str
    value: Scalar
    quality: Quality
    source_ns: int
    read_ns: int
    reason: str = ""


@dataclass(slots=True)
class Block:
    """The samples of one read of one device.

    `tags` is the same tuple object for every block of a reader, so plans can be kept per tuple.
    `faults` names only what is not GOOD: index of the tag -> (quality, reason in plain words).
    `late`: history that fills a gap; it goes to what keeps whole blocks and never changes what holds now.
    `holds`: nothing new; the source vouches for these values until `source_ns`, and their own times stay.
    Never changed after it was handed on; not `frozen` because one is built per poll.
    """

    device: str
    tags: tuple[str, ...]
    values: list[Scalar]
    source_ns: int
    read_ns: int
    faults: Mapping[int, tuple[Quality, str]] | None = None
    late: bool = False
    holds: bool = False

    def samples(self) -> list[Sample]:
        faults = self.faults or {}
        return [
            Sample(tag, value, *_split(faults.get(i)), self.source_ns, self.read_ns, _reason(faults.get(i)))
            for i, (tag, value) in enumerate(zip(self.tags, self.values, strict=True))
        ]


def _split(fault: tuple[Quality, str] | None) -> tuple[Quality]:
    return (fault[0] if fault else GOOD,)


def _reason(fault: tuple[Quality, str] | None) -> str:
    return fault[1] if fault else ""


@dataclass(slots=True)
class Message:
    """What travels on a wire: a value, how far to trust it, and the source time (UTC ns) it speaks of.

    Never changed after it was emitted; not `frozen` because one is built per hop.
    """

    value: Value
    quality: Quality
    at: int


@dataclass(frozen=True, slots=True)
class Record:
    """A result for the central server.

    `key` is stable: the same (stream, key) with a higher `version` restates the earlier one.
    Times are UTC nanoseconds; `begin`/`end` are the period it speaks of, where there is one.
    `coverage` is the known share of that period, 0..1.
    """

    stream: str
    key: str
    version: int
    at: int
    data: Mapping[str, Value]
    begin: int | None = None
    end: int | None = None
    place: str = ""
    flow: str = ""
    flow_version: str = ""
    quality: Quality = GOOD
    coverage: float | None = None
    status: Literal["live", "provisional", "final"] = "final"


Pattern = Mapping[str, Scalar]
"""What an output shall show: element -> level, e.g. {"red": "flash", "buzzer": "on"}.

Levels of a lamp's element: `off`, `on`, `flash`, `flash_fast`. An output for a number or text has the
one element `value`, whose level is what to write.
"""


@dataclass(frozen=True, slots=True)
class Request:
    """A wish for an output: a level, not an edge. It holds until released or its lease ends."""

    owner: str
    output: str
    pattern: Pattern
    priority: int
    since: int
    lease_end: int | None = None


CONNECTION_HEADERS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "content-encoding", "accept-encoding", "upgrade"}
    | {"te", "trailer", "expect", "keep-alive", "proxy-authorization", "proxy-connection", "idempotency-key"}
)
"""Headers that an HTTP call makes by itself; who chooses them could speak to another host than the one asked."""


@dataclass(frozen=True, slots=True)
class Call:
    """Something a flow asks of the shell: HTTP, MQTT publish, mail; answered later as an event.

    `id` doubles as the idempotency key. `fast` calls do not wait for the commit and are not kept
    across a restart; the reason must be given.
    """

    id: str
    flow: str
    node: str
    service: str
    request: Mapping[str, Value]
    at: int
    run: int
    fast: str = ""
    wants_answer: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a call. `ok` false means that `error` says why, in words for a person."""

    call: str
    ok: bool
    value: Value = None
    error: str = ""
    at: int = 0
    extra: Mapping[str, Value] = field(default_factory=dict)
