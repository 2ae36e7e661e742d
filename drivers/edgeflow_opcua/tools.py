"""What a person does with an OPC UA server before it is used: see what it offers, and approve certificates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from asyncua import ua
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field

from edgeflow.driver import Finding, Home, Note, Progress, Row, Tool
from edgeflow.errors import LinkDown, Rejected
from edgeflow.model import Strict
from edgeflow.units import NS_PER_S, Duration
from edgeflow_opcua.certificate import application_uri, chain, fingerprint, own, shown
from edgeflow_opcua.endpoint import choose, policy_name, strength, usable
from edgeflow_opcua.endpoint import shown as described
from edgeflow_opcua.settings import Link
from edgeflow_opcua.trust import PENDING, TRUSTED, Entry, Trust, remarks
from edgeflow_opcua.wire import Wire

_TOKENS = {
    ua.UserTokenType.Anonymous: "anonymous",
    ua.UserTokenType.UserName: "user",
    ua.UserTokenType.Certificate: "certificate",
    ua.UserTokenType.IssuedToken: "issued token",
}


class EndpointsOptions(Strict):
    """How long to wait."""

    timeout: Duration = Field(default=5 * NS_PER_S, description="How long each server may take to answer.")


class CertificatesOptions(Strict):
    """What to show."""

    pem: bool = Field(
        default=False,
        description="Shows our own certificate as PEM, to be imported into a server that asks for a file.",
    )


class FingerprintOptions(Strict):
    """Which certificate."""

    fingerprint: str = Field(
        min_length=4, description="Its fingerprint (SHA-1) or the beginning of it, as `certificates` lists it."
    )


async def endpoints(link: Link, home: Home, options: EndpointsOptions) -> AsyncIterator[Finding]:
    """What each server of the link offers, strongest first, and what to write; connects without a user."""
    for number, url in enumerate(link.addresses):
        wire = Wire(url, link, home)
        yield Progress(number, len(link.addresses), f"asking {wire.where}")
        try:
            offered = await wire.offered(asyncio.get_running_loop().time() + options.timeout / NS_PER_S)
        except LinkDown as error:
            if len(link.addresses) == 1:
                raise
            yield Note(str(error))
            continue
        finally:
            await wire.close()
        for endpoint in sorted(offered, key=strength, reverse=True):
            yield Row(_cells(wire, endpoint, home))
        yield Note(f"{wire.where}: {_verdict(wire, offered, link, home)}")
    yield Progress(len(link.addresses), len(link.addresses))


async def certificates(link: Link, home: Home, options: CertificatesOptions) -> AsyncIterator[Finding]:
    """Our own certificate, those that are trusted, and those that wait for approval."""
    mine = await own(home)
    if options.pem:
        yield Note(mine.certificate.public_bytes(Encoding.PEM).decode())
        return
    yield _row("own", mine.certificate)
    if mine.former is not None:
        yield _row("own, former", mine.former)
        yield Note("Our own certificate was renewed: approve the new one at the servers before the former one ends.")
    trust = Trust(home)
    pending = trust.entries(PENDING)
    for entry in trust.entries(TRUSTED):
        yield _row("trusted", entry.certificate)
    for entry in pending:
        yield _row("pending", entry.certificate)
    if pending:
        yield Note(
            "Compare a pending fingerprint with what the server itself shows, then: "
            f"`edgeflow opcua trust {pending[0].fingerprint} --url {link.addresses[0]}{home.option}`"
        )


async def trust(link: Link, home: Home, options: FingerprintOptions) -> AsyncIterator[Finding]:  # noqa: ARG001 - the contract of a tool
    """Approves a server's certificate; from the next connection on the server is trusted."""
    entry = Trust(home).approve(options.fingerprint)
    yield _row("trusted", entry.certificate)
    yield Note(f"{_named(entry)} is trusted from the next connection on.")
    for remark in remarks(entry.certificate):
        yield Note(f"Mind: {remark}. It is trusted all the same, because you have approved this very certificate.")


async def distrust(link: Link, home: Home, options: FingerprintOptions) -> AsyncIterator[Finding]:  # noqa: ARG001 - the contract of a tool
    """Takes a certificate off the lists; a connection that is open stays so until it is lost."""
    entry = Trust(home).remove(options.fingerprint)
    yield Note(f"{_named(entry)} is not trusted any more, from the next connection on.")


TOOLS = (
    Tool(
        "endpoints", "What the server offers: security policies, modes and kinds of users.", EndpointsOptions, endpoints
    ),
    Tool(
        "certificates", "Our own certificate, the trusted ones and the pending ones.", CertificatesOptions, certificates
    ),
    Tool("trust", "Approves the certificate of a server that waits for it.", FingerprintOptions, trust, keeps=True),
    Tool("distrust", "Takes a certificate off the trusted and pending ones.", FingerprintOptions, distrust, keeps=True),
)


def _verdict(wire: Wire, offered: Sequence[ua.EndpointDescription], link: Link, home: Home) -> str:
    """What the link would use, and what is missing to it; an unknown certificate waits for approval from now on."""
    try:
        chosen = choose(offered, link)
        if chosen.SecurityMode is ua.MessageSecurityMode.None_:
            return "the link uses no encryption."
        Trust(home).check(chosen.ServerCertificate or b"", wire.url, chosen.Server.ApplicationUri or "")
    except Rejected as refusal:
        return str(refusal)
    return f"with `security: {link.security}` the link uses {described(chosen)}."


def _cells(wire: Wire, endpoint: ua.EndpointDescription, home: Home) -> dict[str, str]:
    return {
        "server": wire.where,
        "security": policy_name(endpoint.SecurityPolicyUri) or "?",
        "mode": endpoint.SecurityMode.name.rstrip("_"),
        "users": ", ".join(dict.fromkeys(_TOKENS.get(p.TokenType, "?") for p in endpoint.UserIdentityTokens or ())),
        "certificate": _known(endpoint.ServerCertificate, home),
        "usable": "yes" if usable(endpoint) else "no, withdrawn or not spoken",
    }


def _known(sent: bytes | None, home: Home) -> str:
    if not sent:
        return ""
    try:
        certificate = chain(sent)[0]
    except (ValueError, IndexError):
        return "cannot be read"
    trusted = any(entry.certificate == certificate for entry in Trust(home).entries(TRUSTED))
    return f"{fingerprint(certificate)}{' (trusted)' if trusted else ''}"


def _row(where: str, certificate: x509.Certificate) -> Row:
    return Row(
        {
            "list": where,
            "fingerprint": fingerprint(certificate),
            "subject": shown(certificate),
            "application": application_uri(certificate),
            "valid until": f"{certificate.not_valid_after_utc:%Y-%m-%d}",
            "remarks": ", ".join(remarks(certificate)),
        }
    )


def _named(entry: Entry) -> str:
    return f"{shown(entry.certificate)} ({entry.fingerprint})"
