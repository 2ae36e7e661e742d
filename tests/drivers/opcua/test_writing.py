"""Writing: the node's own type, arrays, elements, names, read-back; and methods."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeflow.errors import Rejected
from edgeflow.testing.relay import until
from edgeflow_opcua import Point
from tests.drivers.opcua.pushed import DEVICE, PRESS, Pushed, opened, point, read, soon, watching

RESET = point(object=f"{PRESS}Press", method=f"{PRESS}Press.Reset")
ADD = point(object="/Objects/2:Press", method="/Objects/2:Press/2:Add", type="text")
SELECT = point(object=f"{PRESS}Press", method=f"{PRESS}Press.Select", type="integer")
FAIL = point(object=f"{PRESS}Press", method=f"{PRESS}Press.Fail", type="integer")


async def write(session: Any, *pairs: tuple[Any, Any]) -> None:
    await session.write(DEVICE, [one for one, _ in pairs], [value for _, value in pairs], soon())


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("Byte", "integer", 1), ("Int64", "integer", 2**62), ("UInt64", "integer", 2**64 - 1), ("Float", "number", 0.25),
        ("Boolean", "boolean", False), ("String", "text", "Öl"), ("ByteString", "bytes", b"\x01"),
        ("DateTime", "text", "2026-01-02T03:04:05+00:00"), ("Guid", "text", "12345678-1234-5678-1234-567812345678"),
        ("LocalizedText", "text", "Press"), ("Table", "text", "[4,5,6,7]"), ("Matrix", "text", "[[1.0,2.0],[3.0,4.5]]"),
        ("Names", "text", '["x"]'), ("Mode", "text", "Manual"), ("Mode", "integer", 0), ("Level", "text", "high"),
    ],
)  # fmt: skip
async def test_what_is_written_is_what_is_read(press: Any, name: str, kind: str, value: Any) -> None:
    one = point(name, type=kind)
    async with opened(press) as session:
        before = (await read(session, [one])).values[0]
        await write(session, (one, value))
        column = await read(session, [one])
        await write(session, (one, before))
    assert (list(column.values), column.faults) == ([value], None)


@pytest.mark.parametrize(
    ("more", "value", "reason"),
    [
        ({"node": f"{PRESS}Byte", "type": "integer"}, 256, "outside 0 to 255"),
        ({"node": f"{PRESS}Table"}, 5, "it is an array; write a text with a JSON array"),
        ({"node": f"{PRESS}Table", "type": "text"}, "[1,", "it is an array"),
        ({"node": f"{PRESS}Table", "type": "text"}, '[1, "x"]', "'x' cannot be written"),
        ({"node": f"{PRESS}Position", "type": "text"}, "{}", "it is a structure, which cannot be written"),
        ({"node": f"{PRESS}Mode", "type": "text"}, "Turbo", "'Turbo' is none of its names; it knows Off, Manual"),
        ({"node": f"{PRESS}Double", "index": 0}, 1.0, "it is no array"),
        ({"path": "/Objects/2:Press/2:Nothing"}, 1.0, "the server has no '2:Nothing' below /Objects/2:Press"),
    ],
)
async def test_what_cannot_be_written_is_rejected_with_the_reason(
    press: Any, more: dict[str, Any], value: Any, reason: str
) -> None:
    async with opened(press) as session:
        with pytest.raises(Rejected, match=reason.replace("[", r"\[")):
            await write(session, (point(**more), value))


async def test_an_element_is_not_written_where_the_server_would_replace_the_whole_array(press: Any) -> None:
    async with opened(press) as session:
        with pytest.raises(Rejected, match="cannot write single elements of an array"):
            await write(session, (point("Table", index=1, type="integer"), 99))
        column = await read(session, [point("Table", type="text")])
    assert column.values == ["[10,20,30]"]


async def test_an_array_of_one_is_not_mistaken_for_a_server_that_writes_elements(press: Any) -> None:
    table = point("Table", type="text")
    async with opened(press) as session:
        await write(session, (table, "[10]"))
        await write(session, (point("Table", index=0, type="integer"), 11))
        with pytest.raises(Rejected, match="cannot write single elements of an array"):
            await write(session, (point("Table", index=1, type="integer"), 99))
        assert (await read(session, [table])).values == ["[11]"]
        await write(session, (table, "[10,20,30]"))
        with pytest.raises(Rejected, match="cannot write single elements of an array"):
            await write(session, (point("Table", index=0, type="integer"), 99))
        assert (await read(session, [table])).values == ["[10,20,30]"]


@pytest.mark.parametrize(
    ("name", "kind", "whole", "elements", "then"),
    [
        ("Table", "integer", "[10,20,30]", [(1, 99)], "[10,99,30]"),
        ("Table", "integer", "[10,20,30]", [(0, -1), (2, 2**31 - 1)], "[-1,20,2147483647]"),
        ("Names", "text", '["a","b","c"]', [(2, "Öl")], '["a","b","Öl"]'),
        ("Matrix", "number", "[[1.0,2.0],[3.0,4.0],[5.0,6.0]]", [((2, 0), 7.5)], "[[1.0,2.0],[3.0,4.0],[7.5,6.0]]"),
    ],
)
async def test_an_element_is_written_and_the_others_stay(
    node: Any, name: str, kind: str, whole: str, elements: list[tuple[Any, Any]], then: str
) -> None:
    place = f"ns=1;s=Filler.{name}"
    array = Point.model_validate({"node": place, "type": "text"})
    points = [Point.model_validate({"node": place, "type": kind, "index": at}) for at, _ in elements]
    async with opened(node) as session:
        await write(session, (array, whole))
        await write(session, *zip(points, (value for _, value in elements), strict=True))
        column = await read(session, [array, *points])
    assert list(column.values) == [then, *(value for _, value in elements)]


@pytest.mark.parametrize(
    ("name", "index", "reason"),
    [
        ("Table", 3, "the server answered BadIndexRangeNoData"),
        ("Sealed", 1, "the server answered BadWriteNotSupported; the server cannot write single elements of an array"),
    ],
)
async def test_an_element_that_cannot_be_written_is_rejected_and_nothing_changes(
    node: Any, name: str, index: int, reason: str
) -> None:
    place = f"ns=1;s=Filler.{name}"
    array = Point.model_validate({"node": place, "type": "text"})
    async with opened(node) as session:
        await write(session, (array, "[10,20,30]"))
        with pytest.raises(Rejected, match=reason):
            await write(session, (Point.model_validate({"node": place, "type": "integer", "index": index}), 99))
        assert (await read(session, [array])).values == ["[10,20,30]"]


async def test_methods_are_called_by_writing(press: Any) -> None:
    press.tell("took")
    pushed = Pushed()
    async with opened(press) as session, watching(session, [RESET, SELECT, ADD], pushed):
        await until(lambda: pushed.values == {0: False, 1: 0, 2: ""}, "they are at rest")
        await write(session, (RESET, True), (SELECT, 7), (ADD, json.dumps([1.5, 2])), (RESET, False))
        await until(lambda: pushed.values == {0: False, 1: 7, 2: "[1.5, 2]"}, "they show what was last written")
        column = await read(session, [RESET, SELECT])
    assert press.tell("took")[0] == [["Reset"], ["Select", 7], ["Add", 1.5, 2]]
    assert list(column.values) == [False, 7]


@pytest.mark.parametrize(
    ("one", "value", "reason"),
    [
        (FAIL, 1, "the server answered BadOutOfRange"),
        (SELECT, 70000, "argument number: 70000 is outside 0 to 65535"),
        (ADD, "[1]", r"takes 2 arguments \(a, b\); write a text with a JSON array"),
        (ADD, "both", "takes 2 arguments"),
        (RESET, None, "there is no value to call it with"),
        (
            point(object=f"{PRESS}Press", method=f"{PRESS}Press.Reset", type="integer"),
            5,
            "takes no arguments; write true",
        ),
        (point(object=f"{PRESS}Press", method="ns=2;s=Press.Nothing"), True, "the server answered BadNodeIdInvalid"),
    ],
)
async def test_a_call_that_fails_is_rejected_with_the_reason(press: Any, one: Any, value: Any, reason: str) -> None:
    async with opened(press) as session:
        with pytest.raises(Rejected, match=reason):
            await write(session, (one, value))
        assert not (await read(session, [point("Double")])).faults, "the session lives on"
