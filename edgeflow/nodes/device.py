"""`device`: everything one read of a device brought, as one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import Field

from edgeflow.clock import utc_text
from edgeflow.model import UNCERTAIN, Block
from edgeflow.node import DeviceField, Effects, Inputs, Node, Port, Settings, Site

_MOST_KEPT = 1000


class Config(Settings):
    """Which device, and how its values are told."""

    device: str = DeviceField(description="The device to listen to.")
    time: bool = Field(default=False, description="Adds `at`, the source time of the values (RFC 3339, UTC).")


@dataclass(slots=True)
class Plan:
    """The short names of each tag tuple seen: a reader hands on the same tuple with every block."""

    time: bool
    names: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)

    def short(self, tags: tuple[str, ...]) -> tuple[str, ...]:
        if len(self.names) >= _MOST_KEPT:  # what is pushed comes in ever new groups
            self.names.clear()
        self.names[tags] = names = tuple(tag.partition("/")[2] for tag in tags)
        return names


def prepare(config: Config, _site: Site) -> Plan:
    return Plan(config.time)


def changed(plan: Plan, _state: None, inputs: Inputs, do: Effects) -> None:
    block: Block = inputs["block"].value
    names = plan.names.get(block.tags) or plan.short(block.tags)
    content: dict[str, object] = {"values": dict(zip(names, block.values, strict=True))}
    if plan.time:
        content["at"] = utc_text(block.source_ns)
    if block.late:
        content["late"] = True
    if not block.faults:
        do.emit(content)
        return
    content["bad"] = {names[i]: reason for i, (_, reason) in block.faults.items()}
    whole = len(block.faults) == len(names)
    do.emit(content, quality=min(quality for quality, _ in block.faults.values()) if whole else UNCERTAIN)


def listens(config: Config) -> Mapping[str, str]:
    return {"block": f"{config.device}/*"}


NODE = Node(
    kind="device",
    about="Emits the values of a device, read by read. Names under `bad` what is not GOOD, with the reason; "
    "the object is UNCERTAIN when some values are not GOOD and BAD when none can be had. History that the device "
    "tells after an outage is marked `late`.",
    config=Config,
    prepare=prepare,
    inputs={"block": Port("What one read brought; fed by the engine.")},
    outputs={"out": Port("{values: {tag: value}, bad?: {tag: reason}, at?, late?: true}", "object")},
    changed=changed,
    listens=listens,
    bad="see",
)
