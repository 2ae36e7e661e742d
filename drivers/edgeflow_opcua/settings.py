"""What a person writes about an OPC UA server and its nodes."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from edgeflow.model import Strict, ValueType
from edgeflow.units import NS_PER_S, Duration

DEFAULT_PORT = 4840
_NODE = re.compile(
    r"(?:ns=\d+;|nsu=[^;]+;)?"
    r"(?:i=\d+|s=.+|b=[A-Za-z0-9+/]+=*|g=[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})",
    re.DOTALL,
)


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        known = parts.scheme == "opc.tcp" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise ValueError(f"write the address like `opc.tcp://10.0.0.7:{DEFAULT_PORT}`, not {text!r}")
    if "@" in parts.netloc:
        raise ValueError("leave user name and password out of the address; the driver connects as anonymous")
    return text


def _node(text: str) -> str:
    if not _NODE.fullmatch(text):
        raise ValueError(
            f"write a node like `ns=2;s=Filler.Good`, `nsu=urn:maker:machine;s=Filler.Good` or `i=2258`, not {text!r}"
        )
    return text


def _not_zero(ns: int) -> int:
    if ns < NS_PER_S // 1000:
        raise ValueError("write at least `1 ms`")
    return ns


class Link(Strict):
    """One connection (secure channel and session) to an OPC UA server."""

    url: Annotated[str, AfterValidator(_url)] = Field(
        description="Address of the server's endpoint, for example opc.tcp://10.0.0.7:4840; without a port it is 4840."
    )


class Device(Strict):
    """How the values of one device are had."""

    heartbeat: Annotated[Duration, AfterValidator(_not_zero)] = Field(
        default=NS_PER_S,
        description="How often the server is asked for its time and state. Without an answer for twice as long the "
        "connection is given up. It is never slower than a third of the session time-out the server grants.",
    )
    publishing_interval: Annotated[Duration, AfterValidator(_not_zero)] = Field(
        default=NS_PER_S // 2,
        description="How often the server sends what has changed; the server may choose a longer one.",
    )
    sampling_interval: Annotated[Duration, AfterValidator(_not_zero)] | None = Field(
        default=None,
        description="How often the server looks at each value; as often as it publishes where not given.",
    )


class Point(Strict):
    """One variable of the server."""

    node: Annotated[str, AfterValidator(_node)] = Field(
        description="NodeId of the variable: `ns=2;s=Filler.Good`, or `nsu=<namespace URI>;s=Filler.Good`, which also "
        "holds after the server has numbered its namespaces anew.",
        examples=["ns=2;s=Filler.Good", "nsu=urn:edgeflow:plant:filler;s=Filler.Good"],
    )
    type: ValueType = Field(
        default="number", description="Type of the value here; what cannot be shown in this type without loss is BAD."
    )
