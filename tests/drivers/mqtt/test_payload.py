"""Settings, topics and payloads without a broker."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from edgeflow.driver import Column
from edgeflow.errors import Rejected
from edgeflow.model import BAD, GOOD, UNCERTAIN
from edgeflow_mqtt import Device, Link, Point
from edgeflow_mqtt.command import to_set
from edgeflow_mqtt.feed import Feed, matches, split
from edgeflow_mqtt.moment import time_ns
from edgeflow_mqtt.path import Missing, find, steps
from edgeflow_mqtt.payload import plain, to_scalar

KINDS: tuple[Any, ...] = ("boolean", "integer", "number", "text", "bytes")


def columns(device: Device, points: list[Point], *messages: tuple[str, bytes]) -> list[Column]:
    pushed: list[Column] = []
    feed = Feed(device, points, pushed.append)
    for topic, payload in messages:
        feed.take(topic, payload, retained=False)
    return pushed


# The examples of MQTT 3.1.1, clause 4.7.1 and 4.7.2.
@pytest.mark.parametrize(
    ("pattern", "topic", "fits"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/#", "sport", True),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "$SYS/x", False),
        ("+/monitor/Clients", "$SYS/monitor/Clients", False),
        ("$SYS/#", "$SYS/x", True),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
    ],
)
def test_topics_match_filters_as_the_standard_says(pattern: str, topic: str, fits: bool) -> None:
    assert matches(split(pattern), split(topic)) is fits


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("a", ("a",)),
        ("a.b", ("a", "b")),
        ("a.b[0].c", ("a", "b", 0, "c")),
        ("[2]", (2,)),
        ("[1][2].x y", (1, 2, "x y")),
    ],
)
def test_a_path_is_keys_and_indices(path: str, wanted: tuple[str | int, ...]) -> None:
    assert steps(path) == wanted


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[0]b", "a]"])
def test_a_mistyped_path_is_refused_with_an_example(path: str) -> None:
    with pytest.raises(ValidationError, match="write a path like"):
        Point(topic="t", path=path)


def test_what_is_missing_at_a_path_is_named() -> None:
    document = {"a": [{"b": 1}], "n": None}
    assert find(document, ("a", 0, "b")) == 1
    for path, name in (
        (("a", 1), r"a\[1\]"),
        (("a", "b"), "a.b"),
        (("x", "y"), "x"),
        (("n", "z"), "n.z"),
        ((0,), r"\[0\]"),
    ):
        with pytest.raises(Missing, match=f"no `{name}`"):
            find(document, path)


@pytest.mark.parametrize(
    ("payload", "kind", "value"),
    [
        (b"21.5", "number", 21.5), (b" 7 ", "number", 7), (b"1e3", "number", 1000.0), (b"-3", "integer", -3),
        (b"4.0", "integer", 4), (b"ON", "boolean", True), (b"off", "boolean", False), (b"1", "boolean", True),
        (b"true", "boolean", True), ("füller".encode(), "text", "füller"), (b"\x00\xff", "bytes", b"\x00\xff"),
    ],
)  # fmt: skip
def test_a_plain_payload_is_a_value(payload: bytes, kind: Any, value: Any) -> None:
    found = plain(payload, kind)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("payload", "kind"),
    [(b"", "number"), (b"", "text"), (b"21,5", "number"), (b"nan", "number"), (b"inf", "number"), (b"1_000", "integer"),
     (b"4.5", "integer"), (b"maybe", "boolean"), (b"2", "boolean"), (b"\xff", "text"), (b"9" * 400, "number")],
)  # fmt: skip
def test_a_plain_payload_that_does_not_fit_says_so(payload: bytes, kind: Any) -> None:
    with pytest.raises(ValueError, match=r"is empty|is not|is larger than"):
        plain(payload, kind)


@pytest.mark.parametrize(
    ("value", "kind"), [(True, "number"), (None, "text"), (5, "text"), ([1], "number"), ({}, "text"), (2, "boolean")]
)
def test_a_json_value_of_another_type_does_not_fit(value: Any, kind: Any) -> None:
    with pytest.raises(ValueError, match="is not"):
        to_scalar(value, kind)


# 2026-11-20T06:00:00Z: 20,777 days of 86,400 s after 1970, and six hours.
@pytest.mark.parametrize(
    ("value", "form", "wanted"),
    [
        ("2026-11-20T06:00:00Z", "rfc3339", 1_795_154_400_000_000_000),
        ("2026-11-20T07:30:00.000001+01:30", "rfc3339", 1_795_154_400_000_001_000),
        (1_795_154_400, "s", 1_795_154_400_000_000_000),
        (1_795_154_400.5, "s", 1_795_154_400_500_000_000),
        (1_795_154_400_250, "ms", 1_795_154_400_250_000_000),
    ],
)
def test_a_devices_time_is_read_in_the_stated_form(value: Any, form: Any, wanted: int) -> None:
    assert time_ns(value, form) == wanted


@pytest.mark.parametrize(
    ("value", "form", "reason"),
    [
        ("2026-11-20T06:00:00", "rfc3339", "no UTC offset"),
        ("yesterday", "rfc3339", "not RFC 3339"),
        (1_795_154_400, "rfc3339", "not RFC 3339"),
        (1_795_154_400_250, "s", "really written as s"),
        (1_795_154_400, "ms", "really written as ms"),
        ("soon", "s", "not a number"),
        (True, "s", "not a number"),
    ],
)
def test_a_time_that_cannot_be_read_makes_the_value_uncertain(value: Any, form: Any, reason: str) -> None:
    point = Point(topic="t", path="v", time="ts", time_form=form)
    (column,) = columns(Device(), [point], ("t", json.dumps({"v": 1, "ts": value}).encode()))
    assert (list(column.values), column.source_ns) == ([1], 0)
    assert column.faults is not None
    assert column.faults[0][0] is UNCERTAIN
    assert reason in column.faults[0][1]


def test_points_with_different_times_come_in_columns_of_their_own() -> None:
    points = [
        Point(topic="t", path="a", time="at", time_form="s"),
        Point(topic="t", path="b", time="bt", time_form="s"),
    ]
    payload = b'{"a": 1, "at": 1795154400, "b": 2, "bt": 1795154401}'
    assert columns(Device(), points, ("t", payload)) == [
        Column([1], 1_795_154_400_000_000_000, None, (0,)),
        Column([2], 1_795_154_401_000_000_000, None, (1,)),
    ]


def test_a_device_that_sends_only_changes_keeps_what_is_missing() -> None:
    points = [Point(topic="t", path="a"), Point(topic="t", path="b")]
    messages = (("t", b'{"b": 2}'), ("t", b'{"a": "x"}'), ("t", b"{}"))
    kept = columns(Device(missing="keep"), points, *messages)
    assert [(column.points, list(column.values)) for column in kept] == [((1,), [2]), ((0,), [None]), ((), [])]
    (first, *_) = columns(Device(), points, *messages)
    assert first.faults == {0: (BAD, "the payload has no `a`")}


def test_a_base_is_put_before_every_topic_of_a_device() -> None:
    points = [Point(topic="state/+"), Point(topic="#", type="text")]
    assert list(Feed(Device(base="hall/oven"), points, print).filters) == ["hall/oven/state/+", "hall/oven/#"]


@pytest.mark.parametrize(
    ("point", "value", "payload"),
    [
        (Point(set="t"), 21.5, b"21.5"), (Point(set="t"), 7, b"7"), (Point(set="t", type="boolean"), True, b"true"),
        (Point(set="t", type="text"), "auto", b"auto"), (Point(set="t", type="bytes"), b"\x01", b"\x01"),
        (Point(set="t", set_path="a.b"), 1.5, b'{"a":{"b":1.5}}'), (Point(set="t", type="integer"), 3.0, b"3"),
        (Point(set="t", type="text", set_path="mode"), "auto", b'{"mode":"auto"}'),
    ],
)  # fmt: skip
def test_a_value_is_set_in_the_form_the_device_expects(point: Point, value: Any, payload: bytes) -> None:
    assert to_set(point, value) == payload


@pytest.mark.parametrize(
    ("kind", "value"),
    [("number", "5"), ("number", None), ("number", True), ("number", float("nan")), ("integer", 1.5), ("boolean", 1),
     ("text", 5), ("bytes", "x"), ("integer", 10**400)],
)  # fmt: skip
def test_a_value_of_another_type_is_not_sent(kind: Any, value: Any) -> None:
    with pytest.raises(Rejected, match="t: "):
        to_set(Point(set="t", type=kind), value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "write `topic`, or `set`"),
        ({"topic": "a/#/b"}, "stands for one whole level"),
        ({"topic": "a/b+"}, "stands for one whole level"),
        ({"topic": ""}, "stands for one whole level"),
        ({"topic": "$share/all/x"}, "shared subscription"),
        ({"set": "a/+"}, "without `\\+` and `#`"),
        ({"topic": "a", "set_path": "x"}, "needs `set`"),
        ({"topic": "a", "path": "x", "type": "bytes"}, "JSON holds no bytes"),
        ({"set": "a", "set_path": "x[0]"}, "write keys only"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_what_to_write(settings: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Point.model_validate(settings)


def test_a_keepalive_below_a_second_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least `1 s`"):
        Link.model_validate({"host": "x", "keepalive": "500 ms"})


@given(some.binary() | some.text().map(str.encode) | some.floats().map(lambda x: json.dumps({"a": [x]}).encode()))
def test_no_payload_ever_raises(payload: bytes) -> None:
    points = [
        *(Point(topic="t", type=kind) for kind in KINDS),
        *(Point(topic="t", path="a[0]", type=kind, time="a[0]", time_form="s") for kind in KINDS[:-1]),
    ]
    for column in columns(Device(), points, ("t", payload)):
        for at, value in enumerate(column.values):
            quality = (column.faults or {}).get(at, (GOOD,))[0]
            assert (value is None) == (quality is BAD)


def test_json_of_very_many_values_is_not_taken_apart() -> None:
    """Three megabytes of empty lists take longer to read than a poll of all other devices."""
    (column,) = columns(Device(), [Point(topic="a", path="v")], ("a", b'{"v":1,"x":[' + b"[]," * 1_000_000 + b"1]}"))
    assert column.values == [None]
    assert column.faults is not None
    assert column.faults[0][0] == BAD
    assert "holds more than 100000 values" in column.faults[0][1]


def test_a_number_beyond_64_bits_is_no_whole_number() -> None:
    (column,) = columns(Device(), [Point(topic="a", path="v", type="integer")], ("a", b'{"v":1e300}'))
    assert column.values == [None]
    assert column.faults is not None
    assert "larger than 64 bits" in column.faults[0][1]
