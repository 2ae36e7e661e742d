"""Late, doubled, lost and garbled answers on lines whose answers do not say what they answer: never a wrong value."""

import asyncio
import os
import random
import struct
import tty
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from edgeflow.driver import Home
from edgeflow.errors import LinkDown, Silent
from edgeflow.testing.drivers import poll_by
from edgeflow_modbus import DRIVER
from edgeflow_modbus.config import Device, Link, Point
from edgeflow_modbus.frame import Ascii, Rtu

from .lines import serving, socat_pair

FAULTS = ("late", "very late", "lost", "twice", "twice, late", "garbled", "noise", "half", "other unit", "refused")
BLOCKS = (0, 400, 800)
SIZE = 4
FORBIDDEN = ((4, 399), (404, 799), (804, 65535))
STRICT = {"forbidden": FORBIDDEN, "groups": ((0, 3), (400, 403), (800, 803))}
"""Nothing but the blocks may be read, and these only whole."""


def word(unit, table, address, ms):
    """What a register holds: another one holds something far away, and so does the same one a while later."""
    return (unit * 20011 + table * 9973 + address * 37 + ms) & 0xFFFF


def age(unit, table, address, value, ms):
    """How many milliseconds before `ms` a register held this value."""
    return (ms - (value - word(unit, table, address, 0))) & 0xFFFF


@dataclass
class BadDevice:
    """Units 1 and 2 on one line: they answer in order, but late, twice, garbled, half or not at all."""

    framing: object
    dice: random.Random
    patience_s: float
    faults: bool = True
    done: dict = field(default_factory=dict)
    asked: set = field(default_factory=set)
    fates: list = field(default_factory=list)

    def _fate(self):
        """Every fault comes once in a round, in an order of its own."""
        if not self.faults:
            return "good"
        if not self.fates:
            self.fates = [*FAULTS, *["good"] * 8]
            self.dice.shuffle(self.fates)
        return self.fates.pop()

    def ms(self):
        return round(asyncio.get_running_loop().time() * 1000)

    async def serve(self, read, write):
        buffer = b""
        while data := await read():
            buffer += data
            while (cut := self._cut(buffer)) is not None:
                message, buffer = cut
                await self._answer(message, write)

    def _cut(self, buffer):
        if isinstance(self.framing, Ascii):
            line, end, rest = buffer.partition(b"\r\n")
            return (bytes.fromhex(line[1:-2].decode()), rest) if end else None
        return (buffer[:6], buffer[8:]) if len(buffer) >= 8 else None

    def _good(self, message):
        unit, function, start, count = struct.unpack(">BBHH", message)
        self.asked.add((function, start, start + count - 1))
        now = self.ms()
        held = b"".join(word(unit, function, start + i, now).to_bytes(2, "big") for i in range(count))
        held = held[: (count + 7) // 8] if function < 3 else held
        return self.framing.pack(bytes((unit, function, len(held))) + held)

    async def _answer(self, message, write):
        frame = self._good(message)
        fate = self._fate()
        self.done[fate] = self.done.get(fate, 0) + 1
        wait_s = self.patience_s
        if fate == "late":
            await asyncio.sleep(wait_s * self.dice.uniform(0.8, 1.5))
        elif fate == "very late":
            await asyncio.sleep(wait_s * self.dice.uniform(1.5, 4))
        elif fate == "garbled":
            at = self.dice.randrange(len(frame))
            frame = frame[:at] + bytes((frame[at] ^ self.dice.randrange(1, 256),)) + frame[at + 1 :]
        elif fate == "noise":
            write(self.dice.randbytes(self.dice.randrange(1, 30)))
        elif fate == "half":
            frame = frame[: self.dice.randrange(1, len(frame))]
        elif fate == "other unit":
            write(self.framing.pack(bytes((9, message[1], 4)) + bytes(4)))
        elif fate == "refused":
            frame = self.framing.pack(bytes((message[0], message[1] | 0x80, 4)))
        if fate != "lost":
            middle = self.dice.randrange(len(frame))
            write(frame[:middle])
            await asyncio.sleep(0.001)
            write(frame[middle:])
        if fate.startswith("twice"):
            if fate.endswith("late"):
                await asyncio.sleep(wait_s * self.dice.uniform(0, 0.3))
            write(frame)


@asynccontextmanager
async def through_a_converter(device, transport, folder):
    """What comes from the bus goes to whoever is connected then, as converters do it."""
    came, writers = asyncio.Queue(), []

    async def connected(reader, writer):
        writers[:] = [writer]
        while data := await reader.read(1000):
            came.put_nowait(data)

    def write(data):
        if not writers[0].transport.is_closing():
            writers[0].write(data)

    async with serving(connected) as port:
        task = asyncio.ensure_future(device.serve(came.get, write))
        try:
            yield Link(transport=transport, host="127.0.0.1", port=port)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def over_a_serial_line(device, transport, folder):
    async with socat_pair(folder) as (near, far, _):
        line = os.open(far, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(line)
        came = asyncio.Queue()
        loop = asyncio.get_running_loop()
        loop.add_reader(line, lambda: came.put_nowait(os.read(line, 1000)))
        task = asyncio.ensure_future(device.serve(came.get, lambda data: os.write(line, data)))
        try:
            yield Link(transport=transport, serial=near, baud=115200)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            loop.remove_reader(line)
            os.close(line)


POLLS = int(os.environ.get("EDGEFLOW_TEST_POLLS", "8"))
LINES = {
    "rtu-over-tcp": through_a_converter,
    "ascii-over-tcp": through_a_converter,
    "rtu": over_a_serial_line,
    "ascii": over_a_serial_line,
}


def framing_of(transport):
    return Ascii() if transport.startswith("ascii") else Rtu()


@pytest.mark.parametrize(
    ("transport", "how"),
    [(transport, "reading along") for transport in LINES]
    + [(transport, how) for transport in ("rtu-over-tcp", "rtu") for how in ("step by step", "strictly")],
)
async def test_no_value_is_ever_wrong(transport, how, tmp_path):
    """Each is what its register held between the question and the answer, whatever the line does."""
    patience_s = 0.02
    given = {"reading along": {}, "step by step": {"max_gap": 0}, "strictly": STRICT}[how]
    dice = random.Random(f"{transport} {how}")
    bad = BadDevice(framing_of(transport), dice, patience_s)
    points = [Point(register=start + i) for start in BLOCKS for i in range(SIZE)]
    home, loop, good, silent, lost = Home(), asyncio.get_running_loop(), 0, 0, 0

    async def poll(reader, unit, within_s=3 * patience_s):
        nonlocal good
        begun = bad.ms()
        column = await poll_by(reader, loop.time() + within_s)
        now, faults = bad.ms(), column.faults or {}
        for i, (point, value) in enumerate(zip(points, column.values, strict=True)):
            if i in faults:
                assert value is None, faults[i]
                continue
            good += 1
            old = age(unit, 3, point.address, value, now)
            assert old <= now - begun + 1, f"unit {unit}, {point.address}: {old} ms old, asked {now - begun} ms ago"

    async with LINES[transport](bad, transport, tmp_path) as link:
        polls = 0

        def goes_on():
            return polls < POLLS or (polls < 200 and not bad.done.keys() >= set(FAULTS))

        while goes_on():
            try:
                async with DRIVER.open(link, loop.time() + 5, home) as session:
                    readers = {
                        unit: await session.prepare(Device(unit=unit, **given), points, loop.time()) for unit in (1, 2)
                    }
                    while goes_on():
                        polls += 1
                        unit = dice.choice((1, 2))
                        try:
                            await poll(readers[unit], unit)
                        except Silent:
                            silent += 1
            except LinkDown:
                lost += 1
        bad.faults = False
        await asyncio.sleep(8 * patience_s)
        good = 0
        async with DRIVER.open(link, loop.time() + 5, Home()) as session:  # nothing learned of what it fell silent over
            reader = await session.prepare(Device(unit=1, **given), points, loop.time())
            for _ in range(3):
                await asyncio.sleep(0.01)
                await poll(reader, 1, 5)
    assert good == 3 * len(points), "a line that is well again gives every value"
    assert bad.done.keys() >= set(FAULTS), "every fault was tried"
    assert silent + lost > 0
    if how == "strictly":
        for first, last in FORBIDDEN:
            assert not [each for each in bad.asked if each[1] <= last and first <= each[2]], "not even to get in step"
        own = [(start, start + SIZE - 1) for start in BLOCKS]
        assert {each for each in bad.asked if each[0] == 3} >= {(3, *each) for each in own}
        within = [
            any(first <= each[1] and each[2] <= last for first, last in own) for each in bad.asked if each[0] == 3
        ]
        assert all(within), "whole, or some values of it where the whole was not answered"


class GarblingDevice(BadDevice):
    """Its second answer is garbled; before each the line clicks when it is turned round."""

    async def _answer(self, message, write):
        self.done[len(self.done)] = message
        frame = self._good(message)
        write(b"\0")
        await asyncio.sleep(0.15)
        write(frame if len(self.done) != 2 else frame[:3] + b"\x55" + frame[4:])


@pytest.mark.parametrize("transport", ["rtu", "ascii-over-tcp"])
async def test_a_garbled_answer_is_asked_for_again_at_once_and_a_click_is_none(transport, tmp_path):
    device, loop = GarblingDevice(framing_of(transport), random.Random(), 0.0), asyncio.get_running_loop()
    async with (
        LINES[transport](device, transport, tmp_path) as link,
        DRIVER.open(link, loop.time() + 5, Home()) as session,
    ):
        reader = await session.prepare(Device(max_gap=0), [Point(register=1), Point(register=2)], loop.time())
        column = await poll_by(reader, loop.time() + 5)
        assert not column.faults
        assert session.stats.garbled == 1
        assert len(device.done) == session.stats.requests == 4, "a step, a garbled answer, a step, and again"


class EchoingLine(BadDevice):
    """The adapter hears what it sends; the device answers reads, and the writes that it takes."""

    takes = True

    async def _answer(self, message, write):
        own = self.framing.pack(message)
        write(own[:3])
        await asyncio.sleep(0.005)
        write(own[3:])
        if message[1] == 3:
            write(self._good(message))
        elif self.takes:
            write(own)


@pytest.mark.parametrize("transport", ["rtu", "ascii-over-tcp"])
async def test_an_adapter_that_hears_itself_acknowledges_no_write(transport, tmp_path):
    device, loop = EchoingLine(framing_of(transport), random.Random(), 0.0), asyncio.get_running_loop()
    async with (
        LINES[transport](device, transport, tmp_path) as link,
        DRIVER.open(link, loop.time() + 5, Home()) as session,
    ):
        reader = await session.prepare(Device(), [Point(register=i) for i in range(4)], loop.time())
        for _ in range(3):
            assert not (await poll_by(reader, loop.time() + 5)).faults
        for _ in range(2):
            await session.write(Device(), [Point(register=7)], [1], loop.time() + 5)
        assert session.stats.noise == 0
        device.takes = False
        with pytest.raises(Silent, match="did not answer in time when asked to write holding register 7"):
            await session.write(Device(), [Point(register=7)], [2], loop.time() + 0.1)


class LateDevice(BadDevice):
    """Answers a request when so many later ones have come; how it was then is what it says."""

    lag = 1

    async def _answer(self, message, write):
        self.done[len(self.done)] = self._good(message)
        if len(self.done) > self.lag:
            write(self.done[len(self.done) - 1 - self.lag])


@pytest.mark.parametrize("lag", [1, 2, 3])
@pytest.mark.parametrize("transport", ["rtu-over-tcp", "ascii"])
async def test_an_answer_to_an_earlier_connection_is_no_value_either(transport, lag, tmp_path):
    """What a silent unit says at last comes when the line is open again."""
    late = LateDevice(framing_of(transport), random.Random(), 0.02)
    late.lag = lag
    points, home, loop = [Point(register=i) for i in range(3)], Home(), asyncio.get_running_loop()
    async with LINES[transport](late, transport, tmp_path) as link:
        for _ in range(12):
            async with DRIVER.open(link, loop.time() + 5, home) as session:
                reader = await session.prepare(Device(), points, loop.time())
                with pytest.raises((LinkDown, Silent), match=r"did not answer in time|no answer that fits"):
                    await poll_by(reader, loop.time() + late.patience_s)
        late.lag = 0
        async with DRIVER.open(link, loop.time() + 5, home) as session:
            reader = await session.prepare(Device(), points, loop.time())
            begun = late.ms()
            column = await poll_by(reader, loop.time() + 5)
            for point, value in zip(points, column.values, strict=True):
                assert age(1, 3, point.address, value, late.ms()) <= late.ms() - begun + 1


class RefusingDevice(BadDevice):
    """Has the holding registers below 400, and no other table."""

    async def _answer(self, message, write):
        function, start = message[1], int.from_bytes(message[2:4], "big")
        self.done[len(self.done)] = message
        code = 1 if function != 3 else 2 if start >= 400 else 0
        write(self.framing.pack(bytes((message[0], function | 0x80, code))) if code else self._good(message))


@pytest.mark.parametrize("transport", ["rtu-over-tcp", "ascii"])
async def test_a_refusal_on_a_line_that_is_opened_again_is_no_silence(transport, tmp_path):
    """What the connection before read may still come, so whose the first refusal is cannot be known: another step."""
    device = RefusingDevice(framing_of(transport), random.Random(), 0.0)
    home, loop = Home(), asyncio.get_running_loop()
    async with LINES[transport](device, transport, tmp_path) as link:
        for start, faults in ((0, {}), (400, {0: "exception 2"}), (400, {0: "exception 2"}), (0, {})):
            async with DRIVER.open(link, loop.time() + 5, home) as session:
                reader = await session.prepare(Device(), [Point(register=start, type="uint64")], loop.time())
                column = await poll_by(reader, loop.time() + 5)
            assert (column.faults or {}).keys() == faults.keys()
            assert all("exception 2" in reason for _, reason in (column.faults or {}).values())
        assert len(device.done) < 20
