"""What a person writes to reach an MQTT broker: where it is, who we are, and how to be sure that it is the one."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from edgeflow.errors import LinkDown
from edgeflow.model import LocalFile, Secret, Strict
from edgeflow.units import NS_PER_S, Duration

PORT, TLS_PORT = 1883, 8883


def _whole_second(ns: int) -> int:
    if ns < NS_PER_S:
        raise ValueError("write at least `1 s`")
    return ns


class Tls(Strict):
    """How the broker proves who it is, and we prove who we are. Files are PEM."""

    ca: LocalFile | None = Field(
        default=None,
        description="File with the certificate that signed the broker's, or with the broker's own where nobody signed "
        "it. Without it those count that this machine trusts.",
    )
    certificate: LocalFile | None = Field(
        default=None, description="File with our own certificate, for a broker that wants one."
    )
    key: LocalFile | None = Field(default=None, description="File with the key that belongs to our certificate.")
    key_password: Secret | None = Field(default=None, description="Where the password of that file is found.")
    server_name: str | None = Field(
        default=None,
        min_length=1,
        description="The name in the broker's certificate, where it is not the `host` under which we reach it.",
    )
    check_name: bool = Field(
        default=True,
        description="Whether the name in the certificate is compared. Without, everybody who has a certificate from "
        "the same source can pretend to be the broker; better give `server_name`.",
    )

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("`certificate` and `key` belong together; write both")
        if self.key_password is not None and self.key is None:
            raise ValueError("`key_password` needs `key`")
        if not self.check_name and self.server_name is not None:
            raise ValueError("`server_name` is of no use with `check_name: false`; remove one")
        return self

    def context(self) -> Context:
        """What a connection needs; reads the files. Raises LinkDown that names the one that cannot be used."""
        context = Context(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.server_name = self.server_name
        context.check_hostname = self.check_name
        if self.ca is None:
            context.load_default_certs()
        else:
            _checked(self.ca)
            try:
                context.load_verify_locations(self.ca)
            except (ssl.SSLError, OSError) as error:
                raise LinkDown(f"{self.ca} holds no certificate in PEM form: {error}") from None
        if self.certificate is not None and self.key is not None:
            _checked(self.certificate)
            _checked(self.key)
            password = self.key_password.read() if self.key_password is not None else None
            if self.key_password is not None and password is None:
                raise LinkDown(f"the password of {self.key} is not there: {self.key_password}")
            try:
                # Without a password one would be asked for on the terminal.
                context.load_cert_chain(self.certificate, self.key, password or "")
            except (ssl.SSLError, OSError) as error:
                reason = f"cannot be used together: {error}; are they a pair, in PEM form, and is the password right?"
                raise LinkDown(f"{self.certificate} and {self.key} {reason}") from None
        return context


class Context(ssl.SSLContext):
    """Knows the name to expect in the certificate, and the socket that it made last, which a failed handshake loses."""

    server_name: str | None = None
    made: ssl.SSLSocket | None = None

    def wrap_socket(self, sock: socket.socket, *args: Any, **more: Any) -> ssl.SSLSocket:
        if self.server_name is not None:
            more["server_hostname"] = self.server_name
        self.made = super().wrap_socket(sock, *args, **more)
        return self.made


def _checked(file: Path) -> None:
    try:
        file.open("rb").close()
    except OSError as error:
        raise LinkDown(f"{file} cannot be read: {error.strerror}") from None


class Broker(Strict):
    """A broker, and who we are to it."""

    host: str = Field(description="Name or address of the broker.", min_length=1)
    port: int = Field(default=PORT, ge=1, le=65535, description="TCP port of the broker; with `tls` 8883 by default.")
    version: Literal["auto", "3.1.1", "5"] = Field(
        default="auto", description="Version of MQTT. `auto` takes 5 where the broker knows it, else 3.1.1."
    )
    user: str | None = Field(default=None, min_length=1, description="User name, where the broker wants one.")
    password: Secret | None = Field(
        default=None, description="Where the password is found: `{file: broker.secret}` or `{env: NAME}`."
    )
    tls: Tls | None = Field(
        default=None, description="Encrypts, and proves who the broker is; without it everything can be read and faked."
    )
    client_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=65535,
        description="Client identifier, different for every client of the broker; one of our own where not given.",
    )
    keepalive: Annotated[Duration, AfterValidator(_whole_second)] = Field(
        default=10 * NS_PER_S,
        description="By when a broker that no longer answers is noticed, and told to the broker for the same purpose.",
    )

    @model_validator(mode="before")
    @classmethod
    def _port_of_tls(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("tls") is not None and "port" not in given:
            return {**given, "port": TLS_PORT}
        return given

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.password is not None and self.user is None:
            raise ValueError("`password` needs `user`")
        return self

    @property
    def claim(self) -> tuple[str, str]:
        """The setting that no other client of this broker may have so, and what it stands for; empty: none."""
        return ("client_id", f"{self.client_id} at {self.host}:{self.port}") if self.client_id else ("", "")
