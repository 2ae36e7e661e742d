"""One HTTP conversation with the central server; its failures in plain words."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import orjson
from pydantic import BaseModel, ValidationError
from yarl import URL

from edgeflow.errors import ConfigError, LinkDown, Problem, Rejected
from edgeflow.sync.address import central_address

CONNECT_S = 3.0
ANSWER_S = 10.0
ANSWER_BYTES = 4 << 20
"""So much of an answer is read at most; nothing that the protocol knows is as long."""
CLOSE_S = 1.0
MESSAGE_BYTES = 64 << 10
_CHUNK_BYTES = 64 << 10
_LONGEST_DETAIL = 2000


M = TypeVar("M", bound=BaseModel)


class Refused(Rejected):
    """The central server answered with something other than success."""

    def __init__(self, status: int, title: str, detail: str, body: Mapping[str, Any]) -> None:
        super().__init__(detail or title or f"the central server answered {status}")
        self.status, self.title, self.body = status, title, body


class Unreadable(Rejected):
    """Something answered, but not in the words of this protocol."""


class CentralClient:
    """Asks the central server at one address. Use it as an async context manager.

    Raises ConfigError where the address or the file of certificates cannot be used.
    """

    def __init__(self, url: str, *, token: str = "", ca: Path | None = None, file: str = "central") -> None:
        try:
            self.url = URL(central_address(url))
        except ValueError as error:
            raise ConfigError([Problem(file, 0, 0, "url", str(error))]) from None
        self._token = token
        self._tls = _trust(ca, file) if self.url.scheme == "https" else True
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = self._made_session(8)
        return self

    def _made_session(self, connections: int) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=self._tls, keepalive_timeout=15),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def use(self, token: str) -> None:
        """From now on asks with this token."""
        self._token = token

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: BaseModel | bytes | None = None,
        query: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_S,
    ) -> bytes:
        """The body of the answer. Raises Refused where it is not a success, LinkDown where there is none in time.

        After LinkDown the outcome is unknown: the request may have been carried out.
        """
        answer, _ = await self._asked(method, path, body, query, timeout_s)
        return answer

    async def _asked(
        self,
        method: str,
        path: str,
        body: BaseModel | bytes | None,
        query: Mapping[str, str] | None,
        timeout_s: float,
    ) -> tuple[bytes, str]:
        content = body.model_dump_json(by_alias=True).encode() if isinstance(body, BaseModel) else body
        headers = {"Content-Type": "application/json"} if content is not None else {}
        limits = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)
        with _plain_words(self.url, timeout_s):
            async with self._open().request(
                method,
                self._address(path),
                data=content,
                params=query,
                headers=headers | self._authorization(),
                timeout=limits,
                allow_redirects=False,
            ) as response:
                status, media = response.status, response.content_type
                answer = await self._content(response)
        if status // 100 != 2:
            raise _refused(status, answer)
        return answer, media

    async def document(self, method: str, path: str, *, body: BaseModel | bytes | None = None) -> bytes:
        """The answer, which is JSON. Raises as `ask` does, and Unreadable where it is something else."""
        answer, media = await self._asked(method, path, body, None, ANSWER_S)
        if media != "application/json":
            raise Unreadable(f"{self._where} answers {media}, not JSON; is it a central server, or a proxy before it?")
        return answer

    async def fetch(self, model: type[M], method: str, path: str, *, body: BaseModel | bytes | None = None) -> M:
        """The answer as a model. Raises as `ask` does, and Unreadable where it does not fit."""
        answer = await self.document(method, path, body=body)
        try:
            return model.model_validate_json(answer)
        except (ValidationError, RecursionError) as error:
            what = (
                error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else "nested too deeply"
            )
            raise Unreadable(
                f"{self._where} answers {method} {path.rpartition('/')[2]} with something else: {what}"
            ) from None

    @property
    def _where(self) -> str:
        return f"{self.url.host}:{self.url.port}"

    async def _content(self, response: aiohttp.ClientResponse) -> bytes:
        """The body, bounded, and as it came: an encoding that nobody asked for could unpack to any size."""
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("", "identity"):
            raise Unreadable(f"{self._where} answers in the encoding {encoding[:40]!r}, which was not asked for")
        body = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            body += chunk
            if len(body) > ANSWER_BYTES:
                raise Unreadable(f"{self._where} answers with more than {ANSWER_BYTES} bytes")
        return bytes(body)

    @asynccontextmanager
    async def socket(self, path: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """An open WebSocket; a peer that does not answer a ping is gone after about 7 s. Raises as `ask` does."""
        with _plain_words(self.url, ANSWER_S):
            limits = aiohttp.ClientWSTimeout(ws_close=CLOSE_S)
            async with self._made_session(1) as session:  # whose end cuts the connection, whatever comes on it
                try:
                    socket = await session.ws_connect(
                        self._address(path),
                        headers=self._authorization(),
                        heartbeat=5,
                        timeout=limits,
                        max_msg_size=MESSAGE_BYTES,
                    )
                except aiohttp.WSServerHandshakeError as error:
                    raise _refused(error.status, b"") from error
                try:
                    yield socket
                finally:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(CLOSE_S):
                            await socket.close()

    def _address(self, path: str) -> URL:
        return self.url.with_path(self.url.path.rstrip("/") + path, encoded=True)

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _open(self) -> aiohttp.ClientSession:
        assert self._session is not None, "the client is not open"
        return self._session


def _trust(ca: Path | None, file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        message = f"{ca} cannot be used as a file of trusted certificates (PEM): {error}"
        raise ConfigError([Problem(file, 0, 0, "ca", message)]) from None


class _plain_words:  # noqa: N801 - reads as a verb phrase in a with statement
    """Turns what goes wrong on the way into LinkDown, in words for a person."""

    def __init__(self, url: URL, timeout_s: float) -> None:
        self._where = f"{url.host}:{url.port}"
        self._timeout_s = timeout_s

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, TimeoutError):
            raise LinkDown(f"{self._where} did not answer within {self._timeout_s:g} s") from error
        if isinstance(error, (aiohttp.ClientError, OSError)):
            raise LinkDown(self._words(error)) from error

    def _words(self, error: aiohttp.ClientError | OSError) -> str:
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return f"the certificate of {self._where} is not trusted; give its issuer's certificate as `ca`"
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return f"the name of {self._where} is not known here; check the address and the name server"
        if isinstance(error, aiohttp.ClientConnectorError):
            number = error.os_error.errno
            reason = os.strerror(number).lower() if number else str(error.os_error)
            return f"{self._where} cannot be reached: {reason}"
        if isinstance(error, (aiohttp.ServerDisconnectedError, ConnectionError)):
            return f"{self._where} closed the connection"
        return f"the exchange with {self._where} failed: {error or type(error).__name__}"


def _refused(status: int, answer: bytes) -> Refused:
    try:
        body = orjson.loads(answer)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        body = {}
    detail = str(body.get("detail") or f"the central server answered {status}")[:_LONGEST_DETAIL]
    return Refused(status, str(body.get("title", ""))[:_LONGEST_DETAIL], detail, body)
