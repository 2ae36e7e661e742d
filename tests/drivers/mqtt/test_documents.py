"""Payloads as devices really write them: damaged in one place, in other forms, with several samples, with words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from edgeflow.driver import Column
from edgeflow.model import BAD, GOOD, UNCERTAIN
from edgeflow_mqtt import Device, Point
from edgeflow_mqtt.feed import Feed
from edgeflow_mqtt.moment import time_ns
from edgeflow_mqtt.path import Every, Select, shown_path, steps
from edgeflow_mqtt.payload import Spelling, plain, to_scalar

SIX_NS = 1_795_154_400_000_000_000  # 2026-11-20T06:00:00Z: 20,777 days of 86,400 s after 1970, and six hours
SIX_S = 1_795_154_400


def feed(points: list[Point], *payloads: bytes | str, retained: bool = False, **device: Any) -> list[Column]:
    pushed: list[Column] = []
    taking = Feed(Device.model_validate(device), points, pushed.append, lambda: SIX_NS)
    for payload in payloads:
        taking.take("t", payload.encode() if isinstance(payload, str) else payload, retained=retained)
    return pushed


def values(payload: bytes | str, *paths: str, **more: Any) -> list[Any]:
    """What stands at each path; where it is not good, the reason."""
    (column,) = feed([Point.model_validate({"topic": "t", "path": path, **more}) for path in paths], payload)
    assert column.points == tuple(range(len(paths)))
    return [(column.faults or {}).get(i, ("", value))[1] for i, value in enumerate(column.values)]


# --- one thing that cannot be read ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("nan", "`DHT11.Temperature` is nan, which is not a finite number"), ("NaN", "not a finite number"), ("-Infinity", "not a finite"),
        ("inf", "not a finite"), ("1e400", "1e400, which is not a finite number"), ("-1e999", "not a finite"),
        ("9" * 400, "not a finite number"), ('"\\ud800"', "a character that is none"), ('"\\x"', "is no text"),
        ("", "has no value"), ("0x1F", "no JSON value"), ("--", "no JSON value"), ("1.2.3", "no JSON value"),
        ("12:30", "is not one value"), ("[" * 500 + "]" * 500, "is not a number"),
        ('{"a":' * 2000 + "1" + "}" * 2000, "is not a number"), ("21,5", ""), ("21.5 °C", "is not one value"),
    ],
)  # fmt: skip
def test_one_value_that_cannot_be_read_is_bad_and_the_others_are_right(bad: str, reason: str) -> None:
    payload = f'{{"DHT11":{{"Temperature":{bad},"Humidity":40}},"ENERGY":{{"Total":101.5}},"on":true}}'
    if bad == "21,5":  # a comma that parts a number: what stands behind it has no key, so nobody knows what is what
        assert "is not JSON" in values(payload, "ENERGY.Total")[0]
        return
    found = values(payload, "DHT11.Temperature", "DHT11.Humidity", "ENERGY.Total")
    assert found[1:] == [40, 101.5]
    assert isinstance(found[0], str)
    assert reason in found[0]


@pytest.mark.parametrize(
    "payload",
    [
        b'\xef\xbb\xbf{"a":{"b":7},"s":"x"}', '{"a":{"b":7},"s":"x"}'.encode("utf-16"),
        '{"a":{"b":7},"s":"x"}'.encode("utf-16-le"), '{"a":{"b":7},"s":"x"}'.encode("utf-16-be"),
        b'{"a":{"b":7},"s":"x"}\x00', b'{"a":{"b":7},"s":"x"}\x00\x00\r\n', b'{"a":{"b":7,},"s":"x",}',
        b'{"a":{"b":7},"s":"x"}garbage', b'{"a":{"b":7},"s":"x"}}', b'{"a":{"b":7},"s":"x"}5.2}',
        b"{'a':{'b':7},'s':'x'}", b"{a:{b:+7},s:'x'}", b'{"a":{"b":7.},"s":"x","n":None,"t":True}',
        b'{"a":{"b":1},"a":{"b":7},"s":"x"}', b'{"a":{"b":007},"s":"x"}', b' \n{"a":{"b":7},"s":"x","\xb0C":1}',
        b'{"a":{"b":7},"s":"x","u":"20 \xb0C"}', b'{"a":{"b":7},"s":"x","line":"one\ntwo"}',
    ],
)  # fmt: skip
def test_what_is_only_written_oddly_is_read(payload: bytes) -> None:
    points = [Point(topic="t", path="a.b"), Point(topic="t", path="s", type="text")]
    (column,) = feed(points, payload)
    assert (column.values, column.faults) == ([7, "x"], None)


@pytest.mark.parametrize(
    "payload", [b'{"a":1', b'{"a":1,"b":[1,2', b'{"a":"x', b'{"a" 1}', b"a", b"nan", b"{", b'{"a":1]', b"{]", b"\xff\xfe"]
)  # fmt: skip
def test_a_message_that_is_cut_off_or_none_is_bad_as_a_whole(payload: bytes) -> None:
    assert "is not JSON" in values(payload, "a")[0]


def test_a_plain_payload_has_neither_mark_nor_end() -> None:
    for payload in (b"\xef\xbb\xbf21.5", "21.5".encode("utf-16"), b"21.5\x00"):
        assert plain(payload, "number") == 21.5
    assert plain(b"\xef\xbb\xbfON", "boolean") is True


def test_very_much_that_is_odd_is_given_up() -> None:
    (column,) = feed([Point(topic="t", path="v")], b'{"v":1,"x":[' + b"nan," * 50_000 + b"1]}")
    assert (column.faults or {})[0][0] is BAD


@given(some.text(alphabet='{}[]:,"\\ \x00ab1.-enai', max_size=40))
def test_nothing_that_looks_like_json_ever_raises(payload: str) -> None:
    for column in feed([Point(topic="t", path="a"), Point(topic="t", path="[0].a", type="text")], payload):
        for at, value in enumerate(column.values):
            assert (value is None) == ((column.faults or {}).get(at, (GOOD,))[0] is BAD)


@given(some.recursive(some.none() | some.booleans() | some.integers(-(10**15), 10**15) | some.text(),
                      lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(), inner, max_size=4)))  # fmt: skip
def test_what_is_right_is_read_in_the_lenient_way_too(document: Any) -> None:
    from edgeflow_mqtt import lenient  # noqa: PLC0415 - of this test only

    assert lenient.read(json.dumps([document])) == [document]


# --- paths ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ('"1.7.0"', ("1.7.0",)), ('a."b.c".d', ("a", "b.c", "d")), ('["1-0:1.7.0"].v', ("1-0:1.7.0", "v")),
        ("1-0:1_8_0.v", ("1-0:1_8_0", "v")), (r'"say \"x\""', ('say "x"',)), ("a[-1]", ("a", -1)),
        ("values[id=PLC.Temp].v", ("values", Select(("id",), "PLC.Temp"), "v")),
        ('values[meta.id="a]b"]', ("values", Select(("meta", "id"), "a]b"))),
        ('[ "n.o" = 7 ].v', (Select(("n.o",), "7"), "v")), ("s[*].v", ("s", Every.ELEMENT, "v")),
        ('x[id=""]', ("x", Select(("id",), ""))),
    ],
)  # fmt: skip
def test_a_path_says_keys_in_quotes_elements_by_what_is_in_them_and_each(path: str, wanted: Any) -> None:
    assert steps(path) == wanted
    assert steps(shown_path(wanted)) == wanted


@pytest.mark.parametrize(
    "path", ['"a', 'a"b"', "a[*][*]", "a[=5]", "a[b=[c]]", "a[b=c", 'a["b]', "a[**]", "a[x[*]=5]", '"a"b', "a[1.5]"]
)  # fmt: skip
def test_a_path_that_means_nothing_is_refused_with_an_example(path: str) -> None:
    with pytest.raises(ValidationError, match=r"write a path like|stands once"):
        Point(topic="t", path=path)


@given(some.lists(some.text(min_size=1, max_size=8) | some.integers(-99, 99), min_size=1, max_size=4))
def test_every_path_that_is_shown_can_be_pasted(path: list[str | int]) -> None:
    assert steps(shown_path(tuple(path))) == tuple(path)


def test_keys_with_dots_and_colons_are_found() -> None:
    payload = '{"1.7.0":{"value":5},"1-0:1.8.0":6,"a":{"b.c":[7]}}'
    assert values(payload, '"1.7.0".value', '"1-0:1.8.0"', 'a."b.c"[0]') == [5, 6, 7]
    assert values('{"Temp":1}', "temp") == ["the payload has no `temp`, but `Temp`"]


def test_of_a_list_of_what_changed_each_tag_follows_its_own_element() -> None:
    points = [
        Point(topic="t", path=f"values[id=PLC.{name}].v", time=f"values[id=PLC.{name}].t") for name in ("Part", "Temp")
    ]
    messages = (
        {"values": [{"id": "PLC.Part", "v": 630, "t": SIX_S}, {"id": "PLC.Temp", "v": 20, "t": SIX_S + 1}]},
        {"values": [{"v": 99, "t": SIX_S + 2, "id": "PLC.Temp"}]},
        {"values": [{"id": "PLC.Temp", "v": 21, "t": SIX_S + 3}, {"id": "PLC.Part", "v": 631, "t": SIX_S + 3}]},
        {"values": []},
        {"wrong": []},
    )
    pushed = [
        (column.points, column.values, column.source_ns and (column.source_ns - SIX_NS) // 10**9)
        for column in feed(points, *map(json.dumps, messages))
        if column.points
    ]
    assert pushed == [
        ((0,), [630], 0), ((1,), [20], 1), ((1,), [99], 2), ((0,), [631], 3), ((1,), [21], 3), ((0,), [None], 0),
        ((1,), [None], 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ('[{"n":1,"v":5},{"n":2,"v":7}]', "[n=2].v"), ('{"l":[{"k":{"i":true},"v":7},5,null]}', "l[k.i=true].v"),
        ('{"l":[{"id":"x","v":5},{"id":"x","v":7}]}', "l[id=x].v"), ('{"l":[["a",7]]}', "l[[0]=a][1]"),
        ('{"l":[{"id":nan,"v":1},{"id":"x","v":7}]}', "l[id=x].v"), ('{"l":[[[7]]]}', "l[0][-1][0]"),
    ],
)  # fmt: skip
def test_an_element_is_chosen_by_what_stands_in_it(payload: str, path: str) -> None:
    assert values(payload, path) == [7]


def test_json_in_a_text_of_json_is_looked_into() -> None:
    inner = json.dumps({"temp": 21.5, "deep": json.dumps({"x": [7]})})
    payload = json.dumps({"data": inner, "word": "plain"})
    assert values(payload, "data.temp", "data.deep.x[0]", "word.x") == [21.5, 7, "the payload has no `word.x`"]
    assert values(json.dumps(inner), "temp") == [21.5]
    assert "is not JSON" in values('{"data":"{broken"}', "data.x")[0]


# --- numbers in texts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spelling", "value"),
    [
        ("23.5 °C", Spelling(suffixes={"°C": 1}), 23.5), ("23.5°C", Spelling(suffixes={"°C": 1}), 23.5),
        ("1.234,5 kWh", Spelling(True, {"kWh": 1}), 1234.5), ("21,5", Spelling(True), 21.5), ("-0,5", Spelling(True), -0.5),
        ("1 234 567,25", Spelling(True), 1234567.25), ("1.234", Spelling(True), 1234), ("1,234.5", Spelling(), 1234.5),
        ("1'234.5", Spelling(), 1234.5), ("1.2 kW", Spelling(suffixes={"W": 1, "kW": 1000}), 1200.0),
        ("950 W", Spelling(suffixes={"W": 1, "kW": 1000}), 950), ("950", Spelling(suffixes={"W": 1, "kW": 1000}), None), ("45 %", Spelling(suffixes={"%": 1}), 45),
        ("23.5", Spelling(suffixes={"°C": 1}), 23.5), ("1e3 m³/h", Spelling(suffixes={"m³/h": 1}), 1000.0),
        ("5,", Spelling(True), None), ("21,5", Spelling(), None), ("1.5", Spelling(True), None), ("1.2 MW", Spelling(suffixes={"kW": 1}), None),
        ("23.5 °C", Spelling(), None), ("1,234", Spelling(), None), ("°C", Spelling(suffixes={"°C": 1}), None), ("12.34,5", Spelling(True), None),
    ],
)  # fmt: skip
def test_a_number_in_a_text_is_read_as_it_is_said_to_be_written_and_never_guessed(
    text: str, spelling: Spelling, value: float | None
) -> None:
    if value is None:
        with pytest.raises(ValueError, match=r"is not a number|nothing of its unit"):
            to_scalar(text, "number", spelling)
    else:
        found = to_scalar(text, "number", spelling)
        assert (found, type(found)) == (value, type(value))


def test_what_to_write_for_a_number_in_a_text_is_said() -> None:
    payload = '{"c":"21,5","u":"23.5 °C","o":"5 bar"}'
    assert values(payload, "c", "u") == [
        "'21,5' is not a number; is that a decimal comma? Write `decimal: comma`",
        "'23.5 °C' is not a number; write `suffix: °C`",
    ]
    assert values(payload, "o", suffix={"kPa": 1, "MPa": 1000}) == [
        "'5 bar' is not a number; behind it may stand `kPa` or `MPa`"
    ]
    assert values(payload, "u", suffix="°C") == [23.5]
    assert values(payload, "c", decimal="comma", type="number") == [21.5]
    for more in ({"suffix": "V", "type": "text"}, {"decimal": "comma", "type": "boolean"}, {"suffix": " "}):
        with pytest.raises(ValidationError, match=r"`suffix`|stands behind"):
            Point.model_validate({"topic": "t", **more})


# --- samples --------------------------------------------------------------------------------------------


def brought(columns: list[Column]) -> list[Any]:
    return [
        (column.points, list(column.values), column.source_ns and (column.source_ns - SIX_NS) // 10**9, column.late)
        for column in columns
        if column.points
    ]


@pytest.mark.parametrize(
    ("payload", "path", "time"),
    [
        ('{"s":[{"t":%d,"v":3},{"t":%d,"v":1},{"t":%d,"v":2}]}', "s[*].v", "s[*].t"),
        ('[{"t":%d,"v":3},{"t":%d,"v":1},{"t":%d,"v":2}]', "[*].v", "[*].t"),
        ('{"t":[%d,%d,%d],"v":[3,1,2]}', "v[*]", "t[*]"),
        ('[[%d,3],[%d,1],[%d,2]]', "[*][1]", "[*][0]"),
        ('{"t":%d,"v":3}\n{"t":%d,"v":1}\n{"t":%d,"v":2}\n', "[*].v", "[*].t"),
        ('{"d":"[{\\"t\\":%d,\\"v\\":3},{\\"t\\":%d,\\"v\\":1},{\\"t\\":%d,\\"v\\":2}]"}', "d[*].v", "d[*].t"),
    ],
)  # fmt: skip
def test_of_the_samples_of_one_message_the_newest_holds_and_the_others_are_history(
    payload: str, path: str, time: str
) -> None:
    columns = feed([Point(topic="t", path=path, time=time)], payload % (SIX_S + 3, SIX_S + 1, SIX_S + 2))
    assert brought(columns) == [((0,), [1], 1, True), ((0,), [2], 2, True), ((0,), [3], 3, False)]


def test_samples_that_are_sent_again_do_not_count_again_and_old_ones_do_not_hold_now() -> None:
    point = Point(topic="t", path="[*].v", time="[*].t")

    def message(*at: int) -> str:
        return json.dumps([{"t": SIX_S + s, "v": s} for s in at])

    columns = feed([point], message(1, 2), message(1, 2, 3), message(-5, -4), message(3), message(4))
    assert brought(columns) == [
        ((0,), [1], 1, True), ((0,), [2], 2, False), ((0,), [3], 3, False), ((0,), [-5], -5, True),
        ((0,), [-4], -4, True), ((0,), [4], 4, False),
    ]  # fmt: skip


def test_samples_of_several_sensors_go_to_the_tags_of_each() -> None:
    def of(name: str) -> Point:
        return Point.model_validate({"topic": "t", "path": "[*].v", "time": "[*].t", "where": {"[*].id": name}})

    payload = json.dumps([{"id": name, "t": SIX_S + i, "v": i} for i, name in enumerate("aabba")])
    assert brought(feed([of("a"), of("b"), of("c")], payload)) == [
        ((0,), [0], 0, True), ((0,), [1], 1, True), ((0,), [4], 4, False), ((1,), [2], 2, True), ((1,), [3], 3, False),
    ]  # fmt: skip


def test_of_samples_without_a_time_the_last_holds_and_a_single_one_needs_no_list() -> None:
    point = Point(topic="t", path="s[*].v")
    assert brought(feed([point], '{"s":[{"v":1},{"v":2}]}', '{"s":{"v":3}}')) == [
        ((0,), [2], 0, False), ((0,), [3], 0, False),
    ]  # fmt: skip


def test_one_bad_sample_costs_only_itself() -> None:
    point = Point(topic="t", path="[*].v", time="[*].t")
    columns = feed([point], f'[{{"t":{SIX_S},"v":nan}},{{"t":{SIX_S + 1},"v":5}}]')
    assert [(column.values, column.late) for column in columns] == [([None], True), ([5], False)]


@pytest.mark.parametrize(
    "settings",
    [{"path": "v", "time": "s[*].t"}, {"path": "v", "where": {"s[*].id": 1}}, {"time": "[*].t"}, {"metric": "m", "path": "a[*]"}],
)  # fmt: skip
def test_samples_are_followed_only_where_the_value_is_one_of_them(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"`\[\*\]`"):
        Point.model_validate({"topic": "t"} | settings if "metric" not in settings else settings)


# --- other forms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "payload", "path", "value"),
    [
        ("pairs", "temp=21.5;hum=40", "hum", 40), ("pairs", "temp=21.5&hum=40", "temp", 21.5),
        ("pairs", "temp=21.5, hum=40", "hum", 40), ("pairs", "temp: 21.5\nhum: 40\n", "temp", 21.5),
        ("pairs", 'temp=21.5 hum=40 room="a b"', "hum", 40), ("csv", "21.5,40,1013", "[1]", 40),
        ("csv", "a;40;1\n", "[-2]", 40), ("csv", '"x, y"\t40', "[1]", 40),
        ("line_protocol", "weather,room=a\\ b temp=40,hum=3i 1795154400000000000", "fields.temp", 40),
        ("line_protocol", "weather temp=1\nweather temp=40", "fields.temp", 40),
        ("line_protocol", 'w,a=1 n=40i,s="x, \\"y\\" z",b=t', "fields.n", 40),
    ],
)  # fmt: skip
def test_payloads_with_parts_that_are_no_json(form: str, payload: str, path: str, value: float) -> None:
    (column,) = feed([Point(topic="t", path=path)], payload, format=form)
    assert (column.values, column.faults) == ([value], None)


def test_lines_of_influx_carry_their_tags_and_times() -> None:
    point = Point.model_validate(
        {"topic": "t", "path": "[*].fields.temp", "time": "[*].time", "where": {"[*].tags.room": "a b"}}
    )
    lines = [f"w,room={room} temp={i} {SIX_NS + i * 10**9}" for i, room in enumerate(("a\\ b", "c", "a\\ b"))]
    assert brought(feed([point], "\n".join(lines), format="line_protocol")) == [
        ((0,), [0], 0, True), ((0,), [2], 2, False),
    ]  # fmt: skip


@given(some.binary(max_size=60), some.sampled_from(["pairs", "csv", "line_protocol"]))
def test_no_payload_of_another_form_ever_raises(payload: bytes, form: str) -> None:
    for column in feed([Point(topic="t", path="a"), Point(topic="t", path="[0]")], payload, format=form):
        assert all(
            value is None or not column.faults or i not in column.faults for i, value in enumerate(column.values)
        )


# --- times ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "after_ns"),
    [
        (SIX_S, 0), (str(SIX_S), 0), (SIX_S * 1000 + 250, 250 * 10**6), (str(SIX_S * 1000 + 250), 250 * 10**6),
        (SIX_S * 10**6 + 1, 1000), (SIX_NS + 1, 1), (str(SIX_NS + 1), 1), (SIX_S + 0.25, 250 * 10**6),
        (f"{SIX_S}.250000001", 250_000_001), (f" {SIX_S} ", 0), ("1.7951544e9", 0), (SIX_S * 1000 + 0.5, 500_000),
        ("2026-11-20T06:00:00Z", 0), ("2026-11-20T07:00:00+01:00", 0), ("2026-11-20T07:00:00+0100", 0),
        ("2026-11-20 07:00:00 +01:00", 0), ("2026-11-20T06:00:00,25Z", 250 * 10**6), ("2026-11-20 06:00:00 UTC", 0),
        ("20261120T060000Z", 0), ("2026-11-20T06:00:00.123456789Z", 123_456_789), ("2026-11-20T06:00Z", 0),
    ],
)  # fmt: skip
def test_a_time_is_read_in_whatever_unit_and_form_it_comes(value: Any, after_ns: int) -> None:
    assert time_ns(value, "auto") == SIX_NS + after_ns


@pytest.mark.parametrize(
    "value", [0, "0", 1970, "1970-01-01T00:00:07Z", "2000-01-01T00:03:00Z", 86_400_000, -SIX_S, 10**25, "1e999", "nan", True,
              None, [], {}, "", "06:00", "2026-11-20T06:00:00", SIX_S + 7200, "9999-12-31T23:59:59Z", 2**63]
)  # fmt: skip
def test_a_time_that_cannot_be_right_leaves_the_value_and_is_said(value: Any) -> None:
    (column,) = feed([Point(topic="t", path="v", time="t")], json.dumps({"v": 7, "t": value}))
    assert (column.values, column.source_ns) == ([7], 0)
    quality, reason = (column.faults or {})[0]
    assert quality is UNCERTAIN
    assert "the time" in reason


# --- last wills -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alive", "offline", "online"),
    [
        ({}, "offline", "online"), ({}, "Offline", "Online"), ({}, '{"state":"offline"}', '{"state":"online"}'),
        ({}, '{"availability": "offline"}', '{"availability": "online"}'), ({}, "false", "true"), ({}, "0", "1"),
        ({}, '{"online":false}', '{"online":true}'), ({}, '"offline"', '"online"'), ({}, "OFF", "ON"),
        ({}, '{"connected":0}', '{"connected":1}'), ({}, "unavailable", "available"), ({}, "disconnected", "connected"),
        ({"offline": "Lost"}, '{"state":"lost"}', "online"), ({"online": "ready", "offline": "gone"}, "gone", "ready"),
        ({"path": "a.b"}, '{"a":{"b":"offline"}}', '{"a":{"b":"online"}}'), ({"offline": 7, "online": 8}, "7", "8"),
        ({"offline": False, "online": True}, '{"alive":false}', "true"), ({}, b"\xef\xbb\xbfoffline", "online\0"),
    ],
)  # fmt: skip
def test_a_device_that_says_that_it_is_gone_is_bad_in_whatever_form_it_says_it(
    alive: Any, offline: Any, online: Any
) -> None:
    pushed: list[Column] = []
    taking = Feed(Device.model_validate({"alive": {"topic": "lwt", **alive}}), [Point(topic="a")], pushed.append)
    taking.take("a", b"1", retained=False)
    taking.take("lwt", offline if isinstance(offline, bytes) else offline.encode(), retained=False)
    assert ((pushed[-1].faults or {})[0][0], pushed[-1].points) == (BAD, None)
    taking.take("a", b"2", retained=True)
    assert len(pushed) == 2, "what the broker kept of the dead does not count"
    taking.take("lwt", online.encode(), retained=False)
    assert pushed[-1] == Column((), points=())


def test_words_of_a_persons_own_take_the_place_of_the_usual_ones() -> None:
    pushed: list[Column] = []
    device = Device.model_validate({"alive": {"topic": "lwt", "online": "off", "offline": "sleeping"}})
    taking = Feed(device, [Point(topic="a")], pushed.append)
    for word in (b"off", b"offline", b"", b"{}", b'{"state":[]}', b"sleeping"):
        taking.take("lwt", word, retained=False)
    assert [column.points for column in pushed] == [(), None]
