"""Browsing: what is found can be written into a configuration as it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edgeflow.driver import Found, Home
from edgeflow.errors import Rejected
from edgeflow.testing.drivers import poll_by
from edgeflow_opcua import DRIVER, Device, Link, Point, service

URI = "nsu=urn:edgeflow:plant:filler;s="


def soon() -> float:
    return asyncio.get_running_loop().time() + 20.0


async def found_below(session: Any, path: str) -> dict[str, Found]:
    return {found.title: found async for found in session.browse(path, soon())}


async def test_from_the_root_to_a_value_that_can_be_read(filler: Any) -> None:
    async with DRIVER.open(Link(url=filler.url, security="none"), soon(), Home()) as session:
        top = await found_below(session, "")
        assert top["Filler"] == Found(f"{URI}Filler", "Filler", None, has_children=True)
        below = await found_below(session, top["Filler"].path)
        wanted = {
            "Good": ("integer", 5), "Speed": ("number", 61.5), "State": ("integer", 6), "Name": ("text", "filler"),
            "Running": ("boolean", True), "Raw": ("bytes", b"\x01\x02"),
        }  # fmt: skip
        assert {name: (below[name].type, below[name].value) for name in wanted} == wanted
        points = [Point.model_validate(below[name].point) for name in wanted]
        column = await poll_by(await session.prepare(Device(), points, soon()), soon())
    assert list(column.values) == [value for _, value in wanted.values()]


async def test_an_array_is_one_text_and_what_is_below_it_are_its_elements(filler: Any) -> None:
    async with DRIVER.open(Link(url=filler.url, security="none"), soon(), Home()) as session:
        below = await found_below(session, f"{URI}Filler")
        elements = await found_below(session, below["Table"].path)
    assert (below["Table"].type, below["Table"].value, below["Table"].has_children) == ("text", "[1,2,3]", True)
    assert below["Empty"].type == "number", "by its declared type, while it holds nothing"
    assert {name: one.value for name, one in elements.items()} == {"[0]": 1, "[1]": 2, "[2]": 3}
    assert elements["[1]"].point == {"node": f"{URI}Filler.Table", "type": "integer", "index": 1}


async def test_more_than_one_answer_can_hold_is_found_to_the_last(large_filler: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(service, "CHUNK", 30)
    async with DRIVER.open(Link(url=large_filler.url, security="none"), soon(), Home()) as session:
        names = list(await found_below(session, f"{URI}group4900"))
    assert names == [f"v{number}" for number in range(4900, 5000)]


@pytest.mark.parametrize(("path", "reason"), [("ns=2;s=Nothing", "BadNodeId"), ("nsu=urn:x;s=y", "no namespace")])
async def test_what_the_server_does_not_have_is_rejected_with_the_reason(filler: Any, path: str, reason: str) -> None:
    async with DRIVER.open(Link(url=filler.url, security="none"), soon(), Home()) as session:
        with pytest.raises(Rejected, match=reason):
            await found_below(session, path)
