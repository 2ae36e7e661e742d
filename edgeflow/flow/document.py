"""The flow document: nodes and wires with parameters, as people write it and as versions are kept."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ConfigDict, Field, field_validator

from edgeflow.model import Strict
from edgeflow.parameters import Parameter

NAME = r"^[a-z][a-z0-9_-]*$"
PATH = r"^[a-z][a-z0-9_-]*(/[a-z][a-z0-9_-]*)*$"
IN, OUT = "in", "out"
MOST_NODES, MOST_WIRES = 1000, 5000
"""More than this is no flow a person wrote, and would hold up all the others on its gateway."""


class NodeEntry(Strict):
    """A node of the flow: its kind and, beside it, the settings of that kind."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str = Field(description="The kind of node.")
    title: str = Field(default="", description="A name for people; the node's key where empty.")

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class FlowDocument(Strict):
    """A flow: a versioned document of nodes and wires."""

    flow: str = Field(pattern=PATH, description="The flow's name, for example `oee/press`.")
    title: str = Field(default="", description="What the flow is for, in one line.")
    parameters: dict[str, Parameter] = Field(default_factory=dict, description="What can be set per instance.")
    nodes: dict[str, NodeEntry] = Field(min_length=1, max_length=MOST_NODES, description="The nodes by name.")
    wires: list[str] = Field(
        default_factory=list,
        max_length=MOST_WIRES,
        description="Wires `node.port -> node.port`; `out` and `in` are the default ports.",
    )

    @field_validator("nodes", "parameters")
    @classmethod
    def _names(cls, entries: dict[str, Any]) -> dict[str, Any]:
        for name in entries:
            if not re.match(NAME, name):
                raise ValueError(f"the name {name!r} must begin with a letter and hold only a-z, 0-9, _ and -")
        return entries


_WIRE = re.compile(
    r"^\s*([a-z][a-z0-9_-]*)(?:\.([a-z][a-z0-9_-]*))?\s*->\s*([a-z][a-z0-9_-]*)(?:\.([a-z][a-z0-9_-]*))?\s*$"
)


def read_wire(text: str) -> tuple[str, str, str, str]:
    """A wire as (source node, port, target node, port); raises ValueError that says how to write one."""
    match = _WIRE.match(text)
    if not match:
        raise ValueError(f"{text!r} is not a wire; write `node.port -> node.port`, for example `state -> oee.state`")
    source, out, target, into = match.groups()
    return source, out or OUT, target, into or IN
