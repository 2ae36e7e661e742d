"""What is private in asyncua, and nowhere else: a test names each of these and says what we rely on.

Nothing of the library is replaced: its transport is derived from. What a server sends reaches the library's own
decoders only in the messages that set up a session, with their headers emptied; there an array can claim thousands of
millions of values.
"""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import UTC, datetime
from typing import Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.common.utils import Buffer
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import InvalidSignature as WrongSignature  # type: ignore[attr-defined]  # its own one
from asyncua.ua.uaerrors import UaError
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from edgeflow_opcua.binary import Decoder, head, ticks_ns

__all__ = ["POLICY_OF", "Connection", "Fault", "WrongSignature", "answered"]

_FOR_EVER_S = 86_400.0  # the library's own time-out per request; ours are the deadlines
_LARGEST_PIECE = 1 << 20  # we say 64 KiB; some servers take no notice
_NEVER = datetime(9000, 1, 1, tzinfo=UTC)
_EMPTY = b"\x00" + b"\xff\xff\xff\xff" + b"\x00\x00\x00"  # no diagnostics, no texts, no additional header
_RESULT = 16  # bytes of a response's header up to the result: time, handle, result

# asyncua writes tracebacks for every lost connection; what they mean is in our LinkDown. Where
# somebody has chosen a level for this library, theirs counts.
_log = logging.getLogger("asyncua")
if _log.level == logging.NOTSET:
    _log.setLevel(logging.CRITICAL + 1)

POLICY_OF: dict[str, type[security_policies.SecurityPolicy]] = {
    "Aes256_Sha256_RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
}
"""The library's security policies by their names."""


class Fault(Exception):
    """A service that the server refuses as a whole; its own time of that, UTC ns, 0 where it says none."""

    def __init__(self, code: int, server_ns: int) -> None:
        super().__init__(code)
        self.code, self.server_ns = code, server_ns


def answered(data: Any) -> Decoder:
    """An answer, read as far as its header; raises Fault where the server refuses."""
    content = bytes(data)
    source = Decoder(content)
    if (result := head(source)) >> 30 >= 2:
        begin = Decoder(content)
        begin.node_id()
        raise Fault(result, ticks_ns(begin.int64()))
    return source


class _Protocol(UASocketProtocol):
    """The socket; a piece longer than we have allowed ends the connection, and so does a header that is no header."""

    first = b""
    """The first bytes that came: something that is no OPC UA is known by them."""

    def _process_received_data(self, data: bytes) -> None:
        self.first = self.first or bytes(data[:32])
        super()._process_received_data(data)
        if len(self.receive_buffer or b"") > _LARGEST_PIECE and self.transport is not None:
            self.receive_buffer = None
            self.transport.abort()

    def _process_received_message(self, msg: ua.Message | ua.Acknowledge | ua.ErrorMessage | None) -> None:
        if isinstance(msg, ua.Message) and _opens(msg):
            _check_head(bytes(msg.body()))  # type: ignore[no-untyped-call]  # the library reads it whole
        super()._process_received_message(msg)


def _opens(message: Any) -> bool:
    """Whether a message is about the channel, not what is sent through it."""
    return isinstance(message.SecurityHeader(), ua.AsymmetricAlgorithmHeader)


def _check_head(data: bytes) -> None:
    """Raises UaError where the header of an answer holds a structure of its own."""
    source = Decoder(data)
    head(source)
    if data[source.at - 3 : source.at] != _EMPTY[-3:]:
        raise UaError("the header of its answer holds more than a header does")


class _Transport(UaClient):
    """The requests that set up and end a session; what answers them has an emptied header."""

    def _make_protocol(self) -> UASocketProtocol:
        super()._make_protocol()
        self.protocol = _Protocol(_FOR_EVER_S, security_policy=self.security_policy)
        self.protocol.on_connection_lost = self._on_transport_lost
        return self.protocol

    async def _send_request(
        self,
        request: Any,
        timeout: float | None = None,  # noqa: ASYNC109 - as in the library
        message_type: Any = ua.MessageType.SecureMessage,
    ) -> Buffer:
        if self.protocol is None:
            raise ConnectionError("the connection was closed")
        data = bytes(await self.protocol._send_request(request, timeout or _FOR_EVER_S, message_type))
        rest = answered(data)
        begin = Decoder(data)
        begin.node_id()
        return Buffer(data[: begin.at + _RESULT] + _EMPTY + data[rest.at :])


class Connection:
    """One client of the library: a socket with its secure channel and its session."""

    def __init__(self, url: str, application_uri: str, session_ms: int, channel_ms: int) -> None:
        client = self._client = Client(url, timeout=_FOR_EVER_S)
        client.uaclient = self._transport = _Transport(_FOR_EVER_S)
        client.name = client.description = "EdgeFlow"
        client.application_uri, client.product_uri = application_uri, "urn:edgeflow"
        client.session_timeout, client.secure_channel_timeout = session_ms, channel_ms
        self._channel_ms = channel_ms

    # --- the socket and its channel -------------------------------------------------------------------

    async def connect(self) -> None:
        """Opens the socket and says hello."""
        await self._client.connect_socket()
        await self._client.send_hello()

    async def token(self, kind: ua.SecurityTokenRequestType) -> None:
        """A token for the channel, the first or the next.

        Client.open_secure_channel ends with an AssertionError where the server refuses; this with what it says.
        """
        client, protocol = self._client, self._protocol()
        request = ua.OpenSecureChannelRequest()
        wanted = request.Parameters
        wanted.RequestType, wanted.SecurityMode = kind, client.security_policy.Mode
        wanted.RequestedLifetime = ua.UInt32(self._channel_ms)
        wanted.ClientNonce = ua.ByteString(os.urandom(client.security_policy.secure_channel_nonce_length))
        protocol._open_secure_channel_exchange = wanted
        try:
            kind_of_message: Any = ua.MessageType.SecureOpen  # declared as bytes
            answer = await protocol._send_request(request, message_type=kind_of_message)
            answered(answer)
            granted = protocol._open_secure_channel_exchange
        finally:
            protocol._open_secure_channel_exchange = None
        if not isinstance(granted, ua.OpenSecureChannelResponse):
            raise UaError("it answered what is no OPC UA when the channel was opened")
        token = granted.Parameters.SecurityToken
        client.secure_channel_timeout = token.RevisedLifetime or self._channel_ms
        # The library ends a token by comparing the server's clock with ours, which may be years apart; how
        # long its keys hold it measures itself.
        token.CreatedAt = _NEVER
        if kind is ua.SecurityTokenRequestType.Renew:
            protocol.revolve_security_token()

    @property
    def channel_s(self) -> float:
        """The lifetime of a token that the server granted."""
        return self._client.secure_channel_timeout / 1000

    @property
    def policy(self) -> Any:
        """The security policy of the channel."""
        return self._client.security_policy

    def secure(self, policy: security_policies.SecurityPolicy, application_uri: str) -> None:
        """Has the next channel use it."""
        self._client.security_policy = policy  # type: ignore[assignment]  # its type is inferred from the first value
        self._transport.set_security(policy)
        self._client.application_uri = application_uri

    def forget_peer(self) -> None:
        """On a channel without security; else the library names the certificate when it renews the channel."""
        self._client.security_policy.peer_certificate = None

    async def close_channel(self) -> None:
        """Says goodbye to a channel without a session."""
        await self._client.close_secure_channel()

    async def abort(self) -> None:
        """Ends the socket at once; every request ends with it."""
        protocol = self._transport.protocol
        if protocol is not None and protocol.transport is not None:
            protocol.transport.abort()
            while not protocol.is_closed:  # noqa: ASYNC110 - one or two turns of the loop, and there is no event
                await asyncio.sleep(0)
        self._client.disconnect_socket()

    @property
    def connected(self) -> bool:
        """Whether the other side has taken the connection."""
        return self._transport.protocol is not None and self._transport.protocol.transport is not None

    @property
    def first(self) -> bytes:
        """The first bytes that the other side has sent."""
        return getattr(self._transport.protocol, "first", b"")

    # --- the session ----------------------------------------------------------------------------------

    async def endpoints(self) -> list[ua.EndpointDescription]:
        """What the server offers."""
        return list(await self._client.get_endpoints() or ())

    async def create_session(self) -> ua.CreateSessionResult:
        """Not Client.connect(): it starts tasks that watch the connection by the library's own state."""
        return await self._client.create_session()

    @property
    def user_policies(self) -> list[ua.UserTokenPolicy]:
        """How the endpoint of the session takes users."""
        return list(self._client._policy_ids or ())

    def show(
        self,
        policy: ua.UserTokenPolicy,
        name: str = "",
        password: str = "",
        certificate: x509.Certificate | None = None,
        key: rsa.RSAPrivateKey | None = None,
    ) -> None:
        """The user, and the one policy by which the library shows it."""
        client = self._client
        client._policy_ids = [policy]
        if name:
            client.set_user(name)
            client.set_password(password)
        elif certificate is not None:
            client.user_certificate, client.user_private_key = certificate, key

    async def activate_session(self) -> None:
        """Lets the user in."""
        client = self._client
        await client.activate_session(client._username, client._password, client.user_certificate)

    @property
    def session_s(self) -> float:
        """The session time-out that the server granted."""
        return self._client.session_timeout / 1000

    async def close_session(self) -> None:
        """Ends the session where there is one."""
        await self._client.close_session()

    # --- asking ---------------------------------------------------------------------------------------

    def send(self, request: Any, hint_s: float = _FOR_EVER_S) -> asyncio.Future[Any]:
        """Sends a request; the future holds the bytes that answer it. Raises OSError."""
        return self._protocol()._send_request(request, hint_s)

    def _protocol(self) -> UASocketProtocol:
        protocol = self._transport.protocol
        if protocol is None or protocol.transport is None:
            raise ConnectionError("the connection was closed")
        return protocol
