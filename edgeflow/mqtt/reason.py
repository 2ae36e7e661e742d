"""Why there is no connection to a broker, in words for a person: what is wrong, and which setting helps."""

from __future__ import annotations

import logging
import socket
import ssl

from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeflow.mqtt.settings import PORT, TLS_PORT, Broker

NO_ANSWER = "no answer in time; is it busy, hung or unplugged?"
CLOSED = "the connection was closed"
LEFT_OUT = "it ends the connection when asked for this topic; does its access list allow us to read there?"
OTHER_VERSION = frozenset((0x01, 0x81, 0x82, 0x84))
"""Answers to CONNECT of a broker that does not know this version: it says so, or cannot read it."""
NOBODY_LISTENS = 0x10

_WANTS_CERTIFICATE = "it wants another client certificate (`certificate` and `key` under `tls`)"
_ADVICE = {
    "Bad user name or password": "check `user` and `password`",
    "Not authorized": "check `user` and `password`, and what it allows this client",
    "Client identifier not valid": "give another `client_id`",
}
_SUBSCRIBING = {
    "Not authorized": "its access list must allow us to read there",
    "Unspecified error": "its access list must allow us to read there",
    "Quota exceeded": "it allows no more subscriptions; use fewer topics, or one with `+` or `#` for several",
    "Wildcard subscription not supported": "write every topic by itself, without `+` and `#`",
    "Topic filter invalid": "it does not allow such a topic",
}
_PUBLISHING = {
    "Not authorized": "its access list must allow us to write there",
    "Quota exceeded": "it takes no more from us for now",
    "Payload format invalid": "it wants another payload there",
    "Topic name invalid": "it does not allow such a topic",
}
_FOREIGN = {
    b"\x15\x03": f"it wants TLS on this port: write `tls` (the port is then {TLS_PORT} by default)",
    b"HTTP/": f"a web server answers there; is the port of the broker another, like {PORT}?",
    b"<!": f"a web server answers there; is the port of the broker another, like {PORT}?",
    b"SSH-": f"an SSH server answers there; is the port of the broker another, like {PORT}?",
    b"AMQP": f"it speaks AMQP on this port; its port for MQTT is another, usually {PORT}",
    b"INFO {": f"it speaks NATS on this port; its port for MQTT is another, usually {PORT}",
    b"-ERR": "a server answers there that is no MQTT broker",
    b"220": "a mail or FTP server answers there, no MQTT broker",
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


def goodbye(code: ReasonCode) -> str:
    """Why the broker ends the connection, as it says itself."""
    if code.getName() == "Session taken over":
        return "another client has connected with the same `client_id`; each needs its own"
    return f"it ends the connection: {code}"


def closed(client_id: str | None) -> str:
    """The broker has closed the connection without a word; `client_id`: ours, where a person gave us one."""
    if client_id is None:
        return CLOSED
    return f"{CLOSED}; does another client use the same `client_id`, {client_id}? Each needs its own"


def subscribing(code: ReasonCode) -> str:
    """Why the broker refuses a subscription."""
    hint = _SUBSCRIBING.get(code.getName(), "")
    return f"{code}{'; ' if hint else ''}{hint}"


def publishing(topic: str, code: ReasonCode) -> str:
    """Why the broker refuses what is published."""
    hint = _PUBLISHING.get(code.getName(), "")
    return f"the broker refuses what is published on {topic}: {code}{'; ' if hint else ''}{hint}"


def not_allowed(allowed: Properties | None, topic: str, payload: bytes | str, qos: int, *, retain: bool) -> str:
    """Why the broker would end the connection over this, by what it said when we connected; "" where it takes it."""
    most, largest = getattr(allowed, "MaximumQoS", 2), getattr(allowed, "MaximumPacketSize", None)
    if qos > most:
        return f"the broker takes QoS {most} at most; write `qos: {most}`"
    if retain and not getattr(allowed, "RetainAvailable", 1):
        return "the broker keeps no messages; write `retain: false`"
    size = len(payload) + len(topic) + 10
    if largest is not None and size > largest:
        return f"the broker takes messages of {largest} bytes at most, and this one has about {size}"
    return ""


def foreign(first: bytes) -> str:
    """What answers there instead of a broker, by its first bytes; "" where it may be one."""
    return next((what for begin, what in _FOREIGN.items() if first.startswith(begin)), "")


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
