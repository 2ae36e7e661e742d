from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgeflow.errors import ConfigError, LinkDown
from edgeflow.sync.client import CentralClient, Refused
from edgeflow.web.server import serve


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@asynccontextmanager
async def answering(answer: web.Response | None, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that gives this answer to everything, or none at all."""

    async def handle(_: web.Request) -> web.Response:
        if answer is None:
            await asyncio.Event().wait()
        assert answer is not None
        return answer

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    async with serve(app, "127.0.0.1", 0, tls=tls) as served:
        yield served.url


async def test_https_is_spoken_with_a_certificate_that_is_trusted_by_name(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    async with answering(web.Response(text="hello"), context) as url, CentralClient(url, ca=cert) as client:
        assert await client.ask("GET", "/") == b"hello"


async def test_a_certificate_that_is_not_trusted_says_what_to_do(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    async with answering(web.Response(text="hello"), context) as url, CentralClient(url) as client:
        with pytest.raises(LinkDown, match="is not trusted; give its issuer's certificate as `ca`"):
            await client.ask("GET", "/")


async def test_a_file_of_certificates_that_is_none_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"ca\.pem cannot be used as a file of trusted certificates"):
        CentralClient("https://central.example", ca=tmp_path / "ca.pem")


async def test_a_server_that_does_not_answer_is_told_with_the_time() -> None:
    async with answering(None) as url, CentralClient(url) as client:
        with pytest.raises(LinkDown, match=r"did not answer within 0\.2 s"):
            await client.ask("GET", "/", timeout_s=0.2)


async def test_an_answer_that_is_not_ours_is_refused_with_its_status() -> None:
    page = web.Response(status=502, text="<html>bad gateway</html>", content_type="text/html")
    async with answering(page) as url, CentralClient(url) as client:
        with pytest.raises(Refused, match="the central server answered 502"):
            await client.ask("GET", "/")


async def test_a_redirect_is_not_followed_with_the_key() -> None:
    elsewhere = web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})
    async with answering(elsewhere) as url, CentralClient(url, token="secret") as client:
        with pytest.raises(Refused, match="answered 302"):
            await client.ask("GET", "/")
