"""Every type that a server can hold: plain ones, arrays, structures, enumerations; by NodeId and by path."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from edgeflow.model import BAD
from edgeflow.testing.relay import until
from edgeflow_opcua import DRIVER, Point
from tests.drivers.opcua.pushed import PRESS, Pushed, opened, point, read, soon, watching

PLAIN = (
    ("SByte", "integer", -5), ("Byte", "integer", 250), ("Int16", "integer", -300), ("UInt16", "integer", 60000),
    ("Int32", "integer", -70000), ("UInt32", "integer", 4000000000), ("Int64", "integer", -4611686018427387904),
    ("UInt64", "integer", 9223372036854775809), ("Float", "number", 0.5), ("Double", "number", 0.1),
    ("Boolean", "boolean", True), ("String", "text", "Größe"), ("ByteString", "bytes", b"\x00\xff"),
    ("DateTime", "text", "2026-11-20T06:30:00+00:00"), ("Guid", "text", "72962b91-fa75-4ae6-8d28-b404dc7daf63"),
    ("LocalizedText", "text", "Presse"), ("StatusCode", "text", "BadSensorFailure"),
    ("StatusCode", "integer", 0x808C0000), ("NodeId", "text", "ns=2;s=x"), ("QualifiedName", "text", "2:q"),
)  # fmt: skip
PARTS: tuple[tuple[str, dict[str, Any], Any], ...] = (
    ("Table", {"index": 1, "type": "integer"}, 20),
    ("Table", {"index": 0}, 10),
    ("Names", {"index": 1, "type": "text"}, "ü"),
    ("Matrix", {"index": [2, 0]}, 5.0),
    ("Position", {"field": "X"}, 1.5),
    ("Position", {"field": "Y"}, -0.25),
    ("Position", {"field": "Unit", "type": "text"}, "mm"),
    ("Job", {"field": "Target.X"}, 1.5),
    ("Job", {"field": "Way[1].X"}, 2.5),
    ("Job", {"field": "Codes[1]", "type": "integer"}, -2),
    ("Job", {"field": "Mode", "type": "integer"}, 1),
    ("Job", {"field": "Begun", "type": "text"}, "2026-11-20T06:30:00+00:00"),
    ("Way", {"index": 1, "field": "Unit", "type": "text"}, "m"),
    ("Choice", {"field": "Text", "type": "text"}, "chosen"),
    ("Range", {"field": "High"}, 9.0),
    ("Mode", {"type": "text"}, "Automatic"),
    ("Mode", {"type": "integer"}, 2),
    ("Level", {"type": "text"}, "low"),
    ("Lamp", {"type": "text"}, "lit"),
)
ORIGIN = {"X": 1.5, "Y": -0.25, "Unit": "mm"}
WHOLE: tuple[tuple[str, Any], ...] = (
    ("Table", [10, 20, 30]),
    ("Names", ["a", "ü"]),
    ("Matrix", [[1, 2], [3, 4], [5, 6]]),
    ("Position", ORIGIN),
    ("Way", [ORIGIN, {"X": 2.5, "Y": 0.5, "Unit": "m"}]),
    ("Choice", {"Text": "chosen"}),
)
MISFITS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("Table", {"index": 7}, "has 3 elements, so there is no element 7"),
    ("Table", {}, "an array of 3, not one number; say `index`"),
    ("Position", {}, "a structure, not one number; say `field`, one of X, Y, Unit"),
    ("Position", {"field": "Z"}, "no field 'Z'; it has X, Y, Unit"),
    ("Double", {"field": "X"}, "no structure here"),
    ("Double", {"index": 0}, "no array here"),
    ("Opaque", {"type": "text"}, "i=987654 cannot be read: the server does not describe it"),
)


async def test_every_plain_type_is_read_and_pushed(press: Any) -> None:
    points = [point(name, type=kind) for name, kind, _ in PLAIN]
    pushed = Pushed()
    async with opened(press) as session:
        column = await read(session, points)
        async with watching(session, points, pushed):
            await until(lambda: len(pushed.values) == len(points), "all are pushed")
    wanted = [value for _, _, value in PLAIN]
    assert (list(column.values), column.faults) == (wanted, None)
    assert [pushed.values[index] for index in range(len(points))] == wanted


async def test_parts_of_arrays_and_structures_and_names_of_numbers_are_tags(press: Any) -> None:
    points = [point(name, **more) for name, more, _ in PARTS]
    pushed = Pushed()
    async with opened(press) as session:
        column = await read(session, points)
        async with watching(session, points, pushed):
            await until(lambda: len(pushed.values) == len(points), "all are pushed")
    wanted = [value for _, _, value in PARTS]
    assert (list(column.values), column.faults) == (wanted, None)
    assert [pushed.values[index] for index in range(len(points))] == wanted


async def test_whole_arrays_and_structures_are_json(press: Any) -> None:
    async with opened(press) as session:
        column = await read(session, [point(name, type="text") for name, _ in WHOLE])
    assert [json.loads(str(value)) for value in column.values] == [value for _, value in WHOLE]


async def test_a_structure_with_optional_fields_is_read_with_and_without_them(press: Any) -> None:
    points = [point("Job", field="Note", type="text"), point("Job", field="Id", type="integer")]
    pushed = Pushed()
    async with opened(press) as session, watching(session, points, pushed):
        await until(lambda: pushed.values == {0: None, 1: 7}, "it is pushed")
        assert pushed.faults[0] == (BAD, "the server gives no value")
        press.tell("job", value=8, note="urgent")
        await until(lambda: pushed.values == {0: "urgent", 1: 8}, "the change is pushed, both parts in one column")
        press.tell("job", value=7, note=None)
    assert pushed.columns[-1].points == (0, 1)


async def test_what_does_not_fit_is_bad_with_what_to_write_and_the_others_are_good(press: Any) -> None:
    async with opened(press) as session:
        column = await read(session, [point("Double"), *(point(name, **more) for name, more, _ in MISFITS)])
    faults = column.faults or {}
    assert column.values[0] == 0.1
    assert sorted(faults) == list(range(1, len(MISFITS) + 1))
    for index, (_, _, reason) in enumerate(MISFITS, 1):
        assert reason in faults[index][1]


async def test_nodes_are_found_by_path_from_the_root_or_from_a_node(press: Any) -> None:
    points = [
        point(path="/Objects/2:Press/2:Double"),
        point(path="/Objects/nsu=urn:edgeflow:plant:press;Press/nsu=urn:edgeflow:plant:press;Double"),
        point("Press", path="/2:Double"),
        point(path="/Objects/2:Press/2:Nothing"),
        point(path="/Objects/Press/2:Double"),
        point(path="/Objects/nsu=urn:elsewhere;Press"),
    ]
    pushed = Pushed()
    async with opened(press) as session, watching(session, points, pushed):
        await until(lambda: len(pushed.values) == len(points), "all are pushed")
    assert [pushed.values[index] for index in range(6)] == [0.1, 0.1, 0.1, None, None, None]
    assert pushed.faults[3] == (BAD, "the server has no '2:Nothing' below /Objects/2:Press")
    assert "names of a maker need their namespace, as in `2:Press`" in pushed.faults[4][1]
    assert "no namespace 'urn:elsewhere'" in pushed.faults[5][1]


async def test_a_large_number_of_paths_is_found_in_bulk(large_filler: Any) -> None:
    points = [Point(path=f"/Objects/Filler/group{number // 100 * 100}/2:v{number}") for number in range(0, 5000, 7)]
    async with opened(large_filler) as session:
        column = await read(session, points)
    assert (list(column.values), column.faults) == ([float(number) for number in range(0, 5000, 7)], None)


async def test_browsing_shows_what_can_be_written_into_a_configuration(press: Any) -> None:
    async with opened(press) as session:
        found = {one.title: one async for one in session.browse(f"{PRESS}Press", soon())}
        parts = {one.title: one async for one in session.browse(f"{PRESS}Job", soon())}
        top = {one.title: one async for one in session.browse("/Objects", soon())}
        points = [Point.model_validate(one.point) for one in (*found.values(), *parts.values()) if one.point]
        column = await read(session, points)
    assert (found["Pressure"].unit, found["Pressure"].type) == ("bar", "number")
    assert (found["Table"].type, found["Table"].value, found["Table"].has_children) == ("text", "[10,20,30]", True)
    assert found["Reset()"].point == {"object": f"{PRESS}Press", "method": f"{PRESS}Press.Reset", "type": "boolean"}
    assert [found[name].type for name in ("Add()", "Select()")] == ["text", "integer"]
    assert parts["Way[1].X"].point == {"node": f"{PRESS}Job", "type": "number", "field": "Way[1].X"}
    assert (parts["Way[1].X"].value, parts["Target.Unit"].value) == (2.5, "mm")
    assert top["Press (events)"].point == {"events": f"{PRESS}Press"}
    assert not column.faults, "what was found can be read as it is"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "write one of `node`, `path`, `method`, `events` or `condition`"),
        ({"node": "i=1", "events": "i=2253"}, "not node or path and events"),
        ({"method": "ns=2;s=x"}, "write `object` and `method` together"),
        ({"node": "i=1", "severity": 500}, "`severity` belongs to events, not to node or path"),
        ({"events": "i=2253", "index": 1}, "`index` belongs to node or path or method, not to events"),
        ({"condition": "i=1", "field": "loud"}, "a condition has the fields active, acked"),
        ({"node": "i=1", "field": "a..b"}, "write a field like `Position.X`"),
        ({"path": "Objects/2:Filler"}, "write a path like `/Objects/2:Filler/2:State`"),
        ({"node": "i=1", "deadband": "much"}, "write a deadband like `0.5`"),
        ({"node": "i=1", "deadband": 1, "type": "text"}, "only numbers have a deadband"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_write(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Point.model_validate(given)


def test_events_methods_and_conditions_have_types_of_their_own() -> None:
    points = [
        point(events="i=2253"), point(object="ns=2;s=a", method="ns=2;s=b"), point(condition="i=1"),
        point(condition="i=1", field="severity"), point(condition="i=1", field="message"),
        point(object="ns=2;s=a", method="ns=2;s=b", type="number"),
    ]  # fmt: skip
    assert [one.type for one in points] == ["text", "boolean", "boolean", "integer", "text", "number"]
    assert [DRIVER.writable(one) for one in points] == [False, True, False, False, False, True]
    assert DRIVER.writable(point(condition="i=1", field="acked"))
    assert not DRIVER.writable(point("Job", field="Id"))
