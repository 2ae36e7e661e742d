"""`mqtt_publish`: sends what comes in to an MQTT topic."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeflow.clock import utc_text
from edgeflow.node import Effects, Inputs, Node, Port, ReachField, Settings


class Config(Settings):
    """Where to publish, and how surely."""

    topic: str = ReachField("mqtt", min_length=1, pattern=r"^[^+#]+$", description="The topic, without wildcards.")
    qos: Literal[0, 1, 2] = Field(default=0, description="MQTT's quality of service.")
    retain: bool = Field(default=False, description="Whether the broker keeps it for those who subscribe later.")
    durable: bool = Field(
        default=False,
        description="true: sent after the commit, at least once, even if a restart comes between; "
        "false: live telemetry, sent at once and lost when there is no connection.",
    )
    envelope: bool = Field(default=False, description="Sends {value, quality, at} instead of the bare value.")


def changed(plan: Config, _state: None, inputs: Inputs, do: Effects) -> None:
    message = inputs["in"]
    payload = message.value
    if plan.envelope:
        payload = {"value": payload, "quality": message.quality.name.lower(), "at": utc_text(message.at)}
    do.call(
        "mqtt",
        {"topic": plan.topic, "payload": payload, "qos": plan.qos, "retain": plan.retain},
        fast="" if plan.durable else "live telemetry: late is worthless, lost is no harm",
        answer=False,
    )


NODE = Node(
    kind="mqtt_publish",
    about="Publishes every input as JSON. What is BAD is published too: null, or the object that names what is bad.",
    config=Config,
    inputs={"in": Port("What to publish.")},
    changed=changed,
    bad="see",
)
