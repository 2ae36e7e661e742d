"""The general kinds, each in a flow of its own on the real engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from edgeflow.errors import ConfigError
from edgeflow.model import BAD, GOOD, UNCERTAIN, Answer, Tag
from edgeflow.nodes.average import NODE as AVERAGE
from edgeflow.nodes.convert import Config as Convert
from edgeflow.nodes.http_request import Config as HttpRequest
from edgeflow.nodes.mqtt_publish import Config as MqttPublish
from edgeflow.nodes.switch import Config as Switch
from edgeflow.store.wire import encode

Make = Callable[..., Any]


def test_a_tag_passes_every_sample_on(rig: Make) -> None:
    r = rig("nodes: {a: {kind: tag, tag: press1/state}, p: {kind: probe, name: out}}\nwires: [a -> p]")
    for at in (1, 2):
        r.feed(at, press1__state=6)
    r.feed(3, BAD, press1__state=6)
    assert r.values() == [6, 6, None]
    assert r.qualities() == [GOOD, GOOD, BAD]


def test_a_tag_on_change_passes_on_what_differs_in_value_or_quality(rig: Make) -> None:
    r = rig("nodes: {a: {kind: tag, tag: press1/state, on: change}, p: {kind: probe, name: out}}\nwires: [a -> p]")
    for at, value, quality in [(1, 6, GOOD), (2, 6, GOOD), (3, 5, GOOD), (4, 5, UNCERTAIN), (5, 5, UNCERTAIN)]:
        r.feed(at, quality, press1__state=value)
    r.feed(6, BAD, press1__state=5)
    r.feed(7, press1__state=5)
    assert r.values() == [6, 5, 5, None, 5]
    assert r.qualities() == [GOOD, GOOD, UNCERTAIN, BAD, GOOD]


def test_a_tag_on_change_speaks_after_a_restart(rig: Make) -> None:
    r = rig("nodes: {a: {kind: tag, tag: press1/state, on: change}, p: {kind: probe, name: out}}\nwires: [a -> p]")
    r.feed(1, press1__state=6)
    r.commit()
    r.crash(2)
    r.feed(3, press1__state=6)
    assert r.values() == [6, 6]


def device(rig: Make, more: str = "") -> Any:
    text = f"nodes: {{a: {{kind: device, device: d{more}}}, p: {{kind: probe, name: out}}}}\nwires: [a -> p]"
    return rig(text, (Tag("d/x"), Tag("d/deep/y")))


def test_a_device_tells_its_values_by_their_short_names(rig: Make) -> None:
    r = device(rig)
    r.feed(1, d__x=1.5, d__deep__y=2)
    assert r.values() == [{"values": {"x": 1.5, "deep/y": 2}}]
    assert r.qualities() == [GOOD]


def test_a_device_tells_the_time_when_asked(rig: Make) -> None:
    r = device(rig, ", time: true")
    r.feed(1.25, d__x=1)
    assert r.values() == [{"values": {"x": 1}, "at": "2026-11-20T06:00:01.250Z"}]


def test_a_device_names_what_is_bad_and_why(rig: Make) -> None:
    r = device(rig)
    r.feed(1, BAD, d__x=1, d__deep__y=2)
    assert r.values() == [
        {"values": {"x": None, "deep/y": None}, "bad": {"x": "the wire is cut", "deep/y": "the wire is cut"}}
    ]
    assert r.qualities() == [BAD]


def test_a_device_with_doubtful_values_is_doubtful(rig: Make) -> None:
    r = device(rig)
    r.feed(1, UNCERTAIN, d__x=1)
    assert r.qualities() == [UNCERTAIN]


def test_a_constant_speaks_whenever_the_flow_starts(rig: Make) -> None:
    r = rig("nodes: {a: {kind: constant, value: 7}, p: {kind: probe, name: out}}\nwires: [a -> p]")
    r.crash(1)
    assert r.values() == [7, 7]


def test_scale_multiplies_and_adds(one: Make) -> None:
    r = one("scale, factor: 0.5, offset: 10, unit: bar")
    r.feed(1, d__in=4)
    r.feed(2, BAD, d__in=4)
    r.feed(3, UNCERTAIN, d__in=4)
    assert r.values() == [12.0, None, 12.0]
    assert r.qualities() == [GOOD, BAD, UNCERTAIN]


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [("°F", "°C", 212, 100), ("W", "kW", 1500, 1.5), ("MJ", "kWh", 3.6, 1.0), ("%", "1", 50, 0.5)],
)
def test_convert_tells_the_same_quantity(one: Make, source: str, target: str, value: float, expected: float) -> None:
    r = one(f'convert, from: "{source}", to: "{target}"', units={"in": source})
    r.feed(1, d__in=value)
    assert r.values() == [pytest.approx(expected)]


def test_convert_refuses_what_does_not_measure_the_same() -> None:
    with pytest.raises(ValidationError, match="kWh cannot be converted to °C"):
        Convert.model_validate({"from": "kWh", "to": "°C"})


def test_a_wire_into_convert_must_carry_the_unit_it_converts_from(one: Make) -> None:
    with pytest.raises(ConfigError, match="kW"):
        one("convert, from: W, to: kW", units={"in": "kW"})


@pytest.mark.parametrize(
    ("relation", "expected"),
    [
        ("==", [False, True, False]),
        ("!=", [True, False, True]),
        ("<", [True, False, False]),
        ("<=", [True, True, False]),
        (">", [False, False, True]),
        (">=", [False, True, True]),
    ],
)
def test_compare_relates_a_value_to_another(one: Make, relation: str, expected: list[bool]) -> None:
    r = one(f'compare, is: "{relation}", than: 5')
    for at, value in enumerate((4, 5, 6)):
        r.feed(at, d__in=value)
    assert r.values() == expected


def test_compare_prefers_what_comes_in_over_the_setting(one: Make) -> None:
    r = one('compare, is: ">", than: 5', inputs=("in", "than"))
    r.feed(1, d__in=7)
    r.feed(2, d__than=8)
    r.feed(3, BAD, d__than=8)
    assert r.values() == [True, False, None]


def test_text_and_numbers_have_no_order(one: Make) -> None:
    r = one('compare, is: "<", than: 5', types={"in": "text"})
    r.feed(1, d__in="four")
    assert (r.values(), r.qualities()) == ([None], [BAD])


def test_a_threshold_comes_back_only_behind_its_deadband(one: Make) -> None:
    r = one("threshold, limit: 80, deadband: 5")
    for at, value in enumerate((80, 80.1, 76, 75.1, 75, 78, 81)):
        r.feed(at, d__in=value)
    assert r.values() == [False, True, True, True, False, False, True]


def test_a_threshold_below_is_the_mirror_image(one: Make) -> None:
    r = one("threshold, limit: 20, beyond: below, deadband: 2")
    for at, value in enumerate((20, 19, 21, 22, 21)):
        r.feed(at, d__in=value)
    assert r.values() == [False, True, True, False, False]


def test_switch_takes_the_first_case_that_fits(one: Make) -> None:
    r = one(
        "switch, cases: {run: {one_of: [6, execute]}, hot: {at_least: 80, below: 100}}",
        outputs=("run", "hot", "otherwise"),
    )
    for at, value in enumerate((6, 80, 99.9, 100, 5)):
        r.feed(at, d__in=value)
    assert (r.values("run"), r.values("hot"), r.values("otherwise")) == ([6], [80, 99.9], [100, 5])


def test_nobody_knows_which_way_a_bad_value_would_have_gone(one: Make) -> None:
    r = one("switch, cases: {run: {one_of: [6]}}", outputs=("run", "otherwise"))
    r.feed(1, BAD, d__in=6)
    assert r.qualities("run") == r.qualities("otherwise") == [BAD]


@pytest.mark.parametrize("cases", [{}, {"otherwise": {"below": 1}}, {"empty": {}}])
def test_switch_refuses_cases_that_mean_nothing(cases: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Switch.model_validate({"cases": cases})


def test_debounce_lets_a_value_through_that_has_stayed(one: Make) -> None:
    r = one("debounce, on_delay: 2 s, off_delay: 1 s", types={"in": "boolean"})
    r.feed(0, d__in=False)
    r.advance(1)
    for at, value in [(2, True), (3, False), (3.5, True), (5.4, True)]:
        r.feed(at, d__in=value)
    assert r.values() == [False]
    r.feed(5.6, d__in=True)
    assert r.values() == [False, True]
    assert [m.at - r.seen["out"][0].at for m in r.seen["out"]] == [0, 4_500_000_000]


def test_debounce_tells_doubt_at_once_and_recovery_too(one: Make) -> None:
    r = one("debounce, on_delay: 2 s")
    r.feed(0, d__in=5)
    r.feed(2, d__in=5)
    r.feed(3, BAD, d__in=5)
    r.feed(4, BAD, d__in=5)
    r.feed(5, d__in=5)
    assert r.values() == [5, None, 5]
    assert r.qualities() == [GOOD, BAD, GOOD]


def test_doubt_ends_the_wait(one: Make) -> None:
    r = one("debounce, on_delay: 2 s")
    r.feed(0, d__in=5)
    r.feed(1, BAD, d__in=5)
    r.advance(10)
    assert r.qualities() == [BAD]


def test_a_wait_goes_on_through_a_restart(one: Make) -> None:
    r = one("debounce, on_delay: 2 s")
    r.feed(0, d__in=5)
    r.commit()
    r.crash(1)
    r.advance(2)
    assert r.values() == [5]


def test_average_is_the_mean_of_what_is_in_the_window(one: Make) -> None:
    r = one("average, over: 3 s")
    for at, value in enumerate((3, 6, 9, 12)):
        r.feed(at, d__in=value)
    r.feed(60, d__in=1)
    # The sample of 3 s ago is out: (6 + 9 + 12) / 3.
    assert r.values() == [3, 4.5, 6, 9, 1]


def test_average_is_doubtful_as_long_as_a_doubtful_sample_counts(one: Make) -> None:
    r = one("average, over: 3 s")
    r.feed(0, UNCERTAIN, d__in=1)
    r.feed(1, BAD, d__in=1)
    r.feed(2, d__in=4)
    r.feed(3, d__in=7)
    assert r.values() == [1, None, 2.5, 5.5]
    assert r.qualities() == [UNCERTAIN, BAD, UNCERTAIN, GOOD]


def test_average_is_of_the_whole_window_however_fast_the_samples_come(one: Make) -> None:
    """Five minutes at 250 ms are 1200 samples: 600 of 0 and 600 of 10."""
    r = one("average, over: 5 min")
    for i in range(1, 1201):
        r.feed(i / 4, d__in=0 if i <= 600 else 10)
    assert r.values()[-1] == 5
    r.commit()
    r.crash(301)
    for i in range(1205, 1805):
        r.feed(i / 4, d__in=10)
    assert r.values()[-1] == 10
    assert AVERAGE.durability == "window"


def test_average_of_very_many_samples_keeps_bounded_panes_and_is_never_shorter(one: Make) -> None:
    """20 ms over 10 min are 30,000 samples: the mean of a rise over the window, give or take one pane."""
    r = one("average, over: 10 min")
    for i in range(40_000):
        r.feed(i / 50, d__in=i)
    expected = sum(range(10_000, 40_000)) / 30_000
    assert r.values()[-1] == pytest.approx(expected, abs=600 / 2000 * 50)
    assert r.values()[-1] <= expected, "longer, not shorter"
    window = r.engine.flows["test"].by_name["it"].state.window
    assert len(window.old) + len(window.new) <= 2001


def test_a_large_value_that_has_left_takes_no_small_ones_with_it(one: Make) -> None:
    r = one("average, over: 3 s")
    for at, value in enumerate((1e299, 0.1, 0.2, 0.3)):
        r.feed(at, d__in=value)
    assert r.values()[-1] == pytest.approx(0.2, abs=1e-15)


def test_average_begins_anew_where_the_clock_of_the_device_was_set_back(one: Make) -> None:
    r = one("average, over: 3 s")
    r.feed(100, d__in=7)
    r.feed(10, d__in=1)
    r.feed(11, d__in=3)
    assert r.values() == [7, 1, 2]


def test_minmax_keeps_the_extremes_until_the_reset(one: Make) -> None:
    r = one("minmax", inputs=("in", "reset"), outputs=("low", "high"), types={"reset": "boolean"})
    for at, value in enumerate((5, 3, 9)):
        r.feed(at, d__in=value)
    r.feed(4, d__reset=True)
    r.feed(5, d__in=4, d__reset=True)
    assert r.values("low") == [5, 3, 3, 4]
    assert r.values("high") == [5, 5, 9, 4]


def test_minmax_is_doubtful_while_nobody_knows_of_the_reset(one: Make) -> None:
    r = one("minmax", inputs=("in", "reset"), outputs=("low", "high"), types={"reset": "boolean"})
    r.feed(0, BAD, d__reset=True)
    r.feed(1, d__in=4)
    r.feed(2, BAD, d__in=4)
    assert r.qualities("low") == [UNCERTAIN, BAD]


def test_merge_any_passes_on_whichever_speaks_with_its_own_quality(one: Make) -> None:
    r = one("merge, wait: any", inputs=("a", "b"))
    r.feed(1, BAD, d__a=1)
    r.feed(2, d__b=2)
    r.feed(3, d__a=3, d__b=4)
    assert r.values() == [None, 2, 3, 4]
    assert r.qualities() == [BAD, GOOD, GOOD, GOOD]


def test_merge_latest_speaks_once_all_have_spoken(one: Make) -> None:
    r = one("merge", inputs=("a", "b"))
    r.feed(1, d__a=1)
    r.feed(2, d__b=2)
    r.feed(3, BAD, d__a=1)
    assert r.values() == [{"a": 1, "b": 2}, {"a": None, "b": 2}]
    assert r.qualities() == [GOOD, BAD]


def test_merge_all_speaks_once_per_round_and_remembers_the_round_over_a_restart(one: Make) -> None:
    r = one("merge, wait: all", inputs=("a", "b"))
    r.feed(1, d__a=1)
    r.feed(2, d__a=2)
    r.commit()
    r.crash(3)
    r.feed(4, d__b=3)
    r.feed(5, d__b=4)
    assert r.values() == [{"a": 2, "b": 3}]


def test_http_request_asks_after_the_commit_and_passes_the_answer_on(one: Make) -> None:
    r = one("http_request, url: https://mes.example/orders, timeout: 3 s", outputs=("out", "failed"))
    r.feed(1, d__in=5)
    assert r.calls == []
    r.commit()
    (call,) = r.calls
    assert (call.service, call.fast) == ("http", "")
    assert call.request["json"] == 5
    assert call.request["timeout"] == 3_000_000_000
    r.answer(Answer(call.id, True, {"order": 12}, at=r.engine.now))
    assert r.values() == [{"order": 12}]
    assert r.values("failed") == []


def test_http_request_says_why_there_is_no_answer(one: Make) -> None:
    r = one("http_request, url: https://mes.example/orders, method: GET", outputs=("out", "failed"))
    r.feed(1, d__in=5)
    r.commit()
    assert "json" not in r.calls[0].request
    r.answer(Answer(r.calls[0].id, False, error="it did not answer in time", at=r.engine.now))
    assert r.values("failed") == [{"error": "it did not answer in time"}]


def test_a_bad_value_is_not_sent_to_a_web_service(one: Make) -> None:
    r = one("http_request, url: https://mes.example/orders", outputs=("out", "failed"))
    r.feed(1, BAD, d__in=5)
    r.commit()
    assert r.calls == []
    assert r.qualities() == [BAD]


def test_http_request_takes_web_addresses_only() -> None:
    with pytest.raises(ValidationError):
        HttpRequest.model_validate({"url": "file:///etc/shadow"})


def test_mqtt_publish_sends_live_values_at_once_and_awaits_no_answer(one: Make) -> None:
    r = one("mqtt_publish, topic: plant/x, qos: 1", outputs=())
    r.feed(1, d__in=5)
    (call,) = r.calls
    assert call.request == {"topic": "plant/x", "payload": 5, "qos": 1, "retain": False}
    assert call.fast
    assert not call.wants_answer


def test_mqtt_publish_sends_durable_values_after_the_commit(one: Make) -> None:
    r = one("mqtt_publish, topic: plant/x, durable: true, envelope: true", outputs=())
    r.feed(1, UNCERTAIN, d__in=5)
    assert r.calls == []
    r.commit()
    (call,) = r.calls
    assert not call.fast
    assert call.request["payload"] == {"value": 5, "quality": "uncertain", "at": "2026-11-20T06:00:01.000Z"}


def test_a_topic_to_publish_on_has_no_wildcards() -> None:
    with pytest.raises(ValidationError):
        MqttPublish.model_validate({"topic": "plant/#"})


def test_write_holds_the_value_and_lets_go_when_it_is_bad(one: Make) -> None:
    r = one("write, output: oven/setpoint", outputs=())
    r.feed(1, d__in=180)
    assert r.levels["oven/setpoint"] == {"value": 180}
    r.feed(2, BAD, d__in=180)
    assert r.engine.requests.held("oven/setpoint") == []


def test_what_is_held_is_held_again_after_a_restart(one: Make) -> None:
    r = one("write, output: oven/setpoint", outputs=())
    r.feed(1, d__in=180)
    r.commit()
    r.crash(2)
    assert r.levels["oven/setpoint"] == {"value": 180}


def test_a_plain_value_becomes_a_final_record_of_its_own(one: Make) -> None:
    r = one("record, stream: temperature, name: oven", outputs=())
    r.feed(1, UNCERTAIN, d__in=180)
    r.commit()
    (record,) = r.records
    assert (record.stream, record.key, record.data) == (
        "temperature",
        "oven/2026-11-20T06:00:01.000Z",
        {"value": 180},
    )
    assert (record.status, record.quality) == ("final", UNCERTAIN)


def test_a_result_keeps_its_key_and_its_period(rig: Make) -> None:
    result = "{key: m/1, begin: 2026-11-20T06:00:00Z, end: null, status: provisional, coverage: 0.5, data: {kwh: 1}}"
    r = rig(f"nodes: {{a: {{kind: constant, value: {result}}}, b: {{kind: record, stream: energy}}}}\nwires: [a -> b]")
    r.commit()
    (record,) = r.records
    assert (record.key, record.status, record.coverage, record.data) == ("m/1", "provisional", 0.5, {"kwh": 1})
    assert (record.begin, record.end) == (r.engine.now, None)


@pytest.mark.parametrize(
    "wrong",
    ["coverage: much", "status: done", "status: [final]", "begin: soon", "end: 12",
     '"begin": "0001-01-01T00:00:00+23:59"'],
)  # fmt: skip
def test_what_only_looks_like_a_result_is_recorded_as_a_plain_value(rig: Make, wrong: str) -> None:
    value = f"{{key: m/1, data: {{kwh: 1}}, {wrong}}}"
    r = rig(f"nodes: {{a: {{kind: constant, value: {value}}}, b: {{kind: record, stream: energy}}}}\nwires: [a -> b]")
    r.commit()
    (record,) = r.records
    assert record.data["value"]["key"] == "m/1"
    assert orjson.loads(encode(record))["status"] == "final"
