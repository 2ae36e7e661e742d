"""The tools of a person who looks around: units, addresses that answer, and how a value lies in its registers."""

import asyncio
import math
import struct

import pytest
from pydantic import ValidationError

from edgeflow.driver import Home, Note, Progress, Row
from edgeflow.errors import LinkDown, Rejected
from edgeflow.testing.registers import Registers
from edgeflow_modbus import DRIVER
from edgeflow_modbus.guess import likely, nearest, readings
from edgeflow_modbus.link import Link
from edgeflow_modbus.scan import ScanOptions, numbers, scan
from edgeflow_modbus.tools import GuessOptions, IdentifyOptions, guess, identify

from .lines import serving


async def found(tool, link, options):
    return [finding async for finding in tool(link, Home(), options)]


def rows(findings):
    return [finding.cells for finding in findings if isinstance(finding, Row)]


def notes(findings):
    return [finding.text for finding in findings if isinstance(finding, Note)]


def at(port):
    return Link(host="127.0.0.1", port=port)


# --- readings ---


def float32(value):
    return struct.pack(">f", value)


def words(raw):
    """The same registers with the low one first."""
    return b"".join(raw[i : i + 2] for i in range(len(raw) - 2, -1, -2))


def swapped(raw):
    """The same registers with their bytes swapped."""
    return b"".join(raw[i : i + 2][::-1] for i in range(0, len(raw), 2))


@pytest.mark.parametrize("lay", [lambda raw: raw, words, swapped, lambda raw: swapped(words(raw))])
@pytest.mark.parametrize("value", [230.4, 49.98, -12.75, 0.87])
def test_the_expected_float_is_found_in_every_order(lay, value):
    raw = lay(float32(value)) + b"\0\0\0\0"
    pick = nearest(readings(raw), value)
    assert pick is not None
    assert (pick.reading.type, pick.scale) == ("float32", 1)
    assert pick.reading.value == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("raw", "expect", "kind", "scale"),
    [
        (struct.pack(">H", 2304), 230.4, "uint16", 0.1),
        (struct.pack(">h", -125), -12.5, "int16", 0.1),
        (struct.pack(">I", 123456), 123.456, "uint32", 0.001),
        (bytes.fromhex("1234"), 1234, "bcd16", 1.0),
        (bytes.fromhex("00123456"), 1234.56, "bcd32", 0.01),
        (struct.pack(">q", 5_000_000_000), 5_000_000, "uint64", 0.001),
        (struct.pack(">d", 3.141592653589793), 3.141592653589793, "float64", 1.0),
    ],
)
def test_whole_numbers_are_found_with_the_factor_that_their_maker_uses(raw, expect, kind, scale):
    pick = nearest(readings(raw), expect)
    assert pick is not None
    assert (pick.reading.type, pick.scale) == (kind, scale)


def test_of_equally_near_readings_the_simplest_is_taken():
    pick = nearest(readings(bytes(2) + b"\x00\xe6"), 230)
    assert pick is not None
    assert (pick.reading.type, pick.reading.order) == ("uint32", "ABCD")
    pick = nearest(readings(b"\x00\xe6"), 230)
    assert pick is not None
    assert (pick.reading.type, pick.reading.order, pick.scale) == ("uint16", "ABCD", 1)


def test_nothing_near_is_no_answer():
    assert nearest(readings(b"\x00\x07"), 230) is None


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (float32(230.4) + float32(229.8), "float32"),
        (float32(2.1) + bytes(4), "float32"),
        (struct.pack(">d", 230.4), "float64"),
        (struct.pack(">IHH", 70000, 0, 3), "uint16"),
        (struct.pack(">I", 4711), "uint32"),
        (struct.pack(">h", 250), "uint16"),
        (b"SDM630  ", "string"),
    ],
)
def test_without_an_expectation_the_likely_reading_is_named(raw, kind):
    pick = likely(readings(raw), raw)
    assert pick is not None
    assert pick.reading.type == kind


def test_no_reading_is_shown_twice_and_none_is_missing():
    seen = [(reading.type, reading.order) for reading in readings(bytes(range(1, 9)))]
    assert len(set(seen)) == len(seen)
    for kind, orders in (("uint16", 2), ("float32", 4), ("bcd32", 4), ("int64", 4), ("float64", 4)):
        assert sum(each == kind for each, _ in seen) == orders


def test_what_is_no_number_is_never_plausible():
    for reading in readings(float32(math.nan) + float32(math.inf)):
        if reading.type == "float32" and reading.order == "ABCD":
            assert reading.doubt == "not a number"


async def test_a_guess_shows_all_orders_of_a_type_in_one_row():
    raw = struct.unpack(">4H", float32(50.0) + bytes(4))
    async with Registers({"input": dict(enumerate(raw, 70))}).served() as port:
        findings = await found(guess, at(port), GuessOptions(address=70, table="input", expect=49.9))
        (row,) = [row for row in rows(findings) if row["type"] == "float32"]
        assert (row["ABCD"], row["pick"]) == (50.0, "<-- ABCD")
        (point,) = [finding.point for finding in findings if isinstance(finding, Row) and finding.point]
        assert point == {"input": 70, "type": "float32"}
        DRIVER.point.model_validate(point)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"address": 65536}, "there is no holding register 65536: the highest is 65535"),
        ({"address": 105537, "first_address": 40001}, "there is no holding register 105537: the highest is 105536"),
        ({"address": 65537, "first_address": 1}, "there is no holding register 65537: the highest is 65536"),
        ({"address": 300010}, "the highest is 65535; .*: 300010 --table input --first-address 400001"),
    ],
)
async def test_a_guess_beyond_the_last_address_says_which_is_the_highest(given, said):
    with pytest.raises(Rejected, match=said):
        await found(guess, at(502), GuessOptions(**given))


async def test_the_last_register_can_be_guessed():
    async with Registers({"holding": {65535: 7}}).served() as port:
        assert "holding register 65535: 0007" in notes(await found(guess, at(port), GuessOptions(address=65535)))[0]


@pytest.mark.parametrize(("there", "said"), [(2, "holding registers 18 to 19: "), (1, "holding register 18: ")])
@pytest.mark.parametrize("silent", [False, True])
async def test_a_guess_beside_mute_registers_shows_those_that_answer(there, said, silent):
    unit = Registers({"holding": dict.fromkeys(range(18, 18 + there), 1)})

    def answer(pdu):
        reply = unit.reply(pdu)
        return reply if reply[0] < 0x80 else None if silent else bytes((pdu[0] | 0x80, 11))

    async with serving(lambda reader, writer: serve_but(reader, writer, answer)) as port:
        findings = await found(guess, at(port), GuessOptions(address=18, timeout="50 ms"))
        assert said in notes(findings)[0]
        with pytest.raises(Rejected, match="in time" if silent else "exception 11"):
            await found(guess, at(port), GuessOptions(address=30, timeout="50 ms"))


async def test_a_guess_at_the_end_of_the_map_reads_what_there_is():
    async with Registers({"holding": {0: 1, 1: 2}}).served() as port:
        assert "holding register 1: 0002" in notes(await found(guess, at(port), GuessOptions(address=1)))[0]
        with pytest.raises(Rejected, match="exception 2"):
            await found(guess, at(port), GuessOptions(address=5))


async def test_a_number_that_begins_with_its_table_is_told_where_it_is_refused():
    async with Registers({"input": dict.fromkeys(range(4), 1)}).served() as port:
        hint = r"exception [12].*: 30001 --table input --first-address 40001"
        with pytest.raises(Rejected, match=hint):
            await found(guess, at(port), GuessOptions(address=30001))
        with pytest.raises(Rejected, match=hint):
            await found(guess, at(port), GuessOptions(address=30001, table="input"))
        findings = await found(guess, at(port), GuessOptions(address=30001, table="input", first_address=40001))
        assert "input registers 30001 to 30004" in notes(findings)[0]


async def test_registers_that_are_all_zero_tell_nothing():
    async with Registers({"holding": dict.fromkeys(range(8), 0)}).served() as port:
        assert notes(await found(guess, at(port), GuessOptions(address=0)))[-1].startswith("All registers are 0")


# --- scan ---


def test_numbers_are_written_as_ranges():
    assert numbers("1-3, 7,0x10") == (1, 2, 3, 7, 16)
    for wrong in ("", "a", "3-1", "1-", "1--3"):
        with pytest.raises(ValueError, match="write"):
            numbers(wrong)
    with pytest.raises(ValidationError, match="70000 is not an address; write 0 to 65535"):
        ScanOptions(addresses="900-70000")
    with pytest.raises(ValidationError, match="99999999 is not a unit number; write 0 to 255"):
        ScanOptions(units="1-99999999")
    with pytest.raises(ValidationError, match="256 is not a unit number"):
        ScanOptions(units="250-256")
    with pytest.raises(ValidationError, match="9601 baud is not usual"):
        ScanOptions(bauds="9601")
    assert ScanOptions(bauds="all", parities="none,even").parities == ("none", "even")


async def serve_but(reader, writer, answer):
    """Serves what `answer` makes of a request; where it is None, nothing."""
    while True:
        head = await reader.readexactly(7)
        reply = answer(await reader.readexactly(int.from_bytes(head[4:6], "big") - 1))
        if reply is not None:
            writer.write(head[:4] + (len(reply) + 1).to_bytes(2, "big") + head[6:7] + reply)


class Gateway:
    """Units behind a gateway: some answer, of the others it says so (exception 11) or says nothing."""

    def __init__(self, units, *, silent, moody=()):
        self.units, self.silent, self.asked = units, silent, []
        self.moody = set(moody)
        """Those that do not answer the first time."""

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readexactly(7)
                pdu = await reader.readexactly(int.from_bytes(head[4:6], "big") - 1)
                unit = head[6]
                self.asked.append((unit, pdu[0]))
                if unit in self.moody:
                    self.moody.discard(unit)
                    continue
                answer = self.units[unit].reply(pdu) if unit in self.units else bytes((pdu[0] | 0x80, 11))
                if unit in self.units or not self.silent:
                    writer.write(head[:4] + (len(answer) + 1).to_bytes(2, "big") + head[6:7] + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_):
        self.server.close()


@pytest.mark.parametrize("silent", [False, True])
async def test_a_scan_finds_the_units_behind_a_gateway(silent):
    units = {3: Registers({"holding": {0: 1}}), 5: Registers({"input": {0: 1}})}
    async with Gateway(units, silent=silent) as port:
        findings = await found(scan, at(port), ScanOptions(units="1-6", timeout="50 ms"))
    assert [row["unit"] for row in rows(findings)] == [3, 5]
    assert notes(findings)[-1].startswith("2 units: 3, 5.")
    done = [finding.done for finding in findings if isinstance(finding, Progress)]
    assert done == sorted(done)


async def test_a_unit_that_answers_only_now_and_then_is_found_too():
    units = {number: Registers({"holding": {0: 1, 1: 2, 2: 3, 3: 4}}) for number in (3, 5)}
    async with Gateway(units, silent=False, moody={5}) as port:
        findings = await found(scan, at(port), ScanOptions(units="1-6", timeout="50 ms"))
    assert [(row["unit"], row["remark"]) for row in rows(findings)] == [(3, ""), (5, "answers only now and then")]
    async with Gateway(units, silent=False, moody={3}) as port:
        findings = await found(guess, at(port), GuessOptions(address=0, unit=3, timeout="50 ms"))
    assert "holding registers 0 to 3" in notes(findings)[0]


async def test_a_gateway_that_waits_long_for_dead_units_hides_none():
    """It asks one after the other, and only after 0.12 s does it say that a unit does not answer."""

    class Slow(Gateway):
        async def serve(self, reader, writer):
            while True:
                head = await reader.readexactly(7)
                pdu = await reader.readexactly(int.from_bytes(head[4:6], "big") - 1)
                there = head[6] in self.units
                await asyncio.sleep(0.01 if there else 0.12)
                answer = self.units[head[6]].reply(pdu) if there else bytes((pdu[0] | 0x80, 11))
                writer.write(head[:4] + (len(answer) + 1).to_bytes(2, "big") + head[6:7] + answer)

    slow = Slow({}, silent=False)
    slow.units = {number: Registers({"holding": {0: 1}}) for number in (7, 12)}
    async with serving(slow.serve) as port:
        findings = await found(scan, at(port), ScanOptions(units="1-14", timeout="50 ms"))
    assert sorted((row["unit"], row["remark"]) for row in rows(findings)) == [(7, ""), (12, "")]


async def test_a_scan_ends_where_a_device_does_not_look_at_the_number():
    device = Registers({"holding": {0: 1}})
    async with device.served() as port:
        findings = await found(scan, at(port), ScanOptions(units="1-100"))
    assert [row["unit"] for row in rows(findings)] == list(range(1, 9))
    assert any("does not look at the number" in text for text in notes(findings))
    assert len(device.requests) < 30


async def test_more_than_eight_units_in_a_row_are_all_found():
    units = {number: Registers({"holding": {0: number}}) for number in range(1, 13)}
    async with Gateway(units, silent=False) as port:
        findings = await found(scan, at(port), ScanOptions(units="1-20", timeout="50 ms"))
    assert [row["unit"] for row in rows(findings)] == list(range(1, 13))
    assert notes(findings)[0] == "Of units 13-20 the gateway says that it does not reach them (exception 11)."
    assert notes(findings)[-1].startswith("12 units: 1, 2")


async def test_a_few_units_of_a_device_that_does_not_look_at_the_number_are_all_looked_at():
    async with Registers({"holding": {0: 1}}).served() as port:
        findings = await found(scan, at(port), ScanOptions(units="1-20"))
    assert [row["unit"] for row in rows(findings)] == list(range(1, 21))
    assert "All unit numbers answer, up to 20: this device does not look at the number." in notes(findings)


async def until_it_ends(link, options):
    """What a scan finds until it ends, and the error that it ends with."""
    told = []

    async def run():
        async for finding in scan(link, Home(), options):
            told.append(finding)  # noqa: PERF401 - what was found before the error counts

    (error,) = await asyncio.gather(run(), return_exceptions=True)
    return told, error


async def test_what_was_not_looked_at_is_named():
    async with Registers({"holding": {0: 1}}).served() as port:
        findings = await found(scan, at(port), ScanOptions(units="1-100,120"))
    left = "Not looked at: units 9-100,120, since they are the same. To go on: `--units 9-100,120`."
    assert left in notes(findings)
    async with Gateway({}, silent=True) as port:
        told, error = await until_it_ends(at(port), ScanOptions(units="1-200", timeout="20 ms", limit="100 ms"))
    assert isinstance(error, Rejected)
    assert any(note.startswith("Not looked at: units ") and "since the time is over" in note for note in notes(told))


async def hang_up_at(numbers_, reader, writer):
    """Answers every unit but some: asked for these it closes the connection."""
    unit = Registers({"holding": {0: 1, 1: 2, 2: 3, 3: 4}})
    try:
        while True:
            head = await reader.readexactly(7)
            pdu = await reader.readexactly(int.from_bytes(head[4:6], "big") - 1)
            if head[6] in numbers_:
                break
            answer = unit.reply(pdu)
            writer.write(head[:4] + (len(answer) + 1).to_bytes(2, "big") + head[6:7] + answer)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def test_a_scan_and_identify_go_on_behind_a_unit_at_which_the_connection_is_closed():
    async with serving(lambda reader, writer: hang_up_at({2, 4, 250, 254}, reader, writer)) as port:
        findings = await found(scan, at(port), ScanOptions(units="1-5", timeout="200 ms"))
        assert [row["unit"] for row in rows(findings)] == [1, 3, 5]
        assert notes(findings)[0].startswith("Asked for units 2,4, the connection was lost: ")
        said = notes(await found(identify, at(port), IdentifyOptions(units="1-5", timeout="200 ms")))
    assert [text.split()[1].strip(":") for text in said] == ["1", "2", "3", "4", "5"]
    assert "closed the connection" in said[1]


async def test_what_was_not_looked_at_is_named_where_the_link_is_lost_for_good():
    served = 0

    async def once(reader, writer):
        nonlocal served
        served += 1
        if served > 1:
            writer.transport.abort()
            server.close()
            return
        await hang_up_at({3}, reader, writer)
        server.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    told, error = await until_it_ends(at(server.sockets[0].getsockname()[1]), ScanOptions(units="1-9"))
    assert isinstance(error, LinkDown)
    assert [row["unit"] for row in rows(told)] == [1, 2]
    assert notes(told)[-1].endswith("To go on: `--units 3-9`.")


async def gateway_ff(reader, writer):
    """A gateway that answers for a silent unit with its own number and exception 11: `FF 83 0B`."""
    unit = Registers({"holding": {0: 1}})
    try:
        while True:
            head = await reader.readexactly(7)
            pdu = await reader.readexactly(int.from_bytes(head[4:6], "big") - 1)
            there = head[6] in (2, 9)
            answer = unit.reply(pdu) if there else bytes((pdu[0] | 0x80, 11))
            number = head[6:7] if there else bytes((0xFF,))
            writer.write(head[:4] + (len(answer) + 1).to_bytes(2, "big") + number + answer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def test_a_scan_goes_on_where_a_gateway_answers_with_its_own_number():
    async with serving(gateway_ff) as port:
        findings = await found(scan, at(port), ScanOptions(units="1-12", timeout="200 ms"))
    assert [row["unit"] for row in rows(findings)] == [2, 9]


async def test_a_scan_where_only_a_gateway_answers_says_so():
    async with Gateway({}, silent=False) as port:
        with pytest.raises(Rejected, match=r"^No unit answers, but a gateway does: .* Check the unit numbers"):
            await found(scan, at(port), ScanOptions(units="1-3"))


@pytest.mark.parametrize("silent", [False, True])
async def test_a_unit_that_does_not_answer_is_not_said_to(silent):
    said = "in time" if silent else "The gateway answers, but unit 1 does not"
    async with Gateway({3: Registers({"holding": {0: 1}})}, silent=silent) as port:
        with pytest.raises(Rejected, match=said):
            await found(identify, at(port), IdentifyOptions(timeout="50 ms"))
        with pytest.raises(Rejected, match="No unit answers"):
            await found(identify, at(port), IdentifyOptions(units="1,2", timeout="50 ms"))
        absent, present = notes(await found(identify, at(port), IdentifyOptions(units="1,3", timeout="50 ms")))
    assert said in absent
    assert present == "Unit 3 answers, but does not say what it is (exception 1)."


@pytest.mark.parametrize(("silent", "how"), [(False, "exception 11"), (True, "silence")])
async def test_a_unit_that_is_silent_only_when_asked_what_it_is_answers(silent, how):
    unit = Registers({"holding": {0: 1}})

    def answer(pdu):
        return unit.reply(pdu) if pdu[0] == 3 else None if silent else bytes((pdu[0] | 0x80, 11))

    async with serving(lambda reader, writer: serve_but(reader, writer, answer)) as port:
        findings = await found(identify, at(port), IdentifyOptions(timeout="50 ms"))
    assert notes(findings) == [f"Unit 1 answers, but does not say what it is ({how})."]


async def test_the_ranges_that_can_be_read_are_found_exactly():
    tables = {"holding": dict.fromkeys([*range(3, 20), *range(100, 102), 150], 7), "input": dict.fromkeys(range(64), 1)}
    async with Registers(tables, gaps=False).served() as port:
        findings = await found(scan, at(port), ScanOptions(units="1", ranges=True, addresses="0-199"))
    spans = [(row["table"], row["first"], row["last"]) for row in rows(findings) if "table" in row]
    assert spans == [
        ("holding register", 3, 19), ("holding register", 100, 101), ("holding register", 150, 150),
        ("input register", 0, 63),
    ]  # fmt: skip


async def test_a_table_that_a_device_does_not_have_costs_one_request():
    device = Registers({"holding": {0: 1}})
    async with device.served() as port:
        await found(scan, at(port), ScanOptions(units="1", ranges=True, addresses="0-3000"))
    for function in (1, 2):
        assert sum(request[0] == function for request in device.requests) == 1


async def test_a_scan_ends_when_its_time_is_over():
    async with Gateway({}, silent=True) as port:
        with pytest.raises(Rejected, match=r"^No unit answers\. .* The time of 100 ms is over\.$"):
            await found(scan, at(port), ScanOptions(units="1-200", timeout="20 ms", limit="100 ms"))


async def test_a_scan_of_nothing_says_what_to_check():
    with pytest.raises(LinkDown, match="refused"):
        await found(scan, at(1), ScanOptions(units="1"))
    with pytest.raises(Rejected, match="serial line"):
        await found(scan, at(502), ScanOptions(bauds="9600"))


async def test_sunspec_is_recognised_wherever_it_begins():
    for base in (0, 40000, 50000):
        device = Registers({"holding": {base: 0x5375, base + 1: 0x6E53, base + 2: 1}})
        async with device.served() as port:
            findings = await found(identify, at(port), IdentifyOptions())
        assert {"unit": 1, "what": "sunspec", "says": f"its models begin at {base}"} in rows(findings)


@pytest.mark.parametrize(
    ("raw", "said"), [(b"\0\0\0\1", "the first register is 0"), (b"\0\7\0\0", "the first register is not 0")]
)
async def test_zero_says_nothing_of_a_type(raw, said):
    assert nearest(readings(raw), 0.0) is None
    words_ = {i: int.from_bytes(raw[2 * i : 2 * i + 2], "big") for i in range(2)}
    async with Registers({"holding": words_}).served() as port:
        findings = await found(guess, at(port), GuessOptions(address=0, expect=0))
    assert all(not row["pick"] for row in rows(findings))
    assert said in notes(findings)[-1]
    assert "expect a value that is not 0" in notes(findings)[-1]
