"""Who may ask what: exact Host and Origin on every request, and a token for whatever changes something."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from aiohttp import hdrs, web

DeviceCheck = Callable[[str], Awaitable[str | None]]
"""Given a bearer token, the id of the device it belongs to, or None."""

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not even looked at."""

    status: int
    title: str
    detail: str


class Guard:
    """The checks of one server.

    `hosts` are the names under which people open it (`gw1.plant`, or `gw1.plant:8443` behind a proxy);
    a name without a port goes with the served port and with the default ports. Loopback names and
    the address on which a connection arrived are always right: neither can be a page of a stranger
    whose name was pointed here (DNS rebinding). A request with an Origin must come from a page of
    the very host it asks.
    """

    def __init__(self, hosts: Iterable[str] = (), *, token: str = "", device: DeviceCheck | None = None) -> None:
        self._named = frozenset(name.lower() for name in hosts)
        self._token = token.encode()
        self._device = device

    def refusal(self, raw: web.Request) -> Refusal | None:
        """What is wrong with Host or Origin, in words that say what to do; None where nothing is."""
        hosts = raw.headers.getall(hdrs.HOST, [])
        host = hosts[0].lower() if len(hosts) == 1 else ""
        if not self._known(host, raw):
            detail = (
                f"This server does not go by the name {host!r}. Open it by its address, or add the name to "
                "`hosts` in its configuration."
            )
            return Refusal(403, "Unknown host", detail)
        origins = raw.headers.getall(hdrs.ORIGIN, [])
        if origins and origins not in ([f"http://{host}"], [f"https://{host}"]):
            strangers = ", ".join(origins).encode("ascii", "backslashreplace").decode()
            detail = f"A page of {strangers} may not ask this server; open its own pages instead."
            return Refusal(403, "Foreign origin", detail)
        return None

    def _known(self, host: str, raw: web.Request) -> bool:
        address = raw.get_extra_info("sockname")
        if not host or not isinstance(address, tuple):
            return False
        ip, port = str(address[0]), int(address[1])
        own = f"[{ip}]" if ":" in ip else ip
        if host in self._named:
            return True
        name, given = _split(host)
        if given is None:
            return port in _DEFAULT_PORTS.values() and (name in _LOOPBACK or name == own)
        return given == port and (name in _LOOPBACK or name == own or name in self._named)

    async def identify(self, raw: web.Request, needs: Literal["nobody", "token", "device"]) -> str | None:
        """Who asks: "" for nobody in particular, `admin`, or a device's id; None where it does not suffice."""
        if needs == "nobody":
            return await self.identify(raw, "token") or ""
        scheme, _, given = raw.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        given = given.strip()
        if scheme.lower() != "bearer" or not given or not given.isascii():
            return None
        if needs == "device":
            return await self._device(given) if self._device else None
        return "admin" if self._token and hmac.compare_digest(given.encode(), self._token) else None

    async def trusts(self, raw: web.Request) -> bool:
        """Whether whoever asks has a token, of whatever kind."""
        return bool(await self.identify(raw, "token") or await self.identify(raw, "device"))

    @staticmethod
    def what_is_missing(needs: Literal["nobody", "token", "device"]) -> str:
        """What to do about a 401."""
        if needs == "device":
            return "Send the device's own token as `Authorization: Bearer TOKEN`; a gateway gets it when it enrols."
        return "Changing something needs the token in the file `admin.token` of the state directory of this server."


def _split(host: str) -> tuple[str, int | None]:
    """`name:8080` -> ("name", 8080); the port is None where there is none, -1 where it is not a number."""
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        return host, None
    return name, int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
