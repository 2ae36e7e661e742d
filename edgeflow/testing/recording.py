"""A recorded case of a template as a document: what the device holds and says, and what must come out of it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from edgeflow.model import Scalar, Strict
from edgeflow.testing.registers import Table


def _address(key: Any) -> Any:
    return int(key, 0) if isinstance(key, str) else key


def _words(value: Any) -> Any:
    """`0x4366 0x3333` as two registers."""
    return [int(word, 0) for word in value.split()] if isinstance(value, str) else [int(value)]


Words = dict[Annotated[int, BeforeValidator(_address)], Annotated[list[int], BeforeValidator(_words)]]
"""Registers by the address of the first; words as 0x.... or decimal."""


class Message(Strict):
    """A message of MQTT."""

    topic: str = Field(description="Its topic.")
    payload: str = Field(description="Its payload, as text.")
    retain: bool = Field(default=False, description="Whether the broker keeps it.")


class Variable(Strict):
    """A variable of an OPC UA server."""

    path: str | None = Field(default=None, description="The way to it from the root; what is missing is made.")
    node: str | None = Field(default=None, description="Its NodeId; it is put into the Objects folder.")
    type: str = Field(description="Its built-in type: Int32, Float, LocalizedText, ...")
    value: Scalar = Field(description="Its value.")

    @model_validator(mode="after")
    def _one(self) -> Variable:
        if (self.path is None) == (self.node is None):
            raise ValueError("write either `path` or `node`")
        return self


class Write(Strict):
    """A value that is written to a tag, and what the device then holds or has been sent."""

    tag: str = Field(description="The tag.")
    value: Scalar = Field(description="What is written.")
    holds: dict[Table, Words] = Field(default_factory=dict, description="What the registers hold then.")
    sent: Message | None = Field(default=None, description="What is published then.")


class Wrong(Strict):
    """A device set up wrongly, and a part of what the check must say of it."""

    device: dict[str, Any] = Field(description="Keys of the device that replace those of the case.")
    says: str = Field(description="A part of what one row that does not fit says.")


class Case(Strict):
    """What was recorded of one device, and what must come out of its template."""

    case: str = Field(description="What is shown, in one line.")
    about: str = Field(default="", description="How the numbers were worked out, or where they are published.")
    device: dict[str, Any] = Field(default_factory=dict, description="Keys of the device beside its template.")
    registers: dict[Table, Words] = Field(default_factory=dict, description="Modbus: content by table and address.")
    most: int = Field(default=125, description="Modbus: the most registers that it gives in one answer.")
    messages: tuple[Message, ...] = Field(default=(), description="MQTT: what the device has published.")
    nodes: tuple[Variable, ...] = Field(default=(), description="OPC UA: the variables of the server.")
    connected: dict[Table, Words] = Field(
        default_factory=dict, description="Modbus: what the registers hold once it is connected (`on_connect`)."
    )
    expect: dict[str, Any] = Field(min_length=1, description="The value of every tag that is read, with its unit.")
    writes: tuple[Write, ...] = Field(default=(), description="Values that are written, in this order.")
    look: tuple[str, ...] = Field(default=(), description="Parts of what the check may say without being wrong.")
    wrong: tuple[Wrong, ...] = Field(default=(), description="Mistakes that the check must find.")
