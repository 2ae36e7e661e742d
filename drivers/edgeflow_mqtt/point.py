"""What a person writes about one value: where it stands in the messages, and how to set it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from edgeflow.model import Strict, ValueType
from edgeflow_mqtt.path import Every, steps

TimeForm = Literal["auto", "rfc3339", "s", "ms", "us", "ns"]
Encoding = Literal["base64", "hex"]
Kind = Literal[
    "boolean", "integer", "number", "text", "bytes",
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64",
]  # fmt: skip

WIDTHS: Mapping[str, int] = {
    "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8,
    "float32": 4, "float64": 8,
}  # fmt: skip
"""The types of binary payloads, and how many bytes each takes."""

VALUE = "{value}"
"""Stands for the value in the payload that sets it."""

_SPAN = re.compile(r"(\d{1,6})(?:\s*-\s*(\d{1,6}))?")
_PLACE = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def places(topic: str) -> dict[str, int]:
    """The named levels of a topic like `hall/{line}/state`, and which level each is."""
    levels = enumerate(topic.split("/"))
    return {match[1]: i for i, level in levels if (match := _PLACE.fullmatch(level))}


def filter_of(topic: str) -> str:
    """The filter to subscribe to: a named level stands for any, as `+` does."""
    return "/".join("+" if _PLACE.fullmatch(level) else level for level in topic.split("/"))


def _path(text: str) -> str:
    steps(text)
    return text


def _one_path(text: str) -> str:
    if Every.ELEMENT in steps(text):
        raise ValueError(f"`[*]` stands where every element is a sample of its own, not in {text!r}")
    return text


def _keys(text: str) -> str:
    if not all(isinstance(step, str) for step in steps(text)):
        raise ValueError(f"write keys only, like `motor.setpoint`, not {text!r}")
    return text


def _topic(text: str) -> str:
    if not text or len(text.encode()) > 65535 or "\0" in text or "+" in text or "#" in text:
        raise ValueError(f"write a topic without `+` and `#`, not {text!r}")
    return text


def check_filter(text: str) -> str:
    """A topic filter as it is; ValueError says how to write one."""
    levels = text.split("/")
    misplaced = any(len(level) > 1 and ("+" in level or "#" in level) for level in levels) or "#" in levels[:-1]
    if not text or len(text.encode()) > 65535 or "\0" in text or misplaced:
        raise ValueError(
            f"`+` stands for one whole level and `#` for all at the end, as in `hall/+/state`, not {text!r}"
        )
    if levels[0] == "$share":
        raise ValueError("a shared subscription would bring only a part of the messages; leave `$share/...` out")
    return text


def _span(value: Any) -> Any:
    match = _SPAN.fullmatch(str(value).strip()) if isinstance(value, str | int) else None
    if match is None:
        raise ValueError(f"write the bytes counted from 0, like `4-7` or `4`, not {value!r}")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise ValueError(f"write the first byte before the last, as `{last}-{first}`, not {value!r}")
    return first, last


def _suffixes(value: Any) -> Any:
    given = {value: 1.0} if isinstance(value, str) else value
    if isinstance(given, dict) and any(isinstance(key, str) and not key.strip() for key in given):
        raise ValueError("write what stands behind the number, like `°C`")
    return given


def _word(value: Any) -> Any:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


Path = Annotated[str, AfterValidator(_path)]
"""Keys and places in a payload; `[*]` for every element as a sample of its own."""
OnePath = Annotated[str, AfterValidator(_one_path)]
"""The same, to one place."""
Topic = Annotated[str, AfterValidator(_topic)]
"""A topic without wildcards."""
Word = Annotated[str, BeforeValidator(_word)]
"""A value as the device writes it, quoted or not."""
Words = dict[str, Word]


class Judgement(Strict):
    """How far the device itself trusts the value, as its payload says."""

    path: Path = Field(description="Where it stands in the same JSON payload.")
    good: tuple[Word, ...] = Field(min_length=1, description="What means GOOD, for example `[ok, 0]`.")
    uncertain: tuple[Word, ...] = Field(default=(), description="What means UNCERTAIN; everything else is BAD.")


class Point(Strict):
    """One value in the messages of a topic, and how to set it; or one metric of Sparkplug."""

    topic: Annotated[str, AfterValidator(check_filter)] | None = Field(
        default=None,
        description="Topic that brings the value. `+` and `#` are allowed, the latest message counts; `{name}` stands "
        "for one level, as `+` does. May be left out where the value can only be set.",
        examples=["hall/{line}/state"],
    )
    path: Path | None = Field(
        default=None,
        description="Where the value stands in a JSON payload, or in a metric of Sparkplug that has parts; without it "
        "the whole is the value. `list[id=A12].v` is that of the element in which `id` is A12, `list[*].v` that of "
        'every element as a sample of its own; a key with a dot stands in quotes: `"1.7.0".value`.',
        examples=["temperature", "motor.phases[0].current", "values[id=PLC.Temp].v"],
    )
    type: Kind = Field(
        default="number",
        description="Type of the value; a payload that does not fit is BAD. The types with a width are of binary "
        "payloads and go with `bytes`.",
    )
    pick: str | None = Field(
        default=None, description="The value is this named level of the topic instead of something in the payload."
    )
    where: dict[Path, bool | int | float | str] = Field(
        default_factory=dict,
        description="Only messages count in whose JSON payload these values stand at these paths, for example "
        "`{id: A12}`.",
    )
    encoding: Encoding | None = Field(
        default=None, description="How bytes are written where the payload, or what `path` leads to, is text."
    )
    bytes: (
        Annotated[tuple[int, int], BeforeValidator(_span), WithJsonSchema({"type": ["string", "integer"]})] | None
    ) = Field(
        default=None,
        description="Which bytes of a binary payload are the value, counted from 0: `4-7`.",
        examples=["4-7"],
    )
    byte_order: Literal["big", "little"] = Field(
        default="big", description="Which byte comes first in a binary payload: the big (most significant) or little."
    )
    bit: int | None = Field(
        default=None, ge=0, le=63, description="Which bit of these bytes is the value, 0 is the least significant."
    )
    words: Words = Field(
        default_factory=dict,
        description="The device's words for values, in both directions: `{true: ON, false: OFF}`, `{0: stop, 1: run}`.",
    )
    quality: Judgement | None = Field(default=None, description="How far the device itself trusts the value.")
    decimal: Literal["point", "comma"] = Field(
        default="point", description="What separates the fraction of a number that is written as text."
    )
    suffix: Annotated[
        Mapping[str, float], BeforeValidator(_suffixes), WithJsonSchema({"type": ["string", "object"]})
    ] = Field(
        default_factory=dict,
        description="What stands behind a number that is written as text: `°C`; where it changes, each with what to "
        "multiply by: `{W: 1, kW: 1000}`. Something else behind it makes the value BAD.",
    )
    time: Path | None = Field(
        default=None,
        description="Where the device's own time stands in the same JSON payload; without it only ours is known.",
        examples=["ts"],
    )
    time_form: TimeForm = Field(
        default="auto",
        description="How that time is written. `auto` takes s, ms, us or ns since 1970 in UTC by how large the number "
        "is, and RFC 3339 (with a UTC offset, or in the device's `time_zone`); a number may stand in a text.",
    )
    set: Topic | None = Field(
        default=None, description="Topic to publish to in order to set the value; without it the value is read-only."
    )
    set_path: Annotated[str, AfterValidator(_keys)] | None = Field(
        default=None,
        description="Where to put the value in a JSON payload when setting it; without it the payload is the value.",
        examples=["setpoint"],
    )
    payload: str | dict[str, Any] | list[Any] | None = Field(
        default=None,
        description="What is published to set the value, as text or as JSON; `{value}` in it stands for the value.",
        examples=["T={value}", {"seg": [{"bri": "{value}"}]}],
    )
    qos: Literal[0, 1, 2] = Field(
        default=1, description="Quality of service of what is published: 0 may be lost, 1 arrives, 2 arrives once."
    )
    retain: bool = Field(
        default=False, description="Whether the broker keeps what is published for who subscribes later."
    )
    metric: str | None = Field(
        default=None, min_length=1, description="The metric of a Sparkplug device, as its birth names it."
    )

    @property
    def value_type(self) -> ValueType:
        """The type of the tag."""
        kind = self.type
        if kind in WIDTHS:
            return "number" if kind.startswith("float") else "integer"
        return kind  # type: ignore[return-value]  # what has no width is a type of a tag

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.metric is not None:
            self._fits_sparkplug()
        elif self.topic is None and self.set is None:
            raise ValueError("write `topic`, or `set` for a value that can only be set, or `metric` for Sparkplug")
        for key in ("set_path", "payload"):
            if getattr(self, key) is not None and self.set is None:
                raise ValueError(f"`{key}` needs `set`, the topic to publish to")
        if self.set_path is not None and self.payload is not None:
            raise ValueError("write `set_path` or `payload`, not both")
        if self.pick is not None:
            self._fits_pick()
        self._fits_bytes()
        self._fits_samples()
        if (self.suffix or self.decimal == "comma") and self.type not in ("number", "integer"):
            raise ValueError("`suffix` and `decimal` are for number and integer")
        if self.words and self.type not in ("boolean", "integer", "number", "text"):
            raise ValueError("`words` are for boolean, integer, number and text")
        if len(frozenset(self.words.values())) < len(self.words):
            raise ValueError("every value needs a word of its own in `words`")
        return self

    def _fits_sparkplug(self) -> None:
        own = {"metric", "type", "path"}
        strange = sorted(self.model_fields_set & (Point.model_fields.keys() - own))
        if strange:
            raise ValueError(f"a `metric` has its place, time and quality from Sparkplug; remove {', '.join(strange)}")
        if self.type in WIDTHS:
            raise ValueError(f"write `type: {self.value_type}`; the width is in the birth of the device")

    def _fits_pick(self) -> None:
        if self.topic is None or self.pick not in places(self.topic):
            raise ValueError(f"`pick: {self.pick}` needs a level `{{{self.pick}}}` in `topic`")
        if self.path is not None or self.bytes is not None or self.encoding is not None:
            raise ValueError("`pick` takes the value from the topic; remove `path`, `bytes` and `encoding`")

    def _fits_samples(self) -> None:
        """Whether `[*]` can be followed: what is looked for in each element needs elements that the value has too."""
        several = self.path is not None and Every.ELEMENT in steps(self.path)
        others = [path for path in (self.time, self.quality and self.quality.path, *self.where) if path]
        if several and self.metric is not None:
            raise ValueError("`[*]` is for samples in a JSON payload; a metric has one value")
        if not several and any(Every.ELEMENT in steps(path) for path in others):
            raise ValueError("`[*]` must stand in `path` too, as in `path: samples[*].v` with `time: samples[*].t`")

    def _fits_bytes(self) -> None:
        width = WIDTHS.get(self.type)
        if self.bytes is None:
            if width is not None:
                raise ValueError(f"`type: {self.type}` needs `bytes`, for example `bytes: 0-{width - 1}`")
            if self.bit is not None:
                raise ValueError("`bit` needs `bytes`, for example `bytes: 0`")
            if self.encoding is not None and self.type != "bytes":
                raise ValueError("`encoding` gives bytes; write `bytes` and a type with a width, or `type: bytes`")
            if self.type == "bytes" and self.encoding is None and self.path is not None:
                raise ValueError("JSON holds no bytes; write their `encoding`, leave `path` out or take another type")
        else:
            self._fits_span(self.bytes[1] - self.bytes[0] + 1, width)
        if self.type == "bytes" and (self.set_path is not None or self.payload is not None):
            raise ValueError("JSON and text hold no bytes; leave `set_path` and `payload` out or take another type")

    def _fits_span(self, length: int, width: int | None) -> None:
        if self.path is not None and self.encoding is None:
            raise ValueError("JSON holds no bytes; write their `encoding`, base64 or hex")
        if self.type == "number":
            raise ValueError("write how the number is stored, for example `type: float32` or `type: uint16`")
        if width is not None and length != width:
            first = self.bytes[0] if self.bytes else 0
            raise ValueError(f"a {self.type} takes {width} bytes; write `bytes: {first}-{first + width - 1}`")
        if self.type in ("integer", "boolean") and length > 8:
            raise ValueError(f"`type: {self.type}` takes at most 8 bytes")
        if self.bit is not None and (self.type != "boolean" or self.bit >= 8 * length):
            raise ValueError(f"`bit` needs `type: boolean` and must be below {8 * length} here")
