"""Documents say where something is wrong and what to write instead."""

from __future__ import annotations

import pytest
from pydantic import Field, ValidationError

from edgeflow.document import canonical, explain, load, parse, scalar, version
from edgeflow.errors import ConfigError
from edgeflow.model import Strict


class Inner(Strict):
    port: int = Field(default=1, description="A port.")


class Outer(Strict):
    name: str = Field(description="A name.")
    inner: dict[str, Inner] = Field(default_factory=dict, description="Things.")


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "g.yaml").model(Outer)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("22:00", "22:00"), ("off", "off"), ("yes", "yes"), ("1_000", "1_000"), ("2026-11-20", "2026-11-20"),
        ("true", True), ("~", None), ("", None), ("0x1F", 31), ("0o17", 15), ("017", 17), ("-3", -3), ("1e3", 1000.0),
        (".5", 0.5), ("1.", 1.0), ("0b1", "0b1"), ("1:30", "1:30"),
    ],
)  # fmt: skip
def test_plain_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_quoted_scalars_are_always_text() -> None:
    assert parse("a: '1'\nb: \"true\"").data == {"a": "1", "b": "true"}


def test_an_unknown_key_is_placed_and_a_close_one_is_suggested() -> None:
    assert problems("name: x\ninner:\n  a: {prot: 1}\n") == [
        "g.yaml:3:7 inner.a.prot: unknown key 'prot'; did you mean 'port'?"
    ]


def test_a_wrong_type_says_what_to_write() -> None:
    assert problems("name: x\ninner:\n  a:\n    port: many\n") == [
        "g.yaml:4:5 inner.a.port: 'many' is not a whole number; write a whole number"
    ]


def test_a_decimal_comma_is_told_with_the_point() -> None:
    class Scaled(Strict):
        scale: float

    with pytest.raises(ValidationError) as told:
        Scaled.model_validate({"scale": "0,1"})
    assert explain(told.value.errors()[0], Scaled) == "'0,1' is not a number; write 0.1, with a point"
    assert "unknown key '5'; a number has a decimal point" in problems("name: x\ninner: {a: {port: 1,5}}\n")[0]


def test_a_missing_key_is_placed_at_its_parent() -> None:
    assert problems("inner: {}\n") == ["g.yaml:1:1 name: is required"]


def test_a_key_written_twice_is_an_error() -> None:
    assert problems("name: x\nname: y\n") == ["g.yaml:2:1 the key 'name' is written twice; remove one"]


def test_every_problem_is_told_at_once() -> None:
    assert len(problems("nam: x\ninner: {a: {port: x}, b: 3}\n")) == 4


def test_text_with_a_comma_in_braces_is_told_to_be_quoted() -> None:
    (line,) = problems("name: x\ninner: {a: {port: 1, 0 is none}}\n")
    assert line == "g.yaml:2:22 inner.a.0 is none: unknown key '0 is none'; put text with a comma in quotes"


def test_a_number_beyond_its_limit_says_the_limit() -> None:
    class Limited(Strict):
        port: int = Field(le=65535)

    with pytest.raises(ConfigError, match="70000 is too large; write at most 65535"):
        parse("port: 70000\n", "g.yaml").model(Limited)


def test_a_list_with_a_wrong_item_is_not_also_called_too_short() -> None:
    class Listed(Strict):
        ports: tuple[int, ...] = Field(min_length=1)

    with pytest.raises(ConfigError) as caught:
        parse("ports: [x]\n", "g.yaml").model(Listed)
    assert len(caught.value.problems) == 1


def test_bad_yaml_is_placed() -> None:
    (line,) = problems("name: x\ninner: {a: [1, 2}\n")
    assert line.startswith("g.yaml:2:17 is not valid YAML: ")


def test_a_tab_in_the_indentation_is_named() -> None:
    (line,) = problems("name: x\ninner:\n\ta: {}\n")
    assert "indent with spaces, not tabs" in line


def test_an_alias_of_itself_ends_with_an_error() -> None:
    assert "nested too deeply" in problems("name: &a\n  b: *a\n")[0]


def test_brackets_without_end_are_refused_before_they_use_up_the_stack() -> None:
    for text in ("[" * 100_000, "{a: " * 100_000, "- " * 100_000):
        assert "nested too deeply" in problems(text)[0]


def test_aliases_of_aliases_are_refused_before_they_use_up_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    assert "is too large" in problems("\n".join(lines))[0]


@pytest.mark.parametrize("text", ["a: b\r\r\r\r: : :", "a: b\u2028\u2028c: d: e: :"])
def test_bad_yaml_behind_unusual_line_breaks_is_an_error(text: str) -> None:
    assert "is not valid YAML" in problems(text)[0]


def test_a_number_of_very_many_digits_is_no_fault_of_ours() -> None:
    assert problems(f"name: {'9' * 5000}")[0].endswith("is not text (put it in quotes); write text (put it in quotes)")
    assert parse(f"name: 0x{'f' * 5000}").model(Outer).name.startswith("0xf")


def test_of_very_many_problems_the_first_hundred_are_told() -> None:
    assert len(problems("name: x\n" + "".join(f"k{i}: 1\n" for i in range(5000)))) == 100


def test_a_file_that_cannot_be_read_is_an_error_with_its_name(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml cannot be read: No such file"):
        load(tmp_path / "nothing.yaml")


def test_the_version_of_a_document_does_not_depend_on_the_order_of_keys() -> None:
    one, other = parse("a: 1\nb: {c: x, d: 2.5}\n"), parse("b: {d: 2.5, c: x}\na: 1\n")
    assert canonical(one.data) == b'{"a":1,"b":{"c":"x","d":2.5}}'
    assert version(one.data) == version(other.data)
    assert version(one.data) != version(parse("a: 2\nb: {c: x, d: 2.5}\n").data)
