"""Frames of RTU and ASCII, found in whatever else comes along."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflow_modbus.frame import Ascii, Rtu, crc, lrc

MESSAGES = [
    bytes.fromhex("11 03 06 AE41 5652 4340"),
    bytes.fromhex("11 01 05 CD6BB20E1B"),
    bytes.fromhex("11 06 0001 0003"),
    bytes.fromhex("0A 81 02"),
    bytes.fromhex("07 2B 0E 01 01 00 00 02 00 02 4142 01 01 43"),
]


def test_the_crc_is_that_of_the_example_in_appendix_b():
    """The example of the serial line guide: 02 07 gives 41 12 on the line."""
    assert crc(bytes.fromhex("0207")).hex() == "4112"


def test_the_lrc_makes_the_sum_zero():
    """Worked out by hand: 0x11 + 0x03 + 0x6B + 0x03 = 0x82, and 0x100 - 0x82 = 0x7E."""
    assert lrc(bytes.fromhex("1103006B0003")) == 0x7E
    assert Ascii().pack(bytes.fromhex("1103006B0003")) == b":1103006B00037E\r\n"


@pytest.mark.parametrize("framing", [Rtu(), Ascii()], ids=["rtu", "ascii"])
@given(
    sent=st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 200), max_size=8),
)
def test_frames_are_found_however_they_are_cut(framing, sent, cuts):
    stream = b"".join(map(framing.pack, sent))
    found, rest, noise = [], b"", 0
    places = sorted({0, *(cut for cut in cuts if cut < len(stream)), len(stream)})
    for begin, end in pairwise(places):
        messages, rest, more = framing.split(rest + stream[begin:end], sent[0][:3])
        found += messages
        noise += more
    assert (found, rest, noise) == (sent, b"", 0)


@pytest.mark.parametrize("framing", [Rtu(), Ascii()], ids=["rtu", "ascii"])
@given(before=st.binary(max_size=40), message=st.sampled_from(MESSAGES))
def test_noise_before_a_frame_never_hides_it(framing, before, message):
    """But for what looks exactly like the frame that is waited for: that is taken apart when its length has come."""
    whole = framing.pack(message)
    found, rest, _ = framing.split(before + whole, message[:3])
    if message not in found:
        found, _, _ = framing.split(rest + bytes(300), message[:3])
    assert message in found


@pytest.mark.parametrize("framing", [Rtu(), Ascii()], ids=["rtu", "ascii"])
@given(st.sampled_from(MESSAGES), st.integers(0, 30), st.integers(1, 255))
def test_a_garbled_frame_is_no_frame(framing, message, place, change):
    whole = bytearray(framing.pack(message))
    whole[place % len(whole)] ^= change
    found, _, _ = framing.split(bytes(whole), message[:3])
    assert all(each == message for each in found), "lower-case hexadecimal is the only other way to write it"


@pytest.mark.parametrize("framing", [Rtu(), Ascii()], ids=["rtu", "ascii"])
@given(st.binary(max_size=600))
def test_every_byte_is_a_message_or_kept_or_noise(framing, data):
    found, rest, noise = framing.split(data, b"\1\3")
    assert sum(len(framing.pack(each)) for each in found) + len(rest) + noise == len(data)


@pytest.mark.parametrize("framing", [Rtu(), Ascii()], ids=["rtu", "ascii"])
def test_what_is_kept_is_bounded(framing):
    rest = b""
    for _ in range(100):
        _, rest, _ = framing.split(rest + b":\1\3\xfa" * 1000, b"\1\3\xfa")
        assert len(rest) < 4096


def test_a_frame_behind_one_that_never_ends_is_found():
    message = MESSAGES[0]
    found, _, _ = Rtu().split(bytes.fromhex("05 03 FA 0000") + Rtu().pack(message), message[:3])
    assert found == [message]


def test_what_looks_like_a_frame_inside_the_awaited_one_is_its_data():
    inner = Rtu().pack(bytes.fromhex("07 03 02 0000"))
    data = inner + bytes(20 - len(inner))
    whole = Rtu().pack(bytes((7, 3, len(data))) + data)
    found, rest, _ = Rtu().split(whole[:15], b"\7\3\x14")
    assert (found, rest) == ([], whole[:15])
    assert Rtu().split(whole, b"\7\3\x14")[0] == [whole[:-2]]
