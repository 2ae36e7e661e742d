"""The OPC UA driver against the conformance suite of all drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from edgeflow.model import Scalar
from edgeflow.testing.drivers import Capability, Check, Relay, Rig, Subject, checks
from edgeflow_opcua import DRIVER, Device, Link, Point

CAN: frozenset[Capability] = frozenset({"read", "watch", "write", "browse"})
WRITES = (
    ("Filler.Good", "integer", 7), ("Filler.Speed", "number", 62.25), ("Filler.Name", "text", "füller"),
    ("Filler.Running", "boolean", False), ("Filler.Small", "integer", -32768), ("Filler.Ratio", "number", 0.25),
    ("Filler.Raw", "bytes", b"\xff"),
)  # fmt: skip


def point(name: str, kind: Any) -> Point:
    return Point(node=f"nsu=urn:edgeflow:plant:filler;s={name}", type=kind)


@asynccontextmanager
async def rig(filler: Any) -> AsyncIterator[Rig]:
    async def change(index: int, value: Scalar) -> None:
        filler.tell("set", "Filler.Good", value=value)

    async def held(index: int) -> Scalar:
        name, kind, _ = WRITES[index]
        value: Scalar = filler.tell("get", name)
        return bytes.fromhex(str(value)) if kind == "bytes" else value

    filler.tell("reset")
    async with Relay("127.0.0.1", filler.port) as relay:
        yield Rig(
            link=Link(url=f"opc.tcp://127.0.0.1:{relay.port}", security="none"),
            device=Device.model_validate({"heartbeat": "200 ms", "publishing_interval": "50 ms"}),
            relay=relay,
            known=(
                (point("Filler.Good", "integer"), 5),
                (point("Filler.Speed", "number"), 61.5),
                (point("Filler.Name", "text"), "filler"),
                (point("Filler.Running", "boolean"), True),
                (point("Filler.Raw", "bytes"), b"\x01\x02"),
            ),
            other=6,
            change=change,
            refused=Point(node="ns=2;s=Filler.Nothing"),
            writes=tuple((point(name, kind), value) for name, kind, value in WRITES),
            held=held,
            refused_write=(point("Filler.State", "integer"), 2),
            silence_s=0.6,
        )


@pytest.mark.parametrize("check", checks(Subject(DRIVER, partial(rig, None), CAN)), ids=lambda check: check.__name__)
async def test_the_driver_keeps_the_contract(check: Check, filler: Any) -> None:
    await check(Subject(DRIVER, partial(rig, filler), CAN))
