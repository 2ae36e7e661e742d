"""Why a connection could not be made, or was lost: what the operating system reports, in words that say what to do."""

from __future__ import annotations

import errno
import re
import socket
import ssl

FEW = "many devices take only a few connections at once: end the maker's tool and other masters"
NO_TLS = "perhaps it does not speak TLS on this port: try `transport: tcp`"

_WORDS = {
    errno.ECONNREFUSED: "the connection was refused; check the port and that Modbus is switched on in the device",
    errno.ECONNRESET: f"the device reset the connection; {FEW}",
    errno.ECONNABORTED: f"the device broke the connection off; {FEW}",
    errno.EPIPE: "the device had closed the connection already",
    errno.ETIMEDOUT: "nobody answers any more; check the cable and that the device is switched on",
    errno.EHOSTUNREACH: "there is no such machine in this network; check the address, the cable and the device's power",
    errno.EHOSTDOWN: "the machine is down; check the cable and the device's power",
    errno.ENETUNREACH: "no network leads there; check this gateway's own address, subnet mask and default gateway",
    errno.ENETDOWN: "this gateway's network is down; check its cable",
    errno.EADDRNOTAVAIL: "this gateway has no address in that network, or no free port; check its network settings",
    errno.EACCES: "this machine does not allow it; look at its firewall",
    errno.EPERM: "this machine does not allow it; look at its firewall",
    errno.EMFILE: "EdgeFlow has too many files and connections open",
}
_NUMBER = re.compile(r"\[Errno (\d+)\]")


def cause(error: OSError) -> str:
    """The words for an error; where a name has several addresses, of the first that was tried."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not accepted: {error.verify_message}; name the authority that signed it as `ca`, "
            "and call the device as its certificate does"
        )
    if isinstance(error, ssl.SSLError):
        return _secure(error)
    if isinstance(error, socket.gaierror):
        return "its name is not known; write the address, or look at the DNS"
    number = error.errno
    if number is None:  # of a class of its own, or of several addresses
        found = _NUMBER.search(str(error))
        number = int(found[1]) if found else _OF_CLASS.get(type(error), 0)
    if number in _WORDS:
        return _WORDS[number]
    said = (error.strerror or str(error) or type(error).__name__) if number else str(error)
    return said.lower() or "the system does not say why"


_OF_CLASS: dict[type[OSError], int] = {
    ConnectionRefusedError: errno.ECONNREFUSED,
    ConnectionResetError: errno.ECONNRESET,
    ConnectionAbortedError: errno.ECONNABORTED,
    BrokenPipeError: errno.EPIPE,
    TimeoutError: errno.ETIMEDOUT,
}


def _secure(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return f"it ended the connection while TLS was agreed on; {NO_TLS}, or it wants a `certificate` and `key`"
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if reason in ("wrong version number", "record layer failure", "packet length too long", "http request"):
        return f"what it answers is not TLS; {NO_TLS}"
    return f"no secure connection: {reason}; the device may want a `certificate` and `key`, or not speak TLS here"
