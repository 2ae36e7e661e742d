"""What it means when a server says no: its status codes in words for the person who connects it."""

from __future__ import annotations

_OURS = {
    "BadSecurityChecksFailed",
    "BadCertificateUntrusted",
    "BadCertificateInvalid",
    "BadCertificateIssuerUseNotAllowed",
    "BadCertificateUseNotAllowed",
    "BadCertificateRevoked",
    "BadCertificateIssuerRevoked",
    "BadCertificateChainIncomplete",
    "BadCertificateRevocationUnknown",
    "BadCertificateIssuerRevocationUnknown",
    "BadApplicationSignatureInvalid",
    "BadNoValidCertificates",
}
"""What servers answer that do not trust a client's certificate; many say only that the checks failed."""

_USER = {
    "BadIdentityTokenRejected",
    "BadIdentityTokenInvalid",
    "BadUserAccessDenied",
    "BadUserSignatureInvalid",
}

_HINTS = {
    "BadTooManySessions": "all its sessions are taken; close another client or raise its limit",
    "BadMaxConnectionsReached": "all its connections are taken; close another client or raise its limit",
    "BadSecurityPolicyRejected": "it does not take this security policy; `edgeflow opcua endpoints` lists what it does",
    "BadSecurityModeRejected": "it does not take this security mode; `edgeflow opcua endpoints` lists what it does",
    "BadTcpEndpointUrlInvalid": "it does not know this address; `edgeflow opcua endpoints` lists its own",
    "BadTcpSecureChannelUnknown": "it does not know our channel any more; was it restarted?",
    "BadSecureChannelIdInvalid": "it does not know our channel any more; was it restarted?",
    "BadSecureChannelClosed": "it has closed our channel",
    "BadSessionIdInvalid": "it does not know our session any more; was it restarted?",
    "BadSessionClosed": "it has closed our session",
    "BadSessionNotActivated": "it has not let our session in",
    "BadServerHalted": "it is halted",
    "BadShutdown": "it is shutting down",
    "BadTcpServerTooBusy": "it is too busy",
    "BadTimeout": "it did not manage to answer in the time that it gives itself",
    "BadCertificateUriInvalid": "the application URI in our certificate is not the one we say; "
    "take `own/certificate.der` and `own/key.pem` away and new ones are made",
    "BadCertificateHostNameInvalid": "it looks for its own host name in a certificate and does not find it",
}


def explained(name: str, *, who: str, fingerprint: str = "") -> str:
    """A status code as what happened and what to do.

    `who` connects: the user as it was written, or `anonymous`; `fingerprint` is that of our certificate, ""
    where the connection uses none.
    """
    if name == "BadCertificateTimeInvalid":
        return f"{name}: it finds our certificate expired or not yet valid; is its clock right?"
    if name in _OURS and fingerprint:
        return f"{name}: {untrusted(fingerprint)}"
    if name in _USER and who == "anonymous":
        return f"{name}: it refuses anonymous users; write `user` and `password`, or allow them on the server"
    if name in _USER:
        return f"{name}: it refuses {who}; is the name right, the password or key, and may this user log in?"
    return f"{name}: {_HINTS.get(name, 'it refused the request')}"


def untrusted(fingerprint: str) -> str:
    """What to do where a server does not trust our certificate."""
    return (
        f"the server does not trust our certificate {fingerprint}: approve it at the server, where it is "
        "among the rejected or pending ones"
    )
