"""The asyncua client under deadlines: every request ends in time, and a lost connection stays lost."""

from __future__ import annotations

import asyncio
import logging
import os
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import InvalidSignature as WrongSignature  # type: ignore[attr-defined]  # its own one
from asyncua.ua import ua_binary
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from edgeflow.driver import Home
from edgeflow.errors import LinkDown, Rejected
from edgeflow_opcua import refusal
from edgeflow_opcua.certificate import Own, application_uri, chain, fingerprint, own
from edgeflow_opcua.endpoint import choose, policy_name, strength
from edgeflow_opcua.identity import Identity, TokenChoice, choose_token, identity
from edgeflow_opcua.settings import DEFAULT_PORT, Link
from edgeflow_opcua.trust import Trust

A = ParamSpec("A")
T = TypeVar("T")

CHUNK = 1000
_SESSION_MS = 60_000
_CHANNEL_MS = 3_600_000
_RENEW_SHARE = 0.75  # of the channel's lifetime, OPC 10000-4 clause 5.5.2.1
_CLOSING_S = 1.0
_LARGEST_PIECE = 1 << 20  # we say 64 KiB; some servers take no notice
_TICK_S = 2.0
_FOR_EVER_S = 86_400.0  # asyncua's own time-out per request; ours are the deadlines
_NEVER = datetime(9000, 1, 1, tzinfo=UTC)
_STATE = ua.NodeId(ua.Int32(ObjectIds.Server_ServerStatus_State))

# asyncua writes tracebacks for every lost connection; what they mean is in our LinkDown. Where
# somebody has chosen a level for this library, theirs counts.
_library_log = logging.getLogger("asyncua")
if _library_log.level == logging.NOTSET:
    _library_log.setLevel(logging.CRITICAL + 1)

_POLICIES: dict[str, type[security_policies.SecurityPolicy]] = {
    "Aes256_Sha256_RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
}
GARBLED = (
    ValueError, LookupError, ArithmeticError, TypeError, AttributeError, AssertionError, RecursionError, struct.error,
)  # fmt: skip
"""What asyncua raises where an answer is no OPC UA."""

_read_array = ua_binary.unpack_uatype_array


def _read_no_array_of_nothing(vtype: ua.VariantType, data: Any) -> list[Any] | None:
    """The library makes as many values as an array claims; of nulls, which take no bytes, thousands of millions."""
    if vtype is ua.VariantType.Null:
        raise UaError("an array of nulls")
    return _read_array(vtype, data)


ua_binary.unpack_uatype_array = _read_no_array_of_nothing


class Wire:
    """One secure channel with one session.

    `lost` is empty while the connection is good and says afterwards why it is not; from then on every
    request ends with LinkDown at once, whatever the library believes.
    """

    def __init__(self, url: str, link: Link, home: Home) -> None:
        parts = urlsplit(url)
        self.where = parts.netloc if parts.port else f"{parts.netloc}:{DEFAULT_PORT}"
        self.url = parts._replace(netloc=self.where).geturl()
        self.lost = ""
        self.namespaces: list[str] = []
        self.read_chunk = self.item_chunk = self.write_chunk = CHUNK
        self.chore: Callable[[], Awaitable[None]] | None = None
        self._link, self._home, self._trust = link, home, Trust(home)
        self._who, self._fingerprint = "anonymous", ""
        self._open = False
        self._renewing = asyncio.Lock()
        self._renew_at = self._asked_at = 0.0
        self._closing = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        client = self._client = Client(self.url, timeout=_FOR_EVER_S)
        client.name = client.description = "EdgeFlow"
        client.application_uri, client.product_uri = application_uri(None), "urn:edgeflow"
        client.session_timeout, client.secure_channel_timeout = _SESSION_MS, _CHANNEL_MS
        self.services = client.uaclient

    @property
    def session_s(self) -> float:
        """The session time-out that the server granted."""
        return self._client.session_timeout / 1000

    def down(self, why: str) -> LinkDown:
        """Marks the connection as lost; the error to raise."""
        self.lost = self.lost or f"OPC UA server {self.where}: {why}"
        return LinkDown(self.lost)

    async def ask(self, deadline: float, request: Callable[A, Awaitable[T]], *args: A.args, **kwargs: A.kwargs) -> T:
        """Makes one request; raises LinkDown where it is not answered by the deadline or fails as a whole."""
        if self.lost:
            raise LinkDown(self.lost)
        try:
            async with asyncio.timeout_at(deadline):
                answer = await request(*args, **kwargs)
        except TimeoutError:
            raise self.down("no answer in time; is it busy, hung or unplugged?") from None
        except UaStatusCodeError as error:
            name = ua.StatusCode(error.code).name
            raise self.down(refusal.explained(name, who=self._who, fingerprint=self._fingerprint)) from error
        except ConnectionRefusedError as error:
            raise self.down("Connection refused: nothing listens at that address and port") from error
        except OSError as error:
            raise self.down(error.strerror or str(error) or "the connection was closed") from error
        except (InvalidSignature, WrongSignature) as error:
            raise self.down("its signature does not fit its certificate; somebody may be in between") from error
        except UaError as error:
            raise self.down(str(error) or type(error).__name__) from error
        except GARBLED as error:
            raise self.down(f"it answered what is no OPC UA ({error})") from error
        self._asked_at = asyncio.get_running_loop().time()
        return answer

    # --- connecting ----------------------------------------------------------------------------------

    async def connect(self, deadline: float) -> None:
        """Opens channel and session as the link says, and reads the namespaces and limits of the server."""
        try:
            user = identity(self._link)
            endpoint = choose(await self.offered(deadline), self._link, user.token)
            if endpoint.SecurityMode is ua.MessageSecurityMode.None_:
                await self._enter(endpoint, user, deadline)
            else:
                await self._enter_secured(endpoint, user, deadline)
        except Rejected as error:
            raise self.down(str(error)) from None
        await self._learn(deadline)
        self._keeper = asyncio.create_task(self._keep(), name=f"OPC UA server {self.where}: keep-alive")

    async def offered(self, deadline: float) -> list[ua.EndpointDescription]:
        """The endpoints of the server, asked for on a channel without security, which stays open."""
        await self._open_channel(deadline)
        return list(await self.ask(deadline, self._client.get_endpoints) or ())

    async def _enter_secured(self, endpoint: ua.EndpointDescription, user: Identity, deadline: float) -> None:
        """With our own certificate; where that was renewed and is not known yet, with the former one."""
        sent = endpoint.ServerCertificate
        if not sent:
            raise Rejected("it offers encryption without a certificate of its own; have it make one")
        self._trust.check(sent, self.url, endpoint.Server.ApplicationUri or "")
        with suppress(OSError, TimeoutError, UaError):
            async with asyncio.timeout(_CLOSING_S):
                await self._client.close_secure_channel()
        await self._drop_channel()
        mine = await own(self._home)
        refused: LinkDown | None = None
        for certificate in [mine.certificate, *([mine.former] if mine.former else [])]:
            self._secure(endpoint, mine, certificate, chain(sent)[0])
            try:
                await self._open_channel(deadline)
                await self._enter(endpoint, user, deadline)
            except LinkDown as error:
                refused, self.lost = refused or error, ""
                await self._drop_channel()
            else:
                return
        assert refused is not None
        self.lost = str(refused)
        raise refused

    def _secure(
        self, endpoint: ua.EndpointDescription, mine: Own, certificate: x509.Certificate, server: x509.Certificate
    ) -> None:
        policy = _POLICIES[policy_name(endpoint.SecurityPolicyUri)]
        issuers = [] if certificate is mine.former else list(mine.issuers)
        client = self._client
        secured = policy(server, certificate, mine.key, endpoint.SecurityMode, host_cert_chain=issuers)
        client.security_policy = secured  # type: ignore[assignment]  # its type is inferred from the first value
        client.uaclient.set_security(secured)
        client.application_uri = application_uri(certificate)
        self._fingerprint = fingerprint(certificate)

    async def _enter(self, endpoint: ua.EndpointDescription, user: Identity, deadline: float) -> None:
        """Creates and activates the session on the open channel."""
        client, policy = self._client, self._client.security_policy
        # Not Client.connect(): it starts tasks that watch the connection by the library's own state.
        created = await self.ask(deadline, client.create_session)
        # What a server offers is read before anything is encrypted; only now is it certain.
        if self._fingerprint and self._link.security == "auto":
            certain = choose(created.ServerEndpoints or (), self._link, user.token)
            if strength(certain) > strength(endpoint):
                raise Rejected("what it offers was changed on the way to us; somebody is in between")
        token = choose_token(client._policy_ids or (), user, endpoint, self._link)
        if token.encrypted_for_server:
            self._trust.check(policy.peer_certificate or b"", self.url, endpoint.Server.ApplicationUri or "")
        self._who = user.who
        self._show(user, token)
        await self.ask(deadline, self._activate)
        if not self._fingerprint:
            policy.peer_certificate = None  # else the library names it when it renews a channel without security
        self._plan_renewal()

    def _show(self, user: Identity, token: TokenChoice) -> None:
        """Sets the user, and the one policy by which the library shows it."""
        client = self._client
        client._policy_ids = [token.policy]
        if user.token is ua.UserTokenType.UserName:
            client.set_user(user.name)
            client.set_password(user.password)
        elif user.token is ua.UserTokenType.Certificate:
            client.user_certificate, client.user_private_key = user.certificate, user.key

    async def _activate(self) -> None:
        await self._client.activate_session(
            self._client._username, self._client._password, self._client.user_certificate
        )

    async def _learn(self, deadline: float) -> None:
        limits = "Server_ServerCapabilities_OperationLimits_"
        wanted = ("MaxNodesPerRead", "MaxMonitoredItemsPerCall", "MaxNodesPerWrite")
        nodes = [ObjectIds.Server_NamespaceArray, *(getattr(ObjectIds, limits + name) for name in wanted)]
        values = await self.read(read_request([ua.NodeId(ua.Int32(node)) for node in nodes]), deadline)
        first, *found = [None if value.Value is None else value.Value.Value for value in values]
        self.namespaces = [str(uri) for uri in first] if isinstance(first, list) else []
        self.read_chunk, self.item_chunk, self.write_chunk = (
            min(CHUNK, limit) if isinstance(limit, int) and limit > 0 else CHUNK for limit in found
        )

    # --- the channel ---------------------------------------------------------------------------------

    async def _open_channel(self, deadline: float) -> None:
        client = self._client
        await self.ask(deadline, client.connect_socket)
        if self.services.protocol is not None:
            _bounded(self.services.protocol)
        await self.ask(deadline, client.send_hello)
        try:
            await self.ask(deadline, self._token, ua.SecurityTokenRequestType.Issue)
        except LinkDown as error:
            if self._fingerprint and isinstance(error.__cause__, OSError):
                self.lost = ""
                raise self.down(f"it closed the connection: {refusal.untrusted(self._fingerprint)}") from None
            raise
        self._open = True

    async def _token(self, kind: ua.SecurityTokenRequestType) -> None:
        """A token for the channel, the first or the next.

        Client.open_secure_channel ends with an AssertionError where the server refuses; this with what it says.
        """
        client, protocol = self._client, self.services.protocol
        if protocol is None:
            raise ConnectionError("the connection was closed")
        request = ua.OpenSecureChannelRequest()
        wanted = request.Parameters
        wanted.RequestType, wanted.SecurityMode = kind, client.security_policy.Mode
        wanted.RequestedLifetime = ua.UInt32(_CHANNEL_MS)
        wanted.ClientNonce = ua.ByteString(os.urandom(client.security_policy.secure_channel_nonce_length))
        protocol._open_secure_channel_exchange = wanted
        try:
            kind_of_message: Any = ua.MessageType.SecureOpen  # declared as bytes
            answer = await protocol._send_request(request, message_type=kind_of_message)
            protocol.check_answer(answer, "")
            granted = protocol._open_secure_channel_exchange
        finally:
            protocol._open_secure_channel_exchange = None
        if not isinstance(granted, ua.OpenSecureChannelResponse):
            raise UaError("it answered what is no OPC UA when the channel was opened")
        token = granted.Parameters.SecurityToken
        client.secure_channel_timeout = token.RevisedLifetime or _CHANNEL_MS
        # The library ends a token by comparing the server's clock with ours, which may be years apart; how
        # long its keys hold it measures itself.
        token.CreatedAt = _NEVER

    async def _drop_channel(self) -> None:
        """Ends the connection, so that another can take its place."""
        self._open = False
        await self._abort()
        self._client.disconnect_socket()

    def _plan_renewal(self) -> None:
        life_s = self._client.secure_channel_timeout / 1000
        self._renew_at = asyncio.get_running_loop().time() + life_s * _RENEW_SHARE

    async def renew(self, deadline: float) -> None:
        """Renews the channel's token when three quarters of its life are over; called with every read."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._renew_at:
            return
        async with self._renewing:
            if loop.time() < self._renew_at:
                return
            await self.ask(deadline, self._token, ua.SecurityTokenRequestType.Renew)
            self.services.revolve_security_token()
            self._plan_renewal()

    async def _keep(self) -> None:
        """Keeps channel and session alive where nobody asks for a while, and does the chore."""
        loop = asyncio.get_running_loop()
        while not self.lost:
            idle_s = self.session_s / 6
            try:
                async with asyncio.timeout(min(_TICK_S, idle_s, self._client.secure_channel_timeout / 1000 / 10)):
                    await self._closing.wait()
            except TimeoutError:
                with suppress(LinkDown):
                    await self.renew(loop.time() + 2 * idle_s)
                    if loop.time() >= self._asked_at + idle_s:
                        await self.read(read_request([_STATE]), loop.time() + 2 * idle_s)
                    if self.chore:
                        await self.chore()
            else:
                return

    async def close(self) -> None:
        """Closes politely where the server still answers, and in any case within about a second."""
        self._closing.set()
        try:
            if self._open and not self.lost:
                with suppress(OSError, TimeoutError, UaError):
                    async with asyncio.timeout(_CLOSING_S):
                        await self._client.close_session()
                        await self._client.close_secure_channel()
        finally:
            self.down("the connection was closed")
            await self._abandon()

    async def _abandon(self) -> None:
        await self._abort()
        # With the socket gone this sends nothing; it ends the library's publishing task.
        with suppress(OSError, UaError):
            await self._client.close_session()
        self._client.disconnect_socket()
        if self._keeper is not None:
            self._keeper.cancel()  # with the socket gone no request of it is in flight
            await asyncio.wait({self._keeper})

    async def _abort(self) -> None:
        protocol = self.services.protocol
        if protocol is not None and protocol.transport is not None:
            protocol.transport.abort()
            while not protocol.is_closed:  # noqa: ASYNC110 - one or two turns of the loop, and there is no event
                await asyncio.sleep(0)

    # --- asking --------------------------------------------------------------------------------------

    async def read(self, request: ua.ReadParameters, deadline: float) -> list[ua.DataValue]:
        """One Read service; as many values as nodes."""
        await self.renew(deadline)
        values = await self.ask(deadline, self.services.read, request)
        if len(values) != len(request.NodesToRead):
            raise self.down(f"{len(request.NodesToRead)} values were asked for and {len(values)} came")
        return values

    def node_id(self, node: str) -> ua.NodeId:
        """A node as it was written, with its namespace URI resolved; ValueError where the server has no such."""
        if not node.startswith("nsu="):
            return _parsed(node)
        uri, _, rest = node[4:].partition(";")
        if uri not in self.namespaces:
            raise ValueError(f"the server has no namespace {uri!r}; it has {', '.join(self.namespaces[1:]) or 'none'}")
        return _parsed(f"ns={self.namespaces.index(uri)};{rest}")


def _bounded(protocol: Any) -> None:
    """Ends a connection that sends a longer piece than we have allowed; the library would go on collecting it."""
    process = protocol._process_received_data

    def processed(data: bytes) -> None:
        process(data)
        if len(protocol.receive_buffer or b"") > _LARGEST_PIECE and protocol.transport is not None:
            protocol.receive_buffer = None
            protocol.transport.abort()

    protocol._process_received_data = processed


def read_request(nodes: list[ua.NodeId], *attributes: AttributeIds) -> ua.ReadParameters:
    """A Read of these attributes (the value where none is named) of every node, with both time stamps."""
    request = ua.ReadParameters()
    request.TimestampsToReturn = ua.TimestampsToReturn.Both
    request.NodesToRead = [
        ua.ReadValueId(node, attribute) for node in nodes for attribute in attributes or (AttributeIds.Value,)
    ]
    return request


def _parsed(node: str) -> ua.NodeId:
    try:
        return ua.NodeId.from_string(node)
    except UaError:
        raise ValueError(
            f"{node!r} is neither a NodeId like `ns=2;s=Filler` nor a path like `/Objects/2:Filler`"
        ) from None
