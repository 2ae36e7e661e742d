"""What an electrician may write, and what he is told when it is wrong."""

import re
import textwrap
from pathlib import Path

import pytest
from pydantic import ValidationError

import edgeflow_modbus
from edgeflow.devices.config import read_links_and_devices
from edgeflow.document import parse
from edgeflow.errors import ConfigError
from edgeflow_modbus import DRIVER
from edgeflow_modbus.codec import parts
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
        ("{register: 100, type: string, length: 8, byte: low}", "string", 8, True, "text"),
        ("{register: 100, type: bytes, length: 3}", "bytes", 3, True, "bytes"),
        ("{register: 7, bits: 4-7}", "uint16", 1, True, "integer"),
        ("{register: 7, bits: 30-31, type: uint32}", "uint32", 2, False, "integer"),
        ("{register: 7, names: {0: idle, 0x10: running}}", "uint16", 1, True, "text"),
        ("{input: 7, names: {-1: fault}, type: int16, other: unknown}", "int16", 1, False, "text"),
        ("{register: 7, bits: 0-1, names: {0: a, 1: b}}", "uint16", 1, True, "text"),
        ("{register: 7, type: bcd16}", "bcd16", 1, True, "integer"),
        ("{register: 7, type: bcd32}", "bcd32", 2, True, "integer"),
        ("{register: 7, type: acc32}", "acc32", 2, True, "integer"),
        ("{register: 7, type: int32, fraction: 16}", "int32", 2, True, "number"),
        ("{register: 7, type: int16, factor: 8}", "int16", 1, True, "number"),
        ("{register: 801, type: float64, plus: [805]}", "float64", 4, False, "number"),
        ("{register: 801, type: uint32, plus: [805, 809]}", "uint32", 2, False, "integer"),
        ("{register: 0x5B14, type: int32, missing: 0x7FFFFFFF}", "int32", 2, True, "integer"),
        ("{register: 7, missing: [0xFFFF, 0]}", "uint16", 1, True, "integer"),
        ("{register: 7, missing: default, write_function: 16, verify: 3 s}", "uint16", 1, True, "integer"),
        ("{coil: 7, write_function: 16, verify: 3 s}", "bool", 1, True, "boolean"),
    ],
)
def test_a_point_is_written_in_one_line(text, kind, count, writable, value_type):
    written = point(text)
    assert (written.kind, written.count) == (kind, count)
    assert DRIVER.writable(written) is writable
    assert DRIVER.value_type(written) == value_type


@pytest.mark.parametrize(
    ("text", "value_type"),
    [
        ("meter/W", "number"),
        ("103/W", "number"),
        ("[103/W, 113/W]", "number"),
        ("inverter/St", "integer"),
        ("meter.2/TotWhImp", "number"),
        ("mppt/1/DCW", "number"),
        ("mppt/1/IDStr", "text"),
        ("common/SN", "text"),
        ("common.2/SN", "text"),
    ],
)
def test_a_sunspec_point_needs_only_its_name(text, value_type):
    written = point(f"{{sunspec: {text}}}")
    assert DRIVER.value_type(written) == value_type
    assert not DRIVER.writable(written)


def test_a_sunspec_number_can_have_names():
    assert DRIVER.value_type(point("{sunspec: inverter/St, names: {4: mppt}, other: else}")) == "text"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{type: uint32}", "write one of register, input, coil, discrete, sunspec, for example `register: 10`"),
        ("{register: 1, coil: 1}", "write only one of register and coil"),
        ("{coil: 1, type: uint16}", "a coil is a bool; leave out `type: uint16`"),
        ("{discrete: 1, bit: 3}", "a discrete is a single bit that cannot be written; leave out `bit`"),
        ("{discrete: 1, verify: 3 s}", "a discrete is a single bit that cannot be written; leave out `verify`"),
        ("{coil: 1, missing: 1}", "a coil is a single bit; leave out `missing`"),
        ("{input: 1, write_function: 6}", "an input cannot be written; leave out `write_function`"),
        ("{register: 1, bit: 16}", "write at most 15"),
        ("{register: 1, bit: 3, type: int16}", "a bit is a bool; leave out `type` or `bit`"),
        ("{register: 1, byte: high}", "`byte` goes with `type: int8`, `type: uint8` or `type: string`"),
        ("{register: 1, bits: 4}", "write text"),
        ("{register: 1, bits: '4'}", "'4' are not bits; write the lowest and the highest, for example `bits: 4-7`"),
        ("{register: 1, bits: 4-16}", "bits 4-16 do not fit uint16, whose last bit is 15"),
        ("{register: 1, bits: 4-7, bit: 3}", "`bits` goes with `type: uint16`, `uint32` or `uint64`, and without"),
        ("{register: 1, bits: 4-7, type: int16}", "`bits` goes with `type: uint16`, `uint32` or `uint64`"),
        ("{register: 1, names: {}}", "names"),
        ("{register: 1, names: {idle: a}}", "'idle' is not a whole number; write the number first: `1: running`"),
        ("{register: 1, names: {0: idle}, type: float32}", "`names` is for a whole number or some `bits` of it"),
        ("{register: 1, names: {0: idle}, factor: 3}", "`names` is for a whole number or some `bits` of it"),
        ("{register: 1, other: idle}", "`other` goes with `names`"),
        ("{register: 1, type: float32, fraction: 8}", "`fraction` goes with an int or uint as it is"),
        ("{register: 1, type: int16, fraction: 17}", "a fraction of 17 bits does not fit int16"),
        ("{register: 1, type: float32, factor: 8}", "`factor` goes with a type of whole numbers; write `scale`"),
        ("{register: 1, type: string, length: 2, plus: [3]}", "`plus` adds numbers"),
        ("{register: 1, bits: 0-3, plus: [3]}", "`plus` adds numbers"),
        ("{register: 1, plus: [1]}", "`plus` names the point's own address 1; write only the others"),
        ("{register: 1, bit: 1, missing: 1}", "`missing` goes with numbers and strings"),
        ("{register: 1, missing: 0x10000}", "`missing: 65536` is nothing that uint16 can hold"),
        ("{register: 1, type: int16, missing: -32769}", "`missing: -32769` is nothing that int16 can hold"),
        ("{register: 1, missing: no}", "`missing: no` is nothing that uint16 can hold"),
        ("{register: 1, bits: 0-3, missing: 16}", "`missing: 16` is nothing that uint16 can hold"),
        ("{register: 1, type: float32, missing: 1e39}", "is nothing that float32 can hold"),
        ("{register: 1, type: float32, missing: default}", "leave out `missing: default`"),
        ("{register: 1, type: bytes}", "`type: bytes` and `length` (in registers) go together"),
        ("{register: 1, sunspec: 103/W}", "write only one of register and sunspec"),
        ("{sunspec: 103/W, type: int16}", "SunSpec itself says what its values are; leave out `type`"),
        (
            "{sunspec: meter/TotWhImport}",
            "the SunSpec model meter has no point 'TotWhImport'; did you mean 'TotWhImp'?",
        ),
        ("{sunspec: mppt/DCW}", "DCW is in a repeated block; write `mppt/1/DCW`"),
        ("{sunspec: mppt/1/N}", "N is not in a repeated block; write `mppt/N`"),
        ("{sunspec: meter/1/W}", "W is not in a repeated block; write `meter/W`"),
        ("{sunspec: 120/WRtg}", "the SunSpec model '120' is not known; known are common, inverter, meter, mppt and 1,"),
        ("{sunspec: W}", "'W' is not a SunSpec point; write model/point, for example `meter/W`"),
        ("{sunspec: [common/SN, meter/W]}", "common/SN, meter/W are texts and numbers"),
        ("{sunspec: meter/W, names: {0: off}}", "`names` is for whole numbers, such as `inverter/St`"),
        ("{register: 1, type: string}", "`type: string` and `length` (in registers) go together"),
        ("{register: 1, length: 2}", "`length` (in registers) goes with `type: string` or `type: bytes`"),
        ("{register: 465537}", "write at most 465536"),
        ("{register: 1, type: float}", "is not one of"),
        ("{registr: 1}", "unknown key 'registr'; did you mean 'register'?"),
    ],
)
def test_a_wrong_point_says_what_to_write_instead(text, said):
    assert said in problem(text)


@pytest.mark.parametrize(
    ("first_address", "text", "starts"),
    [
        (0, "{register: 10}", [10]),
        (1, "{register: 10, type: uint32, plus: [20], factor: 30}", [9, 19, 29]),
        (40001, "{register: 40001}", [0]),
        (40001, "{register: 40108, type: float32}", [107]),
        (40001, "{input: 30013}", [12]),
        (40001, "{discrete: 10001}", [0]),
        (40001, "{coil: 1}", [0]),
        (40000, "{register: 40108, factor: 40110}", [108, 110]),
        (40000, "{coil: 0}", [0]),
        (400001, "{register: 465536}", [65535]),
        (400001, "{input: 300010}", [9]),
        (400001, "{discrete: 100017}", [16]),
        (400001, "{coil: 17}", [16]),
    ],
)
def test_addresses_are_written_as_the_maker_s_list_has_them(first_address, text, starts):
    device = Device(first_address=first_address)
    assert [part.start for part in parts(point(text), device)] == starts
    assert DRIVER.unfit(device, point(text)) == ""


@pytest.mark.parametrize(
    ("first_address", "text", "said"),
    [
        (1, "{register: 0}", "there is no holding register 0 where the first address is 1"),
        (
            0,
            "{register: 65535, type: uint32}",
            "there is no holding registers 65535 to 65536: the last address is 65535",
        ),
        (
            1,
            "{register: 65536, type: uint32}",
            "there is no holding registers 65536 to 65537: the last address is 65536",
        ),
        (0, "{register: 400001}", "a list with such numbers needs `first_address: 400001` at the device"),
        (40001, "{register: 10}", "there is no holding register 10 where the first address is 40001"),
        (40001, "{input: 40001, plus: [3]}", "there is no input register 3 where the first address is 30001"),
        (40001, "{coil: 0}", "there is no coil 0 where the first address is 1"),
    ],
)
def test_an_address_that_the_list_cannot_have_is_told(first_address, text, said):
    assert said in DRIVER.unfit(Device(first_address=first_address), point(text))


def test_an_address_that_the_list_cannot_have_is_told_with_its_place():
    with pytest.raises(ConfigError) as error:
        read_links_and_devices(
            parse(
                "links: {plc: {driver: modbus, host: 10.0.0.5}}\n"
                "devices:\n"
                "  plc:\n"
                "    link: plc\n"
                "    tags:\n"
                "      power: {register: 400010, counter: {modulus: 2^32, max_rate: 4 /s}}\n",
                "gateway.yaml",
            )
        )
    assert str(error.value).startswith("gateway.yaml:6:")
    assert "needs `first_address: 400001` at the device" in str(error.value)


@pytest.mark.parametrize(
    ("most", "text", "needed"),
    [
        (1, "{register: 1, type: uint32}", 2),
        (3, "{input: 1, type: float64}", 4),
        (9, "{register: 1, type: string, length: 10}", 10),
    ],
)
def test_a_value_that_is_longer_than_an_answer_of_the_device_is_told(most, text, needed):
    assert f"write `max_registers: {needed}` or more" in DRIVER.unfit(Device(max_registers=most), point(text))
    assert DRIVER.unfit(Device(max_registers=needed), point(text)) == ""
    assert DRIVER.unfit(Device(max_registers=1), point("{coil: 1}")) == ""


@pytest.mark.parametrize("modulus", ["0", "1", "-65536", "0^3"])
def test_a_counter_that_can_only_be_zero_is_told(modulus):
    with pytest.raises(ConfigError, match="is not a modulus; write a whole number like 65536"):
        read_links_and_devices(
            parse(
                "links: {plc: {driver: modbus, host: 10.0.0.5}}\n"
                "devices: {plc: {link: plc, tags: {n: {register: 1, counter: {modulus: " + modulus + "}}}}}\n",
                "gateway.yaml",
            )
        )


def test_a_wrong_unit_says_the_range():
    assert "write at most 255" in problem("{unit: 256}", Device)


def test_the_form_of_a_point_speaks_of_registers():
    assert "register" in Point.model_json_schema()["properties"]


README = Path(edgeflow_modbus.__file__).with_name("README.md").read_text("utf-8")


def test_the_sunspec_example_of_the_readme_can_be_used():
    tags = next(block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "sunspec" in block)
    head = "links: {pv: {driver: modbus, host: 10.0.0.5}}\ndevices:\n  pv:\n    link: pv\n"
    plant = read_links_and_devices(parse(head + textwrap.indent(tags, "    ")))
    assert {name: plan.raw for name, plan in plant.plans.items()} == {
        "pv/power": "number",
        "pv/import": "number",
        "pv/string1": "number",
        "pv/serial": "text",
        "pv/second": "number",
        "pv/line": "number",
    }


def test_bits_are_written_lowest_first():
    with pytest.raises(ValidationError, match="has the highest bit first; write the lowest first: `bits: 4-7`"):
        Point(register=1, bits="7-4")
    assert Point(register=1, bits="4-4").field == (4, 1)


@pytest.mark.parametrize("given", [True, False])
def test_how_long_a_write_is_waited_for_is_a_time(given):
    with pytest.raises(ValidationError, match="what is written is read back anyway where it can be; write how long"):
        Point(register=1, verify=given)
    assert Point(register=1, verify="800 ms").verify == 800_000_000
