"""Certificates of a small authority of the tests' own: for brokers and for clients, right and wrong."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_BEGIN, _END = dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2090, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates into a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self._own = self._signed(self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0))
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(self._own.public_bytes(Encoding.PEM))

    def pair(self, name: str, *, address: str = "", end: dt.datetime = _END, password: bytes = b"") -> Pair:
        """A certificate for a host (`address` or name) or a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        other = x509.IPAddress(ipaddress.ip_address(address)) if address else x509.DNSName(name)
        signed = self._signed(_named(name), key.public_key(), x509.SubjectAlternativeName([other]), end=end)
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        pair.certificate.write_bytes(signed.public_bytes(Encoding.PEM))
        how = BestAvailableEncryption(password) if password else NoEncryption()
        pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))
        return pair

    def _signed(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePublicKey,
        extension: x509.ExtensionType,
        *,
        end: dt.datetime = _END,
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder(self._name, name, key, x509.random_serial_number(), _BEGIN, end)
        return builder.add_extension(extension, critical=False).sign(self._key, hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
