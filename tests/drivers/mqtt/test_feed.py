"""What a message brings: bytes, words, filters, times, qualities, last wills; without a broker."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from edgeflow.driver import Column
from edgeflow.errors import Rejected
from edgeflow.model import BAD, GOOD, UNCERTAIN
from edgeflow_mqtt import Device, Point
from edgeflow_mqtt.command import to_set
from edgeflow_mqtt.feed import Feed
from edgeflow_mqtt.moment import time_ns
from edgeflow_mqtt.settings import unfit

SIX_NS = 1_795_154_400_000_000_000  # 2026-11-20T06:00:00Z: 20,777 days of 86,400 s after 1970, and six hours


def heard(point: Point, *payloads: bytes | str | dict[str, Any], topic: str = "t", **device: Any) -> list[Any]:
    """(value, quality, reason) of each message for one point."""
    pushed: list[Column] = []
    feed = Feed(Device.model_validate(device), [point], pushed.append)
    for payload in payloads:
        raw = json.dumps(payload) if isinstance(payload, dict) else payload
        feed.take(topic, raw.encode() if isinstance(raw, str) else raw, retained=False)
    return [
        (value, *(column.faults or {}).get(at, (GOOD, "")))
        for column in pushed
        for at, value in enumerate(column.values)
    ]


# --- bytes ----------------------------------------------------------------------------------------------

FRAME = bytes.fromhex("01 ff fe 40490fdb 2c01 41423120 00 8000000000000001")


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        ({"bytes": 0, "type": "uint8"}, 1), ({"bytes": "1", "type": "int8"}, -1), ({"bytes": "1-2", "type": "int16"}, -2),
        ({"bytes": "1-2", "type": "uint16"}, 0xFFFE), ({"bytes": "7-8", "type": "uint16", "byte_order": "little"}, 300),
        ({"bytes": "3-6", "type": "float32"}, struct.unpack(">f", bytes.fromhex("40490fdb"))[0]),
        ({"bytes": "9-13", "type": "text"}, "AB1"), ({"bytes": "9-10", "type": "bytes"}, b"AB"),
        ({"bytes": "14-21", "type": "int64"}, -(2**63) + 1), ({"bytes": "14-21", "type": "uint64"}, 2**63 + 1),
        ({"bytes": "0-2", "type": "integer"}, 0x01FFFE), ({"bytes": 2, "type": "boolean", "bit": 0}, False),
        ({"bytes": 2, "type": "boolean", "bit": 7}, True), ({"bytes": 13, "type": "boolean"}, False),
        ({"bytes": "14-21", "type": "boolean", "bit": 63}, True),
    ],
)  # fmt: skip
def test_bytes_of_a_binary_payload_are_a_value(settings: dict[str, Any], value: Any) -> None:
    assert heard(Point.model_validate({"topic": "t", **settings}), FRAME) == [(value, GOOD, "")]


def test_bytes_may_be_written_as_text_even_in_json() -> None:
    point = {"topic": "t", "bytes": "1-2", "type": "int16"}
    assert heard(Point.model_validate({**point, "encoding": "hex"}), "01:ff:fe")[0][0] == -2
    assert heard(Point.model_validate({**point, "encoding": "base64"}), "Af/+")[0][0] == -2
    assert heard(Point.model_validate({**point, "encoding": "base64", "path": "data"}), {"data": "Af_-"})[0][0] == -2
    assert heard(Point(topic="t", type="bytes", encoding="hex"), "00ff")[0][0] == b"\x00\xff"


def test_bytes_that_are_not_there_say_so() -> None:
    point = Point.model_validate({"topic": "t", "bytes": "2-3", "type": "uint16"})
    assert heard(point, b"\x01\x02") == [(None, BAD, "the payload has 2 bytes and no byte 3")]
    hexed = Point.model_validate({"topic": "t", "bytes": 0, "type": "uint8", "encoding": "hex"})
    assert "is not hex" in heard(hexed, "xyz")[0][2]
    floats = Point.model_validate({"topic": "t", "bytes": "0-3", "type": "float32"})
    assert "not a finite number" in heard(floats, bytes.fromhex("7fc00000"))[0][2]


@given(some.binary(max_size=12), some.sampled_from(["int8", "uint16", "int32", "float32", "float64", "integer", "text"]),
       some.integers(0, 9), some.integers(0, 3))  # fmt: skip
def test_no_bytes_ever_raise(payload: bytes, kind: Any, first: int, more: int) -> None:
    width = {"int8": 1, "uint16": 2, "int32": 4, "float32": 4, "float64": 8}.get(kind, more + 1)
    span = f"{first}-{first + width - 1}"
    ((value, quality, _),) = heard(Point.model_validate({"topic": "t", "bytes": span, "type": kind}), payload)
    assert (value is None) == (quality is BAD)


# --- words, filters, topics -----------------------------------------------------------------------------


def test_the_words_of_the_device_stand_for_values_in_both_directions() -> None:
    point = Point(topic="t", type="integer", words={"0": "stop", "1": "run"}, set="s")
    assert [value for value, *_ in heard(point, "run", "stop", "7")] == [1, 0, 7]
    assert "'pause' is not a whole number" in heard(point, "pause")[0][2]
    assert to_set(point, 1) == b"run"
    with pytest.raises(Rejected, match="no word for 2 among 0, 1"):
        to_set(point, 2)
    power = Point.model_validate({"set": "cmnd/plug/POWER", "type": "boolean", "words": {"true": "ON", "false": "OFF"}})
    assert (to_set(power, True), to_set(power, False)) == (b"ON", b"OFF")


def test_only_messages_count_in_which_the_wanted_values_stand() -> None:
    point = Point.model_validate({"topic": "t", "path": "v", "where": {"id": "A12", "unit.no": 7}})
    found = heard(
        point,
        {"id": "A12", "unit": {"no": 7}, "v": 1},
        {"id": "A13", "unit": {"no": 7}, "v": 2},
        {"id": "A12", "unit": {"no": "7"}, "v": 3},
        {"id": "A12", "v": 4},
        "no json",
    )
    assert [value for value, *_ in found] == [1, 3]


def test_a_level_of_the_topic_can_be_the_value() -> None:
    point = Point(topic="{line}/alarm/{number}", pick="number", type="integer")
    assert heard(point, b"", topic="hall/2/alarm/17", base="hall") == [(17, GOOD, "")]
    line = Point(topic="+/{line}/alarm/+", pick="line", type="text")
    assert heard(line, b"x", topic="hall/press 1/alarm/17") == [("press 1", GOOD, "")]
    assert list(Feed(Device(base="hall"), [point], print).filters) == ["hall/+/alarm/+"]


def test_the_device_itself_may_say_how_far_it_trusts_a_value() -> None:
    quality = {"path": "q", "good": [192, "ok"], "uncertain": [64]}
    point = Point.model_validate({"topic": "t", "path": "v", "quality": quality})
    found = heard(point, {"v": 1, "q": 192}, {"v": 2, "q": "ok"}, {"v": 3, "q": "64"}, {"v": 4, "q": 0}, {"v": 5})
    assert [(value, grade) for value, grade, _ in found] == [
        (1, GOOD), (2, GOOD), (3, UNCERTAIN), (None, BAD), (None, BAD),
    ]  # fmt: skip
    assert found[3][2] == "the device says: q is 0"
    assert found[4][2] == "the payload has no `q`"


# --- times ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "form", "wanted"),
    [(1_795_154_400_000_001, "us", SIX_NS + 1000), (SIX_NS + 1, "ns", SIX_NS + 1), (1_795_154_400_250.5, "ms", SIX_NS + 250_500_000)],
)  # fmt: skip
def test_finer_times_are_read_exactly(value: Any, form: Any, wanted: int) -> None:
    assert time_ns(value, form) == wanted


def test_a_time_without_an_offset_is_in_the_zone_of_the_device() -> None:
    point = Point(topic="t", path="v", time="ts")
    pushed: list[Column] = []
    feed = Feed(Device(time_zone="Europe/Berlin"), [point], pushed.append)
    for text in (
        "2026-11-20T07:00:00",
        "2026-07-20T08:00:00",
        "2026-11-20T06:00:00Z",
        "2026-10-25T02:30:00",
        "2026-03-29T02:30:00",
    ):
        feed.take("t", json.dumps({"v": 1, "ts": text}).encode(), retained=False)
    winter, summer, with_offset, twice, never = pushed
    assert winter.source_ns == with_offset.source_ns == SIX_NS
    assert summer.source_ns == SIX_NS - 123 * 86_400 * 10**9  # 123 days between 20 July and 20 November
    for column in (twice, never):
        assert column.source_ns == 0
        assert column.faults is not None
        assert column.faults[0][0] is UNCERTAIN
        assert "clock change" in column.faults[0][1]


@pytest.mark.parametrize(("age_s", "quality"), [(5, GOOD), (700, UNCERTAIN)])
def test_a_kept_message_counts_by_its_own_time_where_an_age_is_allowed(age_s: int, quality: Any) -> None:
    pushed: list[Column] = []
    device = Device.model_validate({"retained": "10 min"})
    feed = Feed(device, [Point(topic="t", path="v", time="ts")], pushed.append, lambda: SIX_NS + age_s * 10**9)
    feed.take("t", b'{"v": 1, "ts": "2026-11-20T06:00:00Z"}', retained=True)
    assert (pushed[0].faults or {}).get(0, (GOOD,))[0] is quality
    timeless: list[Column] = []
    feed = Feed(device, [Point(topic="t", path="v")], timeless.append, lambda: SIX_NS)
    feed.take("t", b'{"v": 1}', retained=True)
    assert (timeless[0].faults or {})[0][0] is UNCERTAIN


# --- last wills and what came while we were away --------------------------------------------------------


def test_a_last_will_makes_all_tags_bad_at_once_until_the_device_speaks() -> None:
    pushed: list[Column] = []
    device = Device.model_validate(
        {"base": "plug", "alive": {"topic": "LWT", "online": "Online", "offline": "Offline"}}
    )
    feed = Feed(device, [Point(topic="a"), Point(topic="b")], pushed.append)
    assert set(feed.filters) == {"plug/a", "plug/b", "plug/LWT"}
    feed.take("plug/LWT", b"Online", retained=True)
    assert pushed == []
    feed.take("plug/a", b"1", retained=False)
    feed.take("plug/LWT", b"Offline", retained=False)
    assert (pushed[-1].values, pushed[-1].points) == ([None, None], None)
    assert "last will says Offline on plug/LWT" in (pushed[-1].faults or {})[0][1]
    feed.take("plug/b", b"2", retained=True)
    assert len(pushed) == 2, "what the broker kept of the dead does not count"
    feed.take("plug/LWT", b"Online", retained=False)
    assert pushed[-1] == Column((), points=())
    feed.take("plug/LWT", b"Offline", retained=False)
    feed.take("plug/b", b"3", retained=False)
    assert pushed[-1] == Column([3], 0, None, (1,))


def test_a_last_will_may_stand_in_json() -> None:
    pushed: list[Column] = []
    device = Device.model_validate({"alive": {"topic": "x", "path": "state", "online": "online", "offline": "offline"}})
    feed = Feed(device, [Point(topic="a")], pushed.append)
    feed.take("x", b"nonsense", retained=False)
    feed.take("x", b'{"state": "offline"}', retained=True)
    assert [column.values for column in pushed] == [[None]]


def test_what_came_while_we_were_away_is_history_where_it_has_a_time_and_the_last_holds() -> None:
    pushed: list[Column] = []
    points = [Point(topic="a", path="v", time="t", time_form="s"), Point(topic="b")]
    feed = Feed(Device(), points, pushed.append)
    at = SIX_NS // 10**9
    messages = [
        ("a", b'{"v": 1, "t": %d}' % at),
        ("b", b"5"),
        ("a", b'{"v": 2, "t": %d}' % (at + 1)),
        ("b", b"6"),
        ("c", b"7"),
    ]
    feed.catch_up(messages)
    assert pushed == [
        Column([1], SIX_NS, None, (0,), late=True),
        Column([2], SIX_NS + 10**9, None, (0,)),
        Column([6], 0, {0: (UNCERTAIN, "it came while the gateway was away; nobody knows when")}, (1,)),
    ]


# --- setting --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "kind", "value", "sent"),
    [
        ("T={value}&FX=1", "integer", 2, b"T=2&FX=1"),
        ({"on": True, "seg": [{"bri": "{value}"}]}, "integer", 128, b'{"on":true,"seg":[{"bri":128}]}'),
        ({"seg": {"i": ["{value}"]}}, "text", 'FF0000","x":"', b'{"seg":{"i":["FF0000\\",\\"x\\":\\""]}}'),
        (["set {value} %"], "number", 1.5, b'["set 1.5 %"]'),
    ],
)
def test_a_payload_is_a_template_for_the_value(payload: Any, kind: Any, value: Any, sent: bytes) -> None:
    assert to_set(Point(set="s", type=kind, payload=payload), value) == sent


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"topic": "t", "type": "float32"}, "`type: float32` needs `bytes`, for example `bytes: 0-3`"),
        ({"topic": "t", "type": "float32", "bytes": "4-6"}, "a float32 takes 4 bytes; write `bytes: 4-7`"),
        ({"topic": "t", "bytes": "4-7"}, "write how the number is stored"),
        ({"topic": "t", "bytes": "7-4", "type": "uint8"}, "write the first byte before the last"),
        ({"topic": "t", "bytes": "x", "type": "uint8"}, "counted from 0, like `4-7`"),
        ({"topic": "t", "bytes": "0-8", "type": "integer"}, "at most 8 bytes"),
        ({"topic": "t", "bytes": 0, "type": "boolean", "bit": 8}, "must be below 8"),
        ({"topic": "t", "type": "boolean", "bit": 1}, "`bit` needs `bytes`"),
        ({"topic": "t", "encoding": "hex"}, "`encoding` gives bytes"),
        ({"topic": "t", "path": "a", "bytes": 0, "type": "uint8"}, "write their `encoding`"),
        ({"topic": "a/{b}", "pick": "c"}, r"needs a level `\{c\}`"),
        ({"topic": "a/{b}", "pick": "b", "path": "x"}, "takes the value from the topic"),
        ({"topic": "t", "payload": "x"}, "`payload` needs `set`"),
        ({"set": "t", "payload": "x", "set_path": "y"}, "not both"),
        ({"set": "t", "type": "bytes", "payload": "x"}, "hold no bytes"),
        ({"topic": "t", "words": {"0": "a", "1": "a"}}, "a word of its own"),
        ({"topic": "t", "quality": {"path": "q", "good": []}}, "at least 1"),
        ({"metric": "m", "topic": "t", "time": "x"}, "remove time, topic"),
        ({"metric": "m", "type": "uint16", "bytes": "0-1"}, "remove bytes"),
        ({"metric": "m", "type": "uint16"}, "write `type: integer`"),
    ],
)
def test_a_point_that_cannot_work_is_refused_with_what_to_write(settings: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Point.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"retained": "sometimes"}, "or an age like `10 min`"),
        ({"time_zone": "Berlin"}, "write one like `Europe/Berlin`"),
        ({"sparkplug": {"group": "a/b", "node": "c"}}, "without `/`"),
        ({"sparkplug": {"group": "a", "node": "c"}, "base": "x"}, "its own topics"),
    ],
)
def test_a_device_that_cannot_work_is_refused_with_what_to_write(settings: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Device.model_validate(settings)


def test_metrics_are_of_sparkplug_and_topics_of_everything_else() -> None:
    plain, sparkplug = Device(), Device.model_validate({"sparkplug": {"group": "a", "node": "b"}})
    topic, metric = Point(topic="t"), Point(metric="m")
    assert unfit(plain, topic) == unfit(sparkplug, metric) == ""
    assert "needs a `metric`" in unfit(sparkplug, topic)
    assert "write `sparkplug:" in unfit(plain, metric)
