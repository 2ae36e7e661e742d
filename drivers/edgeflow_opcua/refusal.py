"""What it means when a server says no: its status codes in words for the person who connects it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edgeflow.units import NS_PER_S, duration_text

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
    "BadServerUriInvalid": "it does not know this address; `edgeflow opcua endpoints` lists its own",
    "BadTcpMessageTypeInvalid": "it takes our first message for no OPC UA; is this the port of its OPC UA server?",
    "BadTcpMessageTooLarge": "our request was too large for it; the next time it is asked in smaller pieces",
    "BadRequestTooLarge": "our request was too large for it; the next time it is asked in smaller pieces",
    "BadProtocolVersionUnsupported": "it speaks another version of OPC UA",
    "BadTcpNotEnoughResources": "it has no memory for another connection; close another client",
    "BadLicenseExpired": "its licence has expired; some servers run for two hours without one",
    "BadLicenseLimitsExceeded": "its licence allows no more; close another client or extend the licence",
    "BadLicenseNotAvailable": "it has no licence for this",
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


_CLOCKS = ("BadInvalidTimestamp", "BadCertificateTimeInvalid", "BadCertificateIssuerTimeInvalid")
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Clocks:
    """Our time and the server's when it refused (UTC ns); 0 where it does not say."""

    ours_ns: int = 0
    server_ns: int = 0

    def __str__(self) -> str:
        ours = f"ours says {_shown(self.ours_ns)}"
        if not self.server_ns:
            return f"{ours}; compare it with the server's"
        apart_ns = abs(self.ours_ns - self.server_ns) // NS_PER_S * NS_PER_S
        theirs = f"the server's says {_shown(self.server_ns)}"
        return f"{theirs}, {ours}, {duration_text(apart_ns)} apart; set the wrong one right"


def explained(name: str, *, who: str, fingerprint: str = "", clocks: Clocks | None = None) -> str:
    """A status code as what happened and what to do.

    `who` connects: the user as it was written, or `anonymous`; `fingerprint` is that of our certificate, ""
    where the connection uses none.
    """
    if name in _CLOCKS:
        what = (
            "it finds our certificate expired or not yet valid; the clocks:"
            if name != "BadInvalidTimestamp"
            else "it finds that our request is from another time; the clocks:"
        )
        return f"{name}: {what} {clocks or Clocks()}"
    if name in _OURS and fingerprint:
        return f"{name}: {untrusted(fingerprint)}"
    if name in _USER and who == "anonymous":
        return f"{name}: it refuses anonymous users; write `user` and `password`, or allow them on the server"
    if name in _USER:
        return f"{name}: it refuses {who}; is the name right, the password or key, and may this user log in?"
    return f"{name}: {_HINTS.get(name, 'it refused the request')}"


_STRANGERS = (
    (b"HTTP/", "a web server (HTTP) listens at this port"),
    (b"<", "a web server (HTTP) listens at this port"),
    (b"\x15\x03", "a server that wants TLS listens at this port"),
    (b"SSH-", "an SSH server listens at this port"),
    (b"220", "a mail or file server listens at this port"),
)
_OURS_BEGIN = (b"ACK", b"ERR", b"OPN", b"MSG", b"CLO")


def stranger(first: bytes) -> str:
    """What listens where no OPC UA server does, by the first bytes that came; "" where it is one, or says nothing."""
    if not first or any(first.startswith(one[: len(first)]) for one in _OURS_BEGIN):
        return ""
    known = next((words for begin, words in _STRANGERS if first.startswith(begin)), "")
    return f"{known or f'it answered {first[:16]!r}, which is no OPC UA'}; OPC UA servers mostly use port 4840"


_WRITES = {
    "BadNotWritable": "the node cannot be written",
    "BadUserAccessDenied": "this user may not write it; the server's own rights say who may",
    "BadTypeMismatch": "the node has another type",
    "BadOutOfRange": "the value is outside of what the node takes",
    "BadWriteNotSupported": "the server cannot write this, or not with what came with it",
    "BadNotSupported": "the server cannot do this",
    "BadNodeIdUnknown": "the server has no such node",
    "BadNodeIdInvalid": "the server has no such node",
    "BadIndexRangeInvalid": "the array has no such element",
    "BadIndexRangeNoData": "the array has no such element",
    "BadIndexRangeDataMismatch": "the array has no such element",
    "BadServiceUnsupported": "the server cannot do this",
    "BadTimeout": "the server had no answer from what is behind it in time",
    "BadDeviceFailure": "what is behind the server has failed",
    "BadNoCommunication": "the server has no connection to what is behind it",
    "BadNotConnected": "the server has no connection to what is behind it",
    "BadInvalidState": "the machine is not in a state for this",
    "BadInvalidArgument": "an argument does not fit",
    "BadArgumentsMissing": "the method takes more arguments than were given",
    "BadTooManyArguments": "the method takes fewer arguments than were given",
    "BadMethodInvalid": "the object has no such method",
    "BadNotExecutable": "the method cannot be called now, or not by this user",
    "BadNothingToDo": "there was nothing to do",
    "BadLocked": "somebody else holds it",
    "BadRequestNotAllowed": "the server does not allow it now",
}


def denied(name: str) -> str:
    """A status with which a write or a call was refused, in words."""
    words = _WRITES.get(name)
    return f"the server answered {name}{f': {words}' if words else ''}"


def _shown(ns: int) -> str:
    return (_UNIX + timedelta(seconds=ns // NS_PER_S)).isoformat()[:19].replace("T", " ") + " UTC"


def untrusted(fingerprint: str) -> str:
    """What to do where a server does not trust our certificate."""
    return (
        f"the server does not trust our certificate {fingerprint}: approve it at the server, where it is "
        "among the rejected or pending ones"
    )
