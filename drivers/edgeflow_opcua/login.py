"""How a connection gets in: the endpoint, the security of the channel, and who connects."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.ua.uaerrors import UaError
from cryptography import x509

from edgeflow.driver import Home
from edgeflow.errors import LinkDown, Rejected
from edgeflow_opcua import refusal
from edgeflow_opcua.certificate import Own, application_uri, chain, fingerprint, now_ns, own
from edgeflow_opcua.endpoint import choose, policy_name, strength
from edgeflow_opcua.identity import Identity, choose_token, identity
from edgeflow_opcua.library import POLICY_OF, Fault
from edgeflow_opcua.settings import Link
from edgeflow_opcua.trust import Trust

if TYPE_CHECKING:
    from edgeflow_opcua.wire import Wire

_CLOSING_S = 1.0


class Login:
    """Opens channel and session as a link says, and nothing weaker."""

    def __init__(self, wire: Wire, link: Link, home: Home) -> None:
        self._wire, self._link, self._home, self._trust = wire, link, home, Trust(home)
        self._who, self._fingerprint = "anonymous", ""

    def explained(self, name: str, server_ns: int = 0) -> str:
        """A status of the server in words."""
        clocks = refusal.Clocks(now_ns(), server_ns)
        return refusal.explained(name, who=self._who, fingerprint=self._fingerprint, clocks=clocks)

    async def enter(self, deadline: float) -> None:
        """Raises Rejected where the server does not offer what the link asks for, and LinkDown."""
        user = identity(self._link)
        endpoint = choose(await self._wire.offered(deadline), self._link, user.token)
        if endpoint.SecurityMode is ua.MessageSecurityMode.None_:
            await self._session(endpoint, user, deadline)
        else:
            await self._secured(endpoint, user, deadline)

    async def _secured(self, endpoint: ua.EndpointDescription, user: Identity, deadline: float) -> None:
        """With our own certificate; where that was renewed and is not known yet, with the former one."""
        wire, sent = self._wire, endpoint.ServerCertificate
        if not sent:
            raise Rejected("it offers encryption without a certificate of its own; have it make one")
        self._trust.check(sent, wire.url, endpoint.Server.ApplicationUri or "")
        with suppress(OSError, TimeoutError, UaError, Fault):
            async with asyncio.timeout(_CLOSING_S):
                await wire.connection.close_channel()
        await wire.drop_channel()
        mine = await own(self._home)
        refused: LinkDown | None = None
        for certificate in [mine.certificate, *([mine.former] if mine.former else [])]:
            self._secure(endpoint, mine, certificate, chain(sent)[0])
            try:
                await self._open(deadline)
                await self._session(endpoint, user, deadline)
            except LinkDown as error:
                refused, wire.lost = refused or error, ""
                await wire.drop_channel()
            else:
                return
        assert refused is not None
        wire.lost = str(refused)
        raise refused

    async def _open(self, deadline: float) -> None:
        try:
            await self._wire.open_channel(deadline)
        except LinkDown as error:
            if isinstance(error.__cause__, OSError) and self._wire.connection.first:
                self._wire.lost = ""
                raise self._wire.down(f"it closed the connection: {refusal.untrusted(self._fingerprint)}") from None
            raise

    def _secure(
        self, endpoint: ua.EndpointDescription, mine: Own, certificate: x509.Certificate, server: x509.Certificate
    ) -> None:
        policy = POLICY_OF[policy_name(endpoint.SecurityPolicyUri)]
        issuers = [] if certificate is mine.former else list(mine.issuers)
        secured = policy(server, certificate, mine.key, endpoint.SecurityMode, host_cert_chain=issuers)
        self._wire.connection.secure(secured, application_uri(certificate))
        self._fingerprint = fingerprint(certificate)

    async def _session(self, endpoint: ua.EndpointDescription, user: Identity, deadline: float) -> None:
        """Creates and activates the session on the open channel."""
        wire, connection = self._wire, self._wire.connection
        created = await wire.set_up(deadline, connection.create_session())
        # What a server offers is read before anything is encrypted; only now is it certain.
        if self._fingerprint and self._link.security == "auto":
            certain = choose(created.ServerEndpoints or (), self._link, user.token)
            if strength(certain) > strength(endpoint):
                raise Rejected("what it offers was changed on the way to us; somebody is in between")
        token = choose_token(connection.user_policies, user, endpoint, self._link)
        if token.encrypted_for_server:
            self._trust.check(connection.policy.peer_certificate or b"", wire.url, endpoint.Server.ApplicationUri or "")
        self._who = user.who
        connection.show(token.policy, user.name, user.password, user.certificate, user.key)
        await wire.set_up(deadline, connection.activate_session())
        if not self._fingerprint:
            connection.forget_peer()
