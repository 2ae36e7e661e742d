"""Which addresses can be read, where the device is busy now and then or silent at some of them."""

import re
import struct

import pytest

from edgeflow.errors import Silent
from edgeflow_modbus.pdu import Refused, Table
from edgeflow_modbus.scan import ScanOptions, scan
from edgeflow_modbus.survey import Survey, blocks, written

from .lines import serving
from .test_tools import at, found, notes, rows, serve_but

FUNCTION, ADDRESS = 1, 2


class Unit:
    """It has holding registers; `mute` ones get no answer, `moods` are exceptions that an address gives in turn."""

    def __init__(self, there, mute=(), moods=None):
        self.there, self.mute, self.moods = set(there), set(mute), moods or {}
        self.asked = 0

    def answer(self, pdu):
        start, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        wanted = set(range(start, start + count))
        self.asked += 1
        if pdu[0] != 3:
            return bytes((pdu[0] | 0x80, FUNCTION))
        for address in wanted & self.moods.keys():
            if (code := next(self.moods[address], 0)) != 0:
                return bytes((0x83, code))
        if wanted & self.mute:
            return None
        return bytes((3, 2 * count)) + bytes(2 * count) if wanted <= self.there else bytes((0x83, ADDRESS))

    async def read(self, start, count):
        reply = self.answer(struct.pack(">BHH", 3, start, count))
        if reply is None:
            raise Silent("")
        if reply[0] & 0x80:
            raise Refused(1, 3, "", reply[1])
        return reply[2:]

    async def survey(self, count):
        """What is found of the first addresses, without a wire."""
        survey = Survey(Table.REGISTER, range(count), self.read, 0)
        while survey.left:
            await survey.step()
        return survey.ranges

    async def scan(self, addresses):
        """What a scan finds over the wire: the ranges, and what is said besides."""
        options = ScanOptions(units="1", ranges=True, addresses=addresses, timeout="100 ms")
        async with serving(lambda reader, writer: serve_but(reader, writer, self.answer)) as port:
            findings = await found(scan, at(port), options)
        return [(row["first"], row["last"]) for row in rows(findings) if "table" in row], notes(findings)[:-1]


def for_ever(code):
    while True:
        yield code


@pytest.mark.parametrize("code", [4, 5, 6])
async def test_an_address_that_is_busy_for_a_while_is_found(code):
    unit = Unit(range(100), moods={10: iter([code, code]), 70: iter([code])})
    assert await unit.scan("0-99") == ([(0, 99)], [])


@pytest.mark.parametrize("code", [4, 5, 6])
async def test_an_address_that_stays_busy_is_unknown_and_no_hole(code):
    unit = Unit(range(50), moods={20: for_ever(code), 21: for_ever(code)})
    spans, said = await unit.scan("20-60")
    assert spans == [(22, 49)]
    assert said == [
        "Unit 1, holding registers 20-21: unknown, it says that it failed or is busy (exceptions 4 to 6). "
        "Later: `--addresses 20-21`."
    ]


async def test_a_device_that_always_fails_where_it_has_nothing_is_not_asked_for_ever():
    unit = Unit(range(50), moods={address: for_ever(4) for address in range(50, 1000)})
    ranges = await unit.survey(1000)
    assert (ranges["yes"], ranges["busy"]) == ([(0, 49)], [(50, 999)])
    assert unit.asked < 2 * 1000 + 50


async def test_what_lies_behind_mute_addresses_is_found():
    ranges = await Unit(range(121), [*range(20, 25), 33]).survey(121)
    assert ranges["yes"] == [(0, 19), (25, 32), (34, 120)]
    assert ranges["silent"] == [(20, 24), (33, 33)]
    assert ranges["untried"] == []


async def test_a_scan_says_which_addresses_are_mute():
    spans, said = await Unit(range(121), [20, 23]).scan("20-40")
    assert spans == [(21, 22), (24, 40)]
    assert said == ["Unit 1, holding registers 20,23: it stays silent when asked for them."]


async def test_what_lies_far_behind_mute_addresses_is_found():
    unit = Unit([*range(100), *range(200, 300)], [*range(100, 200), *range(300, 1000)])
    ranges = await unit.survey(1000)
    assert ranges["yes"] == [(0, 99), (200, 299)]
    assert ranges["untried"]


async def test_a_scan_says_what_it_did_not_look_at_for_too_much_silence():
    _, (silent, untried) = await Unit([0], range(1, 100)).scan("0-63")
    assert silent.endswith("it stays silent when asked for them.")
    assert re.search(
        r"not looked at, since it stayed silent too often\. To go on: `--addresses [\d,-]+-63`\.$", untried
    )


async def test_every_address_is_accounted_for_and_the_silences_are_bounded():
    silences = 0

    async def read(start, count):
        nonlocal silences
        if any(address % 3 == 0 for address in range(start, start + count)):
            silences += 1
            raise Silent("")
        if any(address % 3 == 1 for address in range(start, start + count)):
            raise Refused(1, 3, "", ADDRESS)
        return b""

    survey = Survey(Table.REGISTER, range(1000), read, 0)
    while survey.left:
        await survey.step()
    assert silences < 110
    settled = sorted(span for ranges in survey.ranges.values() for span in ranges)
    assert [address for first, last in settled for address in range(first, last + 1)] == list(range(1000))
    assert survey.ranges["untried"][-1][1] == 999


async def test_what_is_left_when_it_ends_early_is_untried():
    async def read(start, count):
        return b""

    survey = Survey(Table.REGISTER, range(200), read, 0)
    await survey.step()
    assert (survey.whole, survey.left) == ([], 136)
    survey.end()
    assert (survey.whole, survey.ranges["untried"], survey.left) == ([(0, 63)], [(64, 199)], 0)


def test_ranges_are_written_as_they_are_read():
    assert written([(20, 24), (33, 33)]) == "20-24,33"
    assert blocks([1, 2, 3, 7], 2) == [(1, 2), (3, 1), (7, 1)]
