"""What a person writes of a connection: what its frames travel on, and where to."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from edgeflow.model import LocalFile, Strict
from edgeflow.units import Duration
from edgeflow_modbus.port import BAUDS, Parity

Transport = Literal["tcp", "udp", "tls", "rtu", "ascii", "rtu-over-tcp", "ascii-over-tcp"]

_PORTS: dict[str, int] = {"tcp": 502, "udp": 502, "tls": 802}
_LINE = ("serial", "baud", "data_bits", "parity", "stop_bits", "pause")
_KEYS: dict[Transport, tuple[str, ...]] = {
    "tcp": ("host", "port", "connections"),
    "udp": ("host", "port"),
    "tls": ("host", "port", "connections", "ca", "certificate", "key", "check_name"),
    "rtu": _LINE,
    "ascii": _LINE,
    "rtu-over-tcp": ("host", "port", "pause"),
    "ascii-over-tcp": ("host", "port", "pause"),
}


class Link(Strict):
    """A connection to Modbus devices: over the network, or a serial line of this machine."""

    transport: Transport = Field(
        "tcp",
        description="What frames travel on: `tcp` is Modbus TCP, `tls` the same encrypted, `rtu` and `ascii` a serial "
        "line of this machine, `rtu-over-tcp` and `ascii-over-tcp` a converter that passes on the bytes of its serial "
        "line. Default: `rtu` where `serial` is given, else `tcp`.",
    )
    host: str | None = Field(
        None, min_length=1, description="Address or name of the device or converter, for example 10.0.0.5."
    )
    port: int | None = Field(
        None, ge=1, le=65535, description="Its port. Default: 502, with `tls` 802; converters have one of their own."
    )
    serial: str | None = Field(
        None, min_length=1, description="The serial line: /dev/ttyUSB0, or better a name from /dev/serial/by-id."
    )
    baud: int = Field(9600, description="Speed of the serial line; all its devices must be set to the same.")
    parity: Parity = Field("none", description="Parity of the serial line: `none`, `even` or `odd`.")
    stop_bits: Literal[1, 2] = Field(1, description="Stop bits of the serial line.")
    data_bits: Literal[7, 8] = Field(8, description="Data bits of the serial line; 7 only with `ascii`.")
    pause: Duration = Field(
        0,
        description="Silence before each request, where devices need a rest; on a serial line at least 3.5 characters.",
    )
    connections: Literal[1, 2] = Field(
        1,
        description="2 gives writes a connection of their own, so that they never wait for a read. Only where the "
        "device takes two: many small ones take one and drop it when another comes.",
    )
    ca: LocalFile | None = Field(
        None,
        description="File (PEM) with the certificate that signed the device's. Default: those this machine trusts.",
    )
    certificate: LocalFile | None = Field(
        None, description="File (PEM) with our own certificate, which the device asks for."
    )
    key: LocalFile | None = Field(
        None, description="File (PEM) with its private key, where it is not in the same file."
    )
    check_name: bool = Field(
        True,
        description="Whether the device's certificate must be made out to `host`; false where makers sign them alike.",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        transport = given.get("transport", "rtu" if "serial" in given else "tcp")
        port = {"port": _PORTS[transport]} if transport in _PORTS else {}
        return {"transport": transport, **port, **given}

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        keys = _KEYS[self.transport]
        for name in (name for some in _KEYS.values() for name in some):
            if name in self.model_fields_set and name not in keys:
                raise ValueError(f"`{name}` does not go with `transport: {self.transport}`, {_instead(self, name)}")
        if "serial" in keys and self.serial is None:
            raise ValueError(f"`transport: {self.transport}` needs a serial line, for example `serial: /dev/ttyUSB0`")
        if "host" in keys and self.host is None:
            raise ValueError(f"`transport: {self.transport}` needs a device, for example `host: 10.0.0.5`")
        if "port" in keys and self.port is None:
            raise ValueError("a converter has a port of its own; write it, for example `port: 4196`")
        if self.baud not in BAUDS:
            raise ValueError(f"{self.baud} baud is not usual; write one of {', '.join(map(str, BAUDS))}")
        if self.transport == "rtu" and self.data_bits == 7:
            raise ValueError("`transport: rtu` takes 8 data bits; 7 go with `transport: ascii`")
        if self.key is not None and self.certificate is None:
            raise ValueError("`key` goes with `certificate`; name the file with our certificate too")
        return self

    @property
    def where(self) -> str:
        """The name of the other end for people: `10.0.0.5:502`, `/dev/ttyUSB0`."""
        return self.serial if self.serial is not None else f"{self.host}:{self.port}"


def _instead(link: Link, name: str) -> str:
    takers = [transport for transport, keys in _KEYS.items() if name in keys]
    if name == "serial":
        return "which goes over the network; write `transport: rtu` or `transport: ascii`"
    if name == "host":
        return "which goes over a serial line; write `transport: rtu-over-tcp` for a converter in the network"
    return f"which has {', '.join(_KEYS[link.transport])}; it goes with {' and '.join(takers)}"
