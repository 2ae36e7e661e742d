"""What a person writes about a broker and about a device behind it; its topics are in `point`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, WithJsonSchema, model_validator

from edgeflow.model import Strict
from edgeflow.mqtt.settings import Broker
from edgeflow.units import NS_PER_S, Duration
from edgeflow_mqtt.formats import Format
from edgeflow_mqtt.point import OnePath, Point, Topic, Word

Retained = Literal["uncertain", "good", "ignore"] | int
"""What a retained message is worth; a number: GOOD where its own time is at most so many ns ago."""

_DURATION: TypeAdapter[int] = TypeAdapter(Duration)


def _retained(value: Any) -> Any:
    if value in ("uncertain", "good", "ignore") or isinstance(value, int):
        return value
    try:
        return _DURATION.validate_python(value)
    except ValueError:
        raise ValueError(f"write `uncertain`, `good`, `ignore` or an age like `10 min`, not {value!r}") from None


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError(f"{name!r} is not a time zone; write one like `Europe/Berlin` or `UTC`") from None
    return name


def _whole_seconds(ns: int) -> int:
    if ns % NS_PER_S:
        raise ValueError("write whole seconds")
    return ns


def _part(name: str) -> str:
    if not name or any(c in name for c in "+/#\0"):
        raise ValueError(f"write it as it stands in the topics, without `/`, `+` and `#`, not {name!r}")
    return name


Part = Annotated[str, AfterValidator(_part)]
"""One level of a topic of Sparkplug."""


class Presence(Strict):
    """How others learn whether this gateway is connected; retained."""

    topic: Topic = Field(description="Topic to say it on.", examples=["gateways/hall2-line1/status"])
    online: str = Field(default="ON", description="What is published when we connect.")
    offline: str = Field(default="OFF", description="What the broker publishes when it loses us: our last will.")


class Link(Broker):
    """One connection to a broker."""

    session_expiry: Annotated[Duration, AfterValidator(_whole_seconds)] = Field(
        default=0,
        description="How long the broker keeps for us what arrives while we are away (QoS 1 and more). It comes as "
        "history where it carries its own time. MQTT 3.1.1 knows no time: the broker decides. `0 s` keeps nothing.",
    )
    will: Presence | None = Field(default=None, description="Tells others whether this gateway is connected.")
    sparkplug_host: Part | None = Field(
        default=None,
        description="The identifier under which edge nodes know us as their primary host application, where they wait "
        "for one: spBv1.0/STATE/... says that we are online.",
    )

    @model_validator(mode="after")
    def _one_will(self) -> Self:
        if self.will is not None and self.sparkplug_host is not None:
            raise ValueError("a connection has one last will; write `will` or `sparkplug_host`, or two links")
        return self


class Alive(Strict):
    """Where a device says that it is connected, and its last will that it is not."""

    topic: Topic = Field(description="Topic of the device's state and last will.", examples=["tele/plug/LWT"])
    path: OnePath | None = Field(
        default=None,
        description="Where it stands in a JSON payload; without it in `state`, `status`, `availability`, `available`, "
        "`online`, `connected` or `alive`, or it is the whole payload.",
    )
    online: Word | None = Field(
        default=None,
        description="What the device says when it is there. By default `online`, `on`, `true`, `1`, `connected`, "
        "`available`, `alive`, `up` or `yes`, in capitals or not.",
    )
    offline: Word | None = Field(
        default=None,
        description="What its last will says: all its tags are BAD at once. By default `offline`, `off`, `false`, `0`, "
        "`disconnected`, `unavailable`, `dead`, `lost`, `down` or `no`.",
    )


class Sparkplug(Strict):
    """Which edge node of a Sparkplug B namespace, and which device of it."""

    group: Part = Field(description="The group id.")
    node: Part = Field(description="The edge node id.")
    device: Part | None = Field(default=None, description="The device id; without it the metrics of the node itself.")


class Device(Strict):
    """What the topics of one device have in common."""

    base: Topic | None = Field(
        default=None, description="Put before every topic of the device, with a `/` between.", examples=["plant/oven"]
    )
    retained: Annotated[
        Retained, BeforeValidator(_retained), WithJsonSchema({"type": "string", "examples": ["uncertain", "10 min"]})
    ] = Field(
        default="uncertain",
        description="What a retained message is worth: the broker kept it, and nobody knows whether it still holds. "
        "`good` suits devices that publish only what changes; `ignore` waits for the device to speak; an age like "
        "`10 min` takes it as good where its own time says that it is not older.",
    )
    format: Format = Field(
        default="json",
        description="How payloads with parts are written, for `path`: `json`; `pairs` for `a=1;b=2`; `csv` for a line "
        "with `,`, `;` or tabs, whose fields are `[0]`, `[1]`, ...; `line_protocol` of InfluxDB: `fields.temp`, "
        "`tags.room`, `measurement`, `time`.",
    )
    missing: Literal["bad", "keep"] = Field(
        default="bad",
        description="What it means when a JSON payload lacks a value: `bad`, or `keep` the one before, for devices "
        "that send only what has changed.",
    )
    time_zone: Annotated[str, AfterValidator(_zone)] | None = Field(
        default=None, description="Time zone of the device's clock, where it writes times without a UTC offset."
    )
    alive: Alive | None = Field(
        default=None, description="Where the device's last will is heard; then its tags are BAD at once."
    )
    sparkplug: Sparkplug | None = Field(
        default=None, description="The device speaks Sparkplug B; its tags name a `metric` instead of a topic."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.sparkplug is not None and (self.base is not None or self.alive is not None):
            raise ValueError("Sparkplug has its own topics and its own deaths; remove `base` and `alive`")
        return self


def unfit(device: Device, point: Point) -> str:
    """Why such a device cannot have such a point; "" where it can."""
    if point.metric is None and device.sparkplug is not None:
        return "needs a `metric` instead of a topic, since the device speaks Sparkplug"
    if point.metric is not None and device.sparkplug is None:
        return "a `metric` is of Sparkplug; write `sparkplug: {group: ..., node: ...}` at the device"
    return ""


def commands(device: Device, point: Point) -> list[str]:
    """Under which topics a point is set, as `mqtt:TOPIC`: a flow may not do it by publishing there."""
    base = f"{device.base}/" if device.base else ""
    found = [] if point.set is None else [f"mqtt:{base}{point.set}"]
    if point.metric is not None and (to := device.sparkplug) is not None:
        found.append(f"mqtt:spBv1.0/{to.group}/NCMD/{to.node}")
        if to.device is not None:
            found.append(f"mqtt:spBv1.0/{to.group}/DCMD/{to.node}/{to.device}")
    return found
