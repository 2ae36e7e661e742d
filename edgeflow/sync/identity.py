"""Who this gateway is for the central server: its id and its own secret key, in a file for its owner alone."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeflow.store.documents import replace_file


class Identity(BaseModel):
    """The content of `central.json`, and of the draft beside it while the enrolment is not confirmed."""

    model_config = ConfigDict(frozen=True)

    gateway: str | None = Field(description="The gateway's id at the central server.")
    key: str = Field(description="The gateway's secret, sent as its bearer token.")
    enrolled_with: str = Field(description="SHA-256 of the one-time token that was used.")

    def enrolled_by(self, token: str) -> bool:
        """Whether this one-time token is the one it was enrolled with."""
        return self.enrolled_with == _digest(token)

    def save(self, path: Path) -> None:
        """Writes it for its owner alone; a power cut leaves the old or the new one."""
        replace_file(path, self.model_dump_json(indent=1).encode(), 0o600)


def load(path: Path) -> Identity | None:
    """The identity, or None where there is none that can be read."""
    try:
        return Identity.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def draft(path: Path, token: str) -> Identity:
    """The identity to enrol with, kept before it is sent.

    The same key for the same token, since the outcome of an earlier try may be unknown; else a new one.
    """
    known = load(path)
    if known is not None and known.enrolled_by(token):
        return known
    made = Identity(gateway=None, key=secrets.token_urlsafe(32), enrolled_with=_digest(token))
    made.save(path)
    return made


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
