"""Who connects: anonymous, a user name with its password, or a user's certificate; and how a server takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asyncua import ua
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

from edgeflow.errors import Rejected
from edgeflow_opcua.endpoint import POLICIES, policy_name
from edgeflow_opcua.settings import Link

_WRITE = {
    ua.UserTokenType.Anonymous: "anonymous users (write neither `user` nor `user_certificate`)",
    ua.UserTokenType.UserName: "user names (write `user` and `password`)",
    ua.UserTokenType.Certificate: "certificates (write `user_certificate` and `user_key`)",
}
_ENCRYPTS = (*POLICIES, "Basic256")  # as a channel the last is withdrawn, but its encryption of a password holds


@dataclass(frozen=True, slots=True)
class Identity:
    """A user as the link names it, with its secrets; `who` is what messages call it."""

    token: ua.UserTokenType
    who: str = "anonymous"
    name: str = ""
    password: str = ""
    certificate: x509.Certificate | None = None
    key: rsa.RSAPrivateKey | None = None


def identity(link: Link) -> Identity:
    """The user of a link; raises Rejected where its secret is not where the link says."""
    if link.user is not None:
        password = link.password.read() if link.password else ""
        if password is None:
            raise Rejected(f"the password of {link.user!r} is not in {link.password}; put it there")
        return Identity(ua.UserTokenType.UserName, f"the user {link.user!r}", link.user, password)
    if link.user_certificate is not None and link.user_key is not None:
        certificate, key = _certificate(link.user_certificate), _key(link.user_key)
        if certificate.public_key() != key.public_key():
            raise Rejected(f"the key {link.user_key} does not belong to the certificate {link.user_certificate}")
        who = f"the user of the certificate {link.user_certificate.name}"
        return Identity(ua.UserTokenType.Certificate, who, certificate=certificate, key=key)
    return Identity(ua.UserTokenType.Anonymous)


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """How a user is shown to a server.

    `encrypted_for_server`: the password is encrypted for the certificate of the server and by nothing
    else, so that certificate has to be trusted.
    """

    policy: ua.UserTokenPolicy
    encrypted_for_server: bool = False


def choose_token(
    policies: Sequence[ua.UserTokenPolicy], user: Identity, endpoint: ua.EndpointDescription, link: Link
) -> TokenChoice:
    """The token policy of an endpoint that fits the user, best protected first; raises Rejected.

    A password is sent only where the token or the channel encrypts it, or the link allows otherwise
    (OPC 10000-4 7.40.2.1: an empty policy of the token means that of the endpoint).
    """
    fitting = [policy for policy in policies if policy.TokenType == user.token]
    if not fitting:
        if user.token is ua.UserTokenType.Anonymous and not policies:
            return TokenChoice(ua.UserTokenPolicy(TokenType=user.token))
        taken = ", ".join(
            words for kind, words in _WRITE.items() if any(policy.TokenType == kind for policy in policies)
        )
        raise Rejected(f"it does not take {user.who} here; it takes {taken or 'only what we do not speak'}")
    if user.token is ua.UserTokenType.Anonymous:
        return TokenChoice(fitting[0])
    names = {id(policy): policy_name(policy.SecurityPolicyUri or endpoint.SecurityPolicyUri) for policy in fitting}
    known = [policy for policy in fitting if names[id(policy)] in _ENCRYPTS]
    best = min(known, key=lambda policy: _ENCRYPTS.index(names[id(policy)]), default=None)
    if user.token is ua.UserTokenType.Certificate:
        if best is None:
            raise Rejected("it does not say how a user's certificate is proved here; take a `security` other than none")
        return TokenChoice(best)
    encrypted = endpoint.SecurityMode is ua.MessageSecurityMode.SignAndEncrypt
    if best is not None:
        plain = endpoint.SecurityMode is ua.MessageSecurityMode.None_
        return TokenChoice(best, encrypted_for_server=plain and bool(user.password) and not link.password_in_clear)
    if user.password and not encrypted and not link.password_in_clear:
        raise Rejected(
            "it would have the password unencrypted, for everybody on the network to read; take a `security` that "
            "encrypts, or accept that and write `password_in_clear: true`"
        )
    plain_policy = next((policy for policy in fitting if names[id(policy)] in ("", "None")), None)
    if plain_policy is None:
        raise Rejected(f"it wants the password encrypted by {' or '.join(names.values())}, which we do not speak")
    return TokenChoice(plain_policy)


def _certificate(path: Path) -> x509.Certificate:
    content = _content(path, "certificate")
    try:
        pem = content.lstrip().startswith(b"-----")
        return x509.load_pem_x509_certificate(content) if pem else x509.load_der_x509_certificate(content)
    except ValueError:
        raise Rejected(f"{path} is no certificate (PEM or DER)") from None


def _key(path: Path) -> rsa.RSAPrivateKey:
    content = _content(path, "key")
    try:
        pem = content.lstrip().startswith(b"-----")
        load = load_pem_private_key if pem else load_der_private_key
        key = load(content, None, unsafe_skip_rsa_key_validation=True)  # it would hold up everything else
    except (ValueError, TypeError):
        raise Rejected(f"{path} is no private key without a password (PEM or DER)") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise Rejected(f"{path} is no RSA key, which the security policies ask for")
    return key


def _content(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Rejected(f"the user's {what} {path} cannot be read: {error.strerror}") from None
