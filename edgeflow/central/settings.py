"""The settings of the central server."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from edgeflow.model import Strict
from edgeflow.units import Duration

DATABASE = "central.db"


class Settings(Strict):
    """Where the central server listens and what it keeps."""

    state: Path = Field(description="Directory for its database and the file `admin.token`.")
    host: str = Field(default="127.0.0.1", description="Address to listen on; loopback until a person opens it.")
    port: int = Field(default=8090, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    hosts: tuple[str, ...] = Field(
        default=(), description="Names under which people and gateways open it, for example `central.example`."
    )
    certificate: Path | None = Field(
        default=None, description="Certificate chain (PEM); with it, only HTTPS is spoken."
    )
    key: Path | None = Field(default=None, description="Private key (PEM) of the certificate.")
    connections: int = Field(
        default=5000,
        ge=10,
        description="Most connections at one time; a gateway holds two or three. One more is told so.",
    )
    keep: Duration = Field(default=400 * 86400 * 1_000_000_000, gt=0, description="How long results are kept.")
    keep_mb: int = Field(
        default=50_000, ge=10, description="How many megabytes of them; beyond that the oldest are dropped."
    )
    token_life: Duration = Field(
        default=7 * 86400 * 1_000_000_000, description="How long a one-time enrolment token can be used."
    )

    @model_validator(mode="after")
    def _both(self) -> Settings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("write both `certificate` and `key`, or neither")
        return self

    @property
    def database(self) -> Path:
        return self.state / DATABASE
