"""Secured OPC UA servers for the tests, made with libraries of others, each in a process of its own."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import os
import select
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from edgeflow.plant.port import free_port

HERE = Path(__file__).parent
PASSWORD = "ohne Öl läuft nichts"
POLICIES = ("Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss")
EVERY = ("NoSecurity", *(f"{policy}_{mode}" for policy in POLICIES for mode in ("Sign", "SignAndEncrypt")))
_START_S = 60.0
_LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
_FAR_AWAY = dt.datetime(2090, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Pair:
    """A certificate with its key, and the files that hold them."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    file: Path
    key_file: Path

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA1()).hex()


def make_pair(
    folder: Path,
    name: str,
    *,
    issuer: Pair | None = None,
    authority: bool = False,
    uri: str = "urn:edgeflow:test:secured",
    host: str = "127.0.0.1",
    begin: dt.datetime = _LONG_AGO,
    end: dt.datetime = _FAR_AWAY,
    bits: int = 2048,
    key: rsa.RSAPrivateKey | None = None,
) -> Pair:
    """A certificate of an application, or of an authority that may sign others; by default signed by itself."""
    key = key or rsa.generate_private_key(public_exponent=65537, key_size=bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    try:
        where: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        where = x509.DNSName(host)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri), where]), critical=False)
        .sign(issuer.key if issuer else key, hashes.SHA256())
    )
    file, key_file = folder / f"{name}.der", folder / f"{name}.pem"
    file.write_bytes(certificate.public_bytes(Encoding.DER))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Pair(certificate, key, file, key_file)


class Process:
    """A server process that says `> ready`, takes orders as JSON lines and answers them."""

    def __init__(self, command: list[str], port: int, given: dict[str, Any]) -> None:
        self.port, self._ready, self._heard = port, False, b""
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen([*command, json.dumps({"port": port, **given})], cwd=HERE, **pipes)

    @property
    def url(self) -> str:
        """Its address, once it is ready: so several start at the same time."""
        if not self._ready:
            assert self._line() == "ready", "the OPC UA server of the test did not start"
            self._ready = True
        return f"opc.tcp://127.0.0.1:{self.port}"

    def tell(self, do: str, **more: Any) -> Any:
        assert self.url
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._line())

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            with suppress(BrokenPipeError):
                pipe.close()

    def _line(self) -> str:
        """The next line that is for us; what the libraries print is none."""
        pipe = self._process.stdout
        assert pipe
        while True:
            line, whole, rest = self._heard.partition(b"\n")
            if whole:
                self._heard = rest
                if line.startswith(b"> "):
                    return line[2:].decode().strip()
                continue
            ready, _, _ = select.select([pipe], [], [], _START_S)
            assert ready, "the OPC UA server of the test says nothing"
            more = os.read(pipe.fileno(), 65536)
            assert more, "the OPC UA server of the test has ended"
            self._heard += more


def asyncua_server(pair: Pair | None = None, *, port: int = 0, **given: Any) -> Process:
    """Every policy where there is a certificate, else none; anonymous users and one with a password."""
    own = {"certificate": str(pair.file), "key": str(pair.key_file)} if pair else {}
    policies = EVERY if pair else ("NoSecurity",)
    standard = {
        "accept": "known" not in given,
        "anonymous": True,
        "password": PASSWORD,
        "policies": policies,
        "value": 5,
        "level": 255,
    }
    return Process([sys.executable, "secured.py"], port or free_port(), {**standard, **own, **given})


def node_server(folder: Path, *, known: bytes | None = None, **given: Any) -> Process:
    """Every policy, with a certificate that it makes in the folder; one client's certificate may be known to it."""
    assert (HERE / "node/node_modules").exists(), "node-opcua is not installed; `make test` does it, or `make setup`"
    if known is not None:
        trusted = folder / "server/trusted/certs"
        trusted.mkdir(parents=True)
        (trusted / "known.pem").write_bytes(x509.load_der_x509_certificate(known).public_bytes(Encoding.PEM))
    standard = {"folder": str(folder), "accept": False, "password": PASSWORD}
    return Process(["node", "node/server.mjs"], free_port(), {**standard, **given})
