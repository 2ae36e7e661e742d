"""The token that changing something needs."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from edgeflow.errors import ConfigError, Problem


def admin_token(state: Path) -> str:
    """The token that changing something needs: read from `admin.token` in the state directory, made once.

    The file is for its owner alone (0600). Raises ConfigError where it cannot be used.
    """
    path = state / "admin.token"
    try:
        state.mkdir(parents=True, exist_ok=True)
        try:
            return _made(path)
        except FileExistsError:
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
            token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        message = f"cannot be used as the token file ({reason}); name a state folder that this user may write (--state)"
        raise ConfigError([Problem(str(path), 0, 0, "", message)]) from None
    if len(token) < 16:
        message = "holds no token of at least 16 characters; remove the file and a new one is made"
        raise ConfigError([Problem(str(path), 0, 0, "", message)])
    return token


def _made(path: Path) -> str:
    """Makes the token; whole or not at all, so that a power cut leaves no empty file."""
    if path.exists():
        raise FileExistsError(path)
    token = secrets.token_urlsafe(32)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return token
