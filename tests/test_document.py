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


# what else YAML allows

WRITINGS = {
    "an alias that stands for nothing": ("a: 1\nb: *base\n", "g.yaml:2:4 b: `*base` stands for nothing: there is no `&base` before it"),
    "a merge key": ("a: &a {x: 1}\nb:\n  <<: *a\n  y: 2\n", "g.yaml:3:3 b: `<<` does not put the keys of another mapping here; write them out"),
    "a tag of Python": ("a: !!python/object/apply:os.system [ls]\n", "g.yaml:1:4 a: the tag `!!python/object/apply:os.system` has no meaning here; write the value alone, text in quotes"),
    "a tag of YAML": ("a: {b: !!str 5}\n", "g.yaml:1:8 a.b: the tag `!!str` has no meaning here"),
    "a tag of somebody": ("- !secret token\n", "g.yaml:1:3 1: the tag `!secret` has no meaning here"),
    "a key with a tag": ("!!int 5: x\n", "a key must be plain text, without a tag"),
    "a second document": ("a: 1\n---\na: 2\n", "a second document begins here; write one per file"),
    "a list as a key": ("? [a, b]\n: 1\n", "g.yaml:1:3 a key must be plain text"),
    "a character that nobody sees": ("a: 1\nb: x\x07y\n", "g.yaml:2:5 the character U+0007 cannot be seen and has no meaning here; delete it"),
    "a byte order mark in the middle": ("a: 1\n\ufeffb: 2\n", "g.yaml:2:1 the character U+FEFF cannot be seen"),
    "a tab": ("a:\n\tb: 1\n", "indent with spaces, not tabs"),
    "a flow that never ends": ("a: [1, 2\nb: 3\n", "is not valid YAML"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITINGS)
def test_what_cannot_be_read_is_told_at_its_place(name: str) -> None:
    text, expected = WRITINGS[name]
    with pytest.raises(ConfigError) as caught:
        parse(text, "g.yaml")
    lines = [str(problem) for problem in caught.value.problems]
    assert any(expected in line for line in lines), lines
    assert all(line.startswith("g.yaml:") for line in lines)


@pytest.mark.parametrize(
    "text", ["\ufeffa: 1\nb: [x]\n", "a: 1\r\nb: [x]\r\n", "%YAML 1.2\n---\na: 1\nb: [x]\n...\n", "a: 1\nb:\n- x"]
)
def test_marks_and_line_ends_of_other_systems_change_nothing(text: str, tmp_path) -> None:
    (tmp_path / "g.yaml").write_bytes(text.encode())
    for document in (parse(text), load(tmp_path / "g.yaml")):
        assert document.data == {"a": 1, "b": ["x"]}


def test_an_anchor_is_its_value_wherever_it_is_named() -> None:
    document = parse("a: &a {x: [1, 2]}\nb: *a\nc: [*a, &n 5, *n]\n", "g.yaml")
    assert document.data == {"a": {"x": [1, 2]}, "b": {"x": [1, 2]}, "c": [{"x": [1, 2]}, 5, 5]}
    assert str(document.problem(("b", "x", 1), "!")) == "g.yaml:1:15 b.x.2: !", "its place is where it is written"
    document.data["b"]["x"].append(3)
    assert document.data["a"] == {"x": [1, 2]}, "a copy of its own"


def test_a_billion_laughs_end_at_once() -> None:
    text = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for one, next_ in zip("abcdefgh", "bcdefghi", strict=True):
        text += f"{next_}: &{next_} [{', '.join([f'*{one}'] * 9)}]\n"
    with pytest.raises(ConfigError, match=r"g.yaml:5:.* is too large: its aliases stand for more than 20000 values"):
        parse(text, "g.yaml")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"a: 1\nb: gr\xfcn\n", ":2:6 cannot be read: it is not UTF-8 text; save it anew with the encoding UTF-8"),
        ("a: 1\n".encode("utf-16"), ":1:1 cannot be read: it is not UTF-8 text but UTF-16; save it anew"),
    ],
)
def test_a_file_of_another_encoding_is_told_with_the_place(raw: bytes, expected: str, tmp_path) -> None:
    (tmp_path / "g.yaml").write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "g.yaml")
    assert expected in str(caught.value)


@pytest.mark.parametrize("text", ["port: ٨٠", "port: ８０", "port: ８０.5"])
def test_numbers_in_other_scripts_are_text(text: str) -> None:
    assert isinstance(parse(text).data["port"], str)


def test_a_key_written_twice_hides_nothing_else() -> None:
    text = "name: a\nname: b\ninner: {a: {port: x}}\nextra: 1\n"
    document = parse(text, "g.yaml", lenient=True)
    with pytest.raises(ConfigError) as caught:
        document.model(Outer)
    lines = [str(problem) for problem in caught.value.problems]
    assert lines[0] == "g.yaml:2:1 the key 'name' is written twice; remove one"
    assert any("g.yaml:4:1 extra: unknown key" in line for line in lines)
    assert len(lines) == 3
    with pytest.raises(ConfigError):
        parse("name: a\nname: b\n", lenient=True).model(Outer)


def test_what_is_wrong_in_a_doubled_key_is_told_too() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("a: {b: 1}\na: {c: !x 1, c: 2}\n", "g.yaml")
    assert [problem.line for problem in caught.value.problems] == [2, 2, 2]
