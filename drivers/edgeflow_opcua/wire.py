"""The asyncua client under deadlines: every request ends in time, and a lost connection stays lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from edgeflow.errors import LinkDown
from edgeflow_opcua.settings import DEFAULT_PORT

A = ParamSpec("A")
T = TypeVar("T")

CHUNK = 1000
_SESSION_MS = 60_000
_CHANNEL_MS = 3_600_000
_RENEW_SHARE = 0.75  # of the channel's lifetime, OPC 10000-4 clause 5.5.2.1
_CLOSING_S = 1.0
_FOR_EVER_S = 86_400.0  # asyncua's own time-out per request; ours are the deadlines

# asyncua writes tracebacks for every lost connection; what they mean is in our LinkDown. Where
# somebody has chosen a level for this library, theirs counts.
_library_log = logging.getLogger("asyncua")
if _library_log.level == logging.NOTSET:
    _library_log.setLevel(logging.CRITICAL + 1)

_HINTS = {
    "BadIdentityTokenRejected": "it refuses anonymous users; allow them on the server",
    "BadIdentityTokenInvalid": "it refuses anonymous users; allow them on the server",
    "BadUserAccessDenied": "it refuses anonymous users; allow them on the server",
    "BadTooManySessions": "all its sessions are taken; close another client or raise its limit",
    "BadSecurityPolicyRejected": "it asks for encryption; offer an endpoint without (security policy None)",
    "BadSecurityModeRejected": "it asks for encryption; offer an endpoint without (security policy None)",
}


class Wire:
    """One secure channel with one session.

    `lost` is empty while the connection is good and says afterwards why it is not; from then on every
    request ends with LinkDown at once, whatever the library believes.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.where = parts.netloc if parts.port else f"{parts.netloc}:{DEFAULT_PORT}"
        self.lost = ""
        self.namespaces: list[str] = []
        self.read_chunk = self.item_chunk = self.write_chunk = CHUNK
        self._renewing = asyncio.Lock()
        self._renew_at = 0.0
        client = self._client = Client(parts._replace(netloc=self.where).geturl(), timeout=_FOR_EVER_S)
        client.name = client.description = "EdgeFlow"
        client.application_uri, client.product_uri = "urn:edgeflow:gateway", "urn:edgeflow"
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
                return await request(*args, **kwargs)
        except TimeoutError:
            raise self.down("no answer in time; is it busy, hung or unplugged?") from None
        except UaStatusCodeError as error:
            name = ua.StatusCode(error.code).name
            raise self.down(f"{name}: {_HINTS.get(name, 'it refused the request')}") from error
        except UaError as error:
            raise self.down(_explain(error)) from error
        except OSError as error:
            raise self.down(error.strerror or str(error) or "the connection was closed") from error

    async def connect(self, deadline: float) -> None:
        """Opens channel and session, and reads the namespaces and limits of the server."""
        # Not Client.connect(): it starts tasks that watch the connection by the library's own state.
        await self.ask(deadline, self._client.connect_sessionless)
        await self.ask(deadline, self._client.create_session)
        await self.ask(deadline, self._client.activate_session)
        self._plan_renewal()
        limits = "Server_ServerCapabilities_OperationLimits_"
        wanted = ("MaxNodesPerRead", "MaxMonitoredItemsPerCall", "MaxNodesPerWrite")
        nodes = [ObjectIds.Server_NamespaceArray, *(getattr(ObjectIds, limits + name) for name in wanted)]
        values = await self.read(read_request([ua.NodeId(ua.Int32(node)) for node in nodes]), deadline)
        first, *found = [None if value.Value is None else value.Value.Value for value in values]
        self.namespaces = [str(uri) for uri in first] if isinstance(first, list) else []
        self.read_chunk, self.item_chunk, self.write_chunk = (
            min(CHUNK, limit) if isinstance(limit, int) and limit > 0 else CHUNK for limit in found
        )

    async def read(self, request: ua.ReadParameters, deadline: float) -> list[ua.DataValue]:
        """One Read service; as many values as nodes."""
        await self.renew(deadline)
        values = await self.ask(deadline, self.services.read, request)
        if len(values) != len(request.NodesToRead):
            raise self.down(f"{len(request.NodesToRead)} values were asked for and {len(values)} came")
        return values

    async def renew(self, deadline: float) -> None:
        """Renews the channel's token when three quarters of its life are over; called with every read."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._renew_at:
            return
        async with self._renewing:
            if loop.time() < self._renew_at:
                return
            await self.ask(deadline, self._client.open_secure_channel, renew=True)
            self.services.revolve_security_token()
            self._plan_renewal()

    def _plan_renewal(self) -> None:
        life_s = self._client.secure_channel_timeout / 1000
        self._renew_at = asyncio.get_running_loop().time() + life_s * _RENEW_SHARE

    async def close(self) -> None:
        """Closes politely where the server still answers, and in any case within about a second."""
        try:
            if not self.lost:
                with suppress(OSError, TimeoutError, UaError):
                    async with asyncio.timeout(_CLOSING_S):
                        await self._client.close_session()
                        await self._client.close_secure_channel()
        finally:
            self.down("the connection was closed")
            await self._abandon()

    async def _abandon(self) -> None:
        protocol = self.services.protocol
        if protocol is not None and protocol.transport is not None:
            protocol.transport.abort()
            while not protocol.is_closed:  # noqa: ASYNC110 - one or two turns of the loop, and there is no event
                await asyncio.sleep(0)
        # With the socket gone this sends nothing; it ends the library's publishing task.
        with suppress(OSError, UaError):
            await self._client.close_session()
        self._client.disconnect_socket()

    def node_id(self, node: str) -> ua.NodeId:
        """A node as it was written, with its namespace URI resolved; ValueError where the server has no such."""
        if not node.startswith("nsu="):
            return _parsed(node)
        uri, _, rest = node[4:].partition(";")
        if uri not in self.namespaces:
            raise ValueError(f"the server has no namespace {uri!r}; it has {', '.join(self.namespaces[1:]) or 'none'}")
        return _parsed(f"ns={self.namespaces.index(uri)};{rest}")


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
        raise ValueError(f"{node!r} is no NodeId") from None


def _explain(error: Any) -> str:
    if str(error).startswith("No matching endpoints"):
        return "it offers no endpoint without encryption; enable security policy None on the server"
    return str(error) or type(error).__name__
