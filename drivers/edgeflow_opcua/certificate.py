"""Certificates: our own one with its key, made at the first start and renewed in time, and how any is shown."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeflow.clock import SystemClock
from edgeflow.driver import Home
from edgeflow.errors import Rejected
from edgeflow.units import NS_PER_S

CERTIFICATE, KEY, FORMER = "own/certificate.der", "own/key.pem", "own/former.der"

_BITS = 2048  # every policy takes 2048 to 4096 (OPC 10000-7); controllers are slow with longer ones
_LIFE = timedelta(days=3652)
_EARLY = timedelta(days=365)  # before now, for servers whose clock is behind
_RENEW_BEFORE = timedelta(days=180)
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)  # a gateway without a clock battery may start in 1970


@dataclass(frozen=True, slots=True)
class Own:
    """Our certificate with its key.

    `former`: the one before it, as long as it is valid: servers that have not approved the new one yet
    still know it.
    """

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    former: x509.Certificate | None = None
    issuers: tuple[x509.Certificate, ...] = ()


def now_ns() -> int:
    """UTC nanoseconds now."""
    return SystemClock().now_ns()


def now() -> datetime:
    """UTC now, by which certificates are valid or not."""
    return datetime.fromtimestamp(now_ns() // NS_PER_S, UTC)


async def own(home: Home) -> Own:
    """Our certificate, made where there is none and made anew half a year before it ends.

    One that a certificate authority has issued is used as it is. Raises Rejected where what is in `own/`
    cannot be used.
    """
    held = _held(home)
    if held is None:
        made = await asyncio.to_thread(_make_pair)  # RSA keys take a small machine a second
        held = _held(home)  # another link may have been faster
        if held is None:
            home.put(KEY, made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            home.put(CERTIFICATE, der(made.certificate))
            return made
    moment, certificate = max(now(), _FIRST), held.certificate
    if certificate.issuer == certificate.subject and certificate.not_valid_after_utc - moment < _RENEW_BEFORE:
        home.put(FORMER, der(certificate))
        home.put(CERTIFICATE, der(_make(held.key, application_uri(certificate))))
        held = _held(home)
        assert held is not None
    if held.former is not None and held.former.not_valid_after_utc < moment:
        home.put(FORMER, None)
        return Own(held.certificate, held.key, None, held.issuers)
    return held


def application_uri(certificate: x509.Certificate | None) -> str:
    """The application URI, which is the one in the certificate where there is one."""
    uris = _alternatives(certificate, x509.UniformResourceIdentifier) if certificate else []
    return uris[0] if uris else f"urn:{_host()}:edgeflow"


def host_names(certificate: x509.Certificate) -> list[str]:
    """Names and addresses of the machine that a certificate speaks of, in lower case."""
    addresses = map(str, _alternatives(certificate, x509.IPAddress))
    return [name.lower() for name in (*_alternatives(certificate, x509.DNSName), *addresses)]


def chain(content: bytes) -> list[x509.Certificate]:
    """The certificates of one or several DER structures in a row, the end's own first; raises ValueError."""
    found: list[x509.Certificate] = []
    while content or not found:
        size = _der_size(content)
        found.append(x509.load_der_x509_certificate(content[:size]))
        content = content[size:]
    return found


def der(certificate: x509.Certificate) -> bytes:
    """A certificate as it is sent and kept."""
    return certificate.public_bytes(Encoding.DER)


def fingerprint(certificate: x509.Certificate) -> str:
    """The SHA-1 thumbprint, by which OPC UA servers and tools show certificates (OPC 10000-6 6.2.2)."""
    return certificate.fingerprint(hashes.SHA1()).hex()  # noqa: S303 - a name; what is compared is the whole certificate


def shown(certificate: x509.Certificate) -> str:
    """Whose certificate it is."""
    return ", ".join(f"{part.rfc4514_attribute_name}={part.value!s}" for part in certificate.subject) or "no name"


def _held(home: Home) -> Own | None:
    key, certificate, former = home.get(KEY), home.get(CERTIFICATE), home.get(FORMER)
    if key is None and certificate is None:
        return None
    try:
        first, *issuers = chain(certificate or b"")
        # To try whether its numbers are prime would hold up everything else, on a small machine for half a second.
        private = load_pem_private_key(key or b"", None, unsafe_skip_rsa_key_validation=True)
        before = x509.load_der_x509_certificate(former) if former else None
    except (ValueError, TypeError) as error:
        raise _unusable(str(error)) from None
    if not isinstance(private, rsa.RSAPrivateKey) or first.public_key() != private.public_key():
        raise _unusable("the key does not belong to the certificate")
    return Own(first, private, before, tuple(issuers))


def _unusable(why: str) -> Rejected:
    return Rejected(
        f"our own certificate cannot be used ({why}); put `{CERTIFICATE}` (DER) and `{KEY}` (PEM, no password) right, "
        "or take both away and new ones are made"
    )


def _make_pair() -> Own:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    return Own(_make(key, f"urn:{_host()}:edgeflow:{secrets.token_hex(4)}"), key)


def _make(key: rsa.RSAPrivateKey, uri: str) -> x509.Certificate:
    """A certificate as OPC 10000-6 6.2.2 wants one of an application, signed by itself."""
    host, begin = _host(), max(now(), _FIRST)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"EdgeFlow@{host}")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - _EARLY)
        .not_valid_after(begin + _LIFE)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri), x509.DNSName(host)]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_USES, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )


_USES = x509.KeyUsage(
    digital_signature=True,
    content_commitment=True,
    key_encipherment=True,
    data_encipherment=True,
    key_agreement=False,
    key_cert_sign=True,  # it has signed itself
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _host() -> str:
    """The name of this machine as a URI and a certificate can hold it."""
    return re.sub(r"[^a-z0-9.-]+", "-", socket.gethostname().lower()).strip("-.")[:60] or "gateway"


def _alternatives(certificate: x509.Certificate, kind: type[x509.GeneralName]) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [name.value for name in names if isinstance(name, kind)]


def _der_size(content: bytes) -> int:
    """Of a DER SEQUENCE with its header; ValueError where it is none or longer than the content."""
    if len(content) < 2 or content[0] != 0x30:
        raise ValueError("it is no certificate in DER")
    size, begin = content[1], 2
    if size & 0x80:
        begin += size & 0x7F
        size = int.from_bytes(content[2:begin], "big")
    if begin + size > len(content):
        raise ValueError("a certificate is cut off")
    return begin + size
