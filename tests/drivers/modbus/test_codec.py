"""Decoding and encoding against the bytes as struct and int.to_bytes make them."""

import math
import struct
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflow_modbus.codec import bits_decoder, compose, finite, layout, registers_decoder
from edgeflow_modbus.config import Device, Point
from edgeflow_modbus.encoder import encode, keep_mask

ORDERS = st.sampled_from(["big", "little"])
INTEGERS = {f"{sign}int{8 * size}": (size, sign == "") for sign in ("", "u") for size in (2, 4, 8)}
BCD = {"bcd16": 4, "bcd32": 8}
ACC = {"acc32": 4, "acc64": 8}
LETTERS = st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x85\xa0")
FLOATS = {"float16": "e", "float32": "f", "float64": "d"}


def on_the_wire(raw, word_order, byte_order):
    """Big-endian bytes as the registers of a device with these orders."""
    words = [raw[i : i + 2] for i in range(0, len(raw), 2)]
    if word_order == "little":
        words.reverse()
    return b"".join(word if byte_order == "big" else word[::-1] for word in words)


@st.composite
def written(draw):
    """A point, its value, and the bytes of its registers."""
    orders = {"word_order": draw(ORDERS), "byte_order": draw(ORDERS)}
    kinds = [*INTEGERS, *FLOATS, *BCD, *ACC, "int8", "uint8", "bool", "bit", "bits", "string", "half string", "bytes"]
    kind = draw(st.sampled_from(kinds))
    if kind in BCD:
        value = draw(st.integers(0, 10 ** BCD[kind] - 1))
        raw = bytes.fromhex(f"{value:0{BCD[kind]}d}")
    elif kind in ACC:
        value = draw(st.integers(0, 256 ** ACC[kind] - 1))
        raw = value.to_bytes(ACC[kind], "big")
    elif kind == "bits":
        size = draw(st.sampled_from([2, 4, 8]))
        low, high = sorted([draw(st.integers(0, 8 * size - 1)), draw(st.integers(0, 8 * size - 1))])
        value = draw(st.integers(0, 2 ** (high - low + 1) - 1))
        raw = (value * 2**low).to_bytes(size, "big")
        return (
            Point(register=0, type=f"uint{8 * size}", bits=f"{low}-{high}", **orders),
            value,
            on_the_wire(raw, **orders),
        )
    elif kind == "half string":
        half = draw(st.sampled_from(["high", "low"]))
        value = draw(st.text(LETTERS, min_size=1, max_size=5))
        words = [c + b"\0" if half == "high" else b"\0" + c for c in (x.encode("latin-1") for x in value)]
        text_orders = {"word_order": "big", "byte_order": orders["byte_order"]}
        point = Point(register=0, type="string", length=len(value), byte=half, **text_orders)
        return point, value, on_the_wire(b"".join(words), **text_orders)
    elif kind == "bytes":
        length = draw(st.integers(1, 5))
        value = raw = draw(st.binary(min_size=2 * length, max_size=2 * length))
        return Point(register=0, type=kind, length=length, **orders), value, on_the_wire(raw, **orders)
    elif kind in INTEGERS:
        size, signed = INTEGERS[kind]
        low = -(256**size) // 2 if signed else 0
        value = draw(st.integers(low, low + 256**size - 1))
        raw = value.to_bytes(size, "big", signed=signed)
    elif kind in FLOATS:
        value = draw(st.floats(width=int(kind[5:]), allow_nan=False, allow_infinity=False))
        raw = struct.pack(f">{FLOATS[kind]}", value)
    elif kind in ("int8", "uint8"):
        value = draw(st.integers(-128, 127) if kind == "int8" else st.integers(0, 255))
        half = draw(st.sampled_from(["high", "low"]))
        own = value.to_bytes(1, "big", signed=kind == "int8")
        return (
            Point(register=0, type=kind, byte=half, **orders),
            value,
            on_the_wire(own + b"\0" if half == "high" else b"\0" + own, "big", orders["byte_order"]),
        )
    elif kind == "bit":
        bit, value = draw(st.integers(0, 15)), draw(st.booleans())
        raw = (value << bit).to_bytes(2, "big")
        return Point(register=0, bit=bit, **orders), value, on_the_wire(raw, "big", orders["byte_order"])
    elif kind == "bool":
        value = draw(st.booleans())
        raw = b"\0\1" if value else b"\0\0"
    else:
        length = draw(st.integers(1, 5))
        value = draw(st.text(LETTERS, max_size=2 * length))
        raw = value.encode("latin-1").ljust(2 * length, b"\0")
        return Point(register=0, type=kind, length=length, **orders), value, on_the_wire(raw, **orders)
    return Point(register=0, type=kind, **orders), value, on_the_wire(raw, **orders)


@given(written())
def test_a_value_is_written_as_its_bytes(case):
    point, value, raw = case
    assert encode(layout(point, Device()), value) == raw


@given(st.lists(written(), min_size=1, max_size=12), st.data())
def test_a_block_gives_every_value_wherever_it_lies_in_whatever_order(cases, data):
    """With gaps between them, and in a shuffled order."""
    payload, fields, values = b"", [], []
    for point, value, raw in cases:
        payload += data.draw(st.binary(max_size=3)).ljust(4, b"\xaa")[: 2 * data.draw(st.integers(0, 2))]
        fields.append((len(payload) // 2, layout(point, Device())))
        values.append(value)
        payload += raw
    order = data.draw(st.permutations(range(len(cases))))
    decode = registers_decoder([fields[i] for i in order])
    made = [compose(cases[i][0], Device()) or itemgetter(0) for i in range(len(cases))]

    def value(i, raw):
        empty = cases[i][0].kind.startswith("acc") and raw == 0  # of an acc that is no value
        return 0 if empty else made[i]([raw])

    assert [value(i, raw) for i, raw in zip(order, decode(payload), strict=True)] == [values[i] for i in order]
    assert [value(i, raw) for i, raw in enumerate(registers_decoder(fields)(payload))] == values


@given(st.binary(min_size=8, max_size=8), ORDERS, ORDERS)
def test_overlapping_values_are_read_from_the_same_registers(raw, word_order, byte_order):
    device = Device(word_order=word_order, byte_order=byte_order)
    points = [(0, Point(register=0, type="uint64")), (0, Point(register=0)), (2, Point(register=2, type="int32"))]
    points += [(3, Point(register=3, bit=bit)) for bit in range(16)]
    found = registers_decoder([(at, layout(point, device)) for at, point in points])(raw)
    words = [int.from_bytes(raw[i : i + 2], byte_order) for i in range(0, 8, 2)]
    upper = words if word_order == "big" else words[::-1]
    whole = upper[0] << 48 | upper[1] << 32 | upper[2] << 16 | upper[3]
    pair = words[2:] if word_order == "big" else words[:1:-1]
    signed = (pair[0] << 16 | pair[1]) - (2**32 if pair[0] & 0x8000 else 0)
    assert list(found) == [whole, words[0], signed, *(words[3] // 2**bit % 2 == 1 for bit in range(16))]


def test_the_four_orders_of_a_long_value_are_those_people_call_abcd_cdab_badc_dcba():
    value = 0x0A0B0C0D
    for (word, byte), wire in {
        ("big", "big"): "0a0b0c0d",
        ("little", "big"): "0c0d0a0b",
        ("big", "little"): "0b0a0d0c",
        ("little", "little"): "0d0c0b0a",
    }.items():
        shape = layout(Point(register=0, type="uint32", word_order=word, byte_order=byte), Device())
        assert encode(shape, value).hex() == wire
        assert list(registers_decoder([(0, shape)])(bytes.fromhex(wire))) == [value]


def test_a_point_has_the_orders_of_its_device_unless_it_has_its_own():
    device = Device(word_order="little", byte_order="little")
    assert encode(layout(Point(register=0, type="uint32"), device), 1).hex() == "01000000"
    assert encode(layout(Point(register=0, type="uint32", word_order="big"), device), 1).hex() == "00000100"


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.data())
def test_packed_bits_are_read_lowest_first(bits, data):
    packed = int("".join("1" if bit else "0" for bit in reversed(bits)), 2).to_bytes((len(bits) + 7) // 8, "little")
    offsets = data.draw(st.lists(st.integers(0, len(bits) - 1), min_size=1, max_size=20))
    found = bits_decoder(offsets)(packed)
    assert list(found) == [bits[i] for i in offsets]
    assert all(type(bit) is bool for bit in found)


@given(st.integers(0, 65535), st.integers(0, 15), st.booleans(), ORDERS)
def test_writing_a_bit_leaves_the_other_bits_alone(register, bit, value, byte_order):
    shape = layout(Point(register=0, bit=bit, byte_order=byte_order), Device())
    new = register & keep_mask(shape) | int.from_bytes(encode(shape, value), "big")
    place = bit if byte_order == "big" else (bit + 8) % 16
    assert new == register - (register >> place & 1) * 2**place + value * 2**place


@pytest.mark.parametrize("half", ["high", "low"])
def test_writing_a_byte_leaves_the_other_half_alone(half):
    shape = layout(Point(register=0, type="uint8", byte=half), Device())
    new = 0x1234 & keep_mask(shape) | int.from_bytes(encode(shape, 0xAB), "big")
    assert new == (0xAB34 if half == "high" else 0x12AB)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32)))
def test_a_row_is_called_finite_only_when_every_number_is(numbers):
    assert finite(numbers) == all(math.isfinite(number) for number in numbers)


def test_a_float_that_an_integer_can_hold_is_written_as_one():
    assert encode(layout(Point(register=0), Device()), 12.0) == b"\x00\x0c"
