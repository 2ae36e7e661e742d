"""The section `central` of the gateway's configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from edgeflow.model import LocalFile, Secret, Strict
from edgeflow.sync.address import central_address


class CentralSettings(Strict):
    """The central server this gateway reports to."""

    url: Annotated[str, AfterValidator(central_address)] = Field(
        description="Its address, for example https://central.example, without a user or a password in it."
    )
    token: Secret | None = Field(
        default=None,
        description="Where the one-time token for the enrolment is found; not needed once the gateway is enrolled.",
    )
    ca: LocalFile | None = Field(
        default=None, description="File (PEM) with the certificate that signed the server's; the system's if empty."
    )
