"""A serial line as a transport of the event loop, opened, read and written without ever blocking it.

Source of the numbers: termios(3), and MODBUS over Serial Line Guide V1.02, section 2.5.1.1 for the silence.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import termios
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from edgeflow.errors import LinkDown

P = TypeVar("P", bound=asyncio.Protocol)
Parity = Literal["none", "even", "odd"]

BAUDS = (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600)
_PARITY: Mapping[Parity, int] = {
    "none": 0, "even": termios.PARENB, "odd": termios.PARENB | termios.PARODD,
}  # fmt: skip
_MOST_READ = 4096
_PSEUDO = range(136, 144)
"""The device numbers of pseudo-terminals (Linux allocated devices, devices.txt: 136-143 char)."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How a serial line is set."""

    baud: int
    data_bits: Literal[7, 8]
    parity: Parity
    stop_bits: Literal[1, 2]

    @property
    def character_s(self) -> float:
        """How long one character takes, with its start, parity and stop bits."""
        return (1 + self.data_bits + (self.parity != "none") + self.stop_bits) / self.baud

    @property
    def silence_s(self) -> float:
        """The silence before a frame: 3.5 characters; 1.75 ms above 19200 baud."""
        return 3.5 * self.character_s if self.baud <= 19200 else 0.00175

    def __str__(self) -> str:
        return f"{self.baud} baud {self.data_bits}{self.parity[0].upper()}{self.stop_bits}"


async def connect(make: Callable[[], P], path: str, setting: Setting, deadline: float) -> P:
    """Opens a serial line for a protocol by the deadline (loop time); raises LinkDown that says what to do.

    Opening asks the adapter, which can take long: it is done in a thread.
    """
    loop = asyncio.get_running_loop()
    opening = loop.run_in_executor(None, _open, path, setting)
    await asyncio.wait({opening}, timeout=max(0.0, deadline - loop.time()))
    if not opening.done():
        opening.add_done_callback(_close_late)
        raise LinkDown(f"the serial line {path} could not be opened in time; unplug its adapter and plug it in again")
    try:
        line = opening.result()
    except OSError as error:
        raise LinkDown(f"the serial line {path} {_cause(error)}") from None
    protocol = make()
    SerialTransport(line, protocol)
    return protocol


class SerialTransport(asyncio.WriteTransport):
    """An open serial line and the protocol that uses it. A frame is written at once or not at all."""

    def __init__(self, line: int, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._line, self._protocol = line, protocol
        self._loop = asyncio.get_running_loop()
        protocol.connection_made(self)
        self._loop.add_reader(line, self._readable)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._line < 0:
            return
        try:
            written = os.write(self._line, data)
        except OSError as error:
            self._lost(error)
        else:
            if written < len(data):
                self._lost(OSError(errno.EIO, "the line takes no more bytes"))

    def is_closing(self) -> bool:
        return self._line < 0

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._lost(None)

    def _readable(self) -> None:
        try:
            data = os.read(self._line, _MOST_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._protocol.data_received(data)
        else:
            self._lost(OSError(errno.EIO, "its adapter was unplugged"))

    def _lost(self, error: OSError | None) -> None:
        """Closes the line; what it has not sent yet is thrown away, so that closing does not wait for it."""
        if self._line < 0:
            return
        line, self._line = self._line, -1
        self._loop.remove_reader(line)
        with suppress(termios.error):
            termios.tcflush(line, termios.TCIOFLUSH)
        with suppress(OSError):
            os.close(line)
        self._loop.call_soon(self._protocol.connection_lost, error)


def _open(path: str, setting: Setting) -> int:
    """Opens and sets the line, alone for this process; raises OSError."""
    line = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(line, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _set(line, setting)
    except BaseException:
        os.close(line)
        raise
    return line


def _set(line: int, setting: Setting) -> None:
    """Raw bytes; a byte with a wrong parity is read as 0, so that the check of its frame fails.

    A pseudo-terminal (socat, the driver of a converter in the network) has eight bits and no parity, whatever the line
    behind it has, and refuses to be set otherwise.
    """
    speed: int = getattr(termios, f"B{setting.baud}")
    real = os.major(os.fstat(line).st_rdev) not in _PSEUDO
    size = termios.CS7 if setting.data_bits == 7 and real else termios.CS8
    stop = termios.CSTOPB if setting.stop_bits == 2 else 0
    parity = _PARITY[setting.parity] if real else 0
    control = termios.CLOCAL | termios.CREAD | size | stop | parity
    checked = termios.INPCK if parity else 0
    try:
        characters = termios.tcgetattr(line)[6]
        characters[termios.VMIN], characters[termios.VTIME] = 1, 0
        wanted: list[Any] = [checked, 0, control, 0, speed, speed, characters]
        termios.tcsetattr(line, termios.TCSANOW, wanted)
        termios.tcflush(line, termios.TCIOFLUSH)
        taken = termios.tcgetattr(line)[4:6]
    except termios.error as error:
        raise OSError(*error.args) from None
    if taken != [speed, speed]:
        raise OSError(errno.EINVAL, "")


def _close_late(opening: asyncio.Future[int]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result())


def _cause(error: OSError) -> str:
    """What is wrong with the line, and what to do."""
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        if hidden():
            return "is hidden from the agent by its systemd unit; install the drop-in serial.conf (docs/packaging.md)"
        found = ", ".join(lines()) or "none"
        return f"is not there; is its adapter plugged in? The lines that there are: {found}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "may not be opened; put the user that EdgeFlow runs as into its group: usermod -aG dialout edgeflow"
    if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EBUSY):
        return "is in use by another program; end that first (EdgeFlow itself, ModemManager, mbpoll, another link)"
    if error.errno == errno.ENOTTY:
        return "is not a serial line; give one like /dev/ttyUSB0 or /dev/serial/by-id/..."
    if error.errno == errno.EINVAL:
        return "does not take these settings; try another baud rate or parity"
    return f"cannot be used: {(error.strerror or str(error)).lower()}"


def hidden(devices: Path = Path("/dev")) -> bool:
    """Whether a systemd unit hides the machine's devices (PrivateDevices=yes): it runs us, and there are none."""
    return "INVOCATION_ID" in os.environ and not any(devices.glob("tty[A-Z]*"))


def lines() -> list[str]:
    """The serial lines of adapters on this machine, by the names that stay the same when they are plugged in anew."""
    named = {link: link.resolve() for link in Path("/dev/serial/by-id").glob("*")}
    others = [path for kind in ("ttyUSB*", "ttyACM*", "ttyAMA*") for path in Path("/dev").glob(kind)]
    return sorted(map(str, [*named, *(path for path in others if path not in named.values())]))
