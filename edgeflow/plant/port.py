"""Finds a port of the loopback that nothing listens on."""

from __future__ import annotations

import socket


def free_port(wanted: int) -> int:
    """`wanted` where it is free, otherwise (and for 0) another free port of 127.0.0.1.

    Nobody holds it for you: listen on it soon.
    """
    if wanted and _free(wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
