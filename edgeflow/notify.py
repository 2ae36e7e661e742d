"""Tells systemd how the process is (sd_notify)."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(message: str) -> None:
    """Tells systemd (sd_notify): `READY=1`, `WATCHDOG=1`, `STOPPING=1`, `STATUS=...`; nothing without systemd."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, suppress(OSError):  # systemd may be starting anew
        sock.setblocking(False)
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.send(message.encode())
