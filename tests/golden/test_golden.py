"""The runner of golden cases: it fails where it must, and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeflow.errors import ConfigError
from edgeflow.node import installed
from edgeflow.testing.compare import CaseResult, differences, equals
from edgeflow.testing.golden import find_cases, run_cases

FLOW = """
flow: test
parameters: {limit: {type: number, description: A limit.}}
nodes:
  value: {kind: tag, tag: m/value}
  high:  {kind: threshold, limit: "{limit}"}
  lamp:  {kind: lamp, output: light}
  count: {kind: count, modulus: 100}
  wait:  {kind: debounce, on_delay: 10 s}
  note:  {kind: record, stream: note}
  send:  {kind: mqtt_publish, topic: a/b}
wires: [value -> high, high -> wait, value -> count, wait -> note, wait -> send]
"""
CASE = """
case: a case
with: {limit: 5}
site: {outputs: {light: {elements: [red, green]}}}
begin: 2026-11-20T06:00:00Z
"""


def outcome(tmp_path: Path, rest: str, flow: str = FLOW) -> CaseResult:
    (tmp_path / "flow.yaml").write_text(flow)
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "one.yaml").write_text(CASE + rest)
    (result,) = run_cases([tmp_path], installed())
    return result


def test_what_comes_out_as_written_is_ok_in_one_line(tmp_path: Path) -> None:
    result = outcome(
        tmp_path,
        """
input:
  - {at: 06:00, m/value: 3}
  - {at: +1 min, m/value: 7, lamp.state: 6}
  - {at: "2026-11-20T06:02:00Z", m/value: {bad: no answer}}
until: 06:03
expect:
  messages:
    - {port: high, at: 06:00, value: false}
    - {port: high, at: 06:01, value: true}
    - {port: high, at: 06:02, quality: bad}
    - {port: count.total, at: 06:01, value: 4}
  outputs:
    - {at: 06:01, output: light, shows: {green: on, red: off}}
  records: [{stream: note, key: "note/2026-11-20T06:01:10.000Z", data: {value: true}}]
  calls: [{service: mqtt, request: {topic: a/b}}]
""",
    )
    assert result.ok, str(result)
    assert str(result) == f"ok   {tmp_path / 'cases/one.yaml'}: a case"


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        ("messages: [{port: high, value: false}]", "high: expected False, got True"),
        ("messages: [{port: high, value: true, quality: bad}]", "expected bad, got good"),
        ("messages: [{port: nowhere, value: 1}]", "no such output port"),
        ("outputs: [{at: 06:01, output: light, shows: {red: on}}]", "light.red: expected on, got off"),
        ("outputs: [{at: 06:01, output: lihgt, shows: {red: on}}]", "no such output"),
        ("records: [{stream: note, data: {value: 3}}]", "note.value: expected 3, got True"),
        ("records: [{stream: oee}]", "no record oee; there are: none"),
        ("no_records: [note]", "there is a record note"),
        ("calls: [{service: http}]", "no call http"),
    ],
)
def test_what_comes_out_otherwise_is_told(tmp_path: Path, expect: str, words: str) -> None:
    result = outcome(tmp_path, f"input: [{{at: 06:00, m/value: 7}}]\nuntil: 06:01\nexpect: {{{expect}}}\n")
    assert not result.ok
    assert words in str(result)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("input: []\nexpect: {}\nutnil: 07:00\n", "did you mean 'until'?"),
        ("input: [{at: seven, m/value: 1}]\nexpect: {}\n", "one.yaml:6:10 input.1.at: 'seven' is not a time"),
        ("input: [{at: 07:00, m/value: 0..9}]\nexpect: {}\n", "needs `for`, longer than `repeat`"),
        ("input: [{at: 07:00, m/value: 1, value.inn: 1}]\nexpect: {}\n", "there is no input case/value.inn"),
    ],
)
def test_a_case_that_is_written_wrongly_says_where(tmp_path: Path, rest: str, words: str) -> None:
    result = outcome(tmp_path, rest)
    assert not result.ok
    assert words in str(result)


def test_a_flow_that_does_not_compile_fails_the_case_with_its_place(tmp_path: Path) -> None:
    result = outcome(tmp_path, "input: [{at: 07:00, m/value: 1}]\nexpect: {}\n", FLOW.replace("threshold", "treshold"))
    assert "flow.yaml:6:" in str(result)
    assert "did you mean 'threshold'?" in str(result)


def test_a_node_that_raises_fails_the_case(tmp_path: Path) -> None:
    result = outcome(tmp_path, "input: [{at: 07:00, m/value: 1}, {at: 07:01, m/value: text}]\nexpect: {}\n")
    assert "the flow stopped" in str(result)


def test_rows_last_repeat_and_rise_and_survive_a_restart(tmp_path: Path) -> None:
    result = outcome(
        tmp_path,
        """
repeat: 1 s
restarts: [{at: "06:00:10", for: 20 s}]
input:
  - {for: 60 s, m/value: 0..59}
  - {for: 60 s, m/value: 0..59}
expect:
  messages:
    - {port: count.total, at: "06:00:09", value: 9}
    - {port: count.total, at: "06:00:30", value: 30}
    - {port: count.total, value: 159} # modulus 100: 59 -> 0 is a wrap of 41
""",
    )
    assert result.ok, str(result)


def test_a_folder_without_cases_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no golden cases"):
        find_cases([tmp_path])


@pytest.mark.parametrize(
    ("expected", "given", "same"),
    [
        ("88.81 %", 373 / 420, True),
        ("88.82 %", 373 / 420, False),
        ("~0.888095", 373 / 420, True),
        ("~0.888096", 373 / 420, False),
        ("373/420", 373 / 420, True),
        ("373/421", 373 / 420, False),
        ("77.7.. %", 0.7779, True),
        ("77.7 %", 0.7779, False),
        (0.1, 0.1 + 1e-9, False),
        (3, 3.0, True),
        (1, True, False),
        (True, 1, False),
        (None, None, True),
        (None, 0, False),
        ("running", "running", True),
        ("3", 4, False),
    ],
)
def test_numbers_are_compared_at_the_precision_they_are_written_in(expected: Any, given: Any, same: bool) -> None:
    assert equals(expected, given) is same


def test_of_a_mapping_only_what_is_expected_is_compared() -> None:
    assert differences({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}, "d": 3}, "") == []
    assert differences({"a": {"b": 1}}, {"a": {}}, "") == ["a.b: is missing"]
    assert differences([1, 2], [1], "x") == ["x: expected 2 items, got 1: [1]"]
