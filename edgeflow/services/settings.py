"""The section `services` of the gateway's configuration."""

from __future__ import annotations

from pydantic import Field

from edgeflow.model import Strict
from edgeflow.mqtt.settings import Broker
from edgeflow.units import NS_PER_S, Duration


class MqttSettings(Broker):
    """The broker that flows publish to."""

    in_flight: int = Field(default=20, ge=1, le=1000, description="How many publishes may await their receipt.")
    timeout: Duration = Field(default=5 * NS_PER_S, description="How long a publish may take.")


class ServiceSettings(Strict):
    """What flows may ask of the world outside."""

    mqtt: MqttSettings | None = Field(default=None, description="The broker that `mqtt_publish` publishes to.")
