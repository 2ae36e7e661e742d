"""Modbus/TCP Security: the TLS that a link asks for.

Source: MODBUS/TCP Security Protocol Specification v36: TLS 1.2 or newer, both sides show a certificate.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from edgeflow.errors import LinkDown


def context(ca: Path | None, certificate: Path | None, key: Path | None, *, check_name: bool) -> ssl.SSLContext:
    """What the server's certificate is checked with, and what we show; raises LinkDown naming the file that fails."""
    try:
        tls = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise LinkDown(f"`ca`: {ca} cannot be used as a file of trusted certificates (PEM): {_words(error)}") from None
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.check_hostname = check_name
    if certificate is not None:
        try:
            tls.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ssl.SSLError) as error:
            files = f"{certificate} and {key}" if key else f"{certificate}"
            raise LinkDown(f"`certificate` and `key`: {files} cannot be used (PEM): {_words(error)}") from None
    return tls


def _no_password() -> str:
    """Instead of asking at the terminal, which would stop everything."""
    raise ssl.SSLError("the key is protected by a password; store it without one, readable by its owner only")


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
