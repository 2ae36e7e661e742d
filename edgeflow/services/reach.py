"""What flows may reach through services: decided at the gateway, not by who pushes flows."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from edgeflow.model import Value
from edgeflow.outputs.policy import EVERYTHING, Policy

SERVICES: Mapping[str, str] = {"mqtt": "topic", "http": "url"}
"""The services, and which part of a request says what it reaches."""

_COMMAND_LEVELS = frozenset({"set", "cmd", "cmnd", "command", "NCMD", "DCMD"})
"""Levels of a topic by which devices take commands: zigbee2mqtt, Shelly, Tasmota, Sparkplug."""
_PORTS = {"http": 80, "https": 443}
_TARGET = re.compile(r"(?:(https?)://)?(\[[0-9a-fA-F:.]+\]|[^\s/@:\[\]]+)(?::(\d{1,5}|\*))?(/\S*)?")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_METADATA = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "192.0.0.192", "fd00:ec2::254")))
"""Where clouds tell a machine its secrets, beside 169.254.169.254."""
_ALLOW = "allow it under `reach` in the output policy"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class _Target:
    """A pattern of `http`, taken apart. `port` None: any."""

    scheme: str | None
    host: str
    port: int | None
    path: str

    def covers(self, scheme: str, host: str, port: int, path: str) -> bool:
        return (
            self.scheme in (None, scheme)
            and fnmatchcase(host, self.host)
            and self.port in (None, port)
            and fnmatchcase(path, self.path)
        )

    def names(self, address: Address, port: int) -> bool:
        """Whether it names this very address, and not by a name that somebody else may point to it."""
        if self.port not in (None, port):
            return False
        named = _literal(self.host)
        return address.is_loopback if self.host == "localhost" else named is not None and _plain(named) == address


def unfit(service: str, target: str) -> str:
    """Why this cannot be a target of the policy; empty where it can."""
    if service == "http" and _parsed(target) is None:
        return "write a host (`mes.example`), `host:port` or an address (`https://mes.example/api/*`), without a user"
    return ""


class Reach:
    """Which calls of flows are let out.

    `commands`: topics (or addresses, `SERVICE:WHAT`) that writable tags use -> the tag. `hosts`: the machines behind
    the gateway's links. Without a rule of the policy neither can be reached, nor can this machine itself.
    """

    def __init__(
        self, policy: Policy = EVERYTHING, *, commands: Mapping[str, str] | None = None, hosts: Collection[str] = ()
    ) -> None:
        self._policy, self._commands = policy, dict(commands or {})
        self._hosts = frozenset(host.strip("[]").lower() for host in hosts)
        literals = [address for host in self._hosts if (address := _literal(host)) is not None]
        self._addresses = frozenset(_plain(address) for address in literals)

    @property
    def host_names(self) -> list[str]:
        """The machines behind the links that go by a name, not by an address."""
        return [host for host in self._hosts if _literal(host) is None]

    def refuses_call(self, service: str, request: Mapping[str, Value], flow: str) -> str:
        """Why a call may not be made; empty where it may. What a name stands for is checked when it connects."""
        key = SERVICES.get(service)
        return self.refuses(service, str(request.get(key, "")), flow) if key else ""

    def refuses(self, service: str, target: str, flow: str) -> str:
        """Why a flow may not reach this through the service; empty where it may."""
        allowed = self._policy.reach(service, flow)
        if service == "http":
            return self._refuses_address(target, flow, allowed)
        if (tag := self._commands.get(f"{service}:{target}")) is not None:
            return self._refuses_command(target, tag, flow, allowed or ())
        if allowed is None:
            return _refuses_topic(target) if service == "mqtt" else ""
        if any(fnmatchcase(target, pattern) for pattern in allowed):
            return ""
        return f"the output policy of this gateway does not let the flow {flow} reach {target} by {service}"

    def _refuses_command(self, target: str, tag: str, flow: str, allowed: tuple[str, ...]) -> str:
        """What sets a tag must be allowed by name, or be a tag that the flow may drive without bounds to keep."""
        permit = self._policy.permit(tag, flow)
        if target in allowed or (permit is not None and permit.low is None and not permit.every_ns):
            return ""
        return f"{target} sets the tag {tag}; write it with a `write` node, or {_ALLOW} by its whole name"

    def _refuses_address(self, url: str, flow: str, allowed: tuple[str, ...] | None) -> str:
        try:
            parts = urlsplit(url)
            scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
            port = parts.port or _PORTS.get(scheme, 0)
        except ValueError:
            return "the address cannot be read; write it as https://mes.example/api"
        if parts.username is not None or parts.password is not None or "@" in parts.netloc:
            return f"the address of {host} holds a user or a password; send them as a header, from a secret"
        if scheme not in _PORTS or not host:
            return "the address does not begin with http:// or https:// and a host"
        where = f"{host}:{port}"
        if allowed is not None:
            targets = filter(None, map(_parsed, allowed))
            if any(target.covers(scheme, host, port, parts.path or "/") for target in targets):
                return ""
            return f"the output policy of this gateway does not let the flow {flow} reach {where} by http"
        if host in self._hosts:
            return f"{where} is a machine behind a link of this gateway; {_ALLOW}"
        literal = _literal(host)
        return self.refuses_connection(str(literal), port, flow) if literal is not None else ""

    def refuses_connection(self, ip: str, port: int, flow: str, machines: Collection[str] = ()) -> str:
        """Why a flow may not connect there; to be asked with the very address that is connected to.

        `machines`: the addresses of those behind links that go by a name.
        """
        literal = _literal(ip)
        if literal is None:
            return f"{ip} is no address"
        address, allowed = _plain(literal), self._policy.reach("http", flow)
        named = [target for pattern in allowed or () if (target := _parsed(pattern))]
        if any(target.names(address, port) for target in named):
            return ""
        if reason := _own(address):
            return f"{address} is {reason}; {_ALLOW} by its address, as `{_shown(address)}:{port}`"
        if allowed is None and (address in self._addresses or str(address) in machines):
            return f"{address} is a machine behind a link of this gateway; {_ALLOW}"
        return ""


def _refuses_topic(topic: str) -> str:
    level = next((level for level in topic.split("/") if level in _COMMAND_LEVELS), None)
    return f"{topic} is a topic that sets something ({level!r}); {_ALLOW}" if level else ""


def _parsed(pattern: str) -> _Target | None:
    found = _TARGET.fullmatch(pattern)
    if found is None:
        return None
    scheme, host, port, path = found.groups()
    number = None if port in (None, "*") else int(port)
    if scheme and port is None:
        number = _PORTS[scheme]
    return _Target(scheme, host.strip("[]").lower(), number, path or "*")


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _plain(address: Address) -> Address:
    """The address that is meant: an IPv4 address inside an IPv6 one counts as itself."""
    if not isinstance(address, ipaddress.IPv6Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and (address in _NAT64 or (int(address) >> 32 == 0 and int(address) > 1)):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


def _own(address: Address) -> str:
    """Why an address belongs to this machine, or to nobody in particular; empty where it does not."""
    if address.is_loopback or address.is_unspecified or (address.version == 4 and int(address) >> 24 == 0):
        return "this gateway itself"
    if address.is_link_local or address in _METADATA:
        return "an address of this machine's own network card or host"
    if address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
        return "an address of many"
    return "this gateway itself" if _is_local(address) else ""


def _is_local(address: Address) -> bool:
    """Whether the system would answer itself: then it speaks from the same address. Nothing is sent."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return _literal(str(probe.getsockname()[0])) == address
    except OSError:
        return False


def _shown(address: Address) -> str:
    return f"[{address}]" if isinstance(address, ipaddress.IPv6Address) else str(address)
