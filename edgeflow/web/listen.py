"""Claims the address to serve on, before there is anything to serve: who comes early waits instead of being refused."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from edgeflow.errors import ConfigError, EdgeFlowError, Problem

_FREEBIND = getattr(socket, "IP_FREEBIND", 15)
_WAITING = 128
_HINTS = {
    errno.EADDRINUSE: "another program uses this port; stop that one, or choose another port",
    errno.EADDRNOTAVAIL: "this machine does not have this address",
    errno.EACCES: "this user may not use this port; choose one from 1024 on",
    errno.EPERM: "this user may not use this port; choose one from 1024 on",
}


@dataclass(frozen=True, slots=True)
class Listening:
    """Where we listen: one socket for each address that `host` stands for."""

    host: str
    port: int
    sockets: tuple[socket.socket, ...]

    def url(self, scheme: str = "http") -> str:
        return f"{scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def close(self) -> None:
        for each in self.sockets:
            each.close()


def listen(host: str, port: int, setting: str = "", refused: Callable[[str], Problem] | None = None) -> Listening:
    """Listens; port 0 takes a free one. `setting` is what a person would write to choose another.

    An address that this machine does not have yet (a network that is not up) is waited for by the system: we serve as
    soon as it is there. Raises EdgeFlowError where the port is taken: it may be free again later; ConfigError with the
    problem that `refused` makes of the reason where this user may never have it.
    """
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            sockets.append(listening := socket.socket(family, socket.SOCK_STREAM))
            _bind(listening, address, host)
            listening.listen(_WAITING)
    except OSError as error:
        for each in sockets:
            each.close()
        why = _HINTS.get(error.errno or 0) or error.strerror or error
        message = f"cannot listen on {host}:{port}: {why}{f' ({setting})' if setting else ''}"
        if refused is not None and error.errno in (errno.EACCES, errno.EPERM):
            raise ConfigError([refused(message)]) from None
        raise EdgeFlowError(message) from None
    return Listening(host, sockets[0].getsockname()[1], tuple(sockets))


def _bind(listening: socket.socket, address: tuple[object, ...], host: str) -> None:
    listening.setblocking(False)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listening.family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        listening.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL or not _is_numeric(host):
            raise
        structlog.get_logger().warning(
            "this machine does not have the address to listen on; waiting for it", address=host, port=address[1]
        )
        listening.setsockopt(socket.IPPROTO_IP, _FREEBIND, 1)  # Linux lets everybody do that
        listening.bind(address)


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
