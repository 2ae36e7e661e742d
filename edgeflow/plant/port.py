"""Finds a port of the loopback that nothing listens on."""

from __future__ import annotations

import os
import socket
from itertools import count, islice

_FIRST, _COUNT = 20_000, 12_000
"""Below the ports that systems give to outgoing connections: none of those can take it meanwhile."""
_next = count(os.getpid() * 761)  # each process begins elsewhere


def free_port(wanted: int = 0) -> int:
    """`wanted` where it is free, otherwise (and for 0) another free port of 127.0.0.1.

    Nobody holds it for you: listen on it soon. No port is given out twice.
    """
    if wanted and _free(wanted):
        return wanted
    for n in islice(_next, _COUNT):
        if _free(port := _FIRST + n % _COUNT):
            return port
    raise OSError(f"none of the ports {_FIRST} to {_FIRST + _COUNT - 1} is free")


def _free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(type=kind) as probe:
            if kind is socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
