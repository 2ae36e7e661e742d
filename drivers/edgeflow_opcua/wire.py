"""Asking one server under deadlines: every request ends in time, a slow one alone, and a lost connection stays lost."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from cryptography.exceptions import InvalidSignature

from edgeflow.driver import Home
from edgeflow.errors import LinkDown, Rejected, Silent
from edgeflow.units import NS_PER_S, duration_text
from edgeflow_opcua import refusal
from edgeflow_opcua.binary import Datum, Decoder, Malformed
from edgeflow_opcua.certificate import application_uri
from edgeflow_opcua.library import Connection, Fault, WrongSignature, answered
from edgeflow_opcua.limits import CLOSED, DECLARED, Limits, Refused, in_pieces
from edgeflow_opcua.login import Login
from edgeflow_opcua.settings import DEFAULT_PORT, Link
from edgeflow_opcua.standard import answer
from edgeflow_opcua.value import status_name

T = TypeVar("T")

_SESSION_MS = 60_000
_CHANNEL_MS = 3_600_000
_RENEW_SHARE = 0.75  # of the channel's lifetime, OPC 10000-4 clause 5.5.2.1
_CLOSING_S = 1.0
_TICK_S = 2.0
_BUSY_S = 15.0
_NEITHER = ua.TimestampsToReturn.Neither
_STATE = ua.NodeId(ua.Int32(ObjectIds.Server_ServerStatus_State))
GARBLED = (
    ValueError, LookupError, ArithmeticError, TypeError, AttributeError, AssertionError, RecursionError, struct.error,
)  # fmt: skip
"""What the library raises where an answer is no OPC UA."""
SESSION_GONE = frozenset(
    {
        "BadSessionIdInvalid", "BadSessionClosed", "BadSessionNotActivated", "BadSecureChannelIdInvalid",
        "BadSecureChannelClosed", "BadSecureChannelTokenUnknown", "BadConnectionClosed", "BadCommunicationError",
        "BadServerHalted", "BadShutdown",
    }
)  # fmt: skip
"""With these nothing that is asked on the same session will be answered."""


class Late(Silent):
    """One request was not answered in time; the connection serves others."""


class Wire:
    """One secure channel with one session.

    `lost` is empty while the connection is good and says afterwards why it is not; from then on every
    request ends with LinkDown at once, whatever the library believes. A request that is not answered in
    time fails alone where the server shows in any other way that it is there.
    """

    def __init__(self, url: str, link: Link, home: Home) -> None:
        parts = urlsplit(url)
        self.where = parts.netloc if parts.port else f"{parts.netloc}:{DEFAULT_PORT}"
        self.url = parts._replace(netloc=self.where).geturl()
        self.lost = self.ended_by = ""
        self.namespaces: list[str] = []
        self.limits = Limits(home, self.url)
        self.chore: Callable[[], Awaitable[None]] | None = None
        self.connection = Connection(self.url, application_uri(None), _SESSION_MS, _CHANNEL_MS)
        self.login = Login(self, link, home)
        self._now = asyncio.get_running_loop().time if _running() else _never
        self._open = False
        self._renew_at = self._asked_at = self._heard_at = 0.0
        self._late: dict[asyncio.Future[Any], float] = {}
        self._closing = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def session_s(self) -> float:
        """The session time-out that the server granted."""
        return self.connection.session_s

    @property
    def busy(self) -> bool:
        """Whether the server is at something slow, and perhaps answers nothing else meanwhile."""
        return bool(self._late)

    def down(self, why: str) -> LinkDown:
        """Marks the connection as lost; the error to raise."""
        self.lost = self.lost or f"OPC UA server {self.where}: {why}"
        return LinkDown(self.lost)

    # --- asking ---------------------------------------------------------------------------------------

    async def ask(self, deadline: float, request: Any, response: type[Any], *, slow: bool = False) -> Any:
        """A request; what follows the header of its answer, as the library's class for it.

        Raises Refused with the status of the service, Late where it is not answered in time, and LinkDown.
        `slow`: it may take as long as it likes, so its silence says nothing of the connection.
        """
        source = await self.send(deadline, request, slow=slow)
        return self.understood(request, lambda: answer(response, source))

    async def send(self, deadline: float, request: Any, *, slow: bool = False, beat: bool = False) -> Decoder:
        """A request, and the bytes of its answer, read as far as the header; raises as `ask` does.

        `beat`: it only asks whether the server is there, so its silence is that of the connection.
        """
        if self.lost:
            raise LinkDown(self.lost)
        begun = self._asked_at = self._now()
        try:
            future = self._sent(request)
            half = begun + (deadline - begun) / 2
            await asyncio.wait({future}, timeout=max(0.0, half - begun))
            if not future.done() and not beat:
                self._sent(ua.ReadRequest(Parameters=read_request([_STATE])))  # is the server there at all?
            if not future.done():
                await asyncio.wait({future}, timeout=max(0.0, deadline - self._now()))
            if not future.done():
                raise self._not_answered(future, begun, slow=slow, beat=beat)  # noqa: TRY301 - one place for all
            return answered(future.result())
        except Fault as fault:
            raise self._refused(fault) from None
        except (LinkDown, Rejected):
            raise
        except Exception as error:
            raise self._failed(error) from error

    async def waiting(self, request: Any) -> Any:
        """A request that the server answers when it has something to say; raises LinkDown."""
        if self.lost:
            raise LinkDown(self.lost)
        try:
            return await self._sent(request)
        except Exception as error:
            raise self._failed(error) from error

    def understood(self, request: Any, read: Callable[[], T]) -> T:
        """What is read from an answer; LinkDown where it cannot be understood."""
        try:
            return read()
        except (Malformed, RecursionError) as error:
            what = type(request).__name__.removesuffix("Request")
            raise self.down(f"its answer to a {what} cannot be understood: {error}") from error

    def _sent(self, request: Any) -> asyncio.Future[Any]:
        future = self.connection.send(request)
        future.add_done_callback(self._heard)
        return future

    def _heard(self, future: asyncio.Future[Any]) -> None:
        self._late.pop(future, None)
        if not future.cancelled() and future.exception() is None:
            self._heard_at = self._now()

    def _not_answered(
        self, future: asyncio.Future[Any], begun: float, *, slow: bool, beat: bool
    ) -> Rejected | LinkDown:
        """A server that does one thing after the other answers nothing else while it is at something slow."""
        busy = min(self._late.values(), default=None)
        if beat and (busy is None or self._now() > max(busy, self._heard_at) + _BUSY_S):
            return self.down("no answer in time; is it busy, hung or unplugged?")
        if not beat and not slow and self._heard_at <= begun and busy is None:
            return self.down("no answer in time; is it busy, hung or unplugged?")
        if not beat:
            self._late[future] = begun
        waited = duration_text(round((self._now() - begun) * 10) * NS_PER_S // 10)
        return Late(f"no answer within {waited}; where it needs longer, give the device a longer `timeout`")

    def _refused(self, fault: Fault) -> Rejected | LinkDown:
        name = status_name(fault.code)
        if name in SESSION_GONE:
            self.ended_by = name
            return self.down(self.login.explained(name, fault.server_ns))
        return Refused(name)

    def _failed(self, error: Exception) -> LinkDown:
        """An error of the connection in words for people; it is lost."""
        if isinstance(error, TimeoutError):
            return self.down(self._silence())
        if isinstance(error, Fault):
            self.ended_by = status_name(error.code)
            return self.down(self.login.explained(self.ended_by, error.server_ns))
        if isinstance(error, UaStatusCodeError):
            self.ended_by = status_name(error.code)
            return self.down(self.login.explained(self.ended_by))
        if strange := refusal.stranger(self.connection.first):
            return self.down(strange)
        if isinstance(error, ConnectionRefusedError):
            return self.down("Connection refused: nothing listens at that address and port")
        if isinstance(error, OSError):
            self.ended_by = CLOSED
            return self.down(error.strerror or str(error) or "the connection was closed")
        if isinstance(error, InvalidSignature | WrongSignature):
            return self.down("its signature does not fit its certificate; somebody may be in between")
        if isinstance(error, UaError):
            return self.down(str(error) or type(error).__name__)
        if isinstance(error, GARBLED):
            return self.down(f"it answered what is no OPC UA ({error})")
        raise error

    def _silence(self) -> str:
        if self._open or self.connection.first:
            return "no answer in time; is it busy, hung or unplugged?"
        if self.connection.connected:
            return "no answer in time: it takes the connection and says nothing; is this the port of its OPC UA server?"
        return "no answer in time: nothing answers at that address; is it unplugged, or does a firewall drop it?"

    async def set_up(self, deadline: float, step: Awaitable[T]) -> T:
        """One step of connecting; whatever goes wrong in it is LinkDown."""
        try:
            async with asyncio.timeout_at(deadline):
                return await step
        except (LinkDown, Rejected):
            raise
        except Exception as error:
            raise self._failed(error) from error

    # --- connecting -----------------------------------------------------------------------------------

    async def connect(self, deadline: float) -> None:
        """Opens channel and session as the link says, and reads the namespaces and limits of the server."""
        self._now = asyncio.get_running_loop().time
        try:
            await self.login.enter(deadline)
            self._plan_renewal()
            await self._learn(deadline)
        except Rejected as error:
            raise self.down(str(error)) from None
        self._keeper = asyncio.create_task(self._keep(), name=f"OPC UA server {self.where}: keep-alive")

    async def offered(self, deadline: float) -> list[ua.EndpointDescription]:
        """The endpoints of the server, asked for on a channel without security, which stays open."""
        await self.open_channel(deadline)
        return await self.set_up(deadline, self.connection.endpoints())

    async def open_channel(self, deadline: float) -> None:
        """The socket, and on it a channel as the connection is secured."""
        await self.set_up(deadline, self.connection.connect())
        await self.set_up(deadline, self.connection.token(ua.SecurityTokenRequestType.Issue))
        self._open = True

    async def drop_channel(self) -> None:
        """Ends the connection, so that another can take its place."""
        self._open = False
        await self.connection.abort()

    async def _learn(self, deadline: float) -> None:
        limits = "Server_ServerCapabilities_OperationLimits_"
        nodes = [
            ObjectIds.Server_NamespaceArray,
            *(getattr(ObjectIds, limits + name) for name in DECLARED.values()),
        ]
        spaces, *found = await self.read([ua.NodeId(ua.Int32(node)) for node in nodes], deadline)
        self.namespaces = [str(uri) for uri in spaces[0]] if isinstance(spaces[0], list) else []
        for kind, (value, *_) in zip(DECLARED, found, strict=True):
            self.limits.declare(kind, value)

    # --- the channel ----------------------------------------------------------------------------------

    def _plan_renewal(self) -> None:
        self._renew_at = self._now() + self.connection.channel_s * _RENEW_SHARE

    async def _renew(self) -> None:
        """Renews the channel's token when three quarters of its life are over; a slow answer is waited for."""
        if self._now() < self._renew_at:
            return
        left_s = self.connection.channel_s * (1 - _RENEW_SHARE)
        await self.set_up(self._now() + left_s, self.connection.token(ua.SecurityTokenRequestType.Renew))
        self._plan_renewal()

    async def _keep(self) -> None:
        """Keeps channel and session alive where nobody asks for a while, and does the chore."""
        while not self.lost:
            idle_s = self.session_s / 6
            try:
                async with asyncio.timeout(min(_TICK_S, idle_s, self.connection.channel_s / 10)):
                    await self._closing.wait()
            except TimeoutError:
                with suppress(LinkDown, Rejected):
                    await self._renew()
                    if self._now() >= self._asked_at + idle_s:
                        await self.read([_STATE], self._now() + 2 * idle_s, beat=True)
                    if self.chore:
                        await self.chore()
            else:
                return

    async def close(self) -> None:
        """Closes politely where the server still answers, and in any case within about a second."""
        self._closing.set()
        try:
            if self._open and not self.lost:
                with suppress(OSError, TimeoutError, UaError, Fault):
                    async with asyncio.timeout(_CLOSING_S):
                        await self.connection.close_session()
                        await self.connection.close_channel()
        finally:
            self.down("the connection was closed")
            await self._abandon()

    async def _abandon(self) -> None:
        await self.connection.abort()
        # With the socket gone this sends nothing.
        with suppress(OSError, UaError, Fault):
            await self.connection.close_session()
        if self._keeper is not None:
            self._keeper.cancel()  # with the socket gone no request of it is in flight
            await asyncio.wait({self._keeper})

    # --- reading --------------------------------------------------------------------------------------

    async def read(
        self,
        nodes: Sequence[ua.NodeId],
        deadline: float,
        *attributes: AttributeIds,
        times: ua.TimestampsToReturn = ua.TimestampsToReturn.Both,
        beat: bool = False,
    ) -> list[Datum]:
        """These attributes (the value where none is named) of every node, in requests as large as the server takes."""
        wanted = read_request(nodes, *attributes).NodesToRead

        async def ask(some: Sequence[ua.ReadValueId]) -> list[Datum]:
            return await self.read_once(ua.ReadParameters(0, times, list(some)), deadline, beat=beat)

        return await in_pieces(self, "read", wanted, ask, _too_much)

    async def held_kinds(self, nodes: Sequence[ua.NodeId], deadline: float) -> list[tuple[int, bool] | None]:
        """The number of the built-in type that each node holds, and whether it is an array; None for no value."""

        async def ask(some: Sequence[ua.ReadValueId]) -> list[tuple[int, bool] | None]:
            return await self._read(ua.ReadParameters(0, _NEITHER, list(some)), deadline, Decoder.kind)

        return await in_pieces(self, "read", read_request(nodes).NodesToRead, ask, lambda *_: None)

    async def read_once(self, request: ua.ReadParameters, deadline: float, *, beat: bool = False) -> list[Datum]:
        """One Read service; as many data as nodes."""
        return await self._read(request, deadline, Decoder.data_value, beat=beat)

    async def _read(
        self, request: ua.ReadParameters, deadline: float, one: Callable[[Decoder], T], *, beat: bool = False
    ) -> list[T]:
        source = await self.send(deadline, ua.ReadRequest(Parameters=request), beat=beat)
        data = self.understood(ua.ReadRequest(), lambda: source.many(one))
        if len(data) != len(request.NodesToRead):
            raise self.down(f"{len(request.NodesToRead)} values were asked for and {len(data)} came")
        return data

    def node_id(self, node: str) -> ua.NodeId:
        """A node as it was written, with its namespace URI resolved; ValueError where the server has no such."""
        if not node.startswith("nsu="):
            return _parsed(node)
        uri, _, rest = node[4:].partition(";")
        if uri not in self.namespaces:
            raise ValueError(f"the server has no namespace {uri!r}; it has {', '.join(self.namespaces[1:]) or 'none'}")
        return _parsed(f"ns={self.namespaces.index(uri)};{rest}")


def read_request(nodes: Sequence[ua.NodeId], *attributes: AttributeIds) -> ua.ReadParameters:
    """A Read of these attributes (the value where none is named) of every node, with both time stamps."""
    request = ua.ReadParameters()
    request.TimestampsToReturn = ua.TimestampsToReturn.Both
    request.NodesToRead = [
        ua.ReadValueId(node, attribute) for node in nodes for attribute in attributes or (AttributeIds.Value,)
    ]
    return request


def _too_much(_: object, name: str) -> Datum:
    code: Any = getattr(StatusCodes, name, 0x80000000)
    return None, int(code), 0, 0


def _parsed(node: str) -> ua.NodeId:
    try:
        return ua.NodeId.from_string(node)
    except UaError:
        raise ValueError(
            f"{node!r} is neither a NodeId like `ns=2;s=Filler` nor a path like `/Objects/2:Filler`"
        ) from None


def _never() -> float:
    return 0.0


def _running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
