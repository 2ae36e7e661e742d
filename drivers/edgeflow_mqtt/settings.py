"""What a person writes about a broker, a device behind it, and its topics."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from edgeflow.model import Strict, ValueType
from edgeflow.units import NS_PER_S, Duration

TimeForm = Literal["rfc3339", "s", "ms"]

_STEPS = re.compile(r"(?:^|(?!^)\.)([^.\[\]]+)|\[(\d+)\]")


def steps(path: str) -> tuple[str | int, ...]:
    """A path like `motor.phases[0].current` as keys and indices; ValueError says how to write it."""
    found: list[str | int] = []
    end = 0
    for match in _STEPS.finditer(path):
        if match.start() != end:
            break
        found.append(match[1] if match[1] is not None else int(match[2]))
        end = match.end()
    if not path or end != len(path):
        raise ValueError(f"write a path like `motor.phases[0].current`, not {path!r}")
    return tuple(found)


def _path(text: str) -> str:
    steps(text)
    return text


def _keys(text: str) -> str:
    if not all(isinstance(step, str) for step in steps(text)):
        raise ValueError(f"write keys only, like `motor.setpoint`, not {text!r}")
    return text


def _name(text: str) -> str:
    if not text or len(text.encode()) > 65535 or "\0" in text or "+" in text or "#" in text:
        raise ValueError(f"write a topic without `+` and `#`, not {text!r}")
    return text


def _filter(text: str) -> str:
    levels = text.split("/")
    misplaced = any(len(level) > 1 and ("+" in level or "#" in level) for level in levels) or "#" in levels[:-1]
    if not text or len(text.encode()) > 65535 or "\0" in text or misplaced:
        raise ValueError(
            f"`+` stands for one whole level and `#` for all at the end, as in `hall/+/state`, not {text!r}"
        )
    if levels[0] == "$share":
        raise ValueError("a shared subscription would bring only a part of the messages; leave `$share/...` out")
    return text


def _whole_second(ns: int) -> int:
    if ns < NS_PER_S:
        raise ValueError("write at least `1 s`")
    return ns


class Link(Strict):
    """One connection to a broker."""

    host: str = Field(description="Name or address of the broker.", min_length=1)
    port: int = Field(default=1883, ge=1, le=65535, description="TCP port of the broker.")
    client_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=65535,
        description="Client identifier, different for every client of the broker; a new one for each connection where "
        "not given.",
    )
    keepalive: Annotated[Duration, AfterValidator(_whole_second)] = Field(
        default=10 * NS_PER_S,
        description="By when a broker that no longer answers is noticed, and told to the broker for the same purpose; "
        "it is asked twice in this time.",
    )
    version: Literal["3.1.1", "5"] = Field(default="3.1.1", description="Version of MQTT.")


class Device(Strict):
    """What the topics of one device have in common."""

    base: Annotated[str, AfterValidator(_name)] | None = Field(
        default=None, description="Put before every topic of the device, with a `/` between.", examples=["plant/oven"]
    )
    retained: Literal["uncertain", "good", "ignore"] = Field(
        default="uncertain",
        description="What a retained message is worth: the broker kept it, and nobody knows whether it still holds. "
        "`good` suits devices that publish only what changes; `ignore` waits for the device to speak.",
    )
    missing: Literal["bad", "keep"] = Field(
        default="bad",
        description="What it means when a JSON payload lacks a value: `bad`, or `keep` the one before, for devices "
        "that send only what has changed.",
    )


class Point(Strict):
    """One value in the messages of a topic, and how to set it."""

    topic: Annotated[str, AfterValidator(_filter)] | None = Field(
        default=None,
        description="Topic that brings the value; `+` and `#` are allowed, the latest message counts. May be left out "
        "where the value can only be set.",
    )
    path: Annotated[str, AfterValidator(_path)] | None = Field(
        default=None,
        description="Where the value stands in a JSON payload; without it the whole payload is the value.",
        examples=["temperature", "motor.phases[0].current"],
    )
    type: ValueType = Field(default="number", description="Type of the value; a payload that does not fit is BAD.")
    time: Annotated[str, AfterValidator(_path)] | None = Field(
        default=None,
        description="Where the device's own time stands in the same JSON payload; without it only ours is known.",
        examples=["ts"],
    )
    time_form: TimeForm = Field(
        default="rfc3339",
        description="How that time is written: RFC 3339 with UTC offset, or seconds or milliseconds since 1970 in UTC.",
    )
    set: Annotated[str, AfterValidator(_name)] | None = Field(
        default=None, description="Topic to publish to in order to set the value; without it the value is read-only."
    )
    set_path: Annotated[str, AfterValidator(_keys)] | None = Field(
        default=None,
        description="Where to put the value in a JSON payload when setting it; without it the payload is the value.",
        examples=["setpoint"],
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.topic is None and self.set is None:
            raise ValueError("write `topic`, or `set` for a value that can only be set")
        if self.set_path is not None and self.set is None:
            raise ValueError("`set_path` needs `set`, the topic to publish to")
        if self.type == "bytes" and (self.path is not None or self.set_path is not None):
            raise ValueError("JSON holds no bytes; leave `path` out or choose another type")
        return self
