"""What a person is told of a wrong value: our own words, what to write instead, and never a secret."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pytest
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from edgeflow.document import parse
from edgeflow.errors import ConfigError
from edgeflow.explain import explain, shown, without_secrets
from edgeflow.model import Secret, Strict
from edgeflow.production.calendar import CalendarSettings
from edgeflow.units import Duration, Rate, UnitName


class Inner(Strict):
    """Inner."""

    host: str = Field(description="Where it is.")
    password: str = Field(default="", description="What opens it.", max_length=8)


class Model(Strict):
    """Everything that people write."""

    day: date | None = Field(default=None, description="A day.")
    at: datetime | None = Field(default=None, description="A time.")
    lasts: timedelta | None = Field(default=None, description="How long.")
    every: Duration | None = Field(default=None, description="A duration.")
    stale: Duration | Literal["never"] = Field(default=0, description="A duration, or never.")
    rate: Rate | None = Field(default=None, description="A rate.")
    unit: UnitName | None = Field(default=None, description="A unit.")
    policy: Literal["vorne", "haldan", "iso22400"] = Field(default="vorne", description="A policy.")
    qos: Literal[0, 1, 2] = Field(default=0, description="MQTT's quality of service.")
    stream: str = Field(default="a", pattern=r"^[a-z]{1,4}$", description="The stream, four letters.")
    few: tuple[int, ...] = Field(default=(1,), min_length=1, max_length=2, description="Numbers.")
    name: str = Field(default="a", min_length=1, max_length=3, description="A name.")
    step: int = Field(default=0, multiple_of=5, description="A step.")
    ratio: Annotated[float, Field(allow_inf_nan=False)] = Field(default=0.0, description="A ratio.")
    file: Path | None = Field(default=None, description="A file.")
    inner: Inner | str = Field(default="", description="Where, or a name.")
    token: Secret | None = Field(default=None, description="What opens central.")
    url: str = Field(default="http://a", pattern=r"^https?://", description="An address.")
    words: dict[str, int] = Field(default_factory=dict, description="Numbers by word.")
    names: list[Inner] = Field(default_factory=list, description="Several.")


def told(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "g.yaml").model(Model)
    return "\n".join(map(str, caught.value.problems))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("day: 2026-13-01", "day: '2026-13-01' is not a day as YYYY-MM-DD, for example 2026-12-24; write a day as"),
        ("day: tomorrow", "is not a day as YYYY-MM-DD"),
        ("at: 25:61", "at: '25:61' is not a time such as 2026-12-24T06:00:00Z"),
        ("lasts: soon", "lasts: 'soon' is not a duration with its unit, for example 500 ms"),
        ("every: 5", "every: write a duration with its unit, for example `5 s`"),
        ("every: ٥ s", "every: write a number and a unit"),
        ("stale: nevr", "stale: write a number and a unit (ns, us, ms, s, min, h, d), not 'nevr'; or write 'never'"),
        ("stale: 5", "stale: write a duration with its unit, for example `5 s` or `500 ms`; or write 'never'"),
        ("rate: 4 s", "rate: write a number and one of the units /s, /min, /h"),
        ("unit: kwh", "unit: unknown unit 'kwh'; did you mean 'kWh'?"),
        ("policy: vorn", "policy: 'vorn' is not one of 'vorne', 'haldan' or 'iso22400'; did you mean 'vorne'?"),
        ("qos: 3", "qos: 3 is not one of 0, 1 or 2"),
        ("stream: ABCDE", "stream: 'ABCDE' does not fit here: The stream, four letters."),
        ("few: []", "few: write at least one"),
        ("few: [1, 2, 3]", "few: is too long; write at most 2 items"),
        ("name: ''", "name: is empty; write something"),
        ("name: abcd", "name: is too long; write at most 3 characters"),
        ("step: 7", "step: 7 is not a multiple of 5"),
        ("step: ٧", "step: '٧' is not a whole number; write it with the digits 0 to 9"),
        ("step: 7.5", "step: 7.5 is not a whole number; write a whole number"),
        ("ratio: .inf", "ratio: inf is not a number that is not infinite"),
        ("ratio: '1,5'", "ratio: '1,5' is not a number; write 1.5, with a point"),
        ("file: [a]", "file: ['a'] is not the name of a file"),
        ("inner: {hst: a}", "g.yaml:1:9 inner.hst: unknown key 'hst'; did you mean 'host'?"),
        ("inner: 5", "inner: 5 is not"),
        ("url: ftp://a", "url: 'ftp://a' is not a web address; write one that begins with http:// or https://"),
        ("names: [{host: a}, {hots: b}]", "names.2.hots: unknown key 'hots'; did you mean 'host'?"),
        ("words: {a: x}", "words.a: 'x' is not a whole number"),
        ("\xa0name: a", "there is an invisible space in it"),
    ],
)
def test_a_wrong_value_is_told_in_our_own_words(text: str, expected: str) -> None:
    lines = told(text)
    assert expected in lines
    for word in ("pydantic", "Input should", "input should", "should match", "function-", "literal[", "valid "):
        assert word not in lines


def test_every_error_that_pydantic_knows_has_words_of_ours() -> None:
    kinds = get_args(ErrorType)
    assert len(kinds) > 90
    for kind in kinds:
        message = explain(ErrorDetails(type=kind, loc=("name",), msg="Input should be RAW", input="x", ctx={}), Model)
        assert message, kind
        assert "RAW" not in message, kind


@pytest.mark.parametrize(
    "text",
    [
        "inner: {host: a, password: hunter2hunter2}",
        "inner: {host: a, passwort: hunter2hunter2, password: hunter2hunter2}",
        "inner: {host: a, password: [hunter2]}",
        "names: {password: hunter2}",
        "inner: [{host: a, password: hunter2}]",
        "token: hunter2",
        "tokn: hunter2",
        "token: {fil: hunter2}",
        "token: {file: [hunter2]}",
        "url: mqtt://me:hunter2@host:1883/x",
        "url: ftp://host/x?access_token=hunter2&a=1",
        "name: [https://me:hunter2@host]",
        "step: {api_key: hunter2}",
        "few: [{secret: {deep: [hunter2]}}]",
    ],
)
def test_a_secret_is_never_shown(text: str) -> None:
    lines = told(text)
    assert lines
    assert "hunter2" not in lines


def test_what_is_no_secret_is_still_shown() -> None:
    assert shown("abc", "name") == "'abc'"
    assert shown("abc", "password") == "'***'"
    assert without_secrets("http://host:80/a?b=c") == "http://host:80/a?b=c"
    assert without_secrets("http://me@host/") == "http://***@host/"
    assert "'eighty'" in told("step: eighty")


def test_a_calendar_that_is_wrong_is_told_in_our_own_words() -> None:
    text = "shifts: [{name: early, from: 06:00, to: 26:00}]\nholidays: [24.12.2026, 2026-12-24]\n"
    with pytest.raises(ConfigError) as caught:
        parse(text, "g.yaml").model(CalendarSettings)
    assert [str(problem) for problem in caught.value.problems] == [
        "g.yaml:1:37 shifts.1.to: write a time of day as HH:MM, for example 06:00, not '26:00'",
        "g.yaml:2:12 holidays.1: '24.12.2026' is not a day as YYYY-MM-DD, for example 2026-12-24; write a day as "
        "YYYY-MM-DD, for example 2026-12-24",
    ]


class Bare(BaseModel):
    """Without descriptions."""

    x: Any = Field(default=None, pattern="^a$")


def test_without_a_description_there_is_still_a_sentence() -> None:
    with pytest.raises(ValidationError) as caught:
        Bare.model_validate({"x": "b"})
    assert explain(caught.value.errors()[0], Bare).startswith("'b' does not fit here")
