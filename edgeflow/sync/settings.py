"""The section `central` of the gateway's configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, model_validator

from edgeflow.model import Strict


class TokenReference(Strict):
    """Where a secret is found; never the secret itself."""

    file: Path | None = Field(default=None, description="File that holds it, relative to the configuration.")
    env: str | None = Field(default=None, description="Environment variable that holds it.")

    @model_validator(mode="after")
    def _one(self) -> TokenReference:
        if (self.file is None) == (self.env is None):
            raise ValueError("write either `file: central.token` or `env: NAME_OF_A_VARIABLE`")
        return self

    def read(self, base: Path, environment: Mapping[str, str] = os.environ) -> str | None:
        """The secret, or None where it is not there (yet). `base` is the folder of the configuration."""
        if self.file is None:
            return environment.get(self.env or "", "").strip() or None
        try:
            return (base / self.file).read_text("utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def __str__(self) -> str:
        return f"the file {self.file}" if self.file is not None else f"the environment variable {self.env}"


class CentralSettings(Strict):
    """The central server this gateway reports to."""

    url: str = Field(pattern=r"^https?://", description="Its address, for example https://central.example.")
    token: TokenReference | None = Field(
        default=None,
        description="Where the one-time token for the enrolment is found; not needed once the gateway is enrolled.",
    )
    ca: Path | None = Field(
        default=None, description="File (PEM) with the certificate that signed the server's; the system's if empty."
    )
