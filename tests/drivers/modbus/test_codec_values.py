"""What raw values mean, against published examples and values worked out by hand."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflow.errors import Rejected
from edgeflow_modbus.codec import NOT_AVAILABLE, NoValue, compose, hint, layout, parts, registers_decoder
from edgeflow_modbus.config import Device, Point
from edgeflow_modbus.encoder import encode, keep_mask, raw_of
from edgeflow_modbus.pdu import Table


def value_of(point, *registers, device=None):
    """The value of a point whose parts are these registers (hexadecimal)."""
    device = device or Device()
    raws = [
        registers_decoder([(0, part.layout)])(bytes.fromhex(words))[0]
        for part, words in zip(parts(point, device), registers, strict=True)
    ]
    make = compose(point, device)
    return make(raws) if make else raws[0]


def reason_of(point, *registers):
    with pytest.raises(NoValue) as error:
        value_of(point, *registers)
    return str(error.value)


@pytest.mark.parametrize(
    ("keys", "registers", "value"),
    [
        ({}, ["04d2"], 1234),
        ({"type": "float32"}, ["43665b23"], 230.35600280761719),  # 0x665B23 = 6708003; (1 + 6708003 / 2^23) * 2^7
        ({"type": "float64"}, ["4059000000000000"], 100.0),
        ({"type": "float16"}, ["3555"], 0.333251953125),  # IEEE 754-2008 binary16: nearest to 1/3
        ({"type": "int8", "byte": "high"}, ["fe01"], -2),
        ({"type": "uint8"}, ["fe81"], 129),
        ({"bits": "4-7"}, ["12a5"], 10),
        ({"bits": "12-19", "type": "uint32"}, ["000ab000"], 0xAB),
        ({"type": "bcd16"}, ["0905"], 905),
        ({"type": "bcd32"}, ["12345678"], 12345678),
        ({"type": "bcd32", "word_order": "little"}, ["56781234"], 12345678),
        ({"type": "acc32"}, ["00011170"], 70000),
        ({"type": "int16", "fraction": 8}, ["ff80"], -0.5),
        ({"type": "int32", "fraction": 16}, ["00038000"], 3.5),
        ({"type": "uint16", "fraction": 16}, ["4000"], 0.25),
        ({"names": {0: "idle", 1: "running"}}, ["0001"], "running"),
        ({"names": {0: "idle"}, "other": "else"}, ["0007"], "else"),
        ({"bits": "0-1", "names": {2: "flash"}}, ["fff2"], "flash"),
        ({"type": "int16", "names": {-1: "fault"}}, ["ffff"], "fault"),
        ({"type": "string", "length": 2}, ["41424300"], "ABC"),
        ({"type": "string", "length": 2, "byte_order": "little"}, ["42410043"], "ABC"),
        ({"type": "string", "length": 3, "byte": "low"}, ["004100420043"], "ABC"),
        ({"type": "string", "length": 3, "byte": "high"}, ["410042004300"], "ABC"),
        ({"type": "string", "length": 3, "byte": "low", "byte_order": "little"}, ["410042004300"], "ABC"),
        ({"type": "bytes", "length": 2}, ["00ff4100"], b"\x00\xffA\x00"),
        ({"type": "bytes", "length": 2, "byte_order": "little"}, ["00ff4100"], b"\xff\x00\x00A"),
        ({"type": "float64", "plus": [805]}, ["4059000000000000", "3ff0000000000000"], 101.0),
        ({"type": "uint32", "plus": [4, 8]}, ["00000001", "00000002", "ffffffff"], 4294967298),
        ({"type": "int16", "plus": [4]}, ["ffff", "0003"], 2),
        ({"type": "bcd16", "plus": [4]}, ["0099", "0001"], 100),
        ({"type": "int16", "factor": 5}, ["ff38", "fffe"], -2.0),  # -200 * 10^-2
        ({"type": "uint16", "factor": 5}, ["0915", "ffff"], 232.5),
        ({"type": "uint16", "factor": 5}, ["0003", "0002"], 300.0),
        ({"type": "acc32", "factor": 5}, ["00000007", "0000"], 7.0),
        ({"type": "uint16", "plus": [1, 2], "factor": 5}, ["0001", "0002", "0003", "ffff"], 0.6),
        ({"missing": 0xFFFF}, ["fffe"], 65534),
    ],
)
def test_registers_have_the_value_that_the_arithmetic_says(keys, registers, value):
    found = value_of(Point(register=0, **keys), *registers)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("keys", "registers", "reason"),
    [
        ({"type": "int16", "missing": 0x8000}, ["8000"], NOT_AVAILABLE),
        ({"type": "int16", "missing": -32768}, ["8000"], NOT_AVAILABLE),
        ({"type": "int16", "missing": "default"}, ["8000"], NOT_AVAILABLE),
        ({"type": "uint16", "missing": "default"}, ["ffff"], NOT_AVAILABLE),
        ({"type": "int32", "missing": "default"}, ["80000000"], NOT_AVAILABLE),
        ({"type": "int32", "missing": [0x7FFFFFFF]}, ["7fffffff"], NOT_AVAILABLE),  # ABB B23, signed
        ({"type": "uint32", "missing": "default"}, ["ffffffff"], NOT_AVAILABLE),
        ({"type": "uint64", "missing": "default"}, ["ffffffffffffffff"], NOT_AVAILABLE),
        ({"type": "int64", "missing": "default"}, ["8000000000000000"], NOT_AVAILABLE),
        ({"type": "int8", "missing": "default"}, ["0080"], NOT_AVAILABLE),
        ({"type": "acc32"}, ["00000000"], NOT_AVAILABLE),
        ({"type": "acc64"}, ["0000000000000000"], NOT_AVAILABLE),
        ({"missing": [7, 9]}, ["0009"], NOT_AVAILABLE),
        ({"bits": "4-7", "missing": 15}, ["00f3"], NOT_AVAILABLE),
        ({"type": "float32", "missing": -9999.9}, ["c61c3f9a"], NOT_AVAILABLE),  # the float32 nearest to it
        ({"type": "string", "length": 2, "missing": "default"}, ["00000000"], NOT_AVAILABLE),
        ({"type": "string", "length": 2, "missing": "n/a"}, ["6e2f6100"], NOT_AVAILABLE),
        ({"type": "uint16", "missing": "default", "plus": [3]}, ["0001", "ffff"], NOT_AVAILABLE),
        ({"type": "uint16", "factor": 9}, ["0001", "8000"], f"{NOT_AVAILABLE} (its scale factor)"),
        ({"type": "uint16", "factor": 9}, ["0001", "000b"], "the scale factor is 11, which is not between -10 and 10"),
        ({"type": "bcd16"}, ["1a34"], "the registers hold 0x1A34, which is not BCD: it has a digit over 9"),
        ({"type": "bcd32"}, ["0000000f"], "the registers hold 0x0000000F, which is not BCD: it has a digit over 9"),
        ({"names": {0: "idle"}}, ["0007"], "the device gives 7, for which `names` has no name"),
        ({"type": "float32", "plus": [3]}, ["7fc00000", "3f800000"], "not a number"),
        ({"type": "float32", "plus": [3]}, ["7f800000", "3f800000"], "infinite"),
    ],
)
def test_what_is_no_value_is_bad_and_says_why(keys, registers, reason):
    assert reason_of(Point(register=0, **keys), *registers) == reason


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"type": "float64"},
        {"bit": 3},
        {"bits": "0-3"},
        {"type": "string", "length": 4, "byte": "low"},
        {"type": "bytes", "length": 2},
        {"type": "uint64", "word_order": "little"},
    ],
)
def test_a_plain_point_needs_nothing_but_its_unpacking(keys):
    assert compose(Point(register=0, **keys), Device()) is None


def test_plain_values_in_rising_order_are_one_unpacking():
    fields = [(i, layout(Point(register=i), Device())) for i in range(100)]
    assert isinstance(registers_decoder(fields).__self__, struct.Struct)


def test_a_string_with_one_character_in_a_register_lies_among_others():
    points = [Point(register=0), Point(register=1, type="string", length=2, byte="low"), Point(register=3)]
    fields = [(at, layout(point, Device())) for at, point in zip((0, 1, 3), points, strict=True)]
    assert list(registers_decoder(fields)(bytes.fromhex("0007 0041 0042 0008"))) == [7, "AB", 8]


def test_text_runs_from_the_first_register_to_the_last_even_where_long_numbers_do_not():
    device = Device(word_order="little")
    assert value_of(Point(register=0, type="string", length=2), "41424344", device=device) == "ABCD"
    assert value_of(Point(register=0, type="uint32"), "41424344", device=device) == 0x43444142


def test_a_point_needs_its_own_registers_then_the_addends_then_the_scale_factor():
    point = Point(input=10, type="uint32", plus=[20], factor=30)
    found = [(part.table, part.start, part.count) for part in parts(point, Device())]
    assert found == [(Table.INPUT, 10, 2), (Table.INPUT, 20, 2), (Table.INPUT, 30, 1)]


@given(st.integers(-32767, 32767), st.integers(-10, 10))
def test_a_scale_factor_moves_the_decimal_point_and_nothing_else(raw, power):
    point = Point(register=0, type="int16", factor=1)
    value = value_of(point, raw.to_bytes(2, "big", signed=True).hex(), power.to_bytes(2, "big", signed=True).hex())
    assert value == float(f"{raw}e{power}")
    assert raw_of(point, value, power) == raw


@given(st.sampled_from(["int16", "uint16", "int32", "uint32"]), st.integers(1, 16), st.data())
def test_a_fixed_point_number_comes_back_as_it_was_written(kind, fraction, data):
    size, signed = int(kind.lstrip("uint")) // 8, kind[0] == "i"
    low = -(256**size) // 2 if signed else 0
    raw = data.draw(st.integers(low, low + 256**size - 1))
    point = Point(register=0, type=kind, fraction=fraction)
    value = value_of(point, raw.to_bytes(size, "big", signed=signed).hex())
    assert value * 2**fraction == raw
    assert encode(layout(point, Device()), raw_of(point, value)) == raw.to_bytes(size, "big", signed=signed)


@given(st.integers(0, 65535), st.integers(0, 15), st.integers(0, 15), st.data())
def test_writing_bits_leaves_the_other_bits_alone(register, one, other, data):
    low, high = min(one, other), max(one, other)
    value = data.draw(st.integers(0, 2 ** (high - low + 1) - 1))
    shape = layout(Point(register=0, bits=f"{low}-{high}"), Device())
    new = register & keep_mask(shape) | int.from_bytes(encode(shape, value), "big")
    digits = f"{register:016b}"
    assert f"{new:016b}" == digits[: 15 - high] + f"{value:0{high - low + 1}b}" + digits[16 - low :]


@pytest.mark.parametrize(
    ("keys", "value", "registers"),
    [
        ({"type": "bcd16"}, 905, "0905"),
        ({"type": "bcd32", "word_order": "little"}, 12345678, "56781234"),
        ({"names": {0: "idle", 1: "running"}}, "running", "0001"),
        ({"bits": "4-7", "names": {3: "fast"}}, "fast", "0030"),
        ({"type": "int16", "fraction": 8}, -0.5, "ff80"),
        ({"type": "int16", "fraction": 8}, 1 / 3, "0055"),  # 85.33 of 256ths
        ({"type": "acc32"}, 70000, "00011170"),
        ({"type": "string", "length": 2}, "ABC", "41424300"),
        ({"type": "string", "length": 2, "byte_order": "little"}, "ABC", "42410043"),
        ({"type": "string", "length": 3, "byte": "low"}, "AB", "004100420000"),
        ({"type": "string", "length": 3, "byte": "high"}, "AB", "410042000000"),
        ({"type": "bytes", "length": 2}, b"\x01\x02\x03\x04", "01020304"),
    ],
)
def test_values_are_written_as_the_registers_that_mean_them(keys, value, registers):
    point = Point(register=0, **keys)
    assert encode(layout(point, Device()), raw_of(point, value)).hex() == registers


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        ({"type": "bcd16"}, 10000, "10000 is not between 0 and 9999, the range of bcd16"),
        ({"type": "bcd16"}, -1, "-1 is not between 0 and 9999, the range of bcd16"),
        ({"bits": "4-7"}, 16, "16 is not between 0 and 15, the range of 4 bits"),
        ({"names": {0: "idle", 1: "running"}}, "stopped", "'stopped' is not one of its names: idle, running"),
        ({"names": {0: "idle"}}, 0, "0 is not one of its names: idle"),
        ({"type": "int16", "fraction": 8}, 128, "32768 is not between -32768 and 32767, the range of int16"),
        ({"type": "int16", "fraction": 8}, "1", "'1' is not a number"),
        ({"type": "int16", "fraction": 8}, math.inf, "inf is not a finite number"),
        ({"type": "string", "length": 3, "byte": "low"}, "ABCD", "'ABCD' has 4 characters, but only 3 fit"),
        ({"type": "bytes", "length": 2}, b"\x01", "it has 1 bytes, but the registers hold 4"),
        ({"type": "bytes", "length": 2}, "text", "'text' is not bytes"),
    ],
)
def test_what_a_point_cannot_hold_is_rejected_with_what_it_can(keys, value, said):
    point = Point(register=0, **keys)
    with pytest.raises(Rejected) as error:
        encode(layout(point, Device()), raw_of(point, value))
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("device", "table", "start", "said"),
    [
        ({}, Table.REGISTER, 40001, "; if the maker's list begins at 40001, say `first_address: 40001` at the device"),
        ({"first_address": 1}, Table.INPUT, 30012, "; if the maker's list begins at 30001, say `first_address: 40001`"),
        ({}, Table.REGISTER, 107, ""),
        ({"first_address": 40001}, Table.REGISTER, 40001, ""),
        ({}, Table.COIL, 40001, ""),
    ],
)
def test_a_refused_address_that_looks_like_40001_comes_with_a_hint(device, table, start, said):
    assert hint(Device(**device), table, start).startswith(said)
    assert bool(hint(Device(**device), table, start)) is bool(said)
