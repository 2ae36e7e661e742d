"""What an electrician may write, and what he is told when it is wrong."""

import re
from pathlib import Path

import pytest

import edgeflow_modbus
from edgeflow.document import parse
from edgeflow.errors import ConfigError
from edgeflow_modbus import DRIVER
from edgeflow_modbus.config import Device, Point


def point(text):
    return parse(text, "gateway.yaml").model(Point)


def problem(text, model=Point):
    with pytest.raises(ConfigError) as error:
        parse(text, "gateway.yaml").model(model)
    (line,) = str(error.value).splitlines()
    return line


@pytest.mark.parametrize(
    ("text", "kind", "count", "writable", "value_type"),
    [
        ("{register: 10}", "uint16", 1, True, "integer"),
        ("{register: 10, type: uint32, word_order: little}", "uint32", 2, True, "integer"),
        ("{input: 52, type: float32}", "float32", 2, False, "number"),
        ("{input: 0x34, type: float64}", "float64", 4, False, "number"),
        ("{coil: 0}", "bool", 1, True, "boolean"),
        ("{discrete: 3}", "bool", 1, False, "boolean"),
        ("{register: 12, bit: 0}", "bool", 1, True, "boolean"),
        ("{register: 12, type: int8, byte: high}", "int8", 1, True, "integer"),
        ("{register: 100, type: string, length: 8}", "string", 8, True, "text"),
    ],
)
def test_a_point_is_written_in_one_line(text, kind, count, writable, value_type):
    written = point(text)
    assert (written.kind, written.count) == (kind, count)
    assert DRIVER.writable(written) is writable
    assert DRIVER.value_type(written) == value_type


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{type: uint32}", "write one of register, input, coil, discrete, for example `register: 10`"),
        ("{register: 1, coil: 1}", "write only one of register and coil"),
        ("{coil: 1, type: uint16}", "a coil is a bool; leave out `type: uint16`"),
        ("{discrete: 1, bit: 3}", "a discrete is a single bit; leave out `bit`"),
        ("{register: 1, bit: 16}", "write at most 15"),
        ("{register: 1, bit: 3, type: int16}", "a bit is a bool; leave out `type: int16` or `bit`"),
        ("{register: 1, byte: high}", "`byte` goes with `type: int8` or `type: uint8`"),
        ("{register: 1, type: string}", "`type: string` and `length` (in registers) go together"),
        ("{register: 1, length: 2}", "`type: string` and `length` (in registers) go together"),
        ("{register: 65535, type: uint32}", "register 65535 with type uint32 goes beyond the last address, 65535"),
        ("{register: 65536}", "write at most 65535"),
        ("{register: 1, type: float}", "is not one of"),
        ("{registr: 1}", "unknown key 'registr'; did you mean 'register'?"),
    ],
)
def test_a_wrong_point_says_what_to_write_instead(text, said):
    assert said in problem(text)


def test_a_wrong_unit_says_the_range():
    assert "write at most 255" in problem("{unit: 256}", Device)


def test_the_form_of_a_point_speaks_of_registers():
    assert "register" in Point.model_json_schema()["properties"]


README = Path(edgeflow_modbus.__file__).with_name("README.md").read_text("utf-8")


def test_the_example_of_the_readme_can_be_used():
    document = parse(re.search(r"```yaml\n(.*?)```", README, re.DOTALL)[1], "README.md")
    link = {key: value for key, value in document.data["links"]["press1"].items() if key != "driver"}
    assert DRIVER.link.model_validate(link).port == 502
    for name, tag in document.data["devices"]["press1"]["tags"].items():
        tag.pop("writable", None)  # a setting of every tag, whatever its driver
        document.model(Point, ("devices", "press1", "tags", name))


def test_every_setting_is_in_the_tables_of_the_readme():
    told = set(re.findall(r"`(\w+):?`", README))
    for model in (DRIVER.link, DRIVER.device, DRIVER.point):
        assert {field.alias or name for name, field in model.model_fields.items()} <= told
