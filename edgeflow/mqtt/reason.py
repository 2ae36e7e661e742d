"""Why there is no connection to a broker, in words for a person: what is wrong, and which setting helps."""

from __future__ import annotations

import logging
import socket
import ssl

from paho.mqtt.reasoncodes import ReasonCode

from edgeflow.mqtt.settings import TLS_PORT, Broker

NO_ANSWER = "no answer in time; is it busy, hung or unplugged?"
_WANTS_CERTIFICATE = "it wants another client certificate (`certificate` and `key` under `tls`)"
_ADVICE = {
    "Bad user name or password": "check `user` and `password`",
    "Not authorized": "check `user` and `password`, and what it allows this client",
    "Client identifier not valid": "give another `client_id`",
}


class Complaints(logging.Logger):
    """Keeps the last thing that paho complained of, for our own message."""

    def __init__(self) -> None:
        super().__init__("edgeflow.mqtt", logging.ERROR)
        self.last = ""

    def handle(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()

    def behind(self, otherwise: str) -> str:
        """What is behind the end of a connection: what the TLS layer was told, else what one would say of it."""
        if "ALERT" in self.last and ("CERT" in self.last or "UNKNOWN_CA" in self.last):
            return _WANTS_CERTIFICATE
        return f"{otherwise} ({self.last})" if "ALERT" in self.last else otherwise


def hung_up(broker: Broker) -> str:
    """Why a broker may hang up instead of an answer to our first word."""
    hint = f"perhaps {_WANTS_CERTIFICATE}" if broker.tls else "does it want TLS, or is it another port?"
    return f"it hangs up instead of an answer; {hint}"


def refusal(code: ReasonCode) -> str:
    """A refusal in the words of the broker, with what to look at."""
    hint = _ADVICE.get(code.getName(), "")
    return f"it refuses the connection: {code}{'; ' if hint else ''}{hint}"


def why(error: Exception, broker: Broker) -> str:
    """Why there is no connection, in words for a person."""
    if isinstance(error, ssl.SSLCertVerificationError):
        wrong = error.verify_message
        if "mismatch" in wrong or "doesn't match" in wrong:
            advice = "write the name that stands in it as `host`, or as `server_name` under `tls`"
        elif "expired" in wrong or "not yet valid" in wrong:
            advice = "it needs a new one, or the time here or there is wrong"
        else:
            advice = "under `tls`, give as `ca` the file with the certificate that signed it"
        return f"its certificate is not accepted: {wrong}; {advice}"
    if isinstance(error, ssl.SSLError):
        wrong = (error.reason or str(error)).replace("_", " ").lower()
        return f"no TLS connection: {wrong}; does it speak TLS on this port? It is usually {TLS_PORT}"
    if isinstance(error, ConnectionResetError) and broker.tls is not None:
        return f"no TLS connection: it hangs up; does it speak TLS on this port? It is usually {TLS_PORT}"
    if isinstance(error, socket.gaierror):
        return f"the name {broker.host!r} is not known here"
    if isinstance(error, TimeoutError):
        return NO_ANSWER
    if isinstance(error, ConnectionRefusedError):
        return "cannot connect: the connection is refused; is the broker started, and is this its port?"
    return f"cannot connect: {(isinstance(error, OSError) and error.strerror) or error}"
