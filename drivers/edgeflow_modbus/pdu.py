"""Requests and answers of the Modbus protocol, without the transport they travel on.

Source of every number here: MODBUS Application Protocol Specification V1.1b3, sections 4 to 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from struct import pack

from edgeflow.errors import Rejected

MAX_PDU = 253
MAX_WRITTEN_REGISTERS = 123
MAX_WRITTEN_COILS = 1968
MAX_WRITTEN_WHILE_READING = 121
ADDRESSES = 65536

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, FAILED, ACKNOWLEDGE, BUSY = 1, 2, 3, 4, 5, 6
NOT_DONE = (ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, FAILED, 7)
"""Exceptions by which a device says that it has not done what was asked; another function may do."""
GATEWAY_NO_PATH, GATEWAY_NO_ANSWER = 10, 11

_MEANING = {
    1: "illegal function: the device does not know this function",
    2: "illegal data address: the device has no such address",
    3: "illegal data value: the device does not take this value or this many addresses at once",
    4: "server device failure: the device failed while it did this",
    5: "acknowledge: the device is still working on it",
    6: "server device busy: the device is doing something else, it may answer later",
    7: "negative acknowledge: the device cannot do this",
    8: "memory parity error: the device found its memory damaged",
    10: "gateway path unavailable: the gateway has no way to this unit",
    11: "gateway target device failed to respond: the unit behind the gateway is silent",
}


class Table(Enum):
    """The four address spaces: function that reads it, addresses one read may cover, names for a person."""

    COIL = (1, 2000, "coil")
    DISCRETE = (2, 2000, "discrete input")
    REGISTER = (3, 125, "holding register")
    INPUT = (4, 125, "input register")

    def __init__(self, function: int, limit: int, title: str) -> None:
        self.function, self.limit, self.title = function, limit, title

    @property
    def bits(self) -> bool:
        return self.function < 3


READING = {table.function: table for table in Table}
"""The functions that read a table and nothing else."""
WRITING = (5, 6, 15, 16, 22)
"""The functions that write, and whose answer repeats what was asked."""


def place(table: Table, start: int, count: int) -> str:
    """`coil 3`, `holding registers 0 to 99`."""
    return f"{table.title} {start}" if count == 1 else f"{table.title}s {start} to {start + count - 1}"


class Refused(Rejected):
    """The device answered with an exception code."""

    def __init__(self, unit: int, function: int, about: str, code: int) -> None:
        self.code = code
        meaning = _MEANING.get(code, "a code that the standard does not define")
        super().__init__(f"unit {unit} refused to {about} (function {function}) with exception {code}, {meaning}")

    @property
    def from_gateway(self) -> bool:
        """Whether a gateway says it of a unit that it does not reach; the unit itself has said nothing."""
        return self.code in (GATEWAY_NO_PATH, GATEWAY_NO_ANSWER)


class Altered(Rejected):
    """The device acknowledged a write, but with another value: it limits what it takes, or shows it otherwise."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to send, and all that is known of a good answer: how its PDU begins and how long it is.

    What follows `head` in the answer is the payload; `size` 0: only the answer itself tells how long it
    is. `about` says it in words: `read coil 3`. `spare`: the address after the last may be read along.
    """

    unit: int
    pdu: bytes
    head: bytes
    size: int
    about: str
    spare: bool = False

    @property
    def function(self) -> int:
        return self.pdu[0]


def _echo(unit: int, pdu: bytes, about: str, length: int | None = None) -> Request:
    head = pdu[:length]
    return Request(unit, pdu, head, len(head), about)


def read(unit: int, table: Table, start: int, count: int, about: str, *, spare: bool = False) -> Request:
    """Functions 1 to 4; the payload is the packed bits (lowest first) or the registers (big endian)."""
    size = (count + 7) // 8 if table.bits else 2 * count
    pdu = pack(">BHH", table.function, start, count)
    return Request(unit, pdu, bytes((table.function, size)), 2 + size, about, spare)


def write_coils(unit: int, start: int, values: Sequence[bool], about: str, *, several: bool = False) -> Request:
    """Function 5 for one coil, 15 for more; `several` takes 15 for one too."""
    if len(values) == 1 and not several:
        return _echo(unit, pack(">BHH", 5, start, 0xFF00 if values[0] else 0), about)
    packed = sum(1 << i for i, value in enumerate(values) if value).to_bytes((len(values) + 7) // 8, "little")
    return _echo(unit, pack(">BHHB", 15, start, len(values), len(packed)) + packed, about, 5)


def write_registers(unit: int, start: int, payload: bytes, about: str, *, several: bool = False) -> Request:
    """Function 6 for one register (two bytes), 16 for more; `several` takes 16 for one too."""
    if len(payload) == 2 and not several:
        return _echo(unit, pack(">BH", 6, start) + payload, about)
    return _echo(unit, pack(">BHHB", 16, start, len(payload) // 2, len(payload)) + payload, about, 5)


def mask_register(unit: int, start: int, keep: int, put: int, about: str) -> Request:
    """Function 22: the register becomes (register AND keep) OR (put AND NOT keep)."""
    return _echo(unit, pack(">BHHH", 22, start, keep, put), about)


def read_write_registers(unit: int, start: int, count: int, to: int, payload: bytes, about: str) -> Request:
    """Function 23: first writes registers from `to` on, then reads `count` from `start` on; the payload is these."""
    pdu = pack(">BHHHHB", 23, start, count, to, len(payload) // 2, len(payload)) + payload
    return Request(unit, pdu, bytes((23, 2 * count)), 2 + 2 * count, about)


# --- device identification (section 6.21) -----------------------------------------------------------------

BASIC, REGULAR = 1, 2
_OBJECTS = ("vendor", "product", "revision", "url", "name", "model", "application")


def read_identification(unit: int, category: int, first: int, about: str) -> Request:
    """Function 43/14: what the device says of itself, from object `first` on; `category` is BASIC or REGULAR."""
    pdu = bytes((43, 14, category, first))
    return Request(unit, pdu, pdu[:3], 0, about)


def identification(payload: bytes) -> tuple[dict[str, str], int | None]:
    """The texts of an answer by name, and from which object on more follow; None where these were all.

    Raises Rejected where the answer is cut off or does not keep the format.
    """
    if len(payload) < 4:
        raise Rejected(f"the identification is cut off: {payload.hex(' ')}")
    _, more, following, count = payload[:4]
    found: dict[str, str] = {}
    at = 4
    for _ in range(count):
        end = at + 2 + payload[at + 1] if at + 1 < len(payload) else len(payload) + 1
        if end > len(payload):
            raise Rejected(f"the identification is cut off: {payload.hex(' ')}")
        number, text = payload[at], payload[at + 2 : end].decode("latin-1").rstrip("\0 ")
        found[_OBJECTS[number] if number < len(_OBJECTS) else f"object {number}"] = text
        at = end
    return found, following if more else None


# --- how long an answer is, where the frame does not say it -----------------------------------------------

_FIXED = {5: 5, 6: 5, 15: 5, 16: 5, 22: 7}
_COUNTED = (1, 2, 3, 4, 23)


def measure(pdu: bytes) -> int | None:
    """How long the answer is that begins so; None while that cannot be told, 0 where it is none that we know."""
    if not pdu:
        return None
    function = pdu[0]
    if function & 0x80:
        return 2 if function & 0x7F in _FIXED or function & 0x7F in _COUNTED or function == 0xAB else 0
    if function in _FIXED:
        return _FIXED[function]
    if function in _COUNTED:
        return (2 + pdu[1] if 0 < pdu[1] <= MAX_PDU - 2 else 0) if len(pdu) > 1 else None
    return _identification_size(pdu) if function == 43 and pdu[1:2] in (b"", b"\x0e") else 0


def _identification_size(pdu: bytes) -> int | None:
    at = 7
    if len(pdu) < at:
        return None
    for _ in range(pdu[6]):
        if len(pdu) < at + 2:
            return None
        at += 2 + pdu[at + 1]
        if at > MAX_PDU:
            return 0
    return at
