"""The section `store` of the gateway's configuration."""

from __future__ import annotations

from pydantic import Field

from edgeflow.model import Strict


class StoreSettings(Strict):
    """How much the gateway keeps while the central server cannot be reached."""

    outbox_mb: int = Field(
        default=512,
        ge=1,
        description="Largest size of the queue of results in megabytes. When it is full single values are "
        "dropped first, then provisional results, final ones last, the oldest of each first.",
    )
