"""aiohttp is loaded without the system's certificates, and nobody else has to do without them."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

SCRIPT = """
import ssl, sys, threading
from edgeflow.web.lean import load_aiohttp

class Slow:
    '''While aiohttp is being imported, somebody else makes a context.'''
    def find_spec(self, name, path=None, target=None):
        if name == "aiohttp.connector":
            thread = threading.Thread(target=lambda: meanwhile.append(ssl.create_default_context()))
            thread.start()
            thread.join()

meanwhile = []
sys.meta_path.insert(0, Slow())
load_aiohttp()
from aiohttp import connector
count = lambda context: len(context.get_ca_certs())
print(count(connector._SSL_CONTEXT_VERIFIED), count(meanwhile[0]), count(ssl.create_default_context()))
"""


def test_aiohttp_is_loaded_without_certificates_and_others_get_theirs(tmp_path: Path) -> None:
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(_authority())
    environment = os.environ | {"SSL_CERT_FILE": str(trusted), "SSL_CERT_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    assert done.stdout == "0 1 1\n"


def _authority() -> bytes:
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name.from_rfc4514_string("CN=Authority of the plant")
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return made.sign(key, SHA256()).public_bytes(Encoding.PEM)
