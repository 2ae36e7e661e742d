"""Asks web services over HTTP."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

import aiohttp
import orjson

from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import Call, Value
from edgeflow.services.services import NotDone
from edgeflow.units import NS_PER_S

ATTEMPTS = 4
BODY_BYTES = 1 << 20


class HttpService:
    """Requests with time-out and, where the server or the network fails, three more attempts.

    The call's id is sent as `Idempotency-Key`, so that a server can tell a repetition.
    """

    workers = 8

    def __init__(self, *, pause_s: float = 0.5) -> None:
        self._pause_s = pause_s
        self._session: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | None = None

    async def run(self) -> None:
        """Keeps the connection pool until cancelled."""
        async with aiohttp.ClientSession() as self._session:
            await asyncio.Event().wait()

    async def carry_out(self, call: Call) -> Value:
        """The answer's body, as data where it is JSON; raises LinkDown or Rejected."""
        for attempt in range(ATTEMPTS):
            try:
                return await self._once(call)
            except (LinkDown, _Busy):
                if attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(self._pause_s * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, call: Call) -> Value:
        request, url = call.request, call.request["url"]
        data = _body(request)
        headers = {"Content-Type": "application/json"} if data is not None else {}
        headers |= {"Idempotency-Key": call.id, **request.get("headers", {})}
        timeout = aiohttp.ClientTimeout(total=request.get("timeout", 10 * NS_PER_S) / NS_PER_S)
        if self._session is None:
            raise LinkDown("the service is not running")
        try:
            async with self._session.request(
                request["method"], url, data=data, headers=headers, timeout=timeout, ssl=self._trust(url)
            ) as response:
                body = await _content(response)
                status = response.status
        except TimeoutError:
            raise LinkDown(f"{url} did not answer in time") from None
        except (ValueError, TypeError) as error:  # InvalidURL is one; so is a line break in a header
            raise Rejected(f"{url} cannot be asked: {error}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise LinkDown(f"{url}: {error}") from None
        if status >= 400:
            kind = _Busy if status >= 500 or status in (408, 425, 429) else NotDone
            raise kind(f"{url} answered {status}: {body[:200].decode('utf-8', 'replace')}", status=status)
        if len(body) > BODY_BYTES:
            raise NotDone(f"{url} answered with more than {BODY_BYTES} bytes", status=status)
        return _decoded(body)

    def _trust(self, url: str) -> ssl.SSLContext | bool:
        """The system's certificates, loaded when the first address needs them."""
        if not url.startswith("https:"):
            return True
        self._tls = self._tls or ssl.create_default_context()
        return self._tls


class _Busy(NotDone):
    """The server could not do it now; asking again may help."""


def _body(request: Mapping[str, Value]) -> bytes | None:
    if "json" not in request:
        return None
    try:
        return orjson.dumps(request["json"], option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        raise Rejected(f"this value cannot be sent as JSON: {error}") from None


async def _content(response: aiohttp.ClientResponse) -> bytes:
    """The body, or so much of it that it is seen to be too long."""
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > BODY_BYTES:
            break
    return body


def _decoded(body: bytes) -> Value:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")
