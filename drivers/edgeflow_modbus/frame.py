"""RTU and ASCII: how a request is put into a frame, and how frames are found in what comes in.

Both are found by their length and their check alone, never by pauses: adapters and networks move those.
Source: MODBUS over Serial Line Specification and Implementation Guide V1.02, sections 2.5.1 and 2.5.2.
"""

from __future__ import annotations

from typing import Protocol

from edgeflow_modbus.pdu import MAX_PDU, measure

_HEADER = 6

_HEADER = 6


class Framing(Protocol):
    """A way to mark where a message begins and ends. A message is the unit's number and the PDU.

    `least`: the bytes of the shortest frame.
    """

    name: str
    least: int

    def pack(self, message: bytes) -> bytes:
        """The frame around a message."""

    def split(self, data: bytes, expected: bytes) -> tuple[list[bytes], bytes, int]:
        """The messages in some bytes, what may still become one, and how many bytes were neither.

        `expected`: how the message begins that is waited for.
        """

    def explain(self, data: bytes) -> str:
        """Why some bytes are no frame, as far as can be told from them."""


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


_CRC = tuple(map(_crc_of, range(256)))


def crc(data: bytes) -> bytes:
    """CRC-16 of a serial line, low byte first (section 2.5.1.2 and appendix B)."""
    value = 0xFFFF
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value.to_bytes(2, "little")


def lrc(data: bytes) -> int:
    """Longitudinal redundancy check: the two's complement of the sum (section 2.5.2.2)."""
    return -sum(data) & 0xFF


class Rtu:
    """Bytes as they are, and a CRC."""

    name = "RTU"
    least = 5
    _MOST_KEPT = 4 * (3 + MAX_PDU)

    def pack(self, message: bytes) -> bytes:
        return message + crc(message)

    def split(self, data: bytes, expected: bytes) -> tuple[list[bytes], bytes, int]:
        """Looks at every byte for the beginning of a frame; one that is not complete never hides a whole one.

        Except the one that is waited for: its own data may look like a frame.
        """
        messages: list[bytes] = []
        noise = max(0, len(data) - self._MOST_KEPT)
        data = data[noise:]
        at, taken, open_at = 0, 0, -1
        while at < len(data):
            size = measure(data[at + 1 : at + 2 + MAX_PDU])
            if size == 0:
                at += 1
                continue
            end = at + 3 + size if size else len(data) + 1
            if end > len(data):
                open_at = at if open_at < 0 else open_at
                if len(expected) > 1 and data.startswith(expected, at):
                    break
            elif data[end - 2 : end] == crc(data[at : end - 2]):
                messages.append(data[at : end - 2])
                noise += at - taken
                at = taken = end
                open_at = -1
                continue
            at += 1
        if open_at < 0:
            open_at = len(data)
        return messages, data[open_at:], noise + open_at - taken

    def explain(self, data: bytes) -> str:
        if b":" in data and data.isascii():
            return "it looks like ASCII, not RTU"
        if len(data) > _HEADER + 4 and not any(data[2:4]) and int.from_bytes(data[4:6], "big") == len(data) - _HEADER:
            return "it is a Modbus TCP frame; write `transport: tcp`"
        size = measure(data[1:])
        if size and len(data) >= size + 3:
            right, got = crc(data[: size + 1]), data[size + 1 : size + 3]
            return f"the check sum is {got.hex(' ')} and should be {right.hex(' ')}"
        if size:
            return f"it is cut off after {len(data)} of {size + 3} bytes"
        return "it does not begin as an answer does: another baud rate or parity, or noise"


class Ascii:
    """Hexadecimal text between `:` and a line end, and an LRC."""

    name = "ASCII"
    least = 11
    _MOST_KEPT = 4 * (2 * (2 + MAX_PDU) + 3)

    def pack(self, message: bytes) -> bytes:
        return b":" + (message + bytes((lrc(message),))).hex().upper().encode() + b"\r\n"

    def split(self, data: bytes, expected: bytes) -> tuple[list[bytes], bytes, int]:  # noqa: ARG002 - a frame has an end here
        *lines, rest = data.split(b"\r\n")
        messages: list[bytes] = []
        noise = 0
        for line in lines:
            before, colon, text = line.rpartition(b":")
            message = _unhex(text) if colon else b""
            if len(message) > 2 and sum(message) & 0xFF == 0:
                messages.append(message[:-1])
                noise += len(before)
            else:
                noise += len(line) + 2
        kept = rest[rest.rfind(b":") :] if b":" in rest else rest[-1:].rstrip(b"\0") if rest.endswith(b"\r") else b""
        if len(kept) > self._MOST_KEPT:
            kept = b""
        return messages, kept, noise + len(rest) - len(kept)

    def explain(self, data: bytes) -> str:
        if b":" not in data:
            return "it has no `:` to begin with: RTU, or another baud rate or parity"
        text, end, _ = data[data.index(b":") + 1 :].partition(b"\r\n")
        message = _unhex(text)
        if not end:
            return "it has no line end (CR LF)"
        if not message:
            return "it is not hexadecimal"
        return f"the check sum is {message[-1]:02X} and should be {lrc(message[:-1]):02X}"


def _unhex(text: bytes) -> bytes:
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        return b""
