"""Asks web services over HTTP, and only those that a flow may reach."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp
import orjson
from yarl import URL

from edgeflow.backoff import Backoff
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import CONNECTION_HEADERS, Call, Value
from edgeflow.services.reach import Reach
from edgeflow.services.services import NotDone
from edgeflow.store.wire import DEEPEST, deeper
from edgeflow.units import NS_PER_S

ATTEMPTS = 4
BODY_BYTES = 1 << 20
MOST_REDIRECTS = 5
_NAMES_KEPT_S = 60.0
_CHUNK_BYTES = 64 << 10


@dataclass(slots=True)
class _Asking:
    """What a connection is opened for, and why an address that was found for it is not connected to."""

    flow: str
    machines: frozenset[str]
    refused: list[str] = field(default_factory=list)


_ASKING: ContextVar[_Asking] = ContextVar("asking")


class HttpService:
    """Requests with time-out and, where the server or the network fails, three more attempts.

    The call's id is sent as `Idempotency-Key`, so that a server can tell a repetition. Every address is checked
    against `reach` when it is connected to, so a name that stands for something else meanwhile, or a redirect, leads
    nowhere else. Flows have connections of their own: what one may reach another may not.
    """

    workers = 8

    def __init__(self, reach: Reach | None = None, *, pause_s: float = 0.5) -> None:
        self._reach, self._pause_s = reach or Reach(), pause_s
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._running = False
        self._tls: ssl.SSLContext | None = None
        self._machines: frozenset[str] = frozenset()
        self._machines_until = 0.0

    async def run(self) -> None:
        """Keeps the connections until cancelled."""
        self._running = True
        try:
            await asyncio.Event().wait()
        finally:
            self._running = False
            for session in self._sessions.values():
                await session.close()
            self._sessions.clear()

    async def carry_out(self, call: Call) -> Value:
        """The answer's body, as data where it is JSON; raises LinkDown or Rejected."""
        pause = Backoff(self._pause_s, self._pause_s * 2**ATTEMPTS)
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._once(call)
            except (LinkDown, _Busy):
                await asyncio.sleep(pause.next())
        return await self._once(call)

    async def _once(self, call: Call) -> Value:
        request = call.request
        url = request["url"]
        if reason := self._reach.refuses("http", url, call.flow):
            raise NotDone(reason)
        ask = partial(self._followed, call, URL(url), _body(request), _headers(call))
        asking = _Asking(call.flow, await self._machines_now())
        _ASKING.set(asking)
        try:
            async with asyncio.timeout(request.get("timeout", 10 * NS_PER_S) / NS_PER_S):
                status, body = await ask()
        except TimeoutError:
            raise LinkDown(f"{url} did not answer in time") from None
        except (ValueError, TypeError) as error:  # InvalidURL is one; so is a line break in a header
            raise Rejected(f"{url} cannot be asked: {error}") from None
        except (aiohttp.ClientError, OSError) as error:
            if asking.refused:
                raise NotDone(f"{url} cannot be reached: {asking.refused[0]}") from None
            raise LinkDown(f"{url}: {error or type(error).__name__}") from None
        if status >= 400:
            kind = _Busy if status >= 500 or status in (408, 425, 429) else NotDone
            raise kind(f"{url} answered {status}: {body[:200].decode('utf-8', 'replace')}", status=status)
        return _decoded(body, url, status)

    async def _followed(
        self, call: Call, url: URL, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Status and body at the end of all redirects; each is let out like the first address."""
        method = call.request["method"]
        for _ in range(MOST_REDIRECTS + 1):
            status, body, location = await self._exchange(call.flow, method, url, data, headers)
            if status not in (301, 302, 303, 307, 308) or not location:
                return status, body
            target = url.join(URL(location))
            if reason := self._reach.refuses("http", str(target), call.flow):
                raise NotDone(f"{url} redirects, but {reason}", status=status)
            if target.origin() != url.origin():
                headers = {name: headers[name] for name in headers if name in _EVERYWHERE}
            if status == 303 or (status in (301, 302) and method == "POST"):
                method, data = "GET", None
            url = target
        raise NotDone(f"{url} redirects more than {MOST_REDIRECTS} times", status=status)

    async def _exchange(
        self, flow: str, method: str, url: URL, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes, str]:
        async with self._session(flow).request(
            method, url, data=data, headers=headers, ssl=self._trust(url), allow_redirects=False
        ) as response:
            encoding = response.headers.get("Content-Encoding", "identity").lower()
            if encoding not in ("", "identity"):
                detail = f"{url} answered in the encoding {encoding[:40]!r}, which was not asked for"
                raise NotDone(detail, status=response.status)
            body = await _content(response)
            if len(body) > BODY_BYTES and response.status < 400:
                raise NotDone(f"{url} answered with more than {BODY_BYTES} bytes", status=response.status)
            return response.status, body, response.headers.get("Location", "")

    def _session(self, flow: str) -> aiohttp.ClientSession:
        if not self._running:
            raise LinkDown("the service is not running")
        if flow not in self._sessions:
            connector = aiohttp.TCPConnector(limit=self.workers, use_dns_cache=False, socket_factory=self._socket)
            self._sessions[flow] = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        return self._sessions[flow]

    def _socket(self, found: tuple[Any, ...]) -> socket.socket:
        """A socket for one of the addresses that were found, unless it may not be connected to."""
        family, kind, protocol, _, address = found
        asking = _ASKING.get()
        if reason := self._reach.refuses_connection(address[0], address[1], asking.flow, asking.machines):
            asking.refused.append(reason)
            raise OSError(errno.EACCES, reason)
        return socket.socket(family, kind, protocol)

    async def _machines_now(self) -> frozenset[str]:
        """The addresses of the machines behind links that go by a name, as they are now."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._machines_until or not self._reach.host_names:
            return self._machines
        self._machines_until = loop.time() + _NAMES_KEPT_S
        names = [loop.getaddrinfo(name, None, type=socket.SOCK_STREAM) for name in self._reach.host_names]
        answers = await asyncio.gather(*names, return_exceptions=True)
        found = [entry[4][0] for answer in answers if not isinstance(answer, BaseException) for entry in answer]
        self._machines = frozenset(str(ipaddress.ip_address(str(ip).partition("%")[0])) for ip in found)
        return self._machines

    def _trust(self, url: URL) -> ssl.SSLContext | bool:
        """The system's certificates, loaded when the first address needs them."""
        if url.scheme != "https":
            return True
        self._tls = self._tls or ssl.create_default_context()
        return self._tls


_EVERYWHERE = frozenset({"Accept-Encoding", "Content-Type", "Idempotency-Key"})
"""What is sent on to another server; what a flow says to one may be a secret."""


class _Busy(NotDone):
    """The server could not do it now; asking again may help."""


def _headers(call: Call) -> dict[str, str]:
    chosen: Mapping[str, str] = call.request.get("headers", {})
    for name in chosen:
        if name.strip().lower() in CONNECTION_HEADERS:
            raise Rejected(f"the header {name} belongs to the connection and cannot be chosen")
    made = {"Accept-Encoding": "identity", "Idempotency-Key": call.id}
    if "json" in call.request:
        made["Content-Type"] = "application/json"
    return {**{name: value for name, value in made.items() if not _has(chosen, name)}, **chosen}


def _has(headers: Mapping[str, str], name: str) -> bool:
    return any(each.lower() == name.lower() for each in headers)


def _body(request: Mapping[str, Value]) -> bytes | None:
    if "json" not in request:
        return None
    try:
        return orjson.dumps(request["json"], option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        raise Rejected(f"this value cannot be sent as JSON: {error}") from None


async def _content(response: aiohttp.ClientResponse) -> bytes:
    """The body, or so much of it that it is seen to be too long."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > BODY_BYTES:
            break
    return bytes(body)


def _decoded(body: bytes, url: str, status: int) -> Value:
    if deeper(body):
        raise NotDone(f"{url} answered with JSON that is nested more than {DEEPEST} deep", status=status)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")
