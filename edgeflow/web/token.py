"""The token that changing something needs."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import structlog

from edgeflow.errors import ConfigError, Problem

log = structlog.get_logger(__name__)


def admin_token(state: Path) -> str:
    """The token that changing something needs: read from `admin.token` in the state directory, made where it is not.

    The file is for its owner alone (0600), the directory too where it is made here. Raises ConfigError where
    it cannot be used.
    """
    path = state / "admin.token"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        token = _kept(path)
        return token or _made(path)
    except OSError as error:
        advice = "name a state folder that this user may write (--state)"
        message = f"cannot be used as the token file ({error.strerror}); {advice}"
        raise ConfigError([Problem(str(path), 0, 0, "", message)]) from None


def _kept(path: Path) -> str:
    """The token that is in the file; empty where there is none, or what there is cannot be one."""
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        token = path.read_text("ascii").strip()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        token = ""
    if len(token) >= 16 and token.isprintable():
        return token
    log.warning("the token file held no token of at least 16 characters; a new one is made", file=str(path))
    return ""


def _made(path: Path) -> str:
    """Makes the token; whole or not at all, so that a power cut leaves no empty file."""
    token = secrets.token_urlsafe(32)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return token
