"""The section `services` of the gateway's configuration."""

from __future__ import annotations

from pydantic import Field

from edgeflow.model import Strict
from edgeflow.units import NS_PER_S, Duration


class MqttSettings(Strict):
    """The broker that flows publish to."""

    host: str = Field(description="The broker's name or address.")
    port: int = Field(default=1883, ge=1, le=65535, description="The broker's port.")
    client_id: str | None = Field(default=None, description="The MQTT client id; made from the host name by default.")
    in_flight: int = Field(default=20, ge=1, le=1000, description="How many publishes may await their receipt.")
    timeout: Duration = Field(default=5 * NS_PER_S, description="How long a publish may take.")


class ServiceSettings(Strict):
    """What flows may ask of the world outside."""

    mqtt: MqttSettings | None = Field(default=None, description="The broker that `mqtt_publish` publishes to.")
